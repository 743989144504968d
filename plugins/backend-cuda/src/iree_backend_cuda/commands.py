"""Command lists as CUDA graphs.

A command list becomes plain calls of the API once its buffers and parameters are known. The
first time these calls go to the stream as they are; when the same operands come again, as they
do when a program runs in a loop, they are captured into a graph, which is replayed from then on.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from iree_backend_cuda import cu
from iree_backend_cuda.executable import Function
from iree_backend_cuda.memory import CudaBuffer, Memory
from iree_core.errors import DeviceError
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedBuffer
from iree_core.hal.recording import Place, Recorder
from iree_core.vm.program import CommandList

if TYPE_CHECKING:
    from iree_backend_cuda.driver import CudaDevice

_MOST_BLOCKS = (1 << 31) - 1
Call = Callable[[int], object]


class Recording(Recorder[Memory, Function]):
    """A command list for certain buffers and parameters."""

    # What kernels expect of their buffers (iree_backend_cuda.lower).
    alignment = 16
    largest_index = (1 << 63) - 1

    def __init__(
        self,
        device: CudaDevice,
        commands: CommandList,
        executable: KernelExecutable[Function] | None,
        buffers: Sequence[PartedBuffer[Memory]],
        params: Sequence[int],
    ) -> None:
        """Resolve every operand; raises what :meth:`Recorder.record` does."""
        super().__init__(device.description, executable, buffers, params)
        self._device = device
        self._calls: list[Call] = []
        self._arguments: list[object] = []
        self._graph: int | None = None
        self._runs = 0
        self.record(commands)

    def run(self, stream: int) -> None:
        """Hand the commands to ``stream``; the device's context is current."""
        self._runs += 1
        if self._runs == 1 or len(self._calls) < 2:
            for call in self._calls:
                call(stream)
            return
        if self._graph is None:
            self._graph = self._capture()
            weakref.finalize(self, _destroy, self._device, self._graph).atexit = False
        self._device.guarded(self._device.api.GraphLaunch, self._graph, stream)

    def _capture(self) -> int:
        device, api = self._device, self._device.api
        stream = device.capture_stream
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        # Relaxed: a finalizer that runs meanwhile may free memory.
        device.guarded(api.StreamBeginCapture_v2, stream, cu.CAPTURE_RELAXED)
        try:
            for call in self._calls:
                call(stream)
        finally:
            device.guarded(api.StreamEndCapture, stream, cu.pointer(graph))
        try:
            device.guarded(api.GraphInstantiateWithFlags, cu.pointer(executable), graph.value, 0)
        finally:
            device.guarded(api.GraphDestroy, graph.value)
        assert executable.value is not None
        return executable.value

    # Commands.

    def allocate(self, nbytes: int) -> CudaBuffer:
        """Return fresh memory for this recording."""
        return CudaBuffer(self._device.heap, nbytes)

    def dispatch(
        self, number: int, places: Sequence[Place[Memory]], scalars: Sequence[int], grid: int
    ) -> None:
        """Prepare a launch."""
        function = self.kernels[number]
        blocks = -(-grid // function.entry.workgroup)
        if blocks > _MOST_BLOCKS:
            raise DeviceError(f"A dispatch of {blocks} blocks is too large for the device.")
        addresses = [_address(place) for place in places]
        tensors = len(function.entry.bindings)
        numbers = [*addresses[:tensors], *scalars, *addresses[tensors:]]
        maps = [
            form.encode(self._device, addresses[form.binding], scalars)
            for form in function.launch.maps
        ]
        self._launch(function, blocks, numbers, maps)

    def _launch(
        self, function: Function, blocks: int, numbers: Sequence[int], maps: Sequence[ctypes.Array]
    ) -> None:
        values = (ctypes.c_uint64 * max(1, len(numbers)))(*(n & (1 << 64) - 1 for n in numbers))
        start = cu.pointer(values)
        places = [start + 8 * number for number in range(len(numbers))] + [*map(cu.pointer, maps)]
        pointers = (ctypes.c_void_p * max(1, len(places)))(*places)
        device, threads = self._device, function.entry.workgroup

        self._arguments += [values, maps]

        def call(stream: int) -> None:
            device.guarded(
                device.api.LaunchKernel, function.handle, blocks, 1, 1, threads, 1, 1,
                function.launch.shared, stream, cu.pointer(pointers), None,
            )  # fmt: skip

        self._calls.append(call)

    def _add(self, name: str, *arguments: int) -> None:
        device = self._device
        function = getattr(device.api, name)
        self._calls.append(lambda stream: device.guarded(function, *arguments, stream))

    def copy(self, source: Place[Memory], target: Place[Memory]) -> None:
        """Prepare a copy."""
        self._add("MemcpyDtoDAsync_v2", _address(target), _address(source), source.nbytes)

    def fill(self, target: Place[Memory], pattern: bytes) -> None:
        """Prepare a fill, or a copy of repeated bytes where CUDA has no such fill."""
        address, length, size = _address(target), target.nbytes, len(pattern)
        number = int.from_bytes(pattern, "little")
        if length % size or address % min(size, 4):
            data = np.frombuffer(pattern * (-(-length // size)), np.uint8)[:length]
            source = self.allocate(length)
            source.write(0, data)
            self.owned.append(source)
            self.copy(Place(source.memory, 0, length), target)
        elif size == 8:
            for half in range(2):
                word = number >> 32 * half & 0xFFFFFFFF
                self._add("MemsetD2D32Async", address + 4 * half, 8, word, 1, length // 8)
        else:
            self._add(f"MemsetD{8 * size}Async", address, number, length // size)


def _address(place: Place[Memory]) -> int:
    return place.memory.address + place.offset


def _destroy(device: CudaDevice, graph: int) -> None:
    if device.error is None:
        with device.current():
            device.guarded(device.api.GraphExecDestroy, graph)
