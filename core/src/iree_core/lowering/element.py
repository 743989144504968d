"""Element types of the public interface: what MLIR's signless types leave out.

Integers are signless in the IR, so whoever builds operations needs to know the signedness; this
table carries it together with the numpy dtype and the MLIR type. Not for layouts or shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from iree_core.ir import ir

Kind = Literal["float", "signed", "unsigned", "bool", "complex"]


@dataclass(frozen=True)
class ElementType:
    """One element type.

    Attributes:
        name: as written in ``iree.dtype`` and on the command line (``f32``, ``i8``, ``ui8``).
        mlir: the MLIR type, signless.
        numpy: the dtype of arrays holding it (``ml_dtypes`` where numpy has none).
        kind: decides the operations used on it.
        bits: width of one element (of both parts for complex).
    """

    name: str
    mlir: str
    numpy: np.dtype
    kind: Kind
    bits: int

    @property
    def type(self) -> ir.Type:
        """The MLIR type in the current context."""
        return ir.Type.parse(self.mlir)

    @property
    def is_float(self) -> bool:
        """Whether it is a real floating-point type."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """Whether it is an integer of more than the two values of i1."""
        return self.kind in ("signed", "unsigned")

    @property
    def is_unsigned(self) -> bool:
        """Whether its bits count from zero (i1 included)."""
        return self.kind in ("unsigned", "bool")

    @property
    def accumulator(self) -> ElementType:
        """The type that sums and products of many elements are kept in."""
        return F32 if self.is_float and self.bits < 32 else self

    def __repr__(self) -> str:
        return self.name


F64 = ElementType("f64", "f64", np.dtype(np.float64), "float", 64)
F32 = ElementType("f32", "f32", np.dtype(np.float32), "float", 32)
F16 = ElementType("f16", "f16", np.dtype(np.float16), "float", 16)
BF16 = ElementType("bf16", "bf16", np.dtype(ml_dtypes.bfloat16), "float", 16)
F8E4M3FN = ElementType("f8E4M3FN", "f8E4M3FN", np.dtype(ml_dtypes.float8_e4m3fn), "float", 8)
F8E4M3FNUZ = ElementType(
    "f8E4M3FNUZ", "f8E4M3FNUZ", np.dtype(ml_dtypes.float8_e4m3fnuz), "float", 8
)
F8E5M2 = ElementType("f8E5M2", "f8E5M2", np.dtype(ml_dtypes.float8_e5m2), "float", 8)
F8E5M2FNUZ = ElementType(
    "f8E5M2FNUZ", "f8E5M2FNUZ", np.dtype(ml_dtypes.float8_e5m2fnuz), "float", 8
)
F8E8M0FNU = ElementType("f8E8M0FNU", "f8E8M0FNU", np.dtype(ml_dtypes.float8_e8m0fnu), "float", 8)
F4E2M1FN = ElementType("f4E2M1FN", "f4E2M1FN", np.dtype(ml_dtypes.float4_e2m1fn), "float", 4)
I64 = ElementType("i64", "i64", np.dtype(np.int64), "signed", 64)
I32 = ElementType("i32", "i32", np.dtype(np.int32), "signed", 32)
I16 = ElementType("i16", "i16", np.dtype(np.int16), "signed", 16)
I8 = ElementType("i8", "i8", np.dtype(np.int8), "signed", 8)
I4 = ElementType("i4", "i4", np.dtype(ml_dtypes.int4), "signed", 4)
I2 = ElementType("i2", "i2", np.dtype(ml_dtypes.int2), "signed", 2)
U64 = ElementType("ui64", "i64", np.dtype(np.uint64), "unsigned", 64)
U32 = ElementType("ui32", "i32", np.dtype(np.uint32), "unsigned", 32)
U16 = ElementType("ui16", "i16", np.dtype(np.uint16), "unsigned", 16)
U8 = ElementType("ui8", "i8", np.dtype(np.uint8), "unsigned", 8)
U4 = ElementType("ui4", "i4", np.dtype(ml_dtypes.uint4), "unsigned", 4)
U2 = ElementType("ui2", "i2", np.dtype(ml_dtypes.uint2), "unsigned", 2)
BOOL = ElementType("i1", "i1", np.dtype(np.bool_), "bool", 1)
COMPLEX64 = ElementType("complex<f32>", "complex<f32>", np.dtype(np.complex64), "complex", 64)
COMPLEX128 = ElementType("complex<f64>", "complex<f64>", np.dtype(np.complex128), "complex", 128)

ALL: tuple[ElementType, ...] = (
    F64, F32, F16, BF16, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0FNU, F4E2M1FN,
    I64, I32, I16, I8, I4, I2, U64, U32, U16, U8, U4, U2, BOOL, COMPLEX64, COMPLEX128,
)  # fmt: skip

_BY_NUMPY = {element.numpy: element for element in ALL}
_BY_NAME = {element.name: element for element in ALL}


def from_numpy(dtype: DTypeLike) -> ElementType:
    """Return the element type of a numpy (or ml_dtypes) dtype.

    Raises:
        TypeError: there is none (strings, objects, structured dtypes).
    """
    try:
        return _BY_NUMPY[np.dtype(dtype)]
    except KeyError:
        raise TypeError(f"no element type for arrays of dtype {np.dtype(dtype)}") from None


def from_name(name: str) -> ElementType:
    """Return the element type called ``name``.

    Raises:
        TypeError: there is none.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise TypeError(f"no element type {name!r}; known: {', '.join(_BY_NAME)}") from None


def common_accumulator(elements: Iterable[ElementType]) -> ElementType:
    """Return the widest accumulator among ``elements``."""
    return max((element.accumulator for element in elements), key=lambda e: e.bits)
