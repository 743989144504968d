"""Scalar ``arith`` and ``math`` operations as instructions, one small function each.

Integers narrower than 64 bits are kept sign-extended, ``i1`` as 0 or 1. Floats are computed in
double precision.
"""

from __future__ import annotations

from collections.abc import Callable

from iree_core.errors import CompileError
from iree_core.ir import ir
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.vm.builder import FloatReg, FunctionBuilder, Imm, Int, Reg

Scalar = Int | FloatReg

_SIGNED = {
    "arith.addi": "add", "arith.subi": "sub", "arith.muli": "mul", "arith.divsi": "divs",
    "arith.remsi": "rems", "arith.floordivsi": "floordiv", "arith.ceildivsi": "ceildiv",
    "arith.minsi": "min", "arith.maxsi": "max", "arith.andi": "and", "arith.ori": "or",
    "arith.xori": "xor", "arith.shli": "shl", "arith.shrsi": "shr",
}  # fmt: skip
_UNSIGNED = {
    "arith.divui": "floordiv", "arith.remui": "mod", "arith.ceildivui": "ceildiv",
    "arith.shrui": "shr",
}  # fmt: skip
_FLOAT = {
    "arith.addf": "fadd", "arith.subf": "fsub", "arith.mulf": "fmul", "arith.divf": "fdiv",
    "arith.minimumf": "fmin", "arith.maximumf": "fmax",
    "math.powf": "fpow",
}  # fmt: skip
_SAME = ("arith.index_cast", "arith.truncf", "arith.extf")
_PREDICATES = ("eq", "ne", "lt", "le", "gt", "ge", "lt", "le", "gt", "ge")
_MATH = {
    f"math.{name}": name
    for name in (
        "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "erfc",
        "exp", "exp2", "expm1", "floor", "log", "log10", "log1p", "log2", "round", "roundeven",
        "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
    )
} | {"math.absf": "abs", "arith.negf": "neg"}  # fmt: skip
_LOWEST = -(1 << 63)


