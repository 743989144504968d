"""Optimiser steps of ai.onnx.preview.training: Adagrad, Adam, Momentum."""

from iree_core.ir import arith, ir, math
from iree_core.lowering import scalars, tensors
from iree_core.lowering.element import I64
from iree_core.lowering.structured import elementwise_many
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.elementwise import number
from iree_frontend_onnx.registry import Node, lowering

_DOMAIN = "ai.onnx.preview.training"


def _rate(node: Node) -> tuple[Tensor, Tensor]:
    """Return learning rate and step count as tensors of rank 0."""
    rate, step = (tensors.reshape(node.tensor(i), ()) for i in (0, 1))
    return rate, step


def _groups(node: Node, kinds: int) -> list[list[Tensor]]:
    """Return (tensor, gradient, state...) of every optimised tensor."""
    count = (len(node.inputs) - 2) // kinds
    return [[node.tensor(2 + kind * count + i) for kind in range(kinds)] for i in range(count)]


def _arranged(per_tensor: list[list[Tensor]]) -> list[Tensor]:
    return [t for column in zip(*per_tensor, strict=True) for t in column]


@lowering("Adagrad", domain=_DOMAIN)
def adagrad(node: Node) -> list[Tensor]:
    """Duchi, Hazan, Singer, JMLR 2011."""
    rate, step = _rate(node)
    decay, epsilon = node.attr("decay_factor", 0.0), node.attr("epsilon", 0.0)
    norm = node.attr("norm_coefficient", 0.0)

    def one(x: Tensor, g: Tensor, h: Tensor) -> list[Tensor]:
        e = x.element

        def body(r: ir.Value, t: ir.Value, x: ir.Value, g: ir.Value, h: ir.Value) -> list[ir.Value]:
            r = scalars.convert(r, rate.element, e)
            t = scalars.convert(t, step.element, e)
            slow = arith.addf(number(1.0, e), arith.mulf(t, number(decay, e)))
            g = arith.addf(arith.mulf(number(norm, e), x), g)
            h = arith.addf(h, arith.mulf(g, g))
            adaptive = arith.addf(math.sqrt(h), number(epsilon, e))
            move = arith.divf(arith.mulf(arith.divf(r, slow), g), adaptive)
            return [arith.subf(x, move), h]

        return elementwise_many([rate, step, x, g, h], [e, e], body, dims=x.dims)

    return _arranged([one(*group) for group in _groups(node, 3)])


@lowering("Adam", domain=_DOMAIN)
def adam(node: Node) -> list[Tensor]:
    """Kingma, Ba, ICLR 2015."""
    rate, step = _rate(node)
    alpha, beta = node.attr("alpha", 0.9), node.attr("beta", 0.999)
    epsilon, norm = node.attr("epsilon", 0.0), node.attr("norm_coefficient", 0.0)
    after = node.attr("norm_coefficient_post", 0.0)

    def one(x: Tensor, g: Tensor, v: Tensor, h: Tensor) -> list[Tensor]:
        e = x.element

        def body(r: ir.Value, t: ir.Value, *given: ir.Value) -> list[ir.Value]:
            x, g, v, h = given
            r = scalars.convert(r, rate.element, e)
            n = scalars.convert(t, step.element, e)
            one = number(1.0, e)
            g = arith.addf(arith.mulf(number(norm, e), x), g)
            v = arith.addf(arith.mulf(number(alpha, e), v), arith.mulf(number(1 - alpha, e), g))
            h = arith.addf(
                arith.mulf(number(beta, e), h),
                arith.mulf(number(1 - beta, e), arith.mulf(g, g)),
            )
            started = scalars.compare("gt", t, number(0, I64), step.element)
            corrected = arith.divf(
                arith.mulf(r, math.sqrt(arith.subf(one, math.powf(number(beta, e), n)))),
                arith.subf(one, math.powf(number(alpha, e), n)),
            )
            r = arith.select(started, corrected, r)
            move = arith.divf(arith.mulf(r, v), arith.addf(math.sqrt(h), number(epsilon, e)))
            fresh = arith.mulf(number(1 - after, e), arith.subf(x, move))
            return [fresh, v, h]

        return elementwise_many([rate, step, x, g, v, h], [e, e, e], body, dims=x.dims)

    return _arranged([one(*group) for group in _groups(node, 4)])


@lowering("Momentum", domain=_DOMAIN)
def momentum(node: Node) -> list[Tensor]:
    """Stochastic gradient descent with (Nesterov's) momentum."""
    rate, step = _rate(node)
    alpha, beta = node.attr("alpha", 0.9), node.attr("beta", 1.0)
    norm, nesterov = node.attr("norm_coefficient", 0.0), node.attr("mode") == "nesterov"

    def one(x: Tensor, g: Tensor, v: Tensor) -> list[Tensor]:
        e = x.element

        def body(r: ir.Value, t: ir.Value, x: ir.Value, g: ir.Value, v: ir.Value) -> list[ir.Value]:
            r = scalars.convert(r, rate.element, e)
            later = scalars.compare("gt", t, number(0, step.element), step.element)
            fresh = arith.select(later, number(beta, e), number(1.0, e))
            g = arith.addf(arith.mulf(number(norm, e), x), g)
            v = arith.addf(arith.mulf(number(alpha, e), v), arith.mulf(fresh, g))
            move = arith.addf(g, arith.mulf(number(alpha, e), v)) if nesterov else v
            return [arith.subf(x, arith.mulf(r, move)), v]

        return elementwise_many([rate, step, x, g, v], [e, e], body, dims=x.dims)

    return _arranged([one(*group) for group in _groups(node, 3)])
