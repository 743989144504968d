"""Losses: negative log-likelihood and softmax cross-entropy."""

from __future__ import annotations

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import scalars
from iree_core.lowering.element import I64
from iree_core.lowering.structured import convert, elementwise, elementwise_many, loop_index
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.elementwise import number
from iree_frontend_onnx.ops.normalization import log_softmax
from iree_frontend_onnx.ops.reduce import total
from iree_frontend_onnx.ops.slicing import position_of
from iree_frontend_onnx.registry import Node, lowering


def _negative_log_likelihood(
    node: Node, log_probabilities: Tensor, target: Tensor, weight: Tensor | None
) -> Tensor:
    """-weight[target] * x[n, target, ...], reduced; entries of ignore_index count as nothing."""
    x, e = log_probabilities, log_probabilities.element
    ignored = node.attr("ignore_index")

    def body(t: ir.Value) -> list[ir.Value]:
        place = position_of(t, x.dims[1])
        at = [loop_index(0), place, *(loop_index(a) for a in range(1, target.rank))]
        factor = number(1.0, e)
        if weight is not None:
            factor = tensor.extract(weight.value, [place])
        if ignored is not None:
            wide = scalars.convert(t, target.element, I64)
            skip = scalars.compare("eq", wide, number(ignored, I64), I64)
            factor = arith.select(skip, number(0.0, e), factor)
        loss = arith.mulf(arith.negf(tensor.extract(x.value, at)), factor)
        return [loss, factor]

    loss, factors = elementwise_many([target], [e, e], body)
    reduction = node.attr("reduction", "mean")
    if reduction == "none":
        return loss
    axes = list(range(loss.rank))
    summed = total(loss, axes, keep_dims=False)
    if reduction == "sum":
        return summed
    count = total(factors, axes, keep_dims=False)
    return elementwise([summed, count], e, lambda a, b: arith.divf(a, b))


@lowering("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(node: Node) -> Tensor:
    """From log-probabilities."""
    return _negative_log_likelihood(node, node.tensor(0), node.tensor(1), node.optional(2))


@lowering("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(node: Node) -> list[Tensor]:
    """From scores; the log-probabilities are the second output."""
    x = node.tensor(0)
    logs = convert(log_softmax(x, 1), x.element)
    return [_negative_log_likelihood(node, logs, node.tensor(1), node.optional(2)), logs]
