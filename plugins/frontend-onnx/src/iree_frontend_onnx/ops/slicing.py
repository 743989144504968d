"""Operators that cut tensors out of tensors: Slice, Split, Gather along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import computed, loop_index
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_onnx.ops.axes import static_axes
from iree_frontend_onnx.registry import Node, lowering


@lowering("Split")
def split(node: Node) -> list[Tensor | Value]:
    """Parts along an axis."""
    x = node.value(0)
    axis = node.axis(x.rank)
    count = node.attr("num_outputs", node.output_count)
    given: list[Dim] | None = None
    if node.has(1):
        given = node.items(1)
    elif node.attr("split") is not None:
        given = list(node.attr("split"))
    if given is None:
        total = x.dims[axis]
        chunk = index.ceildiv(total, count)
        given = [chunk] * (count - 1)
        given.append(index.sub(total, index.mul(chunk, count - 1)))
    items = x.tracked_items()
    if items is not None and x.rank == 1 and all(isinstance(g, int) for g in given):
        bounds = np.cumsum([0, *given])
        return [Value(items=items[a:b], element=x.element) for a, b in pairwise(bounds)]
    source = node.tensor(0)
    parts: list[Tensor | Value] = []
    start: Dim = 0
    for part in given:
        offsets: list[Dim] = [0] * source.rank
        sizes = list(source.dims)
        offsets[axis], sizes[axis] = start, part
        parts.append(tensors.extract_slice(source, offsets, sizes, [1] * source.rank))
        start = index.add(start, part)
    return parts


@lowering("Slice", since=10)
def slice_(node: Node) -> Tensor | Value:
    """A part with starts, ends, axes and steps from inputs."""
    starts, ends = node.items(1), node.items(2)
    axes = node.items(3) if node.has(3) else list(range(len(starts)))
    steps = node.items(4) if node.has(4) else [1] * len(starts)
    known_axes, known_steps = static_axes(axes), static_axes(steps)
    if known_axes is None or known_steps is None:
        return _sliced_at_run_time(node.tensor(0), starts, ends, axes, steps)
    return sliced(node, starts, ends, known_axes, known_steps)


def _sliced_at_run_time(
    x: Tensor, starts: Sequence[Dim], ends: Sequence[Dim], axes: Sequence[Dim], steps: Sequence[Dim]
) -> Tensor:
    """Slice where axes or steps are computed: every dimension gets bounds by selection."""
    offsets, sizes, strides = [], [], []
    for axis, size in enumerate(x.dims):
        start: Dim = 0
        end: Dim = size
        step: Dim = 1
        for place, wanted in enumerate(axes):
            here = index.compare(arith.CmpIPredicate.eq, index.wrap_negative(wanted, x.rank), axis)
            start = index.select(here, starts[place], start)
            end = index.select(here, ends[place], end)
            step = index.select(here, steps[place], step)
        first, count = _bounds_at_run_time(start, end, step, size)
        offsets.append(index.value(first))
        sizes.append(count)
        strides.append(index.value(step))

    def pick_(*places: ir.Value) -> ir.Value:
        at = [
            arith.addi(arith.muli(p, stride), offset)
            for p, stride, offset in zip(places, strides, offsets, strict=True)
        ]
        return tensor.extract(x.value, at)

    return computed(sizes, [x.element], pick_)[0]


def _bounds_at_run_time(start: Dim, end: Dim, step: Dim, size: Dim) -> tuple[Dim, Dim]:
    forward = index.compare(arith.CmpIPredicate.sgt, step, 0)
    last = index.sub(size, 1)

    def clamp(position: Dim, low: Dim, high: Dim) -> Dim:
        return index.maximum(index.minimum(index.wrap_negative(position, size), high), low)

    first = index.select(forward, clamp(start, 0, size), clamp(start, 0, last))
    stop = index.select(forward, clamp(end, 0, size), clamp(end, -1, last))
    distance = index.sub(stop, first)
    count = index.select(
        forward,
        index.ceildiv(distance, index.maximum(step, 1)),
        index.ceildiv(index.sub(0, distance), index.maximum(index.sub(0, step), 1)),
    )
    return first, index.maximum(count, 0)


@lowering("Slice", since=1, until=9)
def slice_attributes(node: Node) -> Tensor | Value:
    """A part with starts, ends and axes from attributes."""
    starts = node.attr("starts")
    axes = node.attr("axes") or list(range(len(starts)))
    return sliced(node, starts, node.attr("ends"), axes, [1] * len(starts))


def sliced(
    node: Node,
    starts: Sequence[Dim],
    ends: Sequence[Dim],
    axes: Sequence[int],
    steps: Sequence[int],
) -> Tensor | Value:
    """Slice input 0 with numpy's rules."""
    value = node.value(0)
    offsets: list[Dim] = [0] * value.rank
    sizes = list(value.dims)
    strides = [1] * value.rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.normalize_axis(axis, value.rank)
        offsets[axis], sizes[axis] = slice_bounds(start, end, step, value.dims[axis])
        strides[axis] = step
    items = value.tracked_items()
    if (
        items is not None
        and value.rank == 1
        and all(isinstance(d, int) for d in (*offsets, *sizes))
    ):
        begin, count, step = int(offsets[0]), int(sizes[0]), strides[0]
        picked = [items[begin + i * step] for i in range(count)]
        return Value(items=picked, element=value.element)
    x = node.tensor(0)
    if all(s > 0 for s in strides):
        return tensors.extract_slice(x, offsets, sizes, strides)

    def pick(*places: ir.Value) -> ir.Value:
        at = []
        for place, offset, stride in zip(places, offsets, strides, strict=True):
            scaled = arith.muli(place, arith.constant(ir.IndexType.get(), stride))
            at.append(arith.addi(scaled, index.value(offset)))
        return tensor.extract(x.value, at)

    for offset in offsets:
        index.value(offset)
    return computed(sizes, [x.element], pick)[0]


