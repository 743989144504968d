"""Elementwise operators of two and more tensors: arithmetic, comparisons, logic, choice."""

from __future__ import annotations

from collections.abc import Callable

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import BOOL, F32, F64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_onnx.ops.elementwise import Unary, in_accumulator, number, plain
from iree_frontend_onnx.registry import Node, lowering


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
        return plain(math.sqrt)
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
