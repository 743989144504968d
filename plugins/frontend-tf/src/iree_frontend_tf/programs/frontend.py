"""The TensorFlow frontend: SavedModel folders and Keras files, read by a process of their own."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from iree_core.interfaces import Frontend, ImportedModel, ImportOptions

if TYPE_CHECKING:
    from iree_core.ir import ir

_GRAPHS = "saved_model.pb"
_KERAS_MEMBERS = {"config.json", "metadata.json"}


class TensorflowFrontend(Frontend):
    """Reads SavedModel folders and ``.keras`` files; every signature becomes a function."""

    name = "tensorflow"
    suffixes = (".keras", ".pb")
    reads_folders = True

    def matches(self, path: Path) -> bool:
        """Tell whether ``path`` is a SavedModel, its ``saved_model.pb``, or a Keras archive."""
        from iree_frontend_tf.programs.importer import is_program

        if path.is_dir():
            return (path / _GRAPHS).is_file() or is_program(path)
        if path.name == _GRAPHS:
            return True
        if not zipfile.is_zipfile(path):
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                return set(archive.namelist()) >= _KERAS_MEMBERS
        except zipfile.BadZipFile:
            return False

    def import_model(
        self, path: Path, context: ir.Context, options: ImportOptions
    ) -> ImportedModel:
        """Let TensorFlow trace the model in a process of its own, and read what it wrote.

        Options: ``python`` names the interpreter that has TensorFlow (default: the environment
        variable ``IREE_TENSORFLOW_PYTHON``, or else this one); ``functions`` lists the names of
        the functions to take, separated by commas (default: all).

        Raises:
            ImportModelError: TensorFlow is missing or cannot load the model.
            UnsupportedOperatorError: naming the operators that have no lowering.
        """
        from iree_frontend_tf.programs import importer, process

        if path.name == _GRAPHS and path.is_file():
            path = path.parent
        if path.is_dir() and importer.is_program(path):
            if not importer.is_lowered(path):
                process.lower(path, options)
            return importer.import_program(path, context)
        with process.exported(path, options) as folder:
            return importer.import_program(folder, context)
