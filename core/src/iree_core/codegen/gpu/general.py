"""Anything at all by one invocation: the general schedule (iree_core.codegen.general) on a GPU.

Temporaries live in a buffer of their own. Nothing here is fast.
"""

from __future__ import annotations

from iree_core.codegen.dispatch import read_dispatch
from iree_core.codegen.general import build_general
from iree_core.codegen.gpu.frame import tensor_bytes
from iree_core.codegen.gpu.kernel import GpuKernel
from iree_core.ir import ir


def build_general_kernel(dispatch: str, context: ir.Context, note: str) -> GpuKernel:
    """Return the kernel of a dispatch function, whatever it does.

    Args:
        dispatch: MLIR text of the dispatch function.
        context: where to.
        note: why no other schedule took it.

    Raises:
        CompileError: upstream cannot bufferize one of its operations.
        NotScheduled: a size of an operand is not known beforehand.
    """
    kernel = build_general(dispatch, context)
    with context, ir.Location.unknown():
        parts = read_dispatch(ir.Module.parse(dispatch))
        tensors = (*parts.tensors, *parts.results)
        dims = (*parts.argument_sizes, *parts.result_sizes)
        sizes = tuple(map(tensor_bytes, tensors, dims))
    return GpuKernel(
        kernel.module,
        kernel.name,
        kernel.grid,
        kernel.scratch,
        1,
        kernel.schedule,
        note,
        workgroup=1,
        scalars=len(parts.scalars),
        results=len(parts.results),
        sizes=sizes,
    )
