"""The SPIR-V of every operation that has no regions, by its MLIR name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from iree_backend_vulkan.spirv.accesses import ACCESSES
from iree_backend_vulkan.spirv.arithmetic import ARITHMETIC, Emit, python_number
from iree_backend_vulkan.spirv.types import lanes_of
from iree_core.errors import CompileError
from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_backend_vulkan.spirv.emit import Emitter


def _broadcast(e: Emitter, op: ir.OpView) -> None:
    value, kind = e.get(op.operands[0]), op.results[0].type
    lanes = lanes_of(kind)
    if lanes_of(op.operands[0].type) == lanes:
        e.result(op, value)
        return
    e.result(op, e.compose([value] * lanes, kind))


def _step(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    parts = [e.index(n) for n in range(lanes_of(kind))]
    e.result(op, parts[0] if len(parts) == 1 else e.asm.composite(e.types.value(kind), parts))


def _extract(e: Emitter, op: ir.OpView) -> None:
    source, *dynamic = op.operands
    value = e.get(source)
    if lanes_of(source.type) == 1:
        e.result(op, value)
        return
    position = list(op.attributes["static_position"])
    if dynamic or len(position) != 1:
        raise CompileError("The Vulkan backend has no vector.extract at a place that varies.")
    kind = e.types.value(op.results[0].type)
    e.result(op, e.asm.emit("CompositeExtract", kind, value, position[0]))


def _insert(e: Emitter, op: ir.OpView) -> None:
    value, target, *dynamic = op.operands
    if lanes_of(op.results[0].type) == 1:
        e.result(op, e.get(value))
        return
    position = list(op.attributes["static_position"])
    if dynamic or len(position) != 1:
        raise CompileError("The Vulkan backend has no vector.insert at a place that varies.")
    kind = e.types.value(op.results[0].type)
    made = e.asm.emit("CompositeInsert", kind, e.get(value), e.get(target), position[0])
    e.result(op, made)


def _from_elements(e: Emitter, op: ir.OpView) -> None:
    e.result(op, e.compose([e.get(o) for o in op.operands], op.results[0].type))


def _complex_part(number: int, e: Emitter, op: ir.OpView) -> None:
    kind = e.types.value(op.results[0].type)
    e.result(op, e.asm.emit("CompositeExtract", kind, e.get(op.operands[0]), number))


def _complex_constant(e: Emitter, op: ir.OpView) -> None:
    kind = op.results[0].type
    parts = [
        e.types.number(kind.element_type, python_number(part)) for part in op.attributes["value"]
    ]
    e.result(op, e.asm.composite(e.types.value(kind), parts))


# Of the enumerations of scopes and memory semantics.
_WORKGROUP, _ACQUIRE_RELEASE, _WORKGROUP_MEMORY = 2, 0x8, 0x100


def _barrier(e: Emitter, _: ir.OpView) -> None:
    scope, order = e.index(_WORKGROUP), e.index(_ACQUIRE_RELEASE | _WORKGROUP_MEMORY)
    e.asm.effect("ControlBarrier", scope, scope, order)


TABLE: dict[str, Emit] = {
    **ARITHMETIC,
    **ACCESSES,
    "gpu.barrier": _barrier,
    "vector.broadcast": _broadcast,
    "vector.step": _step,
    "vector.extract": _extract,
    "vector.insert": _insert,
    "vector.from_elements": _from_elements,
    "complex.create": _from_elements,
    "complex.re": partial(_complex_part, 0),
    "complex.im": partial(_complex_part, 1),
    "complex.constant": _complex_constant,
}
