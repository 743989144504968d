"""The MSL of arithmetic and mathematical operations, by their MLIR names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from iree_backend_metal.msl.types import (
    is_bits,
    is_boolean,
    is_half,
    is_index,
    lanes_of,
    literal,
    scalar_type,
    signed_type,
    spread,
    value_type,
    width_of,
)
from iree_core.errors import CompileError
from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_backend_metal.msl.emit import Emitter

Emit: TypeAlias = "Callable[[Emitter, ir.OpView], None]"

# Functions that MSL computes with at most 6 (powers: 16) units in the last place
# (Metal Shading Language Specification, section 8.4, without fast math).
NATIVE = frozenset(
    f"math.{name}"
    for name in (
        "exp exp2 log log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
        "atan2 powf"
    ).split()
)


# Integers.


def extended(e: Emitter, value: ir.Value, signed: bool) -> str:
    """Return an integer whose upper bits are those of its logical width, signed as asked."""
    kind, text = value.type, e.get(value)
    width = width_of(kind)
    if is_boolean(kind):
        return text
    if is_index(kind):
        return text if signed else f"{spread('uint', lanes_of(kind))}({text})"
    if not signed:
        return text if width >= 32 else f"({text} & {(1 << width) - 1:#x}u)"
    to = signed_type(kind)
    if width >= 32:
        return f"{to}({text})"
    return f"({to}({text} << {32 - width}u) >> {32 - width})"


def _wrapped(kind: ir.Type, text: str) -> str:
    return f"{value_type(kind)}({text})"


def _binary(
    symbol: str, boolean: str | None, signed: bool | None, e: Emitter, op: ir.OpView
) -> None:
    """Emit an integer operation; ``signed``: None as it is, else how operands are read."""
    left, right = op.operands
    if is_boolean(left.type):
        if boolean is None:
            raise CompileError(f"The Metal backend has no form of {op.operation.name} on i1.")
        e.define(op.results[0], _on_truth(e, boolean, left, right))
        return
    if signed is None or (is_index(left.type) and signed):
        e.define(op.results[0], f"{e.get(left)} {symbol} {e.get(right)}")
        return
    a, b = extended(e, left, signed), extended(e, right, signed)
    e.define(op.results[0], _wrapped(op.results[0].type, f"{a} {symbol} {b}"))


def _on_truth(e: Emitter, symbol: str, left: ir.Value, right: ir.Value) -> str:
    """Return an operation on truth values; vectors of them know no bitwise operators."""
    a, b = e.get(left), e.get(right)
    logical = {"&": "&&", "|": "||", "!=": "!=", "==": "=="}[symbol]
    return f"{a} {logical} {b}"


def _shift(symbol: str, signed: bool | None, e: Emitter, op: ir.OpView) -> None:
    left, right = op.operands
    value = e.get(left) if signed is None else extended(e, left, signed)
    made = f"{value} {symbol} {extended(e, right, False)}"
    e.define(op.results[0], _wrapped(op.results[0].type, made))


def _extreme(function: str, boolean: str, signed: bool, e: Emitter, op: ir.OpView) -> None:
    left, right = op.operands
    if is_boolean(left.type):
        e.define(op.results[0], _on_truth(e, boolean, left, right))
        return
    a, b = extended(e, left, signed), extended(e, right, signed)
    e.define(op.results[0], _wrapped(op.results[0].type, f"{function}({a}, {b})"))


def _extended_product(signed: bool, e: Emitter, op: ir.OpView) -> None:
    """Emit a product as its low and high half."""
    left, right = op.operands
    if width_of(left.type) not in (32, 64):
        raise CompileError(f"The Metal backend has no form of {op.operation.name} on bytes.")
    low, high = op.results
    e.define(low, f"{e.get(left)} * {e.get(right)}")
    a, b = extended(e, left, signed), extended(e, right, signed)
    e.define(high, _wrapped(high.type, f"mulhi({a}, {b})"))


_PREDICATES = [  # arith.cmpi, in the order of the enumeration: operator, signed
    ("==", False), ("!=", False), ("<", True), ("<=", True), (">", True), (">=", True),
    ("<", False), ("<=", False), (">", False), (">=", False),
]  # fmt: skip


def _compare_integers(e: Emitter, op: ir.OpView) -> None:
    symbol, signed = _PREDICATES[ir.IntegerAttr(op.attributes["predicate"]).value]
    left, right = op.operands
    if is_boolean(left.type):
        if symbol not in ("==", "!="):
            # Compared as numbers; a set i1 is -1 where the comparison is signed.
            number = spread("int", lanes_of(left.type))
            a, b = f"{number}({e.get(left)})", f"{number}({e.get(right)})"
            a, b = (b, a) if signed else (a, b)
        else:
            a, b = e.get(left), e.get(right)
    elif symbol in ("==", "!=") and width_of(left.type) >= 32:
        a, b = e.get(left), e.get(right)
    else:
        a, b = extended(e, left, signed), extended(e, right, signed)
    e.define(op.results[0], f"{a} {symbol} {b}")


# Ordered comparisons are false for NaN as they are; unordered ones are their negations.
_FLOAT_PREDICATES = [
    "", "==", ">", ">=", "<", "<=", "ordered !=", "ord", "unordered ==", "not <=", "not <",
    "not >=", "not >", "!=", "uno",
]  # fmt: skip


def _compare_floats(e: Emitter, op: ir.OpView) -> None:
    number = ir.IntegerAttr(op.attributes["predicate"]).value
    kind = op.results[0].type
    if number in (0, 15):
        e.set(op.results[0], literal(kind, number == 15))
        return
    _refuse_bits(op)
    a, b = (e.get(o) for o in op.operands)
    name = _FLOAT_PREDICATES[number]
    if name == "ord":
        text = f"{a} == {a} && {b} == {b}"
    elif name == "uno":
        text = f"{a} != {a} || {b} != {b}"
    elif name == "ordered !=":
        text = f"{a} < {b} || {a} > {b}"
    elif name == "unordered ==":
        text = f"!({a} < {b} || {a} > {b})"
    elif name.startswith("not "):
        text = f"!({a} {name[4:]} {b})"
    else:
        text = f"{a} {name} {b}"
    e.define(op.results[0], text)


def choose(condition: str, then: str, otherwise: str, lanes: int) -> str:
    """Return a choice, lane by lane where ``lanes`` is more than 1."""
    if lanes == 1:
        return f"{condition} ? {then} : {otherwise}"
    return f"select({otherwise}, {then}, {condition})"


def _select(e: Emitter, op: ir.OpView) -> None:
    condition, kind = op.operands[0], op.results[0].type
    chosen, then, otherwise = (e.get(o) for o in op.operands)
    lanes = 1 if isinstance(kind, ir.ComplexType) else lanes_of(condition.type)
    if is_boolean(kind) and lanes > 1:
        e.define(op.results[0], f"({chosen} && {then}) || (!{chosen} && {otherwise})")
        return
    e.define(op.results[0], choose(chosen, then, otherwise, lanes))


def _absolute_integer(e: Emitter, op: ir.OpView) -> None:
    made = f"abs({extended(e, op.operands[0], True)})"
    e.define(op.results[0], _wrapped(op.results[0].type, made))


def _count_bits(e: Emitter, op: ir.OpView) -> None:
    e.define(op.results[0], f"popcount({extended(e, op.operands[0], False)})")


# Floats.


def _refuse_bits(op: ir.OpView) -> None:
    if any(is_bits(v.type) for v in (*op.operands, *op.results)):
        raise CompileError(
            f"The Metal backend has no form of {op.operation.name} on {op.operands[0].type}."
        )


def _infix(symbol: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_bits(op)
    a, b = (e.get(o) for o in op.operands)
    e.define(op.results[0], f"{a} {symbol} {b}")


def _negate(e: Emitter, op: ir.OpView) -> None:
    _refuse_bits(op)
    e.define(op.results[0], f"-{e.get(op.operands[0])}")


def _function(name: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_bits(op)
    e.define(op.results[0], f"{name}({', '.join(e.get(o) for o in op.operands)})")


def _nan_extreme(symbol: str, e: Emitter, op: ir.OpView) -> None:
    """Emit the larger or smaller of two floats, NaN if one is."""
    _refuse_bits(op)
    a, b = (e.get(o) for o in op.operands)
    lanes = lanes_of(op.results[0].type)
    # The comparison is false for a NaN, which chooses b.
    e.define(op.results[0], choose(f"({a} {symbol} {b} || {a} != {a})", a, b, lanes))


def _absolute(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    if is_bits(kind):
        mask = (1 << (width_of(kind) - 1)) - 1
        e.define(op.results[0], f"{e.get(op.operands[0])} & {mask:#x}u")
        return
    _function("fabs", e, op)


def _copysign(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    if not is_bits(kind):
        _function("copysign", e, op)
        return
    sign = 1 << (width_of(kind) - 1)
    a, b = (e.get(o) for o in op.operands)
    e.define(op.results[0], f"({a} & {sign - 1:#x}u) | ({b} & {sign:#x}u)")


# Conversions.


def _convert_integer(signed: bool, e: Emitter, op: ir.OpView) -> None:
    """Emit extension, truncation, or conversion from or to index."""
    source, kind = op.operands[0], op.results[0].type
    to, text = value_type(kind), e.get(source)
    if is_boolean(source.type):
        lanes = lanes_of(kind)
        yes, no = literal(kind, -1 if signed else 1), literal(kind, 0)
        e.define(op.results[0], choose(text, yes, no, lanes))
    elif is_boolean(kind):
        one = literal(source.type, 1)
        e.define(op.results[0], f"({text} & {one}) != {literal(source.type, 0)}")
    elif width_of(kind) <= width_of(source.type):
        e.define(op.results[0], f"{to}({text})") if value_type(source.type) != to else e.set(
            op.results[0], text
        )
    else:
        e.define(op.results[0], f"{to}({extended(e, source, signed)})")


def _to_float(signed: bool, e: Emitter, op: ir.OpView) -> None:
    _refuse_bits(op)
    source, kind = op.operands[0], op.results[0].type
    if is_boolean(source.type):
        yes, no = literal(kind, -1.0 if signed else 1.0), literal(kind, 0.0)
        e.define(op.results[0], choose(e.get(source), yes, no, lanes_of(kind)))
        return
    e.define(op.results[0], _wrapped(kind, extended(e, source, signed)))


def _to_integer(signed: bool, e: Emitter, op: ir.OpView) -> None:
    _refuse_bits(op)
    source, kind = op.operands[0], op.results[0].type
    text = e.get(source)
    if is_boolean(kind):
        e.define(op.results[0], f"{text} != {literal(source.type, 0.0)}")
        return
    # A narrow unsigned number is in the range of 32 signed bits; so is a negative one.
    unsigned = not signed and width_of(kind) >= 32
    through = spread("ulong" if width_of(kind) == 64 else "uint", lanes_of(kind))
    through = through if unsigned else signed_type(kind)
    e.define(op.results[0], _wrapped(kind, f"{through}({text})"))


def _convert_float(e: Emitter, op: ir.OpView) -> None:
    _refuse_bits(op)
    e.define(op.results[0], _wrapped(op.results[0].type, e.get(op.operands[0])))


def _bitcast(e: Emitter, op: ir.OpView) -> None:
    source, kind = op.operands[0], op.results[0].type
    text, lanes = e.get(source), lanes_of(kind)
    if is_half(kind) and not is_half(source.type):
        text = f"as_type<{value_type(kind)}>({spread('ushort', lanes)}({text}))"
    elif is_half(source.type) and not is_half(kind):
        text = f"{value_type(kind)}(as_type<{spread('ushort', lanes)}>({text}))"
    elif scalar_type(source.type) != scalar_type(kind):
        text = f"as_type<{value_type(kind)}>({text})"
    else:
        e.set(op.results[0], text)
        return
    e.define(op.results[0], text)


def python_number(attribute: ir.Attribute) -> float | int:
    """Return the number of an attribute."""
    if isinstance(attribute, ir.FloatAttr):
        return float(attribute.value)
    return int(attribute.value)


def _constant(e: Emitter, op: ir.OpView) -> None:
    kind, attribute = op.results[0].type, op.attributes["value"]
    if not isinstance(kind, ir.VectorType):
        e.set(op.results[0], literal(kind, python_number(attribute)))
        return
    if attribute.is_splat:
        e.set(op.results[0], literal(kind, python_number(attribute.get_splat_value())))
        return
    parts = ", ".join(literal(kind.element_type, number) for number in attribute)
    e.set(op.results[0], f"{value_type(kind)}({parts})")


TABLE: dict[str, Emit] = {
    "arith.constant": _constant,
    "arith.addi": partial(_binary, "+", "!=", None),
    "arith.subi": partial(_binary, "-", "!=", None),
    "arith.muli": partial(_binary, "*", "&", None),
    "arith.andi": partial(_binary, "&", "&", None),
    "arith.ori": partial(_binary, "|", "|", None),
    "arith.xori": partial(_binary, "^", "!=", None),
    "arith.divsi": partial(_binary, "/", None, True),
    "arith.divui": partial(_binary, "/", None, False),
    "arith.remsi": partial(_binary, "%", None, True),
    "arith.remui": partial(_binary, "%", None, False),
    "arith.shli": partial(_shift, "<<", None),
    "arith.shrsi": partial(_shift, ">>", True),
    "arith.shrui": partial(_shift, ">>", False),
    # A set i1 is -1 where it is signed.
    "arith.maxsi": partial(_extreme, "max", "&", True),
    "arith.minsi": partial(_extreme, "min", "|", True),
    "arith.maxui": partial(_extreme, "max", "|", False),
    "arith.minui": partial(_extreme, "min", "&", False),
    "arith.mulsi_extended": partial(_extended_product, True),
    "arith.mului_extended": partial(_extended_product, False),
    "arith.cmpi": _compare_integers,
    "arith.cmpf": _compare_floats,
    "arith.select": _select,
    "arith.addf": partial(_infix, "+"),
    "arith.subf": partial(_infix, "-"),
    "arith.mulf": partial(_infix, "*"),
    "arith.divf": partial(_infix, "/"),
    "arith.negf": _negate,
    "arith.maximumf": partial(_nan_extreme, ">"),
    "arith.minimumf": partial(_nan_extreme, "<"),
    "arith.maxnumf": partial(_function, "fmax"),
    "arith.minnumf": partial(_function, "fmin"),
    "arith.extsi": partial(_convert_integer, True),
    "arith.extui": partial(_convert_integer, False),
    "arith.trunci": partial(_convert_integer, False),
    "arith.index_cast": partial(_convert_integer, True),
    "arith.index_castui": partial(_convert_integer, False),
    "arith.sitofp": partial(_to_float, True),
    "arith.uitofp": partial(_to_float, False),
    "arith.fptosi": partial(_to_integer, True),
    "arith.fptoui": partial(_to_integer, False),
    "arith.extf": _convert_float,
    "arith.truncf": _convert_float,
    "arith.bitcast": _bitcast,
    "math.absf": _absolute,
    "math.copysign": _copysign,
    "math.absi": _absolute_integer,
    "math.ctpop": _count_bits,
    "math.floor": partial(_function, "floor"),
    "math.ceil": partial(_function, "ceil"),
    "math.trunc": partial(_function, "trunc"),
    "math.roundeven": partial(_function, "rint"),
    "math.round": partial(_function, "round"),
    "math.sqrt": partial(_function, "precise::sqrt"),
    "math.rsqrt": partial(_function, "precise::rsqrt"),
    "math.fma": partial(_function, "fma"),
    "math.isnan": partial(_function, "isnan"),
    "math.isinf": partial(_function, "isinf"),
    "math.isfinite": partial(_function, "isfinite"),
    "vector.fma": partial(_function, "fma"),
}
TABLE |= {
    name: partial(_function, "precise::" + {"math.powf": "pow"}.get(name, name[5:]))
    for name in NATIVE
}
