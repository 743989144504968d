"""Pass: upstream simplifications on host functions; dispatches stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.ir import func, ir, run_pipeline
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class SimplifyHost:
    """Run function passes on every function that is no dispatch::

        %c4 = arith.constant 4 : index
        %0 = arith.muli %c4, %c4 : index

    becomes, with ``canonicalize``::

        %c16 = arith.constant 16 : index

    Attributes:
        name: of this pass.
        pipeline: passes over ``func.func``, in MLIR's textual form.
    """

    name: str
    pipeline: str

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Run the pipeline on the host functions of ``module``."""
        for op in module.body.operations:
            if isinstance(op, func.FuncOp) and flow.DISPATCH not in op.attributes:
                run_pipeline(op, f"func.func({self.pipeline})", verify=False)
