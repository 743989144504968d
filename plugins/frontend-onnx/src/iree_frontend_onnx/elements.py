"""ONNX data types as element types."""

from __future__ import annotations

from onnx import TensorProto

from iree_core.lowering import element as e
from iree_core.lowering.element import ElementType

_TABLE: dict[int, ElementType] = {
    TensorProto.FLOAT: e.F32, TensorProto.DOUBLE: e.F64, TensorProto.FLOAT16: e.F16,
    TensorProto.BFLOAT16: e.BF16, TensorProto.FLOAT8E4M3FN: e.F8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ: e.F8E4M3FNUZ, TensorProto.FLOAT8E5M2: e.F8E5M2,
    TensorProto.FLOAT8E5M2FNUZ: e.F8E5M2FNUZ, TensorProto.FLOAT8E8M0: e.F8E8M0FNU,
    TensorProto.FLOAT4E2M1: e.F4E2M1FN,
    TensorProto.INT64: e.I64, TensorProto.INT32: e.I32, TensorProto.INT16: e.I16,
    TensorProto.INT8: e.I8, TensorProto.INT4: e.I4, TensorProto.INT2: e.I2,
    TensorProto.UINT64: e.U64, TensorProto.UINT32: e.U32, TensorProto.UINT16: e.U16,
    TensorProto.UINT8: e.U8, TensorProto.UINT4: e.U4, TensorProto.UINT2: e.U2,
    TensorProto.BOOL: e.BOOL, TensorProto.COMPLEX64: e.COMPLEX64,
    TensorProto.COMPLEX128: e.COMPLEX128,
}  # fmt: skip
_INVERSE = {element: number for number, element in _TABLE.items()}


def from_onnx(data_type: int) -> ElementType:
    """Return the element type of a ``TensorProto.DataType``.

    Raises:
        TypeError: strings and undefined types have none.
    """
    try:
        return _TABLE[data_type]
    except KeyError:
        name = TensorProto.DataType.Name(data_type) if data_type in range(30) else data_type
        raise TypeError(f"tensors of ONNX type {name} are not supported") from None


def to_onnx(element: ElementType) -> int:
    """Return the ``TensorProto.DataType`` of an element type."""
    return _INVERSE[element]
