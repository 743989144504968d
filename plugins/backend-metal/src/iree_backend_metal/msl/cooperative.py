"""The MSL of what threads do together: barriers, simdgroups, matrices, atomics; by MLIR names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from iree_backend_metal.msl.arithmetic import Emit
from iree_backend_metal.msl.memory import linear
from iree_backend_metal.msl.types import is_half, signed_type, value_type, width_of
from iree_core.errors import CompileError
from iree_core.ir import ir

if TYPE_CHECKING:
    from iree_backend_metal.msl.emit import Emitter

_SIMD = {
    "add": "simd_sum", "mul": "simd_product", "and": "simd_and", "or": "simd_or",
    "xor": "simd_xor", "minui": "simd_min", "maxui": "simd_max", "minsi": "simd_min",
    "maxsi": "simd_max", "minnumf": "simd_min", "maxnumf": "simd_max",
}  # fmt: skip
_MATRIX_SIDE = 8


def _barrier(e: Emitter, _: ir.OpView) -> None:
    e.line("threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);")


def _builtin(name: str, attribute: str, e: Emitter, op: ir.OpView) -> None:
    e.needs.add("simdgroups")
    e.inputs[name] = attribute
    e.define(op.results[0], f"int({name})")


def _keyword(op: ir.OpView, attribute: str) -> str:
    """Return the last word of an enumeration attribute such as ``#gpu<shuffle_mode xor>``."""
    return str(op.attributes[attribute]).rstrip(">").split()[-1].split("<")[-1]


def _reduce(e: Emitter, op: ir.OpView) -> None:
    kind, how = op.results[0].type, _keyword(op, "op")
    single = isinstance(kind, ir.F32Type | ir.IntegerType) and width_of(kind) == 32
    if how not in _SIMD or not (single or is_half(kind)):
        raise CompileError(f"The Metal backend has no gpu.subgroup_reduce {how} of {kind}.")
    e.needs.add("simdgroups")
    text = e.get(op.operands[0])
    if how.endswith("si"):
        text = f"{signed_type(kind)}({text})"
    e.define(op.results[0], f"{value_type(kind)}({_SIMD[how]}({text}))")


_SHUFFLES = {"xor": "simd_shuffle_xor", "idx": "simd_shuffle", "up": "simd_shuffle_up",
             "down": "simd_shuffle_down"}  # fmt: skip


def _shuffle(e: Emitter, op: ir.OpView) -> None:
    value, offset, _width = op.operands
    kind, name = value.type, _SHUFFLES[_keyword(op, "mode")]
    e.needs.add("simdgroups")
    text, place = e.get(value), f"ushort({e.get(offset)})"
    if value_type(kind) == "ulong":  # shuffles know no 64-bit types
        text = f"as_type<ulong>({name}(as_type<uint2>({text}), {place}))"
    else:
        text = f"{name}({text}, {place})"
    result, valid = op.results
    e.define(result, text)
    e.set(valid, "true")


# Matrices of 8 x 8 that a simdgroup holds together.


def _place(e: Emitter, memory: ir.Value, position: list[ir.Value], *, write: bool) -> str:
    view = e.view(memory)
    return e.buffers.pointer(view, linear(view, [e.get(p) for p in position]), write=write)


def _matrix_load(e: Emitter, op: ir.OpView) -> None:
    memory, *position = op.operands
    e.needs.add("simdgroup_matrix")
    kind, name = value_type(op.results[0].type), e.fresh("m")
    lead = ir.IntegerAttr(op.attributes["leadDimension"]).value
    place = _place(e, memory, position, write=False)
    transposed = ", ulong2(0), true" if "transpose" in op.attributes else ""
    e.line(f"{kind} {name};")
    e.line(f"simdgroup_load({name}, {place}, {lead}{transposed});")
    e.set(op.results[0], name)


def _matrix_constant(e: Emitter, op: ir.OpView) -> None:
    e.needs.add("simdgroup_matrix")
    element = value_type(op.operands[0].type)
    side = _MATRIX_SIDE
    made = f"make_filled_simdgroup_matrix<{element}, {side}, {side}>({e.get(op.operands[0])})"
    name = e.fresh("m")
    e.line(f"{value_type(op.results[0].type)} {name} = {made};")
    e.set(op.results[0], name)


