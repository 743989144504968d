"""The schedule for reductions over rows: softmax, normalisations, means, sums, maxima.

Every reduction of the dispatch shares the same outer dimensions; one work item is one row (or
one vector of rows). Inside it the reductions and the elementwise code between them run one
after the other over data that stays in the first-level cache. Lanes run along the reduced
dimension where that is contiguous in memory, else along the innermost outer dimension, so that
either way memory is read in whole vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from iree_core.codegen.builder import Buffer, Index, Lane, NotScheduled, Scalar, element_bits
from iree_core.codegen.dispatch import Dispatch, Size, as_expr
from iree_core.codegen.evaluate import Supplier
from iree_core.codegen.frame import Frame, item_grain, make_kernel
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.codegen.reduction import (
    emit_along_lanes,
    emit_inline,
    reduction_dims,
)
from iree_core.codegen.row_plan import RowPlan, plan_rows, row_loops, size_of
from iree_core.codegen.traits import (
    generics,
    is_expensive,
    result_positions,
    total_cost,
    widest_bits,
)
from iree_core.expr import Expr, const
from iree_core.ir import ir, memref

_ROW_UNKNOWN = 256
_UNROLL = 4
_LEAST_BLOCKS = 8


def build_rows(dispatch: Dispatch, cpu: CpuModel) -> Kernel:
    """Schedule a dispatch of reductions over common rows and what surrounds them.

    Raises:
        NotScheduled: the reductions do not share their outer dimensions, or the results cannot
            be computed row by row.
    """
    plan = plan_rows(dispatch)
    width = cpu.lanes(widest_bits(dispatch))
    if not plan.along:
        width *= _vectors_of_columns(dispatch, plan, width, cpu.vector_registers // 2)
    kept = _kept(dispatch, plan) if plan.along else []
    scratch = _scratch(dispatch, plan, kept)
    rows = _product(plan.rows[:-1] if not plan.along else plan.rows)
    if not plan.along:
        rows = rows * as_expr(plan.rows[-1]).ceildiv(width)
    length = _static_length(plan.stages[0]) * (1 if plan.along else width)
    grain = item_grain(length, total_cost(dispatch) / 2)

    def fill(frame: Frame) -> None:
        _Rows(frame, dispatch, plan, kept, width).emit()

    return make_kernel(dispatch, "rows", rows, fill, scratch=scratch, grain=grain)


def _vectors_of_columns(dispatch: Dispatch, plan: RowPlan, width: int, most: int) -> int:
    """Return how many vectors of neighbouring columns are reduced together.

    Each step down the columns then reads a longer piece of memory and has several independent
    sums, up to ``most`` vectors of them; but some work items must be left for the threads.
    """
    *outer, last = plan.rows
    if not isinstance(last, int):
        return 1
    vectors = 2 if any(is_expensive(op) for op in generics(dispatch)) else most
    others = prod(n for n in outer if isinstance(n, int))
    while vectors > 1 and others * last < vectors * width * _LEAST_BLOCKS:
        vectors //= 2
    return vectors


class _Rows:
    """Emission of one dispatch by rows."""

    def __init__(
        self, frame: Frame, dispatch: Dispatch, plan: RowPlan, kept: list[ir.Value], width: int
    ) -> None:
        self.frame, self.dispatch, self.plan, self.width = frame, dispatch, plan, width
        self.builder, self.evaluator = frame.builder, frame.evaluator
        self.kept = kept
        self.sizes = self._row_sizes()

    def emit(self) -> None:
        builder = self.builder
        self.scratch = self._scratch_buffers()
        if self.plan.along:
            builder.loop(self.frame.begin, self.frame.end, 1, self._one_row)
            return
        last = self.sizes[-1]
        blocks = builder.ceildiv(last, self.width)

        def block(number: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
            *outer, which = builder.delinearize(number, [*self.sizes[:-1], blocks])
            start = builder.mul(which, self.width)
            left = builder.sub(last, start)
            mask = None
            if not (isinstance(last, int) and last % self.width == 0):
                mask = builder.tail_mask(self.width, builder.min(left, self.width))
            row = [*(Index(i) for i in outer), Index(start, 1)]
            self._stages(row, Lane(self.width, mask))
            return []

        builder.loop(self.frame.begin, self.frame.end, 1, block)

    def _one_row(self, number: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
        self._stages([Index(i) for i in self.builder.delinearize(number, self.sizes)], None)
        return []

    def _stages(self, row: list[Index], lane: Lane | None) -> None:
        evaluator = self.evaluator
        with evaluator.scope():
            saved = dict(evaluator.bound), dict(evaluator.buffers)
            pending = list(self.kept)
            for op in self.plan.stages:
                results = self._reduce(op, row, lane, pending)
                for tensor, value in zip(op.results, results, strict=True):
                    evaluator.bind(tensor, row_value(tensor, value, row, op))
                self._use_kept(op, row, pending)
            for number in range(len(self.dispatch.results)):
                self._store(number, row, lane)
            evaluator.bound, evaluator.buffers = saved

    def _reduce(
        self, op: ir.OpView, row: list[Index], lane: Lane | None, pending: list[ir.Value]
    ) -> list[ir.Value]:
        maps = [a.value for a in op.indexing_maps]
        count = len(list(op.inputs))
        if lane is not None:
            position = spread(maps[count], row)
            return emit_inline(self.evaluator, op, 0, position, lane)
        loops = [Index(0)] * maps[0].n_dims
        for index, loop in zip(row, row_loops(op), strict=True):
            loops[loop] = index
        written = [t for t in pending if _read_by(op, t)]
        # Expensive code hides the latency of the accumulation by itself.
        unroll = 1 if any(is_expensive(o) for o in _chain(op)) else _UNROLL
        saved = dict(self.evaluator.bound)
        for tensor in written:
            self.evaluator.bind(tensor, self._compute_and_keep(tensor))
        result = emit_along_lanes(
            self.evaluator, op, loops, reduction_dims(op)[-1], self.width, unroll
        )
        self.evaluator.bound = saved
        return result

    def _compute_and_keep(self, tensor: ir.Value) -> Supplier:
        evaluator = self.evaluator
        supplier = evaluator.bound.get(tensor)

        def keep(position: Sequence[Index], lane: Lane | None) -> ir.Value:
            del evaluator.bound[tensor]
            try:
                value = evaluator.value(tensor, position, lane)
            finally:
                evaluator.bind(tensor, keep)
            self.builder.store(
                self.scratch[tensor], self._inside_row(tensor, position), value, lane
            )
            return value

        assert supplier is None
        return keep

    def _use_kept(self, op: ir.OpView, row: list[Index], pending: list[ir.Value]) -> None:
        for tensor in [t for t in pending if _read_by(op, t)]:
            pending.remove(tensor)

            def supply(
                position: Sequence[Index], lane: Lane | None, tensor: ir.Value = tensor
            ) -> ir.Value:
                inner = self._inside_row(tensor, position)
                return self.builder.load(self.scratch[tensor], inner, lane)

            self.evaluator.bind(tensor, supply)

    def _inside_row(self, tensor: ir.Value, position: Sequence[Index]) -> list[Index]:
        rows = set(_tensor_rows(self.plan, tensor))
        return [Index(0) if d in rows else index for d, index in enumerate(position)]

    def _scratch_buffers(self) -> dict[ir.Value, Buffer]:
        buffers: dict[ir.Value, Buffer] = {}
        offset: Scalar = 0
        for tensor in self.kept:
            rows = set(_tensor_rows(self.plan, tensor))
            shape = tuple(
                1 if d in rows else size for d, size in enumerate(self.evaluator.shape(tensor))
            )
            element = tensor.type.element_type
            kind = ir.MemRefType.get([ir.ShapedType.get_dynamic_size()], element)
            count = self.builder.product(shape)
            view = memref.ViewOp(
                kind, self.frame.scratch, self.builder.value(offset), [self.builder.value(count)]
            ).result
            buffers[tensor] = Buffer(view, element, shape)
            nbytes = self.builder.mul(count, element_bits(element) // 8)
            offset = self.builder.add(
                offset, self.builder.mul(self.builder.ceildiv(nbytes, 64), 64)
            )
        return buffers

    def _row_sizes(self) -> list[Scalar]:
        op = self.plan.stages[0]
        loops = self.evaluator.loop_sizes(op)
        return [loops[d] for d in row_loops(op)]

    def _store(self, number: int, row: list[Index], lane: Lane | None) -> None:
        """Compute and store what belongs to one row of a result."""
        tensor, buffer = self.dispatch.results[number], self.frame.outputs[number]
        rows = self.plan.result_rows[number]
        position = [Index(0)] * len(buffer.shape)
        for index, dim in zip(row, rows, strict=True):
            if dim is not None:
                position[dim] = index
        inner = [d for d, size in enumerate(buffer.shape) if d not in rows and size != 1]
        builder, evaluator = self.builder, self.evaluator

        def write(lane: Lane | None) -> None:
            with evaluator.scope():
                value = evaluator.value(tensor, position, lane)
                builder.store(buffer, position, value, lane)

        def vectors(dim: int) -> None:
            size = buffer.shape[dim]
            whole = builder.mul(builder.div(size, self.width), self.width)

            def body(i: Scalar, tail: bool) -> list[ir.Value]:
                position[dim] = Index(i, 1)
                left = builder.sub(size, i)
                write(Lane(self.width, builder.tail_mask(self.width, left) if tail else None))
                return []

            builder.loop(0, whole, self.width, lambda i, _: body(i, False))
            if not (isinstance(size, int) and size % self.width == 0):
                builder.loop(whole, size, self.width, lambda i, _: body(i, True))

        def nest(dims: Sequence[int]) -> None:
            if not dims:
                write(lane)
            elif len(dims) == 1 and lane is None:
                vectors(dims[0])
            else:

                def body(i: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
                    position[dims[0]] = Index(i)
                    with evaluator.scope():
                        nest(dims[1:])
                    return []

                builder.loop(0, buffer.shape[dims[0]], 1, body)

        nest(inner)


def spread(map_: ir.AffineMap, row: Sequence[Index]) -> list[Index]:
    """Return where a row is in a reduction's result."""
    rest = iter(row)
    return [next(rest) if isinstance(e, ir.AffineDimExpr) else Index(0) for e in map_.results]


