"""Code generation shared by the GPU backends: from a dispatch on tensors to a GPU kernel.

The evaluator is that of the CPU (:mod:`iree_core.codegen.evaluate`); schedules differ in what
one work item is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.dispatch import Dispatch, read_dispatch
from iree_core.codegen.gpu.kernel import GpuKernel, GpuModel

if TYPE_CHECKING:
    from iree_core.ir import Context

__all__ = ["GpuKernel", "GpuModel", "Schedule", "build_gpu_kernel"]

# Returns the kernel of a dispatch or raises NotScheduled.
Schedule = Callable[[Dispatch, GpuModel], GpuKernel]


def build_gpu_kernel(
    dispatch: str,
    gpu: GpuModel,
    context: Context,
    *,
    general: bool = False,
    own: Sequence[tuple[str, Schedule]] = (),
) -> GpuKernel:
    """Schedule a dispatch.

    Args:
        dispatch: MLIR text of one dispatch function.
        gpu: what the schedules need to know of the device.
        context: the MLIR context to work in.
        general: take the schedule that does everything in one invocation.
        own: schedules of the backend with their names, tried before the shared ones.

    Raises:
        NotScheduled: it has no form on a GPU.
        CompileError: the general schedule cannot bufferize it.
    """
    from iree_core.codegen.gpu.general import build_general_kernel, build_slices
    from iree_core.ir import ir

    if general:
        return build_general_kernel(dispatch, context, "")
    with context, ir.Location.unknown():
        module = ir.Module.parse(dispatch)
        try:
            return schedule(read_dispatch(module), gpu, own)
        except NotScheduled as error:
            reason = str(error)
    return build_slices(dispatch, context, gpu, reason)


def schedule(
    dispatch: Dispatch, gpu: GpuModel, own: Sequence[tuple[str, Schedule]] = ()
) -> GpuKernel:
    """Return the kernel of the first parallel schedule that takes ``dispatch``.

    Raises:
        NotScheduled: none does; the message lists why.
    """
    from iree_core.codegen.gpu.attention import build_attention
    from iree_core.codegen.gpu.contraction import build_contraction
    from iree_core.codegen.gpu.elementwise import build_elementwise
    from iree_core.codegen.gpu.matrix import build_matrix
    from iree_core.codegen.gpu.rows import build_rows

    reasons = []
    schedules: tuple[tuple[str, Schedule], ...] = (
        *own,
        ("attention", build_attention),
        ("matrix", build_matrix),
        ("contraction", build_contraction),
        ("rows", build_rows),
        ("elementwise", build_elementwise),
    )
    for name, build in schedules:
        try:
            return build(dispatch, gpu)
        except NotScheduled as reason:
            reasons.append(f"{name}: {reason}")
    raise NotScheduled("; ".join(reasons))
