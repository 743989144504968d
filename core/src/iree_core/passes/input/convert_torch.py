"""Torch to linalg on tensors, through torch-mlir's own conversions."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import ir, run_pipeline, tensor
from iree_core.lowering.loops import ATOMIC
from iree_core.passes.input.reshapes import ResolveReshapes
from iree_core.passes.input.support import before, dialects, operations, replace
from iree_core.passes.state import CompilationState

_FROM_ONNX = "torch-onnx-to-torch-backend-pipeline"
_TO_BACKEND = (
    "func.func(torch-match-quantized-custom-ops),torchdynamo-export-to-torch-backend-pipeline"
)
# torch-backend-to-linalg-on-tensors-backend-pipeline without its last step, which accepts no
# operation of another dialect and so no flow.parameter.
_TO_LINALG = (
    "func.func(torch-restructure-non-constant-axes,torch-fuse-quantized-ops,"
    "convert-torch-to-tmtensor,canonicalize,convert-torch-to-linalg,canonicalize,"
    "convert-torch-to-scf,convert-torch-to-arith,convert-torch-to-tensor),"
    "convert-torch-conversion-to-mlprogram,"
    "func.func(memref-expand,canonicalize,resolve-shaped-type-result-dims,cse),"
    "torch-func-backend-type-conversion,"
    "func.func(canonicalize,torch-finalizing-backend-type-conversion)"
)


@dataclass(frozen=True)
class ConvertTorch:
    """Converts the ``torch`` dialect (ATen or imported ONNX operators) to linalg on tensors.

    Before::

        func.func @main(%x: !torch.vtensor<[?,4],f32>) -> !torch.vtensor<[?,4],f32> {
          %y = torch.aten.tanh %x : !torch.vtensor<[?,4],f32> -> !torch.vtensor<[?,4],f32>
          return %y : !torch.vtensor<[?,4],f32>
        }

    After::

        func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
          %y = linalg.generic ... math.tanh ...
          return %y : tensor<?x4xf32>
        }
    """

    name: str = "convert-torch"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert ``module`` if it has torch operations or types.

        Raises:
            UnsupportedOperatorError: naming every operator that no conversion knows.
        """
        if not dialects(module) & {"torch", "torch_c"}:
            return
        from iree_core.passes.input.torch_unsupported import explain

        if any(map(_is_onnx, operations(module, {"torch.operator"}))):
            run_pipeline(module, f"builtin.module({_FROM_ONNX})")
        if operations(module, {"func.call"}):
            run_pipeline(module, "builtin.module(inline,symbol-dce)")
        with module.context:
            original = ir.Module.parse(
                module.operation.get_asm(binary=True, enable_debug_info=True)
            )
        try:
            _convert(module)
        except ir.MLIRError:
            explanation = explain(original, _convert)
            if explanation is None:
                raise
            raise explanation from None
        ResolveReshapes().run(module, state)
        for op in operations(module, {"tensor.insert"}):
            if not ir.RankedTensorType(op.results[0].type).rank and not _in_atomic(op):
                _make_whole(op)


def _in_atomic(op: ir.Operation) -> bool:
    """Tell whether ``op`` is part of a program that writes into what it is given."""
    parent = op.parent
    while parent is not None:
        if ATOMIC in parent.attributes:
            return True
        parent = parent.operation.parent
    return False


def _make_whole(op: ir.Operation) -> None:
    """Replace writing into a tensor of rank 0 by making one (the state of random numbers)."""
    with before(op):
        replace(op, [tensor.from_elements(op.results[0].type, [op.operands[0]])])


def _convert(module: ir.Module) -> None:
    from iree_core.passes.input import torch_ops  # most models have no use for it

    torch_ops.lower(module)
    run_pipeline(module, f"builtin.module({_TO_BACKEND})")
    torch_ops.lower(module)  # what operators were decomposed to
    run_pipeline(module, f"builtin.module({_TO_LINALG})")


def _is_onnx(op: ir.Operation) -> bool:
    return ir.StringAttr(op.attributes["name"]).value.startswith("onnx.")
