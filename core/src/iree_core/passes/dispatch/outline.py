"""Turn fusion groups into dispatch functions and calls.

Before (one group)::

    func.func @main(%x: tensor<4x8xf32>, %w: tensor<8x16xf32>) -> tensor<4x16xf32> {
      %0 = linalg.fill ... %1 = linalg.generic ... // matmul   %2 = linalg.generic ... // relu
      return %2 : tensor<4x16xf32>
    }

After::

    func.func @main(...) { %0 = call @main_dispatch_0(%x, %w) ...  return %0 }
    func.func private @main_dispatch_0(%x, %w) -> tensor<4x16xf32> attributes {flow.dispatch, ...}
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from iree_core.dialects import flow
from iree_core.errors import CompileError
from iree_core.ir import arith, func, ir, tensor
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.dispatch.graph import MAX_INLINE_ELEMENTS, Node, build_graph
from iree_core.passes.dispatch.grouping import Group, Grouper
from iree_core.passes.dispatch.inlining import complete_groups
from iree_core.passes.dispatch.sizes import (
    Sizes,
    check_available,
    host_blocks,
    host_functions,
    resolve_sizes,
)
from iree_core.passes.dispatch.structure import Decoder, Kind, nested_operations
from iree_core.passes.state import CompilationState

"""Attribute of a dispatch: where in the user's model its root comes from."""

KIND = "flow.kind"
"""Attribute of a dispatch: the :class:`Kind` of its root."""