def row_value(tensor: ir.Value, value: ir.Value, row: list[Index], op: ir.OpView) -> Supplier:
    """Return the supplier of a reduction's result, which is known at its own row only."""
    count = len(list(op.inputs))
    maps = [a.value for a in op.indexing_maps]
    expected = spread(maps[count + list(op.results).index(tensor)], row)

    def supply(position: Sequence[Index], _: Lane | None) -> ir.Value:
        if list(position) != expected:
            raise NotScheduled("a reduction read at another row than its own")
        return value

    return supply


def _chain(op: ir.OpView) -> list[ir.OpView]:
    """Return a reduction and the elementwise code that it evaluates as it goes."""
    found = [op]
    pending: list[ir.Value] = list(op.inputs)
    done: set[ir.Value] = set()
    while pending:
        value = pending.pop()
        if value in done or isinstance(value.owner, ir.Block):
            continue
        done.add(value)
        owner = value.owner
        if owner.operation.name == "linalg.generic" and reduction_dims(owner):
            continue
        found.append(owner)
        pending += [o for o in owner.operands if isinstance(o.type, ir.RankedTensorType)]
    return found


def _read_by(op: ir.OpView, tensor: ir.Value) -> bool:
    """Whether a reduction reads ``tensor``, directly or through elementwise code."""
    return tensor in op.inputs or any(tensor in part.results for part in _chain(op)[1:])


