"""Reads and writes at computed positions: GatherElements, GatherND, Scatter*, TensorScatter."""

from __future__ import annotations

from typing import cast

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, tensors
from iree_core.lowering.element import I64
from iree_core.lowering.scatter import (
    Reduction,
    combiner,
    gather_nd,
    read_index,
    scatter,
    scatter_elements,
    scatter_nd,
)
from iree_core.lowering.structured import affine_map, computed, convert, generic, loop_index
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.slicing import position_of
from iree_frontend_onnx.registry import Node, lowering


@lowering("GatherElements")
def gather_elements(node: Node) -> Tensor:
    """One element per index, at the index's own position but along the axis."""
    source, places = node.tensor(0), node.tensor(1)
    axis = node.axis(source.rank)
    dims = places.dims

    def body(place: ir.Value, _: ir.Value) -> ir.Value:
        at = [loop_index(a) for a in range(source.rank)]
        at[axis] = position_of(place, source.dims[axis])
        return tensor.extract(source.value, at)

    identity = affine_map(source.rank, list(range(source.rank)))
    (result,) = generic(
        [places.value],
        [tensors.empty(dims, source.element)],
        [identity, identity],
        [False] * source.rank,
        body,
    )
    return Tensor(result, dims, source.element)


@lowering("GatherND")
def gather_nd_node(node: Node) -> Tensor:
    """Slices at index vectors."""
    places = node.tensor(1)
    if not isinstance(places.dims[-1], int):
        node.unsupported("the length of the index vectors must be static")
    return gather_nd(node.tensor(0), places, node.attr("batch_dims", 0))


def _reduction(node: Node) -> Reduction:
    return cast(Reduction, node.attr("reduction", "none"))


@lowering("ScatterElements", "Scatter")
def scatter_elements_node(node: Node) -> Tensor:
    """Each update written (or joined in) where its index says along the axis."""
    data = node.tensor(0)
    axis = node.axis(data.rank)
    return scatter_elements(data, node.tensor(1), node.tensor(2), axis, _reduction(node))


@lowering("ScatterND")
def scatter_nd_node(node: Node) -> Tensor:
    """Slices of updates written (or joined in) at index vectors."""
    places = node.tensor(1)
    if not isinstance(places.dims[-1], int):
        node.unsupported("the length of the index vectors must be static")
    return scatter_nd(node.tensor(0), places, node.tensor(2), _reduction(node))


def scatter_flat(data: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    """Return 1-D ``data`` with ``updates`` written at flat ``places`` of the same shape."""

    def start(at: list[ir.Value]) -> dict[int, ir.Value]:
        return {0: read_index(places, at)}

    points = list(range(updates.rank))
    return scatter([data], [updates], points, {}, start, combiner("none", data))[0]  # type: ignore[arg-type]


@lowering("TensorScatter")
def tensor_scatter(node: Node) -> Tensor:
    """A KV cache updated at each batch entry's write position, optionally circular."""
    past, update = node.tensor(0), node.tensor(1)
    axis = node.axis(past.rank, -2)
    starts = convert(node.tensor(2), I64) if node.has(2) else None
    circular = node.attr("mode", "linear") == "circular"
    size = past.dims[axis]

    def start(at: list[ir.Value]) -> dict[int, ir.Value]:
        place = at[1]
        if starts is not None:
            place = arith.addi(place, read_index(starts, [at[0]]))
        if circular:
            place = arith.remsi(place, index.value(size))
        return {0: at[0], axis: place}

    window = {a: a for a in range(past.rank) if a not in (0, axis)}
    return scatter([past], [update], [0, axis], window, start, combiner("none", past))[0]  # type: ignore[arg-type]


@lowering("ReverseSequence")
def reverse_sequence(node: Node) -> Tensor:
    """The first ``length`` entries of each batch entry's sequence reversed."""
    x, lengths = node.tensor(0), node.tensor(1)
    batch, time = node.attr("batch_axis", 1), node.attr("time_axis", 0)

    def body(*places: ir.Value) -> ir.Value:
        count = read_index(lengths, [places[batch]])
        here = places[time]
        mirrored = arith.subi(arith.subi(count, here), arith.constant(ir.IndexType.get(), 1))
        inside = arith.cmpi(arith.CmpIPredicate.slt, here, count)
        at = list(places)
        at[time] = arith.select(inside, mirrored, here)
        return tensor.extract(x.value, at)

    return computed(x.dims, [x.element], body)[0]
