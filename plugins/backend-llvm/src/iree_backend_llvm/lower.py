"""From a kernel (scf, vector, memref, math over flat buffers) to LLVM IR text.

The kernel becomes an internal function on plain pointers, and a small function with the ABI of
the executor is put in front of it::

    void entry(void *const *bindings, const int64_t *scalars, void *scratch,
               int64_t begin, int64_t end)

LLVM inlines the one into the other and then knows what the pointers' attributes say.
"""

from __future__ import annotations

from collections import Counter

from iree_backend_llvm import dots, math_expand
from iree_backend_llvm.llvmir import fix_literals
from iree_core.codegen.frame import MAY_ALIAS
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.errors import CompileError
from iree_core.expr import const
from iree_core.ir import func, ir, llvm, run_pipeline

# Everything becomes the LLVM dialect. Loops go first: the vector patterns make some more.
_TO_LLVM = (
    "convert-vector-to-scf{full-unroll=true}",
    "fold-memref-alias-ops",
    "expand-strided-metadata",
    "lower-affine",
    "convert-scf-to-cf",
    "convert-math-to-llvm",
    "convert-math-to-libm",
    "convert-vector-to-llvm{reassociate-fp-reductions=true"
    " vector-contract-lowering=outerproduct vector-transpose-lowering=shuffle1d}",
    "convert-complex-to-llvm",
    "arith-expand",
    "convert-arith-to-llvm",
    "finalize-memref-to-llvm",
    "convert-func-to-llvm",
    "convert-cf-to-llvm",
    "convert-index-to-llvm",
    "convert-ub-to-llvm",
    "reconcile-unrealized-casts",
)
_DESCRIPTOR = "!llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>"
# Sizes of flat buffers are not passed; nothing may depend on them.
_UNBOUNDED = 1 << 48
_SUFFIX = "$body"


def lower_kernel(
    kernel: Kernel, context: ir.Context, target: CpuModel, *, halves: bool = True
) -> str:
    """Return the LLVM IR text of ``kernel`` with an entry function named ``kernel.name``.

    Args:
        kernel: what to lower.
        context: where to.
        target: the processor.
        halves: it has instructions that convert between f16 and f32.

    Raises:
        CompileError: the kernel uses operations that have no lowering, naming them.
    """
    with context, ir.Location.unknown():
        module = ir.Module.parse(kernel.module)
        function = _find(module, kernel.name)
        arguments = [a.type for a in function.regions[0].blocks[0].arguments]
        _hoist_allocations(function)
        _pass_pointers(function)
        try:
            if "complex." in kernel.module:
                run_pipeline(module, "builtin.module(convert-complex-to-standard)", verify=False)
            math_expand.expand(module, kernel.module, fma=target.fma, halves=halves)
            run_pipeline(module, f"builtin.module({','.join(_TO_LLVM)})", verify=False)
        except ir.MLIRError as error:
            raise CompileError(f"Lowering {kernel.name} failed: {error}") from error
        _require_llvm_only(module, kernel.name)
        _set_attributes(module, kernel.name, target)
        text = dots.define(llvm.translate_module_to_llvmir(module.operation), target)
    return fix_literals(text) + _entry(kernel, arguments)


def _find(module: ir.Module, name: str) -> func.FuncOp:
    for op in module.body.operations:
        if isinstance(op, func.FuncOp) and op.name.value == name:
            return op
    raise CompileError(f"The kernel's module holds no function {name}.")


def _hoist_allocations(function: func.FuncOp) -> None:
    """Move stack buffers of static size out of loops, where each turn would take more stack."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "memref.alloca" and not len(op.operands):
            found.append(op)
        return ir.WalkResult.ADVANCE

    function.operation.walk(visit)
    first = function.regions[0].blocks[0].operations[0]
    for op in found:
        if op != first.operation:
            op.move_before(first)


def _pass_pointers(function: func.FuncOp) -> None:
    """Turn memref arguments into pointers and all others into i64."""
    block = function.regions[0].blocks[0]
    pointer, i64 = ir.Type.parse("!llvm.ptr"), ir.IntegerType.get_signless(64)
    old = list(block.arguments)
    kinds = [pointer if isinstance(a.type, ir.MemRefType) else i64 for a in old]
    with ir.InsertionPoint.at_block_begin(block):
        for argument, kind in zip(old, kinds, strict=True):
            passed = block.add_argument(kind, ir.Location.unknown())
            argument.replace_all_uses_with(_convert(passed, argument.type))
    for _ in old:
        block.erase_argument(0)
    function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(kinds, []))
    overlapping = list(function.attributes[MAY_ALIAS]) if MAY_ALIAS in function.attributes else []
    alone = ir.Attribute.parse("{llvm.noalias, llvm.nonnull, llvm.noundef}")
    shared = ir.Attribute.parse("{llvm.nonnull, llvm.noundef}")
    nothing = ir.DictAttr.get({})
    function.attributes["arg_attrs"] = ir.ArrayAttr.get(
        [
            nothing if kind != pointer else shared if number in overlapping else alone
            for number, kind in enumerate(kinds)
        ]
    )


def _convert(passed: ir.Value, kind: ir.Type) -> ir.Value:
    """Return a passed pointer or i64 as a value of the kernel's type."""
    if isinstance(kind, ir.IndexType):
        return ir.Operation.create("arith.index_cast", [kind], [passed]).result
    if isinstance(kind, ir.IntegerType):
        if kind.width == 64:
            return passed
        return ir.Operation.create("arith.trunci", [kind], [passed]).result
    if not isinstance(kind, ir.MemRefType):
        raise CompileError(f"A kernel takes buffers and integers, not {kind}.")
    descriptor = ir.Type.parse(_DESCRIPTOR)
    value = ir.Operation.create("llvm.mlir.poison", [descriptor]).result
    numbers = [(_constant(0), [2]), (_constant(_UNBOUNDED), [3, 0]), (_constant(1), [4, 0])]
    for part, position in [(passed, [0]), (passed, [1]), *numbers]:
        value = ir.Operation.create(
            "llvm.insertvalue",
            [descriptor],
            [value, part],
            {"position": ir.DenseI64ArrayAttr.get(position)},
        ).result
    return ir.Operation.create("builtin.unrealized_conversion_cast", [kind], [value]).result


def _constant(number: int) -> ir.Value:
    i64 = ir.IntegerType.get_signless(64)
    attribute = ir.IntegerAttr.get(i64, number)
    return ir.Operation.create("llvm.mlir.constant", [i64], [], {"value": attribute}).result


def _require_llvm_only(module: ir.Module, name: str) -> None:
    """Refuse what the translation to LLVM IR would crash on."""
    left: Counter[str] = Counter()

    def visit(op: ir.Operation) -> ir.WalkResult:
        if not op.name.startswith("llvm.") and op.name != "builtin.module":
            left[op.name] += 1
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    if left:
        names = ", ".join(sorted(left))
        raise CompileError(f"The CPU backend cannot lower {names}.", where=f"kernel {name}")


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
