"""``.pt2`` files: read as ``torch.export.save`` writes them, and written with names of sizes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch.export import ExportedProgram

from iree_core.errors import ImportModelError
from iree_frontend_torch.program import dimension_names

_NAMES = "iree_dimensions.json"
"""The further file in the archive that holds names of sizes by torch's symbols."""


def save(program: ExportedProgram, path: str | os.PathLike[str]) -> None:
    """Write a ``.pt2`` file that also holds the names of ``torch.export.Dim`` objects.

    ``torch.export.save`` loses them; ``torch.export.load`` reads either file.

    Raises:
        Exception: whatever ``torch.export.save`` raises.
    """
    names = dimension_names(program.graph_module)
    torch.export.save(program, path, extra_files={_NAMES: json.dumps(names)})


def load(path: Path) -> tuple[ExportedProgram, dict[str, str]]:
    """Return the program in a ``.pt2`` file, and the names that :func:`save` gave its sizes.

    Raises:
        ImportModelError: the file is damaged, or its torch is newer than this one.
    """
    extra = {_NAMES: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # torch raises whatever its parts raise on a damaged archive
        lines = str(error).strip().splitlines()
        raise ImportModelError(
            f"torch.export cannot load {path.name}: {type(error).__name__}"
            f"{f': {lines[0]}' if lines else ''}.",
            hint=f"Is the file complete, and was it saved by torch {torch.__version__} or older?",
        ) from error
    return program, json.loads(extra[_NAMES] or "{}")
