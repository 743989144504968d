"""Parts of tensors, padding, and rearrangements of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import computed
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_tf.tflite.ops.common import is_quantized
from iree_frontend_tf.tflite.registry import Node, lowering


@lowering("SLICE")
def slice_(node: Node) -> Tensor | Value:
    """A part by begin and size; a size of -1 reaches to the end."""
    begins, sizes = node.items(1), node.items(2)
    value = node.value(0)
    counts: list[Dim] = []
    for begin, size, dim in zip(begins, sizes, value.dims, strict=True):
        rest = index.sub(dim, begin)
        if isinstance(size, int):
            counts.append(rest if size == -1 else size)
        else:
            negative = index.compare(arith.CmpIPredicate.slt, size, 0)
            counts.append(index.select(negative, rest, size))
    items = value.tracked_items()
    if items is not None and value.rank == 1 and _all_ints(begins) and _all_ints(counts):
        start, count = int(begins[0]), int(counts[0])
        return Value(items=items[start : start + count], element=value.element)
    # What is out of bounds at run time is cut off, so that nothing outside is read.
    begins = [_limit(b, d) for b, d in zip(begins, value.dims, strict=True)]
    counts = [
        c if isinstance(c, int) and isinstance(b, int) and isinstance(d, int) and b + c <= d
        else index.minimum(c, index.sub(d, b))
        for b, c, d in zip(begins, counts, value.dims, strict=True)
    ]  # fmt: skip
    return tensors.extract_slice(node.tensor(0), begins, counts, [1] * value.rank)


def _all_ints(items: Sequence[Dim]) -> bool:
    return all(isinstance(i, int) for i in items)


def _limit(position: Dim, size: Dim) -> Dim:
    if position == 0 and isinstance(position, int):
        return 0
    return index.maximum(index.minimum(position, size), 0)


@lowering("STRIDED_SLICE")
def strided_slice(node: Node) -> Tensor | Value:
    """TensorFlow's slices with masks (``tf.strided_slice``)."""
    value = node.value(0)
    begins, ends = node.items(1), node.items(2)
    steps = node.ints(3, "the strides")
    masks = {
        name: int(node.option(f"{name}Mask", 0))
        for name in ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
    }
    offset = bool(node.option("Offset", False))
    plan = _Plan(value.dims)
    for place, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        bit = 1 << place
        if masks["Ellipsis"] & bit:
            later = len(begins) - place - 1
            added = sum(1 for p in range(place + 1, len(begins)) if masks["NewAxis"] & (1 << p))
            plan.whole(value.rank - plan.axis - (later - added))
        elif masks["NewAxis"] & bit:
            plan.shape.append(1)
        elif masks["ShrinkAxis"] & bit:
            plan.one(begin)
        else:
            stop = index.add(begin, end) if offset else end
            plan.part(
                None if masks["Begin"] & bit else begin,
                None if masks["End"] & bit else stop,
                step,
            )
    plan.whole(value.rank - plan.axis)
    items = value.tracked_items()
    if items is not None and value.rank == 1 and _all_ints([*plan.offsets, *plan.sizes]):
        start, count, step = int(plan.offsets[0]), int(plan.sizes[0]), plan.steps[0]
        taken = [items[start + i * step] for i in range(count)]
        if len(plan.shape) <= 1:
            return Value(items=taken, rank=len(plan.shape), element=value.element)
    x = node.tensor(0)
    part = _take(x, plan)
    return tensors.reshape(part, plan.shape)


