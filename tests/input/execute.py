"""Runs canonical input IR on the host: upstream bufferization, loops, and MLIR's own JIT.

A reference for tests only: nothing of our code generation takes part.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from torch_mlir.execution_engine import ExecutionEngine
from torch_mlir.runtime import get_ranked_memref_descriptor

from iree_core.ir import ir, run_pipeline
from iree_core.lowering import element as elements
from iree_core.params import ParameterStore

_PIPELINE = (
    "builtin.module(func.func(llvm-request-c-wrappers),eliminate-empty-tensors,"
    "one-shot-bufferize{allow-return-allocs-from-loops=1 bufferize-function-boundaries=1 "
    "function-boundary-type-conversion=identity-layout-map},"
    "scf-forall-to-for,func.func(refback-munge-memref-copy,convert-linalg-to-loops),"
    "expand-strided-metadata,lower-affine,"
    "convert-scf-to-cf,func.func(math-expand-ops),convert-complex-to-standard,"
    "arith-expand{include-bf16=true include-f8e8m0=false},convert-math-to-llvm,"
    "convert-math-to-libm,convert-complex-to-libm,convert-vector-to-llvm,"
    "expand-strided-metadata,lower-affine,finalize-memref-to-llvm,convert-arith-to-llvm,"
    "convert-index-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,convert-complex-to-llvm,"
    "reconcile-unrealized-casts)"
)


def execute(
    module: ir.Module,
    inputs: Sequence[NDArray],
    store: ParameterStore | None = None,
    function: str = "main",
) -> list[NDArray]:
    """Call ``function`` of ``module`` (which is consumed) and return its results as arrays."""
    entry = next(
        op
        for op in module.body.operations
        if op.operation.name == "func.func" and op.name.value == function
    )
    kinds = [ir.RankedTensorType(t) for t in entry.type.results]
    _inline_parameters(module, store or ParameterStore())
    run_pipeline(module, _PIPELINE)
    engine = ExecutionEngine(module, opt_level=1)
    held = [_carrier(np.array(array, order="C")) for array in inputs]
    arguments = [ctypes.pointer(ctypes.pointer(get_ranked_memref_descriptor(a))) for a in held]
    results = _results_struct(kinds)
    engine.invoke(function, ctypes.pointer(ctypes.pointer(results)), *arguments)
    return [_read(getattr(results, f"r{i}"), kind) for i, kind in enumerate(kinds)]


def _inline_parameters(module: ir.Module, store: ParameterStore) -> None:
    found = []

    def visit(op: ir.OpView) -> ir.WalkResult:
        if op.operation.name == "flow.parameter":
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in found:
        kind = ir.RankedTensorType(op.results[0].type)
        array = store.read(ir.StringAttr(op.attributes["key"]).value)
        text = f'dense<"0x{np.ascontiguousarray(array).tobytes().hex()}"> : {kind}'
        with ir.InsertionPoint(op), op.location:
            made = ir.Operation.create(
                "arith.constant", results=[kind], attributes={"value": ir.Attribute.parse(text)}
            )
        op.results[0].replace_all_uses_with(made.results[0])
        op.erase()


def _carrier(array: NDArray) -> NDArray:
    """Return ``array`` as a dtype of the same width that ctypes knows."""
    if array.dtype == np.bool_ or array.dtype.kind == "V" or array.dtype.name in vars(ml_dtypes):
        return array.view({1: np.uint8, 2: np.uint16}[array.dtype.itemsize])
    return array


def _descriptor(rank: int) -> type[ctypes.Structure]:
    fields: list[tuple] = [
        ("allocated", ctypes.c_void_p),
        ("aligned", ctypes.c_void_p),
        ("offset", ctypes.c_int64),
    ]
    if rank:
        fields += [("shape", ctypes.c_int64 * rank), ("strides", ctypes.c_int64 * rank)]
    return type("Descriptor", (ctypes.Structure,), {"_fields_": fields})


def _results_struct(kinds: Sequence[ir.RankedTensorType]) -> ctypes.Structure:
    fields = [(f"r{i}", _descriptor(kind.rank)) for i, kind in enumerate(kinds)]
    return type("Results", (ctypes.Structure,), {"_fields_": fields})()


def _read(descriptor: ctypes.Structure, kind: ir.RankedTensorType) -> NDArray:
    dtype = elements.from_name(str(kind.element_type)).numpy
    shape = tuple(descriptor.shape) if kind.rank else ()
    strides = tuple(s * dtype.itemsize for s in descriptor.strides) if kind.rank else ()
    start = descriptor.aligned + descriptor.offset * dtype.itemsize
    extent = dtype.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if n)
    if 0 in shape:
        return np.zeros(shape, dtype)
    memory = np.frombuffer((ctypes.c_char * extent).from_address(start), np.uint8)
    view = np.lib.stride_tricks.as_strided(memory[: dtype.itemsize].view(dtype), shape, strides)
    return view.copy()
