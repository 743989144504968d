"""Where an operation comes from in the user's program: JAX's name for it and the source line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from iree_core.ir import ir

# Frames of the libraries themselves say less than the user's line that called them.
_MAX_CALLS = 100
_LIBRARY = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


def describe(op: ir.Operation) -> str:
    """Return the operation, JAX's name for it (``jit(f)/cholesky``) and the user's line."""
    text = op.name
    name = next(iter(_names(op.location)), "")
    if name:
        text = f"{name} ({op.name})"
    line = _line_with_callers(op)
    return f"{text} at {line}" if line else text


def _line_with_callers(op: ir.Operation) -> str:
    """Return the user's line; library functions know it only where they are called."""
    place: ir.Operation | None = op
    for _ in range(_MAX_CALLS):
        if place is None:
            break
        line = source_line(place.location)
        if line and not _LIBRARY.search(line):
            return line
        place = _caller(place)
    return source_line(op.location)


def _caller(op: ir.Operation) -> ir.Operation | None:
    """Return a call of the function that ``op`` is in."""
    function = op
    while function is not None and function.name != "func.func":
        function = function.parent.operation if function.parent else None
    if function is None or function.parent is None:
        return None
    name = ir.StringAttr(function.attributes["sym_name"]).value
    found: list[ir.Operation] = []

    def visit(other: ir.OpView) -> ir.WalkResult:
        operation = other.operation
        if (
            operation.name == "func.call"
            and ir.FlatSymbolRefAttr(operation.attributes["callee"]).value == name
        ):
            found.append(operation)
            return ir.WalkResult.INTERRUPT
        return ir.WalkResult.ADVANCE

    function.parent.operation.walk(visit)
    return found[0] if found else None


def source_line(location: ir.Location) -> str:
    """Return ``file:line`` of the innermost frame outside of libraries, "" if unknown."""
    frames = list(_frames(location))
    own = [frame for frame in frames if not _LIBRARY.search(frame)]
    return (own or frames or [""])[0]


def _precise(location: ir.Location) -> ir.Location:
    if type(location) is ir.Location:
        return ir.Location.from_attr(location.attr, location.attr.context)
    return location


def _names(location: ir.Location) -> Iterator[str]:
    location = _precise(location)
    if isinstance(location, ir.NameLoc):
        yield location.name_str
    elif isinstance(location, ir.CallSiteLoc):
        yield from _names(location.callee)
    elif isinstance(location, ir.FusedLoc):
        for part in location.locations:
            yield from _names(part)


def _frames(location: ir.Location) -> Iterator[str]:
    """Yield ``file:line`` from the innermost frame on."""
    location = _precise(location)
    if isinstance(location, ir.NameLoc):
        yield from _frames(location.child_loc)
    elif isinstance(location, ir.FileLineColLoc):
        yield f"{location.filename}:{location.start_line}"
    elif isinstance(location, ir.CallSiteLoc):
        yield from _frames(location.callee)
        yield from _frames(location.caller)
    elif isinstance(location, ir.FusedLoc):
        for part in location.locations:
            yield from _frames(part)
