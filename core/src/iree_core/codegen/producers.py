"""Producers that move data: fills, constants, slices, padding, reshapes, concatenation.

Each function gives the value of its operation's result at one position. Reached through
:meth:`iree_core.codegen.evaluate.Evaluator.value` only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from iree_core.codegen.body import BodyEmitter
from iree_core.codegen.builder import Buffer, Index, Lane, NotScheduled, Scalar
from iree_core.codegen.constants import constant_element
from iree_core.codegen.reshapes import dropped_dims, groups
from iree_core.ir import arith, ir

if TYPE_CHECKING:
    from iree_core.codegen.evaluate import Evaluator

Producer = Callable[["Evaluator", ir.Value, ir.OpView, Sequence[Index], Lane | None], ir.Value]


def _fill(evaluator: Evaluator, _: ir.Value, op: ir.OpView, *__: object) -> ir.Value:
    return evaluator.scalar(op.operands[0])


def _empty(evaluator: Evaluator, tensor: ir.Value, *_: object) -> ir.Value:
    element = tensor.type.element_type
    if isinstance(element, ir.ComplexType):
        raise NotScheduled("complex numbers have no pull form")
    return evaluator.builder.constant(element, 0)


def _forward(
    evaluator: Evaluator, _: ir.Value, op: ir.OpView, position: Sequence[Index], lane: Lane | None
) -> ir.Value:
    return evaluator.value(op.operands[0], position, lane)


def _constant(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    return constant_element(evaluator.builder, op, position, lane)


def _from_elements(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    if tensor.type.rank == 0 or len(op.operands) == 1:
        return evaluator.scalar(op.operands[0])
    builder, width = evaluator.builder, lane.width if lane else 1
    linear, stride = Index(0), 1
    for index, size in zip(reversed(position), reversed(tensor.type.shape), strict=True):
        linear = builder.index_add(linear, builder.index_mul(index, stride, width), width)
        stride *= size
    wanted = builder.lanes(linear, width) if linear.varies else builder.value(linear.base)
    result = evaluator.scalar(op.operands[0])
    if linear.varies:
        result = builder.splat(result, width)
    for number, element in enumerate(list(op.operands)[1:], 1):
        value, here = evaluator.scalar(element), builder.value(number)
        if linear.varies:
            value, here = builder.splat(value, width), builder.splat(here, width)
        is_here = arith.CmpIOp(arith.CmpIPredicate.eq, wanted, here).result
        result = arith.SelectOp(is_here, value, result).result
    return result


def _extract_slice(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    offsets, _, strides = evaluator.slice_geometry(op)
    dropped = dropped_dims(op.result.type, list(op.static_sizes))
    width, builder = lane.width if lane else 1, evaluator.builder
    kept = iter(position)
    source = []
    for dim, (offset, stride) in enumerate(zip(offsets, strides, strict=True)):
        index = Index(0) if dim in dropped else next(kept)
        moved = builder.index_mul(index, stride, width)
        source.append(builder.index_add(moved, Index(offset), width))
    return evaluator.value(op.operands[0], source, lane)


def _expand(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    shape, width, builder = evaluator.shape(tensor), lane.width if lane else 1, evaluator.builder
    source = []
    for group in groups(op):
        index, stride = Index(0), 1
        for dim in reversed(group):
            term = builder.index_mul(position[dim], stride, width)
            index = builder.index_add(index, term, width)
            stride = builder.mul(stride, shape[dim])
        source.append(index)
    return evaluator.value(op.operands[0], source, lane)


def _collapse(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    origin = op.operands[0]
    buffer = evaluator.buffers.get(origin)
    if buffer is not None and buffer.layout is None:
        flat = Buffer(buffer.memory, buffer.element, evaluator.shape(tensor), None, buffer.offset)
        return evaluator.builder.load(flat, position, lane)
    shape, width = evaluator.shape(origin), lane.width if lane else 1
    source: list[Index] = []
    for index, group in zip(position, groups(op), strict=True):
        coordinates: list[Index] = []
        for dim in reversed(group[1:]):
            index, remainder = evaluator.builder.index_split(index, shape[dim], width)
            coordinates.append(remainder)
        source += [index, *reversed(coordinates)]
    return evaluator.value(origin, source, lane)


def _pad(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    low, _ = evaluator.pad_geometry(op)
    builder, width, origin = evaluator.builder, lane.width if lane else 1, op.operands[0]
    sizes = evaluator.shape(origin)
    minus = [
        builder.index_add(i, Index(builder.sub(0, offset)), width)
        for i, offset in zip(position, low, strict=True)
    ]
    padded = _padded_dims(op)
    inside = evaluator.inside([minus[d] for d in padded], [sizes[d] for d in padded], lane)
    filler = evaluator.scalar(_pad_value(op))
    return evaluator.guarded(
        inside,
        lane,
        tensor.type.element_type,
        filler,
        lambda inner: evaluator.value(origin, minus, inner),
    )


def _insert_slice(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    offsets, sizes, strides = evaluator.slice_geometry(op)
    if any(s != 1 for s in strides):
        raise NotScheduled("an insert_slice with a stride")
    dropped = dropped_dims(op.operands[0].type, list(op.static_sizes))
    width, builder = lane.width if lane else 1, evaluator.builder
    moved = [
        builder.index_add(i, Index(builder.sub(0, offset)), width)
        for i, offset in zip(position, offsets, strict=True)
    ]
    inside = evaluator.inside(moved, sizes, lane)
    kept = [i for d, i in enumerate(moved) if d not in dropped]
    rest = evaluator.value(op.operands[1], position, lane)
    return evaluator.guarded(
        inside,
        lane,
        tensor.type.element_type,
        rest,
        lambda inner: evaluator.value(op.operands[0], kept, inner),
    )


def _concat(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    axis = ir.IntegerAttr(op.attributes["dim"]).value
    builder, width = evaluator.builder, lane.width if lane else 1
    element = tensor.type.element_type
    result = builder.constant(element, 0)
    start: Scalar = 0
    for part in op.operands:
        size = evaluator.shape(part)[axis]
        moved = list(position)
        moved[axis] = builder.index_add(position[axis], Index(builder.sub(0, start)), width)
        inside = evaluator.inside([moved[axis]], [size], lane)
        result = evaluator.guarded(
            inside,
            lane,
            element,
            result,
            partial(evaluator.value, part, moved),
        )
        start = builder.add(start, size)
    return result


def _generate(
    evaluator: Evaluator,
    tensor: ir.Value,
    op: ir.OpView,
    position: Sequence[Index],
    lane: Lane | None,
) -> ir.Value:
    emitter = BodyEmitter(
        evaluator.builder, lane, [], lambda t, p: evaluator.value(t, p, lane), evaluator.scalar
    )
    return emitter.run(op.regions[0].blocks[0], list(position))[0]


def _pad_value(op: ir.OpView) -> ir.Value:
    block = op.regions[0].blocks[0]
    value = list(block.operations)[-1].operands[0]
    if value in list(block.arguments):
        raise NotScheduled("a padding value that depends on the position")
    return value


def _padded_dims(op: ir.OpView) -> list[int]:
    static_low, static_high = list(op.static_low), list(op.static_high)
    return [d for d in range(len(static_low)) if static_low[d] != 0 or static_high[d] != 0]


PRODUCERS: dict[str, Producer] = {
    "linalg.fill": _fill,
    "tensor.empty": _empty,
    "tensor.splat": _fill,
    "tensor.cast": _forward,
    "arith.constant": _constant,
    "tensor.from_elements": _from_elements,
    "tensor.extract_slice": _extract_slice,
    "tensor.insert_slice": _insert_slice,
    "tensor.expand_shape": _expand,
    "tensor.collapse_shape": _collapse,
    "tensor.pad": _pad,
    "tensor.concat": _concat,
    "tensor.generate": _generate,
}
