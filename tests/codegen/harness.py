"""Runs one dispatch on the host: schedule, lower, compile, call; for tests of schedules."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence

import llvmlite.binding as llvm
import numpy as np

from iree_backend_llvm.lower import lower_kernel
from iree_core.codegen import CpuModel, Kernel, build_kernel
from iree_core.ir import make_context

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()


def run_kernel(
    kernel: Kernel,
    inputs: Sequence[np.ndarray],
    scalars: Sequence[int],
    results: Sequence[tuple[tuple[int, ...], np.dtype]],
    target: CpuModel,
    *,
    split: int = 3,
) -> list[np.ndarray]:
    """Compile ``kernel`` and run all its work items, in ``split`` ranges.

    Results start as a byte pattern that no correct result holds, and are followed by a guard
    that must be left alone.
    """
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    module = llvm.parse_assembly(lower_kernel(kernel, make_context(), target))
    module.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    entry = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
    )(engine.get_function_address(kernel.name))
    guard = 64
    outputs = []
    for shape, dtype in results:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        outputs.append(np.full(nbytes + guard, 0xA5, np.uint8))
    arrays = [np.ascontiguousarray(i) for i in inputs]
    pointers = (ctypes.c_void_p * (len(arrays) + len(outputs)))(
        *(a.ctypes.data for a in [*arrays, *outputs])
    )
    numbers = (ctypes.c_int64 * max(1, len(scalars)))(*scalars)
    scratch = np.zeros(kernel.scratch.evaluate(scalars) + 64, np.uint8)
    aligned = scratch.ctypes.data + (-scratch.ctypes.data) % 64
    items = kernel.grid.evaluate(scalars)
    cuts = np.linspace(0, items, split + 1).astype(int)
    for begin, end in itertools.pairwise(cuts):
        entry(pointers, numbers, aligned, int(begin), int(end))
    found = []
    for output, (shape, dtype) in zip(outputs, results, strict=True):
        assert (output[-guard:] == 0xA5).all(), "the kernel wrote past the end of its result"
        found.append(output[:-guard].view(dtype).reshape(shape))
    return found


def run_dispatch(
    text: str,
    inputs: Sequence[np.ndarray],
    scalars: Sequence[int],
    results: Sequence[tuple[tuple[int, ...], np.dtype]],
    target: CpuModel | None = None,
) -> tuple[list[np.ndarray], Kernel]:
    """Schedule and run the dispatch function in ``text``; returns results and the kernel."""
    target = target or CpuModel()
    kernel = build_kernel(text, target)
    return run_kernel(kernel, inputs, scalars, results, target), kernel
