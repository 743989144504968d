"""Command lists as CUDA graphs.

A command list becomes plain calls of the API once its buffers and parameters are known. The
first time these calls go to the stream as they are; when the same operands come again, as they
do when a program runs in a loop, they are captured into a graph, which is replayed from then on.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from iree_backend_cuda import cu
from iree_backend_cuda.executable import CudaExecutable, Function
from iree_backend_cuda.memory import CudaBuffer
from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal import CommandBuffer
from iree_core.hal.commands import check_commands
from iree_core.vm.program import Binding, CommandList, Copy, Dispatch, Fill, Operand

if TYPE_CHECKING:
    from iree_backend_cuda.driver import CudaDevice

# Kernels expect their buffers at multiples of this (iree_backend_cuda.lower).
ALIGNMENT = 16
_KEPT = 8
_MOST_BLOCKS = (1 << 31) - 1
Call = Callable[[int], object]


class CudaCommandBuffer(CommandBuffer):
    """A command list with its recordings."""

    def __init__(
        self, device: CudaDevice, commands: CommandList, executable: CudaExecutable | None
    ) -> None:
        """Check ``commands``.

        Raises:
            ModuleFileError: they refer to what does not exist.
        """
        self.slots, self.params = commands.slots, commands.params
        self._device, self._commands = device, commands
        self._functions = executable.functions if executable else []
        self._recordings: OrderedDict[tuple, Recording] = OrderedDict()
        check_commands(commands, [function.entry for function in self._functions])

    def recording(self, buffers: Sequence[CudaBuffer], params: Sequence[int]) -> Recording:
        """Return the recording for these operands.

        Raises:
            DeviceError: an operand is out of range, or out of memory.
        """
        key = (*((buffer.address, buffer.nbytes) for buffer in buffers), *params)
        found = self._recordings.get(key)
        if found is None:
            found = Recording(self._device, self._commands, self._functions, buffers, params)
            self._recordings[key] = found
            if len(self._recordings) > _KEPT:
                self._recordings.popitem(last=False)
        else:
            self._recordings.move_to_end(key)
        return found


class Recording:
    """A command list for certain buffers and parameters."""

    def __init__(
        self,
        device: CudaDevice,
        commands: CommandList,
        functions: Sequence[Function],
        buffers: Sequence[CudaBuffer],
        params: Sequence[int],
    ) -> None:
        """Resolve every operand; raises DeviceError like :meth:`CudaCommandBuffer.recording`."""
        self._device, self._functions, self._params = device, functions, params
        self._buffers = buffers
        self._owned: list[CudaBuffer] = []
        self._calls: list[Call] = []
        self._arguments: list[object] = []
        self._graph: int | None = None
        self._runs = 0
        self._scratch = self._scratch_buffer(commands)
        for command in commands.commands:
            if isinstance(command, Dispatch):
                self._dispatch(command)
            elif isinstance(command, Copy):
                self._copy(command)
            else:
                self._fill(command)
        del self._buffers  # whoever submits keeps them

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

    # Operands.

    def _number(self, operand: Operand) -> int:
        kind, number = operand
        return self._params[number] if kind == "param" else number

    def _place(self, binding: Binding, length: int) -> int:
        """Return the address of a tensor."""
        buffer, offset = self._buffers[binding.slot], self._number(binding.offset)
        if offset < 0 or length < 0 or offset + length > buffer.nbytes:
            raise DeviceError(
                f"A command uses {length} bytes at offset {offset} of a buffer of "
                f"{buffer.nbytes} bytes."
            )
        return buffer.address + offset

    def _temporary(self, nbytes: int) -> CudaBuffer:
        made = CudaBuffer(self._device, nbytes)
        self._owned.append(made)
        return made

    def _scratch_buffer(self, commands: CommandList) -> CudaBuffer | None:
        """Return private memory for the most demanding dispatch; they run one by one."""
        sizes = [self._number(c.scratch) for c in commands.commands if isinstance(c, Dispatch)]
        most = max(sizes, default=0)
        return self._temporary(most) if most else None

    # Commands.

    def _dispatch(self, command: Dispatch) -> None:
        function = self._functions[command.entry]
        entry = function.entry
        scalars = [self._number(operand) for operand in command.scalars]
        grid = self._number(command.grid)
        if grid <= 0:
            return
        blocks = -(-grid // entry.workgroup)
        if blocks > _MOST_BLOCKS:
            raise DeviceError(f"A dispatch of {blocks} blocks is too large for the device.")
        addresses, copies_out = [], []
        first_result = len(entry.bindings) - entry.results
        for number, (binding, size) in enumerate(
            zip(command.bindings, entry.bindings, strict=True)
        ):
            length = size.evaluate(scalars)
            address = self._place(binding, length)
            if address % ALIGNMENT:
                copy = self._temporary(max(1, length)).address
                self._copy_bytes(address, copy, length)
                if number >= first_result:
                    copies_out.append((copy, address, length))
                address = copy
            addresses.append(address)
        numbers = [*addresses, *scalars]
        if entry.scratch:
            if self._scratch is None:
                raise ModuleFileError("A kernel uses private memory that its dispatch has not.")
            numbers.append(self._scratch.address)
        maps = [
            form.encode(self._device, addresses[form.binding], scalars)
            for form in function.launch.maps
        ]
        self._launch(function, blocks, numbers, maps)
        for copied in copies_out:
            self._copy_bytes(*copied)

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

    def _copy(self, command: Copy) -> None:
        length = self._number(command.length)
        source, target = self._place(command.source, length), self._place(command.target, length)
        self._copy_bytes(source, target, length)

    def _copy_bytes(self, source: int, target: int, length: int) -> None:
        if length:
            self._add("MemcpyDtoDAsync_v2", target, source, length)

    def _fill(self, command: Fill) -> None:
        length, pattern = self._number(command.length), command.pattern
        target = self._place(command.target, length)
        while len(pattern) > 1 and pattern[: len(pattern) // 2] == pattern[len(pattern) // 2 :]:
            pattern = pattern[: len(pattern) // 2]
        size = len(pattern)
        number = int.from_bytes(pattern, "little")
        if not length:
            return
        if length % size or target % min(size, 4):
            data = np.frombuffer(pattern * (-(-length // size)), np.uint8)[:length]
            source = self._temporary(length)
            source.write(0, data)
            self._copy_bytes(source.address, target, length)
        elif size == 8:
            for half in range(2):
                word = number >> 32 * half & 0xFFFFFFFF
                self._add("MemsetD2D32Async", target + 4 * half, 8, word, 1, length // 8)
        else:
            self._add(f"MemsetD{8 * size}Async", target, number, length // size)


def _destroy(device: CudaDevice, graph: int) -> None:
    if device.error is None:
        with device.current():
            device.guarded(device.api.GraphExecDestroy, graph)
