"""Operators that move elements or compute shapes: Reshape, Slice, Concat, Gather and so on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import broadcast_dims, broadcast_to, computed, loop_index
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.axes import given_axes, static_axes, with_ones, without
from iree_frontend_onnx.registry import Node, lowering
from iree_frontend_onnx.values import ITEMS_LIMIT, Value


@lowering("Shape")
def shape(node: Node) -> Value:
    """The sizes, from ``start`` to ``end``."""
    dims = list(node.value(0).dims)
    start, end = node.attr("start", 0), node.attr("end")
    return Value(items=dims[start : len(dims) if end is None else end])


@lowering("Size")
def size(node: Node) -> Value:
    """The number of elements."""
    return Value(items=[index.product(node.value(0).dims)], rank=0)


@lowering("Reshape", since=5)
def reshape(node: Node) -> Tensor | Value:
    """New sizes from an input; 0 copies a size and -1 takes what is left."""
    return reshaped(node, node.items(1), bool(node.attr("allowzero", 0)))


@lowering("Reshape", since=1, until=4)
def reshape_attribute(node: Node) -> Tensor | Value:
    """New sizes from an attribute."""
    return reshaped(node, node.attr("shape"), False)


def reshaped(node: Node, wanted: Sequence[Dim], allow_zero: bool) -> Tensor | Value:
    """Reshape input 0, keeping tracked items."""
    value = node.value(0)
    dims: list[Dim] = list(wanted)
    for axis, dim in enumerate(dims):
        if not allow_zero and index.same(dim, 0):
            if axis >= value.rank:
                node.unsupported(f"the new shape copies size {axis} of a rank {value.rank} tensor")
            dims[axis] = value.dims[axis]
    unknown = [a for a, d in enumerate(dims) if index.same(d, -1)]
    if len(unknown) == 1:
        rest = [d for a, d in enumerate(dims) if a != unknown[0]]
        dims[unknown[0]] = _left_over(value.dims, rest)
    elif not unknown:
        dims = _resolved_at_run_time(value.dims, dims, allow_zero)
    items = value.tracked_items()
    if items is not None and len(dims) <= 1:
        return Value(items=items, rank=len(dims), element=value.element)
    return tensors.reshape(node.tensor(0), dims)


def _left_over(source: Sequence[Dim], rest: Sequence[Dim]) -> Dim:
    exact = index.monomials_product(source).over(index.monomials_product(rest))
    if exact is not None:
        return exact.build()
    return index.floordiv(index.product(source), index.product(rest))


def _is_read(dim: Dim) -> bool:
    """Whether a size is an element of a tensor, which may be 0 or -1 at run time."""
    if isinstance(dim, int) or isinstance(dim.owner, ir.Block):
        return False
    if dim.owner.name != "arith.index_cast":
        return False
    source = dim.owner.operands[0].owner
    return not isinstance(source, ir.Block) and source.name == "tensor.extract"


def _resolved_at_run_time(source: Sequence[Dim], dims: list[Dim], allow_zero: bool) -> list[Dim]:
    """Give 0 and -1 their meaning where they may turn up at run time."""
    reads = [_is_read(d) for d in dims]
    if not any(reads):
        return dims
    for axis, dim in enumerate(dims):
        if reads[axis] and not allow_zero and axis < len(source):
            zero = index.compare(arith.CmpIPredicate.eq, dim, 0)
            dims[axis] = index.select(zero, source[axis], dim)
    # With one -1 among them the product of all is minus the product of the others.
    others = index.maximum(index.sub(0, index.product(dims)), 1)
    left = index.floordiv(index.product(source), others)
    for axis, dim in enumerate(dims):
        if reads[axis]:
            unknown = index.compare(arith.CmpIPredicate.eq, dim, -1)
            dims[axis] = index.select(unknown, left, dim)
    return dims


@lowering("Flatten")
def flatten(node: Node) -> Tensor:
    """Two dimensions, split at ``axis``."""
    x = node.tensor(0)
    axis = node.attr("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    return tensors.reshape(x, [index.product(x.dims[:axis]), index.product(x.dims[axis:])])


@lowering("Squeeze")
def squeeze(node: Node) -> Tensor | Value:
    """Sizes of 1 removed."""
    value = node.value(0)
    given = given_axes(node, 1)
    if given is not None and static_axes(given) is None:
        return tensors.reshape(node.tensor(0), without(value.dims, given))
    axes = [node.normalize_axis(int(a), value.rank) for a in given or ()]
    if given is None:
        axes = [a for a, d in enumerate(value.dims) if index.same(d, 1)]
        if any(not isinstance(d, int) for d in value.dims):
            node.unsupported("Squeeze without axes needs static sizes", "Give it axes.")
    items = value.tracked_items()
    if items is not None and value.rank - len(axes) <= 1:
        return Value(items=items, rank=value.rank - len(axes), element=value.element)
    return tensors.squeeze(node.tensor(0), axes)


@lowering("Unsqueeze")
def unsqueeze(node: Node) -> Tensor | Value:
    """Sizes of 1 inserted."""
    value = node.value(0)
    given = given_axes(node, 1) or []
    if static_axes(given) is None:
        return tensors.reshape(node.tensor(0), with_ones(value.dims, given))
    count = len(given)
    axes = [node.normalize_axis(int(a), value.rank + count) for a in given]
    items = value.tracked_items()
    if items is not None and value.rank + count <= 1:
        return Value(items=items, rank=value.rank + count, element=value.element)
    return tensors.expand_dims(node.tensor(0), axes)


@lowering("Transpose")
def transpose(node: Node) -> Tensor:
    """Dimensions permuted."""
    x = node.tensor(0)
    return tensors.transpose(x, node.attr("perm") or list(reversed(range(x.rank))))


@lowering("Concat", since=4)
@lowering("Concat", since=1, until=3)
def concat(node: Node) -> Tensor | Value:
    """Tensors joined along an axis."""
    values = [node.value(i) for i in range(len(node.inputs)) if node.has(i)]
    axis = node.axis(values[0].rank, 1)
    lists = [v.tracked_items() for v in values]
    if all(items is not None for items in lists) and values[0].rank == 1:
        joined = [item for items in lists if items is not None for item in items]
        if len(joined) <= 64:
            return Value(items=joined, element=values[0].element)
    parts = [node.to_tensor(v) for v in values]
    nonempty = [p for p in parts if not index.same(p.dims[axis], 0)]
    return tensors.concat(nonempty or parts[:1], axis)


@lowering("Expand")
def expand(node: Node) -> Tensor | Value:
    """Broadcast to a shape (both ways)."""
    target = node.items(1)
    value = node.value(0)
    items = value.tracked_items()
    if items is not None and len(items) == 1 and len(target) == 1:
        (count,) = target
        if isinstance(count, int) and count <= ITEMS_LIMIT:
            return Value(items=items * count, element=value.element)
    x = node.tensor(0)
    return broadcast_to(x, broadcast_dims([x.dims, target]))


@lowering("Tile", since=6)
def tile(node: Node) -> Tensor:
    """Repetition along each dimension."""
    x = node.tensor(0)
    repeats = node.items(1)
    if all(index.same(r, 1) for r in repeats):
        return x
    # [a, b] -> [1, a, 1, b] -> [r0, a, r1, b] -> [r0 * a, r1 * b]
    wide = [d for r, a in zip(repeats, x.dims, strict=True) for d in (r, a)]
    flat = tensors.expand_dims(x, range(0, 2 * x.rank, 2))
    full = broadcast_to(flat, wide)
    return tensors.collapse(full, [[2 * a, 2 * a + 1] for a in range(x.rank)])


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


@lowering("Pad", since=11)
def pad(node: Node) -> Tensor:
    """Padding with pads (and value, axes) from inputs."""
    x = node.tensor(0)
    pads = node.items(1)
    axes = list(range(x.rank))
    if node.has(3):
        given = node.items(3)
        if static_axes(given) is None:
            pads = _pads_by_axis(pads, given, x.rank)
        else:
            axes = [int(a) for a in given]
    filler: ir.Value | float = 0
    if node.has(2):
        known = node.array(2)
        filler = (
            known.reshape(-1)[0].item()
            if known is not None and known.dtype != object
            else (tensors.scalar_at(node.tensor(2), [0] * node.tensor(2).rank))
        )
    return padded(node, x, pads, [node.normalize_axis(a, x.rank) for a in axes], filler)


@lowering("Pad", since=1, until=10)
def pad_attributes(node: Node) -> Tensor:
    """Padding with pads and value from attributes."""
    x = node.tensor(0)
    pads = node.attr("pads", node.attr("paddings"))
    return padded(node, x, pads, list(range(x.rank)), node.attr("value", 0.0))


def _pads_by_axis(pads: Sequence[Dim], axes: Sequence[Dim], rank: int) -> list[Dim]:
    """Return pads of all dimensions from pads of run-time ``axes``."""
    full: list[Dim] = []
    for side in (0, len(axes)):
        for axis in range(rank):
            amount: Dim = 0
            for place, wanted in enumerate(axes):
                here = index.compare(
                    arith.CmpIPredicate.eq, index.wrap_negative(wanted, rank), axis
                )
                amount = index.select(here, pads[side + place], amount)
            full.append(amount)
    return full


def padded(
    node: Node, x: Tensor, pads: Sequence[Dim], axes: Sequence[int], filler: ir.Value | float
) -> Tensor:
    """Pad ``x``: constant, edge, reflect or wrap; negative pads remove elements."""
    low: list[Dim] = [0] * x.rank
    high: list[Dim] = [0] * x.rank
    for place, axis in enumerate(axes):
        low[axis], high[axis] = pads[place], pads[place + len(axes)]
    mode = node.attr("mode", "constant")
    negative = any(isinstance(p, int) and p < 0 for p in (*low, *high))
    if negative:
        offsets = [-p if isinstance(p, int) and p < 0 else 0 for p in low]
        cuts = [-p if isinstance(p, int) and p < 0 else 0 for p in high]
        sizes = [index.sub(d, a + b) for d, a, b in zip(x.dims, offsets, cuts, strict=True)]
        x = tensors.extract_slice(x, offsets, sizes, [1] * x.rank)
        low = [0 if isinstance(p, int) and p < 0 else p for p in low]
        high = [0 if isinstance(p, int) and p < 0 else p for p in high]
    if mode == "constant":
        return tensors.pad(x, low, high, filler)
    return _pad_by_position(node, x, low, high, mode)


def _pad_by_position(
    node: Node, x: Tensor, low: Sequence[Dim], high: Sequence[Dim], mode: str
) -> Tensor:
    if mode not in ("edge", "reflect", "wrap"):
        node.unsupported(f"padding mode {mode!r} is unknown")
    dims = [index.add(index.add(a, d), b) for a, d, b in zip(low, x.dims, high, strict=True)]
    sizes = [(index.value(d), index.value(p)) for d, p in zip(x.dims, low, strict=True)]

    def body(*places: ir.Value) -> ir.Value:
        kind = ir.IndexType.get()
        zero, one = arith.constant(kind, 0), arith.constant(kind, 1)
        at = []
        for place, (extent, before) in zip(places, sizes, strict=True):
            p = arith.subi(place, before)
            last = arith.subi(extent, one)
            if mode == "edge":
                p = arith.maxsi(zero, arith.minsi(p, last))
            elif mode == "wrap":
                p = _floor_mod(p, extent)
            else:
                period = arith.maxsi(arith.muli(last, arith.constant(kind, 2)), one)
                p = _floor_mod(p, period)
                p = arith.minsi(p, arith.subi(period, p))
            at.append(p)
        return tensor.extract(x.value, at)

    return computed(dims, [x.element], body)[0]


def _floor_mod(a: ir.Value, b: ir.Value) -> ir.Value:
    rest = arith.remsi(a, b)
    zero = arith.constant(ir.IndexType.get(), 0)
    negative = arith.cmpi(arith.CmpIPredicate.slt, rest, zero)
    return arith.select(negative, arith.addi(rest, b), rest)


@lowering("DepthToSpace")
def depth_to_space(node: Node) -> Tensor:
    """Channels moved into blocks of pixels."""
    x = node.tensor(0)
    block = node.attr("blocksize")
    n, c, h, w = x.dims
    inner = index.floordiv(c, block * block)
    if node.attr("mode", "DCR") == "DCR":
        split_, order = [n, block, block, inner, h, w], [0, 3, 4, 1, 5, 2]
    else:
        split_, order = [n, inner, block, block, h, w], [0, 1, 4, 2, 5, 3]
    moved = tensors.transpose(tensors.reshape(x, split_), order)
    return tensors.collapse(moved, [[0], [1], [2, 3], [4, 5]])


@lowering("SpaceToDepth")
def space_to_depth(node: Node) -> Tensor:
    """Blocks of pixels moved into channels."""
    x = node.tensor(0)
    block = node.attr("blocksize")
    n, c, h, w = x.dims
    split_ = [n, c, index.floordiv(h, block), block, index.floordiv(w, block), block]
    order = [0, 3, 5, 1, 2, 4] if node.attr("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
    moved = tensors.transpose(tensors.reshape(x, split_), order)
    return tensors.collapse(moved, [[0], [1, 2, 3], [4], [5]])


@lowering("Trilu")
def trilu(node: Node) -> Tensor:
    """The upper or lower triangle, zero elsewhere."""
    from iree_core.lowering.structured import elementwise

    x = node.tensor(0)
    shift = node.items(1)[0] if node.has(1) else 0
    offset = index.value(shift)
    upper = bool(node.attr("upper", 1))

    def body(v: ir.Value) -> ir.Value:
        zero = scalars.constant(0, x.element)
        row, column = loop_index(x.rank - 2), loop_index(x.rank - 1)
        edge = arith.addi(row, offset)
        predicate = arith.CmpIPredicate.sge if upper else arith.CmpIPredicate.sle
        return arith.select(arith.cmpi(predicate, column, edge), v, zero)

    return elementwise([x], x.element, body)


@lowering("CenterCropPad")
def center_crop_pad(node: Node) -> Tensor:
    """Cropped or zero-padded around the centre to given sizes."""
    x = node.tensor(0)
    axes = [node.normalize_axis(a, x.rank) for a in node.attr("axes", list(range(x.rank)))]
    target = node.ints(1, "the target shape")
    offsets, sizes = [0] * x.rank, list(x.dims)
    low, high = [0] * x.rank, [0] * x.rank
    for axis, wanted in zip(axes, target, strict=True):
        have = x.dims[axis]
        if not isinstance(have, int):
            node.unsupported("sizes must be static")
        if have > wanted:
            offsets[axis], sizes[axis] = (have - wanted) // 2, wanted
        else:
            low[axis] = (wanted - have) // 2
            high[axis] = wanted - have - low[axis]
    part = tensors.extract_slice(x, offsets, sizes, [1] * x.rank)
    return tensors.pad(part, low, high, 0)


def flipped(x: Tensor, axis: int) -> Tensor:
    """Return ``x`` with dimension ``axis`` reversed."""
    last = index.value(index.sub(x.dims[axis], 1))

    def body(*places: ir.Value) -> ir.Value:
        at = list(places)
        at[axis] = arith.subi(last, at[axis])
        return tensor.extract(x.value, at)

    return computed(x.dims, [x.element], body)[0]