def _kept(dispatch: Dispatch, plan: RowPlan) -> list[ir.Value]:
    """Return expensive elementwise results that more than one stage reads."""
    kept = []
    for op in dispatch.operations:
        if op.operation.name != "linalg.generic" or reduction_dims(op) or len(op.results) != 1:
            continue
        result = op.results[0]
        if not is_expensive(op) or not any(_read_by(stage, result) for stage in plan.stages):
            continue
        uses = len(list(result.uses))
        if uses > 1 and not _is_row_shaped(plan, result):
            kept.append(result)
    return kept


def _is_row_shaped(plan: RowPlan, tensor: ir.Value) -> bool:
    return len(_tensor_rows(plan, tensor)) == tensor.type.rank


def _tensor_rows(plan: RowPlan, tensor: ir.Value) -> list[int]:
    """Return which dimensions of a full-sized tensor are rows, by the stage that reads it."""
    for op in plan.stages:
        maps = [a.value for a in op.indexing_maps]
        reduced = reduction_dims(op)
        for operand, map_ in zip(op.inputs, maps, strict=False):
            if operand == tensor:
                return [d for d, p in enumerate(result_positions(map_)) if p not in reduced]
    raise NotScheduled("a shared value that no reduction reads directly")


def _scratch(dispatch: Dispatch, plan: RowPlan, kept: list[ir.Value]) -> Expr:
    total = const(0)
    for tensor in kept:
        size = const(1)
        rows = set(_tensor_rows(plan, tensor))
        for dim in (d for d in range(tensor.type.rank) if d not in rows):
            if tensor.type.is_dynamic_dim(dim):
                found = size_of(dispatch, tensor, dim)
                if found is None:
                    raise NotScheduled("a row whose length is not a scalar operand")
                size = size * as_expr(found)
            else:
                size = size * tensor.type.shape[dim]
        nbytes = size * (element_bits(tensor.type.element_type) // 8)
        total = total + nbytes.ceildiv(64) * 64
    return total


def _static_length(op: ir.OpView) -> int:
    length = 1
    for size in op.inputs[0].type.shape[-1:]:
        length *= size if size > 0 else _ROW_UNKNOWN
    return length


def _product(sizes: Sequence[Size]) -> Expr:
    result = const(1)
    for size in sizes:
        result = result * as_expr(size)
    return result
