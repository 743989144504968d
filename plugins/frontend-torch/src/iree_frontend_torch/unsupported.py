"""Finds what the torch dialect cannot represent before anything is imported, all of it at once."""

from __future__ import annotations

import torch
from torch import fx
from torch._ops import HigherOrderOperator

from iree_core.errors import UnsupportedOperatorError
from iree_frontend_torch.control_flow import ControlFlowImporter
from iree_frontend_torch.locations import module_path, source_line

_HINTS = {
    "associative_scan": "Write it as torch._higher_order_ops.scan, or with cumsum and the like.",
    "autograd_function_apply": "Export under torch.no_grad(), or decompose the function.",
}
_NO_TYPE = {torch.uint16, torch.uint64, torch.complex32}


def check(module: fx.GraphModule) -> None:
    """Look at every node of a graph and of the bodies inside it.

    Raises:
        UnsupportedOperatorError: naming for each offender the operator, module and line.
    """
    problems: list[str] = []
    hints: list[str] = []
    for child in module.modules():
        if not isinstance(child, fx.GraphModule):
            continue
        for node in child.graph.nodes:
            reason = _reason(node, hints)
            if reason is not None:
                problems.append(f"{describe(node)}: {reason}")
    if problems:
        count = len(problems)
        raise UnsupportedOperatorError(
            f"{count} operator{'s' if count > 1 else ''} of the program cannot be imported. "
            + " ".join(f"[{n}] {line}." for n, line in enumerate(problems, 1)),
            hint=" ".join(dict.fromkeys(hints)) or None,
        )


def _reason(node: fx.Node, hints: list[str]) -> str | None:
    value = node.meta.get("val")
    dtype = getattr(value, "dtype", None)
    if dtype in _NO_TYPE:
        hints.append("Convert to a type of 32 bits or more before.")
        return f"its type {dtype} has no representation"
    if isinstance(value, torch.Tensor) and value.layout != torch.strided:
        hints.append("Make sparse tensors dense (x.to_dense()).")
        return f"tensors of layout {value.layout} are not supported"
    if node.op == "call_function" and isinstance(node.target, HigherOrderOperator):
        name = node.target.name()
        if not hasattr(ControlFlowImporter, f"_import_hop_{name}"):
            hints.append(_HINTS.get(name, "Rewrite that part with tensor operators."))
            return f"the higher-order operator {name} is not supported"
    return None


def describe(node: fx.Node) -> str:
    """Return the operator, the module it is in and the line that calls it."""
    name = node.target if isinstance(node.target, str) else str(node.target)
    parts = [f"{name} ({node.name})" if node.op == "call_function" else f"{node.op} {name}"]
    path = module_path(node)
    if path:
        parts.append(f"in {path}")
    line = source_line(node)
    if line is not None:
        parts.append(f"at {line[0]}:{line[1]}")
    return " ".join(parts)
