"""From a GPU kernel to PTX: upstream passes to the LLVM dialect, then LLVM's NVPTX backend.

The kernel becomes an internal function, and an entry function is put in front of it that takes
the buffers as pointers to global memory, then the scalars as 64-bit numbers, then the private
memory if it needs some::

    .visible .entry kernel(.param .u64 b0, ..., .param .u64 out, .param .u64 s0, ..., .param .u64 p)

LLVM inlines the one into the other. Every function comes from
:mod:`iree_core.codegen.arithmetic`, so no device library is linked.
"""

from __future__ import annotations

import re
from functools import cache

import llvmlite.binding as binding

from iree_backend_cuda.cooperation import lower_cooperation
from iree_backend_cuda.kernel import MAP_ALIGNMENT, MAP_BYTES, CudaKernel
from iree_backend_cuda.target import CudaTarget
from iree_core.codegen import llvmir
from iree_core.codegen.frame import MAY_ALIAS
from iree_core.codegen.gpu import GpuKernel
from iree_core.codegen.gpu.prepare import prepare
from iree_core.codegen.llvm_dialect import (
    TO_LLVM,
    hoist_allocations,
    pass_pointers,
    require_llvm_only,
)
from iree_core.errors import CompileError
from iree_core.expr import const
from iree_core.ir import ir, llvm, run_pipeline

_TRIPLE = "nvptx64-nvidia-cuda"
_SUFFIX = ".body"
# All threads of a warp have to execute these together; LLVM knows that of some only.
_WARP_WIDE = re.compile(
    r"^(.* call .*(?:@llvm\.nvvm\.(?:mma|ldmatrix)\.| asm sideeffect ).*\))$", re.MULTILINE
)
# Buffers start at multiples of this many bytes; the driver moves those that do not.
ALIGNMENT = 16
_LARGE_BLOCK = 256


def lower_kernel(kernel: GpuKernel, context: ir.Context, target: CudaTarget) -> str:
    """Return the PTX of ``kernel``.

    Raises:
        CompileError: an operation or type has no form on the target.
    """
    with context, ir.Location.unknown():
        module, function = prepare(kernel, fma=True, halves=True)
        block = function.regions[0].blocks[0]
        buffers = [isinstance(a.type, ir.MemRefType) for a in block.arguments][:-2]
        aliased = list(function.attributes[MAY_ALIAS]) if MAY_ALIAS in function.attributes else []
        lower_cooperation(module)
        hoist_allocations(function)
        pass_pointers(function)
        try:
            run_pipeline(module, f"builtin.module({','.join(TO_LLVM)})", verify=False)
        except ir.MLIRError as error:
            raise CompileError(f"Lowering {kernel.name} failed: {error}") from error
        require_llvm_only(module, kernel.name, "CUDA")
        _refuse_calls(module)
        _make_internal(module, kernel.name)
        text = llvmir.fix_literals(llvm.translate_module_to_llvmir(module.operation))
        text = _WARP_WIDE.sub(r"\1 convergent", text)
    return emit_ptx(text + _entry(kernel, buffers, aliased), target)


def _refuse_calls(module: ir.Module) -> None:
    """Refuse calls of functions that no device has."""
    defined: set[str] = set()
    called: set[str] = set()
    for op in module.body.operations:
        name = op.operation.name
        if name == "llvm.func":
            symbol = ir.StringAttr(op.attributes["sym_name"]).value
            (defined if len(op.regions[0].blocks) else called).add(symbol)
    missing = sorted(called - defined)
    if missing:
        raise CompileError(f"The CUDA backend has no {', '.join(missing)} on the device.")


def _make_internal(module: ir.Module, name: str) -> None:
    internal = ir.Attribute.parse("#llvm.linkage<internal>")
    facts = ir.ArrayAttr.get([ir.StringAttr.get("alwaysinline"), ir.StringAttr.get("nounwind")])
    for op in module.body.operations:
        if op.operation.name == "llvm.func" and len(op.regions[0].blocks):
            op.attributes["linkage"] = internal
            op.attributes["passthrough"] = facts
            if ir.StringAttr(op.attributes["sym_name"]).value == name:
                op.attributes["sym_name"] = ir.StringAttr.get(name + _SUFFIX)


def _entry(kernel: GpuKernel, buffers: list[bool], aliased: list[int]) -> str:
    """Return the kernel's entry function: which invocation it is, and a call of the body."""
    parameters, passed = [], []
    count = sum(buffers) - (kernel.scratch != const(0))
    for number, is_buffer in enumerate(buffers):
        if not is_buffer:
            parameters.append(f"i64 %p{number}")
            passed.append(f"i64 %p{number}")
            continue
        facts = [f"align {ALIGNMENT}"]
        if number not in aliased:
            facts.append("noalias")
            if number < count - kernel.results:
                facts.append("readonly")
        # LLVM knows that pointers passed to a kernel are to global memory.
        parameters.append(f"ptr {' '.join(facts)} %p{number}")
        passed.append(f"ptr %p{number}")
    cuda = kernel if isinstance(kernel, CudaKernel) else None
    for number in range(len(cuda.maps) if cuda else 0):
        parameters.append(f"ptr byval([{MAP_BYTES} x i8]) align {MAP_ALIGNMENT} %m{number}")
    # Two blocks hide each other's waiting; that bounds the registers of a thread.
    resident = 2 if kernel.workgroup >= _LARGE_BLOCK else None
    if cuda and cuda.resident is not None:
        resident = cuda.resident
    bound = f' "nvvm.minctasm"="{resident}"' if resident else ""
    return "\n".join(
        [
            f"define ptx_kernel void @{kernel.name}({', '.join(parameters)}) #99 {{",
            "  %block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()",
            "  %thread = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()",
            "  %group = zext i32 %block to i64",
            "  %local = zext i32 %thread to i64",
            f"  call void @{kernel.name}{_SUFFIX}("
            + ", ".join([*passed, "i64 %group", "i64 %local"])
            + ")",
            "  ret void",
            "}",
            "declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()",
            "declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()",
            f'attributes #99 = {{ nounwind "nvvm.reqntid"="{kernel.workgroup}"{bound} }}',
            "",
        ]
    )


def emit_ptx(text: str, target: CudaTarget) -> str:
    """Return the PTX of an LLVM IR module.

    Raises:
        CompileError: LLVM rejects the module.
    """
    machine = _machine(target)
    module = llvmir.optimize(text, machine)
    return str(machine.emit_assembly(module))


@cache
def _machine(target: CudaTarget) -> binding.TargetMachine:
    llvmir.initialize()
    found = binding.Target.from_triple(_TRIPLE)
    return found.create_target_machine(
        cpu=target.name,
        features=f"+ptx{target.ptx}",
        opt=3,
        reloc="default",
        codemodel="default",
    )
