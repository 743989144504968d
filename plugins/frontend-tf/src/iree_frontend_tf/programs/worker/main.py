"""The exporter as a program: one request in JSON, one folder as the answer."""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import ExportError

INSTALL = (
    "`pip install 'iree-frontend-tf[tensorflow]'`, or name an interpreter that has TensorFlow in "
    "the environment variable IREE_TENSORFLOW_PYTHON."
)

# TensorFlow and Keras import these where they are installed, a third of their start; exporting
# uses none of them.
_LEFT_OUT = ("jax", "matplotlib", "PIL")
_RARELY = 200_000  # what tracing allocates lives on, so that looking for garbage finds none


@dataclass(frozen=True)
class Request:
    """What to export.

    Attributes:
        model: a SavedModel folder, a ``.keras`` file, or a program that is not lowered.
        folder: where the program goes.
        functions: names of the functions to take; empty for all.
    """

    model: str
    folder: str
    functions: list[str]


def main(text: str) -> int:
    """Serve the request ``text``; return the exit status, with a report on an error."""
    request = Request(**json.loads(text))
    folder = Path(request.folder)
    gc.set_threshold(_RARELY)
    sys.modules.update(dict.fromkeys(_LEFT_OUT))  # type: ignore[arg-type]  # None: not found
    try:
        _export(request, folder)
    except ExportError as error:
        report = {
            "kind": error.kind, "what": error.what, "where": error.where, "hint": error.hint,
        }  # fmt: skip
        (folder / "error.json").write_text(json.dumps(report))
        return 3
    return 0


def _export(request: Request, folder: Path) -> None:
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise ExportError(
            "usage",
            f"Reading {Path(request.model).name} takes TensorFlow, which cannot be imported: "
            f"{error}.",
            hint=INSTALL,
        ) from error
    from .program import lower_program, write_program
    from .sources import load

    if request.model == request.folder:
        lower_program(folder)
        return
    functions = load(Path(request.model))
    known = [function.name for function in functions]
    missing = [name for name in request.functions if name not in known]
    if missing:
        raise ExportError(
            "usage", f"The model has no function {missing[0]!r}; it has {', '.join(known)}."
        )
    chosen = [f for f in functions if f.name in request.functions or not request.functions]
    write_program(folder, chosen)
    lower_program(folder)
