"""The schedule for results whose innermost dimension is strided in the operand they read.

Reading such an operand along the result's rows would gather one element per lane. Instead a
square tile is evaluated in whole vectors along the operand's contiguous dimension, transposed in
registers and stored in whole vectors along the result's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.codegen.dispatch import Dispatch, as_expr
from iree_core.codegen.frame import Frame, item_grain, make_kernel
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.codegen.trace import trace_dims
from iree_core.codegen.traits import (
    body_operations,
    generics,
    has_complex,
    reductions,
    total_cost,
    widest_bits,
)
from iree_core.expr import const
from iree_core.ir import ir, vector

_UNKNOWN = 64
_LARGEST_TILE = 16


def build_transposition(dispatch: Dispatch, cpu: CpuModel) -> Kernel:
    """Schedule an elementwise dispatch by register transpositions.

    Raises:
        NotScheduled: the result is not read mostly along a strided dimension.
    """
    if len(dispatch.results) != 1 or reductions(dispatch) or has_complex(dispatch):
        raise NotScheduled("not one elementwise result")
    if any("tensor.extract" in body_operations(op) for op in generics(dispatch)):
        raise NotScheduled("read at computed places")
    result, sizes = dispatch.results[0], dispatch.result_sizes[0]
    across = _contiguous_dim(dispatch, result)
    rank = len(sizes)
    if across is None or across == rank - 1:
        raise NotScheduled("read along its rows")
    width = min(_LARGEST_TILE, cpu.lanes(widest_bits(dispatch)))
    if any(isinstance(n, int) and n < width for n in (sizes[across], sizes[-1])):
        raise NotScheduled("too small for square tiles")
    outer = [d for d in range(rank) if d not in (across, rank - 1)]
    grid = as_expr(sizes[across]).ceildiv(width)
    for dim in outer:
        grid = grid * as_expr(sizes[dim])
    row = sizes[-1] if isinstance(sizes[-1], int) else _UNKNOWN
    grain = item_grain(row * width, total_cost(dispatch))

    def fill(frame: Frame) -> None:
        _emit(frame, dispatch, across, outer, width)

    return make_kernel(dispatch, "transposition", grid, fill, scratch=const(0), grain=grain)


def _emit(frame: Frame, dispatch: Dispatch, across: int, outer: Sequence[int], width: int) -> None:
    builder, evaluator, buffer = frame.builder, frame.evaluator, frame.outputs[0]
    shape = buffer.shape
    result = dispatch.results[0]
    last = len(shape) - 1
    element = result.type.element_type
    square = ir.VectorType.get([width, width], element)
    blocks = builder.ceildiv(shape[across], width)

    def tile(
        position: list[Index],
        start: Scalar,
        at: Scalar,
        rows: int,
        mask: ir.Value | None,
        columns_mask: ir.Value | None,
    ) -> None:
        """Transpose ``width`` columns from ``start`` of ``rows`` rows from ``at``."""
        read = Lane(width, mask)
        held = evaluator.builder.splat(builder.constant(element, 0), width)
        total = vector.BroadcastOp(square, held).result
        for number in range(rows):
            position[across] = Index(start, 1)
            position[last] = Index(builder.add(at, number))
            with evaluator.scope():
                value = builder.splat(evaluator.value(result, position, read), width)
            total = vector.InsertOp(value, total, [], [number]).result
        turned = vector.TransposeOp(square, total, [1, 0]).result
        for number in range(width):
            position[across] = Index(builder.add(start, number))
            position[last] = Index(at, 1)
            line = vector.ExtractOp(turned, [], [number]).result
            lane = Lane(width, columns_mask)
            if mask is None:
                builder.store(buffer, position, line, lane)
            else:
                _store_inside(number, line, position, lane)

    def _store_inside(number: int, line: ir.Value, position: list[Index], lane: Lane) -> None:
        at = list(position)
        inside = builder.compare("slt", at[across].base, shape[across])

        def store() -> list[ir.Value]:
            builder.store(buffer, at, line, lane)
            return []

        builder.select_branch(inside, [], store, list)

    def strip(position: list[Index], start: Scalar, mask: ir.Value | None) -> None:
        size = shape[last]
        whole = builder.mul(builder.div(size, width), width)

        def full(at: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
            tile(position, start, at, width, mask, None)
            return []

        builder.loop(0, whole, width, full)
        left = builder.sub(size, whole)
        if isinstance(left, int):
            if left:
                tile(position, start, whole, left, mask, builder.tail_mask(width, left))
            return

        def single(at: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
            tile(position, start, at, 1, mask, builder.tail_mask(width, 1))
            return []

        builder.loop(whole, size, 1, single)

    def item(number: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
        *places, block = builder.delinearize(number, [*(shape[d] for d in outer), blocks])
        position = [Index(0)] * len(shape)
        for dim, place in zip(outer, places, strict=True):
            position[dim] = Index(place)
        start = builder.mul(block, width)
        if isinstance(shape[across], int) and shape[across] % width == 0:
            strip(position, start, None)
            return []
        left = builder.sub(shape[across], start)

        def whole() -> list[ir.Value]:
            strip(list(position), start, None)
            return []

        def partial() -> list[ir.Value]:
            strip(list(position), start, builder.tail_mask(width, left))
            return []

        builder.select_branch(builder.compare("sge", left, width), [], whole, partial)
        return []

    builder.loop(frame.begin, frame.end, 1, item)


def _contiguous_dim(dispatch: Dispatch, result: ir.Value) -> int | None:
    """Return the result's dimension that is innermost in the operand with most elements."""
    best: tuple[int, int | None] = (0, None)
    for tensor in dispatch.tensors:
        dims = trace_dims(result, {tensor})
        if not dims or tensor.type.encoding is not None:
            continue
        weight = prod(s if s > 0 else _UNKNOWN for s in tensor.type.shape)
        if weight > best[0]:
            best = (weight, dims[-1])
    return best[1]
