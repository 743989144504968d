"""Phase ``scheduling``: host functions on tensors become host functions on buffers.

One arena per call holds the intermediate values, at offsets found from their lifetimes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.passes.scheduling.bufferize import Bufferize
from iree_core.passes.scheduling.inline_calls import InlineCalls
from iree_core.passes.scheduling.plan_memory import PlanMemory
from iree_core.passes.scheduling.simplify_host import SimplifyHost

if TYPE_CHECKING:
    from iree_core.passes.manager import Pass
    from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of the phase, in order."""
    return [
        InlineCalls(),
        SimplifyHost("simplify-tensors", "lower-affine,canonicalize,cse"),
        Bufferize(),
        SimplifyHost("simplify-buffers", "canonicalize,cse"),
        PlanMemory(),
        SimplifyHost("simplify-offsets", "canonicalize,cse"),
    ]
