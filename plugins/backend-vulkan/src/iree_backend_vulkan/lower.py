"""From a GPU kernel to the SPIR-V of one shader module."""

from __future__ import annotations

from dataclasses import dataclass

from iree_backend_vulkan.spirv.emit import emit_module
from iree_backend_vulkan.spirv.iterations import iterations_of
from iree_core.codegen.gpu import GpuKernel
from iree_core.codegen.gpu.prepare import prepare
from iree_core.expr import Expr
from iree_core.ir import ir


@dataclass(frozen=True)
class Shader:
    """One compiled kernel.

    Attributes:
        binary: the SPIR-V module.
        capabilities: what it declares, by the names of the specification.
        iterations: most iterations of all loops of an invocation together, over the scalar
            operands; None where that depends on data.
    """

    binary: bytes
    capabilities: frozenset[str]
    iterations: Expr | None


def lower_kernel(kernel: GpuKernel, context: ir.Context) -> Shader:
    """Return the SPIR-V of ``kernel``.

    Raises:
        CompileError: an operation or type has no form in SPIR-V.
    """
    with context, ir.Location.unknown():
        _module, function = prepare(kernel)
        binary, capabilities = emit_module(function, kernel.name, kernel.workgroup)
        iterations = iterations_of(function, kernel)
    return Shader(binary, capabilities, iterations)
