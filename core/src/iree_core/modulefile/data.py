"""The plan of a module's read-only data: what goes where, before any byte of it is made.

The compiler assigns offsets while it plans memory; the writer later streams the bytes, one
parameter at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iree_core.params import ParameterStore

ALIGNMENT = 64
FORMAT_VERSION = 1  # of schema.fbs


@dataclass(frozen=True)
class Segment:
    """One range of the data.

    Attributes:
        key: the parameter it holds; "" for inline bytes.
        offset: first byte, a multiple of :data:`ALIGNMENT`.
        nbytes: its size.
    """

    key: str
    offset: int
    nbytes: int


class DataSection:
    """Assigns offsets to parameters and constants; equal keys and equal bytes share one.

    The programs for several targets are planned one after the other. Each derives parameters
    again, under other keys; a derived one with the bytes of one that is planned shares its place.
    """

    def __init__(self, store: ParameterStore) -> None:
        self._store = store
        self._size = 0
        self._parameters: dict[str, Segment] = {}
        self._inline: dict[bytes, Segment] = {}
        self._earlier: dict[tuple[str, int], list[Segment]] = {}
        self._used: dict[int, Segment] = {}

    @property
    def size(self) -> int:
        """Bytes planned so far."""
        return self._size

    @property
    def segments(self) -> list[Segment]:
        """What is planned, by offset."""
        planned = [*self._parameters.values(), *self._inline.values()]
        return sorted({part.offset: part for part in planned}.values(), key=_offset)

    @property
    def used(self) -> list[Segment]:
        """What the current program uses of :attr:`segments`, by offset."""
        return sorted(self._used.values(), key=_offset)

    def begin_program(self) -> None:
        """Let the next program start: it uses nothing yet, and shares what is planned."""
        self._used = {}
        self._earlier.clear()
        for key, part in self._parameters.items():
            if self._store.is_derived(key):
                self._earlier.setdefault((_source(key), part.nbytes), []).append(part)

    def add_parameter(self, key: str) -> int:
        """Return the offset of the parameter ``key`` of the store.

        Raises:
            KeyError: the store has no such parameter.
        """
        if key not in self._parameters:
            twin = self._equal_to(key)
            self._parameters[key] = twin or self._place(key, self._store.nbytes(key))
        return self._use(self._parameters[key])

    def add_bytes(self, data: bytes) -> int:
        """Return the offset of ``data``."""
        if data not in self._inline:
            self._inline[data] = self._place("", len(data))
        return self._use(self._inline[data])

    def read(self) -> Iterator[tuple[Segment, NDArray[np.uint8]]]:
        """Yield each segment with its bytes, by offset; one parameter is in memory at a time.

        Raises:
            ValueError: a parameter's bytes are not what the store declared.
        """
        inline = {part.offset: data for data, part in self._inline.items()}
        for part in self.segments:
            if part.key:
                yield part, _bytes_of(self._store.read(part.key))
            else:
                yield part, np.frombuffer(inline[part.offset], np.uint8)

    def _use(self, part: Segment) -> int:
        self._used[part.offset] = part
        return part.offset

    def _equal_to(self, key: str) -> Segment | None:
        """Return the segment of an earlier program with the bytes of the derived entry ``key``."""
        if not self._store.is_derived(key):
            return None
        for part in self._earlier.get((_source(key), self._store.nbytes(key)), ()):
            mine, theirs = self._store.read(key), self._store.read(part.key)
            if np.array_equal(_bytes_of(mine), _bytes_of(theirs)):
                return part
        return None

    def _place(self, key: str, nbytes: int) -> Segment:
        offset = self._size
        self._size = -(-(offset + max(nbytes, 1)) // ALIGNMENT) * ALIGNMENT
        return Segment(key, offset, nbytes)


def _offset(part: Segment) -> int:
    return part.offset


def _source(key: str) -> str:
    """Return the key of what an entry is derived from, as passes name entries."""
    return key.partition("#")[0]


def _bytes_of(array: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
