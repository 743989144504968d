"""Pass: scalar arguments and results of public functions become tensors of rank 0."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.errors import CompileError
from iree_core.ir import arith, func, ir, tensor
from iree_core.passes.abi.signature import public_functions
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class BoxScalars:
    """Give public functions tensors only::

        func.func @scale(%s: f32) -> f32 {
          return %s : f32
        }

    becomes::

        func.func @scale(%arg0: tensor<f32>) -> tensor<f32> {
          %s = tensor.extract %arg0[] : tensor<f32>
          %0 = tensor.from_elements %s : tensor<f32>
          return %0 : tensor<f32>
        }

    An ``index`` travels as ``i64``.
    """

    name: str = "box-scalars"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Box the scalars of every public function of ``module``."""
        called = _called(module)
        for function in public_functions(module):
            kind = function.type
            if not any(_is_scalar(t) for t in (*kind.inputs, *kind.results)):
                continue
            if function.name.value in called:
                raise CompileError(
                    f"Public function {function.name.value!r} has scalar arguments or results "
                    "and is called by another function.",
                    where=describe_location(function.location) or None,
                    hint="Make the inner function private, or let it take tensors of rank 0.",
                )
            _box(function)


def _box(function: func.FuncOp) -> None:
    block = function.regions[0].blocks[0]
    inputs = [_boxed(t) for t in function.type.inputs]
    results = [_boxed(t) for t in function.type.results]
    for position, argument in enumerate(block.arguments):
        if not _is_scalar(argument.type):
            continue
        wanted = argument.type
        with ir.InsertionPoint.at_block_begin(block), function.location:
            uses = list(argument.uses)
            argument.set_type(inputs[position])
            value = tensor.ExtractOp(argument, []).result
            if isinstance(wanted, ir.IndexType):
                value = arith.IndexCastOp(wanted, value).result
        for use in uses:
            use.owner.operation.operands[use.operand_number] = value
    terminator = list(block.operations)[-1]
    with ir.InsertionPoint(terminator), function.location:
        for position, value in enumerate(terminator.operands):
            if _is_scalar(value.type):
                if isinstance(value.type, ir.IndexType):
                    value = arith.IndexCastOp(results[position].element_type, value).result
                boxed = tensor.FromElementsOp(results[position], [value]).result
                terminator.operation.operands[position] = boxed
    function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, results))


def _is_scalar(kind: ir.Type) -> bool:
    return isinstance(kind, ir.IntegerType | ir.IndexType | ir.FloatType | ir.ComplexType)


def _boxed(kind: ir.Type) -> ir.Type:
    if isinstance(kind, ir.IndexType):
        kind = ir.IntegerType.get_signless(64)
    return ir.RankedTensorType.get([], kind) if _is_scalar(kind) else kind


def _called(module: ir.Module) -> set[str]:
    names: set[str] = set()

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.operation.name == "func.call":
            names.add(ir.FlatSymbolRefAttr(op.attributes["callee"]).value)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return names
