"""Runs the cases of a suite and compares with JAX.

    python -m tests.jax.corpus [--suite SUITE] [--only TEXT] [--missing] [--write] [--part I/N]

The suites ``cases`` and ``libraries`` are this folder's, ``harnesses`` is JAX's own. JAX traces
and computes in one process and leaves programs and expected results in a folder; this process,
which never imports JAX, compiles and runs each in a child with a time limit. ``--write`` adds
each case that passes to ``SUITE_passes.txt`` at once; the lists never shrink.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from iree_core.runtime_api import LoadedModule

HERE = Path(__file__).resolve().parent
SUITES = ("cases", "harnesses", "libraries")
TIME_LIMIT = 120
_TARGET = "llvm-cpu"
# As many cases are traced before the first of them is compiled.
_BATCH = 64


def passes(suite: str) -> Path:
    """Return the file that lists the cases known to pass."""
    return HERE / f"{suite}_passes.txt"


def recorded(suite: str) -> list[str]:
    """Return the names of the cases that are known to pass."""
    path = passes(suite)
    return path.read_text().split("\n")[:-1] if path.exists() else []


def record(suite: str, name: str) -> None:
    """Add a case to those known to pass; runners in several processes may do so at once."""
    folder = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        every = sorted({*recorded(suite), name})
        beside = passes(suite).with_suffix(".part")
        beside.write_text("".join(f"{name}\n" for name in every))
        beside.replace(passes(suite))
    finally:
        os.close(folder)


def _jax(*arguments: str) -> int:
    """Run the part that imports JAX; return its exit code."""
    command = [sys.executable, "-m", "tests.jax.references", *arguments]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=HERE.parent.parent, env=environment).returncode


def all_names(suite: str) -> list[str]:
    """Return the names of all cases of a suite."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names"
        if _jax("names", suite, str(path)):
            raise SystemExit(f"The cases of {suite} cannot be listed.")
        return path.read_text().split("\n")


def run(
    suite: str,
    names: Sequence[str],
    finished: Callable[[str, str | None, float], None] | None = None,
) -> dict[str, str | None]:
    """Return what is wrong with each case, None for nothing.

    Args:
        suite: where the cases are from.
        names: of the cases.
        finished: called with each name, what is wrong, and the seconds it took.
    """
    _import_compiler()
    outcomes: dict[str, str | None] = {}
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "names.txt").write_text("\n".join(batch))
            status = _jax("trace", suite, folder)
            for number, name in enumerate(batch):
                started = time.perf_counter()
                path = Path(folder, f"{number}.pickle")
                died = f"JAX: its process ended with {status} before this case"
                outcomes[name] = run_isolated(path) if path.exists() else died
                if finished is not None:
                    finished(name, outcomes[name], time.perf_counter() - started)
    return outcomes


_DISPATCH = """
func.func private @double(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
  %none = tensor.empty() : tensor<4xf32>
  %y = linalg.generic {
    indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>],
    iterator_types = ["parallel"]
  } ins(%x : tensor<4xf32>) outs(%none : tensor<4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %a : f32
    linalg.yield %c : f32
  } -> tensor<4xf32>
  func.return %y : tensor<4xf32>
}
"""
_PROGRAM = """
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = stablehlo.add %x, %x : tensor<4xf32>
  func.return %y : tensor<4xf32>
}
"""


def _import_compiler() -> None:
    """Load every part that a case needs, so that the children need not: five times as fast."""
    import iree_frontend_jax.importer
    from iree_core.plugins import installed
    from iree_core.target_choice import choose_target

    backend, target = choose_target(_TARGET, installed())
    backend.compile(_DISPATCH, target)
    assert iree_frontend_jax.importer
    with tempfile.TemporaryDirectory() as folder:
        _compile_and_load(_PROGRAM.encode(), None, Path(folder))


