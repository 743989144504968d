"""Anything at all: the general schedule (iree_core.codegen.general) on a GPU.

Where slices of the result are independent, invocations do one each
(:mod:`iree_core.codegen.gpu.slices`); otherwise one invocation does everything, and nothing of
that is fast. Temporaries live in a buffer of their own.
"""

from __future__ import annotations

from dataclasses import replace

from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.dispatch import read_dispatch
from iree_core.codegen.general import build_general
from iree_core.codegen.gpu.frame import tensor_bytes
from iree_core.codegen.gpu.kernel import GpuKernel, GpuModel
from iree_core.codegen.gpu.slices import slice_kernel
from iree_core.ir import ir


def build_slices(dispatch: str, context: ir.Context, gpu: GpuModel, note: str) -> GpuKernel:
    """Return the kernel of a dispatch function whose slices are shared if they are independent.

    Args:
        dispatch: MLIR text of the dispatch function.
        context: where to.
        gpu: what the schedule needs to know of the device.
        note: why no other schedule took it.

    Raises:
        CompileError: upstream cannot bufferize one of its operations.
        NotScheduled: a size of an operand is not known beforehand.
    """
    kernel = build_general_kernel(dispatch, context, note)
    try:
        with context, ir.Location.unknown():
            sliced = slice_kernel(kernel.module, kernel.scratch, kernel.results, gpu.invocations)
    except NotScheduled as reason:
        return replace(kernel, note=f"{note}; slices: {reason}")
    return replace(
        kernel,
        module=sliced.module,
        grid=sliced.grid,
        scratch=sliced.scratch,
        schedule="slices",
        note="",
        workgroup=gpu.invocations,
    )


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
