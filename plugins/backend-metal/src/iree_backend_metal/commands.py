"""Command lists as prepared calls of Metal, made once for the buffers they meet.

Metal's command buffers run once; what is kept of a command list is everything they are encoded
from: checked places, sizes, pipelines. A recording belongs to certain buffers and parameters.
Calls that come with the same ones again, as they do when a program runs in a loop, replay it; a
few recordings are kept.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from iree_backend_metal.executable import MetalExecutable, Pipeline
from iree_backend_metal.memory import MetalBuffer
from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal import CommandBuffer
from iree_core.hal.commands import check_commands
from iree_core.vm.program import Binding, CommandList, Copy, Dispatch, Fill, Operand

if TYPE_CHECKING:
    from iree_backend_metal.driver import MetalDevice

_KEPT = 4
_LARGEST_INDEX = (1 << 31) - 1
# What vectors of four floats need, and more than any element does.
_ALIGNMENT = 16
# The blit commands of macOS take multiples of four bytes.
_WORD = 4
# What they fill with is a signed char to PyObjC.
_LARGEST_FILL = 127

Encode = Callable[[Any], None]
Place = tuple[MetalBuffer, int]


class MetalCommandBuffer(CommandBuffer):
    """A command list with its recordings."""

    def __init__(
        self, device: MetalDevice, commands: CommandList, executable: MetalExecutable | None
    ) -> None:
        """Check ``commands``.

        Raises:
            ModuleFileError: they refer to what does not exist.
        """
        self.slots, self.params = commands.slots, commands.params
        self._device, self._commands = device, commands
        self._pipelines = executable.pipelines if executable else []
        self._recordings: OrderedDict[tuple, Recording] = OrderedDict()
        check_commands(commands, [pipeline.entry for pipeline in self._pipelines])

    def recording(self, buffers: Sequence[MetalBuffer], params: Sequence[int]) -> Recording:
        """Return the recording for these operands.

        Raises:
            DeviceError: a tensor is too large, or out of memory.
        """
        key = (*(buffer.memory.serial for buffer in buffers), *params)
        found = self._recordings.get(key)
        if found is None:
            found = Recording(self._device, self._commands, self._pipelines, buffers, params)
            self._recordings[key] = found
            if len(self._recordings) > _KEPT:
                self._recordings.popitem(last=False)
        else:
            self._recordings.move_to_end(key)
        return found


class Recording:
    """A command list prepared for certain buffers and parameters."""

    def __init__(
        self,
        device: MetalDevice,
        commands: CommandList,
        pipelines: Sequence[Pipeline],
        buffers: Sequence[MetalBuffer],
        params: Sequence[int],
    ) -> None:
        """Prepare everything; raises DeviceError like :meth:`MetalCommandBuffer.recording`."""
        self._device, self._pipelines = device, pipelines
        self._buffers, self._params = buffers, params
        self._steps: list[tuple[str, Encode]] = []  # the kind of encoder, and what to call
        self._owned: list[MetalBuffer] = []
        sizes = [self._number(c.scratch) for c in commands.commands if isinstance(c, Dispatch)]
        most = max(sizes, default=0)
        self._scratch = self._temporary(most) if most else None
        for command in commands.commands:
            if isinstance(command, Dispatch):
                self._dispatch(command)
            elif isinstance(command, Copy):
                self._copy(command)
            else:
                self._fill(command)
        del self._buffers

    def encode(self, command_buffer: Any) -> None:
        """Encode everything into an MTLCommandBuffer.

        Encoders are serial and buffers tracked for hazards, so each command sees what those
        before it wrote.
        """
        encoder, current = None, ""
        for kind, call in self._steps:
            if kind != current:
                if encoder is not None:
                    encoder.endEncoding()
                compute = kind == "compute"
                encoder = (
                    command_buffer.computeCommandEncoder()
                    if compute
                    else command_buffer.blitCommandEncoder()
                )
                current = kind
            call(encoder)
        if encoder is not None:
            encoder.endEncoding()

    def _number(self, operand: Operand) -> int:
        kind, number = operand
        return self._params[number] if kind == "param" else number

    def _place(self, binding: Binding, length: int) -> Place:
        buffer, offset = self._buffers[binding.slot], self._number(binding.offset)
        if offset < 0 or length < 0 or offset + length > buffer.nbytes:
            raise DeviceError(
                f"A command uses {length} bytes at offset {offset} of a buffer of "
                f"{buffer.nbytes} bytes."
            )
        return buffer, offset

    def _temporary(self, nbytes: int) -> MetalBuffer:
        made = MetalBuffer(self._device, nbytes)
        self._owned.append(made)
        return made

    # Dispatches.

    def _dispatch(self, command: Dispatch) -> None:
        pipeline = self._pipelines[command.entry]
        entry = pipeline.entry
        scalars = [self._number(operand) for operand in command.scalars]
        grid = self._number(command.grid)
        most = max((abs(number) for number in (*scalars, grid)), default=0)
        if most > _LARGEST_INDEX:
            raise DeviceError(f"A tensor dimension or grid of {most} is too large for a kernel.")
        if grid <= 0:
            return
        places: list[Place] = []
        copies: list[tuple[Place, Place, int]] = []
        first_result = len(entry.bindings) - entry.results
        for number, (binding, size) in enumerate(
            zip(command.bindings, entry.bindings, strict=True)
        ):
            length = size.evaluate(scalars)
            if length // entry.element_bytes[number] > _LARGEST_INDEX:
                raise DeviceError(
                    f"A tensor of {length} bytes has too many elements for a kernel, which counts "
                    f"to {_LARGEST_INDEX}.",
                    hint="Use a smaller batch.",
                )
            place = self._place(binding, length)
            places.append(self._bindable(place, length))
            if places[-1] != place and number >= first_result:
                copies.append((places[-1], place, length))
        if entry.scratch:
            if self._scratch is None:
                raise ModuleFileError("A kernel uses private memory that its dispatch has not.")
            places.append((self._scratch, 0))
        words = struct.pack(f"<{len(scalars)}i", *scalars)
        self._run(pipeline.state, places, words, -(-grid // entry.workgroup), entry.workgroup)
        for source, target, length in copies:
            self._copy_bytes(source, target, length)

    def _bindable(self, place: Place, length: int) -> Place:
        """Return a tensor's place where a kernel can read vectors, as a copy if need be."""
        if place[1] % _ALIGNMENT == 0:
            return place
        copy = (self._temporary(length), 0)
        self._copy_bytes(place, copy, length)
        return copy

    def _run(
        self, state: Any, places: Sequence[Place], sizes: bytes, groups: int, threads: int
    ) -> None:
        bound = [(b.memory.buffer, offset, n) for n, (b, offset) in enumerate(places)]
        make_size = self._device.metal.MTLSizeMake
        grid, group = make_size(groups, 1, 1), make_size(threads, 1, 1)

        def call(encoder: Any) -> None:
            encoder.setComputePipelineState_(state)
            for buffer, offset, number in bound:
                encoder.setBuffer_offset_atIndex_(buffer, offset, number)
            if sizes:
                encoder.setBytes_length_atIndex_(sizes, len(sizes), len(bound))
            encoder.dispatchThreadgroups_threadsPerThreadgroup_(grid, group)

        self._steps.append(("compute", call))

    # Copies and fills.

    def _copy(self, command: Copy) -> None:
        length = self._number(command.length)
        self._copy_bytes(
            self._place(command.source, length), self._place(command.target, length), length
        )

    def _copy_bytes(self, source: Place, target: Place, length: int) -> None:
        if not length:
            return
        (origin, start), (goal, place) = source, target
        if start % _WORD or place % _WORD or length % _WORD:
            sizes = struct.pack("<3Q", start, place, length)
            kernel = self._device.utilities.copy
            self._bytewise(kernel, [origin, goal], sizes, length)
            return
        from_buffer, to_buffer = origin.memory.buffer, goal.memory.buffer

        def call(encoder: Any) -> None:
            encoder.copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size_(
                from_buffer, start, to_buffer, place, length
            )

        self._steps.append(("blit", call))

    def _fill(self, command: Fill) -> None:
        length = self._number(command.length)
        target, offset = self._place(command.target, length)
        if not length:
            return
        pattern = command.pattern
        odd = offset % _WORD or length % _WORD
        if odd or len(set(pattern)) > 1 or pattern[0] > _LARGEST_FILL:
            sizes = struct.pack("<2Q", offset, length) + (pattern * 8)[:8]
            self._bytewise(self._device.utilities.fill, [target], sizes, length)
            return
        buffer, value = target.memory.buffer, pattern[0]

        def call(encoder: Any) -> None:
            encoder.fillBuffer_range_value_(buffer, (offset, length), value)

        self._steps.append(("blit", call))

    def _bytewise(
        self, kernel: Any, buffers: Sequence[MetalBuffer], sizes: bytes, length: int
    ) -> None:
        utilities = self._device.utilities
        threads = utilities.THREADS
        groups = min(-(-length // threads), utilities.MOST_GROUPS)
        self._run(kernel, [(buffer, 0) for buffer in buffers], sizes, groups, threads)