class _Plan:
    """Offsets, sizes and steps per dimension, and the shape of the result."""

    def __init__(self, dims: Sequence[Dim]) -> None:
        self.dims = list(dims)
        self.axis = 0
        self.offsets: list[Dim] = []
        self.sizes: list[Dim] = []
        self.steps: list[int] = []
        self.shape: list[Dim] = []

    def _append(self, offset: Dim, size: Dim, step: int, *, kept: bool = True) -> None:
        self.offsets.append(offset)
        self.sizes.append(size)
        self.steps.append(step)
        if kept:
            self.shape.append(size)
        self.axis += 1

    def whole(self, count: int) -> None:
        for _ in range(count):
            self._append(0, self.dims[self.axis], 1)

    def one(self, begin: Dim) -> None:
        size = self.dims[self.axis]
        place = index.wrap_negative(begin, size)
        if not (isinstance(place, int) and isinstance(size, int)):
            place = index.maximum(index.minimum(place, index.sub(size, 1)), 0)
        self._append(place, 1, 1, kept=False)

    def part(self, begin: Dim | None, end: Dim | None, step: int) -> None:
        size = self.dims[self.axis]
        if all(isinstance(x, int) or x is None for x in (begin, end, size)):
            taken = range(int(size))[slice(begin, end, step)]
            self._append(taken.start if len(taken) else 0, len(taken), step)
            return
        low, high = (0, size) if step > 0 else (-1, index.sub(size, 1))
        first = _bound(begin, size, low, high, low if step > 0 else high)
        last = _bound(end, size, low, high, high if step > 0 else low)
        distance = index.sub(last, first) if step > 0 else index.sub(first, last)
        count = index.ceildiv(distance, abs(step))
        # Only where both bounds are implied is the count known not to be negative.
        if not (begin is None and end is None):
            count = index.maximum(count, 0)
        self._append(first, count, step)


def _bound(position: Dim | None, size: Dim, low: Dim, high: Dim, default: Dim) -> Dim:
    if position is None or (isinstance(position, int) and position == 0 and low == 0):
        return default if position is None else 0
    return index.maximum(index.minimum(index.wrap_negative(position, size), high), low)


def _take(x: Tensor, plan: _Plan) -> Tensor:
    if all(s > 0 for s in plan.steps):
        return tensors.extract_slice(x, plan.offsets, plan.sizes, plan.steps)
    if any(index.same(s, 0) for s in plan.sizes):
        return Tensor(tensors.empty(plan.sizes, x.element), tuple(plan.sizes), x.element)
    offsets = [index.value(o) for o in plan.offsets]

    def body(*at: ir.Value) -> ir.Value:
        places = []
        for place, offset, step in zip(at, offsets, plan.steps, strict=True):
            scaled = arith.muli(place, arith.constant(ir.IndexType.get(), step))
            places.append(arith.addi(scaled, offset))
        return tensor.extract(x.value, places)

    return computed(plan.sizes, [x.element], body)[0]


@lowering("SPLIT")
def split(node: Node) -> list[Tensor]:
    """Equal parts along a dimension."""
    x = node.tensor(1)
    axis = node.axis(node.ints(0, "the axis")[0], x.rank)
    count = len(node.info.outputs)
    size = index.floordiv(x.dims[axis], count)
    return _parts(x, axis, [size] * count)


@lowering("SPLIT_V")
def split_v(node: Node) -> list[Tensor]:
    """Parts of given sizes along a dimension; one -1 takes what is left."""
    x = node.tensor(0)
    axis = node.axis(node.ints(2, "the axis")[0], x.rank)
    sizes: list[Dim] = list(node.items(1))
    if -1 in [s for s in sizes if isinstance(s, int)]:
        place = sizes.index(-1)
        rest: Dim = x.dims[axis]
        for other, size in enumerate(sizes):
            rest = rest if other == place else index.sub(rest, size)
        sizes[place] = rest
    return _parts(x, axis, sizes)


def _parts(x: Tensor, axis: int, sizes: Sequence[Dim]) -> list[Tensor]:
    made, start = [], 0
    begin: Dim = start
    for size in sizes:
        offsets = [begin if a == axis else 0 for a in range(x.rank)]
        counts = [size if a == axis else d for a, d in enumerate(x.dims)]
        made.append(tensors.extract_slice(x, offsets, counts, [1] * x.rank))
        begin = index.add(begin, size)
    return made


@lowering("PAD", "PADV2")
def pad(node: Node) -> Tensor:
    """Constant elements around: zero (the zero point of integers) or input 2."""
    x = node.tensor(0)
    low, high = _paddings(node, x.rank)
    filler: float | ir.Value = 0
    if node.has(2):
        filler = tensors.scalar_at(tensors.reshape(node.tensor(2), ()), [])
    elif is_quantized(node):
        filler = node.scale(node.output())[1]
    return tensors.pad(x, low, high, filler)


