"""Sorting, selection by rank, searching, running extrema."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars, sort
from iree_core.lowering.element import I64
from iree_core.lowering.loops import Values, atomic, for_loop, load, map_rows, store
from iree_core.lowering.tensors import Tensor, extract_slice, squeeze
from iree_core.passes.input.torch_ops.registry import Declined, Node, register


def _ordering(source: Tensor, *, descending: bool) -> sort.Before:
    """Return torch's order: NaN is greater than any number."""
    nan: sort.NanOrder = "first" if descending else "last"
    return sort.ordering(source.element, descending=descending, nan=nan)


@register("aten.sort", "aten.sort.stable")
def sorted_(node: Node) -> list[Tensor]:
    """``sort(x, dim, descending)`` and ``sort.stable(x, stable, dim, descending)``."""
    dim, descending = (1, 2) if len(node.op.operands) == 3 else (2, 3)
    source = node.tensor(0)
    if not source.rank:
        raise Declined
    before = _ordering(source, descending=bool(node.integer(descending)))
    return list(sort.argsort(source, node.integer(dim), before, I64))


@register("aten.kthvalue")
def kth_value(node: Node) -> list[Tensor]:
    """``kthvalue(x, k, dim, keepdim)``: of equal elements, the position of the earliest."""
    source = node.tensor(0)
    return _ranked(node, source, node.integer(1) - 1, node.integer(2), node.integer(3))


@register("aten.median.dim", "aten.nanmedian.dim")
def median(node: Node) -> list[Tensor]:
    """``median(x, dim, keepdim)``: the lower of two middle elements; NaN where there is one."""
    source = node.tensor(0)
    if source.element.is_float:
        raise Declined  # where NaNs decide, the decomposition on the torch side is used
    length = source.dims[node.integer(1) % source.rank] if source.rank else 0
    if not isinstance(length, int) or not length:
        raise Declined
    return _ranked(node, source, (length - 1) // 2, node.integer(1), node.integer(2))


def _ranked(node: Node, source: Tensor, rank: int, dim: int, keep: int) -> list[Tensor]:
    if not source.rank:
        raise Declined
    axis = dim % source.rank
    pair = sort.argsort(source, axis, _ordering(source, descending=False), I64)
    sizes = [1 if d == axis else n for d, n in enumerate(source.dims)]
    offsets = [rank if d == axis else 0 for d in range(source.rank)]
    taken = [extract_slice(part, offsets, sizes, [1] * source.rank) for part in pair]
    return taken if keep else [squeeze(part, [axis]) for part in taken]


@register("aten.cummax")
def running_maximum(node: Node) -> list[Tensor]:
    """``cummax(x, dim)``: of equal elements the position of the latest; NaN stays."""
    return _running_extremum(node, "ge")


@register("aten.cummin")
def running_minimum(node: Node) -> list[Tensor]:
    """``cummin(x, dim)``, like :func:`running_maximum`."""
    return _running_extremum(node, "le")


def _running_extremum(node: Node, name: str) -> list[Tensor]:
    source = node.tensor(0)
    if not source.rank:
        raise Declined
    axis = node.integer(1) % source.rank
    length, element = source.dims[axis], source.element

    def row(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        def step(i: ir.Value, state: list[ir.Value]) -> Values:
            best, place, values, places = state
            item = load(inputs[0], i)
            here = arith.index_cast(I64.type, i)
            better = scalars.compare(name, item, best, element)
            better = arith.ori(better, index.compare(arith.CmpIPredicate.eq, i, 0))
            if element.is_float:
                better = arith.ori(better, scalars.is_nan(item))
            best, place = arith.select(better, item, best), arith.select(better, here, place)
            return [best, place, store(best, values, i), store(place, places, i)]

        start = [scalars.constant(0, element), scalars.constant(0, I64), *into]
        return for_loop(0, length, start, step)[2:]

    return atomic(
        [(source.dims, element), (source.dims, I64)],
        lambda: map_rows(axis, [source], [(length, element), (length, I64)], row),
    )
