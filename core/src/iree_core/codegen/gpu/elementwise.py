"""One invocation per element of the results: whatever has a pull form.

Reductions are computed in place by plain loops; results of different shapes are parts of the
same grid, one after the other.
"""

from __future__ import annotations

from iree_core.codegen.builder import Index, Scalar
from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.gpu.frame import GpuFrame, make_gpu_kernel, product
from iree_core.codegen.gpu.kernel import GpuKernel, GpuModel
from iree_core.ir import ir


def build_elementwise(dispatch: Dispatch, gpu: GpuModel) -> GpuKernel:
    """Schedule a dispatch by the elements of its results.

    Raises:
        NotScheduled: an operation has no pull form.
    """
    groups: list[list[int]] = []
    for number, sizes in enumerate(dispatch.result_sizes):
        same = next((g for g in groups if dispatch.result_sizes[g[0]] == sizes), None)
        if same is None:
            groups.append([number])
        else:
            same.append(number)
    grid = product(dispatch.result_sizes[groups[0][0]])
    for group in groups[1:]:
        grid = grid + product(dispatch.result_sizes[group[0]])

    def fill(frame: GpuFrame) -> None:
        _emit_groups(frame, dispatch, groups, frame.item)

    return make_gpu_kernel(dispatch, "elementwise", grid, fill, workgroup=gpu.invocations)


def _emit_groups(
    frame: GpuFrame, dispatch: Dispatch, groups: list[list[int]], item: Scalar
) -> None:
    """Emit the first results where the item is one of their elements, else the others."""
    first, *others = groups
    if not others:
        _emit_element(frame, dispatch, first, item)
        return
    builder = frame.builder
    count = builder.product(frame.outputs[first[0]].shape)

    def here() -> list[ir.Value]:
        _emit_element(frame, dispatch, first, item)
        return []

    def later() -> list[ir.Value]:
        _emit_groups(frame, dispatch, others, builder.sub(item, count))
        return []

    builder.select_branch(builder.compare("slt", item, count), [], here, later)


def _emit_element(frame: GpuFrame, dispatch: Dispatch, group: list[int], item: Scalar) -> None:
    builder, evaluator = frame.builder, frame.evaluator
    position = [Index(i) for i in builder.delinearize(item, frame.outputs[group[0]].shape)]
    with evaluator.scope():
        values = [evaluator.value(dispatch.results[n], position, None) for n in group]
        for number, value in zip(group, values, strict=True):
            builder.store(frame.outputs[number], position, value, None)
