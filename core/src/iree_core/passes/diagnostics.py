"""From MLIR's diagnostics to one sentence about the user's model."""

from __future__ import annotations

from iree_core.ir import ir


def describe_location(location: ir.Location) -> str:
    """Return where in the user's model ``location`` is, or "" where it says nothing.

    Names (layers, nodes) come before files, the innermost first; at most three parts.
    """
    names: list[str] = []
    files: list[str] = []
    _collect(location, names, files)
    parts = list(dict.fromkeys(names)) or list(dict.fromkeys(files))
    return ", ".join(parts[:3])


def _collect(location: ir.Location, names: list[str], files: list[str]) -> None:
    if type(location) is ir.Location:  # diagnostics do not give the precise class
        location = ir.Location.from_attr(location.attr, location.attr.context)
    if isinstance(location, ir.NameLoc):
        names.append(location.name_str)
        _collect(location.child_loc, names, files)
    elif isinstance(location, ir.FileLineColLoc):
        if location.filename != "-":
            files.append(f"{location.filename}:{location.start_line}")
    elif isinstance(location, ir.CallSiteLoc):
        _collect(location.callee, names, files)
        _collect(location.caller, names, files)
    elif isinstance(location, ir.FusedLoc):
        for part in location.locations:
            _collect(part, names, files)


def first_diagnostic(error: BaseException) -> tuple[str, str]:
    """Return the first error message in ``error`` and where in the model it points ("" if unknown).

    An :class:`ir.MLIRError` holds a list of diagnostics of which only the first is a cause; of
    any other exception the type and the first line are the message.
    """
    if isinstance(error, ir.MLIRError) and error.error_diagnostics:
        diagnostic = error.error_diagnostics[0]
        return diagnostic.message, describe_location(diagnostic.location)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return f"{type(error).__name__}: {text}", ""
