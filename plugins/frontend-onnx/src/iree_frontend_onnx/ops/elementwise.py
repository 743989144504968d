"""Elementwise operators of one tensor: functions, activations, clipping."""

from __future__ import annotations

import math as pymath
from collections.abc import Callable

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import BOOL, ElementType
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.registry import Node, lowering

Unary = Callable[[ir.Value, ElementType], ir.Value]


def number(value: float, element: ElementType) -> ir.Value:
    """Return a scalar constant."""
    return scalars.constant(value, element)


def in_accumulator(x: Tensor, body: Unary) -> Tensor:
    """Apply ``body`` elementwise, computing half precision in f32."""
    wide = x.element.accumulator

    def wrapped(value: ir.Value) -> ir.Value:
        return scalars.convert(body(scalars.convert(value, x.element, wide), wide), wide, x.element)

    return elementwise([x], x.element, wrapped)


def sigmoid(v: ir.Value, e: ElementType) -> ir.Value:
    """1 / (1 + exp(-v))."""
    one = number(1.0, e)
    return arith.divf(one, arith.addf(one, math.exp(arith.negf(v))))


def softplus(v: ir.Value, e: ElementType) -> ir.Value:
    """log(1 + exp(v)), without overflow: max(v, 0) + log1p(exp(-|v|))."""
    tail = math.log1p(math.exp(arith.negf(math.absf(v))))
    return arith.addf(arith.maximumf(v, number(0.0, e)), tail)


def _sign(v: ir.Value, e: ElementType) -> ir.Value:
    zero, one = number(0, e), number(1, e)
    positive = scalars.compare("gt", v, zero, e)
    if e.is_unsigned:
        return arith.select(positive, one, zero)
    negative = scalars.compare("lt", v, zero, e)
    return arith.select(positive, one, arith.select(negative, number(-1, e), v))


def _mish(v: ir.Value, e: ElementType) -> ir.Value:
    return arith.mulf(v, math.tanh(softplus(v, e)))


def _softsign(v: ir.Value, e: ElementType) -> ir.Value:
    return arith.divf(v, arith.addf(number(1.0, e), math.absf(v)))


def _hard_swish(v: ir.Value, e: ElementType) -> ir.Value:
    return arith.mulf(v, hard_sigmoid(v, e, 1 / 6, 0.5))


def hard_sigmoid(v: ir.Value, e: ElementType, alpha: float, beta: float) -> ir.Value:
    """max(0, min(1, alpha * v + beta))."""
    line = arith.addf(arith.mulf(v, number(alpha, e)), number(beta, e))
    return arith.maximumf(number(0.0, e), arith.minimumf(number(1.0, e), line))


def _not(v: ir.Value, e: ElementType) -> ir.Value:
    return arith.xori(v, number(1 if e.kind == "bool" else -1, e))


def plain(build: Callable[[ir.Value], ir.Value]) -> Unary:
    return lambda v, _: build(v)


_UNARY: dict[str, Unary] = {
    "Abs": scalars.absolute, "Neg": scalars.negate, "Sign": _sign, "Not": _not,
    "BitwiseNot": _not, "Sigmoid": sigmoid, "Softplus": softplus, "Softsign": _softsign,
    "Mish": _mish, "HardSwish": _hard_swish, "Exp": plain(math.exp), "Log": plain(math.log),
    "Sqrt": plain(math.sqrt), "Sin": plain(math.sin), "Cos": plain(math.cos),
    "Tan": plain(math.tan), "Asin": plain(math.asin), "Acos": plain(math.acos),
    "Atan": plain(math.atan), "Sinh": plain(math.sinh), "Cosh": plain(math.cosh),
    "Tanh": plain(math.tanh), "Asinh": plain(math.asinh), "Acosh": plain(math.acosh),
    "Atanh": plain(math.atanh), "Erf": plain(math.erf), "Floor": plain(math.floor),
    "Ceil": plain(math.ceil), "Round": plain(math.roundeven),
    "Reciprocal": lambda v, e: arith.divf(number(1.0, e), v),
}  # fmt: skip


@lowering(*_UNARY)
def unary(node: Node) -> Tensor:
    """One scalar function of one operand."""
    x = node.tensor(0)
    body = _UNARY[node.op]
    if node.op in ("Floor", "Ceil", "Round") and not x.element.is_float:
        return x
    return in_accumulator(x, body)


@lowering("Relu")
def relu(node: Node) -> Tensor:
    """max(x, 0)."""
    x = node.tensor(0)
    e = x.element
    return elementwise([x], e, lambda v: scalars.maximum(v, number(0, e), e))


