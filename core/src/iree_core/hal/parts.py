"""Buffers that lie in several allocations, where one cannot be large enough or would have gaps.

A device limits how large an allocation is. The read-only data of a module is divided between its
tensors, so that each lies in one allocation, and what a program does not use is left out. Other
buffers are divided anywhere; a tensor across a border is moved by whoever records commands.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from iree_core.errors import DeviceError
from iree_core.hal.buffer import Buffer, Region
from iree_core.hal.device import Allocator
from iree_core.hal.heap import Heap, M

ALIGNMENT = 64
# Unused bytes up to this are allocated rather than divide what lies around them.
_LARGEST_GAP = 1 << 16


@dataclass(frozen=True)
class Part(Generic[M]):
    """Bytes ``start`` to ``start + nbytes`` of a buffer, at the begin of ``memory``."""

    start: int
    nbytes: int
    memory: M


@dataclass(frozen=True)
class Piece(Generic[M]):
    """A part of a range: ``nbytes`` from ``offset`` of ``memory``, the range's from ``start``."""

    start: int
    nbytes: int
    memory: M
    offset: int


def divide(
    nbytes: int, most: int, regions: Sequence[Region] | None = None
) -> list[tuple[int, int]]:
    """Return first byte and size of the parts of a buffer.

    Args:
        nbytes: of the buffer.
        most: of a part.
        regions: what is used of the buffer, each to be in one part if it can; None for all of it.
    """
    most = max(ALIGNMENT, most // ALIGNMENT * ALIGNMENT)
    if regions is None:
        return [(start, min(most, nbytes - start)) for start in range(0, max(1, nbytes), most)]
    parts: list[tuple[int, int]] = []
    for region in sorted(regions, key=lambda region: region.offset):
        end = region.offset + region.nbytes
        if parts:
            start, size = parts[-1]
            if end - start <= most and region.offset - (start + size) <= _LARGEST_GAP:
                parts[-1] = start, max(size, end - start)
                continue
        parts += [(region.offset + start, size) for start, size in divide(region.nbytes, most)]
    return parts or [(0, 0)]


class PartedBuffer(Buffer, Generic[M]):
    """A buffer of a device with memory of its own; its driver adds how bytes get there.

    Attributes:
        parts: where its bytes are, by their start.
        regions: the tensors in it, where their names are known.
        key: equal for buffers that are the same memory.
    """

    __slots__ = ("__weakref__", "heap", "key", "parts", "read_only", "regions")

    def __init__(
        self,
        heap: Heap[M],
        nbytes: int,
        *,
        exclusive: bool = True,
        regions: Sequence[Region] | None = None,
    ) -> None:
        """Allocate.

        Raises:
            DeviceError: out of memory.
        """
        if nbytes < 0:
            raise DeviceError(f"A buffer of {nbytes} bytes was asked for.")
        self.heap, self.nbytes, self.exclusive = heap, nbytes, exclusive
        self.read_only = False
        self.regions = sorted(regions or (), key=lambda region: region.offset)
        spans = divide(nbytes, heap.most, regions)
        if sum(size for _, size in spans) > heap.total(heap.mapped):
            raise heap.out_of_memory(nbytes)
        made: list[Part[M]] = []
        weakref.finalize(self, _give_back, heap, made).atexit = False
        for start, size in spans:
            made.append(Part(start, size, heap.take(size, heap.mapped)))
        self.parts = made
        self.key = (nbytes, *(part.memory.serial for part in made))

    @property
    def memory(self) -> M:
        """The memory of a buffer that is in one part, or of the first part."""
        return self.parts[0].memory

    def pieces(self, offset: int, length: int) -> list[Piece[M]]:
        """Return where a range lies, in order; at least one piece.

        Raises:
            DeviceError: it reaches past the end of the buffer, or to bytes that are not there.
        """
        self._check(offset, length)
        number = bisect_right(self.parts, offset, key=lambda part: part.start) - 1
        part = self.parts[max(0, number)]
        if number >= 0 and offset + length <= part.start + part.nbytes:
            return [Piece(offset, length, part.memory, offset - part.start)]
        if not length:
            return [Piece(offset, 0, part.memory, 0)]
        return list(self._divided(max(0, number), offset, offset + length))

    def _divided(self, number: int, offset: int, end: int) -> Iterator[Piece[M]]:
        while offset < end:
            part = self.parts[number] if number < len(self.parts) else None
            if part is None or offset < part.start:
                raise DeviceError("A program uses data that its module does not name.")
            stop = min(end, part.start + part.nbytes)
            if stop > offset:
                yield Piece(offset, stop - offset, part.memory, offset - part.start)
                offset = stop
            number += 1

    def region_at(self, offset: int) -> Region | None:
        """Return the tensor that the byte at ``offset`` belongs to, where its name is known."""
        number = bisect_right(self.regions, offset, key=lambda region: region.offset) - 1
        if number < 0:
            return None
        region = self.regions[number]
        return region if offset < region.offset + region.nbytes else None

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.nbytes:
            raise DeviceError(
                f"{length} bytes at offset {offset} reach past the end of a buffer of "
                f"{self.nbytes} bytes."
            )

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a copy of a range."""
        pieces = self.pieces(offset, length)
        result = np.empty(length, np.uint8)
        for piece in pieces if length else ():
            start = piece.start - offset
            self.download(piece, result[start : start + piece.nbytes])
        return result

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Overwrite a range."""
        for piece in self.pieces(offset, data.nbytes):
            if not piece.nbytes:
                return
            start = piece.start - offset
            self.upload(piece, data[start : start + piece.nbytes])

    def fill_from(self, data: NDArray[np.uint8]) -> None:
        """Set all that there is of the buffer to the bytes of ``data``, which is as large."""
        for part in self.parts:
            if part.nbytes:
                whole = data[part.start : part.start + part.nbytes]
                self.upload(Piece(part.start, part.nbytes, part.memory, 0), whole)

    @abstractmethod
    def download(self, piece: Piece[M], target: NDArray[np.uint8]) -> None:
        """Copy from the device to ``target``."""

    @abstractmethod
    def upload(self, piece: Piece[M], source: NDArray[np.uint8]) -> None:
        """Copy ``source`` to the device."""


def _give_back(heap: Heap[M], parts: list[Part[M]]) -> None:
    for part in parts:
        heap.give_back(part.memory)


class MappedBuffer(PartedBuffer[M]):
    """A buffer whose memory the host may see."""

    __slots__ = ()

    @abstractmethod
    def mapped(self, piece: Piece[M]) -> NDArray[np.uint8] | None:
        """Return the bytes themselves where the host sees them; the array keeps the buffer."""

    @abstractmethod
    def transfer(self, piece: Piece[M], data: NDArray[np.uint8], *, write: bool) -> None:
        """Copy between the host and memory that it does not see."""

    def map(self, offset: int, length: int) -> NDArray[np.uint8] | None:
        """Return a range itself where the host sees it and it is in one part."""
        pieces = self.pieces(offset, length)
        return None if len(pieces) > 1 else self.mapped(pieces[0])

    def download(self, piece: Piece[M], target: NDArray[np.uint8]) -> None:
        """Copy from the device to ``target``."""
        found = self.mapped(piece)
        if found is not None:
            target[:] = found
        else:
            self.transfer(piece, target, write=False)

    def upload(self, piece: Piece[M], source: NDArray[np.uint8]) -> None:
        """Copy ``source`` to the device."""
        found = self.mapped(piece)
        if found is not None:
            found[:] = source
        else:
            self.transfer(piece, source, write=True)


class PartedAllocator(Allocator, Generic[M]):
    """Allocates buffers of one class on one device."""

    def __init__(self, heap: Heap[M], make: Callable[..., PartedBuffer[M]]) -> None:
        """Make buffers with ``make``, which takes what :class:`PartedBuffer` takes."""
        self.heap, self.make = heap, make

    def allocate(self, nbytes: int) -> PartedBuffer[M]:
        """Return a fresh buffer."""
        return self.make(self.heap, nbytes)

    def import_host(self, data: NDArray[np.uint8]) -> PartedBuffer[M]:
        """Return a buffer with a copy of ``data``."""
        return self._filled(self.make(self.heap, data.nbytes, exclusive=False), data)

    def import_constants(
        self, data: NDArray[np.uint8], regions: Sequence[Region]
    ) -> PartedBuffer[M]:
        """Return a buffer with a copy of ``regions`` of ``data``, each in one part if it can be."""
        buffer = self.make(self.heap, data.nbytes, exclusive=False, regions=regions)
        return self._filled(buffer, data)

    def _filled(self, buffer: PartedBuffer[M], data: NDArray[np.uint8]) -> PartedBuffer[M]:
        buffer.fill_from(data)
        buffer.read_only = True
        return buffer

    def owns(self, buffer: Buffer) -> bool:
        """Tell whether ``buffer`` is memory of this device."""
        return isinstance(buffer, PartedBuffer) and buffer.heap is self.heap
