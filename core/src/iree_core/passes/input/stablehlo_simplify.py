"""StableHLO operations that are a matter of shapes, markers or names, not of arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import F32
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import load
from iree_core.lowering.structured import computed, elementwise
from iree_core.passes.input import stablehlo_dynamic
from iree_core.passes.input.stablehlo_calls import MARKERS, SHAPE_ASSERTION, call_target
from iree_core.passes.input.stablehlo_dynamic import entry, static_entry
from iree_core.passes.input.stablehlo_regions import as_tensor, element_of, retype
from iree_core.passes.input.support import (
    before,
    create,
    integer_attribute,
    integers,
    operations,
    replace,
)
from iree_core.passes.state import CompilationState

_BROADCAST = "stablehlo.dynamic_broadcast_in_dim"
_HINT = "known_nonexpanding_dimensions"


@dataclass(frozen=True)
class StablehloSimplify:
    """Rewrites what the stock conversion leaves: barriers, sizes, reshapes and markers.

    Before::

        %n = stablehlo.get_dimension_size %x, dim = 0 : (tensor<?x4xf32>) -> tensor<i32>

    After::

        %d = tensor.dim %x, %c0 : tensor<?x4xf32>
        %i = arith.index_cast %d : index to i32
        %n = tensor.from_elements %i : tensor<i32>
    """

    name: str = "stablehlo-simplify"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite every such operation."""
        for op in operations(module, _REWRITES):
            with before(op):
                values = _REWRITES[op.name](op)
            if values is not None:
                replace(op, values)


def _forward(op: ir.Operation) -> list[ir.Value]:
    return list(op.operands)


# Of these a device that is alone has the result already.
_GROUPED = frozenset(
    f"stablehlo.{name}" for name in ("all_gather", "all_reduce", "all_to_all", "reduce_scatter")
)
_NUMBERS = {
    "stablehlo.partition_id": "mhlo.num_partitions",
    "stablehlo.replica_id": "mhlo.num_replicas",
}
_PERMUTE = "stablehlo.collective_permute"


def is_alone(op: ir.Operation) -> bool:
    """Tell whether ``op`` is a collective among single devices, or asks one for its number."""
    if op.name in _NUMBERS:
        module = op
        while module.name != "builtin.module":
            module = module.parent.operation
        count = module.attributes.get(_NUMBERS[op.name])
        return count is not None and ir.IntegerAttr(count).value == 1
    if op.name == _PERMUTE:
        pairs = ir.DenseIntElementsAttr(op.attributes["source_target_pairs"])
        return list(pairs) == [0, 0]
    if op.name not in _GROUPED:
        return False
    groups = ir.RankedTensorType(op.attributes["replica_groups"].type)
    ends = zip(op.operands, op.results, strict=True)
    return groups.shape[-1] == 1 and all(a.type == b.type for a, b in ends)


def _collective(op: ir.Operation) -> list[ir.Value] | None:
    if not is_alone(op):
        return None
    return _zeros(op) if op.name in _NUMBERS else _forward(op)


def _zeros(op: ir.Operation) -> list[ir.Value]:
    kind = ir.RankedTensorType(op.results[0].type)
    element = element_of(op.results[0])
    return [retype(tensors.fill(kind.shape, element, 0).value, kind)]


def _bitcast(op: ir.Operation) -> list[ir.Value] | None:
    """Bits that keep their type; the stock conversion has no such case for complex numbers."""
    return _forward(op) if op.operands[0].type == op.results[0].type else None


def _dimension_size(op: ir.Operation) -> list[ir.Value]:
    kind = ir.RankedTensorType(op.results[0].type)
    axis = arith.constant(ir.IndexType.get(), integer_attribute(op, "dimension"))
    size = arith.index_cast(kind.element_type, tensor.dim(op.operands[0], axis))
    return [tensor.from_elements(kind, [size])]


def _set_dimension_size(op: ir.Operation) -> list[ir.Value] | None:
    """A size equal to the bound changes nothing."""
    same = op.operands[0].type == op.results[0].type
    return [op.operands[0]] if same else None


def _dynamic_reshape(op: ir.Operation) -> list[ir.Value]:
    source, target = as_tensor(op.operands[0]), ir.RankedTensorType(op.results[0].type)
    free = [d for d in range(target.rank) if target.is_dynamic_dim(d)]
    dims: list[Dim] = [
        entry(op.operands[1], d) if d in free else target.get_dim_size(d)
        for d in range(target.rank)
    ]
    if len(free) == 1:  # what is left of the elements
        others = index.product(dim for d, dim in enumerate(dims) if d not in free)
        dims[free[0]] = index.floordiv(index.product(source.dims), others)
    made = tensors.with_dims(tensors.reshape(source, dims), dims)
    kind = ir.RankedTensorType.get(target.shape, source.element.type)
    plain = made.value if made.type == kind else tensor.cast(kind, made.value)
    return [retype(plain, op.results[0].type)]


