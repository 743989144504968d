"""Which device tests run on: the stand-in always, a GPU where there is one.

Tests marked ``gpu`` are taken out, and the summary says so and why, where no GPU is usable.
"""

from __future__ import annotations

from functools import cache

import pytest
from tests.cuda.harness import stand_in

from iree_backend_cuda.driver import CudaDevice, CudaDriver
from iree_core.errors import DeviceError

_left_out: list[str] = []


@cache
def _gpu() -> CudaDevice | str:
    """Return the first GPU, or why there is none."""
    try:
        return CudaDriver().create_device()
    except DeviceError as error:
        return str(error)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the tests that need a GPU where there is none."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and isinstance(_gpu(), str):
        _left_out[:] = [item.name for item in needing]
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was taken out."""
    if _left_out:
        terminalreporter.write_line(f"{len(_left_out)} tests need a GPU and did not run: {_gpu()}")


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
