"""Steps from a kernel (scf, vector, memref over flat buffers) to the LLVM dialect.

Every backend that goes through LLVM uses them, whatever its processors.
"""

from __future__ import annotations

from collections import Counter

from iree_core.codegen.frame import MAY_ALIAS
from iree_core.errors import CompileError
from iree_core.ir import func, ir

# Everything becomes the LLVM dialect. Loops go first: the vector patterns make some more.
TO_LLVM = (
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
DESCRIPTOR = "!llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>"
# Sizes of flat buffers are not passed; nothing may depend on them.
_UNBOUNDED = 1 << 48


def find_function(module: ir.Module, name: str) -> func.FuncOp:
    """Return the function of a kernel's module that is called ``name``."""
    for op in module.body.operations:
        if isinstance(op, func.FuncOp) and op.name.value == name:
            return op
    raise CompileError(f"The kernel's module holds no function {name}.")


def hoist_allocations(function: func.FuncOp) -> None:
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


def pass_pointers(function: func.FuncOp) -> None:
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
    descriptor = ir.Type.parse(DESCRIPTOR)
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


def require_llvm_only(module: ir.Module, name: str, backend: str) -> None:
    """Refuse what the translation to LLVM IR would crash on.

    Raises:
        CompileError: operations of other dialects are left; ``backend`` cannot lower them.
    """
    left: Counter[str] = Counter()

    def visit(op: ir.Operation) -> ir.WalkResult:
        if not op.name.startswith("llvm.") and op.name != "builtin.module":
            left[op.name] += 1
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    if left:
        names = ", ".join(sorted(left))
        raise CompileError(f"The {backend} backend cannot lower {names}.", where=f"kernel {name}")
