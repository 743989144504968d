"""The ``input`` phase: any input dialect becomes linalg on tensors.

After it, public functions work on signless tensors with operations of linalg, tensor, arith,
math, scf, complex, ml_program and flow; constants of more than 64 elements are parameters.
"""

from __future__ import annotations

from iree_core.passes.input.complex_constants import ReplaceComplexConstants
from iree_core.passes.input.constants import ExternalizeConstants
from iree_core.passes.input.convert_stablehlo import ConvertStablehlo, ConvertVhlo
from iree_core.passes.input.convert_tm_tensor import ConvertTmTensor
from iree_core.passes.input.convert_torch import ConvertTorch
from iree_core.passes.input.convert_tosa import ConvertTosa
from iree_core.passes.input.finish import CanonicalizeInput, CheckCanonical
from iree_core.passes.input.signature import RecordSignature
from iree_core.passes.manager import Pass
from iree_core.passes.state import CompilationState


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes; each leaves a module alone that has nothing of its dialect."""
    return [
        ConvertVhlo(),
        RecordSignature(),
        # Weights leave the IR before conversions copy or fold them.
        ExternalizeConstants(min_elements=16384, name="externalize-weights"),
        ConvertTorch(),
        ConvertStablehlo(),
        ConvertTosa(),
        ConvertTmTensor(),
        CanonicalizeInput(),
        ExternalizeConstants(),
        ReplaceComplexConstants(),
        CheckCanonical(),
    ]