def slice_bounds(start: Dim, end: Dim, step: int, size: Dim) -> tuple[Dim, Dim]:
    """Return first position and count of the slice ``start:end:step`` of ``size`` elements."""
    if isinstance(start, int) and isinstance(end, int) and isinstance(size, int):
        taken = range(size)[_python_slice(start, end, step)]
        return (taken.start if len(taken) else 0), len(taken)
    low, high = (0, size) if step > 0 else (-1, index.sub(size, 1))
    if step > 0:
        first = _clamp(start, size, low, high)
        last = size if isinstance(end, int) and end >= 1 << 31 else _clamp(end, size, low, high)
        if isinstance(start, int) and start == 0 and last is size:
            return 0, index.ceildiv(size, step)
    else:
        first = _clamp(start, size, 0, high)
        last = -1 if isinstance(end, int) and end <= -(1 << 31) else _clamp(end, size, low, high)
    distance = index.sub(last, first) if step > 0 else index.sub(first, last)
    count = index.ceildiv(distance, abs(step))
    known_positive = isinstance(start, int) and last is size and start <= 0
    return first, count if known_positive else index.maximum(count, 0)


def _python_slice(start: int, end: int, step: int) -> slice:
    # Only "before the first element" is below what a negative position can say.
    stop = None if step < 0 and end < -(1 << 31) else end
    return slice(start, stop, step)


def _clamp(position: Dim, size: Dim, low: Dim, high: Dim) -> Dim:
    wrapped = index.wrap_negative(position, size)
    if index.same(wrapped, 0) or index.same(wrapped, high):
        return wrapped
    return index.maximum(index.minimum(wrapped, high), low)


@lowering("Gather")
def gather(node: Node) -> Tensor | Value:
    """Entries along one axis, at positions from a tensor."""
    data, places = node.value(0), node.value(1)
    axis = node.axis(data.rank)
    items = data.tracked_items()
    known = places.array()
    if items is not None and known is not None and data.rank == 1 and known.ndim <= 1:
        picked = [items[int(k)] for k in known.reshape(-1)]
        return Value(items=picked, rank=known.ndim, element=data.element)
    source = node.tensor(0)
    if known is not None and known.ndim == 0:
        return _take_one(source, axis, int(known))
    return gathered(source, node.tensor(1), axis)


def _take_one(source: Tensor, axis: int, place: int) -> Tensor:
    offsets: list[Dim] = [0] * source.rank
    sizes = list(source.dims)
    offsets[axis] = index.wrap_negative(place, source.dims[axis])
    sizes[axis] = 1
    part = tensors.extract_slice(source, offsets, sizes, [1] * source.rank)
    return tensors.squeeze(part, [axis])


def position_of(scalar: ir.Value, size: Dim, unsigned: bool = False) -> ir.Value:
    """Inside a body: an integer element as a position, negative ones counted from the end.

    Positions out of range are clamped, so that no wrong model reads foreign memory.
    """
    kind = ir.IndexType.get()
    place = arith.index_castui(kind, scalar) if unsigned else arith.index_cast(kind, scalar)
    zero = arith.constant(kind, 0)
    extent = index.value(size) if not isinstance(size, int) else arith.constant(kind, size)
    negative = arith.cmpi(arith.CmpIPredicate.slt, place, zero)
    place = arith.select(negative, arith.addi(place, extent), place)
    last = arith.subi(extent, arith.constant(kind, 1))
    return arith.maxsi(arith.minsi(place, last), zero)


def gathered(source: Tensor, places: Tensor, axis: int) -> Tensor:
    """Return ``source`` taken at ``places`` along ``axis`` (numpy.take)."""
    from iree_core.lowering.structured import affine_map, generic
    from iree_core.lowering.tensors import empty

    dims = (*source.dims[:axis], *places.dims, *source.dims[axis + 1 :])
    rank = len(dims)

    def body(place: ir.Value, _: ir.Value) -> ir.Value:
        at = [loop_index(a) for a in range(axis)]
        at.append(position_of(place, source.dims[axis], places.element.is_unsigned))
        at += [loop_index(a + places.rank) for a in range(axis, source.rank - 1)]
        return tensor.extract(source.value, at)

    (result,) = generic(
        [places.value],
        [empty(dims, source.element)],
        [
            affine_map(rank, [axis + a for a in range(places.rank)]),
            affine_map(rank, list(range(rank))),
        ],
        [False] * rank,
        body,
    )
    return Tensor(result, dims, source.element)


def flipped(x: Tensor, axis: int) -> Tensor:
    """Return ``x`` with dimension ``axis`` reversed."""
    last = index.value(index.sub(x.dims[axis], 1))

    def body(*places: ir.Value) -> ir.Value:
        at = list(places)
        at[axis] = arith.subi(last, at[axis])
        return tensor.extract(x.value, at)

    return computed(x.dims, [x.element], body)[0]
