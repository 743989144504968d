"""Which loops of a dispatch run over rows, and what is computed once per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.dispatch import Dispatch, Size
from iree_core.codegen.reduction import combiners, reduction_dims
from iree_core.codegen.trace import trace_dims
from iree_core.codegen.traits import has_complex, reductions, result_positions
from iree_core.ir import ir


@dataclass(frozen=True)
class RowPlan:
    """How the rows of a dispatch lie.

    Attributes:
        stages: the reductions, in order.
        rows: sizes of the outer dimensions.
        result_rows: for each result, which of its dimensions is each row dimension (None where
            that row dimension has size one and the result lacks it).
        along: lanes run along the reduced dimension.
    """

    stages: list[ir.OpView]
    rows: tuple[Size, ...]
    result_rows: list[list[int | None]]
    along: bool


def plan_rows(dispatch: Dispatch) -> RowPlan:
    """Return how the reductions of a dispatch share their rows.

    Raises:
        NotScheduled: they do not, or the results cannot be computed row by row.
    """
    stages = reductions(dispatch)
    if not stages:
        raise NotScheduled("no reduction")
    if has_complex(dispatch):
        raise NotScheduled("complex numbers have no vector form")
    first = stages[0]
    rows = row_loops(first)
    along = _contiguous(first)
    if not along and not rows:
        raise NotScheduled("a strided reduction to a single element")
    if along and any(combiners(op) is None for op in stages):
        raise NotScheduled("a reduction whose combination is not known")
    result_rows = []
    for result in dispatch.results:
        dims = _rows_behind(first, result)
        if dims is None:
            dims = _rows_ahead(first, result)
        if dims is None:
            raise NotScheduled("a result that is not computed row by row")
        result_rows.append(dims)
    sizes = _loop_sizes(dispatch, first, rows)
    for dims, shape in zip(result_rows, dispatch.result_sizes, strict=True):
        for dim, size in zip(dims, sizes, strict=True):
            if dim is None and size != 1:
                raise NotScheduled("a result that lacks an outer dimension of its reduction")
            if dim is not None and shape[dim] != size:
                raise NotScheduled("a result whose rows differ from the reduction's")
    if not along and any(dims[-1] is None for dims in result_rows):
        raise NotScheduled("lanes along a dimension that a result lacks")
    return RowPlan(stages, sizes, result_rows, along)


def _rows_behind(first: ir.OpView, result: ir.Value) -> list[int | None] | None:
    """Return which dimensions of a result computed from ``first`` are its row loops."""
    found = trace_dims(result, set(first.results))
    if found is None:
        return None
    written = result_positions(_result_map(first))
    return [d for d, loop in zip(found, written, strict=True) if loop is not None]


def _rows_ahead(first: ir.OpView, result: ir.Value) -> list[int | None] | None:
    """Return which dimensions of a result that ``first`` reads are the row loops of ``first``."""
    maps = [a.value for a in first.indexing_maps]
    for operand, map_ in zip(first.inputs, maps, strict=False):
        found = trace_dims(operand, {result})
        if found is None:
            continue
        loops = result_positions(map_)
        dims = {loops[d]: dim for dim, d in enumerate(found) if d is not None}
        return [dims.get(loop) for loop in row_loops(first)]
    return None


def _loop_sizes(dispatch: Dispatch, op: ir.OpView, rows: Sequence[int]) -> tuple[Size, ...]:
    sizes: dict[int, Size] = {}
    maps = [a.value for a in op.indexing_maps]
    for operand, map_ in zip([*op.inputs, *op.outputs], maps, strict=True):
        for dim, loop in enumerate(result_positions(map_)):
            if loop is None or (loop in sizes and isinstance(sizes[loop], int)):
                continue
            if not operand.type.is_dynamic_dim(dim):
                sizes[loop] = operand.type.shape[dim]
            elif operand in dispatch.tensors:
                sizes[loop] = dispatch.argument_sizes[dispatch.tensors.index(operand)][dim]
            else:
                found = size_of(dispatch, operand, dim)
                if found is not None:
                    sizes[loop] = found
    if any(d not in sizes for d in rows):
        raise NotScheduled("rows whose number is not a scalar operand")
    return tuple(sizes[d] for d in rows)


def size_of(dispatch: Dispatch, tensor: ir.Value, dim: int) -> Size | None:
    """Return a dynamic size of an intermediate tensor, from the tensor.empty it starts from."""
    if tensor in dispatch.tensors:
        return dispatch.argument_sizes[dispatch.tensors.index(tensor)][dim]
    owner = tensor.owner
    name = owner.operation.name
    if name == "linalg.fill":
        return size_of(dispatch, owner.operands[1], dim)
    if name == "linalg.generic":
        return size_of(dispatch, list(owner.outputs)[list(owner.results).index(tensor)], dim)
    if name == "tensor.empty":
        before = sum(tensor.type.is_dynamic_dim(d) for d in range(dim))
        return dispatch.expression(owner.operands[before])
    return None


def row_loops(op: ir.OpView) -> list[int]:
    """Return the parallel loops of a reduction in the order its result has them."""
    return [d for d in result_positions(_result_map(op)) if d is not None]


def _result_map(op: ir.OpView) -> ir.AffineMap:
    return list(op.indexing_maps)[len(list(op.inputs))].value


def _contiguous(op: ir.OpView) -> bool:
    """Whether the innermost dimension of the largest operand is a reduced one."""
    maps = [a.value for a in op.indexing_maps]
    best = max(zip(op.inputs, maps, strict=False), key=lambda pair: pair[0].type.rank, default=None)
    if best is None or not best[1].results:
        return True
    last = best[1].results[-1]
    if isinstance(last, ir.AffineDimExpr):
        return last.position in reduction_dims(op)
    return False
