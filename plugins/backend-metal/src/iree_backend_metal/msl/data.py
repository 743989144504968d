"""The MSL of vectors, complex numbers and memory, by their MLIR names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from iree_backend_metal.msl.arithmetic import Emit, choose, python_number
from iree_backend_metal.msl.memory import View, from_memory, linear, packs, to_memory
from iree_backend_metal.msl.types import (
    is_index,
    lanes_of,
    literal,
    spread,
    storage_type,
    value_type,
)
from iree_core.codegen.gpu.prepare import is_true, static_index, table_values
from iree_core.errors import CompileError
from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_backend_metal.msl.emit import Emitter

_LARGEST_TABLE = 16384
_WORKGROUP = "workgroup"


# Vectors and complex numbers.


def components(text: str, kind: ir.Type) -> list[str]:
    """Return the lanes of a value."""
    lanes = lanes_of(kind)
    return [text] if lanes == 1 else [f"{text}[{n}]" for n in range(lanes)]


def _compose(lanes: list[str], kind: ir.Type) -> str:
    return lanes[0] if len(lanes) == 1 else f"{value_type(kind)}({', '.join(lanes)})"


def _broadcast(e: Emitter, op: ir.OpView) -> None:
    source, kind = op.operands[0], op.results[0].type
    if lanes_of(source.type) == lanes_of(kind):
        e.set(op.results[0], e.get(source))
        return
    e.define(op.results[0], f"{value_type(kind)}({e.get(source)})")


def _step(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    e.set(op.results[0], _compose([str(n) for n in range(lanes_of(kind))], kind))


def _place(op: ir.OpView, dynamic: list[ir.Value]) -> int:
    position = list(op.attributes["static_position"])
    if dynamic or len(position) != 1:
        raise CompileError(f"The Metal backend has no {op.operation.name} at a place that varies.")
    return int(position[0])


def _extract(e: Emitter, op: ir.OpView) -> None:
    source, *dynamic = op.operands
    if lanes_of(source.type) == 1:
        e.set(op.results[0], e.get(source))
        return
    e.define(op.results[0], f"{e.get(source)}[{_place(op, dynamic)}]")


def _insert(e: Emitter, op: ir.OpView) -> None:
    value, target, *dynamic = op.operands
    kind = op.results[0].type
    if lanes_of(kind) == 1:
        e.set(op.results[0], e.get(value))
        return
    lanes = components(e.get(target), kind)
    lanes[_place(op, dynamic)] = e.get(value)
    e.define(op.results[0], _compose(lanes, kind))


def _from_elements(e: Emitter, op: ir.OpView) -> None:
    e.define(op.results[0], _compose([e.get(o) for o in op.operands], op.results[0].type))


def _complex(e: Emitter, op: ir.OpView) -> None:
    kind = value_type(op.results[0].type)
    e.define(op.results[0], f"{kind}({', '.join(e.get(o) for o in op.operands)})")


def _complex_part(letter: str, e: Emitter, op: ir.OpView) -> None:
    value_type(op.operands[0].type)
    e.define(op.results[0], f"{e.get(op.operands[0])}.{letter}")


def _complex_constant(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    parts = [literal(kind.element_type, python_number(part)) for part in op.attributes["value"]]
    e.define(op.results[0], f"{value_type(kind)}({', '.join(parts)})")


# Memory.


def load(e: Emitter, view: View, index: str) -> str:
    """Return one element as a value."""
    return from_memory(view, e.buffers.element(view, index))


def store(e: Emitter, view: View, index: str, value: str) -> None:
    """Emit the store of one element."""
    e.line(f"{e.buffers.element(view, index, write=True)} = {to_memory(view, value)};")


def _load(e: Emitter, op: ir.OpView) -> None:
    memory, *position = op.operands
    view = e.view(memory)
    e.define(op.results[0], load(e, view, linear(view, [e.get(p) for p in position])))


def _store(e: Emitter, op: ir.OpView) -> None:
    value, memory, *position = op.operands
    view = e.view(memory)
    store(e, view, linear(view, [e.get(p) for p in position]), e.get(value))


def _vector_load(e: Emitter, op: ir.OpView) -> None:
    memory, position = op.operands
    view, kind = e.view(memory), op.results[0].type
    lanes, start = lanes_of(kind), linear(view, [e.get(position)])
    if packs(view, kind):
        text = f"*{e.buffers.pointer(view, start, lanes=lanes)}"
        e.define(op.results[0], from_memory(view, text, lanes))
        return
    parts = [load(e, view, _plus(start, n)) for n in range(lanes)]
    e.define(op.results[0], _compose(parts, kind))


def _vector_store(e: Emitter, op: ir.OpView) -> None:
    value, memory, position = op.operands
    view, kind = e.view(memory), value.type
    lanes, start = lanes_of(kind), linear(view, [e.get(position)])
    if packs(view, kind):
        target = e.buffers.pointer(view, start, lanes=lanes, write=True)
        e.line(f"*{target} = {to_memory(view, e.get(value), lanes)};")
        return
    for number, lane in enumerate(components(e.get(value), kind)):
        store(e, view, _plus(start, number), lane)


def _plus(start: str, number: int) -> str:
    return f"{start} + {number}" if number else start


def _gather(e: Emitter, op: ir.OpView) -> None:
    memory, base, offsets, mask, otherwise = op.operands
    view = e.view(memory)
    start = linear(view, [e.get(base)])
    places = [f"{start} + {part}" for part in components(_int(e, offsets), offsets.type)]
    _masked(e, op, view, places, mask, otherwise)


def _int(e: Emitter, offsets: ir.Value) -> str:
    text = e.get(offsets)
    return text if is_index(offsets.type) else f"{spread('int', lanes_of(offsets.type))}({text})"


def _masked_load(e: Emitter, op: ir.OpView) -> None:
    memory, base, mask, otherwise = op.operands
    view = e.view(memory)
    start = linear(view, [e.get(base)])
    places = [_plus(start, number) for number in range(lanes_of(op.results[0].type))]
    _masked(e, op, view, places, mask, otherwise)


def _masked(
    e: Emitter, op: ir.OpView, view: View, places: list[str], mask: ir.Value, otherwise: ir.Value
) -> None:
    """Load one element per lane where the mask is set; nothing is read elsewhere."""
    kind = otherwise.type
    lanes = [load(e, view, place) for place in places]
    if not is_true(mask):
        wanted = components(e.get(mask), mask.type)
        pads = components(e.get(otherwise), kind)
        lanes = [
            f"({choose(c, lane, pad, 1)})" for c, lane, pad in zip(wanted, lanes, pads, strict=True)
        ]
    e.define(op.results[0], _compose(lanes, kind))


def _scatter(e: Emitter, op: ir.OpView) -> None:
    memory, base, offsets, mask, value = op.operands
    view = e.view(memory)
    start = linear(view, [e.get(base)])
    places = components(_int(e, offsets), offsets.type)
    wanted = None if is_true(mask) else components(e.get(mask), mask.type)
    for number, lane in enumerate(components(e.get(value), value.type)):
        target = e.buffers.element(view, f"{start} + {places[number]}", write=True)
        condition = f"if ({wanted[number]}) " if wanted else ""
        e.line(f"{condition}{target} = {to_memory(view, lane)};")


# Views.


def _mixed(e: Emitter, static: ir.Attribute, dynamic: Iterator[ir.Value]) -> list[str]:
    """Return numbers of which some are attributes, the rest operands."""
    unknown = ir.ShapedType.get_dynamic_size()
    return [e.get(next(dynamic)) if n == unknown else str(n) for n in static]


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
    e.set_view(base, replace(view, offset="", sizes=(), strides=()))
    e.set(offset, view.offset or "0")
    if not view.strides and kind.rank:
        raise CompileError("The size of a flat buffer is not known in a kernel.")
    for result, number in zip(rest, [*view.sizes, *view.strides], strict=True):
        e.set(result, number)


def _dim(e: Emitter, op: ir.OpView) -> None:
    source, position = op.operands
    view, number = e.view(source), static_index(position)
    if number is None or not view.sizes:
        raise CompileError("The size of a flat buffer is not known in a kernel.")
    e.set(op.results[0], view.sizes[number])


def _shaped(e: Emitter, view: View, kind: ir.MemRefType, dynamic: Iterator[ir.Value]) -> View:
    """Return a view with the row-major shape of a memref type."""
    sizes = [
        e.get(next(dynamic)) if kind.is_dynamic_dim(d) else str(n) for d, n in enumerate(kind.shape)
    ]
    strides: list[str] = []
    step = "1"
    for size in reversed(sizes):
        strides.insert(0, step)
        if step.isdecimal() and size.isdecimal():
            step = str(int(step) * int(size))
        else:
            step = e.variable("int", f"{step} * {size}")
    return replace(view, sizes=tuple(sizes), strides=tuple(strides))


def _typed_view(e: Emitter, op: ir.OpView) -> None:
    """Emit ``memref.view``: elements of another type in a buffer of bytes."""
    source, place, *sizes = op.operands
    kind, view = op.results[0].type, e.view(source)
    _, size = storage_type(kind.element_type)
    if view.is_array:
        raise CompileError("A private array of bytes has no views of other types in MSL.")
    text = e.get(place)
    offset = str(int(text) // size) if text.isdecimal() else e.variable("int", f"{text} / {size}")
    view = replace(view, element=kind.element_type, offset=offset)
    e.set_view(op.results[0], _shaped(e, view, kind, iter(sizes)))


def _alloca(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    if not kind.has_static_shape:
        raise CompileError("A private array whose size varies has no form in MSL.")
    name, element = e.fresh("p"), value_type(kind.element_type)
    e.line(f"{element} {name}[{math.prod(kind.shape)}];")
    view = View(name, kind.element_type, "thread", element)
    e.set_view(op.results[0], _shaped(e, view, kind, iter(())))


def _no_heap(_: Emitter, __: ir.OpView) -> None:
    raise CompileError(
        "The dispatch needs a temporary tensor whose size is known only while it runs."
    )


def _global(e: Emitter, op: ir.OpView) -> None:
    """Emit a constant table, or threadgroup memory where the global is there."""
    kind = op.results[0].type
    element = value_type(kind.element_type)
    if _WORKGROUP in str(kind.memory_space):
        symbol = ir.FlatSymbolRefAttr(op.attributes["name"]).value
        count = math.prod(kind.shape)
        name = e.shared(symbol, lambda name: f"threadgroup {element} {name}[{count}];")
        view = View(name, kind.element_type, "threadgroup", element)
        # One dimension needs no strides, which lets rows be read as vectors.
        shaped = view if kind.rank == 1 else _shaped(e, view, kind, iter(()))
        e.set_view(op.results[0], shaped)
        return
    flat = table_values(op)
    if flat.size > _LARGEST_TABLE:
        raise CompileError(f"A constant table of {flat.size} elements is too large for a kernel.")
    name = e.fresh("table")
    values = ", ".join(literal(kind.element_type, number.item()) for number in flat)
    e.table(f"constant {element} {name}[{flat.size}] = {{{values}}};")
    view = View(name, kind.element_type, "constant", element)
    e.set_view(op.results[0], _shaped(e, view, kind, iter(())))


def _cast(e: Emitter, op: ir.OpView) -> None:
    e.set_view(op.results[0], e.view(op.operands[0]))


TABLE: dict[str, Emit] = {
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
    "complex.create": _complex,
    "complex.re": partial(_complex_part, "x"),
    "complex.im": partial(_complex_part, "y"),
    "complex.constant": _complex_constant,
    "memref.load": _load,
    "memref.store": _store,
    "memref.cast": _cast,
    "memref.memory_space_cast": _cast,
    "memref.reinterpret_cast": _reinterpret,
    "memref.extract_strided_metadata": _metadata,
    "memref.dim": _dim,
    "memref.view": _typed_view,
    "memref.alloca": _alloca,
    "memref.alloc": _no_heap,
    "memref.get_global": _global,
}
