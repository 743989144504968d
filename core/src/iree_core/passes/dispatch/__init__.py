"""Phase ``dispatch-creation``: linalg on tensors becomes calls of dispatches.

The module comes in the form of ``globalopt.canonical``. ``structure`` and ``graph`` describe
operations; ``grouping`` and ``inlining`` decide what is fused; ``outline`` moves groups
into functions; ``collapse_loops`` gives them fewer loops; ``deduplicate`` merges equal ones.
"""

from __future__ import annotations

from iree_core.passes.dispatch.collapse_loops import CollapseLoops
from iree_core.passes.dispatch.deduplicate import DeduplicateDispatches
from iree_core.passes.dispatch.outline import CreateDispatches
from iree_core.passes.manager import MlirPipeline, Pass
from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of this phase in order."""
    return [
        CreateDispatches(),
        CollapseLoops(),
        MlirPipeline("clean-up", "builtin.module(canonicalize,cse)"),
        DeduplicateDispatches(),
    ]
