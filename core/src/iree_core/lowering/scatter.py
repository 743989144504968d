"""Writing to, and reading from, computed positions.

Updates are applied one after the other in row-major order, so that results are defined where
positions repeat. Positions out of bounds are skipped on writing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from iree_core.ir import arith, ir, linalg
from iree_core.lowering import index, scalars
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, atomic, branch, load, nest, store
from iree_core.lowering.structured import computed
from iree_core.lowering.tensors import Tensor, empty

Combine = Callable[[Values, Values], Values]
"""Joins (scalars there, scalars of the update) into the scalars to write."""

Reduction = Literal["none", "add", "mul", "max", "min"]


def read_index(indices: Tensor, position: Sequence[Dim]) -> ir.Value:
    """Return one element of an integer tensor as a value of type ``index``."""
    cast = arith.index_castui if indices.element.is_unsigned else arith.index_cast
    return cast(ir.IndexType.get(), load(indices.value, *position))


def combiner(reduction: Reduction, target: Tensor) -> Combine:
    """Return how one operand's elements are joined with updates."""
    element = target.element
    join = {
        "add": scalars.add, "mul": scalars.mul, "max": scalars.maximum, "min": scalars.minimum,
    }.get(reduction)  # fmt: skip
    if join is None:
        return lambda old, new: [new[0]]
    return lambda old, new: [join(old[0], new[0], element)]


def scatter(
    inputs: Sequence[Tensor],
    updates: Sequence[Tensor],
    points: Sequence[int],
    window: Mapping[int, int],
    start: Callable[[Sequence[ir.Value]], Mapping[int, ir.Value]],
    combine: Combine,
) -> list[Tensor]:
    """Return ``inputs`` with windows of ``updates`` joined in.

    Args:
        inputs: tensors of equal sizes.
        updates: one per input, all of equal sizes.
        points: dimensions of the updates of which each position is one window.
        window: dimension of the inputs by dimension of the updates, for all others.
        start: emits, for the position along ``points``, where the window begins: an index by
            dimension of the inputs; those not named begin at 0.
        combine: see :data:`Combine`.

    Elements that fall outside of the inputs are skipped (StableHLO specification, scatter).
    """
    sizes = inputs[0].dims
    extents = updates[0].dims
    inner = list(window)

    def element(at: Mapping[int, Dim], tensors: Values, place: list[Dim]) -> Values:
        position = [at[d] for d in range(updates[0].rank)]
        old = [load(t, *place) for t in tensors]
        new = [load(u.value, *position) for u in updates]
        joined = combine(old, new)
        return [store(s, t, *place) for s, t in zip(joined, tensors, strict=True)]

    def point(at_point: list[ir.Value], tensors: list[ir.Value]) -> Values:
        origin = start(at_point)
        partial = [d for d in origin if d in window.values()]
        whole = [d for d in origin if d not in window.values()]

        def cell(at_window: list[ir.Value], carried: list[ir.Value]) -> Values:
            at = dict(zip([*points, *inner], [*at_point, *at_window], strict=True))
            place: list[Dim] = [origin.get(d, 0) for d in range(inputs[0].rank)]
            for dim, there in window.items():
                place[there] = index.add(place[there], at[dim])
            inside = _inside([(place[d], sizes[d]) for d in partial])
            if inside is None:
                return element(at, carried, place)
            return branch(inside, lambda: element(at, carried, place), carried)

        def cells() -> Values:
            return nest([extents[d] for d in inner], tensors, cell)

        inside = _inside([(origin[d], sizes[d]) for d in whole])
        return cells() if inside is None else branch(inside, cells, tensors)

    def build() -> Values:
        into = [linalg.copy(i.value, outs=[empty(i.dims, i.element)]) for i in inputs]
        return nest([extents[d] for d in points], into, point)

    return atomic([(i.dims, i.element) for i in inputs], build)


def _inside(checks: Sequence[tuple[Dim, Dim]]) -> ir.Value | None:
    """Return an i1: every position is at least 0 and below its size; None without positions."""
    result: ir.Value | None = None
    for position, size in checks:
        # One unsigned comparison also catches negative positions.
        inside = index.compare(arith.CmpIPredicate.ult, position, size)
        result = inside if result is None else arith.andi(result, inside)
    return result


def scatter_nd(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    reduction: Reduction = "none",
    *,
    wrap: bool = True,
) -> Tensor:
    """Return ``data`` with ``updates`` joined in at ``indices`` (ONNX ScatterND).

    Args:
        data: [d0, ...].
        indices: [..., k]; each row is a position in the first k dimensions of ``data``.
        updates: [..., dk, ...].
        wrap: negative indices count from the end.
    """
    depth = _static(indices.dims[-1])
    lead = indices.rank - 1

    def start(at: Sequence[ir.Value]) -> dict[int, ir.Value]:
        return {
            d: _wrapped(read_index(indices, [*at, d]), data.dims[d], wrap) for d in range(depth)
        }

    window = {lead + i: depth + i for i in range(data.rank - depth)}
    combine = combiner(reduction, data)
    return scatter([data], [updates], list(range(lead)), window, start, combine)[0]


def scatter_elements(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int,
    reduction: Reduction = "none",
    *,
    wrap: bool = True,
) -> Tensor:
    """Return ``data`` with each update joined in where ``indices``, of its shape, says along
    ``axis`` (ONNX ScatterElements)."""
    axis %= data.rank

    def start(at: Sequence[ir.Value]) -> dict[int, ir.Value]:
        places = dict(enumerate(at))
        places[axis] = _wrapped(read_index(indices, at), data.dims[axis], wrap)
        return places

    combine = combiner(reduction, data)
    return scatter([data], [updates], list(range(data.rank)), {}, start, combine)[0]


def gather_nd(data: Tensor, indices: Tensor, batch_dims: int = 0, *, wrap: bool = True) -> Tensor:
    """Return slices of ``data`` at ``indices`` (ONNX GatherND).

    Args:
        data: [b0, ..., d0, d1, ...].
        indices: [b0, ..., i0, ..., k]; positions in the first k dimensions after the batch.
        wrap: negative indices count from the end.

    Positions out of bounds are clamped, so that no memory outside of ``data`` is read.
    """
    depth = _static(indices.dims[-1])
    lead = indices.rank - 1
    dims = [*indices.dims[:-1], *data.dims[batch_dims + depth :]]

    def body(*at: ir.Value) -> ir.Value:
        place: list[Dim] = list(at[:batch_dims])
        for d in range(depth):
            size = data.dims[batch_dims + d]
            found = _wrapped(read_index(indices, [*at[:lead], d]), size, wrap)
            place.append(index.maximum(index.minimum(found, index.sub(size, 1)), 0))
        return load(data.value, *place, *at[lead:])

    return computed(dims, [data.element], body)[0]


def _wrapped(position: ir.Value, size: Dim, wrap: bool) -> ir.Value:
    return index.value(index.wrap_negative(position, size)) if wrap else position


def _static(dim: Dim) -> int:
    if not isinstance(dim, int):
        raise TypeError("the length of index vectors must be known while compiling")
    return dim