@lowering("LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "HardSigmoid", "Shrink", "Swish")
def parametric(node: Node) -> Tensor:
    """Activations with attributes."""
    alpha_default = {
        "LeakyRelu": 0.01, "Elu": 1.0, "Selu": 1.67326319217681884765625, "Celu": 1.0,
        "ThresholdedRelu": 1.0, "HardSigmoid": 0.2, "Swish": 1.0,
    }  # fmt: skip
    alpha = node.attr("alpha", alpha_default.get(node.op, 0.0))
    gamma = node.attr("gamma", 1.05070102214813232421875)
    beta = node.attr("beta", 0.5)

    def body(v: ir.Value, e: ElementType) -> ir.Value:
        zero = number(0, e)
        positive = scalars.compare("gt", v, zero, e)
        if node.op == "LeakyRelu":
            return arith.select(
                scalars.compare("ge", v, zero, e), v, scalars.mul(v, number(alpha, e), e)
            )
        if node.op == "ThresholdedRelu":
            return arith.select(scalars.compare("gt", v, number(alpha, e), e), v, zero)
        if node.op == "HardSigmoid":
            return hard_sigmoid(v, e, alpha, beta)
        if node.op == "Shrink":
            return _shrink(v, e, node.attr("lambd", 0.5), node.attr("bias", 0.0))
        if node.op == "Swish":
            return arith.mulf(v, sigmoid(arith.mulf(v, number(alpha, e)), e))
        scale = 1.0 / alpha if node.op == "Celu" else 1.0
        curve = math.expm1(arith.mulf(v, number(scale, e)))
        curve = arith.mulf(curve, number(alpha, e))
        if node.op == "Selu":
            return arith.mulf(arith.select(positive, v, curve), number(gamma, e))
        return arith.select(positive, v, curve)

    return in_accumulator(node.tensor(0), body)


def _shrink(v: ir.Value, e: ElementType, limit: float, bias: float) -> ir.Value:
    offset, zero = number(bias, e), number(0, e)
    below = scalars.compare("lt", v, number(-limit, e), e)
    above = scalars.compare("gt", v, number(limit, e), e)
    inner = arith.select(above, scalars.sub(v, offset, e), zero)
    return arith.select(below, scalars.add(v, offset, e), inner)


@lowering("Gelu")
@lowering("Gelu", "FastGelu", domain="com.microsoft")
def gelu(node: Node) -> Tensor:
    """Gaussian error linear unit, exact or with tanh."""
    tanh = node.attr("approximate", "none") == "tanh" or node.op == "FastGelu"

    def body(v: ir.Value, e: ElementType) -> ir.Value:
        half, one = number(0.5, e), number(1.0, e)
        if tanh:
            cube = arith.mulf(arith.mulf(v, v), v)
            inner = arith.addf(v, arith.mulf(cube, number(0.044715, e)))
            curve = math.tanh(arith.mulf(inner, number(pymath.sqrt(2 / pymath.pi), e)))
        else:
            curve = math.erf(arith.mulf(v, number(pymath.sqrt(0.5), e)))
        return arith.mulf(arith.mulf(half, v), arith.addf(one, curve))

    x = node.tensor(0)
    if node.op == "FastGelu" and node.has(1):
        bias = node.tensor(1)
        x = elementwise([x, bias], x.element, lambda a, b: scalars.add(a, b, x.element))
    return in_accumulator(x, body)


@lowering("QuickGelu", domain="com.microsoft")
def quick_gelu(node: Node) -> Tensor:
    """x * sigmoid(alpha * x)."""
    alpha = node.attr("alpha", 1.702)
    return in_accumulator(
        node.tensor(0), lambda v, e: arith.mulf(v, sigmoid(arith.mulf(v, number(alpha, e)), e))
    )


@lowering("PRelu")
def prelu(node: Node) -> Tensor:
    """x where positive, else slope * x; a 1-D slope of old models runs along the channels."""
    x, slope = node.tensor(0), node.tensor(1)
    e = x.element
    if node.version < 7 and slope.rank == 1 and x.rank > 2 and not index.same(slope.dims[0], 1):
        slope = tensors.expand_dims(slope, range(1, x.rank - 1))

    def body(v: ir.Value, s: ir.Value) -> ir.Value:
        negative = scalars.compare("lt", v, number(0, e), e)
        return arith.select(negative, scalars.mul(v, s, e), v)

    return elementwise([x, slope], e, body)


@lowering("Clip", since=11)
def clip(node: Node) -> Tensor:
    """min(max(x, low), high) with optional limits as inputs."""
    x = node.tensor(0)
    e = x.element
    limits = [node.optional(1), node.optional(2)]
    operands = [t for t in limits if t is not None]

    def body(v: ir.Value, *given: ir.Value) -> ir.Value:
        rest = iter(given)
        if limits[0] is not None:
            v = scalars.maximum(v, next(rest), e)
        if limits[1] is not None:
            v = scalars.minimum(v, next(rest), e)
        return v

    operands = [tensors.reshape(t, ()) for t in operands]
    return elementwise([x, *operands], e, body, dims=x.dims)


@lowering("Clip", since=1, until=10)
def clip_attributes(node: Node) -> Tensor:
    """The same with limits as attributes."""
    x = node.tensor(0)
    e = x.element
    low, high = node.attr("min"), node.attr("max")

    def body(v: ir.Value) -> ir.Value:
        if low is not None:
            v = scalars.maximum(v, number(low, e), e)
        return v if high is None else scalars.minimum(v, number(high, e), e)

    return elementwise([x], e, body)


@lowering("IsNaN")
def is_nan(node: Node) -> Tensor:
    """Whether each element is not a number."""
    x = node.tensor(0)
    e = x.element.accumulator
    return elementwise([x], BOOL, lambda v: scalars.is_nan(scalars.convert(v, x.element, e)))


@lowering("IsInf")
def is_inf(node: Node) -> Tensor:
    """Whether each element is infinite (of the signs asked for)."""
    x = node.tensor(0)
    e = x.element.accumulator
    signs = [(node.attr("detect_positive", 1), "inf"), (node.attr("detect_negative", 1), "-inf")]

    def body(v: ir.Value) -> ir.Value:
        v = scalars.convert(v, x.element, e)
        found = number(False, BOOL)
        for wanted, sign in signs:
            if wanted:
                found = arith.ori(found, scalars.compare("eq", v, number(float(sign), e), e))
        return found

    return elementwise([x], BOOL, body)