def _paddings(node: Node, rank: int) -> tuple[list[Dim], list[Dim]]:
    value = node.value(1)
    array = value.array()
    if array is not None:
        pairs = array.reshape(rank, 2)
        return [int(p[0]) for p in pairs], [int(p[1]) for p in pairs]
    source = tensors.reshape(node.tensor(1), [2 * rank])
    flat = Value(tensor=source).items(node.importer.pool)
    assert flat is not None
    return flat[0::2], flat[1::2]


@lowering("MIRROR_PAD")
def mirror_pad(node: Node) -> Tensor:
    """The elements mirrored at the border, with or without the border itself."""
    x = node.tensor(0)
    low, high = _paddings(node, x.rank)
    twice = int(node.option("Mode", 0))  # REFLECT leaves the border out, SYMMETRIC repeats it
    dims = [index.add(index.add(a, d), b) for a, d, b in zip(low, x.dims, high, strict=True)]
    known = [(index.value(d), index.value(p)) for d, p in zip(x.dims, low, strict=True)]

    def body(*at: ir.Value) -> ir.Value:
        kind = ir.IndexType.get()
        zero, one = arith.constant(kind, 0), arith.constant(kind, 1)
        places = []
        for place, (size, before) in zip(at, known, strict=True):
            p = arith.subi(place, before)
            last = arith.subi(size, one)
            under = arith.cmpi(arith.CmpIPredicate.slt, p, zero)
            over = arith.cmpi(arith.CmpIPredicate.sgt, p, last)
            repeat = arith.constant(kind, twice)
            mirrored_low = arith.subi(arith.subi(zero, p), repeat)
            mirrored_high = arith.addi(arith.subi(arith.addi(last, last), p), repeat)
            p = arith.select(under, mirrored_low, arith.select(over, mirrored_high, p))
            places.append(arith.maxsi(zero, arith.minsi(p, last)))
        return tensor.extract(x.value, places)

    return computed(dims, [x.element], body)[0]


@lowering("REVERSE_V2")
def reverse(node: Node) -> Tensor:
    """The elements in opposite order along some dimensions."""
    x = node.tensor(0)
    axes = {node.axis(a, x.rank) for a in node.ints(1, "the axes")}
    lasts = {a: index.value(index.sub(x.dims[a], 1)) for a in axes}

    def body(*at: ir.Value) -> ir.Value:
        places = [arith.subi(lasts[a], p) if a in axes else p for a, p in enumerate(at)]
        return tensor.extract(x.value, places)

    return computed(x.dims, [x.element], body)[0]


@lowering("REVERSE_SEQUENCE")
def reverse_sequence(node: Node) -> Tensor:
    """The first ``lengths[b]`` elements of each sequence in opposite order."""
    x, lengths = node.tensor(0), node.tensor(1)
    axis = node.axis(node.option("SeqDim", 0), x.rank)
    batch = node.axis(node.option("BatchDim", 0), x.rank)

    def body(*at: ir.Value) -> ir.Value:
        length = arith.index_cast(ir.IndexType.get(), tensor.extract(lengths.value, [at[batch]]))
        one = arith.constant(ir.IndexType.get(), 1)
        mirrored = arith.subi(arith.subi(length, one), at[axis])
        inside = arith.cmpi(arith.CmpIPredicate.slt, at[axis], length)
        place = arith.select(inside, mirrored, at[axis])
        return tensor.extract(x.value, [place if a == axis else p for a, p in enumerate(at)])

    return computed(x.dims, [x.element], body)[0]


@lowering("SPACE_TO_DEPTH")
def space_to_depth(node: Node) -> Tensor:
    """Blocks of pixels become channels."""
    x = node.tensor(0)
    b = int(node.option("BlockSize", 1))
    n, h, w, c = x.dims
    rows, columns = index.floordiv(h, b), index.floordiv(w, b)
    split_ = tensors.expand(x, [[0], [1, 2], [3, 4], [5]], [n, rows, b, columns, b, c])
    moved = tensors.transpose(split_, [0, 1, 3, 2, 4, 5])
    return tensors.collapse(moved, [[0], [1], [2], [3, 4, 5]])


