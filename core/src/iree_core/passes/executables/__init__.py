"""Phase ``executables``: every distinct dispatch becomes a binary, then one executable."""

from __future__ import annotations

from iree_core.passes.executables.apply_tuning import ApplyTuning
from iree_core.passes.executables.compile_dispatches import CompileDispatches
from iree_core.passes.manager import Pass
from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of this phase."""
    return [ApplyTuning(state.options.tuning), CompileDispatches()]
