"""Runs one dispatch on the first Vulkan device: compile, load, record, submit, compare."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from iree_backend_vulkan.backend import VulkanBackend
from iree_backend_vulkan.driver import VulkanDevice, VulkanDriver
from iree_core.codegen.kernel import CompiledDispatch
from iree_core.errors import DeviceError
from iree_core.vm.program import Binding, CommandList, Dispatch

PACKAGES = "mesa-vulkan-drivers libvulkan1 vulkan-validationlayers spirv-tools"
_GUARD = 64


@cache
def device(**options: str) -> VulkanDevice:
    """Return the first Vulkan device; without one the test fails and says what to install."""
    try:
        return VulkanDriver().create_device("", options)
    except DeviceError as error:
        pytest.fail(f"These tests need a Vulkan device (apt-get install {PACKAGES}): {error}")


def compile_dispatch(
    text: str, options: str = "full", strategy: str = "auto"
) -> tuple[VulkanBackend, CompiledDispatch]:
    """Compile the MLIR text of a dispatch function."""
    backend = VulkanBackend("vulkan")
    return backend, backend.compile(text, backend.resolve(options), strategy=strategy)


def run_dispatch(
    text: str,
    inputs: Sequence[NDArray],
    scalars: Sequence[int],
    results: Sequence[tuple[tuple[int, ...], type | np.dtype]],
    *,
    strategy: str = "auto",
    on: VulkanDevice | None = None,
    in_place: int | None = None,
) -> tuple[list[NDArray], CompiledDispatch]:
    """Compile a dispatch and run it; return its results and what was compiled.

    Results start as a byte pattern and are followed by a guard that must be left alone. With
    ``in_place`` the only result lies over that input.
    """
    backend, compiled = compile_dispatch(text, strategy=strategy)
    executable = backend.link([compiled], backend.resolve("full"))
    target = on or device()
    loaded = target.load_executable(
        memoryview(executable.data), executable.entries, format=executable.format
    )
    buffers = [target.allocator.import_host(_bytes(x)) for x in inputs]
    slots = list(range(len(inputs)))
    for shape, dtype in results:
        if in_place is not None:
            slots.append(in_place)
            continue
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        buffers.append(target.allocator.import_host(np.full(nbytes + _GUARD, 0xA5, np.uint8)))
        slots.append(len(buffers) - 1)
    kernel = compiled.kernel
    dispatch = Dispatch(
        0,
        tuple(Binding(slot, ("imm", 0)) for slot in slots),
        tuple(("imm", number) for number in scalars),
        ("imm", kernel.grid.evaluate(scalars)),
        ("imm", kernel.scratch.evaluate(scalars)),
    )
    commands = target.record(CommandList((dispatch,), len(buffers), 0), loaded)
    done = target.create_semaphore()
    target.submit(commands, buffers, [], signal=[(done, 1)])
    assert done.wait(1, timeout=120)
    found = []
    for slot, (shape, dtype) in zip(slots[len(inputs) :], results, strict=True):
        data = buffers[slot].read(0, buffers[slot].nbytes)
        if in_place is None:
            assert (data[-_GUARD:] == 0xA5).all(), "the kernel wrote past the end of its result"
            data = data[:-_GUARD]
        found.append(data.view(dtype).reshape(shape))
    return found, compiled


def _bytes(array: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
