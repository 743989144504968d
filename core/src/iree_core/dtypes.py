"""Element types: the names signatures use, and what they are in numpy and DLPack.

Types numpy lacks (``bf16``, 8-bit floats, 4-bit integers) come from ``ml_dtypes`` if that is
installed; nothing imports it before such a type is met.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from iree_core.errors import InvocationError


@dataclass(frozen=True)
class _Type:
    itemsize: int  # bytes in memory; narrow types take one each
    numpy: str  # numpy's or ml_dtypes' name
    dlpack: tuple[int, int]  # type code and bits, DLPack 1.1 (dlpack.h, DLDataTypeCode)
    native: bool = True  # numpy has it


_TYPES = {
    "i1": _Type(1, "bool", (6, 8)),
    "i2": _Type(1, "int2", (0, 2), native=False),
    "ui2": _Type(1, "uint2", (1, 2), native=False),
    "i4": _Type(1, "int4", (0, 4), native=False),
    "ui4": _Type(1, "uint4", (1, 4), native=False),
    **{f"i{bits}": _Type(bits // 8, f"int{bits}", (0, bits)) for bits in (8, 16, 32, 64)},
    **{f"ui{bits}": _Type(bits // 8, f"uint{bits}", (1, bits)) for bits in (8, 16, 32, 64)},
    **{f"f{bits}": _Type(bits // 8, f"float{bits}", (2, bits)) for bits in (16, 32, 64)},
    "bf16": _Type(2, "bfloat16", (4, 16), native=False),
    "f8E3M4": _Type(1, "float8_e3m4", (7, 8), native=False),
    "f8E4M3": _Type(1, "float8_e4m3", (8, 8), native=False),
    "f8E4M3B11FNUZ": _Type(1, "float8_e4m3b11fnuz", (9, 8), native=False),
    "f8E4M3FN": _Type(1, "float8_e4m3fn", (10, 8), native=False),
    "f8E4M3FNUZ": _Type(1, "float8_e4m3fnuz", (11, 8), native=False),
    "f8E5M2": _Type(1, "float8_e5m2", (12, 8), native=False),
    "f8E5M2FNUZ": _Type(1, "float8_e5m2fnuz", (13, 8), native=False),
    "f8E8M0FNU": _Type(1, "float8_e8m0fnu", (14, 8), native=False),
    "f4E2M1FN": _Type(1, "float4_e2m1fn", (17, 4), native=False),
    "complex<f32>": _Type(8, "complex64", (5, 64)),
    "complex<f64>": _Type(16, "complex128", (5, 128)),
}
# Signless names of MLIR's explicit signed types and of index.
_ALIASES = {"si8": "i8", "si16": "i16", "si32": "i32", "si64": "i64", "index": "i64"}


def is_known(name: str) -> bool:
    """Tell whether ``name`` is an element type."""
    return _ALIASES.get(name, name) in _TYPES


def canonical(name: str) -> str:
    """Return the name this module knows an element type by (``si8`` is ``i8``)."""
    return _ALIASES.get(name, name)


def itemsize(name: str) -> int:
    """Return the bytes one element takes in memory (narrow types take a byte each)."""
    return _lookup(name).itemsize


def is_native(name: str) -> bool:
    """Tell whether numpy has the type itself."""
    return _lookup(name).native


@cache
def to_numpy(name: str) -> np.dtype:
    """Return the numpy dtype of an element type.

    Raises:
        InvocationError: numpy has no such type and ml_dtypes is not installed.
    """
    kind = _lookup(name)
    if kind.native:
        return np.dtype(kind.numpy)
    try:
        import ml_dtypes
    except ImportError:
        raise InvocationError(
            f"numpy has no element type for {name}.",
            hint="Run `pip install ml_dtypes`, or use DLPack (torch.from_dlpack).",
        ) from None
    return np.dtype(getattr(ml_dtypes, kind.numpy))


def has_numpy(name: str) -> bool:
    """Tell whether :func:`to_numpy` has an answer in this environment."""
    try:
        to_numpy(name)
    except InvocationError:
        return False
    return True


@cache
def from_numpy(dtype: np.dtype) -> str | None:
    """Return the name of a numpy dtype in native byte order; None if it has none."""
    if not dtype.isnative:
        return None
    for name, kind in _TYPES.items():
        if kind.numpy == dtype.name:
            return name
    return None


def to_dlpack(name: str) -> tuple[int, int]:
    """Return the DLPack type code and number of bits."""
    return _lookup(name).dlpack


def from_dlpack(code: int, bits: int) -> str | None:
    """Return the name of a DLPack type with one lane; None if it has none."""
    for name, kind in _TYPES.items():
        if kind.dlpack == (code, bits):
            return name
    return None


def _lookup(name: str) -> _Type:
    try:
        return _TYPES[_ALIASES.get(name, name)]
    except KeyError:
        raise InvocationError(f"There is no element type {name!r}.") from None
