"""The ONNX frontend. The libraries that read models are only imported by ``import_model``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iree_core.interfaces import Frontend, ImportedModel, ImportOptions

if TYPE_CHECKING:
    from iree_core.ir import ir


class OnnxFrontend(Frontend):
    """Reads ONNX models (one graph, all standard operator sets)."""

    name = "onnx"
    suffixes = (".onnx",)

    def matches(self, path: Path) -> bool:
        """Tell whether ``path`` starts like a serialised ModelProto.

        The first field is ``ir_version`` (tag 8, a small number) in every file that the
        reference library writes; others are only recognised by their suffix.
        """
        with path.open("rb") as file:
            head = file.read(2)
        return len(head) == 2 and head[0] == 0x08 and 0 < head[1] < 64

    def import_model(
        self, path: Path, context: ir.Context, options: ImportOptions
    ) -> ImportedModel:
        """Read the model at ``path``.

        Raises:
            ImportModelError: the file is damaged or a part of it is missing.
            UnsupportedOperatorError: naming every node that is not supported.
        """
        from iree_core.params import ParameterStore
        from iree_frontend_onnx.model import load
        from iree_frontend_onnx.translate import import_loaded

        options.progress(f"reading {path.name}")
        parameters = ParameterStore()
        return import_loaded(load(path, parameters), parameters, context)
