"""Elementwise operators: arithmetic, comparisons, logic, activations."""

from __future__ import annotations

import math as pymath
from collections.abc import Callable

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import BOOL, F32, F64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
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


def _plain(build: Callable[[ir.Value], ir.Value]) -> Unary:
    return lambda v, _: build(v)


_UNARY: dict[str, Unary] = {
    "Abs": scalars.absolute, "Neg": scalars.negate, "Sign": _sign, "Not": _not,
    "BitwiseNot": _not, "Sigmoid": sigmoid, "Softplus": softplus, "Softsign": _softsign,
    "Mish": _mish, "HardSwish": _hard_swish, "Exp": _plain(math.exp), "Log": _plain(math.log),
    "Sqrt": _plain(math.sqrt), "Sin": _plain(math.sin), "Cos": _plain(math.cos),
    "Tan": _plain(math.tan), "Asin": _plain(math.asin), "Acos": _plain(math.acos),
    "Atan": _plain(math.atan), "Sinh": _plain(math.sinh), "Cosh": _plain(math.cosh),
    "Tanh": _plain(math.tanh), "Asinh": _plain(math.asinh), "Acosh": _plain(math.acosh),
    "Atanh": _plain(math.atanh), "Erf": _plain(math.erf), "Floor": _plain(math.floor),
    "Ceil": _plain(math.ceil), "Round": _plain(math.roundeven),
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


# Two and more operands ------------------------------------------------------------------------


def binary_operands(node: Node) -> tuple[Tensor, Tensor]:
    """Return both inputs; before opset 7 the second may be aligned at an axis."""
    a, b = node.tensor(0), node.tensor(1)
    if node.version < 7 and node.attr("broadcast", 0) and node.attr("axis") is not None:
        axis = node.normalize_axis(node.attr("axis"), a.rank)
        b = tensors.expand_dims(b, range(b.rank, a.rank - axis))
    return a, b


_BINARY: dict[str, Callable[[ir.Value, ir.Value, ElementType], ir.Value]] = {
    "Add": scalars.add, "Sub": scalars.sub, "Mul": scalars.mul, "Div": scalars.div,
    "And": lambda a, b, _: arith.andi(a, b), "Or": lambda a, b, _: arith.ori(a, b),
    "Xor": lambda a, b, _: arith.xori(a, b), "BitwiseAnd": lambda a, b, _: arith.andi(a, b),
    "BitwiseOr": lambda a, b, _: arith.ori(a, b), "BitwiseXor": lambda a, b, _: arith.xori(a, b),
}  # fmt: skip


def _truncated(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return int(a / b) if abs(a) < 1 << 52 else -(-a // b) if (a < 0) != (b < 0) else a // b
    return index.floordiv(a, b)


_ON_SIZES: dict[str, Callable[[Dim, Dim], Dim]] = {
    "Add": index.add, "Sub": index.sub, "Mul": index.mul, "Div": _truncated,
    "Max": index.maximum, "Min": index.minimum,
}  # fmt: skip


def on_sizes(node: Node) -> Value | None:
    """Compute on tracked integer vectors instead of tensors, where all operands are."""
    combine = _ON_SIZES.get(node.op)
    operands = [node.value(i) for i in range(len(node.inputs))]
    if combine is None or any(not v.element.is_integer or v.rank > 1 for v in operands):
        return None
    lists = [v.tracked_items() for v in operands]
    if any(items is None for items in lists):
        return None
    # Division of possibly negative run-time numbers truncates, sizes never are.
    length = max(len(items) for items in lists if items is not None)
    if any(items is not None and len(items) not in (1, length) for items in lists):
        return None
    full = [items * length if len(items) == 1 else items for items in lists if items is not None]
    result = full[0]
    for other in full[1:]:
        result = [combine(a, b) for a, b in zip(result, other, strict=True)]
    rank = max(v.rank for v in operands)
    return Value(items=result, rank=rank, element=operands[0].element)


@lowering(*_BINARY)
def binary(node: Node) -> Tensor | Value:
    """Two operands of one type, broadcast."""
    tracked = on_sizes(node)
    if tracked is not None:
        return tracked
    a, b = binary_operands(node)
    body = _BINARY[node.op]
    return elementwise([a, b], a.element, lambda x, y: body(x, y, a.element))


_COMPARISONS = {
    "Equal": "eq", "Less": "lt", "LessOrEqual": "le", "Greater": "gt", "GreaterOrEqual": "ge",
}  # fmt: skip


@lowering(*_COMPARISONS)
def comparison(node: Node) -> Tensor | Value:
    """Comparison of two operands."""
    a, b = binary_operands(node)
    predicate = _COMPARISONS[node.op]
    e = a.element
    return elementwise([a, b], BOOL, lambda x, y: scalars.compare(predicate, x, y, e))


@lowering("Max", "Min", "Sum", "Mean")
def variadic(node: Node) -> Tensor | Value:
    """Any number of operands."""
    tracked = on_sizes(node)
    if tracked is not None:
        return tracked
    operands = node.tensors()
    e = operands[0].element
    combine = {"Max": scalars.maximum, "Min": scalars.minimum}.get(node.op, scalars.add)

    def body(*values: ir.Value) -> ir.Value:
        result = values[0]
        for value in values[1:]:
            result = combine(result, value, e)
        if node.op == "Mean":
            result = scalars.div(result, number(len(values), e), e)
        return result

    return elementwise(operands, e, body)


@lowering("Pow")
def power(node: Node) -> Tensor:
    """x to the y, in the type of x."""
    a, b = binary_operands(node)
    exponent = node.array(1)
    if exponent is not None and exponent.size == 1 and a.element.is_float:
        simple = _simple_power(float(exponent.reshape(-1)[0]))
        if simple is not None and exponent.ndim <= a.rank:
            return in_accumulator(a, simple)
    if not a.element.is_float and not b.element.is_float:
        return _integer_power(a, b)
    wide = F64 if not a.element.is_float or a.element.bits == 64 else F32

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        base, power_ = (scalars.convert(v, t.element, wide) for v, t in ((x, a), (y, b)))
        return scalars.convert(math.powf(base, power_), wide, a.element)

    return elementwise([a, b], a.element, body)


def _simple_power(exponent: float) -> Unary | None:
    if exponent == 0.5:
        return _plain(math.sqrt)
    if exponent in (1.0, 2.0, 3.0, 4.0):

        def product(v: ir.Value, _: ElementType) -> ir.Value:
            result = v
            for _step in range(int(exponent) - 1):
                result = arith.mulf(result, v)
            return result

        return product
    if exponent == -1.0:
        return lambda v, e: arith.divf(number(1.0, e), v)
    return None


def _integer_power(a: Tensor, b: Tensor) -> Tensor:
    """Square and multiply over the bits of the exponent; negative exponents give 0 or +-1."""
    e = a.element

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        from iree_core.lowering.element import I64

        y = scalars.convert(y, b.element, I64)
        one, zero = number(1, e), number(0, e)
        result, square = one, x
        for bit in range(6):
            chosen = arith.andi(arith.shrsi(y, number(bit, I64)), number(1, I64))
            odd = scalars.compare("ne", chosen, number(0, I64), I64)
            result = arith.select(odd, arith.muli(result, square), result)
            square = arith.muli(square, square)
        unit = scalars.compare("eq", x, one, e)
        for_negative = arith.select(unit, one, zero)
        negative = scalars.compare("lt", y, number(0, I64), I64)
        return arith.select(negative, for_negative, result)

    return elementwise([a, b], e, body)


@lowering("Mod")
def modulo(node: Node) -> Tensor:
    """Remainder: of the divisor's sign, or with ``fmod`` of the dividend's."""
    a, b = node.tensor(0), node.tensor(1)
    e = a.element
    like_c = bool(node.attr("fmod", 0))

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        if e.is_float:
            wide = e.accumulator
            x, y = scalars.convert(x, e, wide), scalars.convert(y, e, wide)
            rest = arith.remf(x, y)
            if not like_c:
                rest = _same_sign(rest, y, wide)
            return scalars.convert(rest, wide, e)
        if e.is_unsigned:
            return arith.remui(x, y)
        rest = arith.remsi(x, y)
        return rest if like_c else _same_sign(rest, y, e)

    return elementwise([a, b], e, body)


def _same_sign(rest: ir.Value, divisor: ir.Value, e: ElementType) -> ir.Value:
    zero = number(0, e)
    differ = arith.xori(
        scalars.compare("lt", rest, zero, e), scalars.compare("lt", divisor, zero, e)
    )
    shift = arith.andi(differ, scalars.compare("ne", rest, zero, e))
    return arith.select(shift, scalars.add(rest, divisor, e), rest)


@lowering("BitShift")
def bit_shift(node: Node) -> Tensor:
    """Shift; amounts of the width or more (read as unsigned) leave only copies of the sign."""
    a, b = node.tensor(0), node.tensor(1)
    e = a.element
    left = node.attr("direction") == "LEFT"

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        fits = arith.cmpi(arith.CmpIPredicate.ult, y, number(e.bits, e))
        amount = arith.select(fits, y, number(e.bits - 1, e))
        if left:
            return arith.select(fits, arith.shli(x, amount), number(0, e))
        if not e.is_unsigned:
            return arith.shrsi(x, amount)
        return arith.select(fits, arith.shrui(x, amount), number(0, e))

    return elementwise([a, b], e, body)


@lowering("Where")
def where(node: Node) -> Tensor | Value:
    """Choice between two operands."""
    tracked = _where_on_sizes(node)
    if tracked is not None:
        return tracked
    c, a, b = node.tensor(0), node.tensor(1), node.tensor(2)
    return elementwise([c, a, b], a.element, lambda p, x, y: arith.select(p, x, y))


def _where_on_sizes(node: Node) -> Value | None:
    """Choose among tracked integers by a condition that is known at import."""
    condition = node.array(0)
    first, second = node.value(1), node.value(2)
    left, right = first.tracked_items(), second.tracked_items()
    if condition is None or condition.ndim > 1 or not left or not right:
        return None
    if not first.element.is_integer:
        return None
    picks = [bool(c) for c in condition.reshape(-1)]
    length = max(len(picks), len(left), len(right))

    def spread(items: list[Dim]) -> list[Dim]:
        return items * length if len(items) == 1 else items

    choices = picks * length if len(picks) == 1 else picks
    left, right = spread(left), spread(right)
    if not len(choices) == len(left) == len(right):
        return None
    chosen = [a if c else b for c, a, b in zip(choices, left, right, strict=True)]
    rank = max(condition.ndim, first.rank, second.rank)
    return Value(items=chosen, rank=rank, element=first.element)
