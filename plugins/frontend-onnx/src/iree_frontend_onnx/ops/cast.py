"""Changes of the element type."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import scalars, small_float
from iree_core.lowering.element import F32, I64, ElementType
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_onnx.registry import Node, lowering
from iree_frontend_onnx.values import AnyValue


@lowering("Identity")
def identity(node: Node) -> AnyValue:
    """The input itself (tensor, sequence or optional)."""
    return node.any(0)


@lowering("Cast")
def cast(node: Node) -> Tensor | Value:
    """Conversion to the type of attribute ``to``."""
    return to_element(node, node.element_attr("to"))


@lowering("CastLike")
def cast_like(node: Node) -> Tensor | Value:
    """Conversion to the type of the second input."""
    return to_element(node, node.value(1).element)


def to_element(node: Node, target: ElementType) -> Tensor | Value:
    """Convert input 0, keeping tracked sizes."""
    source = node.value(0)
    items = source.tracked_items()
    if items is not None and target.is_integer and target.bits >= 32 and source.rank <= 1:
        return Value(items=items, rank=source.rank, element=target)
    saturate, rounding = bool(node.attr("saturate", 1)), node.attr("round_mode", "up")
    return converted(node.tensor(0), target, saturate=saturate, rounding=rounding)


def converted(
    x: Tensor, target: ElementType, *, saturate: bool = True, rounding: str = "up"
) -> Tensor:
    """Return ``x`` as ``target`` by ONNX's rules (floats to narrow integers wrap)."""
    if x.element == target:
        return x
    return elementwise(
        [x], target, lambda v: convert_scalar(v, x.element, target, saturate, rounding)
    )


def convert_scalar(
    v: ir.Value,
    source: ElementType,
    target: ElementType,
    saturate: bool = True,
    rounding: str = "up",
) -> ir.Value:
    """Convert one element."""
    if target.is_float and target.bits <= 8 and source != target:
        wide = convert_scalar(v, source, F32)
        return small_float.encode(wide, target, saturate=saturate, rounding=rounding)
    if source.is_float and target.is_integer and target.bits < 64:
        # Through i64, so that what is out of range wraps instead of being undefined.
        return scalars.convert(scalars.convert(v, source, I64), I64, target)
    if source.is_integer and target.is_float and target.bits < 32:
        wide = target.accumulator
        return convert_scalar(scalars.convert(v, source, wide), wide, target, saturate)
    return scalars.convert(v, source, target)


@lowering("BitCast")
def bit_cast(node: Node) -> Tensor:
    """The same bits read as another type of the same width."""
    x = node.tensor(0)
    target = node.element_attr("to")
    if target.mlir == x.element.mlir:
        return Tensor(x.value, x.dims, target)
    if "bool" in (target.kind, x.element.kind):
        # A bool takes a byte in ONNX.
        change = arith.trunci if target.kind == "bool" else arith.extui
        return elementwise([x], target, lambda v: change(target.type, v))
    return elementwise([x], target, lambda v: arith.bitcast(target.type, v))
