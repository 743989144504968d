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
    """Assigns offsets to parameters and constants; equal keys and equal bytes share one."""

    def __init__(self, store: ParameterStore) -> None:
        self._store = store
        self._size = 0
        self._parameters: dict[str, Segment] = {}
        self._inline: dict[bytes, Segment] = {}

    @property
    def size(self) -> int:
        """Bytes planned so far."""
        return self._size

    @property
    def segments(self) -> list[Segment]:
        """What is planned, by offset."""
        return sorted(
            [*self._parameters.values(), *self._inline.values()], key=lambda part: part.offset
        )

    def add_parameter(self, key: str) -> int:
        """Return the offset of the parameter ``key`` of the store.

        Raises:
            KeyError: the store has no such parameter.
        """
        if key not in self._parameters:
            self._parameters[key] = self._place(key, self._store.nbytes(key))
        return self._parameters[key].offset

    def add_bytes(self, data: bytes) -> int:
        """Return the offset of ``data``."""
        if data not in self._inline:
            self._inline[data] = self._place("", len(data))
        return self._inline[data].offset

    def read(self) -> Iterator[tuple[Segment, NDArray[np.uint8]]]:
        """Yield each segment with its bytes, by offset; one parameter is in memory at a time.

        Raises:
            ValueError: a parameter's bytes are not what the store declared.
        """
        inline = {part.offset: data for data, part in self._inline.items()}
        for part in self.segments:
            if part.key:
                array = np.ascontiguousarray(self._store.read(part.key))
                yield part, array.reshape(-1).view(np.uint8)
            else:
                yield part, np.frombuffer(inline[part.offset], np.uint8)

    def _place(self, key: str, nbytes: int) -> Segment:
        offset = self._size
        self._size = -(-(offset + max(nbytes, 1)) // ALIGNMENT) * ALIGNMENT
        return Segment(key, offset, nbytes)
