"""Reading from and writing to computed positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, scalars, scatter, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import affine_map, generic, loop_index
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_tf.tflite.registry import Node, lowering


def position_of(scalar: ir.Value, size: Dim) -> ir.Value:
    """Inside a body: an integer element as a position, moved inside where it is out of bounds."""
    kind = ir.IndexType.get()
    place = arith.index_cast(kind, scalar)
    extent = arith.constant(kind, size) if isinstance(size, int) else size
    last = arith.subi(extent, arith.constant(kind, 1))
    return arith.maxsi(arith.minsi(place, last), arith.constant(kind, 0))


@lowering("GATHER")
def gather(node: Node) -> Tensor | Value:
    """Slices of input 0 along a dimension, at the positions of input 1."""
    value, places = node.value(0), node.value(1)
    axis = node.axis(node.option("Axis", 0), value.rank)
    batch = node.option("BatchDims", 0)
    batch = batch + places.rank if batch < 0 else batch
    items, wanted = value.tracked_items(), places.array()
    if items is not None and wanted is not None and value.rank == 1 and places.rank <= 1:
        picked = [items[int(i)] for i in wanted.reshape(-1)]
        return Value(items=picked, rank=places.rank, element=value.element)
    return gathered(node.tensor(0), node.tensor(1), axis, batch)


def gathered(x: Tensor, places: Tensor, axis: int, batch: int) -> Tensor:
    """Return ``x`` taken at ``places`` along ``axis``; the first ``batch`` dimensions agree."""
    tail = places.dims[batch:]
    dims = (*x.dims[:axis], *tail, *x.dims[axis + 1 :])
    rank = len(dims)

    def body(place: ir.Value, _: ir.Value) -> ir.Value:
        at = [loop_index(a) for a in range(axis)]
        at.append(position_of(place, x.dims[axis]))
        at += [loop_index(a + len(tail) - 1) for a in range(axis + 1, x.rank)]
        return tensor.extract(x.value, at)

    (result,) = generic(
        [places.value],
        [tensors.empty(dims, x.element)],
        [
            affine_map(rank, [*range(batch), *range(axis, axis + len(tail))]),
            affine_map(rank, list(range(rank))),
        ],
        [False] * rank,
        body,
    )
    return Tensor(result, dims, x.element)


@lowering("GATHER_ND")
def gather_nd(node: Node) -> Tensor:
    """Slices at positions in several dimensions."""
    batch = int(node.option("BatchDims", 0)) if hasattr(node.info.options, "BatchDims") else 0
    return scatter.gather_nd(node.tensor(0), node.tensor(1), batch, wrap=False)


@lowering("EMBEDDING_LOOKUP")
def embedding_lookup(node: Node) -> Tensor:
    """Rows of input 1 at the positions of input 0."""
    places, table = node.tensor(0), node.tensor(1)
    if node.element() != table.element:
        node.unsupported("tables of scaled integers are not supported")
    return gathered(table, places, 0, 0)


@lowering("SCATTER_ND")
def scatter_nd(node: Node) -> Tensor:
    """Updates added up in a tensor of zeros."""
    places, updates = node.tensor(0), node.tensor(1)
    dims = node.items(2)
    zeros = tensors.fill(dims, updates.element, 0)
    return scatter.scatter_nd(zeros, places, updates, "add", wrap=False)


def _by_segment(node: Node, count: Dim, initial: float, combine: Callable[..., ir.Value]) -> Tensor:
    data, segments = node.tensor(0), node.tensor(1)
    e = data.element
    lead = segments.rank
    dims = [count, *data.dims[lead:]]
    into = tensors.fill(dims, e, initial)

    def start(at: Sequence[ir.Value]) -> dict[int, ir.Value]:
        return {0: scatter.read_index(segments, list(at))}

    window = {lead + i: 1 + i for i in range(data.rank - lead)}
    return scatter.scatter(
        [into], [data], list(range(lead)), window, start,
        lambda old, new: [combine(old[0], new[0], e)],
    )[0]  # fmt: skip


@lowering("SEGMENT_SUM")
def segment_sum(node: Node) -> Tensor:
    """Sums of rows by segment; segments are sorted."""
    segments = node.array(1)
    if segments is not None:
        count: Dim = int(segments[-1]) + 1 if segments.size else 0
    else:
        places = node.tensor(1)
        last = tensors.scalar_at(places, [index.sub(places.dims[0], 1)])
        count = index.add(arith.index_cast(ir.IndexType.get(), last), 1)
    return _by_segment(node, count, 0, scalars.add)


_UNSORTED: dict[str, tuple[Callable, Callable]] = {
    "UNSORTED_SEGMENT_SUM": (scalars.add, lambda _: 0),
    "UNSORTED_SEGMENT_PROD": (scalars.mul, lambda _: 1),
    "UNSORTED_SEGMENT_MAX": (scalars.maximum, lambda e: _finite(e, -1)),
    "UNSORTED_SEGMENT_MIN": (scalars.minimum, lambda e: _finite(e, 1)),
}


def _finite(element: object, sign: int) -> float:
    import numpy as np

    from iree_core.lowering.element import ElementType

    assert isinstance(element, ElementType)
    if element.is_float:
        return sign * float(np.finfo(element.numpy).max)
    return (scalars.highest if sign > 0 else scalars.lowest)(element)


@lowering(*_UNSORTED)
def unsorted_segments(node: Node) -> Tensor:
    """Sum, product or extremum of rows by segment; empty segments hold the identity."""
    combine, initial = _UNSORTED[node.op]
    return _by_segment(node, node.items(2)[0], initial(node.element()), combine)


@lowering("SPARSE_TO_DENSE")
def sparse_to_dense(node: Node) -> Tensor:
    """Values written to positions in a tensor of a default value."""
    places, dims, values = node.tensor(0), node.items(1), node.tensor(2)
    default = tensors.scalar_at(tensors.reshape(node.tensor(3), ()), [])
    into = tensors.fill(dims, values.element, default)
    if places.rank == 0:
        places = tensors.reshape(places, [1, 1])
    elif places.rank == 1:
        places = tensors.expand_dims(places, [1])
    count = places.dims[0]
    from iree_core.lowering.structured import broadcast_to

    return scatter.scatter_nd(into, places, broadcast_to(values, [count]), wrap=False)
