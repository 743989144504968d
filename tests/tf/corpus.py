"""Runs the corpus of operations and compares with TensorFlow.

    python -m tests.tf.corpus [--only TEXT] [--missing] [--write] [--part I/N]

TensorFlow exports and computes in one process (``references``); this one, which never imports
it, compiles and runs each case in a child with a time limit. ``--write`` adds what passes to
``cases_passes.txt``, which never shrinks. Names that end in ``@static`` have static shapes.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from iree_core.runtime_api import LoadedModule

HERE = Path(__file__).resolve().parent
PASSES = HERE / "cases_passes.txt"
TIME_LIMIT = 120
TOLERANCE = 2e-5  # of the largest element
# Cases are traced in groups of this size.
_BATCH = 128
# Those that lose digits in TensorFlow or here, because of their method or type.
_LOOSER = {
    "linalg.": 2e-4, "math.special": 1e-4, "math.casts": 1e-2, "math.polygamma": 1e-4,
    "math.betainc": 1e-4, "linalg.sqrtm": 2e-3, "images.ssim": 1e-4,
}  # fmt: skip


def recorded() -> list[str]:
    """Return the names of the cases that are known to pass."""
    return PASSES.read_text().split("\n")[:-1] if PASSES.exists() else []


def _tensorflow(*arguments: str) -> int:
    command = [sys.executable, "-m", "tests.tf.references", *arguments]
    done = subprocess.run(command, cwd=HERE.parent.parent, stderr=subprocess.PIPE)
    if done.returncode > 0:
        sys.stderr.buffer.write(done.stderr)
    return done.returncode


def all_names() -> list[str]:
    """Return the names of all cases."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names"
        if _tensorflow("names", str(path)):
            raise SystemExit("The cases cannot be listed.")
        return path.read_text().split("\n")


def run(
    names: Sequence[str], finished: Callable[[str, str | None], None] | None = None
) -> dict[str, str | None]:
    """Return what is wrong with each case, None for nothing; ``finished`` hears of each."""
    _import_compiler()
    outcomes: dict[str, str | None] = {}
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "names.txt").write_text("\n".join(batch))
            while _tensorflow("trace", str(folder)) < 0:  # died of a case: go on with the next
                pass
            for number, case in enumerate(batch):
                report = folder / f"{number}.txt"
                problem = report.read_text() if report.exists() else "not traced"
                outcomes[case] = problem or run_isolated(folder / str(number), tolerance(case))
                if finished is not None:
                    finished(case, outcomes[case])
    return outcomes


def tolerance(name: str) -> float:
    """Return by what share of the largest element floats of a case may differ."""
    found = [bound for start, bound in _LOOSER.items() if name.startswith(start)]
    return max(found, default=TOLERANCE)


_PROGRAM = """
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = stablehlo.add %x, %x : tensor<4xf32>
  func.return %y : tensor<4xf32>
}
"""


def _import_compiler() -> None:
    """Load what every case needs, so that the children need not."""
    import iree_frontend_tf.programs.leftovers
    from iree_frontend_tf.tflite import registry

    registry.load()
    assert iree_frontend_tf.programs.leftovers
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.mlir"
        path.write_text(_PROGRAM)
        _compiled(path, None, Path(name))


def run_isolated(folder: Path, bound: float) -> str | None:
    """Like :func:`run_case`, in a child that may die or hang."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(TIME_LIMIT)
        try:
            problem = run_case(folder, bound)
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


def run_case(folder: Path, bound: float) -> str | None:
    """Compile, run and compare one case; return what is wrong, None if nothing is."""
    stored = np.load(folder.with_suffix(".npz"))
    given, wanted = (
        [stored[f"{kind}.{n}"] for n in range(sum(k.startswith(kind) for k in stored.files))]
        for kind in ("in", "out")
    )
    found = _compiled(folder, "tensorflow", folder).main(*given)
    results = () if found is None else found if isinstance(found, tuple) else (found,)
    if len(results) != len(wanted):
        return f"{len(results)} results for {len(wanted)}"
    for place, (result, expected) in enumerate(zip(results, wanted, strict=True)):
        wrong = compare(np.asarray(result), expected, bound)
        if wrong:
            return f"result {place}: {wrong}"
    return None


def _compiled(model: Path, frontend: str | None, folder: Path) -> LoadedModule:
    import iree_core as iree
    from iree_core.compile_worker import compile_model
    from iree_core.compiler_service import CompileRequest
    from iree_core.passes.state import CompileOptions

    output, options = folder / "module.vmfb", CompileOptions(threads=1)
    request = CompileRequest(model, frontend, {}, "llvm-cpu", options, output, folder)
    compile_model(request, lambda _: None)
    return iree.load(output, device="local-sync")


def compare(found: np.ndarray, wanted: np.ndarray, bound: float) -> str | None:
    """Say how a result differs; floats may by ``bound`` of the largest element."""
    if found.shape != wanted.shape:
        return f"shape {found.shape} for {wanted.shape}"
    if found.dtype.name == "bfloat16":
        found = found.astype(np.float32)
    if found.dtype != wanted.dtype:
        return f"type {found.dtype} for {wanted.dtype}"
    if wanted.dtype.kind not in "fc":
        return None if np.array_equal(found, wanted) else f"{found} for {wanted}"[:300]
    largest = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0))
    if np.allclose(found, wanted, rtol=0, atol=bound * largest, equal_nan=True):
        return None
    return f"differs by {np.abs(found - wanted).max() / largest:.1e}"


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="cases with one of these in the name")
    parser.add_argument("--missing", action="store_true", help="only cases that are not recorded")
    parser.add_argument("--write", action="store_true", help="record what passes")
    parser.add_argument("--part", default="0/1", help="I/N: every N-th case from I")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    known = recorded()
    names = [n for n in all_names()[part::parts] if not arguments.missing or n not in known]
    if arguments.only:
        names = [n for n in names if any(text in n for text in arguments.only)]

    def finished(name: str, problem: str | None) -> None:
        print(f"{'ok  ' if problem is None else 'FAIL'} {name} {problem or ''}", flush=True)

    outcomes = run(names, finished)
    passed = [name for name, problem in outcomes.items() if problem is None]
    print(f"{len(passed)} of {len(names)} pass")
    if arguments.write:
        PASSES.write_text("".join(f"{name}\n" for name in sorted({*known, *passed})))


if __name__ == "__main__":
    main()
