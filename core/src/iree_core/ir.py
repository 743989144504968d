"""The one door to MLIR: contexts with every dialect the compiler speaks, and pipelines over them.

Nothing else in the project imports ``torch_mlir`` directly, so moving to another provider of
the MLIR Python bindings touches this file only. Importing this module costs about 0.2 s and
64 MB; the runtime never does.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from types import ModuleType

from torch_mlir import ir, passmanager, rewrite
from torch_mlir._mlir_libs import _stablehlo as stablehlo
from torch_mlir._mlir_libs._torchMlir import register_dialect as _register_torch_dialect
from torch_mlir.dialects import (
    affine,
    arith,
    builtin,
    cf,
    complex,
    ext,
    func,
    linalg,
    llvm,
    math,
    memref,
    ml_program,
    scf,
    tensor,
    vector,
)

__all__ = [
    "Context",
    "Location",
    "Module",
    "affine",
    "arith",
    "builtin",
    "cf",
    "complex",
    "count_operations",
    "ext",
    "func",
    "ir",
    "linalg",
    "llvm",
    "make_context",
    "math",
    "memref",
    "ml_program",
    "rewrite",
    "run_pipeline",
    "scf",
    "stablehlo",
    "tensor",
    "vector",
]

Context = ir.Context
Location = ir.Location
Module = ir.Module

stablehlo.register_stablehlo_passes()
# The bindings look for a Python module of its dialect whenever they meet an operation, in these
# packages, and as long as they find none, every time anew. Ours are in iree_core.dialects; some
# of upstream have none, and an empty module ends the search.
ir._globals.append_dialect_search_prefix("iree_core.dialects")
for _name in ("chlo", "stablehlo", "tm_tensor", "torch_c", "vhlo"):
    sys.modules.setdefault(f"iree_core.dialects.{_name}", ModuleType(_name))

# chlo, tm_tensor and torch_c have no registration of their own in Python. Running passes that
# depend on them over an empty module makes the context load them.
_LOAD_DEPENDENT_DIALECTS = (
    "builtin.module(func.func(convert-torch-to-stablehlo,convert-torch-to-tmtensor),"
    "torch-func-backend-type-conversion,stablehlo-legalize-to-vhlo,vhlo-legalize-to-stablehlo)"
)


def make_context() -> ir.Context:
    """Return a context in which every input dialect and our own dialects are loaded."""
    from iree_core.dialects import flow, hal

    context = ir.Context()
    _register_torch_dialect(context)
    stablehlo.register_dialect(context)
    with context, ir.Location.unknown():
        run_pipeline(ir.Module.create(), _LOAD_DEPENDENT_DIALECTS)
        flow.Flow.load()
        hal.Hal.load()
    return context


# This upstream pattern narrows the type of a loop-carried tensor to that of its first value even
# where the loop changes the size, which makes loops that grow a tensor write out of bounds.
_CANONICALIZE = "canonicalize{disable-patterns={anonymous}::ForOpTensorCastFolder}"
_PLAIN_CANONICALIZE = re.compile(r"(?<![-\w])canonicalize(?![-\w{])")


def run_pipeline(module: ir.Module, pipeline: str, *, verify: bool = True) -> None:
    """Run a textual MLIR pass pipeline on ``module`` in place.

    Raises:
        ir.MLIRError: a pass failed; the diagnostics are in the exception.
    """
    with module.context:
        manager = passmanager.PassManager.parse(_PLAIN_CANONICALIZE.sub(_CANONICALIZE, pipeline))
        manager.enable_verifier(verify)
        manager.run(module.operation)


def count_operations(module: ir.Module) -> Counter[str]:
    """Return how often each operation name occurs in ``module``, nested regions included."""
    counts: Counter[str] = Counter()

    def visit(op: ir.Operation) -> ir.WalkResult:
        counts[op.operation.name] += 1
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return counts
