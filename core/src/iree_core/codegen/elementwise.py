"""The schedule for everything that is computed element by element.

Rows of the innermost dimension become vectors; the other dimensions and chunks of long rows
become work items. Small reductions (pooling windows) are computed in place by plain loops. It
handles whatever has a pull form, so it is also the general vectorised schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.codegen.dispatch import Dispatch, Size, as_expr
from iree_core.codegen.frame import Frame, item_grain, make_kernel
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.codegen.traits import (
    body_operations,
    generics,
    has_complex,
    reductions,
    result_positions,
    total_cost,
    widest_bits,
)
from iree_core.expr import Expr, const
from iree_core.ir import ir

# Elements per work item: long enough to amortise its setup, short enough to balance.
_CHUNK = 4096
_ROW_UNKNOWN = 256

Store = Callable[[Scalar, Lane | None], list[ir.Value]]
"""Computes and stores the results from one place of a row on; carries nothing."""


def build_elementwise(dispatch: Dispatch, cpu: CpuModel) -> Kernel:
    """Schedule a dispatch whose results all have the same sizes.

    Raises:
        NotScheduled: results differ in shape, or an operation has no pull form.
    """
    sizes = dispatch.result_sizes[0]
    if any(other != sizes for other in dispatch.result_sizes):
        raise NotScheduled("results of different shapes")
    merged = _mergeable(dispatch, len(sizes))
    outer = sizes[: len(sizes) - merged]
    inner = sizes[len(sizes) - merged :]
    row = _product(inner)
    width = 1 if has_complex(dispatch) else cpu.lanes(widest_bits(dispatch))
    if row.op == "const" and row.value < width:
        width = _shrink(width, row.value)
    grid = _product(outer) * row.ceildiv(_CHUNK)
    length = min(row.value, _CHUNK) if row.op == "const" else _ROW_UNKNOWN
    grain = item_grain(max(1, length), _weight(dispatch))

    def fill(frame: Frame) -> None:
        _emit(frame, dispatch, len(outer), merged, width)

    return make_kernel(dispatch, "elementwise", grid, fill, grain=grain)


def _emit(frame: Frame, dispatch: Dispatch, outer_rank: int, merged: int, width: int) -> None:
    builder, evaluator = frame.builder, frame.evaluator
    shape = frame.outputs[0].shape
    row = builder.product(shape[outer_rank:])
    chunks = builder.ceildiv(row, _CHUNK)
    leading: list[Scalar] = [0] * (merged - 1)

    def store(outer: Sequence[Scalar], at: Scalar, lane: Lane | None) -> list[ir.Value]:
        last = [Index(at, 1 if lane else 0)] if merged else []
        position = [Index(i) for i in (*outer, *leading)] + last
        with evaluator.scope():
            values = [evaluator.value(t, position, lane) for t in dispatch.results]
            for buffer, value in zip(frame.outputs, values, strict=True):
                builder.store(buffer, position, value, lane)
        return []

    def item(number: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
        *outer, chunk = builder.delinearize(number, [*shape[:outer_rank], chunks])
        start = builder.mul(chunk, _CHUNK)
        stop = builder.min(row, builder.add(start, _CHUNK)) if chunks != 1 else row
        with evaluator.scope():
            _emit_row(frame, start, stop, width, lambda at, lane: store(outer, at, lane))
        return []

    builder.loop(frame.begin, frame.end, 1, item)


def _emit_row(frame: Frame, start: Scalar, stop: Scalar, width: int, store: Store) -> None:
    builder = frame.builder
    if width == 1:
        builder.loop(start, stop, 1, lambda i, _: store(i, None))
        return
    length = builder.sub(stop, start)
    full = builder.add(start, builder.mul(builder.div(length, width), width))
    builder.loop(start, full, width, lambda i, _: store(i, Lane(width)))
    if isinstance(length, int) and length % width == 0:
        return

    def tail(i: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
        mask = builder.tail_mask(width, builder.sub(stop, i))
        return store(i, Lane(width, mask))

    builder.loop(full, stop, width, tail)


def _mergeable(dispatch: Dispatch, rank: int) -> int:
    """Return how many trailing dimensions can be walked as one (at least 1, 0 for rank 0).

    They can where every operand either has all of them, in order and densely, or none.
    """
    if rank <= 1:
        return rank
    for op in dispatch.operations:
        name = op.operation.name
        if name in ("linalg.generic", "tensor.empty", "linalg.fill", "arith.constant"):
            continue
        if any(isinstance(r.type, ir.RankedTensorType) for r in op.results):
            return 1
    best = rank
    for op in generics(dispatch):
        best = min(best, _mergeable_in(op, rank))
    return best if not reductions(dispatch) else 1


def _mergeable_in(op: ir.OpView, rank: int) -> int:
    names = set(body_operations(op))
    if "linalg.index" in names or "tensor.extract" in names:
        return 1
    maps = [a.value for a in op.indexing_maps]
    count = len(list(op.inputs))
    if maps[0].n_dims != rank or any(
        result_positions(m) != list(range(rank)) for m in maps[count:]
    ):
        return 1
    for merged in range(rank, 1, -1):
        tail = list(range(rank - merged, rank))
        if all(_has_all_or_none(o, m, tail) for o, m in zip(op.inputs, maps, strict=False)):
            return merged
    return 1


def _has_all_or_none(operand: ir.Value, map_: ir.AffineMap, tail: list[int]) -> bool:
    if not isinstance(operand.type, ir.RankedTensorType):
        return True
    positions = result_positions(map_)
    if None in positions:
        return False
    if not set(positions) & set(tail):
        return True
    return positions[-len(tail) :] == tail and operand.type.encoding is None


def _product(sizes: Sequence[Size]) -> Expr:
    result = const(1)
    for size in sizes:
        result = result * as_expr(size)
    return result


def _shrink(width: int, row: int) -> int:
    while width > 1 and width >= 2 * row:
        width //= 2
    return width


def _weight(dispatch: Dispatch) -> float:
    window = 1
    for op in reductions(dispatch):
        for size in op.inputs[0].type.shape[-2:]:
            window *= size if 0 < size < 64 else 8
    return total_cost(dispatch) * window / 2