def lower(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    """Emit ``op`` for ``operands`` and return its result.

    Raises:
        CompileError: the host program has no such operation.
    """
    name = op.operation.name
    if name in _MATH:
        return _float(builder, "fmath", _MATH[name], operands[0])
    if name in _FLOAT:
        return _float(builder, _FLOAT[name], *operands)
    if name in _SIGNED:
        bits = _bits(op.results[0].type)
        if bits == 1 and name not in ("arith.andi", "arith.ori", "arith.xori"):
            return _one_bit(builder, name, operands, op)
        return builder.wrap(builder.compute(_SIGNED[name], *_ints(operands)), bits)
    if name in _UNSIGNED:
        return _unsigned(builder, name, operands, op)
    if name in _SAME:
        return operands[0]
    handler = _HANDLERS.get(name)
    if handler is None:
        raise CompileError(
            f"The host program has no operation {name}.",
            where=describe_location(op.location) or None,
        )
    return handler(builder, op, operands)


def _ints(operands: list[Scalar]) -> list[Int]:
    assert all(not isinstance(o, FloatReg) for o in operands)
    return operands  # type: ignore[return-value]


def _bits(kind: ir.Type) -> int:
    return 64 if isinstance(kind, ir.IndexType) else kind.width


def _int_register(builder: FunctionBuilder, op: str, *operands: Scalar | str) -> Reg:
    result = Reg(builder.register("i"))
    builder.emit(op, result.number, *(_argument(builder, o) for o in operands))
    return result


def _float(builder: FunctionBuilder, op: str, *operands: Scalar | str) -> FloatReg:
    result = FloatReg(builder.register("f"))
    builder.emit(op, result.number, *(_argument(builder, o) for o in operands))
    return result


def _argument(builder: FunctionBuilder, value: Scalar | str) -> int | str:
    if isinstance(value, FloatReg):
        return value.number
    return value if isinstance(value, str) else builder.integer(value)


def _zero_extended(builder: FunctionBuilder, value: Int, bits: int) -> Int:
    if bits in (1, 64):
        return value
    return builder.compute("and", value, Imm((1 << bits) - 1))


def _unsigned(builder: FunctionBuilder, name: str, operands: list[Scalar], op: ir.OpView) -> Scalar:
    kind = op.results[0].type
    bits = _bits(kind)
    left, right = (_zero_extended(builder, o, bits) for o in _ints(operands))
    if bits == 64 and name == "arith.shrui":
        count = builder.compute("sub", Imm(64), right)
        mask = builder.compute("xor", builder.compute("shl", Imm(-1), count), Imm(-1))
        return builder.compute("and", builder.compute("shr", left, right), mask)
    if bits == 64 and not isinstance(kind, ir.IndexType):
        raise CompileError(
            f"The host program has no {name} of 64 bits.",
            where=describe_location(op.location) or None,
        )
    return builder.wrap(builder.compute(_UNSIGNED[name], left, right), bits)


def _one_bit(builder: FunctionBuilder, name: str, operands: list[Scalar], op: ir.OpView) -> Scalar:
    left, right = _ints(operands)
    if name in ("arith.addi", "arith.subi"):
        return builder.compute("xor", left, right)
    if name in ("arith.muli", "arith.maxsi"):  # -1 is smaller than 0
        return builder.compute("and", left, right)
    if name == "arith.minsi":
        return builder.compute("or", left, right)
    raise CompileError(
        f"The host program has no {name} of one bit.", where=describe_location(op.location) or None
    )


def _compare(builder: FunctionBuilder, predicate: int, left: Int, right: Int, bits: int) -> Int:
    if predicate >= 6 and bits == 64:
        # Flipping the sign bit maps the unsigned order to the signed one.
        left = builder.compute("xor", left, Imm(_LOWEST))
        right = builder.compute("xor", right, Imm(_LOWEST))
    elif predicate >= 6:
        left, right = (_zero_extended(builder, o, bits) for o in (left, right))
    elif bits == 1 and predicate >= 2:
        left, right = right, left  # 1 stands for -1
    return builder.compute(_PREDICATES[predicate], left, right)


def _cmpi(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    left, right = _ints(operands)
    predicate = ir.IntegerAttr(op.attributes["predicate"]).value
    return _compare(builder, predicate, left, right, _bits(op.operands[0].type))


def _extreme(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    left, right = _ints(operands)
    predicate = 6 if op.operation.name == "arith.minui" else 8
    first = _compare(builder, predicate, left, right, _bits(op.results[0].type))
    return builder.compute("select", first, left, right)


def _not(builder: FunctionBuilder, value: Int) -> Int:
    return builder.compute("xor", value, Imm(1))


def _cmpf(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    a, b = operands

    def test(name: str, left: Scalar, right: Scalar) -> Int:
        return _int_register(builder, name, left, right)

    def ordered() -> Int:
        return builder.compute("and", test("feq", a, a), test("feq", b, b))

    def different() -> Int:
        return builder.compute("or", test("flt", a, b), test("flt", b, a))

    tests: list[Callable[[], Int]] = [
        lambda: Imm(0),
        lambda: test("feq", a, b),
        lambda: test("flt", b, a),
        lambda: test("fle", b, a),
        lambda: test("flt", a, b),
        lambda: test("fle", a, b),
        different,
        ordered,
        lambda: _not(builder, different()),
        lambda: _not(builder, test("fle", a, b)),
        lambda: _not(builder, test("flt", a, b)),
        lambda: _not(builder, test("fle", b, a)),
        lambda: _not(builder, test("flt", b, a)),
        lambda: _not(builder, test("feq", a, b)),
        lambda: _not(builder, ordered()),
        lambda: Imm(1),
    ]
    return tests[ir.IntegerAttr(op.attributes["predicate"]).value]()


def _select(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    if isinstance(operands[1], FloatReg):
        return _float(builder, "fselect", *operands)
    return builder.compute("select", *_ints(operands))


def _number(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    value = op.attributes["value"]
    kind = op.results[0].type
    if isinstance(kind, ir.FloatType):
        return builder.real(ir.FloatAttr(value).value)
    number = ir.IntegerAttr(value).value
    return Imm(int(number) & 1) if _bits(kind) == 1 else Imm(int(number))


def _extsi(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    (value,) = _ints(operands)
    if _bits(op.operands[0].type) == 1:
        return builder.compute("sub", Imm(0), value)
    return value


def _extui(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    (value,) = _ints(operands)
    return _zero_extended(builder, value, _bits(op.operands[0].type))


def _trunci(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    (value,) = _ints(operands)
    return builder.wrap(value, _bits(op.results[0].type))


def _sitofp(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    return _float(builder, "itof", _extsi(builder, op, operands))


def _uitofp(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    (value,) = _ints(operands)
    if _bits(op.operands[0].type) < 64:
        return _float(builder, "itof", _extui(builder, op, operands))
    plain = _float(builder, "itof", value)
    high = _float(builder, "fadd", plain, builder.real(2.0**64))
    return _float(builder, "fselect", builder.compute("lt", value, Imm(0)), high, plain)


def _fptosi(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    return builder.wrap(_int_register(builder, "ftoi", operands[0]), _bits(op.results[0].type))


def _absi(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    (value,) = _ints(operands)
    negative = builder.wrap(builder.compute("sub", Imm(0), value), _bits(op.results[0].type))
    return builder.compute("max", value, negative)


def _remf(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    left, right = operands
    whole = _float(builder, "fmath", "trunc", _float(builder, "fdiv", left, right))
    return _float(builder, "fsub", left, _float(builder, "fmul", whole, right))


def _number_extreme(builder: FunctionBuilder, op: ir.OpView, operands: list[Scalar]) -> Scalar:
    a, b = operands  # an operand that is no number gives way to the other
    both = _float(builder, "fmax" if op.operation.name == "arith.maxnumf" else "fmin", a, b)
    or_a = _float(builder, "fselect", _int_register(builder, "feq", b, b), both, a)
    return _float(builder, "fselect", _int_register(builder, "feq", a, a), or_a, b)


_HANDLERS: dict[str, Callable[[FunctionBuilder, ir.OpView, list[Scalar]], Scalar]] = {
    "arith.constant": _number,
    "arith.cmpi": _cmpi,
    "arith.cmpf": _cmpf,
    "arith.select": _select,
    "arith.extsi": _extsi,
    "arith.extui": _extui,
    "arith.index_castui": _extui,
    "arith.trunci": _trunci,
    "arith.sitofp": _sitofp,
    "arith.uitofp": _uitofp,
    "arith.fptosi": _fptosi,
    "arith.fptoui": _fptosi,
    "arith.remf": _remf,
    "arith.maxnumf": _number_extreme,
    "arith.minnumf": _number_extreme,
    "arith.minui": _extreme,
    "arith.maxui": _extreme,
    "math.absi": _absi,
}