def hint_broadcasts(module: ir.Module) -> None:
    """Say of every dynamic broadcast that it expands no run-time dimension.

    Frameworks that emit StableHLO never rely on that; the stock conversion wants to be told.
    CHLO does rely on it: call this before CHLO is expanded.
    """
    for op in operations(module, {_BROADCAST}):
        source = ir.RankedTensorType(op.operands[0].type)
        target = ir.RankedTensorType(op.results[0].type)
        places = integers(op, "broadcast_dimensions", [])
        expanding = [
            d
            for d in range(source.rank)
            if not source.is_dynamic_dim(d)
            and source.get_dim_size(d) == 1
            and (target.is_dynamic_dim(places[d]) or target.get_dim_size(places[d]) != 1)
        ]
        others = [d for d in range(source.rank) if d not in expanding]
        op.attributes["known_expanding_dimensions"] = ir.DenseI64ArrayAttr.get(expanding)
        op.attributes[_HINT] = ir.DenseI64ArrayAttr.get(others)


def _guarded_broadcast(op: ir.Operation) -> list[ir.Value] | None:
    """Compare sizes at run time where nothing is said about a dynamic dimension."""
    source = as_tensor(op.operands[0])
    places = integers(op, "broadcast_dimensions", [])
    if _HINT in op.attributes or all(isinstance(d, int) for d in source.dims):
        return None
    target = ir.RankedTensorType(op.results[0].type)
    shape = op.operands[1]
    dims: list[Dim] = []
    for d in range(target.rank):
        size = load(shape, d)
        if not isinstance(size.type, ir.IndexType):
            size = arith.index_cast(ir.IndexType.get(), size)
        dims.append(size if target.is_dynamic_dim(d) else target.get_dim_size(d))

    def body(*at: ir.Value) -> ir.Value:
        where: list[Dim] = []
        for size, place in zip(source.dims, places, strict=True):
            if isinstance(size, int):
                where.append(0 if size == 1 else at[place])
            else:
                one = index.compare(arith.CmpIPredicate.eq, size, 1)
                where.append(index.select(one, 0, at[place]))
        return load(source.value, *where)

    (result,) = computed(dims, [source.element], body)
    return [retype(result.value, op.results[0].type)]


def _custom_call(op: ir.Operation) -> list[ir.Value] | None:
    target = call_target(op)
    if target == SHAPE_ASSERTION:
        message = "The sizes are not those that the program was exported for."
        if "error_message" in op.attributes:
            message = _sentence(ir.StringAttr(op.attributes["error_message"]).value)
        attributes = {"msg": ir.StringAttr.get(message), flow.CHECK: ir.UnitAttr.get()}
        create("cf.assert", [], [tensor.extract(op.operands[0], [])], attributes)
        return []
    return list(op.operands) if target in MARKERS else None


def _sentence(message: str) -> str:
    """Return the first sentences of JAX's message, without the places for numbers of the call."""
    first = message.split(" Using the following")[0]
    return re.sub(r",? (?:but found \{\d+\}|\(= \{\d+\}\)|\{\d+\})", "", first)


def _reduce_nothing(op: ir.Operation) -> list[ir.Value] | None:
    """A reduction over no dimension, or of no element; the initial value is neutral."""
    count = len(op.results)
    operands, initial = list(op.operands)[:count], list(op.operands)[count:]
    if not integers(op, "dimensions", []):
        return operands
    source = ir.RankedTensorType(operands[0].type)
    result = ir.RankedTensorType(op.results[0].type)
    if not source.has_static_shape or 0 not in source.shape:
        return None
    starts = [as_tensor(value) for value in initial]
    made = [tensors.fill(result.shape, start.element, load(start.value)) for start in starts]
    return [retype(t.value, r.type) for t, r in zip(made, op.results, strict=True)]


def _empty_slice(op: ir.Operation) -> list[ir.Value] | None:
    """A result without elements; a slice may then begin where its operand ends."""
    kind = ir.RankedTensorType(op.results[0].type)
    if not kind.has_static_shape or 0 not in kind.shape:
        return None
    return [create("tensor.empty", [kind], []).results[0]]


