"""Phase ``abi``: public functions get a declared signature.

Names, dtypes and dynamic dimensions are written into attributes of arguments and results, where
every later phase and the module file's reflection find them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.passes.abi.box_scalars import BoxScalars
from iree_core.passes.abi.declare_signatures import DeclareSignatures
from iree_core.passes.abi.equate_dimensions import EquateDimensions

if TYPE_CHECKING:
    from iree_core.passes.manager import Pass
    from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of the phase, in order."""
    return [BoxScalars(), DeclareSignatures(), EquateDimensions()]
