"""Compiles dispatches for CUDA and runs them: on the stand-in, or on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.cuda import fake

from iree_backend_cuda.backend import CudaBackend
from iree_backend_cuda.driver import CudaDevice
from iree_core.codegen.kernel import CompiledDispatch
from iree_core.vm.program import Binding, CommandList, Dispatch

_GUARD = 64


@cache
def stand_in() -> tuple[fake.FakeCuda, CudaDevice]:
    """Return a stand-in of the newest class that is compiled for, and its device."""
    return fake.open_device(arch=90)


def compile_dispatch(
    text: str, options: str = "sm_80", strategy: str = "auto"
) -> tuple[CudaBackend, CompiledDispatch]:
    """Compile the MLIR text of a dispatch function."""
    backend = CudaBackend()
    return backend, backend.compile(text, backend.resolve(options), strategy=strategy)


def run_dispatch(
    text: str,
    inputs: Sequence[NDArray],
    scalars: Sequence[int],
    results: Sequence[tuple[tuple[int, ...], Any]],
    *,
    options: str = "sm_80",
    strategy: str = "auto",
    on: CudaDevice | None = None,
    in_place: int | None = None,
) -> tuple[list[NDArray], CompiledDispatch]:
    """Compile a dispatch and run it; return its results and what was compiled.

    Results start as a byte pattern and are followed by a guard that must be left alone. With
    ``in_place`` the only result lies over that input.
    """
    backend, compiled = compile_dispatch(text, options, strategy)
    executable = backend.link([compiled], backend.resolve(options))
    device = on or stand_in()[1]
    loaded = device.load_executable(
        memoryview(executable.data), executable.entries, format=executable.format
    )
    buffers = [device.allocator.import_host(as_bytes(x)) for x in inputs]
    slots = list(range(len(inputs)))
    for shape, dtype in results:
        if in_place is not None:
            slots.append(in_place)
            continue
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        buffers.append(device.allocator.import_host(np.full(nbytes + _GUARD, 0xA5, np.uint8)))
        slots.append(len(buffers) - 1)
    kernel = compiled.kernel
    dispatch = Dispatch(
        0,
        tuple(Binding(slot, ("imm", 0)) for slot in slots),
        tuple(("imm", number) for number in scalars),
        ("imm", kernel.grid.evaluate(scalars)),
        ("imm", kernel.scratch.evaluate(scalars)),
    )
    commands = device.record(CommandList((dispatch,), len(buffers), 0), loaded)
    done = device.create_semaphore()
    device.submit(commands, buffers, [], signal=[(done, 1)])
    assert done.wait(1, timeout=120)
    found = []
    for slot, (shape, dtype) in zip(slots[len(inputs) :], results, strict=True):
        data = buffers[slot].read(0, buffers[slot].nbytes)
        if in_place is None:
            assert (data[-_GUARD:] == 0xA5).all(), "the kernel wrote past the end of its result"
            data = data[:-_GUARD]
        found.append(data.view(dtype).reshape(shape))
    return found, compiled


def as_bytes(array: NDArray) -> NDArray[np.uint8]:
    """Return the bytes of an array."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