def _matrix_product(e: Emitter, op: ir.OpView) -> None:
    name = e.fresh("m")
    e.line(f"{value_type(op.results[0].type)} {name};")
    a, b, c = (e.get(o) for o in op.operands)
    e.line(f"simdgroup_multiply_accumulate({name}, {a}, {b}, {c});")
    e.set(op.results[0], name)


def _matrix_store(e: Emitter, op: ir.OpView) -> None:
    value, memory, *position = op.operands
    lead = ir.IntegerAttr(op.attributes["leadDimension"]).value
    place = _place(e, memory, position, write=True)
    e.line(f"simdgroup_store({e.get(value)}, {place}, {lead});")


# Atomics.

_ATOMICS = {
    "addi": ("atomic_fetch_add_explicit", "uint"), "andi": ("atomic_fetch_and_explicit", "uint"),
    "ori": ("atomic_fetch_or_explicit", "uint"), "xori": ("atomic_fetch_xor_explicit", "uint"),
    "maxu": ("atomic_fetch_max_explicit", "uint"), "minu": ("atomic_fetch_min_explicit", "uint"),
    "maxs": ("atomic_fetch_max_explicit", "int"), "mins": ("atomic_fetch_min_explicit", "int"),
    "assign": ("atomic_exchange_explicit", "uint"),
}  # fmt: skip
_COMBINED = {
    "addf": "{a} + {b}", "mulf": "{a} * {b}", "muli": "{a} * {b}",
    "maximumf": "({a} > {b} || {a} != {a}) ? {a} : {b}", "maxnumf": "fmax({a}, {b})",
    "minimumf": "({a} < {b} || {a} != {a}) ? {a} : {b}", "minnumf": "fmin({a}, {b})",
}  # fmt: skip


def _atomic(e: Emitter, op: ir.OpView) -> None:
    """Emit ``memref.atomic_rmw``: by an instruction, or by compare and exchange for floats."""
    value, memory, *position = op.operands
    # By its printed name: the numbers of the enumeration differ between versions of MLIR.
    kind, how = value.type, str(op).split("memref.atomic_rmw ", 1)[1].split()[0]
    view, text = e.view(memory), e.get(value)
    if value_type(kind) not in ("uint", "float") or width_of(kind) != 32:
        raise CompileError(f"The Metal backend has no atomic operations on {kind}.")
    place = linear(view, [e.get(p) for p in position])
    pointer = e.buffers.pointer(view, place, write=True)
    if how in _ATOMICS:
        function, number = _ATOMICS[how]
        target = f"({view.space} atomic_{number}*){pointer}"
        argument = f"as_type<{number}>({text})"
        done = f"{function}({target}, {argument}, memory_order_relaxed)"
        e.define(op.results[0], f"as_type<{value_type(kind)}>({done})")
        return
    target = e.fresh("w")
    e.line(f"{view.space} atomic_uint* {target} = ({view.space} atomic_uint*){pointer};")
    bits = e.fresh("w")
    e.line(f"uint {bits} = atomic_load_explicit({target}, memory_order_relaxed);")
    old = f"as_type<{value_type(kind)}>({bits})"
    changed = f"as_type<uint>({_COMBINED[how].format(a=old, b=text)})"
    e.line(
        f"while (!atomic_compare_exchange_weak_explicit({target}, &{bits}, {changed}, "
        "memory_order_relaxed, memory_order_relaxed)) {}"
    )
    e.define(op.results[0], old)


TABLE: dict[str, Emit] = {
    "gpu.barrier": _barrier,
    "gpu.lane_id": partial(_builtin, "lane", "thread_index_in_simdgroup"),
    "gpu.subgroup_id": partial(_builtin, "simdgroup", "simdgroup_index_in_threadgroup"),
    "gpu.subgroup_reduce": _reduce,
    "gpu.shuffle": _shuffle,
    "gpu.subgroup_mma_load_matrix": _matrix_load,
    "gpu.subgroup_mma_constant_matrix": _matrix_constant,
    "gpu.subgroup_mma_compute": _matrix_product,
    "gpu.subgroup_mma_store_matrix": _matrix_store,
    "memref.atomic_rmw": _atomic,
}
