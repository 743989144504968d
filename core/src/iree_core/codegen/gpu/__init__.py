"""Code generation shared by the GPU backends: from a dispatch on tensors to a GPU kernel.

The evaluator is that of the CPU (:mod:`iree_core.codegen.evaluate`); schedules differ in what
one work item is.
"""

from __future__ import annotations

from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.dispatch import Dispatch, read_dispatch
from iree_core.codegen.gpu.kernel import GpuKernel, GpuModel

__all__ = ["GpuKernel", "GpuModel", "build_gpu_kernel"]


def build_gpu_kernel(dispatch: str, gpu: GpuModel, *, general: bool = False) -> GpuKernel:
    """Schedule a dispatch.

    Args:
        dispatch: MLIR text of one dispatch function.
        gpu: what the schedules need to know of the device.
        general: take the schedule that asks least of the dispatch.

    Raises:
        NotScheduled: no schedule applies; the message lists why each did not.
    """
    from iree_core.ir import ir, make_context

    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(dispatch)
        return schedule(read_dispatch(module), gpu, general=general)


def schedule(dispatch: Dispatch, gpu: GpuModel, *, general: bool = False) -> GpuKernel:
    """Return the kernel of the first schedule that takes ``dispatch``."""
    from iree_core.codegen.gpu.contraction import build_contraction
    from iree_core.codegen.gpu.elementwise import build_elementwise
    from iree_core.codegen.gpu.rows import build_rows

    reasons = []
    schedules = (
        ("contraction", build_contraction),
        ("rows", build_rows),
        ("elementwise", build_elementwise),
    )
    for name, build in schedules[-1:] if general else schedules:
        try:
            return build(dispatch, gpu)
        except NotScheduled as reason:
            reasons.append(f"{name}: {reason}")
    raise NotScheduled("; ".join(reasons))
