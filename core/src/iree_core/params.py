"""The parameter store: weights, kept out of the IR.

A frontend registers arrays or byte ranges of files; the IR names them by key
(``flow.parameter``). Passes derive further entries (transposed, folded, packed), which are
computed only when the module writer asks for their bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], NDArray]
    derived: bool = False


class ParameterStore:
    """Named read-only tensors, resident, memory-mapped or computed on demand."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._maps: dict[Path, mmap.mmap] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def add(self, key: str, array: NDArray) -> str:
        """Register ``array`` (kept, not copied) under ``key`` and return ``key``."""
        self._insert(key, _Entry(array.shape, array.dtype, lambda: array))
        return key

    def add_file_range(
        self, key: str, path: Path, offset: int, shape: tuple[int, ...], dtype: DTypeLike
    ) -> str:
        """Register the bytes of ``path`` from ``offset`` on, memory-mapped and not read.

        Raises:
            OSError: the file cannot be opened.
            ValueError: the range reaches past the end of the file.
        """
        dtype = np.dtype(dtype)
        path = Path(path).resolve()
        if path not in self._maps and path.stat().st_size:
            with path.open("rb") as file:
                self._maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        count = int(np.prod(shape, dtype=np.int64))
        buffer = self._maps.get(path, b"")
        if offset < 0 or offset + count * dtype.itemsize > len(buffer):
            raise ValueError(
                f"{key}: {count * dtype.itemsize} bytes at offset {offset} reach past the end "
                f"of {path} ({len(buffer)} bytes)"
            )
        return self.add(key, np.frombuffer(buffer, dtype, count, offset).reshape(shape))

    def derive(
        self, key: str, shape: tuple[int, ...], dtype: DTypeLike, compute: Callable[[], NDArray]
    ) -> str:
        """Register a tensor that ``compute`` makes each time its bytes are asked for."""
        self._insert(key, _Entry(tuple(shape), np.dtype(dtype), compute, derived=True))
        return key

    def is_derived(self, key: str) -> bool:
        """Tell whether the array stored under ``key`` is computed when it is read."""
        return self._entries[key].derived

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of the array stored under ``key``."""
        return self._entries[key].shape

    def dtype(self, key: str) -> np.dtype:
        """Return the dtype of the array stored under ``key``."""
        return self._entries[key].dtype

    def nbytes(self, key: str) -> int:
        """Return the size in bytes of the array stored under ``key``."""
        entry = self._entries[key]
        return int(np.prod(entry.shape, dtype=np.int64)) * entry.dtype.itemsize

    def read(self, key: str) -> NDArray:
        """Return the array stored under ``key``, computing it if it is derived."""
        entry = self._entries[key]
        array = entry.read()
        if array.shape != entry.shape or array.dtype != entry.dtype:
            raise ValueError(
                f"parameter {key!r} was declared {entry.dtype}{list(entry.shape)} but is "
                f"{array.dtype}{list(array.shape)}"
            )
        return array

    def _insert(self, key: str, entry: _Entry) -> None:
        if key in self._entries:
            raise KeyError(f"parameter {key!r} is registered already")
        self._entries[key] = entry
