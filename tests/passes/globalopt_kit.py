"""Runs passes on small modules and shows the result, for the tests of the middle end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from iree_core.codegen.kernel import CpuModel
from iree_core.interfaces import Target
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.manager import Pass, PassManager
from iree_core.passes.state import CompilationState, CompileOptions

MAPS = """
#ij = affine_map<(i, j) -> (i, j)>
#ji = affine_map<(i, j) -> (j, i)>
#i = affine_map<(i, j) -> (i)>
#j = affine_map<(i, j) -> (j)>
#ik = affine_map<(i, j, k) -> (i, k)>
#kj = affine_map<(i, j, k) -> (k, j)>
#ij_k = affine_map<(i, j, k) -> (i, j)>
"""


def make_state(opt_level: int = 3) -> CompilationState:
    """Return a state with weights ``w`` 8x64 and ``b`` 64, for a CPU with AVX-512."""
    parameters = ParameterStore()
    random = np.random.default_rng(0)
    parameters.add("w", random.standard_normal((8, 64), np.float32))
    parameters.add("w2", random.standard_normal((8, 64), np.float32))
    parameters.add("b", random.standard_normal(64, np.float32))
    parameters.add("b2", random.standard_normal(64, np.float32))
    return CompilationState(
        parameters,
        Target("llvm-cpu", "test", CpuModel()),
        None,  # type: ignore[arg-type]
        CompileOptions(opt_level=opt_level),
    )


def run(
    text: str, passes: Sequence[Pass], state: CompilationState | None = None
) -> tuple[str, CompilationState]:
    """Return the module after ``passes`` as text, and the state."""
    state = state or make_state()
    context = make_context()
    with context:
        module = ir.Module.parse(MAPS + text)
    PassManager(list(passes)).run(module, state)
    return str(module), state


def count(text: str) -> Counter[str]:
    """Return how often each operation name of interest occurs."""
    names = (
        "linalg.generic", "linalg.fill", "tensor.collapse_shape", "tensor.expand_shape",
        "tensor.extract_slice", "tensor.pad", "tensor.concat", "call @", "func.func private",
        "flow.parameter", "tensor.dim",
    )  # fmt: skip
    return Counter({name: text.count(name) for name in names})


def elementwise(name: str, source: str, kind: str, body: str, *, out: str = "") -> str:
    """Return a rank-2 elementwise generic; ``body`` computes %r from %a."""
    return f"""
      %{name}_e = tensor.empty() : {out or kind}
      %{name} = linalg.generic {{indexing_maps = [#ij, #ij],
          iterator_types = ["parallel", "parallel"]}}
          ins({source} : {kind}) outs(%{name}_e : {out or kind}) {{
        ^bb0(%a: f32, %o: f32):
          {body}
          linalg.yield %r : f32
      }} -> {out or kind}"""
