"""Command lists as prepared calls of Metal, made once for the buffers they meet.

Metal's command buffers run once; what :mod:`iree_core.hal.recording` keeps of a command list is
everything they are encoded from: checked places, sizes, pipelines.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from iree_backend_metal.executable import Pipeline
from iree_backend_metal.memory import Memory, MetalBuffer
from iree_core.hal.kernel_image import Entry
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedBuffer
from iree_core.hal.recording import Place, Recorder
from iree_core.vm.program import CommandList

if TYPE_CHECKING:
    from iree_backend_metal.driver import MetalDevice

# The blit commands of macOS take multiples of four bytes.
_WORD = 4
# What they fill with is a signed char to PyObjC.
_LARGEST_FILL = 127

Encode = Callable[[Any], None]


class Recording(Recorder[Memory, Pipeline]):
    """A command list prepared for certain buffers and parameters."""

    # What vectors of four floats need, and more than any element does.
    alignment = 16

    def __init__(
        self,
        device: MetalDevice,
        commands: CommandList,
        executable: KernelExecutable[Pipeline] | None,
        buffers: Sequence[PartedBuffer[Memory]],
        params: Sequence[int],
    ) -> None:
        """Prepare everything; raises what :meth:`Recorder.record` does."""
        super().__init__(device.description, executable, buffers, params)
        self._device = device
        self._steps: list[tuple[str, Encode]] = []  # the kind of encoder, and what to call
        self.record(commands)

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

    def allocate(self, nbytes: int) -> MetalBuffer:
        """Return fresh memory for this recording."""
        return MetalBuffer(self._device.heap, nbytes)

    def check_tensor(self, entry: Entry, operand: int, nbytes: int) -> str | None:
        """Return why a kernel cannot index a tensor of that size; None if it can."""
        if nbytes // entry.element_bytes[operand] > self.largest_index:
            return f"a kernel counts to {self.largest_index} elements"
        return None

    def dispatch(
        self, number: int, places: Sequence[Place[Memory]], scalars: Sequence[int], grid: int
    ) -> None:
        """Prepare a dispatch."""
        pipeline = self.kernels[number]
        workgroup = pipeline.entry.workgroup
        words = struct.pack(f"<{len(scalars)}i", *scalars)
        bound = [(place.memory, place.offset) for place in places]
        self._run(pipeline.state, bound, words, -(-grid // workgroup), workgroup)

    def _run(
        self,
        state: Any,
        places: Sequence[tuple[Memory, int]],
        sizes: bytes,
        groups: int,
        threads: int,
    ) -> None:
        bound = [(memory.buffer, offset, n) for n, (memory, offset) in enumerate(places)]
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

    def copy(self, source: Place[Memory], target: Place[Memory]) -> None:
        """Prepare a copy, by a kernel of the driver's own where it is odd."""
        start, place, length = source.offset, target.offset, source.nbytes
        if start % _WORD or place % _WORD or length % _WORD:
            sizes = struct.pack("<3Q", start, place, length)
            memories = [source.memory, target.memory]
            self._bytewise(self._device.utilities.copy, memories, sizes, length)
            return
        from_buffer, to_buffer = source.memory.buffer, target.memory.buffer

        def call(encoder: Any) -> None:
            encoder.copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size_(
                from_buffer, start, to_buffer, place, length
            )

        self._steps.append(("blit", call))

    def fill(self, target: Place[Memory], pattern: bytes) -> None:
        """Prepare a fill, by a kernel of the driver's own where it is odd."""
        offset, length = target.offset, target.nbytes
        odd = offset % _WORD or length % _WORD
        if odd or len(pattern) > 1 or pattern[0] > _LARGEST_FILL:
            sizes = struct.pack("<2Q", offset, length) + (pattern * 8)[:8]
            self._bytewise(self._device.utilities.fill, [target.memory], sizes, length)
            return
        buffer, value = target.memory.buffer, pattern[0]

        def call(encoder: Any) -> None:
            encoder.fillBuffer_range_value_(buffer, (offset, length), value)

        self._steps.append(("blit", call))

    def _bytewise(self, kernel: Any, memories: Sequence[Memory], sizes: bytes, length: int) -> None:
        utilities = self._device.utilities
        threads = utilities.THREADS
        groups = min(-(-length // threads), utilities.MOST_GROUPS)
        self._run(kernel, [(memory, 0) for memory in memories], sizes, groups, threads)
