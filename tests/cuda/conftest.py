"""Which device tests run on: the stand-in always, a GPU where there is one.

Tests marked ``gpu`` are taken out, and the summary says so and why, where no GPU is usable, and
those marked ``capability`` as well where it is of another one.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from tests.cuda.harness import stand_in

from iree_backend_cuda.driver import CudaDevice, CudaDriver
from iree_core.errors import DeviceError

_left_out: Counter[str] = Counter()


@cache
def _gpu() -> CudaDevice | str:
    """Return the first GPU, or why there is none."""
    try:
        return CudaDriver().create_device()
    except DeviceError as error:
        return str(error)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the tests that need a GPU where there is none, or one of another capability."""
    for item in [item for item in items if item.get_closest_marker("gpu")]:
        found = _gpu()
        only = item.get_closest_marker("capability")
        if isinstance(found, str):
            reason = f"need a GPU and did not run: {found}"
        elif only and found.physical.arch != only.args[0]:
            reason = f"need a GPU of another capability than {found.description} and did not run"
        else:
            continue
        _left_out[reason] += 1
        config.hook.pytest_deselected(items=[item])
        items.remove(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was taken out."""
    for reason, count in _left_out.items():
        terminalreporter.write_line(f"{count} tests {reason}")


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def on(request: pytest.FixtureRequest) -> CudaDevice:
    """Return the device to run on."""
    if request.param == "stand-in":
        fake, device = stand_in()
        fake.faults.clear()
        return device
    return gpu_device()


@pytest.fixture
def gpu() -> CudaDevice:
    """Return the GPU; for tests marked ``gpu``."""
    return gpu_device()


def gpu_device() -> CudaDevice:
    """Return the GPU that the marker promises."""
    found = _gpu()
    assert isinstance(found, CudaDevice), found
    return found
