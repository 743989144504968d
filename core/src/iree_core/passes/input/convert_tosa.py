"""TOSA to linalg, tensor, arith and scf, through the stock conversions."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import ir, run_pipeline
from iree_core.passes.input.support import dialects
from iree_core.passes.state import CompilationState

# tosa-to-linalg-pipeline leaves operations behind and rejects dynamic dimensions.
_PIPELINE = (
    "builtin.module(func.func(tosa-infer-shapes,tosa-make-broadcastable,"
    "tosa-optional-decompositions,canonicalize,tosa-to-linalg-named,tosa-to-linalg,"
    "tosa-to-arith{include-apply-rescale=true},tosa-to-tensor,tosa-to-scf),"
    "tosa-to-mlprogram,canonicalize,cse)"
)


@dataclass(frozen=True)
class ConvertTosa:
    """Converts the ``tosa`` dialect.

    Before::

        %y = tosa.tanh %x : (tensor<?x4xf32>) -> tensor<?x4xf32>

    After::

        %y = linalg.generic ... math.tanh ...
    """

    name: str = "convert-tosa"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert ``module`` if it has TOSA operations."""
        if "tosa" in dialects(module):
            run_pipeline(module, _PIPELINE)
