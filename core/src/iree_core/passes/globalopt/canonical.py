"""The form that dispatch creation expects: every computation a ``linalg.generic`` or a fill."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import arith, ir, linalg, tensor
from iree_core.passes.dispatch.structure import nested_operations
from iree_core.passes.manager import MlirPipeline
from iree_core.passes.state import CompilationState

GENERALIZE = MlirPipeline(
    "generalize",
    "builtin.module(lower-affine,convert-elementwise-to-linalg,linalg-generalize-named-ops,"
    "canonicalize,cse)",
)


@dataclass(frozen=True)
class RestoreFills:
    """Turn generics that spread one scalar back into ``linalg.fill``, and free unused outputs.

    Before::

        %1 = linalg.generic {...} ins(%zero : f32) outs(%0) { ^bb0(%a: f32, %b: f32):
               linalg.yield %a }
        %2 = linalg.generic {...} ins(%x) outs(%x) { ^bb0(%a: f32, %b: f32):  // %b unused

    After::

        %1 = linalg.fill ins(%zero : f32) outs(%0)
        %2 = linalg.generic {...} ins(%x) outs(%empty)
    """

    name: str = "restore-fills"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite all generics of ``module``."""
        generics = [op for op in nested_operations(module.operation) if op.name == "linalg.generic"]
        for op in generics:
            if _spreads_scalar(op):
                _to_fill(op)
            else:
                _free_outputs(op)


def _spreads_scalar(op: ir.Operation) -> bool:
    operands = op.operands
    if len(operands) != 2 or isinstance(operands[0].type, ir.RankedTensorType):
        return False
    block = op.regions[0].blocks[0]
    inner = list(block.operations)
    return len(inner) == 1 and inner[0].operands[0] == block.arguments[0]


def _to_fill(op: ir.Operation) -> None:
    with ir.InsertionPoint(op), op.location:
        filled = linalg.fill(op.operands[0], outs=[op.operands[1]])
    op.results[0].replace_all_uses_with(filled)
    op.erase()


def _free_outputs(op: ir.Operation) -> None:
    """Give outputs whose present value is not used an empty tensor."""
    arguments = list(op.regions[0].blocks[0].arguments)
    outputs = len(op.results)
    for position in range(len(arguments) - outputs, len(arguments)):
        value = op.operands[position]
        owner = value.owner
        if not isinstance(owner, ir.Block) and owner.operation.name == "tensor.empty":
            continue
        if next(iter(arguments[position].uses), None) is not None:
            continue
        kind = ir.RankedTensorType(value.type)
        with ir.InsertionPoint(op), op.location:
            sizes = [
                tensor.dim(value, _index(d)) if kind.is_dynamic_dim(d) else size
                for d, size in enumerate(kind.shape)
            ]
            op.operands[position] = tensor.empty(sizes, kind.element_type)


def _index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)
