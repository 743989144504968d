"""The TFLite frontend. The libraries that read models are only imported by ``import_model``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iree_core.interfaces import Frontend, ImportedModel, ImportOptions

if TYPE_CHECKING:
    from iree_core.ir import ir


class TfliteFrontend(Frontend):
    """Reads TFLite FlatBuffers; every signature becomes a public function."""

    name = "tflite"
    suffixes = (".tflite",)

    def matches(self, path: Path) -> bool:
        """Tell whether ``path`` carries the FlatBuffer identifier of TFLite models."""
        with path.open("rb") as file:
            head = file.read(8)
        return head[4:8] == b"TFL3"

    def import_model(
        self, path: Path, context: ir.Context, options: ImportOptions
    ) -> ImportedModel:
        """Read the model at ``path``.

        Raises:
            ImportModelError: the file is damaged or no TFLite model.
            UnsupportedOperatorError: naming every operator that is not supported.
        """
        from iree_core.params import ParameterStore
        from iree_frontend_tf.tflite.file import read
        from iree_frontend_tf.tflite.translate import import_loaded

        options.progress(f"reading {path.name}")
        return import_loaded(read(path), ParameterStore(), context, options)
