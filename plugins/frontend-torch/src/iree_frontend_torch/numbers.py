"""Numbers in a graph: Python's conversions of sizes and scalars, and types of constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

_TO_FLOAT = aten.Float.Scalar
_CONVERSIONS: dict[Any, Callable[[type], Any]] = {
    torch.sym_float: lambda kind: None if kind is float else _TO_FLOAT,
    torch.sym_int: lambda kind: None if kind is int else aten.Int.Scalar,
    math.trunc: lambda kind: None if kind is int else aten.Int.Scalar,
    math.ceil: lambda kind: None if kind is int else aten.ceil.Scalar,
}
"""By Python function: from the type of the number to the operator, None to leave it as it is."""


_COMPARISONS = frozenset({
    aten.eq.Scalar, aten.ne.Scalar, aten.lt.Scalar, aten.le.Scalar, aten.gt.Scalar, aten.ge.Scalar,
})  # fmt: skip


_READS = frozenset({aten.item.default, aten._local_scalar_dense.default})


def rewrite(module: fx.GraphModule) -> None:
    """Replace conversions between integers and floats, in all subgraphs.

    Integers that tensors of floats are compared with become floats: torch-mlir folds the
    comparison of a constant with an integer to a wrong result.
    """
    for child in module.modules():
        if not isinstance(child, fx.GraphModule):
            continue
        for node in list(child.graph.nodes):
            if node.op == "call_function" and node.target in _CONVERSIONS:
                _convert(node)
            elif node.target in _READS and node.args[0].meta["val"].dtype == torch.bool:
                node.target = aten.Bool.Tensor
            elif node.target in _COMPARISONS and isinstance(node.args[1], int):
                compared = node.args[0].meta.get("val")
                if isinstance(compared, torch.Tensor) and compared.is_floating_point():
                    node.args = (node.args[0], float(node.args[1]))


def _convert(node: fx.Node) -> None:
    (given,) = node.args
    value = given.meta["val"] if isinstance(given, fx.Node) else given
    kind = value.node.pytype if hasattr(value, "node") else type(value)
    target = _CONVERSIONS[node.target](kind)
    if target is not None:
        node.target = target
    else:
        node.replace_all_uses_with(given)
        node.graph.erase_node(node)
