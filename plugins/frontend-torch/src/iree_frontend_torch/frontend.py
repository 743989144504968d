"""The PyTorch frontend: from a ``.pt2`` file, or a bundle that our process left, to torch IR."""

from __future__ import annotations

import zipfile
from pathlib import Path

from iree_core.interfaces import Frontend, ImportedModel, ImportOptions
from iree_core.ir import ir
from iree_frontend_torch import bundle

_MEMBERS = ("archive_format", "serialized_exported_program.json")


class TorchFrontend(Frontend):
    """Reads what ``torch.export.save`` writes."""

    name = "torch"
    suffixes = (".pt2",)

    def matches(self, path: Path) -> bool:
        """Tell whether ``path`` is an archive with the members that torch.export writes."""
        if bundle.is_bundle(path):
            return True
        if not zipfile.is_zipfile(path):
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.rpartition("/")[2] in _MEMBERS for name in archive.namelist())
        except zipfile.BadZipFile:
            return False

    def import_model(
        self, path: Path, context: ir.Context, options: ImportOptions
    ) -> ImportedModel:
        """Read the program at ``path``.

        Raises:
            ImportModelError: the file is damaged, or its torch is newer than this one.
            UnsupportedOperatorError: naming every operator that cannot be represented.
        """
        if bundle.is_bundle(path):
            return bundle.read(path, context)
        options.progress(f"reading {path.name}")
        from iree_frontend_torch import files, importer
        from iree_frontend_torch.program import decompose, from_decomposed

        exported, dims = files.load(path)
        program = from_decomposed(decompose(exported))
        program.dims.update(dims)
        return importer.import_in_process(program, context)