_TAKE_SHAPES = ("stablehlo.dynamic_", "stablehlo.real_dynamic_", "stablehlo.custom_call")


def _shape(op: ir.Operation) -> list[ir.Value] | None:
    """A shape put together from sizes: scalars that the host computes, not a tensor program."""
    kind = ir.RankedTensorType(op.results[0].type)
    users = [use.owner.operation.name for use in op.results[0].uses]
    if kind.rank != 1 or not kind.has_static_shape or not element_of(op.results[0]).is_integer:
        return None
    if not any(name.startswith(_TAKE_SHAPES) for name in users):
        return None
    element = element_of(op.results[0])
    items = []
    for operand in op.operands:
        part = as_tensor(operand)
        for d in range(part.type.get_dim_size(0)):
            known = static_entry(operand, d)
            constant = None if known is None else scalars.constant(known, element)
            items.append(constant or load(part.value, d))
    made = tensors.from_elements(items, element)
    return [retype(made.value, kind)]


def _insert(op: ir.Operation) -> list[ir.Value] | None:
    """What the stock generator of random bits writes into its state, element by element."""
    kind = ir.RankedTensorType(op.results[0].type)
    at_top = op.parent.operation.name == "func.func"
    if not at_top or kind.rank != 1 or not kind.has_static_shape:
        return None
    scalar, table, place = op.operands
    items = []
    for d in range(kind.get_dim_size(0)):
        position = index.value(d)
        here = index.compare(arith.CmpIPredicate.eq, place, position)
        items.append(arith.select(here, scalar, tensor.extract(table, [position])))
    return [tensor.from_elements(kind, items)]


def _pad(op: ir.Operation) -> list[ir.Value] | None:
    """Padding around nothing is the padding alone; the host reads no complex numbers."""
    source = ir.RankedTensorType(op.operands[0].type)
    kind = ir.RankedTensorType(op.results[0].type)
    if kind.has_static_shape and 0 in kind.shape:
        return _empty_slice(op)
    padding = as_tensor(op.operands[1])
    if kind.has_static_shape and 0 in source.shape:
        (made,) = computed(kind.shape, [padding.element], lambda *_: load(padding.value))
    elif padding.element.kind == "complex" and not _is_constant(op.operands[1]):
        (made,) = stablehlo_dynamic.pad(op)
    else:
        return None
    return [retype(made.value, kind)]


def _is_constant(value: ir.Value) -> bool:
    owner = value.owner
    return not isinstance(owner, ir.Block) and owner.name == "stablehlo.constant"


def _to_integer(op: ir.Operation) -> list[ir.Value] | None:
    """Floats become integers as in XLA: rounded towards zero, saturated, NaN is zero."""
    source, target = element_of(op.operands[0]), element_of(op.results[0])
    if not source.is_float or not target.is_integer:
        return None
    lowest, highest = int(scalars.lowest(target)), int(scalars.highest(target))
    wide = source if source.bits >= 32 else F32

    def body(x: ir.Value) -> ir.Value:
        x = scalars.convert(x, source, wide)

        def bound(number: int) -> ir.Value:
            return scalars.constant(number, target)

        converted = scalars.convert(x, wide, target)
        above = scalars.compare("ge", x, scalars.constant(float(highest + 1), wide), wide)
        inside = scalars.compare("ge", x, scalars.constant(float(lowest), wide), wide)
        below = arith.select(scalars.is_nan(x), bound(0), bound(lowest))
        return arith.select(above, bound(highest), arith.select(inside, converted, below))

    made = elementwise([as_tensor(op.operands[0])], target, body)
    return [retype(made.value, op.results[0].type)]


_REWRITES: dict[str, Callable[[ir.Operation], list[ir.Value] | None]] = {
    "stablehlo.bitcast_convert": _bitcast,
    "stablehlo.concatenate": _shape,
    "stablehlo.convert": _to_integer,
    "stablehlo.custom_call": _custom_call,
    _BROADCAST: _guarded_broadcast,
    "stablehlo.dynamic_reshape": _dynamic_reshape,
    "stablehlo.get_dimension_size": _dimension_size,
    "stablehlo.optimization_barrier": _forward,
    "stablehlo.pad": _pad,
    "stablehlo.reduce": _reduce_nothing,
    "stablehlo.set_dimension_size": _set_dimension_size,
    "stablehlo.slice": _empty_slice,
    "tensor.insert": _insert,
    **dict.fromkeys((*_GROUPED, *_NUMBERS, _PERMUTE), _collective),
}
