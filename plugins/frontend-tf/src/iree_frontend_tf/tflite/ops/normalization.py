"""Softmax and normalizations."""

from __future__ import annotations

from iree_core.ir import arith, ir, math
from iree_core.lowering import tensors
from iree_core.lowering.element import F32
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import affine_map, elementwise, generic
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.ops import quantized_normalization, quantized_softmax
from iree_frontend_tf.tflite.ops.common import activate, is_quantized
from iree_frontend_tf.tflite.ops.reduce import total
from iree_frontend_tf.tflite.registry import Node, lowering


@lowering("SOFTMAX")
def softmax(node: Node) -> Tensor:
    """Exponentials over their sum, along the last dimension."""
    if is_quantized(node):
        return quantized_softmax.softmax(node)
    x = node.tensor(0)
    beta = node.option("Beta", 1.0)
    e = x.element

    def power(v: ir.Value, m: ir.Value) -> ir.Value:
        difference = arith.subf(v, m)
        if beta != 1.0:
            difference = arith.mulf(difference, constant(beta, e))
        return math.exp(difference)

    powers = elementwise([x, quantized_softmax.row_maximum(x)], e, power)
    return elementwise([powers, total(powers, [x.rank - 1], e)], e, arith.divf)


@lowering("LOG_SOFTMAX")
def log_softmax(node: Node) -> Tensor:
    """Logarithm of softmax."""
    if is_quantized(node):
        return quantized_normalization.log_softmax(node)
    x = node.tensor(0)
    e = x.element
    shifted = elementwise([x, quantized_softmax.row_maximum(x)], e, arith.subf)
    powers = elementwise([shifted], e, math.exp)
    sums = total(powers, [x.rank - 1], e)
    return elementwise([shifted, sums], e, lambda v, s: arith.subf(v, math.log(s)))


@lowering("L2_NORMALIZATION")
def l2_normalization(node: Node) -> Tensor:
    """Rows along the last dimension divided by their length."""
    if is_quantized(node):
        return quantized_normalization.l2_normalization(node)
    x = node.tensor(0)
    squares = elementwise([x], F32, lambda v: arith.mulf(v, v))
    sums = total(squares, [x.rank - 1], F32)

    def body(v: ir.Value, s: ir.Value) -> ir.Value:
        length = arith.maximumf(math.sqrt(s), constant(1e-6, F32))
        return arith.divf(v, length)

    return activate(node, elementwise([x, sums], F32, body))


@lowering("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(node: Node) -> Tensor:
    """Elements divided by a power of the sum of squares of neighbouring channels."""
    x = node.tensor(0)
    radius = int(node.option("Radius", 5))
    alpha, beta, bias = (
        node.option("Alpha", 1.0), node.option("Beta", 0.5), node.option("Bias", 1.0)
    )  # fmt: skip
    rank, last = x.rank, x.rank - 1
    low = [radius if a == last else 0 for a in range(rank)]
    data = tensors.pad(x, low, low, 0)
    window = tensors.empty([2 * radius + 1], F32)
    neighbour = ir.AffineDimExpr.get(last) + ir.AffineDimExpr.get(rank)
    (sums,) = generic(
        [data.value, window],
        [tensors.fill(x.dims, F32, 0).value],
        [
            affine_map(rank + 1, [*range(last), neighbour]),
            affine_map(rank + 1, [rank]),
            affine_map(rank + 1, list(range(rank))),
        ],
        [False] * rank + [True],
        lambda v, _, acc: arith.addf(acc, arith.mulf(v, v)),
    )

    def body(v: ir.Value, s: ir.Value) -> ir.Value:
        base = arith.addf(constant(bias, F32), arith.mulf(constant(alpha, F32), s))
        return arith.mulf(v, math.powf(base, constant(-beta, F32)))

    return elementwise([x, Tensor(sums, x.dims, F32)], F32, body)
