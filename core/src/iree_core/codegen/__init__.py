"""Code generation shared by the backends: from a dispatch on tensors to a kernel."""

from __future__ import annotations

from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.dispatch import Dispatch, read_dispatch
from iree_core.codegen.kernel import CompiledDispatch, CpuModel, Kernel

__all__ = ["CompiledDispatch", "CpuModel", "Kernel", "NotScheduled", "build_kernel"]


def build_kernel(dispatch: str, target: CpuModel) -> Kernel:
    """Schedule a dispatch.

    Args:
        dispatch: MLIR text of one dispatch function.
        target: what the schedules need to know of the processor.

    Raises:
        NotScheduled: no schedule applies; the message lists why each did not.
    """
    from iree_core.ir import ir, make_context

    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(dispatch)
        return schedule(read_dispatch(module), target)


def schedule(dispatch: Dispatch, target: CpuModel) -> Kernel:
    """Return the kernel of the first schedule that takes ``dispatch``."""
    from iree_core.codegen.attention import build_attention
    from iree_core.codegen.contraction import build_contraction
    from iree_core.codegen.elementwise import build_elementwise
    from iree_core.codegen.rows import build_rows
    from iree_core.codegen.transposition import build_transposition

    reasons = []
    schedules = (
        ("attention", build_attention),
        ("contraction", build_contraction),
        ("rows", build_rows),
        ("transposition", build_transposition),
        ("elementwise", build_elementwise),
    )
    for name, build in schedules:
        try:
            return build(dispatch, target)
        except NotScheduled as reason:
            reasons.append(f"{name}: {reason}")
    raise NotScheduled("; ".join(reasons))
