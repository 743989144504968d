"""Where an FX node comes from in the user's program: the module's path and the source line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import fx
from torch_mlir.extras.fx_importer import ContextCache

from iree_core.ir import ir

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_TORCH = str(Path(torch.__file__).parent)


class Locations(ContextCache):
    """Gives every operation a name such as ``layers.0.mlp (model.py:12)`` as its location."""

    def get_node_location(self, node: fx.Node) -> ir.Location | None:
        """Return the location of a node; None where nothing is known of it."""
        return location(node, self._c)


def location(node: fx.Node, context: ir.Context) -> ir.Location | None:
    """Return the module path and the innermost line outside of torch as a location."""
    frame = source_line(node)
    path = module_path(node)
    if frame is None and not path:
        return None
    with context:
        child = ir.Location.unknown()
        if frame is not None:
            child = ir.Location.file(frame[0], frame[1], 0)
        if not path:
            return child
        name = f"{path} ({Path(frame[0]).name}:{frame[1]})" if frame else path
        return ir.Location.name(name, child)


def module_path(node: fx.Node) -> str:
    """Return the qualified name of the module whose ``forward`` made the node, "" if unknown."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if entry[0]]
    return re.sub(r"^(L__self__|L\['self'\])[._]?", "", paths[-1]) if paths else ""


def source_line(node: fx.Node) -> tuple[str, int] | None:
    """Return file and line of the innermost frame that is the user's own code."""
    frames = list(_frames(node.meta.get("stack_trace") or ""))
    own = [frame for frame in frames if not frame[0].startswith(_TORCH)]
    return next(reversed(own or frames), None)


def _frames(trace: str) -> Iterator[tuple[str, int]]:
    for file, line in _FRAME.findall(trace):
        yield file, int(line)
