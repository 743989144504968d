"""Exceptions a user can meet. Each prints as one paragraph: what, where, why, what to try."""

from __future__ import annotations


class IreeError(Exception):
    """Base of every error this project raises on purpose.

    Args:
        what: what went wrong, a full sentence.
        where: where in the user's model or input (layer, operator, file, line), if known.
        hint: what to try, a full sentence, if something is known to help.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        parts = [what]
        if where:
            parts.append(f"Where: {where}.")
        if hint:
            parts.append(hint)
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple:
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(cls: type[IreeError], what: str, where: str | None, hint: str | None) -> IreeError:
    return cls(what, where=where, hint=hint)


class UsageError(IreeError):
    """A wrong option, an unknown name, a file that is not there."""

    exit_code = 2


class PluginError(IreeError):
    """A plugin is missing, broken, or made for another version of the core."""


class ImportModelError(IreeError):
    """The frontend cannot read the model."""


class UnsupportedOperatorError(ImportModelError):
    """The model uses operators that no route supports; names all of them at once."""


class CompileError(IreeError):
    """A phase of the compiler failed on the model, or a file cannot be written."""


class ModuleFileError(IreeError):
    """A module file is missing, damaged, foreign or from an incompatible version."""


class InvocationError(IreeError):
    """A call with the wrong function, number, dtype or shape of arguments."""


class DeviceError(IreeError):
    """A driver or device cannot be opened, ran out of memory, or failed."""
