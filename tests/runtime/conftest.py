"""Fixtures for the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime import support

import iree_core
from iree_core.hal import Device
from iree_core.hal.registry import open_device
from iree_core.runtime_api import LoadedModule


@pytest.fixture(params=["local-sync", "local-task"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """A CPU device of each kind; local-task with more threads than a test needs."""
    options = {"threads": "3"} if request.param == "local-task" else {}
    yield open_device(request.param, options)


@pytest.fixture
def add_file(tmp_path: Path) -> Path:
    """A module file with ``main(x, y) = x + y`` on 4 floats."""
    return support.write(tmp_path / "add.vmfb", support.add_program())


@pytest.fixture
def add(add_file: Path, device: Device) -> LoadedModule:
    """That module on each device."""
    return iree_core.load(add_file, device)


@pytest.fixture
def dynamic(tmp_path: Path, device: Device) -> LoadedModule:
    """``main(x[n], y[n]) = x + y + 1`` on each device."""
    return iree_core.load(support.write(tmp_path / "d.vmfb", support.dynamic_program()), device)
