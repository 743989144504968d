"""Higher-order operators of torch as structured control flow of the torch dialect.

Their bodies are subgraphs, which the importer has made functions of; each use is a call, inlined
by the core's input phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch_mlir.extras.fx_importer import GraphNodeImporter

from iree_core.errors import UnsupportedOperatorError
from iree_core.ir import ir
from iree_core.passes.input.support import create


class ControlFlowImporter(GraphNodeImporter):
    """Imports ``cond``, ``while_loop``, ``scan`` and ``map``."""

    __slots__: list[str] = []

    def _import_hop_cond(self, loc: ir.Location, node: fx.Node, hop: Any) -> None:
        """``cond(predicate, true_graph, false_graph, operands)`` becomes ``torch.prim.If``."""
        predicate, if_true, if_false, operands = node.args
        values = self._values(loc, operands)
        types = self._result_types(node)
        op = create("torch.prim.If", types, [self._condition(loc, predicate)], loc=loc, regions=2)
        for region, body in zip(op.regions, (if_true, if_false), strict=True):
            with loc:
                block = ir.Block.create_at_start(region, [])
            with ir.InsertionPoint(block):
                create("torch.prim.If.yield", [], self._call(loc, body, values, types), loc=loc)
        self._bind(node, list(op.results))

    def _import_hop_while_loop(self, loc: ir.Location, node: fx.Node, hop: Any) -> None:
        """``while_loop(condition, body, carried, captured)`` becomes ``torch.prim.Loop``."""
        condition, body, carried = node.args[:3]
        captured = self._values(loc, node.args[3] if len(node.args) > 3 else ())
        types = self._result_types(node)
        boolean = self._cc.get_vtensor_type(torch.Size([]), torch.bool)

        def goes_on(values: list[ir.Value]) -> ir.Value:
            (flag,) = self._call(loc, condition, [*values, *captured], [boolean])
            return create(
                "torch.aten.Bool.Tensor", [self._cc.torch_bool_type], [flag], loc=loc
            ).result

        def step(_: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            return self._call(loc, body, [*values, *captured], types)

        start = self._values(loc, carried)
        limit = self._integer(loc, torch.iinfo(torch.int64).max)
        self._bind(node, self._loop(loc, limit, start, types, step, goes_on))

    def _import_hop_scan(self, loc: ir.Location, node: fx.Node, hop: Any) -> None:
        """``scan(combine, init, xs, captured)``: a counted loop that writes slices of results."""
        combine, init, items, captured = node.args[:4]
        self._sliced_loop(loc, node, combine, init, items, captured)

    def _import_hop_map_impl(self, loc: ir.Location, node: fx.Node, hop: Any) -> None:
        """``map_impl(function, xs, captured)`` is a scan that carries nothing."""
        function, items, captured = node.args[:3]
        self._sliced_loop(loc, node, function, (), items, captured)

    def _sliced_loop(
        self,
        loc: ir.Location,
        node: fx.Node,
        body: fx.Node,
        init: Sequence[Any],
        items: Sequence[Any],
        captured: Sequence[Any],
    ) -> None:
        """Run ``body(*carried, *slices, *captured)`` over the first dimension of ``items``.

        It returns what is carried, then the slices of the stacked results.
        """
        start, given = self._values(loc, init), self._values(loc, items)
        others = self._values(loc, captured)
        types = self._result_types(node)
        metas = list(node.meta["val"])
        known = [*zip(items, given, strict=True), *zip(init, start, strict=True)]
        buffers = [self._empty(loc, meta, known) for meta in metas[len(start) :]]
        count = self._size(loc, metas_of(items)[0].shape[0], known)

        def step(place: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            carried, stacked = values[: len(start)], values[len(start) :]
            slices = [
                self._select(loc, value, meta, place)
                for value, meta in zip(given, metas_of(items), strict=True)
            ]
            inner = [self._cc.get_vtensor_type(m.shape[1:], m.dtype) for m in metas[len(start) :]]
            found = self._call(
                loc, body, [*carried, *slices, *others], [*types[: len(start)], *inner]
            )
            written = [
                self._write(loc, into, made, meta, place)
                for into, made, meta in zip(
                    stacked, found[len(start) :], metas[len(start) :], strict=True
                )
            ]
            return [*found[: len(start)], *written]

        self._bind(node, self._loop(loc, count, [*start, *buffers], types, step, None))

    def _loop(
        self,
        loc: ir.Location,
        limit: ir.Value,
        start: list[ir.Value],
        types: list[ir.Type],
        step: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
        goes_on: Callable[[list[ir.Value]], ir.Value] | None,
    ) -> list[ir.Value]:
        """Emit ``torch.prim.Loop``; without ``goes_on`` it runs ``limit`` times."""

        def flag(values: list[ir.Value]) -> ir.Value:
            return goes_on(values) if goes_on is not None else self._boolean(loc, True)

        op = create("torch.prim.Loop", types, [limit, flag(start), *start], loc=loc, regions=1)
        with loc:
            block = ir.Block.create_at_start(op.regions[0], [self._cc.torch_int_type, *types])
        with ir.InsertionPoint(block):
            place, *values = block.arguments
            following = step(place, values)
            create("torch.prim.Loop.condition", [], [flag(following), *following], loc=loc)
        return list(op.results)

    def _empty(self, loc: ir.Location, meta: torch.Tensor, known: Sequence[Any]) -> ir.Value:
        sizes = create(
            "torch.prim.ListConstruct",
            [ir.Type.parse("!torch.list<int>", self._c)],
            [self._size(loc, size, known) for size in meta.shape],
            loc=loc,
        ).result
        none = create("torch.constant.none", [self._cc.torch_none_type], [], loc=loc).result
        dtype = self._import_argument(loc, meta.dtype)
        kind = self._cc.get_vtensor_type(meta.shape, meta.dtype)
        operands = [sizes, dtype, none, none, none]
        return create("torch.aten.zeros", [kind], operands, loc=loc).result

    def _size(self, loc: ir.Location, size: Any, known: Sequence[Any]) -> ir.Value:
        """Return a size as a torch integer: a constant, or read from a tensor that has it."""
        if isinstance(size, int):
            return self._integer(loc, size)
        for node, value in known:
            for axis, other in enumerate(metas_of([node])[0].shape):
                if not isinstance(other, int) and other.node.expr == size.node.expr:
                    operands = [value, self._integer(loc, axis)]
                    return create(
                        "torch.aten.size.int", [self._cc.torch_int_type], operands, loc=loc
                    ).result
        raise UnsupportedOperatorError(
            f"A loop makes tensors of the size {size}, which no operand of it has.",
            hint="Pass a tensor of that size into the loop, or make the size a number.",
        )

    def _select(
        self, loc: ir.Location, value: ir.Value, meta: torch.Tensor, place: ir.Value
    ) -> ir.Value:
        kind = self._cc.get_vtensor_type(meta.shape[1:], meta.dtype)
        operands = [value, self._integer(loc, 0), place]
        return create("torch.aten.select.int", [kind], operands, loc=loc).result

    def _write(
        self,
        loc: ir.Location,
        into: ir.Value,
        value: ir.Value,
        meta: torch.Tensor,
        place: ir.Value,
    ) -> ir.Value:
        zero, one = self._integer(loc, 0), self._integer(loc, 1)
        kind = self._cc.get_vtensor_type(torch.Size([1, *meta.shape[1:]]), meta.dtype)
        row = create("torch.aten.unsqueeze", [kind], [value, zero], loc=loc).result
        after = create(
            "torch.aten.add.int", [self._cc.torch_int_type], [place, one], loc=loc
        ).result
        operands = [into, row, zero, place, after, one]
        return create("torch.aten.slice_scatter", [into.type], operands, loc=loc).result

    def _integer(self, loc: ir.Location, number: int) -> ir.Value:
        attributes = {"value": self._cc.integer_attr(number, 64)}
        return create(
            "torch.constant.int", [self._cc.torch_int_type], [], loc=loc, attributes=attributes
        ).result

    def _boolean(self, loc: ir.Location, flag: bool) -> ir.Value:
        attributes = {"value": self._cc.integer_attr(flag, 1)}
        return create(
            "torch.constant.bool", [self._cc.torch_bool_type], [], loc=loc, attributes=attributes
        ).result

    def _condition(self, loc: ir.Location, predicate: Any) -> ir.Value:
        value = self._import_argument(loc, predicate)
        return value if value.type == self._cc.torch_bool_type else self._as_bool(loc, value)

    def _as_bool(self, loc: ir.Location, flag: ir.Value) -> ir.Value:
        boolean = self._cc.torch_bool_type
        return create("torch.aten.Bool.Tensor", [boolean], [flag], loc=loc).result

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
        return list(create("func.call", types, operands, loc=loc, attributes=attributes).results)

    def _bind(self, node: fx.Node, values: list[ir.Value]) -> None:
        for position, value in enumerate(values):
            self.bind_node_value(node, value, position)


def metas_of(nodes: Sequence[Any]) -> list[torch.Tensor]:
    """Return the fake tensors of nodes."""
    return [node.meta["val"] for node in nodes]
