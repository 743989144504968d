"""How the portable IR is stored in a module file: compressed, and only where that is small."""

from __future__ import annotations

import zlib

from iree_core.errors import ModuleFileError
from iree_core.modulefile.flatbuffer import damaged

_MOST_BYTES = 1 << 28  # a damaged file must not fill the memory
_ALWAYS_SMALL = 16 * 1024


def compress(bytecode: bytes) -> bytes:
    """Return MLIR bytecode as module files store it."""
    return zlib.compress(bytecode, 9)


def decompress(stored: memoryview) -> bytes:
    """Return the MLIR bytecode that :func:`compress` stored.

    Raises:
        ModuleFileError: it is damaged.
    """
    stream = zlib.decompressobj()
    try:
        bytecode = stream.decompress(stored, _MOST_BYTES)
    except zlib.error:
        raise _unreadable() from None
    if not stream.eof:
        raise _unreadable()
    return bytecode


def is_small(nbytes: int, others: int) -> bool:
    """Tell whether ``nbytes`` of stored IR are little: as such, or beside ``others`` bytes."""
    return nbytes <= max(_ALWAYS_SMALL, others // 50)


def _unreadable() -> ModuleFileError:
    return damaged("its copy of the IR cannot be unpacked")
