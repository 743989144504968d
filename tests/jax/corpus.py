"""Runs the cases of ``cases.py`` and compares with JAX.

    python -m tests.jax.corpus [--only TEXT] [--write] [--jobs N]

JAX traces and computes in one process and leaves programs and expected results in a folder;
this process, which never imports JAX, compiles and runs each in a child with a time limit.
``--write`` adds what passes to ``corpus_passes.txt``; the list never shrinks.
"""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
PASSES = HERE / "corpus_passes.txt"
TIME_LIMIT = 120


def recorded() -> list[str]:
    """Return the names of the cases that are known to pass."""
    return PASSES.read_text().split("\n")[:-1] if PASSES.exists() else []


def prepare(folder: Path, names: Sequence[str] | None, only: str = "") -> list[str]:
    """Have JAX trace the cases into ``folder``; return their names."""
    request = folder / "request.pickle"
    request.write_bytes(pickle.dumps((names, only)))
    subprocess.run(
        [sys.executable, "-m", "tests.jax.references", str(folder)],
        check=True,
        cwd=HERE.parent.parent,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    return pickle.loads((folder / "names.pickle").read_bytes())


def run_case(path: Path) -> str | None:
    """Compile, run and compare one case; return what is wrong, None if nothing is."""
    import iree_core as iree
    from iree_core.compile_worker import compile_model
    from iree_core.compiler_service import CompileRequest
    from iree_core.passes.state import CompileOptions

    case = pickle.loads(path.read_bytes())
    if "error" in case:
        return f"JAX: {case['error']}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, output = folder / "model", folder / "module.vmfb"
        model.write_bytes(case["program"])
        request = CompileRequest(
            model, "jax", {}, "llvm-cpu", CompileOptions(threads=1), output, folder
        )
        compile_model(request, lambda _: None)
        loaded = iree.load(output, device="local-sync")
        found = loaded.main(*case["inputs"])
    results = found if isinstance(found, tuple) else (found,)
    if len(results) != len(case["expected"]):
        return f"{len(results)} results for {len(case['expected'])}"
    for place, (result, wanted) in enumerate(zip(results, case["expected"], strict=True)):
        wrong = compare(np.asarray(result), wanted, case["tolerance"])
        if wrong:
            return f"result {place}: {wrong}"
    return None


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
    error = float((np.abs(a - b)[finite] / (1 + np.abs(b[finite]))).max())
    return None if error <= tolerance else f"error {error:.2g}"


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


def run(folder: Path, names: Sequence[str], report: bool = False) -> dict[str, str | None]:
    """Return what is wrong with each case."""
    # Import once, so that children need not.
    from iree_core.ir import make_context

    make_context()
    outcomes = {}
    for number, name in enumerate(names):
        started = time.perf_counter()
        outcomes[name] = run_isolated(folder / f"{number}.pickle")
        if report:
            seconds = time.perf_counter() - started
            state = "ok  " if outcomes[name] is None else "FAIL"
            print(f"{state} {name} {seconds:.1f}s {(outcomes[name] or '')[:600]}", flush=True)
    return outcomes


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--part", default="0/1", help="I/N: every Nth case from the Ith on")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = prepare(folder, arguments.names or None, f"{arguments.only}@{arguments.part}")
        outcomes = run(folder, names, report=True)
    passed = [name for name, problem in outcomes.items() if problem is None]
    print(f"{len(passed)} of {len(outcomes)} pass ({100 * len(passed) / len(outcomes):.1f} %)")
    if arguments.write:
        every = sorted({*recorded(), *passed})
        PASSES.write_text("".join(f"{name}\n" for name in every))


if __name__ == "__main__":
    main()
