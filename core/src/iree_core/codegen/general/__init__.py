"""The schedule of last resort: any dispatch on tensors as plain loops over memory.

The dispatch is inlined into a kernel that views its flat buffers as tensors; upstream
bufferization and ``convert-linalg-to-loops`` do the rest. Temporaries live in the kernel's
scratch memory where their size follows from the scalar operands, otherwise on the heap. There
is one work item. Nothing here is fast; everything that upstream can bufferize works.
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.codegen.builder import element_bits, function_of
from iree_core.codegen.frame import MAY_ALIAS, may_alias
from iree_core.codegen.general.pad import expand_pads
from iree_core.codegen.general.storage import wrap_dispatch
from iree_core.codegen.kernel import Kernel
from iree_core.errors import CompileError
from iree_core.expr import Expr, Operator, const, scalar
from iree_core.ir import arith, func, ir, linalg, memref, run_pipeline

_FUSE = (
    "inline",
    "symbol-dce",
    "canonicalize",
    "convert-elementwise-to-linalg",
    "linalg-generalize-named-ops",
    "linalg-fuse-elementwise-ops",
    "canonicalize",
    "cse",
)
_TO_BUFFERS = (
    "eliminate-empty-tensors",
    "one-shot-bufferize{allow-unknown-ops=false}",
    "canonicalize",
    "cse",
    "canonicalize",
)
_TO_LOOPS = ("convert-linalg-to-loops", "fold-memref-alias-ops", "canonicalize", "cse")
_FREE = (
    "ownership-based-buffer-deallocation",
    "canonicalize",
    "buffer-deallocation-simplification",
    "bufferization-lower-deallocations",
    "canonicalize",
)
_ALIGNMENT = 64


def build_general(dispatch: str, context: ir.Context) -> Kernel:
    """Return the kernel of a dispatch function, whatever it does.

    Raises:
        CompileError: upstream cannot bufferize one of its operations.
    """
    with context, ir.Location.unknown():
        source = ir.Module.parse(dispatch)
        overlapping = may_alias(function_of(source))
        text, name = wrap_dispatch(source)
        module = ir.Module.parse(text)
        expand_pads(module)
        _run(module, _FUSE, name)
        # Eliminating empty tensors can put a value that is still read where a second result is.
        several = len(_all(module.operation, "bufferization.materialize_in_destination")) > 1
        if (overlapping or several) and _loop_nests(module) > 1:
            _write_results_last(module)
        _split_empties(module)
        _run(module, _TO_BUFFERS, name)
        scratch = _place_temporaries(_function(module))
        if _all(module.operation, "memref.alloc"):
            _run(module, _FREE, name)
        _copy_by_loops(module)
        _run(module, _TO_LOOPS, name)
        _function(module).attributes[MAY_ALIAS] = ir.DenseI64ArrayAttr.get(overlapping)
        return Kernel(str(module), name, const(1), scratch, 1, "general")


def _function(module: ir.Module) -> func.FuncOp:
    return next(op for op in module.body.operations if isinstance(op, func.FuncOp))


def _run(module: ir.Module, passes: tuple[str, ...], name: str) -> None:
    try:
        run_pipeline(module, f"builtin.module({','.join(passes)})")
    except ir.MLIRError as error:
        raise CompileError(f"The general schedule cannot bufferize {name}: {error}") from error


def _walk(root: ir.Operation) -> list[ir.Operation]:
    found = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(visit)
    return found


def _all(root: ir.Operation, name: str) -> list[ir.Operation]:
    return [op for op in _walk(root) if op.name == name]


def _loop_nests(module: ir.Module) -> int:
    """Return how many operations become loops of their own."""
    return len(
        [op for op in _walk(module.operation) if op.name.startswith("linalg.") and op.regions]
    )


def _write_results_last(module: ir.Module) -> None:
    """Compute results in temporaries and copy them out at the end.

    The result may lie where an operand is. One loop reads an element before it writes it; of
    several loops, one might write what another has yet to read.
    """
    for op in _all(module.operation, "bufferization.materialize_in_destination"):
        target = op.operands[1]
        kind = ir.MemRefType(target.type)
        with ir.InsertionPoint(op):
            sizes = [
                memref.DimOp(target, arith.ConstantOp(ir.IndexType.get(), d).result).result
                for d in range(kind.rank)
                if kind.is_dynamic_dim(d)
            ]
            temporary = memref.AllocOp(kind, sizes, []).result
        op.operands[1] = temporary
        with ir.InsertionPoint(op.parent.regions[0].blocks[0].operations[-1]):
            ir.Operation.create("memref.copy", [], [temporary, target])


def _split_empties(module: ir.Module) -> None:
    """Give every use of a ``tensor.empty`` one of its own.

    CSE joins equal ones. Bufferization then lets two values that a loop carries start in one
    buffer, for it takes nothing to be lost where nothing was written.
    """
    for op in _all(module.operation, "tensor.empty"):
        for use in [*op.results[0].uses][1:]:
            with ir.InsertionPoint(op):
                use.owner.operands[use.operand_number] = op.clone().results[0]


def _place_temporaries(function: func.FuncOp) -> Expr:
    """Move temporaries into the scratch memory; return how large it has to be.

    The scratch argument goes if there are none. A buffer inside a loop keeps its place from
    turn to turn: bufferization lets none live longer than the turn that makes it.
    """
    block = function.regions[0].blocks[0]
    arguments = list(block.arguments)
    scalars = [a for a in arguments[:-2] if not isinstance(a.type, ir.MemRefType)]
    scratch = arguments[-3]
    offset = const(0)
    for op in _all(function.operation, "memref.alloc"):
        sizes = [_expression(operand, scalars) for operand in op.operands]
        if any(size is None for size in sizes):
            continue
        kind = ir.MemRefType(op.results[0].type)
        with ir.InsertionPoint(op):
            start = _emit(offset, scalars)
            view = ir.Operation.create("memref.view", [kind], [scratch, start, *op.operands])
        op.results[0].replace_all_uses_with(view.result)
        op.erase()
        size = _bytes(kind, [size for size in sizes if size is not None])
        offset = size if offset == const(0) else offset + size
    if offset == const(0):
        block.erase_argument(len(arguments) - 3)
        kinds = [a.type for a in block.arguments]
        function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(kinds, []))
    return offset


def _bytes(kind: ir.MemRefType, dynamic: Sequence[Expr]) -> Expr:
    """Return the bytes of a buffer, rounded up to the alignment."""
    remaining = iter(dynamic)
    total = const(-(-element_bits(kind.element_type) // 8))
    for d in range(kind.rank):
        total = total * (next(remaining) if kind.is_dynamic_dim(d) else kind.get_dim_size(d))
    return total.ceildiv(_ALIGNMENT) * _ALIGNMENT


_OPERATORS: dict[str, Operator] = {
    "arith.addi": "add",
    "arith.muli": "mul",
    "arith.ceildivsi": "ceildiv",
    "arith.ceildivui": "ceildiv",
    "arith.minsi": "min",
    "arith.maxsi": "max",
}


def _expression(value: ir.Value, scalars: Sequence[ir.Value]) -> Expr | None:
    """Return a size as an expression over the scalar operands, None where there is none."""
    if value in scalars:
        return scalar(scalars.index(value))
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    if owner.name == "arith.constant":
        return const(ir.IntegerAttr(owner.attributes["value"]).value)
    if owner.name not in _OPERATORS:
        return None
    left, right = (_expression(operand, scalars) for operand in owner.operands)
    if left is None or right is None:
        return None
    return Expr(_OPERATORS[owner.name], 0, (left, right))


def _emit(expression: Expr, scalars: Sequence[ir.Value]) -> ir.Value:
    """Emit the value of an expression, of type ``index``."""
    index = ir.IndexType.get()
    if expression.op == "const":
        return arith.ConstantOp(index, expression.value).result
    if expression.op == "scalar":
        value = scalars[expression.value]
        if value.type == index:
            return value
        return arith.IndexCastOp(index, value).result
    name = next(op for op, kind in _OPERATORS.items() if kind == expression.op)
    operands = [_emit(argument, scalars) for argument in expression.args]
    return ir.Operation.create(name, [index], operands).result


def _copy_by_loops(module: ir.Module) -> None:
    """Make copies linalg operations: a strided ``memref.copy`` needs MLIR's runtime library."""
    for op in _all(module.operation, "memref.copy"):
        with ir.InsertionPoint(op):
            linalg.copy(op.operands[0], outs=[op.operands[1]])
        op.erase()
