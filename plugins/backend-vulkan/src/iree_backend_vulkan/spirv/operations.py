"""The SPIR-V of every operation that has no regions, by its MLIR name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from iree_backend_vulkan.spirv.memory import View
from iree_backend_vulkan.spirv.types import (
    is_boolean,
    is_narrow_float,
    lanes_of,
    width_of,
)
from iree_core.codegen.builder import is_multiple
from iree_core.codegen.gpu.prepare import is_true, static_index, table_values
from iree_core.errors import CompileError
from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_backend_vulkan.spirv.emit import Emitter

_LARGEST_TABLE = 4096

Emit: TypeAlias = "Callable[[Emitter, ir.OpView], None]"


def _result(e: Emitter, op: ir.OpView, made: int) -> None:
    e.set(op.results[0], made)


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
        _result(e, op, e.asm.emit(boolean, kind, e.get(left), e.get(right)))
        return
    if extend is None:
        operands = e.get(left), e.get(right)
    else:
        operands = _extended(e, left, extend), _extended(e, right, extend)
    _result(e, op, e.asm.emit(spirv, kind, *operands))


def _shift(spirv: str, extend: bool | None, e: Emitter, op: ir.OpView) -> None:
    left, right = op.operands
    value = e.get(left) if extend is None else _extended(e, left, extend)
    amount = _extended(e, right, False)
    _result(e, op, e.asm.emit(spirv, e.types.value(op.results[0].type), value, amount))


def _extreme(glsl: str, boolean: str, signed: bool, e: Emitter, op: ir.OpView) -> None:
    left, right = op.operands
    kind, asm = e.types.value(op.results[0].type), e.asm
    if is_boolean(left.type):
        _result(e, op, asm.emit(boolean, kind, e.get(left), e.get(right)))
        return
    a, b = _extended(e, left, signed), _extended(e, right, signed)
    _result(e, op, asm.extended(glsl, kind, a, b))


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
        _result(e, op, asm.emit(boolean or name, kind, a, b))
        return
    a, b = _extended(e, left, signed), _extended(e, right, signed)
    _result(e, op, asm.emit(name, kind, a, b))


_FLOAT_PREDICATES = [
    "", "FOrdEqual", "FOrdGreaterThan", "FOrdGreaterThanEqual", "FOrdLessThan",
    "FOrdLessThanEqual", "FOrdNotEqual", "ord", "FUnordEqual", "FUnordGreaterThan",
    "FUnordGreaterThanEqual", "FUnordLessThan", "FUnordLessThanEqual", "FUnordNotEqual", "uno",
]  # fmt: skip


def _compare_floats(e: Emitter, op: ir.OpView) -> None:
    number = ir.IntegerAttr(op.attributes["predicate"]).value
    kind, asm = e.types.value(op.results[0].type), e.asm
    if number in (0, 15):
        _result(e, op, e.types.number(op.results[0].type, number == 15))
        return
    name = _FLOAT_PREDICATES[number]
    a, b = (e.get(o) for o in op.operands)
    if name in ("ord", "uno"):
        either = asm.emit("IsNan", kind, a)
        if a != b:
            either = asm.emit("LogicalOr", kind, either, asm.emit("IsNan", kind, b))
        _result(e, op, asm.emit("LogicalNot", kind, either) if name == "ord" else either)
        return
    _result(e, op, asm.emit(name, kind, a, b))


def _select(e: Emitter, op: ir.OpView) -> None:
    condition, then, otherwise = op.operands
    chosen, lanes = e.get(condition), lanes_of(op.results[0].type)
    if lanes > 1 and lanes_of(condition.type) == 1:
        # Before version 1.4 the condition has as many components as the value.
        kind = e.types.spread(e.asm.boolean(), lanes)
        chosen = e.asm.emit("CompositeConstruct", kind, *[chosen] * lanes)
    kind = e.types.value(op.results[0].type)
    _result(e, op, e.asm.emit("Select", kind, chosen, e.get(then), e.get(otherwise)))


# Floats.


def _float(spirv: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind = e.types.value(op.results[0].type)
    made = e.asm.emit(spirv, kind, *(e.get(o) for o in op.operands))
    e.asm.decorate(made, "NoContraction")
    _result(e, op, made)


def _refuse_narrow(op: ir.OpView) -> None:
    if any(is_narrow_float(v.type) for v in (*op.operands, *op.results)):
        raise CompileError(
            f"The Vulkan backend has no form of {op.operation.name} on {op.operands[0].type}."
        )


def _glsl(name: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind = e.types.value(op.results[0].type)
    _result(e, op, e.asm.extended(name, kind, *(e.get(o) for o in op.operands)))


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
    _result(e, op, asm.emit("Select", kind, is_nan, instead, chosen))


def _absolute(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    if is_narrow_float(kind):
        mask = _words(e, kind, (1 << (width_of(kind) - 1)) - 1)
        made = e.asm.emit("BitwiseAnd", e.types.value(kind), e.get(op.operands[0]), mask)
        _result(e, op, made)
        return
    _glsl("FAbs", e, op)


def _absolute_integer(e: Emitter, op: ir.OpView) -> None:
    kind = e.types.value(op.results[0].type)
    _result(e, op, e.asm.extended("SAbs", kind, _extended(e, op.operands[0], True)))


def _count_bits(e: Emitter, op: ir.OpView) -> None:
    if width_of(op.operands[0].type) > 32:
        raise CompileError("The Vulkan backend has no form of math.ctpop on 64 bits.")
    kind = e.types.value(op.results[0].type)
    _result(e, op, e.asm.emit("BitCount", kind, _extended(e, op.operands[0], False)))


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
    _result(e, op, joined if narrow else asm.emit("Bitcast", e.types.value(kind), joined))


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
    _result(e, op, e.asm.emit("FDiv", kind, e.types.number(op.results[0].type, 1.0), root))


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
    _result(e, op, asm.emit("FAdd", kind, whole, step))


def _classify(name: str, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind, asm, x = e.types.value(op.results[0].type), e.asm, e.get(op.operands[0])
    if name != "finite":
        _result(e, op, asm.emit(name, kind, x))
        return
    either = asm.emit("LogicalOr", kind, asm.emit("IsNan", kind, x), asm.emit("IsInf", kind, x))
    _result(e, op, asm.emit("LogicalNot", kind, either))


# Conversions.


def _widen(signed: bool, e: Emitter, op: ir.OpView) -> None:
    source, kind = op.operands[0], op.results[0].type
    asm, made = e.asm, e.types.value(kind)
    if is_boolean(source.type):
        one, zero = _words(e, kind, -1 if signed else 1), _words(e, kind, 0)
        _result(e, op, asm.emit("Select", made, e.get(source), one, zero))
        return
    value = _extended(e, source, signed)
    if width_of(kind) == 64 and width_of(source.type) < 64:
        value = asm.emit("SConvert" if signed else "UConvert", made, value)
    _result(e, op, value)


def _narrow(e: Emitter, op: ir.OpView) -> None:
    source, kind = op.operands[0], op.results[0].type
    asm, value = e.asm, e.get(op.operands[0])
    if is_boolean(kind):
        low = asm.emit("BitwiseAnd", e.types.value(source.type), value, _words(e, source.type, 1))
        made = asm.emit("INotEqual", e.types.value(kind), low, _words(e, source.type, 0))
        _result(e, op, made)
        return
    if width_of(source.type) == 64 and width_of(kind) < 64:
        value = asm.emit("UConvert", e.types.value(kind), value)
    _result(e, op, value)


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
        _result(e, op, made_value)
        return
    name = "ConvertSToF" if signed else "ConvertUToF"
    _result(e, op, asm.emit(name, made, _extended(e, source, signed)))


def _to_integer(signed: bool, e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind, asm = op.results[0].type, e.asm
    value = e.get(op.operands[0])
    if is_boolean(kind):
        zero = e.types.number(op.operands[0].type, 0.0)
        _result(e, op, asm.emit("FOrdNotEqual", e.types.value(kind), value, zero))
        return
    # A narrow unsigned number is in the range of 32 signed bits; so is a negative one.
    unsigned = not signed and width_of(kind) >= 32
    name = "ConvertFToU" if unsigned else "ConvertFToS"
    _result(e, op, asm.emit(name, e.types.value(kind), value))


def _convert_float(e: Emitter, op: ir.OpView) -> None:
    _refuse_narrow(op)
    kind = e.types.value(op.results[0].type)
    _result(e, op, e.asm.emit("FConvert", kind, e.get(op.operands[0])))


def _bitcast(e: Emitter, op: ir.OpView) -> None:
    source = e.types.value(op.operands[0].type)
    kind, value = e.types.value(op.results[0].type), e.get(op.operands[0])
    _result(e, op, value if source == kind else e.asm.emit("Bitcast", kind, value))


def _constant(e: Emitter, op: ir.OpView) -> None:
    kind, attribute = op.results[0].type, op.attributes["value"]
    if not isinstance(kind, ir.VectorType):
        _result(e, op, e.types.number(kind, _python(attribute)))
        return
    if attribute.is_splat:
        _result(e, op, e.types.number(kind, _python(attribute.get_splat_value())))
        return
    element = kind.element_type
    parts = [e.types.number(element, value) for value in attribute]
    _result(e, op, e.asm.composite(e.types.value(kind), parts))


def _python(attribute: ir.Attribute) -> float | int:
    if isinstance(attribute, ir.FloatAttr):
        return float(attribute.value)
    return int(attribute.value)


# Vectors and complex numbers.


def _broadcast(e: Emitter, op: ir.OpView) -> None:
    value, kind = e.get(op.operands[0]), op.results[0].type
    lanes = lanes_of(kind)
    if lanes_of(op.operands[0].type) == lanes:
        _result(e, op, value)
        return
    _result(e, op, e.compose([value] * lanes, kind))


def _step(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    parts = [e.index(n) for n in range(lanes_of(kind))]
    _result(e, op, parts[0] if len(parts) == 1 else e.asm.composite(e.types.value(kind), parts))


def _extract(e: Emitter, op: ir.OpView) -> None:
    source, *dynamic = op.operands
    value = e.get(source)
    if lanes_of(source.type) == 1:
        _result(e, op, value)
        return
    position = list(op.attributes["static_position"])
    if dynamic or len(position) != 1:
        raise CompileError("The Vulkan backend has no vector.extract at a place that varies.")
    kind = e.types.value(op.results[0].type)
    _result(e, op, e.asm.emit("CompositeExtract", kind, value, position[0]))


def _insert(e: Emitter, op: ir.OpView) -> None:
    value, target, *dynamic = op.operands
    if lanes_of(op.results[0].type) == 1:
        _result(e, op, e.get(value))
        return
    position = list(op.attributes["static_position"])
    if dynamic or len(position) != 1:
        raise CompileError("The Vulkan backend has no vector.insert at a place that varies.")
    kind = e.types.value(op.results[0].type)
    made = e.asm.emit("CompositeInsert", kind, e.get(value), e.get(target), position[0])
    _result(e, op, made)


def _from_elements(e: Emitter, op: ir.OpView) -> None:
    _result(e, op, e.compose([e.get(o) for o in op.operands], op.results[0].type))


def _complex_part(number: int, e: Emitter, op: ir.OpView) -> None:
    kind = e.types.value(op.results[0].type)
    _result(e, op, e.asm.emit("CompositeExtract", kind, e.get(op.operands[0]), number))


def _complex_constant(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    parts = [e.types.number(kind.element_type, _python(part)) for part in op.attributes["value"]]
    _result(e, op, e.asm.composite(e.types.value(kind), parts))


# Memory.


def _load(e: Emitter, op: ir.OpView) -> None:
    memory, *position = op.operands
    view = e.view(memory)
    _result(e, op, e.load(view, e.linear(view, [e.get(p) for p in position])))


def _store(e: Emitter, op: ir.OpView) -> None:
    value, memory, *position = op.operands
    view = e.view(memory)
    e.store(view, e.linear(view, [e.get(p) for p in position]), e.get(value))


def _grouped(e: Emitter, view: View, kind: ir.VectorType, position: ir.Value) -> bool:
    """Whether a vector is one element of the buffer seen as vectors of four."""
    element = kind.element_type
    plain = isinstance(element, ir.IntegerType | ir.FloatType) and element.width == 32
    flat = view.array is None and not view.offset and not view.strides
    return plain and flat and lanes_of(kind) == 4 and is_multiple(position, 4)


def _vector_load(e: Emitter, op: ir.OpView) -> None:
    memory, position = op.operands
    view, kind, asm = e.view(memory), op.results[0].type, e.asm
    start = e.linear(view, [e.get(position)])
    if _grouped(e, view, kind, position):
        group = asm.emit("ShiftRightLogical", e.word, start, e.index(2))
        pointer = e.memory.pointer(view, group, 4)
        _result(e, op, asm.emit("Load", e.types.value(kind), pointer))
        return
    lanes = [e.load(view, _plus(e, start, n)) for n in range(lanes_of(kind))]
    _result(e, op, e.compose(lanes, kind))


def _vector_store(e: Emitter, op: ir.OpView) -> None:
    value, memory, position = op.operands
    view, kind, asm = e.view(memory), value.type, e.asm
    start = e.linear(view, [e.get(position)])
    if _grouped(e, view, kind, position):
        group = asm.emit("ShiftRightLogical", e.word, start, e.index(2))
        asm.effect("Store", e.memory.pointer(view, group, 4, write=True), e.get(value))
        return
    for number, lane in enumerate(e.components(e.get(value), kind)):
        e.store(view, _plus(e, start, number), lane)


def _plus(e: Emitter, start: int, number: int) -> int:
    return e.asm.emit("IAdd", e.word, start, e.index(number)) if number else start


def _gather(e: Emitter, op: ir.OpView) -> None:
    memory, base, offsets, mask, otherwise = op.operands
    view = e.view(memory)
    start = e.linear(view, [e.get(base)])
    places = [
        e.asm.emit("IAdd", e.word, start, offset)
        for offset in e.components(e.get(offsets), offsets.type)
    ]
    _result(e, op, _masked_lanes(e, view, places, mask, otherwise))


def _masked_load(e: Emitter, op: ir.OpView) -> None:
    memory, base, mask, otherwise = op.operands
    view = e.view(memory)
    start = e.linear(view, [e.get(base)])
    places = [_plus(e, start, number) for number in range(lanes_of(op.results[0].type))]
    _result(e, op, _masked_lanes(e, view, places, mask, otherwise))


def _masked_lanes(
    e: Emitter, view: View, places: list[int], mask: ir.Value, otherwise: ir.Value
) -> int:
    """Load one element per lane where the mask is set; nothing is read elsewhere."""
    kind = otherwise.type
    if is_true(mask):
        return e.compose([e.load(view, place) for place in places], kind)
    wanted = e.components(e.get(mask), mask.type)
    pads = e.components(e.get(otherwise), kind)
    lanes = []
    for condition, place, pad in zip(wanted, places, pads, strict=True):

        def load(place: int = place) -> list[int]:
            return [e.load(view, place)]

        def leave(pad: int = pad) -> list[int]:
            return [pad]

        lanes += e.branch(condition, [e.types.scalar(kind)], load, leave)
    return e.compose(lanes, kind)


def _scatter(e: Emitter, op: ir.OpView) -> None:
    memory, base, offsets, mask, value = op.operands
    if not is_true(mask):
        raise CompileError("The Vulkan backend has no vector.scatter under a mask.")
    view = e.view(memory)
    start = e.linear(view, [e.get(base)])
    places = e.components(e.get(offsets), offsets.type)
    for offset, lane in zip(places, e.components(e.get(value), value.type), strict=True):
        e.store(view, e.asm.emit("IAdd", e.word, start, offset), lane)


def _mixed(e: Emitter, static: ir.Attribute, dynamic: Iterator[ir.Value]) -> list[int]:
    """Return ids of numbers of which some are attributes, the rest operands."""
    unknown = ir.ShapedType.get_dynamic_size()
    return [e.get(next(dynamic)) if n == unknown else e.index(n) for n in static]


def _reinterpret(e: Emitter, op: ir.OpView) -> None:
    source, *rest = op.operands
    dynamic = iter(rest)
    static = (op.attributes[f"static_{name}"] for name in ("offsets", "sizes", "strides"))
    (offset,), sizes, strides = (_mixed(e, numbers, dynamic) for numbers in static)
    view = replace(e.view(source), offset=offset, sizes=tuple(sizes), strides=tuple(strides))
    e.set_view(op.results[0], view)


def _metadata(e: Emitter, op: ir.OpView) -> None:
    view, kind = e.view(op.operands[0]), op.operands[0].type
    base, offset, *rest = op.results
    e.set_view(base, replace(view, offset=0, sizes=(), strides=()))
    e.set(offset, view.offset or e.index(0))
    if view.strides:
        numbers = [*view.sizes, *view.strides]
    elif kind.rank == 0:
        numbers = []
    else:
        raise CompileError("The size of a flat buffer is not known in a shader.")
    for result, number in zip(rest, numbers, strict=True):
        e.set(result, number)


def _dim(e: Emitter, op: ir.OpView) -> None:
    source, position = op.operands
    number, view = static_index(position), e.view(source)
    if number is None or not view.sizes:
        raise CompileError("The size of a flat buffer is not known in a shader.")
    _result(e, op, view.sizes[number])


def _shaped(e: Emitter, view: View, kind: ir.MemRefType, dynamic: Iterator[ir.Value]) -> View:
    """Return a view with the row-major shape of a memref type."""
    sizes = [
        e.get(next(dynamic)) if kind.is_dynamic_dim(d) else e.index(n)
        for d, n in enumerate(kind.shape)
    ]
    strides: list[int] = []
    step = e.index(1)
    for size in reversed(sizes):
        strides.insert(0, step)
        step = e.asm.emit("IMul", e.word, step, size)
    return replace(view, sizes=tuple(sizes), strides=tuple(strides))


def _typed_view(e: Emitter, op: ir.OpView) -> None:
    """Emit ``memref.view``: elements of another type in a buffer of bytes."""
    source, place, *sizes = op.operands
    kind = op.results[0].type
    _, size = e.types.storage(kind.element_type)
    shift = e.index(size.bit_length() - 1)
    offset = e.asm.emit("ShiftRightLogical", e.word, e.get(place), shift)
    view = replace(e.view(source), element=kind.element_type, offset=offset)
    e.set_view(op.results[0], _shaped(e, view, kind, iter(sizes)))


def _alloca(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    if not kind.has_static_shape:
        raise CompileError("A private array whose size varies has no form in SPIR-V.")
    count = 1
    for size in kind.shape:
        count *= size
    view = e.memory.array(kind.element_type, count)
    e.set_view(op.results[0], _shaped(e, view, kind, iter(())))


def _no_heap(_: Emitter, __: ir.OpView) -> None:
    raise CompileError(
        "The dispatch needs a temporary tensor whose size is known only while it runs."
    )


def _global(e: Emitter, op: ir.OpView) -> None:
    """Emit a constant table as a private array."""
    kind, flat = op.results[0].type, table_values(op)
    if flat.size > _LARGEST_TABLE:
        raise CompileError(f"A constant table of {flat.size} elements is too large for a shader.")
    values = [e.types.number(kind.element_type, number.item()) for number in flat]
    view = e.memory.table(kind.element_type, values)
    e.set_view(op.results[0], _shaped(e, view, kind, iter(())))


def _cast(e: Emitter, op: ir.OpView) -> None:
    e.set_view(op.results[0], e.view(op.operands[0]))


TABLE: dict[str, Emit] = {
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
    "vector.broadcast": _broadcast,
    "vector.step": _step,
    "vector.extract": _extract,
    "vector.insert": _insert,
    "vector.from_elements": _from_elements,
    "vector.load": _vector_load,
    "vector.store": _vector_store,
    "vector.maskedload": _masked_load,
    "vector.gather": _gather,
    "vector.scatter": _scatter,
    "complex.create": _from_elements,
    "complex.re": partial(_complex_part, 0),
    "complex.im": partial(_complex_part, 1),
    "complex.constant": _complex_constant,
    "memref.load": _load,
    "memref.store": _store,
    "memref.cast": _cast,
    "memref.reinterpret_cast": _reinterpret,
    "memref.extract_strided_metadata": _metadata,
    "memref.dim": _dim,
    "memref.view": _typed_view,
    "memref.alloca": _alloca,
    "memref.alloc": _no_heap,
    "memref.get_global": _global,
}
