"""Phase ``vm``: host functions become the program that the runtime runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.passes.vm.lower_functions import LowerFunctions

if TYPE_CHECKING:
    from iree_core.passes.manager import Pass
    from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of the phase, in order."""
    return [LowerFunctions()]
