"""The SPIR-V of arithmetic: operations of ``arith`` and ``math``, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from iree_backend_vulkan.spirv.types import is_boolean, is_narrow_float, lanes_of, width_of
from iree_core.errors import CompileError
from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_backend_vulkan.spirv.emit import Emitter

Emit: TypeAlias = "Callable[[Emitter, ir.OpView], None]"


# Integers narrower than their representation: upper bits made right before they are looked at.


def _extended(e: Emitter, value: ir.Value, signed: bool) -> int:
    """Return an integer with its upper bits extended from its logical width."""
    width = width_of(value.type)
    made = e.get(value)
    if width >= 32 or is_boolean(value.type):
        return made
    kind, asm = e.types.value(value.type), e.asm
    if not signed:
        return asm.emit("BitwiseAnd", kind, made, _words(e, value.type, (1 << width) - 1))
    shift = _words(e, value.type, 32 - width)
    up = asm.emit("ShiftLeftLogical", kind, made, shift)
    return asm.emit("ShiftRightArithmetic", kind, up, shift)


def _words(e: Emitter, like: ir.Type, number: int) -> int:
    """Return a constant of the representation of a type, by its bits."""
    words = [number & 0xFFFFFFFF]
    if width_of(like) == 64:
        words.append(number >> 32 & 0xFFFFFFFF)
    scalar = e.asm.constant(e.types.scalar(like), words)
    return e.types.splat(e.types.value(like), scalar, lanes_of(like))


def _binary(
    spirv: str, boolean: str | None, extend: bool | None, e: Emitter, op: ir.OpView
) -> None:
    """Emit an integer operation; ``extend``: None as it is, else whether operands are signed."""
    left, right = op.operands
    kind = e.types.value(op.results[0].type)
    if is_boolean(left.type):
        if boolean is None:
            raise CompileError(f"The Vulkan backend has no form of {op.operation.name} on i1.")
        e.result(op, e.asm.emit(boolean, kind, e.get(left), e.get(right)))
        return
    if extend is None:
        operands = e.get(left), e.get(right)
    else:
        operands = _extended(e, left, extend), _extended(e, right, extend)
    e.result(op, e.asm.emit(spirv, kind, *operands))


def _shift(spirv: str, extend: bool | None, e: Emitter, op: ir.OpView) -> None:
    left, right = op.operands
    value = e.get(left) if extend is None else _extended(e, left, extend)
    amount = _extended(e, right, False)
    e.result(op, e.asm.emit(spirv, e.types.value(op.results[0].type), value, amount))


def _extreme(glsl: str, boolean: str, signed: bool, e: Emitter, op: ir.OpView) -> None:
    left, right = op.operands
    kind, asm = e.types.value(op.results[0].type), e.asm
    if is_boolean(left.type):
        e.result(op, asm.emit(boolean, kind, e.get(left), e.get(right)))
        return
    a, b = _extended(e, left, signed), _extended(e, right, signed)
    e.result(op, asm.extended(glsl, kind, a, b))


def _extended_product(spirv: str, e: Emitter, op: ir.OpView) -> None:
    """Emit a product as its low and high half."""
    asm, kind = e.asm, e.types.value(op.operands[0].type)
    if width_of(op.operands[0].type) not in (32, 64):
        raise CompileError(f"The Vulkan backend has no form of {op.operation.name} on bytes.")
    pair = asm.kind("TypeStruct", kind, kind)
    both = asm.emit(spirv, pair, e.get(op.operands[0]), e.get(op.operands[1]))
    for number, result in enumerate(op.results):
        e.set(result, asm.emit("CompositeExtract", kind, both, number))


_PREDICATES = [  # arith.cmpi, in the order of the enumeration: SPIR-V, on i1, signed
    ("IEqual", "LogicalEqual", False), ("INotEqual", "LogicalNotEqual", False),
    ("SLessThan", "", True), ("SLessThanEqual", "", True),
    ("SGreaterThan", "", True), ("SGreaterThanEqual", "", True),
    ("ULessThan", "", False), ("ULessThanEqual", "", False),
    ("UGreaterThan", "", False), ("UGreaterThanEqual", "", False),
]  # fmt: skip


def _compare_integers(e: Emitter, op: ir.OpView) -> None:
    name, boolean, signed = _PREDICATES[ir.IntegerAttr(op.attributes["predicate"]).value]
    left, right = op.operands
    kind, asm = e.types.value(op.results[0].type), e.asm
    if is_boolean(left.type):
        a, b = e.get(left), e.get(right)
        if not boolean:
            # Compared as numbers; a set i1 is -1 where the comparison is signed.
            word = e.types.spread(e.word, lanes_of(left.type))
            like = ir.IntegerType.get_signless(32)
            kind32 = ir.VectorType.get(left.type.shape, like) if lanes_of(left.type) > 1 else like
            one, zero = _words(e, kind32, -1 if signed else 1), _words(e, kind32, 0)
            a, b = (asm.emit("Select", word, v, one, zero) for v in (a, b))
        e.result(op, asm.emit(boolean or name, kind, a, b))
        return
    a, b = _extended(e, left, signed), _extended(e, right, signed)
    e.result(op, asm.emit(name, kind, a, b))


_FLOAT_PREDICATES = [
    "", "FOrdEqual", "FOrdGreaterThan", "FOrdGreaterThanEqual", "FOrdLessThan",
    "FOrdLessThanEqual", "FOrdNotEqual", "ord", "FUnordEqual", "FUnordGreaterThan",
    "FUnordGreaterThanEqual", "FUnordLessThan", "FUnordLessThanEqual", "FUnordNotEqual", "uno",
]  # fmt: skip


def _compare_floats(e: Emitter, op: ir.OpView) -> None:
    number = ir.IntegerAttr(op.attributes["predicate"]).value
    kind, asm = e.types.value(op.results[0].type), e.asm
    if number in (0, 15):
        e.result(op, e.types.number(op.results[0].type, number == 15))
        return
    name = _FLOAT_PREDICATES[number]
    a, b = (e.get(o) for o in op.operands)
    if name in ("ord", "uno"):
        either = asm.emit("IsNan", kind, a)
        if a != b:
            either = asm.emit("LogicalOr", kind, either, asm.emit("IsNan", kind, b))
        e.result(op, asm.emit("LogicalNot", kind, either) if name == "ord" else either)
        return
    e.result(op, asm.emit(name, kind, a, b))


def _select(e: Emitter, op: ir.OpView) -> None:
    condition, then, otherwise = op.operands
    chosen, lanes = e.get(condition), lanes_of(op.results[0].type)
    if lanes > 1 and lanes_of(condition.type) == 1:
        # Before version 1.4 the condition has as many components as the value.
        kind = e.types.spread(e.asm.boolean(), lanes)
        chosen = e.asm.emit("CompositeConstruct", kind, *[chosen] * lanes)
    kind = e.types.value(op.results[0].type)
    e.result(op, e.asm.emit("Select", kind, chosen, e.get(then), e.get(otherwise)))


# Floats.


def _float(spirv: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind = e.types.value(op.results[0].type)
    made = e.asm.emit(spirv, kind, *(e.get(o) for o in op.operands))
    e.asm.decorate(made, "NoContraction")
    e.result(op, made)


def _refuse_narrow(op: ir.OpView) -> None:
    if any(is_narrow_float(v.type) for v in (*op.operands, *op.results)):
        raise CompileError(
            f"The Vulkan backend has no form of {op.operation.name} on {op.operands[0].type}."
        )


def _glsl(name: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind = e.types.value(op.results[0].type)
    e.result(op, e.asm.extended(name, kind, *(e.get(o) for o in op.operands)))


def _float_extreme(compare: str, propagate: bool, e: Emitter, op: ir.OpView) -> None:
    """Emit the larger or smaller of two floats; a NaN is the result, or is passed over."""
    _refuse_narrow(op)
    asm = e.asm
    a, b = (e.get(o) for o in op.operands)
    kind = e.types.value(op.results[0].type)
    truth = e.types.spread(asm.boolean(), lanes_of(op.results[0].type))
    chosen = asm.emit("Select", kind, asm.emit(compare, truth, a, b), a, b)
    # The comparison is false for a NaN, which chooses b.
    tested, instead = (a, a) if propagate else (b, a)
    is_nan = asm.emit("IsNan", truth, tested)
    e.result(op, asm.emit("Select", kind, is_nan, instead, chosen))


def _absolute(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    if is_narrow_float(kind):
        mask = _words(e, kind, (1 << (width_of(kind) - 1)) - 1)
        made = e.asm.emit("BitwiseAnd", e.types.value(kind), e.get(op.operands[0]), mask)
        e.result(op, made)
        return
    _glsl("FAbs", e, op)


def _absolute_integer(e: Emitter, op: ir.OpView) -> None:
    kind = e.types.value(op.results[0].type)
    e.result(op, e.asm.extended("SAbs", kind, _extended(e, op.operands[0], True)))


def _count_bits(e: Emitter, op: ir.OpView) -> None:
    if width_of(op.operands[0].type) > 32:
        raise CompileError("The Vulkan backend has no form of math.ctpop on 64 bits.")
    kind = e.types.value(op.results[0].type)
    e.result(op, e.asm.emit("BitCount", kind, _extended(e, op.operands[0], False)))


def _copysign(e: Emitter, op: ir.OpView) -> None:
    asm, kind = e.asm, op.results[0].type
    width = width_of(kind)
    bits = e.types.spread(asm.integer(64 if width == 64 else 32), lanes_of(kind))
    a, b = (e.get(o) for o in op.operands)
    narrow = is_narrow_float(kind)
    if not narrow:
        a, b = asm.emit("Bitcast", bits, a), asm.emit("Bitcast", bits, b)
    sign = _bits(e, kind, 1 << (width - 1))
    magnitude = asm.emit("BitwiseAnd", bits, a, _bits(e, kind, (1 << (width - 1)) - 1))
    joined = asm.emit("BitwiseOr", bits, magnitude, asm.emit("BitwiseAnd", bits, b, sign))
    e.result(op, joined if narrow else asm.emit("Bitcast", e.types.value(kind), joined))


def _bits(e: Emitter, like: ir.Type, number: int) -> int:
    """Return an integer constant as wide as a float."""
    wide = width_of(like) == 64
    words = [number & 0xFFFFFFFF, *([number >> 32] if wide else [])]
    lanes, scalar = lanes_of(like), e.asm.integer(64 if wide else 32)
    return e.types.splat(e.types.spread(scalar, lanes), e.asm.constant(scalar, words), lanes)


def _rsqrt(e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind = e.types.value(op.results[0].type)
    root = e.asm.extended("Sqrt", kind, e.get(op.operands[0]))
    e.result(op, e.asm.emit("FDiv", kind, e.types.number(op.results[0].type, 1.0), root))


def _round_away(e: Emitter, op: ir.OpView) -> None:
    """Round to the nearest whole number, halves away from zero."""
    _refuse_narrow(op)
    asm, kind = e.asm, e.types.value(op.results[0].type)
    x = e.get(op.operands[0])
    whole = asm.extended("Trunc", kind, x)
    rest = asm.emit("FSub", kind, x, whole)
    twice = asm.emit("FAdd", kind, rest, rest)
    # Trunc of twice the rest is -1, 0 or 1: what is still to be added.
    step = asm.extended("Trunc", kind, twice)
    e.result(op, asm.emit("FAdd", kind, whole, step))


def _classify(name: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind, asm, x = e.types.value(op.results[0].type), e.asm, e.get(op.operands[0])
    if name != "finite":
        e.result(op, asm.emit(name, kind, x))
        return
    either = asm.emit("LogicalOr", kind, asm.emit("IsNan", kind, x), asm.emit("IsInf", kind, x))
    e.result(op, asm.emit("LogicalNot", kind, either))


# Conversions.


def _widen(signed: bool, e: Emitter, op: ir.OpView) -> None:
    source, kind = op.operands[0], op.results[0].type
    asm, made = e.asm, e.types.value(kind)
    if is_boolean(source.type):
        one, zero = _words(e, kind, -1 if signed else 1), _words(e, kind, 0)
        e.result(op, asm.emit("Select", made, e.get(source), one, zero))
        return
    value = _extended(e, source, signed)
    if width_of(kind) == 64 and width_of(source.type) < 64:
        value = asm.emit("SConvert" if signed else "UConvert", made, value)
    e.result(op, value)


def _narrow(e: Emitter, op: ir.OpView) -> None:
    source, kind = op.operands[0], op.results[0].type
    asm, value = e.asm, e.get(op.operands[0])
    if is_boolean(kind):
        low = asm.emit("BitwiseAnd", e.types.value(source.type), value, _words(e, source.type, 1))
        made = asm.emit("INotEqual", e.types.value(kind), low, _words(e, source.type, 0))
        e.result(op, made)
        return
    if width_of(source.type) == 64 and width_of(kind) < 64:
        value = asm.emit("UConvert", e.types.value(kind), value)
    e.result(op, value)


def _index_cast(signed: bool, e: Emitter, op: ir.OpView) -> None:
    narrower = width_of(op.results[0].type) < width_of(op.operands[0].type)
    if narrower or is_boolean(op.results[0].type):
        _narrow(e, op)
    else:
        _widen(signed, e, op)


def _to_float(signed: bool, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    source, kind = op.operands[0], op.results[0].type
    asm, made = e.asm, e.types.value(kind)
    if is_boolean(source.type):
        one = e.types.number(kind, -1.0 if signed else 1.0)
        made_value = asm.emit("Select", made, e.get(source), one, e.types.number(kind, 0.0))
        e.result(op, made_value)
        return
    name = "ConvertSToF" if signed else "ConvertUToF"
    e.result(op, asm.emit(name, made, _extended(e, source, signed)))


def _to_integer(signed: bool, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind, asm = op.results[0].type, e.asm
    value = e.get(op.operands[0])
    if is_boolean(kind):
        zero = e.types.number(op.operands[0].type, 0.0)
        e.result(op, asm.emit("FOrdNotEqual", e.types.value(kind), value, zero))
        return
    # A narrow unsigned number is in the range of 32 signed bits; so is a negative one.
    unsigned = not signed and width_of(kind) >= 32
    name = "ConvertFToU" if unsigned else "ConvertFToS"
    e.result(op, asm.emit(name, e.types.value(kind), value))


def _convert_float(e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind = e.types.value(op.results[0].type)
    e.result(op, e.asm.emit("FConvert", kind, e.get(op.operands[0])))


def _bitcast(e: Emitter, op: ir.OpView) -> None:
    source = e.types.value(op.operands[0].type)
    kind, value = e.types.value(op.results[0].type), e.get(op.operands[0])
    e.result(op, value if source == kind else e.asm.emit("Bitcast", kind, value))


def _constant(e: Emitter, op: ir.OpView) -> None:
    kind, attribute = op.results[0].type, op.attributes["value"]
    if not isinstance(kind, ir.VectorType):
        e.result(op, e.types.number(kind, python_number(attribute)))
        return
    if attribute.is_splat:
        e.result(op, e.types.number(kind, python_number(attribute.get_splat_value())))
        return
    element = kind.element_type
    parts = [e.types.number(element, value) for value in attribute]
    e.result(op, e.asm.composite(e.types.value(kind), parts))


def python_number(attribute: ir.Attribute) -> float | int:
    """Return the number that an attribute holds."""
    if isinstance(attribute, ir.FloatAttr):
        return float(attribute.value)
    return int(attribute.value)


ARITHMETIC: dict[str, Emit] = {
    "arith.constant": _constant,
    "arith.addi": partial(_binary, "IAdd", "LogicalNotEqual", None),
    "arith.subi": partial(_binary, "ISub", "LogicalNotEqual", None),
    "arith.muli": partial(_binary, "IMul", "LogicalAnd", None),
    "arith.andi": partial(_binary, "BitwiseAnd", "LogicalAnd", None),
    "arith.ori": partial(_binary, "BitwiseOr", "LogicalOr", None),
    "arith.xori": partial(_binary, "BitwiseXor", "LogicalNotEqual", None),
    "arith.divsi": partial(_binary, "SDiv", None, True),
    "arith.divui": partial(_binary, "UDiv", None, False),
    "arith.remsi": partial(_binary, "SRem", None, True),
    "arith.remui": partial(_binary, "UMod", None, False),
    "arith.shli": partial(_shift, "ShiftLeftLogical", None),
    "arith.shrsi": partial(_shift, "ShiftRightArithmetic", True),
    "arith.shrui": partial(_shift, "ShiftRightLogical", False),
    "arith.maxsi": partial(_extreme, "SMax", "LogicalAnd", True),
    "arith.minsi": partial(_extreme, "SMin", "LogicalOr", True),
    "arith.maxui": partial(_extreme, "UMax", "LogicalOr", False),
    "arith.minui": partial(_extreme, "UMin", "LogicalAnd", False),
    "arith.mulsi_extended": partial(_extended_product, "SMulExtended"),
    "arith.mului_extended": partial(_extended_product, "UMulExtended"),
    "arith.cmpi": _compare_integers,
    "arith.cmpf": _compare_floats,
    "arith.select": _select,
    "arith.addf": partial(_float, "FAdd"),
    "arith.subf": partial(_float, "FSub"),
    "arith.mulf": partial(_float, "FMul"),
    "arith.divf": partial(_float, "FDiv"),
    "arith.negf": partial(_float, "FNegate"),
    "arith.maximumf": partial(_float_extreme, "FOrdGreaterThan", True),
    "arith.minimumf": partial(_float_extreme, "FOrdLessThan", True),
    "arith.maxnumf": partial(_float_extreme, "FOrdGreaterThan", False),
    "arith.minnumf": partial(_float_extreme, "FOrdLessThan", False),
    "arith.extsi": partial(_widen, True),
    "arith.extui": partial(_widen, False),
    "arith.trunci": _narrow,
    "arith.index_cast": partial(_index_cast, True),
    "arith.index_castui": partial(_index_cast, False),
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
    "math.floor": partial(_glsl, "Floor"),
    "math.ceil": partial(_glsl, "Ceil"),
    "math.trunc": partial(_glsl, "Trunc"),
    "math.roundeven": partial(_glsl, "RoundEven"),
    "math.round": _round_away,
    "math.sqrt": partial(_glsl, "Sqrt"),
    "math.rsqrt": _rsqrt,
    "math.fma": partial(_glsl, "Fma"),
    "math.isnan": partial(_classify, "IsNan"),
    "math.isinf": partial(_classify, "IsInf"),
    "math.isfinite": partial(_classify, "finite"),
    "vector.fma": partial(_glsl, "Fma"),
}
