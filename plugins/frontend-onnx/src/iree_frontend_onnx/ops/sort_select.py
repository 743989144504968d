"""Order and choice: TopK, Unique, NonZero, Compress, CumSum, NonMaxSuppression."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import BOOL, I64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import atomic, branch, for_loop, load, store
from iree_core.lowering.scan import cumulative
from iree_core.lowering.sort import argsort, ordering, top_k
from iree_core.lowering.structured import computed, convert, elementwise
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.registry import Node, lowering


@lowering("TopK", since=10)
def top_k_node(node: Node) -> list[Tensor]:
    """The k largest or smallest along an axis, and where they are."""
    return _top_k(node, node.items(1)[0])


@lowering("TopK", since=1, until=9)
def top_k_attribute(node: Node) -> list[Tensor]:
    """The same with k as an attribute."""
    return _top_k(node, node.attr("k"))


def _top_k(node: Node, k: Dim) -> list[Tensor]:
    x = node.tensor(0)
    descending = bool(node.attr("largest", 1))
    before = ordering(x.element, descending=descending, nan="first" if descending else "last")
    return list(top_k(x, k, node.axis(x.rank, -1), before))


@lowering("CumSum", "CumProd")
def cumulative_node(node: Node) -> Tensor:
    """Running sum or product along an axis."""
    x = node.tensor(0)
    options = {
        "exclusive": bool(node.attr("exclusive", 0)), "reverse": bool(node.attr("reverse", 0)),
    }  # fmt: skip
    kind = "add" if node.op == "CumSum" else "mul"
    known = node.array(1)
    if known is not None:
        axis = node.normalize_axis(int(known.reshape(-1)[0]), x.rank)
        return cumulative(x, axis, kind, **options)
    # The axis is a number of the run: choose among the results of all axes.
    chosen = index.value(index.wrap_negative(node.items(1)[0], x.rank))
    result = cumulative(x, 0, kind, **options)
    for axis in range(1, x.rank):
        other = cumulative(x, axis, kind, **options)
        here = index.compare(arith.CmpIPredicate.eq, chosen, axis)
        result = elementwise(
            [result, other], x.element, lambda a, b, here=here: arith.select(here, b, a)
        )
    return result


def _count_set(flags: Tensor) -> Dim:
    """Return how many elements of a 1-D i1 tensor are set."""
    from iree_frontend_onnx.ops.reduce import total

    counted = total(convert(flags, I64), [0], keep_dims=False)
    return arith.index_cast(ir.IndexType.get(), tensors.scalar_at(counted, []))


def set_positions(flags: Tensor) -> Tensor:
    """Return the positions (i64, ascending) where a 1-D i1 tensor is set."""
    count = _count_set(flags)

    def build() -> list[ir.Value]:
        def step(i: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            written, found = state

            def write() -> list[ir.Value]:
                number = arith.index_cast(I64.type, i)
                one = arith.constant(ir.IndexType.get(), 1)
                return [arith.addi(written, one), store(number, found, written)]

            return branch(load(flags.value, i), write, [written, found])

        zero = arith.constant(ir.IndexType.get(), 0)
        start = [zero, tensors.empty([count], I64)]
        return for_loop(0, flags.dims[0], start, step)[1:]

    return atomic([([count], I64)], build)[0]


@lowering("NonZero")
def non_zero(node: Node) -> Tensor:
    """Positions of non-zero elements, one row per dimension."""
    x = node.tensor(0)
    flags = convert(x, BOOL)
    flat = tensors.reshape(flags, [index.product(x.dims)])
    places = set_positions(flat)
    rows = []
    for axis in range(x.rank):
        below = index.value(index.product(x.dims[axis + 1 :]))
        extent = index.value(x.dims[axis])

        def body(p: ir.Value, below: ir.Value = below, extent: ir.Value = extent) -> ir.Value:
            place = arith.index_cast(ir.IndexType.get(), p)
            return arith.index_cast(I64.type, arith.remui(arith.divui(place, below), extent))

        rows.append(tensors.expand_dims(elementwise([places], I64, body), [0]))
    if not rows:
        return tensors.fill([0, places.dims[0]], I64, 0)
    return tensors.concat(rows, 0)


@lowering("Compress")
def compress(node: Node) -> Tensor:
    """Entries along an axis (or of the flat tensor) where the condition is set."""
    from iree_frontend_onnx.ops.slicing import gathered

    x, condition = node.tensor(0), node.tensor(1)
    if node.attr("axis") is None:
        x = tensors.reshape(x, [index.product(x.dims)])
        axis = 0
    else:
        axis = node.axis(x.rank)
    return gathered(x, set_positions(condition), axis)


@lowering("Unique")
def unique(node: Node) -> list[Tensor]:
    """Distinct elements, or distinct slices along an axis, with three kinds of positions."""
    x = node.tensor(0)
    if node.attr("axis") is None:
        rows = tensors.reshape(x, [index.product(x.dims), 1])
        axis, moved = 0, x
    else:
        axis = node.axis(x.rank)
        moved = tensors.transpose(x, [axis, *(a for a in range(x.rank) if a != axis)])
        rows = tensors.reshape(moved, [moved.dims[0], index.product(moved.dims[1:])])
    first, groups, counts = _group_rows(rows, bool(node.attr("sorted", 1)))
    from iree_frontend_onnx.ops.slicing import gathered

    flat = tensors.reshape(x, [index.product(x.dims)]) if node.attr("axis") is None else x
    return [gathered(flat, first, axis), first, groups, counts]


def _group_rows(rows: Tensor, by_value: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return first position, group of each row, and group sizes; groups ordered by value or by
    first position. Quadratic in the number of groups at worst: fine for what models hold."""
    count, width = rows.dims
    e = rows.element

    def less(i: ir.Value, j: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Lexicographic comparison of two rows: (strictly before, equal)."""
        false, true = scalars.constant(0, BOOL), scalars.constant(1, BOOL)

        def step(c: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            smaller, equal = state
            a, b = load(rows.value, i, c), load(rows.value, j, c)
            now = arith.andi(equal, scalars.compare("lt", a, b, e))
            same = arith.andi(equal, scalars.compare("eq", a, b, e))
            return [arith.ori(smaller, now), same]

        smaller, equal = for_loop(0, width, [false, true], step)
        return smaller, equal

    # first_of[i]: the first row equal to row i.
    def find_first() -> list[ir.Value]:
        def each(i: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            def look(j: ir.Value, found: list[ir.Value]) -> list[ir.Value]:
                _, equal = less(j, i)
                better = arith.cmpi(arith.CmpIPredicate.slt, j, found[0])
                return [arith.select(arith.andi(equal, better), j, found[0])]

            (first,) = for_loop(0, index.value(i), [i], look)
            return [store(arith.index_cast(I64.type, first), state[0], i)]

        return for_loop(0, count, [tensors.empty([count], I64)], each)

    (first_of,) = atomic([([count], I64)], find_first)
    here = computed([count], [I64], lambda p: arith.index_cast(I64.type, p))[0]
    leads = elementwise(
        [first_of, here], BOOL, lambda a, b: arith.cmpi(arith.CmpIPredicate.eq, a, b)
    )
    firsts = set_positions(leads)
    groups = firsts.dims[0]

    def rank_groups() -> list[ir.Value]:
        """Write each group's first position at the place its order gives."""

        def each(g: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            mine = load(firsts.value, g)
            row = arith.index_cast(ir.IndexType.get(), mine)

            def look(h: ir.Value, place: list[ir.Value]) -> list[ir.Value]:
                other = arith.index_cast(ir.IndexType.get(), load(firsts.value, h))
                smaller, _ = less(other, row)
                one, zero = (arith.constant(ir.IndexType.get(), n) for n in (1, 0))
                return [arith.addi(place[0], arith.select(smaller, one, zero))]

            (place,) = for_loop(0, groups, [arith.constant(ir.IndexType.get(), 0)], look)
            return [store(mine, state[0], place)]

        return for_loop(0, groups, [tensors.empty([groups], I64)], each)

    ordered = atomic([([groups], I64)], rank_groups)[0] if by_value else firsts

    def number_groups() -> list[ir.Value]:
        def each(i: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            lead = load(first_of.value, i)

            def look(g: ir.Value, found: list[ir.Value]) -> list[ir.Value]:
                hit = arith.cmpi(arith.CmpIPredicate.eq, load(ordered.value, g), lead)
                return [arith.select(hit, g, found[0])]

            zero = arith.constant(ir.IndexType.get(), 0)
            (group,) = for_loop(0, groups, [zero], look)
            total = arith.addi(load(state[1], group), scalars.constant(1, I64))
            return [
                store(arith.index_cast(I64.type, group), state[0], i),
                store(total, state[1], group),
            ]

        zeros = tensors.fill([groups], I64, 0).value
        return for_loop(0, count, [tensors.empty([count], I64), zeros], each)

    inverse, sizes = atomic([([count], I64), ([groups], I64)], number_groups)
    return ordered, inverse, sizes


@lowering("NonMaxSuppression")
def non_max_suppression(node: Node) -> Tensor:
    """Boxes kept greedily by score, those overlapping a kept one too much left out."""
    boxes, scores = node.tensor(0), node.tensor(1)
    e = boxes.element
    limit: Dim = node.items(2)[0] if node.has(2) else 0
    overlap = _threshold(node, 3, e, 0.0)
    lowest = _threshold(node, 4, e, None)
    batches, classes, count = scores.dims
    _, order = argsort(scores, 2, ordering(scores.element, descending=True, nan="last"))
    most = index.product([batches, classes, count])
    centred = bool(node.attr("center_point_box", 0))

    def select() -> list[ir.Value]:
        def at_class(b: ir.Value, c: ir.Value, kept: list[ir.Value]) -> list[ir.Value]:
            before = kept[0]

            def each(r: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
                total, chosen = state
                box = arith.index_cast(ir.IndexType.get(), load(order.value, b, c, r))
                taken = arith.subi(total, before)
                room = arith.cmpi(arith.CmpIPredicate.slt, taken, index.value(limit))
                if lowest is not None:
                    score = load(scores.value, b, c, box)
                    room = arith.andi(room, scalars.compare("gt", score, lowest, scores.element))

                def clear(k: ir.Value, free: list[ir.Value]) -> list[ir.Value]:
                    two = arith.constant(ir.IndexType.get(), 2)
                    other = arith.index_cast(ir.IndexType.get(), load(chosen, k, two))
                    ratio = _intersection_over_union(boxes, b, box, other, centred)
                    apart = scalars.compare("le", ratio, overlap, e)
                    return [arith.andi(free[0], apart)]

                (room,) = for_loop(before, total, [room], clear)

                def keep() -> list[ir.Value]:
                    made = chosen
                    for column, number in enumerate((b, c, box)):
                        made = store(arith.index_cast(I64.type, number), made, total, column)
                    return [arith.addi(total, arith.constant(ir.IndexType.get(), 1)), made]

                return branch(room, keep, [total, chosen])

            return for_loop(0, count, kept, each)

        zero = arith.constant(ir.IndexType.get(), 0)
        start = [zero, tensors.fill([most, 3], I64, 0).value]
        total, chosen = for_loop(
            0, batches, start,
            lambda b, kept: for_loop(0, classes, kept, lambda c, inner: at_class(b, c, inner)),
        )  # fmt: skip
        counted = tensors.from_elements([arith.index_cast(I64.type, total)], I64)
        return [chosen, counted.value]

    chosen, counted = atomic([([most, 3], I64), ([1], I64)], select)
    total = arith.index_cast(ir.IndexType.get(), tensors.scalar_at(counted, [0]))
    return tensors.extract_slice(chosen, [0, 0], [total, 3], [1, 1])


def _threshold(node: Node, position: int, e: ElementType, default: float | None) -> ir.Value | None:
    if not node.has(position):
        return None if default is None else scalars.constant(default, e)
    return tensors.scalar_at(tensors.reshape(node.tensor(position), ()), [])


def _intersection_over_union(
    boxes: Tensor, batch: ir.Value, first: ir.Value, second: ir.Value, centred: bool
) -> ir.Value:
    e = boxes.element
    half, zero = scalars.constant(0.5, e), scalars.constant(0.0, e)

    def corners(box: ir.Value) -> list[ir.Value]:
        a, b, c, d = (load(boxes.value, batch, box, i) for i in range(4))
        if centred:
            dx, dy = arith.mulf(c, half), arith.mulf(d, half)
            return [arith.subf(a, dx), arith.subf(b, dy), arith.addf(a, dx), arith.addf(b, dy)]
        return [
            arith.minimumf(a, c), arith.minimumf(b, d), arith.maximumf(a, c), arith.maximumf(b, d)
        ]  # fmt: skip

    p, q = corners(first), corners(second)

    def area(box: list[ir.Value]) -> ir.Value:
        return arith.mulf(arith.subf(box[2], box[0]), arith.subf(box[3], box[1]))

    low = [arith.maximumf(p[i], q[i]) for i in (0, 1)]
    high = [arith.minimumf(p[i], q[i]) for i in (2, 3)]
    sides = [arith.maximumf(arith.subf(h, v), zero) for h, v in zip(high, low, strict=True)]
    both = arith.mulf(*sides)
    union = arith.subf(arith.addf(area(p), area(q)), both)
    empty = scalars.compare("le", union, zero, e)
    return arith.select(empty, zero, arith.divf(both, union))
