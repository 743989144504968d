"""Elementwise operators: activations, arithmetic, comparison, logic."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt
from math import pi as PI

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars
from iree_core.lowering.element import BOOL, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor, fill
from iree_core.lowering.values import Value
from iree_frontend_tf.tflite.ops import quantized_elementwise as quantized
from iree_frontend_tf.tflite.ops.common import (
    activate_scalar,
    clamp,
    fused_activation,
    is_quantized,
    tracked,
)
from iree_frontend_tf.tflite.ops.tables import lookup
from iree_frontend_tf.tflite.registry import Lowering, Node, lowering

Unary = Callable[[ir.Value, ElementType], ir.Value]
Binary = Callable[[ir.Value, ir.Value, ElementType], ir.Value]


def _logistic(x: ir.Value, e: ElementType) -> ir.Value:
    one = constant(1, e)
    return arith.divf(one, arith.addf(one, math.exp(arith.negf(x))))


def _hard_swish(x: ir.Value, e: ElementType) -> ir.Value:
    shifted = clamp(arith.addf(x, constant(3, e)), 0, 6, e)
    return arith.divf(arith.mulf(x, shifted), constant(6, e))


def _elu(x: ir.Value, e: ElementType) -> ir.Value:
    return arith.select(scalars.compare("lt", x, constant(0, e), e), math.expm1(x), x)


def _sign(x: ir.Value, e: ElementType) -> ir.Value:
    zero = constant(0, e)
    negative = arith.select(scalars.compare("lt", x, zero, e), constant(-1, e), zero)
    return arith.select(scalars.compare("gt", x, zero, e), constant(1, e), negative)


_UNARY: dict[str, Unary] = {
    "ABS": scalars.absolute,
    "NEG": scalars.negate,
    "EXP": lambda x, _: math.exp(x),
    "LOG": lambda x, _: math.log(x),
    "SQRT": lambda x, _: math.sqrt(x),
    "RSQRT": lambda x, e: arith.divf(constant(1, e), math.sqrt(x)),
    "SIN": lambda x, _: math.sin(x),
    "COS": lambda x, _: math.cos(x),
    "CEIL": lambda x, _: math.ceil(x),
    "FLOOR": lambda x, _: math.floor(x),
    "ROUND": lambda x, _: math.roundeven(x),
    "SQUARE": lambda x, e: scalars.mul(x, x, e),
    "LOGISTIC": _logistic,
    "TANH": lambda x, _: math.tanh(x),
    "RELU": lambda x, e: clamp(x, 0, inf, e),
    "RELU6": lambda x, e: clamp(x, 0, 6, e),
    "RELU_N1_TO_1": lambda x, e: clamp(x, -1, 1, e),
    "RELU_0_TO_1": lambda x, e: clamp(x, 0, 1, e),
    "ELU": _elu,
    "HARD_SWISH": _hard_swish,
    "SIGN": _sign,
}
_FLOAT_ONLY = frozenset(
    ["EXP", "LOG", "SQRT", "RSQRT", "SIN", "COS", "LOGISTIC", "TANH", "ELU", "HARD_SWISH"]
)  # fmt: skip
_KEEPS_INTEGERS = frozenset(["CEIL", "FLOOR", "ROUND"])


def _unary(name: str, body: Unary) -> Lowering:
    def lower(node: Node) -> Tensor:
        if is_quantized(node):
            return lookup(node)
        x = node.tensor(0)
        e = x.element
        if name in _KEEPS_INTEGERS and not e.is_float:
            return x
        if name in _FLOAT_ONLY and not e.is_float:
            node.unsupported(f"it is not defined for {e.name} without a scale")
        return elementwise([x], e, lambda v: body(v, e))

    return lower


for _name, _body in _UNARY.items():
    lowering(_name)(_unary(_name, _body))


@lowering("LEAKY_RELU")
def leaky_relu(node: Node) -> Tensor:
    """``x`` where positive, else ``alpha * x``."""
    if is_quantized(node):
        return quantized.leaky_relu(node)
    x = node.tensor(0)
    e = x.element
    alpha = node.option("Alpha", 0.0)

    def body(v: ir.Value) -> ir.Value:
        negative = scalars.compare("lt", v, constant(0, e), e)
        return arith.select(negative, arith.mulf(v, constant(alpha, e)), v)

    return elementwise([x], e, body)


@lowering("GELU")
def gelu(node: Node) -> Tensor:
    """Gaussian error linear unit, exact or by tanh."""
    if is_quantized(node):
        return lookup(node)
    x = node.tensor(0)
    e = x.element
    approximate = node.option("Approximate", False)

    def body(v: ir.Value) -> ir.Value:
        half = arith.mulf(v, constant(0.5, e))
        if approximate:
            cube = arith.mulf(v, arith.mulf(v, v))
            inner = arith.addf(v, arith.mulf(cube, constant(0.044715, e)))
            curve = math.tanh(arith.mulf(inner, constant(sqrt(2 / PI), e)))
        else:
            curve = math.erf(arith.mulf(v, constant(sqrt(0.5), e)))
        return arith.mulf(half, arith.addf(curve, constant(1, e)))

    return elementwise([x], e, body)


@lowering("PRELU")
def prelu(node: Node) -> Tensor:
    """``x`` where not negative, else ``alpha * x`` with an alpha that broadcasts."""
    if is_quantized(node):
        return quantized.prelu(node)
    x, alpha = node.tensor(0), node.tensor(1)
    e = x.element

    def body(v: ir.Value, a: ir.Value) -> ir.Value:
        return arith.select(scalars.compare("ge", v, constant(0, e), e), v, arith.mulf(v, a))

    return elementwise([x, alpha], e, body)


@lowering("LOGICAL_NOT")
def logical_not(node: Node) -> Tensor:
    """The other truth value."""
    return elementwise([node.tensor(0)], BOOL, lambda v: arith.xori(v, constant(1, BOOL)))


@lowering("ZEROS_LIKE")
def zeros_like(node: Node) -> Tensor:
    """Zeros of the shape of the input."""
    x = node.tensor(0)
    return fill(x.dims, x.element, 0)


# Arithmetic on two operands -----------------------------------------------------------------


def divide(a: ir.Value, b: ir.Value, e: ElementType) -> ir.Value:
    """Return ``a / b``; integers truncate, and what processors trap on has some result."""
    if e.is_float:
        return arith.divf(a, b)
    if e.is_unsigned:
        safe = arith.select(scalars.compare("eq", b, constant(0, e), e), constant(1, e), b)
        return arith.divui(a, safe)
    small = arith.cmpi(arith.CmpIPredicate.ult, arith.addi(b, constant(1, e)), constant(2, e))
    quotient = arith.divsi(a, arith.select(small, constant(1, e), b))
    minus = scalars.compare("eq", b, constant(-1, e), e)
    return arith.select(minus, scalars.negate(a, e), quotient)


def _remainder(a: ir.Value, b: ir.Value, e: ElementType) -> ir.Value:
    if e.is_float:
        return arith.remf(a, b)
    return arith.subi(a, arith.muli(divide(a, b, e), b))


def _floor_mod(a: ir.Value, b: ir.Value, e: ElementType) -> ir.Value:
    """Remainder with the sign of ``b`` (Python's %)."""
    rest = _remainder(a, b, e)
    if e.is_unsigned:
        return rest
    zero = constant(0, e)
    other_side = arith.xori(scalars.compare("lt", rest, zero, e), scalars.compare("lt", b, zero, e))
    wrong = arith.andi(scalars.compare("ne", rest, zero, e), other_side)
    return arith.select(wrong, scalars.add(rest, b, e), rest)


def _floor_div(a: ir.Value, b: ir.Value, e: ElementType) -> ir.Value:
    if e.is_float:
        return math.floor(arith.divf(a, b))
    quotient = divide(a, b, e)
    if e.is_unsigned:
        return quotient
    zero = constant(0, e)
    inexact = scalars.compare("ne", arith.muli(quotient, b), a, e)
    signs = arith.xori(scalars.compare("lt", a, zero, e), scalars.compare("lt", b, zero, e))
    down = arith.subi(quotient, constant(1, e))
    return arith.select(arith.andi(inexact, signs), down, quotient)


def _power(a: ir.Value, b: ir.Value, e: ElementType) -> ir.Value:
    if e.is_float:
        return math.powf(a, b)
    # By squaring; negative exponents are an error in TFLite.
    result, base = constant(1, e), a
    for bit in range(e.bits - 1):
        taken = arith.andi(b, constant(1 << bit, e))
        used = scalars.compare("ne", taken, constant(0, e), e)
        result = arith.select(used, arith.muli(result, base), result)
        base = arith.muli(base, base)
    return result


def _squared_difference(a: ir.Value, b: ir.Value, e: ElementType) -> ir.Value:
    difference = scalars.sub(a, b, e)
    return scalars.mul(difference, difference, e)


_BINARY: dict[str, Binary] = {
    "ADD": scalars.add,
    "SUB": scalars.sub,
    "MUL": scalars.mul,
    "DIV": divide,
    "FLOOR_DIV": _floor_div,
    "FLOOR_MOD": _floor_mod,
    "MAXIMUM": scalars.maximum,
    "MINIMUM": scalars.minimum,
    "POW": _power,
    "SQUARED_DIFFERENCE": _squared_difference,
    "ATAN2": lambda a, b, _: math.atan2(a, b),
    "LOGICAL_AND": lambda a, b, _: arith.andi(a, b),
    "LOGICAL_OR": lambda a, b, _: arith.ori(a, b),
    "BITWISE_XOR": lambda a, b, _: arith.xori(a, b),
}
_ON_SIZES: dict[str, Callable[[Dim, Dim], Dim]] = {
    "ADD": index.add,
    "SUB": index.sub,
    "MUL": index.mul,
    "MAXIMUM": index.maximum,
    "MINIMUM": index.minimum,
    "FLOOR_DIV": index.floordiv,
}
_SCALED: dict[str, Callable[[Node], Tensor]] = {
    "ADD": quantized.add,
    "SUB": quantized.add,
    "MUL": quantized.multiply,
    "DIV": quantized.divide,
    "SQUARED_DIFFERENCE": quantized.squared_difference,
    "MAXIMUM": quantized.extremum,
    "MINIMUM": quantized.extremum,
}


def _binary(name: str, body: Binary) -> Lowering:
    def lower(node: Node) -> Tensor | Value:
        activation = fused_activation(node) if name in ("ADD", "SUB", "MUL", "DIV") else 0
        if name in _ON_SIZES and not activation:
            known = tracked(node, _ON_SIZES[name])
            if known is not None:
                return known
        if is_quantized(node):
            if name not in _SCALED:
                node.unsupported("it is not supported on quantized integers")
            return _SCALED[name](node)
        a, b = node.tensor(0), node.tensor(1)
        e = a.element
        return elementwise(
            [a, b], e, lambda x, y: activate_scalar(node, body(x, y, e), e, activation)
        )

    return lower


for _name, _pair in _BINARY.items():
    lowering(_name)(_binary(_name, _pair))


@lowering("RIGHT_SHIFT")
def right_shift(node: Node) -> Tensor:
    """Arithmetic shift; amounts are limited to the width of the type."""
    a, b = node.tensor(0), node.tensor(1)
    e = a.element

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        amount = clamp(y, 0, e.bits - 1, e)
        return (arith.shrui if e.is_unsigned else arith.shrsi)(x, amount)

    return elementwise([a, b], e, body)


@lowering("ADD_N")
def add_n(node: Node) -> Tensor:
    """The sum of all inputs, from the first on."""
    if is_quantized(node):
        node.unsupported("it is not supported on quantized integers")
    total, *rest = node.tensors()
    e = total.element
    for other in rest:
        total = elementwise([total, other], e, lambda a, b: scalars.add(a, b, e))
    return total


def _comparison(predicate: str) -> Lowering:
    def lower(node: Node) -> Tensor:
        if is_quantized(node):
            return quantized.compare(node, predicate)
        a, b = node.tensor(0), node.tensor(1)
        return elementwise([a, b], BOOL, lambda x, y: scalars.compare(predicate, x, y, a.element))

    return lower


for _name, _predicate in {
    "EQUAL": "eq", "NOT_EQUAL": "ne", "LESS": "lt",
    "LESS_EQUAL": "le", "GREATER": "gt", "GREATER_EQUAL": "ge",
}.items():  # fmt: skip
    lowering(_name)(_comparison(_predicate))