@lowering("DEPTH_TO_SPACE")
def depth_to_space(node: Node) -> Tensor:
    """Channels become blocks of pixels."""
    x = node.tensor(0)
    b = int(node.option("BlockSize", 1))
    n, h, w, c = x.dims
    split_ = tensors.expand(
        x, [[0], [1], [2], [3, 4, 5]], [n, h, w, b, b, index.floordiv(c, b * b)]
    )
    moved = tensors.transpose(split_, [0, 1, 3, 2, 4, 5])
    return tensors.collapse(moved, [[0], [1, 2], [3, 4], [5]])


@lowering("SPACE_TO_BATCH_ND")
def space_to_batch(node: Node) -> Tensor:
    """Padded, then blocks of pixels become batches."""
    x = node.tensor(0)
    blocks = node.ints(1, "the block shape")
    count = len(blocks)
    pairs = node.known(2, "the paddings").reshape(count, 2)
    low: list[Dim] = [0, *(int(p[0]) for p in pairs), *[0] * (x.rank - 1 - count)]
    high: list[Dim] = [0, *(int(p[1]) for p in pairs), *[0] * (x.rank - 1 - count)]
    filler = node.scale(node.output())[1] if is_quantized(node) else 0
    x = tensors.pad(x, low, high, filler)
    dims: list[Dim] = [x.dims[0]]
    groups = [[0]]
    for axis, block in enumerate(blocks):
        groups.append([len(dims), len(dims) + 1])
        dims += [index.floordiv(x.dims[1 + axis], block), block]
    rest = x.dims[1 + count :]
    groups += [[len(dims) + i] for i in range(len(rest))]
    dims += rest
    split_ = tensors.expand(x, groups, dims)
    order = [2 + 2 * a for a in range(count)] + [0] + [1 + 2 * a for a in range(count)]
    order += range(1 + 2 * count, len(dims))
    moved = tensors.transpose(split_, order)
    merged = [list(range(count + 1)), *[[count + 1 + i] for i in range(len(dims) - count - 1)]]
    return tensors.collapse(moved, merged)


@lowering("BATCH_TO_SPACE_ND")
def batch_to_space(node: Node) -> Tensor:
    """Batches become blocks of pixels, then cropped."""
    x = node.tensor(0)
    blocks = node.ints(1, "the block shape")
    count = len(blocks)
    crops = node.known(2, "the crops").reshape(count, 2)
    batch = index.floordiv(x.dims[0], prod(blocks))
    dims = [*blocks, batch, *x.dims[1:]]
    groups = [list(range(count + 1)), *[[count + 1 + i] for i in range(x.rank - 1)]]
    split_ = tensors.expand(x, groups, dims)
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    order += range(2 * count + 1, len(dims))
    moved = tensors.transpose(split_, order)
    merged = [[0], *[[1 + 2 * a, 2 + 2 * a] for a in range(count)]]
    merged += [[i] for i in range(1 + 2 * count, len(dims))]
    whole = tensors.collapse(moved, merged)
    offsets = [0, *(int(c[0]) for c in crops), *[0] * (x.rank - 1 - count)]
    sizes: list[Dim] = list(whole.dims)
    for axis, (before, after) in enumerate(crops):
        sizes[1 + axis] = index.sub(sizes[1 + axis], int(before) + int(after))
    return tensors.extract_slice(whole, offsets, sizes, [1] * x.rank)


@lowering("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(node: Node) -> Tensor:
    """Input 1 written into input 0 at a position that is moved inside."""
    x, update = node.tensor(0), node.tensor(1)
    starts = node.items(2)
    places = [
        index.maximum(index.minimum(s, index.sub(d, u)), 0)
        for s, d, u in zip(starts, x.dims, update.dims, strict=True)
    ]
    return tensors.insert_slice(update, x, places)


@lowering("DILATE")
def dilate(node: Node) -> Tensor:
    """The elements with others in between."""
    x = node.tensor(0)
    steps = node.ints(1, "the dilations")
    filler = tensors.scalar_at(tensors.reshape(node.tensor(2), ()), [])
    dims = [index.add(index.mul(index.sub(d, 1), s), 1) for d, s in zip(x.dims, steps, strict=True)]
    into = tensors.fill(dims, x.element, filler)
    return tensors.insert_slice(x, into, [0] * x.rank, steps)
