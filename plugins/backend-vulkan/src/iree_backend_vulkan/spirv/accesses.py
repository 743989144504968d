"""The SPIR-V of memory operations: ``memref``, and reads and writes of vectors, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from iree_backend_vulkan.spirv.arithmetic import Emit
from iree_backend_vulkan.spirv.memory import View
from iree_backend_vulkan.spirv.types import lanes_of
from iree_core.codegen.builder import is_multiple
from iree_core.codegen.gpu.prepare import is_true, static_index, table_values
from iree_core.errors import CompileError
from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_backend_vulkan.spirv.emit import Emitter

_LARGEST_TABLE = 4096


def _load(e: Emitter, op: ir.OpView) -> None:
    memory, *position = op.operands
    view = e.view(memory)
    e.result(op, e.load(view, e.linear(view, [e.get(p) for p in position])))


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
        e.result(op, asm.emit("Load", e.types.value(kind), pointer))
        return
    lanes = [e.load(view, _plus(e, start, n)) for n in range(lanes_of(kind))]
    e.result(op, e.compose(lanes, kind))


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
    e.result(op, _masked_lanes(e, view, places, mask, otherwise))


def _masked_load(e: Emitter, op: ir.OpView) -> None:
    memory, base, mask, otherwise = op.operands
    view = e.view(memory)
    start = e.linear(view, [e.get(base)])
    places = [_plus(e, start, number) for number in range(lanes_of(op.results[0].type))]
    e.result(op, _masked_lanes(e, view, places, mask, otherwise))


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
    e.result(op, view.sizes[number])


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
    """Emit workgroup memory, or a constant table as a private array."""
    kind = op.results[0].type
    if kind.memory_space is not None:
        name = ir.FlatSymbolRefAttr(op.attributes["name"]).value
        (count,) = kind.shape
        e.set_view(op.results[0], e.memory.shared(name, kind.element_type, count))
        return
    flat = table_values(op)
    if flat.size > _LARGEST_TABLE:
        raise CompileError(f"A constant table of {flat.size} elements is too large for a shader.")
    values = [e.types.number(kind.element_type, number.item()) for number in flat]
    view = e.memory.table(kind.element_type, values)
    e.set_view(op.results[0], _shaped(e, view, kind, iter(())))


def _cast(e: Emitter, op: ir.OpView) -> None:
    e.set_view(op.results[0], e.view(op.operands[0]))


ACCESSES: dict[str, Emit] = {
    "vector.load": _vector_load,
    "vector.store": _vector_store,
    "vector.maskedload": _masked_load,
    "vector.gather": _gather,
    "vector.scatter": _scatter,
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
