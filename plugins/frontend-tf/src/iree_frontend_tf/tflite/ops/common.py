"""What several families need: fused activations, tracked sizes, whether integers are quantized."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from iree_core.ir import ir, math
from iree_core.lowering import scalars
from iree_core.lowering.element import I8, I16, U8, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_tf.tflite.registry import Node

NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)
RANGES: dict[int, tuple[float, float]] = {
    NONE: (-inf, inf), RELU: (0, inf), RELU_N1_TO_1: (-1, 1), RELU6: (0, 6),
}  # fmt: skip


def fused_activation(node: Node) -> int:
    """Return the operator's fused activation function."""
    options = node.info.options
    if not hasattr(options, "FusedActivationFunction"):
        return NONE
    return int(options.FusedActivationFunction())


def is_quantized(node: Node, position: int = 0) -> bool:
    """Tell whether input ``position`` holds scaled integers."""
    info = node.input(position)
    return info.element in (I8, U8, I16) and info.quantization is not None


def clamp(x: ir.Value, low: float, high: float, element: ElementType) -> ir.Value:
    """Return ``x`` between ``low`` and ``high``; infinite bounds are none."""
    if low != -inf:
        x = scalars.maximum(x, scalars.constant(low, element), element)
    if high != inf:
        x = scalars.minimum(x, scalars.constant(high, element), element)
    return x


def activate_scalar(node: Node, x: ir.Value, element: ElementType, activation: int) -> ir.Value:
    """Return a fused activation function of a scalar."""
    if activation in RANGES:
        return clamp(x, *RANGES[activation], element)
    if activation == TANH and element.is_float:
        return math.tanh(x)
    node.unsupported(f"the fused activation function number {activation} is not supported")


def activate(node: Node, x: Tensor, activation: int | None = None) -> Tensor:
    """Return the operator's fused activation function of ``x``."""
    kind = fused_activation(node) if activation is None else activation
    if kind == NONE:
        return x
    element = x.element
    return elementwise([x], element, lambda v: activate_scalar(node, v, element, kind))


def tracked(node: Node, compute: Callable[..., Dim]) -> Value | None:
    """Return ``compute`` of the inputs' elements where they are known one by one, else None."""
    values = [node.value(i) for i in range(len(node.inputs))]
    lists = [v.tracked_items() for v in values]
    if any(items is None for items in lists):
        return None
    known = [items for items in lists if items is not None]
    length = max(len(items) for items in known)
    if any(len(items) not in (1, length) for items in known):
        return None
    rows = [items * length if len(items) == 1 else items for items in known]
    rank = max(v.rank for v in values)
    return Value(
        items=[compute(*column) for column in zip(*rows, strict=True)],
        rank=rank,
        element=values[0].element,
    )
