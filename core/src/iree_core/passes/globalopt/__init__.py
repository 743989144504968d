"""Phase ``global-optimization``: rewrites over the whole model, before dispatches are formed."""

from __future__ import annotations

from iree_core.passes.manager import MlirPipeline, Pass
from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of this phase in order."""
    return [MlirPipeline("clean-up", "builtin.module(canonicalize,cse,symbol-dce)")]
