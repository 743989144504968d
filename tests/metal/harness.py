"""Runs dispatches and modules on the Metal driver, whose framework is the stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from tests.metal import stand_in

from iree_backend_metal.backend import MetalBackend
from iree_backend_metal.driver import MetalDevice
from iree_backend_metal.image import parse_image
from iree_core.codegen.kernel import CompiledDispatch
from iree_core.vm.program import Binding, CommandList, Dispatch

_GUARD = 64


def open_stand_in(
    handle: stand_in.Device | None = None, *, timeout: float = 60.0, private: bool = False
) -> MetalDevice:
    """Return a device of the driver on the stand-in's."""
    handle = handle or stand_in.Device()
    return MetalDevice(stand_in.framework(handle), handle, timeout, private)


@cache
def device(private: bool = False) -> MetalDevice:
    """Return the device that tests share."""
    return open_stand_in(private=private)


def compile_dispatch(
    text: str, options: str = "", strategy: str = "auto"
) -> tuple[MetalBackend, CompiledDispatch]:
    """Compile the MLIR text of a dispatch function."""
    backend = MetalBackend("metal")
    return backend, backend.compile(text, backend.resolve(options), strategy=strategy)


def source_of(compiled: CompiledDispatch) -> str:
    """Return the MSL of a compiled dispatch."""
    return bytes(parse_image(compiled.binary)[0].code).decode()


def run_dispatch(
    text: str,
    inputs: Sequence[NDArray],
    scalars: Sequence[int],
    results: Sequence[tuple[tuple[int, ...], type | np.dtype]],
    *,
    options: str = "",
    strategy: str = "auto",
    on: MetalDevice | None = None,
    in_place: int | None = None,
) -> tuple[list[NDArray], CompiledDispatch]:
    """Compile a dispatch and run it; return its results and what was compiled."""
    _, compiled = compile_dispatch(text, options, strategy)
    found = run_compiled(compiled, inputs, scalars, results, on=on, in_place=in_place)
    return found, compiled


def run_compiled(
    compiled: CompiledDispatch,
    inputs: Sequence[NDArray],
    scalars: Sequence[int],
    results: Sequence[tuple[tuple[int, ...], type | np.dtype]],
    *,
    on: MetalDevice | None = None,
    in_place: int | None = None,
) -> list[NDArray]:
    """Run a compiled dispatch.

    Results start as a byte pattern and are followed by a guard that must be left alone. With
    ``in_place`` the only result lies over that input.
    """
    backend = MetalBackend("metal")
    executable = backend.link([compiled], backend.resolve(""))
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
    assert done.wait(1)
    found = []
    for slot, (shape, dtype) in zip(slots[len(inputs) :], results, strict=True):
        data = buffers[slot].read(0, buffers[slot].nbytes)
        if in_place is None:
            assert (data[-_GUARD:] == 0xA5).all(), "the kernel wrote past the end of its result"
            data = data[:-_GUARD]
        found.append(data.view(dtype).reshape(shape))
    return found


def _bytes(array: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
