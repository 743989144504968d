"""Reductions over rows: softmax, normalisations, means; by one, a subgroup or a workgroup each.

The reductions run one after the other and their results stay in registers; the elementwise code
between them is computed where it is needed. Where the device has subgroups of a known size, and
rows are long and contiguous, the invocations of one take turns along the row and join what they
have. Where nothing is known of subgroups those of a workgroup do, through workgroup memory, if
there are few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from iree_core.codegen.builder import Index, NotScheduled, Scalar
from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.gpu.cooperative import reduce_subgroup, reduce_workgroup
from iree_core.codegen.gpu.frame import GpuFrame, make_gpu_kernel, product
from iree_core.codegen.gpu.kernel import ANY_NUMBER, GpuKernel, GpuModel
from iree_core.codegen.reduction import (
    Combiner,
    Share,
    combiners,
    emit_inline,
    reduction_dims,
    reduction_lengths,
)
from iree_core.codegen.row_plan import RowPlan, plan_rows, row_loops
from iree_core.codegen.rows import row_value, spread
from iree_core.codegen.trace import trace_dims
from iree_core.ir import ir

# Bytes of workgroup memory that every device has, and of the widest element.
_WORKGROUP_MEMORY, _WIDEST = 16384, 8
# Elements of a row that one invocation reads at most.
_LONGEST_ROW = 16384


def build_rows(dispatch: Dispatch, gpu: GpuModel) -> GpuKernel:
    """Schedule a dispatch of reductions over common rows and what surrounds them.

    Raises:
        NotScheduled: the reductions do not share their outer dimensions, or the results cannot
            be computed row by row.
    """
    plan = plan_rows(dispatch)
    together = gpu.subgroup if _is_for_subgroups(plan, gpu) else 0
    workgroup = gpu.invocations
    if not together and _is_for_workgroups(plan, gpu):
        together = workgroup = gpu.row_invocations
    if not together and len(plan.stages) == 1 and _only_rows(dispatch, plan):
        raise NotScheduled("one reduction whose results have one element per row")

    def fill(frame: GpuFrame) -> None:
        _Rows(frame, dispatch, plan, gpu, together).emit()

    grid = product(plan.rows) * (together or 1)
    return make_gpu_kernel(dispatch, "rows", grid, fill, workgroup=workgroup)


def _is_for_subgroups(plan: RowPlan, gpu: GpuModel) -> bool:
    """Whether subgroups take a row each: rows are contiguous and at least as long."""
    if not gpu.subgroup or not plan.along or any(combiners(op) is None for op in plan.stages):
        return False
    first = plan.stages[0]
    length = reduction_lengths(first).get(reduction_dims(first)[-1])
    return length is None or length >= gpu.subgroup


def _is_for_workgroups(plan: RowPlan, gpu: GpuModel) -> bool:
    """Whether workgroups take a row each: few that have work for all, or very long ones."""
    if not gpu.row_invocations or any(combiners(op) is None for op in plan.stages):
        return False
    known = [n for n in plan.rows if isinstance(n, int)]
    # Rows that are not contiguous are read together where neighbours take neighbouring ones.
    most = gpu.shared_rows if plan.along else min(gpu.shared_rows, gpu.invocations)
    few = most >= ANY_NUMBER or (len(known) == len(plan.rows) and prod(known) <= most)
    results = sum(len(op.results) for op in plan.stages)
    if results * gpu.row_invocations * _WIDEST > _WORKGROUP_MEMORY:
        return False
    least = 2 * gpu.row_invocations if few else _LONGEST_ROW
    return all(_is_long(op, least, few) for op in plan.stages)


def _is_long(op: ir.OpView, least: int, guess: bool) -> bool:
    """Whether a reduction has a loop of that length; ``guess`` where a length is not known."""
    known = reduction_lengths(op)
    return max(known.values(), default=0) >= least or (
        guess and len(known) < len(reduction_dims(op))
    )


def _only_rows(dispatch: Dispatch, plan: RowPlan) -> bool:
    """Whether elements are rows, which the schedule for elements does as well."""
    reduced = set(plan.stages[0].results)
    return all(
        result.type.rank == len(plan.rows) and trace_dims(result, reduced) is not None
        for result in dispatch.results
    )


class _Rows:
    """Emission of one row: by one invocation, or by ``together`` of them."""

    def __init__(
        self, frame: GpuFrame, dispatch: Dispatch, plan: RowPlan, gpu: GpuModel, together: int
    ) -> None:
        self.frame, self.dispatch, self.plan = frame, dispatch, plan
        self.builder, self.evaluator = frame.builder, frame.evaluator
        self.share: Share | None = None
        self.item: Scalar = frame.item
        if together and together == gpu.subgroup:
            self.item = self.builder.div(frame.item, together)
            self.share = Share(
                self.builder.mod(frame.item, together),
                together,
                lambda combiner, value: reduce_subgroup(combiner, value, gpu),
            )
        elif together:
            self.item = frame.group
            self.share = Share(frame.local, together, self._reduce, longest=True)

    def _reduce(self, combiner: Combiner, value: ir.Value) -> ir.Value:
        count = self.frame.workgroup
        return reduce_workgroup(combiner, value, self.frame.local, count, self.builder)

    def emit(self) -> None:
        first = self.plan.stages[0]
        loops = self.evaluator.loop_sizes(first)
        sizes = [loops[d] for d in row_loops(first)]
        row = [Index(i) for i in self.builder.delinearize(self.item, sizes)]
        with self.evaluator.scope():
            for op in self.plan.stages:
                count = len(list(op.inputs))
                position = spread(op.indexing_maps[count].value, row)
                values = emit_inline(self.evaluator, op, 0, position, None, self.share)
                for tensor, value in zip(op.results, values, strict=True):
                    self.evaluator.bind(tensor, row_value(tensor, value, row, op))
            for number in range(len(self.dispatch.results)):
                self._store(number, row)

    def _store(self, number: int, row: list[Index]) -> None:
        """Compute and store what belongs to the row of one result."""
        share = self.share
        tensor, buffer = self.dispatch.results[number], self.frame.outputs[number]
        rows = self.plan.result_rows[number]
        position = [Index(0)] * len(buffer.shape)
        for index, dim in zip(row, rows, strict=True):
            if dim is not None:
                position[dim] = index
        inner = [d for d, size in enumerate(buffer.shape) if d not in rows and size != 1]

        def nest(dims: Sequence[int]) -> None:
            if not dims:
                with self.evaluator.scope():
                    value = self.evaluator.value(tensor, position, None)
                    self.builder.store(buffer, position, value, None)
                return

            def body(i: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
                position[dims[0]] = Index(i)
                with self.evaluator.scope():
                    nest(dims[1:])
                return []

            first, step = (share.first, share.step) if share and len(dims) == 1 else (0, 1)
            self.builder.loop(first, buffer.shape[dims[0]], step, body)

        if share is None or inner:
            nest(inner)
            return

        def alone() -> list[ir.Value]:
            nest([])
            return []

        self.builder.select_branch(self.builder.compare("eq", share.first, 0), [], alone, list)
