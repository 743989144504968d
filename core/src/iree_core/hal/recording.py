"""Command lists recorded for the buffers they meet: what drivers of kernel images share.

A recording belongs to certain buffers and parameters. Calls that come with the same ones again,
as they do when a program runs in a loop, replay it; a few recordings are kept. Here every operand
is resolved and checked, and a tensor that a kernel cannot read where it is, because it starts at
an odd place or lies in several allocations, is moved; the driver adds how a dispatch, a copy and a
fill are written down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal.commands import check_commands
from iree_core.hal.device import CommandBuffer
from iree_core.hal.heap import M
from iree_core.hal.kernel_image import Entry
from iree_core.hal.kernels import K, KernelExecutable
from iree_core.hal.parts import PartedBuffer, Piece
from iree_core.vm.program import Binding, CommandList, Copy, Dispatch, Fill, Operand

# A loop of as many iterations, each with other parameters, is replayed as a whole.
_KEPT = 32
_MOST_OWNED_BYTES = 64 << 20


class Recorded(Protocol):
    """What a driver makes of a command list.

    Attributes:
        owned: memory of its own.
    """

    owned: Any


R = TypeVar("R", bound=Recorded)


class RecordedCommands(CommandBuffer, Generic[R]):
    """A command list with its recordings."""

    def __init__(
        self,
        commands: CommandList,
        executable: KernelExecutable[Any] | None,
        record: Callable[[Sequence[PartedBuffer], Sequence[int]], R],
    ) -> None:
        """Check ``commands``.

        Args:
            commands: the list.
            executable: what it dispatches, None if nothing.
            record: records the list for certain buffers and parameters.

        Raises:
            ModuleFileError: they refer to what does not exist.
        """
        self.slots, self.params = commands.slots, commands.params
        self._record = record
        self._recordings: OrderedDict[tuple, R] = OrderedDict()
        check_commands(commands, [k.entry for k in executable.kernels] if executable else [])

    def recording(self, buffers: Sequence[PartedBuffer], params: Sequence[int]) -> R:
        """Return the recording for these operands.

        Raises:
            DeviceError: an operand is out of range, too large for the device, or out of memory.
        """
        key = (*(buffer.key for buffer in buffers), *params)
        found = self._recordings.get(key)
        if found is None:
            found = self._recordings[key] = self._record(buffers, params)
            self._trim()
        else:
            self._recordings.move_to_end(key)
        return found

    def _trim(self) -> None:
        """Forget the recordings that were not used for longest, but the last."""
        owned = sum(buffer.nbytes for made in self._recordings.values() for buffer in made.owned)
        while len(self._recordings) > 1 and (
            len(self._recordings) > _KEPT or owned > _MOST_OWNED_BYTES
        ):
            _, dropped = self._recordings.popitem(last=False)
            owned -= sum(buffer.nbytes for buffer in dropped.owned)


@dataclass(frozen=True)
class Place(Generic[M]):
    """``nbytes`` of device memory from ``offset`` of ``memory``."""

    memory: M
    offset: int
    nbytes: int


class Recorder(ABC, Generic[M, K]):
    """Goes through a command list for certain buffers and parameters.

    Attributes:
        alignment: of the tensors that kernels read and write.
        largest_index: what scalars and grids may be at most.
        kernels: of the executable.
        owned: memory of the recording's own.
    """

    alignment: int = 16
    largest_index: int = (1 << 31) - 1

    def __init__(
        self,
        device: str,
        executable: KernelExecutable[K] | None,
        buffers: Sequence[PartedBuffer[M]],
        params: Sequence[int],
    ) -> None:
        """Keep what commands refer to.

        Args:
            device: its description, for messages.
            executable: what is dispatched, None if nothing is.
            buffers, params: the operands of the command list.
        """
        self._device_name = device
        self._names = executable.entries if executable else ()
        self.kernels: Sequence[K] = executable.kernels if executable else ()
        self._buffers, self._params = buffers, params
        self.owned: list[PartedBuffer[M]] = []
        self._scratch: Place[M] | None = None

    # What a driver adds.

    @abstractmethod
    def allocate(self, nbytes: int) -> PartedBuffer[M]:
        """Return fresh memory for this recording."""

    @abstractmethod
    def dispatch(
        self, number: int, places: Sequence[Place[M]], scalars: Sequence[int], grid: int
    ) -> None:
        """Write down a dispatch of ``grid`` work items of entry point ``number``.

        ``places`` holds its tensors, then private memory where the entry point takes some.
        """

    @abstractmethod
    def copy(self, source: Place[M], target: Place[M]) -> None:
        """Write down a copy of one byte or more."""

    @abstractmethod
    def fill(self, target: Place[M], pattern: bytes) -> None:
        """Write down a fill of one byte or more; ``pattern`` is as short as it can be."""

    def check_tensor(self, entry: Entry, operand: int, nbytes: int) -> str | None:
        """Return why a kernel cannot take a tensor of that size; None if it can."""
        return None

    # What is common.

    def record(self, commands: CommandList) -> None:
        """Write down everything.

        Raises:
            DeviceError: an operand is out of range, too large for the device, or out of memory.
        """
        sizes = [self._number(c.scratch) for c in commands.commands if isinstance(c, Dispatch)]
        most = max(sizes, default=0)
        if most:  # one for all, since they run one by one
            self._scratch = self._temporary(most)
        for command in commands.commands:
            if isinstance(command, Dispatch):
                self._dispatch(command)
            elif isinstance(command, Copy):
                length = self._number(command.length)
                source, target = (self._pieces(b, length) for b in (command.source, command.target))
                self._copy(source, target)
            else:
                self._fill(command)
        self._buffers = ()  # whoever submits keeps them

    def _number(self, operand: Operand) -> int:
        kind, number = operand
        return self._params[number] if kind == "param" else number

    def _pieces(self, binding: Binding, length: int) -> list[Piece[M]]:
        buffer, offset = self._buffers[binding.slot], self._number(binding.offset)
        if offset < 0 or length < 0 or offset + length > buffer.nbytes:
            raise DeviceError(
                f"A command uses {length} bytes at offset {offset} of a buffer of "
                f"{buffer.nbytes} bytes."
            )
        return buffer.pieces(offset, length)

    def _temporary(self, nbytes: int) -> Place[M]:
        made = self.allocate(max(self.alignment, nbytes))
        if len(made.parts) > 1:
            raise DeviceError(f"An allocation has at most {made.heap.most} bytes.")
        self.owned.append(made)
        return Place(made.memory, 0, nbytes)

    def _dispatch(self, command: Dispatch) -> None:
        entry = self.kernels[command.entry].entry
        scalars = [self._number(operand) for operand in command.scalars]
        grid = self._number(command.grid)
        most = max((abs(number) for number in (*scalars, grid)), default=0)
        if most > self.largest_index:
            raise DeviceError(f"A tensor dimension or grid of {most} is too large for a kernel.")
        if grid <= 0:
            return
        places: list[Place[M]] = []
        moved: list[tuple[Place[M], list[Piece[M]]]] = []
        first_result = len(entry.bindings) - entry.results
        for operand, size in enumerate(entry.bindings):
            length = size.evaluate(scalars)
            reason = self.check_tensor(entry, operand, length)
            if reason is not None:
                raise self._too_large(command, operand, length, reason)
            pieces = self._pieces(command.bindings[operand], length)
            place = _one_place(pieces)
            if place is None or place.offset % self.alignment:
                place = self._moved(command, operand, length)
                self._copy(pieces, [_whole(place)])
                if operand >= first_result:
                    moved.append((place, pieces))
            places.append(place)
        if entry.scratch:
            if self._scratch is None:
                raise ModuleFileError("A kernel uses private memory that its dispatch has not.")
            places.append(self._scratch)
        self.dispatch(command.entry, places, scalars, grid)
        for place, pieces in moved:
            self._copy([_whole(place)], pieces)

    def _moved(self, command: Dispatch, operand: int, length: int) -> Place[M]:
        """Return a place for a tensor that is elsewhere."""
        try:
            return self._temporary(length)
        except DeviceError as error:
            raise self._too_large(command, operand, length, error.what) from error

    def _too_large(self, command: Dispatch, operand: int, length: int, reason: str) -> DeviceError:
        binding = command.bindings[operand]
        region = self._buffers[binding.slot].region_at(self._number(binding.offset))
        name = f"The tensor {region.name!r}" if region is not None else "A tensor"
        return DeviceError(
            f"{name} of {length} bytes, operand {operand} of {self._names[command.entry]}, is too "
            f"large for {self._device_name}: {reason.removesuffix('.')}.",
            hint="Use a smaller batch, or a device with larger limits.",
        )

    def _copy(self, sources: Sequence[Piece[M]], targets: Sequence[Piece[M]]) -> None:
        for source, target in _pairs(sources, targets):
            self.copy(source, target)

    def _fill(self, command: Fill) -> None:
        length, pattern = self._number(command.length), _shortest(command.pattern)
        start = self._number(command.target.offset)
        for piece in self._pieces(command.target, length):
            turn = (piece.start - start) % len(pattern)
            if piece.nbytes:
                place = Place(piece.memory, piece.offset, piece.nbytes)
                self.fill(place, pattern[turn:] + pattern[:turn])


def _one_place(pieces: Sequence[Piece[M]]) -> Place[M] | None:
    if len(pieces) != 1:
        return None
    return Place(pieces[0].memory, pieces[0].offset, pieces[0].nbytes)


def _whole(place: Place[M]) -> Piece[M]:
    return Piece(0, place.nbytes, place.memory, place.offset)


def _pairs(
    sources: Sequence[Piece[M]], targets: Sequence[Piece[M]]
) -> Iterator[tuple[Place[M], Place[M]]]:
    """Yield pairs of places of equal size from two divisions of equally many bytes."""
    source, target, done = iter(sources), iter(targets), [0, 0]
    ends = [next(source), next(target)]
    left = sum(piece.nbytes for piece in sources)
    while left:
        for side, rest in enumerate((source, target)):
            if done[side] == ends[side].nbytes:
                ends[side], done[side] = next(rest), 0
        size = min(ends[side].nbytes - done[side] for side in range(2))
        first, second = (
            Place(ends[side].memory, ends[side].offset + done[side], size) for side in range(2)
        )
        if size:
            yield first, second
        done = [number + size for number in done]
        left -= size


def _shortest(pattern: bytes) -> bytes:
    """Return the shortest pattern that repeats to the same bytes."""
    while len(pattern) > 1 and pattern[: len(pattern) // 2] == pattern[len(pattern) // 2 :]:
        pattern = pattern[: len(pattern) // 2]
    return pattern
