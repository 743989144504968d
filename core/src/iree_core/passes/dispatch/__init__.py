"""Phase ``dispatch-creation``: linalg on tensors becomes calls of dispatches.

``canonical`` brings the module into the form that the rest expects; ``structure`` and ``graph``
describe operations; ``grouping`` and ``inlining`` decide what is fused; ``outline`` moves groups
into functions; ``deduplicate`` merges equal ones.
"""

from __future__ import annotations

from iree_core.passes.dispatch.canonical import GENERALIZE, RestoreFills
from iree_core.passes.dispatch.deduplicate import DeduplicateDispatches
from iree_core.passes.dispatch.outline import CreateDispatches
from iree_core.passes.manager import MlirPipeline, Pass
from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of this phase in order."""
    return [
        GENERALIZE,
        RestoreFills(),
        CreateDispatches(),
        MlirPipeline("clean-up", "builtin.module(canonicalize,cse)"),
        DeduplicateDispatches(),
    ]
