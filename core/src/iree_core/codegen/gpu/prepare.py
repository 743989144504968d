"""What the emitters of GPU backends share: the simplified kernel, and helpers to read it.

A prepared kernel holds ``scf``, ``arith``, ``math``, ``memref``, ``vector``, ``gpu`` and
``complex`` operations that the device computes itself; everything else has been expanded.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from iree_core.codegen.gpu.expand import expand
from iree_core.codegen.gpu.kernel import GpuKernel
from iree_core.errors import CompileError
from iree_core.ir import func, ir, run_pipeline

_SIMPLIFY = "builtin.module(canonicalize,cse,loop-invariant-code-motion,canonicalize,cse)"

_RESOLVE_VIEWS = "builtin.module(fold-memref-alias-ops,expand-strided-metadata,lower-affine)"
_VIEWS = ("memref.subview", "memref.expand_shape", "memref.collapse_shape")


def prepare(
    kernel: GpuKernel,
    *,
    fma: bool = False,
    halves: bool = False,
    native: Collection[str] = (),
) -> tuple[ir.Module, ir.OpView]:
    """Return the module of ``kernel``, ready for emission, and its function.

    Must run inside an MLIR context; keep the module as long as the function is used.

    Args:
        kernel: what a schedule made.
        fma, halves, native: what the device has besides plain arithmetic, see
            :func:`iree_core.codegen.gpu.expand.expand`.

    Raises:
        CompileError: an operation has no expansion.
    """
    module = ir.Module.parse(kernel.module)
    try:
        expand(module, kernel.module, fma=fma, halves=halves, native=native)
        if "scf.forall" in kernel.module:
            run_pipeline(module, "builtin.module(func.func(scf-forall-to-for))")
        if any(name in kernel.module for name in _VIEWS):
            run_pipeline(module, _RESOLVE_VIEWS)
        elif "affine." in kernel.module:
            run_pipeline(module, "builtin.module(lower-affine)")
        run_pipeline(module, _SIMPLIFY)
    except ir.MLIRError as error:
        raise CompileError(f"Lowering {kernel.name} failed: {error}") from error
    function = next(
        op
        for op in module.body.operations
        if isinstance(op, func.FuncOp) and op.sym_name.value == kernel.name
    )
    return module, function


def is_true(mask: ir.Value) -> bool:
    """Whether a mask is known to be set in every lane."""
    owner = mask.owner
    if isinstance(owner, ir.Block):
        return False
    if owner.operation.name == "vector.broadcast":
        return is_true(owner.operands[0])
    if owner.operation.name != "arith.constant":
        return False
    value = owner.attributes["value"]
    if isinstance(value, ir.DenseElementsAttr):
        return value.is_splat and bool(value.get_splat_value().value)
    return bool(value.value)


def static_index(value: ir.Value) -> int | None:
    """Return the number of a constant index, None if it varies."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return None
    return int(ir.IntegerAttr(owner.attributes["value"]).value)


def table_values(op: ir.OpView) -> NDArray:
    """Return the flat constant that a ``memref.get_global`` reads."""
    name = ir.FlatSymbolRefAttr(op.attributes["name"]).value
    module = op.operation
    while module.name != "builtin.module":
        module = module.parent
    table = next(
        o.operation
        for o in module.regions[0].blocks[0].operations
        if "sym_name" in o.attributes and ir.StringAttr(o.attributes["sym_name"]).value == name
    )
    return np.array(table.attributes["initial_value"]).reshape(-1)
