"""The JAX frontend: files of ``jax.export``, and StableHLO with Shardy's annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iree_core.errors import ImportModelError
from iree_core.interfaces import Frontend, ImportedModel, ImportOptions
from iree_frontend_jax import exported_file, partitioner, program

if TYPE_CHECKING:
    from iree_core.ir import ir

_MAX_PROBED = 1 << 31


class JaxFrontend(Frontend):
    """Reads what ``jax.export`` writes: serialised programs, and their StableHLO modules."""

    name = "jax"
    suffixes = (".jaxexport", ".jax")

    def matches(self, path: Path) -> bool:
        """Tell whether ``path`` holds a serialised ``Exported`` or an annotated artifact."""
        with path.open("rb") as file:
            head = file.read(64)
            if program.is_program(head):
                return True
            if _is_artifact(head) or path.suffix == ".mlir":
                return partitioner.has_annotations(head + file.read())
            # A root table near the start, as far as one can tell before reading the file.
            if len(head) < 64 or int.from_bytes(head[:4], "little") >= path.stat().st_size:
                return False
            if path.stat().st_size > _MAX_PROBED:
                return False
            return exported_file.is_exported(head + file.read())

    def import_model(
        self, path: Path, context: ir.Context, options: ImportOptions
    ) -> ImportedModel:
        """Read the program at ``path``.

        Raises:
            ImportModelError: the file is damaged.
            UnsupportedOperatorError: naming every operation that no route supports.
        """
        from iree_frontend_jax import importer

        options.progress(f"reading {path.name}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ImportModelError(f"Cannot read {path}: {error.strerror}.") from error
        if program.is_program(data[:64]):
            return importer.import_program(program.from_bytes(data), context)
        if exported_file.is_exported(data):
            return importer.import_program(exported_file.read_exported(data, path.name), context)
        return importer.import_module(data, context, path.name)


def _is_artifact(head: bytes) -> bool:
    return head.startswith(b"ML\xefR") and b"StableHLO_v" in head
