"""Numbers in a graph: Python's conversions of sizes and scalars, and types of constants."""

from __future__ import annotations

import math
import operator
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


_FLOAT_FUNCTIONS = {
    **{f"_sym_{name}": name for name in ("acos", "asin", "atan", "cos", "cosh", "sin", "sinh",
                                         "sqrt", "tan", "tanh")},
    "sym_sqrt": "sqrt",
}  # fmt: skip
"""By function of torch: the operator on floats."""


def _arithmetic() -> dict[Any, tuple[Any, Any]]:
    """Return by Python function the operator on integers and that on floats.

    The operator on integers is missing where torch-mlir's importer knows the function. Its
    mixtures of integers and floats it does not know, or exchanges their operands.
    """
    prim = torch.ops.prim
    found = {
        operator.pow: (aten.pow.int_to_int, aten.pow.float),
        operator.floordiv: (None, aten.floordiv.float),
        operator.mod: (aten.remainder.int, aten.remainder.float),
        operator.abs: (prim.abs.int, prim.abs.float),
        operator.lshift: (aten.__lshift__.int, None),
        operator.rshift: (aten.__rshift__.int, None),
        torch.sym_max: (prim.max.int, prim.max.float),
        torch.sym_min: (prim.min.int, prim.min.float),
        math.floor: (None, aten.floor.float),
        **{
            getattr(operator, name): (None, getattr(aten, name).float)
            for name in ("eq", "ne", "lt", "le", "gt", "ge")
        },
    }
    for name, function in _FLOAT_FUNCTIONS.items():
        if hasattr(torch, name):
            found[getattr(torch, name)] = (None, getattr(aten, function).float)
    return found


_ARITHMETIC = _arithmetic()
_ALWAYS_FLOAT = frozenset(f for name in _FLOAT_FUNCTIONS if (f := getattr(torch, name, None)))

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
            elif node.op == "call_function" and node.target in _ARITHMETIC:
                _choose(node)
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


def _choose(node: fx.Node) -> None:
    """Replace a Python function of numbers by the operator for their types."""
    whole, real = _ARITHMETIC[node.target]
    kinds = [_kind(argument) for argument in node.args]
    if all(kind is int for kind in kinds) and node.target not in _ALWAYS_FLOAT:
        negative = node.target is operator.pow and not _is_natural(node.args[1])
        if not negative:
            node.target = whole or node.target
            return
    if real is not None and all(kind in (int, float) for kind in kinds):
        node.args = tuple(
            _float(argument, node) if kind is int else argument
            for argument, kind in zip(node.args, kinds, strict=True)
        )
        node.target = real


def _kind(argument: Any) -> type:
    value = argument.meta.get("val") if isinstance(argument, fx.Node) else argument
    return value.node.pytype if hasattr(value, "node") else type(value)


def _is_natural(argument: Any) -> bool:
    return isinstance(argument, int) and argument >= 0


def _float(argument: Any, user: fx.Node) -> Any:
    if not isinstance(argument, fx.Node):
        return float(argument)
    with user.graph.inserting_before(user):
        made = user.graph.call_function(_TO_FLOAT, (argument,))
    made.meta["val"] = torch.sym_float(argument.meta["val"])
    return made
