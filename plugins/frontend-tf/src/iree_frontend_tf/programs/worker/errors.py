"""What goes wrong in an export, in a form that crosses between processes."""

from __future__ import annotations


class ExportError(Exception):
    """A model that cannot be exported.

    Attributes:
        kind: ``model`` (it cannot be loaded or traced), ``unsupported`` (it uses what has no
            lowering) or ``usage``.
        what, where, hint: as those of ``iree_core.errors.IreeError``.
    """

    def __init__(
        self, kind: str, what: str, *, where: str | None = None, hint: str | None = None
    ) -> None:
        self.kind, self.what, self.where, self.hint = kind, what, where, hint
        super().__init__(what)
