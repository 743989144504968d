"""VHLO to StableHLO, and StableHLO and CHLO to linalg: stock conversions and our own."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import ir, run_pipeline, stablehlo
from iree_core.passes.input.support import dialects
from iree_core.passes.state import CompilationState

_INLINE = "inline,symbol-dce,func.func(stablehlo-legalize-composite-to-call),inline,symbol-dce"
_FROM_CHLO = (
    "func.func(remove-shape-constraints,canonicalize,chlo-legalize-to-stablehlo,"
    "remove-shape-constraints,canonicalize)"
)
_QUANTIZED = "func.func(stablehlo-legalize-quant-to-math)"
_SHAPES = "func.func(shape-legalize-to-stablehlo)"
_EXPAND = (
    "func.func(stablehlo-canonicalize-dynamism,stablehlo-complex-math-expander,canonicalize,cse)"
)
# Signedness is needed up to here: before, unsigned division would become signed.
_SIGNLESS = "stablehlo-convert-to-signless,reconcile-unrealized-casts,canonicalize,cse,symbol-dce"
_SHAPE_TO_STANDARD = "func.func(convert-shape-constraints),convert-shape-to-std"


@dataclass(frozen=True)
class ConvertVhlo:
    """Converts ``vhlo``, the versioned form in which StableHLO is stored.

    Before::

        %y = vhlo.tanh_v2 %x : (!vhlo.tensor_v1<4x!vhlo.f32_v1>) -> ...

    After::

        %y = stablehlo.tanh %x : tensor<4xf32>
    """

    name: str = "convert-vhlo"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert ``module`` if it has VHLO operations."""
        if "vhlo" in dialects(module):
            version = stablehlo.get_current_version()
            upgrade = f"vhlo-to-version{{target={version}}},vhlo-legalize-to-stablehlo"
            run_pipeline(module, f"builtin.module({upgrade})")


@dataclass(frozen=True)
class ConvertStablehlo:
    """Converts the ``stablehlo`` and ``chlo`` dialects to linalg on signless tensors.

    Before::

        %y = stablehlo.tanh %x : tensor<?x4xf32>

    After::

        %y = linalg.generic ... math.tanh ...
    """

    name: str = "convert-stablehlo"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert ``module`` if it has operations of these dialects."""
        if dialects(module) & {"stablehlo", "chlo"}:
            _convert(module, state)


def _convert(module: ir.Module, state: CompilationState) -> None:
    # Imported here: most models have none of this, and loading it takes 30 ms.
    from iree_core.passes.input.stablehlo_control_flow import StablehloControlFlow
    from iree_core.passes.input.stablehlo_programs import TOP_K, StablehloPrograms
    from iree_core.passes.input.stablehlo_simplify import StablehloSimplify, hint_broadcasts
    from iree_core.passes.input.stablehlo_sizes import StablehloSizes

    run_pipeline(module, f"builtin.module({_INLINE})")
    hint_broadcasts(module)
    # Top-k is a program of its own; the stock expansion sorts everything.
    StablehloPrograms(only=frozenset({TOP_K})).run(module, state)
    run_pipeline(module, f"builtin.module({_FROM_CHLO})")
    if "!quant." in str(module):
        run_pipeline(module, f"builtin.module({_QUANTIZED})")
    if "shape" in dialects(module):
        # The conversion to StableHLO knows no operation of the tensor dialect.
        mixed = "tensor" in dialects(module)
        run_pipeline(module, f"builtin.module({_SHAPE_TO_STANDARD if mixed else _SHAPES})")
    run_pipeline(module, f"builtin.module({_EXPAND})")
    StablehloControlFlow().run(module, state)
    StablehloSimplify().run(module, state)
    StablehloSizes().run(module, state)
    StablehloPrograms().run(module, state)
    run_pipeline(module, "builtin.module(stablehlo-legalize-to-linalg)")
    # The conversion itself makes dimension queries.
    StablehloSimplify().run(module, state)
    if "shape" in dialects(module):
        run_pipeline(module, f"builtin.module({_SHAPE_TO_STANDARD})")
    run_pipeline(module, f"builtin.module({_SIGNLESS})")
