"""Traces cases and computes what JAX gives; the part of the corpora that imports JAX.

    python -m tests.jax.references names SUITE FILE
    python -m tests.jax.references trace SUITE FOLDER

The first writes the names of all cases of a suite; the second takes the names in FOLDER's
``names.txt`` and writes a file per case beside it.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from tests.jax.cases.registry import Case

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


def main(command: str, suite: str, path: Path) -> None:
    """Serve one request."""
    module = importlib.import_module(f"tests.jax.{suite}")
    if command == "names":
        path.write_text("\n".join(module.names()))
        return
    for number, name in enumerate((path / "names.txt").read_text().split("\n")):
        try:
            content = reference(module.case(name))
        except Exception as error:  # whatever JAX does not support on the CPU
            content = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        (path / f"{number}.pickle").write_bytes(pickle.dumps(content))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
