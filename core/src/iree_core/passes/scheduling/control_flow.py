"""Branches and loops over buffers, for :mod:`bufferize`.

A tensor that an ``scf`` operation takes or returns becomes a buffer, followed by those of its
dimensions that are not known outside; the places of a loop-carried tensor travel with it, so
that an iteration can swap them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from iree_core.dialects import hal
from iree_core.ir import ir, scf
from iree_core.passes.scheduling.places import CarriedPlan, Place

if TYPE_CHECKING:
    from iree_core.passes.scheduling.bufferize import Bufferizer

_PLACES = {"single": 1, "rotate": 2}


def _emit_if(builder: Bufferizer, op: ir.OpView) -> None:
    kinds = [t for r in op.results for t in _types(builder, r)]
    branch = ir.Operation.create(
        "scf.if", results=kinds, operands=[builder.scalars[op.operands[0]]], regions=2
    )
    for old, new in zip(op.regions, branch.regions, strict=True):
        if not old.blocks:
            continue
        block = new.blocks.append()
        with ir.InsertionPoint(block):
            builder.block(old.blocks[0])
            yielded = list(list(old.blocks[0].operations)[-1].operands)
            values: list[ir.Value] = []
            for result, value in zip(op.results, yielded, strict=True):
                values += _values(builder, [result], value, _fill_place(builder, result, value))
            scf.YieldOp(values)
    outputs = iter(branch.results)
    for result in op.results:
        _bind(builder, result, outputs)


def _fill_place(builder: Bufferizer, result: ir.Value, value: ir.Value) -> ir.Value | None:
    """Make sure that ``value`` lies where ``result`` was decided to; return that buffer."""
    place = builder.places.branched.get(result)
    if place is None:
        return None
    target = builder.place_buffers[place]
    if builder.places.place_of(value) != place:
        builder.copy(value, target)
    return target


def _emit_select(builder: Bufferizer, op: ir.OpView) -> None:
    result = op.results[0]
    if not isinstance(result.type, ir.RankedTensorType):
        builder.clone(op)
        return
    condition, *choices = op.operands
    kinds = _types(builder, result)
    branch = ir.Operation.create(
        "scf.if", results=kinds, operands=[builder.scalars[condition]], regions=2
    )
    for choice, region in zip(choices, branch.regions, strict=True):
        with ir.InsertionPoint(region.blocks.append()):
            scf.YieldOp(_values(builder, [result], choice))
    _bind(builder, result, iter(branch.results))


def _emit_for(builder: Bufferizer, op: ir.OpView) -> None:
    plans = builder.places.plan(op)
    body = op.regions[0].blocks[0]
    bounds = [builder.scalars[o] for o in list(op.operands)[:3]]
    initial = _initial(builder, plans)
    loop = ir.Operation.create(
        "scf.for",
        results=[v.type for v in initial],
        operands=[*bounds, *initial],
        attributes={k: op.attributes[k] for k in op.attributes if k == "unsignedCmp"},
        regions=1,
    )
    block = loop.regions[0].blocks.append(bounds[0].type, *(v.type for v in initial))
    builder.scalars[body.arguments[0]] = block.arguments[0]
    with ir.InsertionPoint(block):
        _bind_carried(builder, op, plans, iter(list(block.arguments)[1:]))
        builder.block(body)
        scf.YieldOp(_next(builder, op, plans))
    outputs = iter(loop.results)
    for plan, result in zip(plans, op.results, strict=True):
        _bind(builder, result, outputs, like=plan.carried.argument)
        for _ in range(_PLACES.get(plan.kind, 0)):
            next(outputs)


def _emit_while(builder: Bufferizer, op: ir.OpView) -> None:
    plans = builder.places.plan(op)
    before, after = (region.blocks[0] for region in op.regions)
    condition = list(before.operations)[-1]
    forwarded = list(condition.operands)[1:]
    initial = _initial(builder, plans)
    kinds: list[ir.Type] = []
    for argument, result in zip(after.arguments, op.results, strict=True):
        kinds += _types(builder, argument)
        kinds += _types(builder, result)[1:]
    kinds += [hal.BufferType.get() for p in plans for _ in range(_PLACES.get(p.kind, 0))]
    loop = ir.Operation.create("scf.while", results=kinds, operands=initial, regions=2)
    first = loop.regions[0].blocks.append(*(v.type for v in initial))
    second = loop.regions[1].blocks.append(*kinds)
    with ir.InsertionPoint(first):
        _bind_carried(builder, op, plans, iter(first.arguments))
        builder.block(before)
        values: list[ir.Value] = []
        for value, argument, result in zip(forwarded, after.arguments, op.results, strict=True):
            values += _values(builder, [argument, result], value)
        values += _place_values(builder, op, plans)
        scf.ConditionOp(builder.scalars[condition.operands[0]], values)
    with ir.InsertionPoint(second):
        inputs = iter(second.arguments)
        for argument, result in zip(after.arguments, op.results, strict=True):
            _bind(builder, argument, inputs)
            for _ in _types(builder, result)[1:]:
                next(inputs)
        _bind_places(builder, op, plans, inputs)
        builder.block(after)
        scf.YieldOp(_next(builder, op, plans))
    outputs = iter(loop.results)
    for argument, result in zip(after.arguments, op.results, strict=True):
        own = len(_types(builder, argument)) - 1
        first_output = next(outputs)
        for _ in range(own):
            next(outputs)
        _bind(builder, result, _chain(first_output, outputs))


def _chain(first: ir.Value, rest: Iterator[ir.Value]) -> Iterator[ir.Value]:
    yield first
    yield from rest


# One old value as several new ones.


def _dims(builder: Bufferizer, target: ir.Value) -> list[int]:
    if not isinstance(target.type, ir.RankedTensorType):
        return []
    return [d for d in range(target.type.rank) if (target, d) in builder.shapes.varying]


def _types(builder: Bufferizer, target: ir.Value) -> list[ir.Type]:
    if not isinstance(target.type, ir.RankedTensorType):
        return [target.type]
    return [hal.BufferType.get(), *(ir.IndexType.get() for _ in _dims(builder, target))]


def _values(
    builder: Bufferizer,
    targets: Sequence[ir.Value],
    value: ir.Value,
    buffer: ir.Value | None = None,
) -> list[ir.Value]:
    """Return ``value`` as ``targets`` take it: one buffer or scalar, then dimensions of each."""
    if not isinstance(value.type, ir.RankedTensorType):
        return [builder.scalars[value]]
    sizes = builder.shapes.dims(value)
    dims = [builder.size(sizes[d]) for target in targets for d in _dims(builder, target)]
    return [builder.buffers[value] if buffer is None else buffer, *dims]


def _bind(
    builder: Bufferizer, target: ir.Value, values: Iterator[ir.Value], like: ir.Value | None = None
) -> None:
    """Take what ``target`` consists of from ``values``, which hold the dimensions of ``like``."""
    first = next(values)
    if not isinstance(target.type, ir.RankedTensorType):
        builder.scalars[target] = first
        return
    builder.buffers[target] = first
    for d in _dims(builder, target if like is None else like):
        builder.varying[target, d] = next(values)


# What a loop carries.


def _initial(builder: Bufferizer, plans: Sequence[CarriedPlan]) -> list[ir.Value]:
    values: list[ir.Value] = []
    for plan in plans:
        carried = plan.carried
        values += _values(builder, [carried.argument], carried.initial)
        for _ in range(_PLACES.get(plan.kind, 0)):
            values.append(builder.transient(builder.shapes.nbytes(carried.argument)))
    return values


def _bind_carried(
    builder: Bufferizer, op: ir.OpView, plans: Sequence[CarriedPlan], values: Iterator[ir.Value]
) -> None:
    for number, plan in enumerate(plans):
        _bind(builder, plan.carried.argument, values)
        _bind_place(builder, Place(op.operation, number), plan, values)


def _bind_places(
    builder: Bufferizer, op: ir.OpView, plans: Sequence[CarriedPlan], values: Iterator[ir.Value]
) -> None:
    for number, plan in enumerate(plans):
        _bind_place(builder, Place(op.operation, number), plan, values)


def _bind_place(
    builder: Bufferizer, place: Place, plan: CarriedPlan, values: Iterator[ir.Value]
) -> None:
    if plan.kind in _PLACES:
        builder.place_buffers[place] = next(values)
    if plan.kind == "rotate":
        builder.spare_buffers[place] = next(values)


def _place_values(
    builder: Bufferizer, op: ir.OpView, plans: Sequence[CarriedPlan]
) -> list[ir.Value]:
    values = []
    for number, plan in enumerate(plans):
        place = Place(op.operation, number)
        if plan.kind in _PLACES:
            values.append(builder.place_buffers[place])
        if plan.kind == "rotate":
            values.append(builder.spare_buffers[place])
    return values


def _next(builder: Bufferizer, op: ir.OpView, plans: Sequence[CarriedPlan]) -> list[ir.Value]:
    """Return what the next iteration gets, copying what is not yet in its place."""
    values: list[ir.Value] = []
    for number, plan in enumerate(plans):
        carried = plan.carried
        place = Place(op.operation, number)
        if plan.kind in _PLACES:
            target = builder.place_buffers[place]
            if not plan.written:
                builder.copy(carried.yielded, target)
            values.append(target)
            if plan.kind == "rotate":
                values += [builder.spare_buffers[place], target]
            else:
                values.append(target)
        elif plan.kind == "copy":
            fresh = builder.transient(builder.shapes.nbytes(carried.yielded))
            builder.copy(carried.yielded, fresh)
            values += _values(builder, [carried.argument], carried.yielded, fresh)
        else:
            values += _values(builder, [carried.argument], carried.yielded)
    return values


HANDLERS: Mapping[str, Callable[[Bufferizer, ir.OpView], None]] = {
    "scf.if": _emit_if,
    "scf.for": _emit_for,
    "scf.while": _emit_while,
    "arith.select": _emit_select,
}
