"""From a kernel (scf, vector, memref, math over flat buffers) to LLVM IR text.

The kernel becomes an internal function on plain pointers, and a small function with the ABI of
the executor is put in front of it::

    void entry(void *const *bindings, const int64_t *scalars, void *scratch,
               int64_t begin, int64_t end)

LLVM inlines the one into the other and then knows what the pointers' attributes say.
"""

from __future__ import annotations

from iree_backend_llvm import dots, math_expand, scaling
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.codegen.llvm_dialect import (
    TO_LLVM,
    find_function,
    hoist_allocations,
    pass_pointers,
    require_llvm_only,
)
from iree_core.codegen.llvmir import fix_literals
from iree_core.errors import CompileError
from iree_core.expr import const
from iree_core.ir import ir, llvm, run_pipeline

_SUFFIX = "$body"


def lower_kernel(
    kernel: Kernel,
    context: ir.Context,
    target: CpuModel,
    *,
    halves: bool = True,
    scales: bool = False,
) -> str:
    """Return the LLVM IR text of ``kernel`` with an entry function named ``kernel.name``.

    Args:
        kernel: what to lower.
        context: where to.
        target: the processor.
        halves: it has instructions that convert between f16 and f32.
        scales: it has the instruction of :mod:`iree_backend_llvm.scaling`.

    Raises:
        CompileError: the kernel uses operations that have no lowering, naming them.
    """
    with context, ir.Location.unknown():
        module = ir.Module.parse(kernel.module)
        function = find_function(module, kernel.name)
        arguments = [a.type for a in function.regions[0].blocks[0].arguments]
        hoist_allocations(function)
        pass_pointers(function)
        try:
            if "complex." in kernel.module:
                run_pipeline(module, "builtin.module(convert-complex-to-standard)", verify=False)
            math_expand.expand(module, kernel.module, fma=target.fma, halves=halves, scaling=scales)
            run_pipeline(module, f"builtin.module({','.join(TO_LLVM)})", verify=False)
        except ir.MLIRError as error:
            raise CompileError(f"Lowering {kernel.name} failed: {error}") from error
        require_llvm_only(module, kernel.name, "CPU")
        _set_attributes(module, kernel.name, target)
        text = dots.define(llvm.translate_module_to_llvmir(module.operation), target)
    return fix_literals(scaling.define(text)) + _entry(kernel, arguments)


def _set_attributes(module: ir.Module, name: str, target: CpuModel) -> None:
    """Make every body internal and always inlined, and say how wide vectors may be.

    ``no-builtins`` keeps LLVM from turning loops into calls of memset and memcpy, which the
    executable would have to import.
    """
    internal = ir.Attribute.parse("#llvm.linkage<internal>")
    width = str(target.vector_bytes * 8)
    facts = ["alwaysinline", "nounwind", "no-builtins", ["prefer-vector-width", width]]
    passthrough = ir.ArrayAttr.get(
        [
            ir.StringAttr.get(f)
            if isinstance(f, str)
            else ir.ArrayAttr.get([ir.StringAttr.get(part) for part in f])
            for f in facts
        ]
    )
    for op in module.body.operations:
        if op.operation.name != "llvm.func":
            continue
        if not len(op.regions[0].blocks):
            continue
        op.attributes["linkage"] = internal
        op.attributes["passthrough"] = passthrough
        if ir.StringAttr(op.attributes["sym_name"]).value == name:
            op.attributes["sym_name"] = ir.StringAttr.get(name + _SUFFIX)


def _entry(kernel: Kernel, kinds: list[ir.Type]) -> str:
    """Return the function that unpacks the executor's arguments for the kernel's body."""
    buffers = [isinstance(kind, ir.MemRefType) for kind in kinds[:-2]]
    has_scratch = kernel.scratch != const(0)
    lines, arguments = [], []
    bindings = scalars = 0
    for position, is_buffer in enumerate(buffers):
        if is_buffer and has_scratch and position == len(buffers) - 1:
            arguments.append("ptr %scratch")
            continue
        area, slot = ("bindings", bindings) if is_buffer else ("scalars", scalars)
        kind = "ptr" if is_buffer else "i64"
        lines += [
            f"  %a{position} = getelementptr i8, ptr %{area}, i64 {8 * slot}",
            f"  %v{position} = load {kind}, ptr %a{position}, align 8",
        ]
        arguments.append(f"{kind} %v{position}")
        bindings, scalars = bindings + is_buffer, scalars + (not is_buffer)
    passed = ", ".join([*arguments, "i64 %begin", "i64 %end"])
    return "\n".join(
        [
            f'define void @"{kernel.name}"(ptr noalias %bindings, ptr noalias %scalars,'
            " ptr %scratch, i64 %begin, i64 %end) nounwind {",
            *lines,
            f'  call void @"{kernel.name}{_SUFFIX}"({passed})',
            "  ret void",
            "}",
            "",
        ]
    )
