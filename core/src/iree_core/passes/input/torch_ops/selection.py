"""Selection by a condition: results whose size depends on data."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars, sort
from iree_core.lowering.element import I64
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, atomic, branch, for_loop, load, nest, store
from iree_core.lowering.structured import (
    broadcast_dims,
    broadcast_to,
    computed,
    elementwise,
    reduce,
)
from iree_core.lowering.tensors import (
    Tensor,
    collapse,
    empty,
    expand_dims,
    fill,
    reshape,
    scalar_at,
)
from iree_core.passes.input.torch_ops.registry import Declined, Node, register


@register("aten.nonzero")
def nonzero(node: Node) -> Tensor:
    """``nonzero(x)``: the positions of elements that are not zero, row by row [n, rank]."""
    source = node.tensor(0)
    rank = source.rank
    dims: list[Dim] = [_count(source), rank]

    def cell(at: list[ir.Value], state: list[ir.Value]) -> Values:
        def write() -> Values:
            positions, place = state
            for axis, position in enumerate(at):
                number = arith.index_cast(I64.type, position)
                positions = store(number, positions, place, axis)
            return [positions, index.value(index.add(place, 1))]

        return branch(_differs(load(source.value, *at), source), write, state)

    def build() -> Values:
        return nest(source.dims, [empty(dims, I64), index.value(0)], cell)[:1]

    return atomic([(dims, I64)], build)[0]


def _differs(value: ir.Value, source: Tensor) -> ir.Value:
    zero = scalars.constant(0, source.element)
    return scalars.compare("ne", value, zero, source.element)


def _count(source: Tensor) -> ir.Value:
    """Return how many elements are not zero, read by the host."""

    def flag(value: ir.Value, *total: ir.Value) -> ir.Value:
        counted = arith.extui(I64.type, _differs(value, source))
        return arith.addi(total[0], counted) if total else counted

    if not source.rank:
        return _read(elementwise([source], I64, flag))
    return _read(reduce([source], list(range(source.rank)), 0, I64, flag))


def _read(number: Tensor) -> ir.Value:
    return arith.index_cast(ir.IndexType.get(), scalar_at(number, []))


@register("aten.masked_select")
def masked_select(node: Node) -> Tensor:
    """``masked_select(x, mask)``: the elements that the mask takes, in order [n]."""
    source, mask = node.tensor(0), node.tensor(1)
    dims = broadcast_dims([source.dims, mask.dims])
    source, mask = broadcast_to(source, dims), broadcast_to(mask, dims)
    length: list[Dim] = [_count(mask)]

    def cell(at: list[ir.Value], state: list[ir.Value]) -> Values:
        def write() -> Values:
            taken, place = state
            taken = store(load(source.value, *at), taken, place)
            return [taken, index.value(index.add(place, 1))]

        return branch(_differs(load(mask.value, *at), mask), write, state)

    def build() -> Values:
        return nest(dims, [empty(length, source.element), index.value(0)], cell)[:1]

    return atomic([(length, source.element)], build)[0]


@register("aten._unique2")
def unique(node: Node) -> list[Tensor]:
    """``_unique2(x, sorted, return_inverse, return_counts)``: distinct elements in order."""
    source = node.tensor(0)
    flat = collapse(source, [list(range(source.rank))]) if source.rank else expand_dims(source, [0])
    before = sort.ordering(source.element, nan="last")
    ordered, order = sort.argsort(flat, 0, before, I64)
    found = _runs(ordered, order)
    return _asked_for(node, source, found, 2)


@register("aten.unique_consecutive")
def unique_consecutive(node: Node) -> list[Tensor]:
    """``unique_consecutive(x, return_inverse, return_counts, dim)`` for no dimension."""
    source = node.tensor(0)
    if not node.is_none(3):
        raise Declined
    flat = collapse(source, [list(range(source.rank))]) if source.rank else expand_dims(source, [0])
    return _asked_for(node, source, _runs(flat, None), 1)


def _asked_for(node: Node, source: Tensor, found: list[Tensor], first: int) -> list[Tensor]:
    values, inverse, counts = found
    nothing = fill([0], I64, 0)
    back = reshape(inverse, source.dims)
    return [
        values,
        back if node.integer(first) else nothing,
        counts if node.integer(first + 1) else nothing,
    ]


def _runs(items: Tensor, order: Tensor | None) -> list[Tensor]:
    """Return the first of every run of equal items, the number of each item's run and the runs'
    lengths; the numbers are put where ``order`` says that the items come from."""
    length, element = items.dims[0], items.element

    def starts(i: ir.Value) -> ir.Value:
        first = index.compare(arith.CmpIPredicate.eq, i, 0)
        previous = index.maximum(index.sub(i, 1), 0)
        item, other = load(items.value, i), load(items.value, previous)
        return arith.ori(first, scalars.compare("ne", item, other, element))

    flags = computed([length], [I64], lambda i: arith.extui(I64.type, starts(i)))
    count = _read(reduce(flags, [0], 0, I64, lambda flag, total: arith.addi(flag, total)))

    def cell(i: ir.Value, state: list[ir.Value]) -> Values:
        values, inverse, counts, run = state
        begins = starts(i)
        run = index.value(index.add(run, index.select(begins, 1, 0)))
        zero, one = scalars.constant(0, I64), scalars.constant(1, I64)
        so_far = arith.select(begins, zero, load(counts, run))
        values = store(load(items.value, i), values, run)
        counts = store(arith.addi(so_far, one), counts, run)
        place = i if order is None else arith.index_cast(ir.IndexType.get(), load(order.value, i))
        inverse = store(arith.index_cast(I64.type, run), inverse, place)
        return [values, inverse, counts, run]

    def build() -> Values:
        start = [empty([count], element), empty([length], I64), empty([count], I64)]
        return for_loop(0, length, [*start, index.value(index.sub(0, 1))], cell)[:3]

    return atomic([([count], element), ([length], I64), ([count], I64)], build)
