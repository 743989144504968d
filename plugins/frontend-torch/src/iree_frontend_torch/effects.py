"""Takes effect tokens out of a graph: checks that only raise errors have no place in a program."""

from __future__ import annotations

import operator

import torch
from torch import fx
from torch._higher_order_ops.effects import with_effects


def remove(module: fx.GraphModule) -> None:
    """Replace every ``with_effects(token, op, *args)`` by ``op(*args)``, in all subgraphs.

    Operators without results (checks of linear algebra, assertions) are dropped; what comes out
    where they would raise is undefined, as with ``check_errors=False``.
    """
    for child in module.modules():
        if isinstance(child, fx.GraphModule):
            for node in list(child.graph.nodes):
                if node.target in DROPPED:
                    child.graph.erase_node(node)
                elif node.target is with_effects:
                    _replace(child.graph, node)
            child.graph.eliminate_dead_code()


DROPPED = frozenset(
    {
        torch.ops.aten._assert_async.msg,
        torch.ops.aten._assert_scalar.default,
        torch.ops.aten._assert_tensor_metadata.default,
        torch.ops.aten.sym_constrain_range.default,
        torch.ops.aten.sym_constrain_range_for_size.default,
        torch.ops.aten._linalg_check_errors.default,
    }
)
"""Operators without results that only check."""


def _replace(graph: fx.Graph, node: fx.Node) -> None:
    token, target, *arguments = node.args
    results = target._schema.returns
    made = None
    if results:
        with graph.inserting_before(node):
            made = graph.call_function(target, tuple(arguments), dict(node.kwargs))
        made.meta = dict(node.meta)
        values = node.meta["val"][1:]
        made.meta["val"] = values[0] if len(results) == 1 else tuple(values)
    for user in list(node.users):
        if user.target is not operator.getitem:
            continue
        position = user.args[1]
        if position == 0:
            user.replace_all_uses_with(token)
            graph.erase_node(user)
        elif made is not None and len(results) == 1:
            user.replace_all_uses_with(made)
            graph.erase_node(user)
        elif made is not None:
            user.args = (made, position - 1)
    graph.erase_node(node)