@dataclass(frozen=True)
class CreateDispatches:
    """Form fusion groups in every host-level block and outline each into a dispatch function."""

    name: str = "create-dispatches"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Outline all tensor computation of ``module``.

        Raises:
            CompileError: the size of a result is known only after it is computed.
        """
        sizes = resolve_sizes(module)
        decoder = Decoder()
        attention = state.target.cpu is not None or state.target.attention
        for function in host_functions(module):
            outliner = _Outliner(module, function, sizes, decoder, attention)
            for block in list(host_blocks(function)):
                outliner.outline_block(block)


@dataclass
class _Call:
    """What a group takes from and gives to the host."""

    group: Group
    tensors: list[ir.Value] = field(default_factory=list)
    scalars: list[ir.Value] = field(default_factory=list)
    remade: list[ir.Operation] = field(default_factory=list)
    results: list[ir.Value] = field(default_factory=list)


class _Outliner:
    """Outlines the blocks of one host function, inner blocks first."""

    def __init__(
        self,
        module: ir.Module,
        function: ir.Operation,
        sizes: Sizes,
        decoder: Decoder,
        attention: bool,
    ) -> None:
        self._module = module
        self._name = ir.StringAttr(function.attributes["sym_name"]).value
        self._sizes = sizes
        self._decoder = decoder
        self._attention = attention
        self._count = 0

    def outline_block(self, block: ir.Block) -> None:
        nodes = build_graph(block, self._decoder, self._sizes)
        grouper = Grouper(nodes, self._attention)
        grouper.run()
        complete_groups(grouper)
        calls = self._plan(grouper)
        order = schedule(grouper, calls, self._sizes)
        terminator = nodes[-1].op
        replaced: dict[ir.Value, ir.Value] = {}
        for unit in order:
            if isinstance(unit, _Call):
                self._emit(unit, nodes, terminator, replaced)
            elif unit is not nodes[-1]:
                unit.op.move_before(terminator)
        for value, replacement in replaced.items():
            value.replace_all_uses_with(replacement)
            if value in self._sizes:
                self._sizes[replacement] = self._sizes[value]
        kept = {unit.index for unit in order if isinstance(unit, Node)}
        for node in reversed(nodes):
            if node.index not in kept:
                node.op.erase()

    def _plan(self, grouper: Grouper) -> list[_Call]:
        """Collect the operands and results of every group."""
        nodes = grouper.nodes
        calls = [self._collect(group, nodes) for group in grouper.groups]
        used = {value for call in calls for value in call.tensors}
        for node in nodes:
            if node.kind is Kind.HOST:
                used.update(node.operands)
        for call in calls:
            for index in sorted(call.group.members):
                call.results.extend(r for r in nodes[index].op.results if r in used)
            self._add_sizes(call)
        return [call for call in calls if call.results]

    def _collect(self, group: Group, nodes: list[Node]) -> _Call:
        call = _Call(group)
        inside = {r for index in group.operations for r in nodes[index].op.results}
        seen: set[ir.Value] = set()
        for index in _structural_order(group, nodes):
            for value in nodes[index].operands:
                if value not in inside:
                    self._add_operand(call, value, seen)
        return call

    def _add_operand(self, call: _Call, value: ir.Value, seen: set[ir.Value]) -> None:
        if value in seen:
            return
        seen.add(value)
        owner = value.owner
        op = None if isinstance(owner, ir.Block) else owner.operation
        if op is not None and _is_remade(op):
            for operand in op.operands:
                self._add_operand(call, operand, seen)
            call.remade.append(op)
        elif isinstance(value.type, ir.RankedTensorType):
            call.tensors.append(value)
        else:
            call.scalars.append(value)

    def _add_sizes(self, call: _Call) -> None:
        known = set(call.scalars)
        sizes = [size for value in call.tensors for size in self._sizes.get(value, ())]
        for value in call.results:
            sizes.extend(check_available(value, self._sizes))
        for size in sizes:
            if size not in known:
                known.add(size)
                call.scalars.append(size)

    def _emit(
        self,
        call: _Call,
        nodes: list[Node],
        terminator: ir.Operation,
        replaced: dict[ir.Value, ir.Value],
    ) -> None:
        root = nodes[call.group.root]
        with ir.InsertionPoint(terminator), root.op.location:
            tensors, scalars = _host_operands(call, replaced)
            function = self._build_function(call, nodes, [v.type for v in tensors])
            created = func.CallOp(
                [value.type for value in call.results],
                function.name.value,
                [*tensors, *scalars],
            )
        replaced.update(zip(call.results, created.results, strict=True))

    def _build_function(
        self, call: _Call, nodes: list[Node], tensor_types: list[ir.Type]
    ) -> func.FuncOp:
        root = nodes[call.group.root]
        index = ir.IndexType.get()
        inputs = [*tensor_types, *(index for s in call.scalars if not _boxed(s))]
        name = f"{self._name}_dispatch_{self._count}"
        self._count += 1
        with ir.InsertionPoint(self._module.body):
            function = func.FuncOp(
                name, (inputs, [r.type for r in call.results]), visibility="private"
            )
        function.attributes[flow.DISPATCH] = ir.UnitAttr.get()
        function.attributes[KIND] = ir.StringAttr.get(root.kind.value)
        origin = describe_location(root.op.location)
        if origin:
            function.attributes[flow.ORIGIN] = ir.StringAttr.get(origin)
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            values = _bind_arguments(call, block)
            operations = [
                *call.remade,
                *(nodes[i].op for i in _structural_order(call.group, nodes)),
            ]
            for op in operations:
                clone_into(op, values)
            func.ReturnOp([values[r] for r in call.results])
        self._set_dims(function, call, len(tensor_types))
        return function

    def _set_dims(self, function: func.FuncOp, call: _Call, tensors: int) -> None:
        """Say which ``index`` argument holds each dynamic dimension."""
        plain = [s for s in call.scalars if not _boxed(s)]
        position = {value: tensors + number for number, value in enumerate(plain)}

        def describe(value: ir.Value | None) -> ir.DictAttr:
            dims = self._sizes.get(value, ()) if value is not None else ()
            if not dims:
                return ir.DictAttr.get({})
            numbers = [position[size] for size in dims]
            return ir.DictAttr.get({flow.DIMS: ir.DenseI64ArrayAttr.get(numbers)})

        boxes = [None for s in call.scalars if _boxed(s)]
        arguments = [*call.tensors, *boxes, *(None for _ in plain)]
        function.attributes["arg_attrs"] = ir.ArrayAttr.get([describe(a) for a in arguments])
        function.attributes["res_attrs"] = ir.ArrayAttr.get([describe(r) for r in call.results])


def _structural_order(group: Group, nodes: list[Node]) -> list[int]:
    """Return the operations of a group, operands first, in an order that only depends on them.

    Equal groups then give equal text, however the program around them is ordered.
    """
    wanted = set(group.operations)
    order: dict[int, None] = {}
    pending = sorted(group.members, reverse=True)
    while pending:
        index = pending[-1]
        sources = [p for p in nodes[index].producers if p in wanted and p not in order]
        if sources and index not in order:
            pending.extend(reversed(sources))
        else:
            order[pending.pop()] = None
    return list(order)


def _is_remade(op: ir.Operation) -> bool:
    """Whether an operand is made again inside instead of being passed."""
    if op.name in ("tensor.empty", "complex.constant"):
        return True
    if op.name != "arith.constant":
        return False
    value = op.attributes["value"]
    if not isinstance(value, ir.DenseElementsAttr):
        return not isinstance(op.results[0].type, ir.RankedTensorType)
    return value.is_splat or len(value) <= MAX_INLINE_ELEMENTS


def _boxed(value: ir.Value) -> bool:
    """Whether a scalar is passed as a tensor of rank 0 (all but integers)."""
    return not isinstance(value.type, (ir.IndexType, ir.IntegerType))


def _host_operands(
    call: _Call, replaced: dict[ir.Value, ir.Value]
) -> tuple[list[ir.Value], list[ir.Value]]:
    """Emit what converts the operands of a call and return its tensors and its scalars."""
    tensors = [replaced.get(value, value) for value in call.tensors]
    scalars = []
    index = ir.IndexType.get()
    for value in call.scalars:
        if _boxed(value):
            kind = ir.RankedTensorType.get([], value.type)
            tensors.append(tensor.FromElementsOp(kind, [value]).result)
        elif isinstance(value.type, ir.IntegerType):
            narrow = value.type.width == 1
            cast = arith.IndexCastUIOp if narrow else arith.IndexCastOp
            scalars.append(cast(index, value).result)
        else:
            scalars.append(value)
    return tensors, scalars


def _bind_arguments(call: _Call, block: ir.Block) -> dict[ir.Value, ir.Value]:
    """Map the operands of a group to arguments of its function, unpacking scalars."""
    arguments = iter(list(block.arguments))
    values = {value: next(arguments) for value in call.tensors}
    for value in call.scalars:
        if _boxed(value):
            values[value] = tensor.ExtractOp(next(arguments), []).result
    for value in call.scalars:
        if not _boxed(value):
            argument = next(arguments)
            if isinstance(value.type, ir.IntegerType):
                narrow = value.type.width == 1
                cast = arith.IndexCastUIOp if narrow else arith.IndexCastOp
                argument = cast(value.type, argument).result
            values[value] = argument
    return values


def clone_into(op: ir.Operation, values: dict[ir.Value, ir.Value]) -> ir.Operation:
    """Clone ``op`` at the insertion point with operands, nested ones too, mapped by ``values``."""
    clone = op.clone(ir.InsertionPoint.current).operation
    for inner in (clone, *nested_operations(clone)):
        for number, operand in enumerate(list(inner.operands)):
            mapped = values.get(operand)
            if mapped is not None:
                inner.operands[number] = mapped
    values.update(zip(op.results, clone.results, strict=True))
    return clone


_SIDE_EFFECTS = ("ml_program.", "func.call", "cf.", "func.return")


def _has_side_effects(op: ir.Operation) -> bool:
    return any(
        inner.name.startswith(_SIDE_EFFECTS) and not _calls_dispatch(inner)
        for inner in (op, *nested_operations(op))
    )


def _calls_dispatch(op: ir.Operation) -> bool:
    """Tell whether ``op`` is a call of a dispatch, which only computes its results."""
    if op.name != "func.call":
        return False
    module = op
    while module.name != "builtin.module":
        module = module.parent.operation
    name = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
    table = ir.SymbolTable(module)
    return name in table and flow.DISPATCH in table[name].operation.attributes


def schedule(grouper: Grouper, calls: Iterable[_Call], sizes: Sizes) -> list[_Call | Node]:
    """Order calls and host operations so that every value precedes its uses.

    Operations with side effects keep their order; otherwise the order of the program is kept
    as far as possible.
    """
    nodes = grouper.nodes
    units: list[_Call | Node] = list(calls)
    units += [n for n in nodes if n.kind is Kind.HOST or _stays_on_host(n, grouper)]
    unit_of: dict[ir.Value, int] = {}
    for number, unit in enumerate(units):
        results = unit.results if isinstance(unit, _Call) else unit.op.results
        unit_of.update((value, number) for value in results)
    before: list[set[int]] = [set() for _ in units]
    previous: int | None = None
    for number, unit in enumerate(units):
        if isinstance(unit, _Call):
            values = [*unit.tensors, *unit.scalars]
        else:
            values = list(unit.operands)
            if _has_side_effects(unit.op):
                before[number].update(() if previous is None else (previous,))
                previous = number
        before[number].update(unit_of[v] for v in values if v in unit_of)
        before[number].discard(number)
    return [units[number] for number in _topological(before, [_position(u) for u in units])]


def _stays_on_host(node: Node, grouper: Grouper) -> bool:
    return node.kind is Kind.CONSTANT and node.op.name in ("tensor.empty", "arith.constant")


def _position(unit: _Call | Node) -> int:
    return unit.index if isinstance(unit, Node) else max(unit.group.members)


def _topological(before: list[set[int]], positions: list[int]) -> list[int]:
    after: list[list[int]] = [[] for _ in before]
    missing = [len(sources) for sources in before]
    for number, sources in enumerate(before):
        for source in sources:
            after[source].append(number)
    ready = [(positions[n], n) for n, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        _, number = heapq.heappop(ready)
        order.append(number)
        for follower in after[number]:
            missing[follower] -= 1
            if not missing[follower]:
                heapq.heappush(ready, (positions[follower], follower))
    if len(order) != len(before):
        raise CompileError("Fusion groups depend on each other in a circle.")
    return order
