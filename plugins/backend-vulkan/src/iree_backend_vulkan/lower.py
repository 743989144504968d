"""From a GPU kernel to the SPIR-V of one shader module."""

from __future__ import annotations

from dataclasses import dataclass

from iree_backend_vulkan.spirv.emit import emit_module
from iree_core.codegen.gpu import GpuKernel
from iree_core.codegen.gpu.expand import expand
from iree_core.errors import CompileError
from iree_core.ir import func, ir, run_pipeline

_SIMPLIFY = "builtin.module(canonicalize,cse,loop-invariant-code-motion,canonicalize,cse)"

_RESOLVE_VIEWS = "builtin.module(fold-memref-alias-ops,expand-strided-metadata,lower-affine)"
_VIEWS = ("memref.subview", "memref.expand_shape", "memref.collapse_shape")


@dataclass(frozen=True)
class Shader:
    """One compiled kernel.

    Attributes:
        binary: the SPIR-V module.
        capabilities: what it declares, by the names of the specification.
    """

    binary: bytes
    capabilities: frozenset[str]


def lower_kernel(kernel: GpuKernel, context: ir.Context) -> Shader:
    """Return the SPIR-V of ``kernel``.

    Raises:
        CompileError: an operation or type has no form in SPIR-V.
    """
    with context, ir.Location.unknown():
        module = ir.Module.parse(kernel.module)
        try:
            expand(module, kernel.module)
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
        binary, capabilities = emit_module(function, kernel.name, kernel.workgroup)
    return Shader(binary, capabilities)
