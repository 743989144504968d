"""Higher-order operators of torch as structured control flow of the torch dialect.

Their bodies are subgraphs, which the importer has made functions of; each use is a call, inlined
by the core's input phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx
from torch_mlir.extras.fx_importer import GraphNodeImporter

from iree_core.ir import ir


class ControlFlowImporter(GraphNodeImporter):
    """Adds ``cond``, ``scan`` and ``map`` to what torch-mlir's importer has (``while_loop``)."""

    __slots__: list[str] = []

    def _import_hop_cond(self, loc: ir.Location, node: fx.Node, hop: Any) -> None:
        """``cond(predicate, true_graph, false_graph, operands)`` becomes ``torch.prim.If``."""
        predicate, if_true, if_false, operands = node.args
        values = self._values(loc, operands)
        types = self._result_types(node)
        op = _create("torch.prim.If", types, [self._condition(loc, predicate)], loc, regions=2)
        for region, body in zip(op.regions, (if_true, if_false), strict=True):
            with loc:
                block = ir.Block.create_at_start(region, [])
            with ir.InsertionPoint(block):
                _create("torch.prim.If.yield", [], self._call(loc, body, values, types), loc)
        self._bind(node, list(op.results))

    def _condition(self, loc: ir.Location, predicate: Any) -> ir.Value:
        value = self._import_argument(loc, predicate)
        if value.type == self._cc.torch_bool_type:
            return value
        return _create("torch.aten.Bool.Tensor", [self._cc.torch_bool_type], [value], loc).result

    def _values(self, loc: ir.Location, arguments: Sequence[Any]) -> list[ir.Value]:
        return [self._import_argument(loc, argument) for argument in arguments]

    def _result_types(self, node: fx.Node) -> list[ir.Type]:
        found = node.meta["val"]
        if not isinstance(found, list | tuple):
            return [self._cc.node_val_to_type(node)]
        self._multi_result_nodes.add(node)
        return [self._cc.value_info_to_type(value) for value in found]

    def _call(
        self, loc: ir.Location, body: fx.Node, operands: list[ir.Value], types: list[ir.Type]
    ) -> list[ir.Value]:
        graph = getattr(body.graph.owning_module, body.target)
        name = self.fx_importer._graph_module_to_func_name[id(graph)]
        attributes = {"callee": ir.FlatSymbolRefAttr.get(name, self._c)}
        return list(_create("func.call", types, operands, loc, attributes=attributes).results)

    def _bind(self, node: fx.Node, values: list[ir.Value]) -> None:
        for position, value in enumerate(values):
            self.bind_node_value(node, value, position)


def _create(
    name: str,
    results: Sequence[ir.Type],
    operands: Sequence[ir.Value],
    loc: ir.Location,
    *,
    attributes: dict[str, ir.Attribute] | None = None,
    regions: int = 0,
) -> ir.Operation:
    return ir.Operation.create(
        name,
        results=list(results),
        operands=list(operands),
        attributes=attributes or {},
        regions=regions,
        loc=loc,
    )
