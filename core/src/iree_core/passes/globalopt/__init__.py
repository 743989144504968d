"""Phase ``global-optimization``: rewrites over the whole model, before dispatches are formed."""

from __future__ import annotations

from iree_core.passes.globalopt.absorb_reshapes import AbsorbReshapes
from iree_core.passes.globalopt.canonical import GENERALIZE, RestoreFills
from iree_core.passes.globalopt.channels_last import ChannelsLast
from iree_core.passes.globalopt.drop_unit_windows import DropUnitWindows
from iree_core.passes.globalopt.evaluate_parameters import EvaluateParameters
from iree_core.passes.globalopt.fold_quantization import FoldQuantization
from iree_core.passes.globalopt.fold_scale_shift import FoldScaleShift
from iree_core.passes.globalopt.fold_transposes import FoldTransposes
from iree_core.passes.globalopt.inline_splats import InlineSplats
from iree_core.passes.globalopt.merge_contractions import MergeContractions
from iree_core.passes.globalopt.pack_weights import PackWeights
from iree_core.passes.globalopt.scale_after import ScaleAfterContraction
from iree_core.passes.manager import MlirPipeline, Pass
from iree_core.passes.state import CompilationState

CLEAN_UP = MlirPipeline("clean-up", "builtin.module(canonicalize,cse,symbol-dce)")


def passes(state: CompilationState) -> list[Pass]:
    """Return the passes of this phase in order; those that only make code faster from -O1 on."""
    canonical: list[Pass] = [GENERALIZE, RestoreFills()]
    if state.options.opt_level == 0:
        return [*canonical, CLEAN_UP]
    return [
        *canonical,
        InlineSplats(),
        FoldQuantization(),
        EvaluateParameters(),
        FoldScaleShift(),
        ChannelsLast(),
        FoldTransposes(),
        CLEAN_UP,
        AbsorbReshapes(),
        DropUnitWindows(),
        ScaleAfterContraction(),
        FoldTransposes(),
        EvaluateParameters(),
        MergeContractions(),
        PackWeights(),
        CLEAN_UP,
    ]
