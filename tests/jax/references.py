"""Traces cases and computes what JAX gives; the part of the corpus that imports JAX.

python -m tests.jax.references FOLDER
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from tests.jax.cases import Case, build

from iree_frontend_jax.arrays import to_host
from iree_frontend_jax.tracing import trace


def reference(case: Case) -> dict[str, Any]:
    """Return the program, its inputs and the expected results, or the error of JAX."""
    with jax.enable_x64(True) if case.x64 else contextlib.nullcontext():
        jitted = jax.jit(case.function)
        expected = jax.tree.leaves(jitted(*case.arguments))
        traced = trace(jitted, _described(case), {})
        leaves = jax.tree.leaves(case.arguments)
        inputs = [to_host(traced.in_avals[n].dtype)(leaves[n]) for n in traced.kept]
        return {
            "program": traced.program.to_bytes(),
            "inputs": inputs,
            "expected": [np.asarray(value) for value in expected],
            "tolerance": case.tolerance,
        }


def _described(case: Case) -> tuple[Any, ...]:
    if case.dims is None:
        return case.arguments
    scope = export.SymbolicScope()
    return tuple(
        argument
        if dims is None
        else jax.ShapeDtypeStruct(export.symbolic_shape(dims, scope=scope), argument.dtype)
        for argument, dims in zip(case.arguments, case.dims, strict=True)
    )


def main(folder: Path) -> None:
    """Serve one request."""
    names, selection = pickle.loads((folder / "request.pickle").read_bytes())
    only, _, part = selection.partition("@")
    cases = [c for name, c in build().items() if only in name and (names is None or name in names)]
    if part:
        first, step = map(int, part.split("/"))
        cases = cases[first::step]
    for number, case in enumerate(cases):
        try:
            content = reference(case)
        except Exception as error:  # whatever JAX does not support on the CPU
            content = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        (folder / f"{number}.pickle").write_bytes(pickle.dumps(content))
    (folder / "names.pickle").write_bytes(pickle.dumps([case.name for case in cases]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
