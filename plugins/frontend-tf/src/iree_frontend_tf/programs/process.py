"""Runs the exporter in a process that has TensorFlow, apart from the one that compiles.

Two builds of MLIR cannot share a process, and TensorFlow may live in another environment: the
exporter (``worker/``) needs TensorFlow and numpy only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from iree_core.errors import ImportModelError, IreeError, UnsupportedOperatorError, UsageError

if TYPE_CHECKING:  # it loads MLIR, and users' processes may have TensorFlow loaded
    from iree_core.interfaces import ImportOptions

PYTHON = "IREE_TENSORFLOW_PYTHON"
_SHARED_MEMORY = Path("/dev/shm")
ERRORS: dict[str, type[IreeError]] = {
    "model": ImportModelError,
    "unsupported": UnsupportedOperatorError,
    "usage": UsageError,
}
# Loads the folder of the exporter as a package, whatever else the interpreter has installed.
_START = """
import importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "iree_tensorflow_exporter", folder + "/__init__.py", submodule_search_locations=[folder]
)
package = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = package
spec.loader.exec_module(package)
from iree_tensorflow_exporter.main import main
sys.exit(main(sys.argv[2]))
"""


@contextmanager
def exported(path: Path, options: ImportOptions) -> Iterator[Path]:
    """Export the model at ``path``; the folder with the program exists inside the context.

    Raises:
        IreeError: of the kind that fits; it carries TensorFlow's words.
    """
    unknown = set(options.extra) - {"python", "functions"}
    if unknown:
        raise UsageError(
            f"The TensorFlow frontend has no option {sorted(unknown)[0]!r}.",
            hint="Known are python and functions.",
        )
    with program_folder(_size(path)) as folder:
        functions = [n for n in options.extra.get("functions", "").split(",") if n]
        request = {"model": str(path), "folder": str(folder), "functions": functions}
        options.progress(f"TensorFlow reads {path.name}")
        _run(options.extra.get("python") or os.environ.get(PYTHON) or sys.executable, request)
        yield folder


def lower(folder: Path, options: ImportOptions) -> None:
    """Lower a program that was written by the user's process.

    Raises:
        IreeError: of the kind that fits.
    """
    options.progress("TensorFlow lowers the functions")
    request = {"model": str(folder), "folder": str(folder), "functions": []}
    _run(options.extra.get("python") or os.environ.get(PYTHON) or sys.executable, request)


@contextmanager
def program_folder(nbytes: int) -> Iterator[Path]:
    """Make a folder for a program with ``nbytes`` of weights, in shared memory if there is room."""
    where = None
    if _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 2 * nbytes:
        where = _SHARED_MEMORY
    folder = Path(tempfile.mkdtemp(prefix="iree-tensorflow-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _run(python: str, request: dict) -> None:
    environment = {
        **os.environ,
        # Warnings of TensorFlow's C++ parts say nothing about the model.
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        "CUDA_VISIBLE_DEVICES": "",
        "TMPDIR": request["folder"],  # TensorFlow leaves the Python that it generates behind
        "KERAS_BACKEND": "tensorflow",
    }
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)  # it is this interpreter's
    command = [python, "-P", "-c", _START, str(Path(__file__).parent / "worker")]
    try:
        done = subprocess.run(
            [*command, json.dumps(request)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise UsageError(
            f"The interpreter for TensorFlow, {python}, cannot be started: {error.strerror}."
        ) from error
    report = Path(request["folder"]) / "error.json"
    if report.is_file():
        found = json.loads(report.read_text())
        raise ERRORS[found["kind"]](found["what"], where=found["where"], hint=found["hint"])
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        code = done.returncode
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        raise ImportModelError(
            f"TensorFlow {how} while it read {request['model']}"
            + (f": {lines[-1].strip()}." if lines else ".")
        )