def run_isolated(path: Path) -> str | None:
    """Like :func:`run_case`, in a child that may die or hang."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(TIME_LIMIT)
        try:
            problem = run_case(path)
        except BaseException as error:
            if os.environ.get("CORPUS_TRACE"):
                traceback.print_exc()
            problem = f"{type(error).__name__}: {error}"
        os.write(writer, (problem or "").encode()[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if status:
        return f"died of signal {status & 127}"
    return text or None


def run_case(path: Path) -> str | None:
    """Compile, run and compare one case; return what is wrong, None if nothing is."""
    case = pickle.loads(path.read_bytes())
    if "error" in case:
        return f"JAX: {case['error']}"
    with tempfile.TemporaryDirectory() as name:
        found = _compile_and_load(case["program"], "jax", Path(name)).main(*case["inputs"])
    results = found if isinstance(found, tuple) else (found,)
    if len(results) != len(case["expected"]):
        return f"{len(results)} results for {len(case['expected'])}"
    for place, (result, wanted) in enumerate(zip(results, case["expected"], strict=True)):
        wrong = compare(np.asarray(result), wanted, case["tolerance"])
        if wrong:
            return f"result {place}: {wrong}"
    return None


def _compile_and_load(program: bytes, frontend: str | None, folder: Path) -> LoadedModule:
    import iree_core as iree
    from iree_core.compile_worker import compile_model
    from iree_core.compiler_service import CompileRequest
    from iree_core.passes.state import CompileOptions

    model, output = folder / "model.mlir", folder / "module.vmfb"
    model.write_bytes(program)
    request = CompileRequest(
        model, frontend, {}, _TARGET, CompileOptions(threads=1), output, folder
    )
    compile_model(request, lambda _: None)
    return iree.load(output, device="local-sync")


def compare(found: NDArray, wanted: NDArray, tolerance: float) -> str | None:
    """Return how two arrays differ; integers must be equal, NaNs and infinities in place."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype}{list(found.shape)} for {wanted.dtype}{list(wanted.shape)}"
    kind = "complex128" if wanted.dtype.kind == "c" else "float64"
    if wanted.dtype.kind in "biu" or "int" in wanted.dtype.name:
        different = int((found != wanted).sum())
        return f"{different} of {wanted.size} differ" if different else None
    a, b = found.astype(kind), wanted.astype(kind)
    if (np.isnan(a) != np.isnan(b)).any():
        return f"NaN at {int((np.isnan(a) != np.isnan(b)).sum())} places that differ"
    finite = np.isfinite(b)
    if (a[~finite & ~np.isnan(b)] != b[~finite & ~np.isnan(b)]).any():
        return "infinities differ"
    if not finite.any():
        return None
    error = float((np.abs(a[finite] - b[finite]) / (1 + np.abs(b[finite]))).max())
    return None if error <= tolerance else f"error {error:.2g}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", choices=SUITES, default="cases")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--missing", action="store_true", help="cases that are not recorded")
    parser.add_argument("--write", action="store_true", help="record each case that passes")
    parser.add_argument("--part", default="0/1", help="I/N: every Nth case from the Ith on")
    parser.add_argument("--outcomes", type=Path, help="write what is wrong with each case as JSON")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    known = recorded(arguments.suite) if arguments.missing else ()
    names = arguments.names or [
        name for name in all_names(arguments.suite) if arguments.only in name and name not in known
    ]
    first, step = map(int, arguments.part.split("/"))

    def finished(name: str, problem: str | None, seconds: float) -> None:
        state = "ok  " if problem is None else "FAIL"
        print(f"{state} {name} {seconds:.1f}s {(problem or '')[:600]}", flush=True)
        if arguments.write and problem is None:
            record(arguments.suite, name)

    outcomes = run(arguments.suite, names[first::step], finished)
    if arguments.outcomes is not None:
        arguments.outcomes.write_text(json.dumps(outcomes))
    passed = sum(problem is None for problem in outcomes.values())
    print(f"{passed} of {len(outcomes)} pass ({100 * passed / max(len(outcomes), 1):.1f} %)")


if __name__ == "__main__":
    main()
