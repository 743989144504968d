"""Where an operation comes from in the user's program: JAX's name for it and the source line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from iree_core.ir import ir

# Frames of the libraries themselves say less than the user's line that called them.
_LIBRARY = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


def describe(op: ir.Operation) -> str:
    """Return the operation, JAX's name for it (``jit(f)/cholesky``) and the user's line."""
    location = op.location
    text = op.name
    name = next(iter(_names(location)), "")
    if name:
        text = f"{name} ({op.name})"
    line = source_line(location)
    return f"{text} at {line}" if line else text


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
