"""If, Loop and Scan: structured control flow over tensors.

The sizes of loop-carried tensors are found by importing the body until they no longer change:
a size that a body does not keep becomes dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, scf
from iree_core.lowering import index, tensors
from iree_core.lowering.element import BOOL, I64
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.lowering.values import Value, array_constant
from iree_frontend_onnx.registry import Node, lowering
from iree_frontend_onnx.values import AnyValue, Sequence_

Body = Callable[[ir.Value, Value, list[Value]], tuple[Value | None, list[Value], list[Value]]]


def _common(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [a if a == b else DYNAMIC for a, b in zip(first, second, strict=True)]


def _cast(tensor: Tensor, kind: ir.RankedTensorType) -> ir.Value:
    from iree_core.ir import tensor as tensor_dialect

    return tensor.value if tensor.type == kind else tensor_dialect.cast(kind, tensor.value)


def _scalar(node: Node, value: Value) -> ir.Value:
    tensor = tensors.reshape(node.to_tensor(value), ())
    return tensors.scalar_at(tensor, [])


@lowering("If")
def if_(node: Node) -> list[AnyValue]:
    """One of two bodies; chosen at import where the condition is known."""
    known = node.array(0)
    graphs = [node.attr("then_branch"), node.attr("else_branch")]
    importer = node.importer
    if known is not None:
        return importer.import_subgraph(graphs[0 if known.reshape(-1)[0] else 1], [])
    condition = _scalar(node, node.value(0))
    holder = scf.IfOp(condition, [], has_else=True)
    results: list[list[Tensor]] = []
    blocks = [holder.then_block, holder.else_block]
    for block, graph in zip(blocks, graphs, strict=True):
        with ir.InsertionPoint(block):
            made = importer.import_subgraph(graph, [])
            if not all(isinstance(v, Value) for v in made):
                node.unsupported("a branch returns a sequence or an optional")
            results.append([node.to_tensor(v) for v in made if isinstance(v, Value)])
    types = []
    for a, b in zip(*results, strict=True):
        if a.rank != b.rank or a.element != b.element:
            node.unsupported("both branches must return tensors of the same rank and type")
        shape = _common(a.type.shape, b.type.shape)
        types.append(ir.RankedTensorType.get(shape, a.element.type))
    op = ir.Operation.create("scf.if", results=types, operands=[condition], regions=2)
    for block, region, outputs in zip(blocks, op.regions, results, strict=True):
        with ir.InsertionPoint(block):
            scf.YieldOp([_cast(t, k) for t, k in zip(outputs, types, strict=True)])
        block.append_to(region)
    holder.operation.erase()
    return [
        Value(tensor=Tensor.of(r, t.element)) for r, t in zip(op.results, results[0], strict=True)
    ]


class _Loop:
    """Builds one loop: ``scf.for`` where it runs a known number of times, else ``scf.while``."""

    def __init__(
        self, node: Node, trip: Dim | None, condition: Value | None, states: list[Value], body: Body
    ) -> None:
        self.node, self.trip, self.body = node, trip, body
        self.initial = [node.to_tensor(v) for v in states]
        self.condition = condition
        known = condition is None
        if condition is not None:
            array = condition.array()
            known = array is not None and bool(array.reshape(-1)[0])
        self.unconditional = known and trip is not None
        self.shapes = [list(t.type.shape) for t in self.initial]

    def run(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the final states and the stacked scan outputs."""
        while True:
            with index.trial():
                holder = ir.Operation.create("scf.while", regions=2)
                made = self._import_body(holder)
                if made is None:
                    holder.erase()
            if made is None:
                continue
            return self._finish(holder, *made)

    def _import_body(
        self, holder: ir.Operation
    ) -> tuple[ir.Block, Value | None, list[Tensor], list[Tensor]] | None:
        """Import the body into a block of ``holder``; None if the assumed types do not hold."""
        node = self.node
        types = [
            ir.RankedTensorType.get(s, t.element.type)
            for s, t in zip(self.shapes, self.initial, strict=True)
        ]
        head = [ir.IndexType.get()] + ([] if self.unconditional else [BOOL.type])
        here = ir.Location.current
        block = holder.regions[0].blocks.append(
            *head, *types, arg_locs=[here] * (len(head) + len(types))
        )
        arguments = list(block.arguments)
        with ir.InsertionPoint(block):
            if self.unconditional:
                import numpy as np

                condition = Value(constant=array_constant(np.array(True)))
            else:
                condition = Value(tensor=tensors.from_scalar(arguments[1], BOOL))
            states = []
            for argument, initial in zip(arguments[len(head) :], self.initial, strict=True):
                states.append(Value(tensor=Tensor.of(argument, initial.element)))
            going, after, scans = self.body(arguments[0], condition, states)
            following = [node.to_tensor(v) for v in after]
            stacked = [node.to_tensor(v) for v in scans]
        if self.unconditional and going is not None:
            array = going.array()
            if array is None or not bool(array.reshape(-1)[0]):
                self.unconditional = False
                return None
        changed = False
        for place, (shape, tensor) in enumerate(zip(self.shapes, following, strict=True)):
            if len(shape) != tensor.rank:
                node.unsupported("the rank of a loop-carried value changes")
            common = _common(shape, tensor.type.shape)
            changed |= common != shape
            self.shapes[place] = common
        return None if changed else (block, going, following, stacked)

    def _finish(
        self,
        holder: ir.Operation,
        block: ir.Block,
        going: Value | None,
        following: list[Tensor],
        scans: list[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        stacks = [_Stack(s, self.trip) for s in scans]
        position = block.arguments[0]
        types = [
            ir.RankedTensorType.get(s, t.element.type)
            for s, t in zip(self.shapes, self.initial, strict=True)
        ]
        carried = [_cast(t, k) for t, k in zip(self.initial, types, strict=True)]
        for stack in stacks:
            carried += stack.start()
        here = ir.Location.current
        extra = [block.add_argument(v.type, here) for v in carried[len(types) :]]
        with ir.InsertionPoint(block):
            yielded = [_cast(t, k) for t, k in zip(following, types, strict=True)]
            for stack in stacks:
                count = stack.width
                yielded += stack.push(position, extra[:count])
                extra = extra[count:]
            if self.unconditional:
                scf.YieldOp(yielded)
            else:
                one = arith.constant(ir.IndexType.get(), 1)
                last = arith.constant(BOOL.type, 1)
                if going is not None:
                    last = _scalar(self.node, going)
                scf.YieldOp([arith.addi(position, one), last, *yielded])
        results, count = self._close(holder, block, carried)
        states = [Tensor.of(r, t.element) for r, t in zip(results, self.initial, strict=False)]
        rest = results[len(states) :]
        outputs = []
        for stack in stacks:
            outputs.append(stack.result(rest[: stack.width], count))
            rest = rest[stack.width :]
        return states, outputs

    def _close(
        self, holder: ir.Operation, block: ir.Block, carried: list[ir.Value]
    ) -> tuple[list[ir.Value], Dim]:
        types = [v.type for v in carried]
        if self.unconditional:
            assert self.trip is not None
            bounds = [index.value(0), index.value(self.trip), index.value(1)]
            op = ir.Operation.create(
                "scf.for", results=types, operands=[*bounds, *carried], regions=1
            )
            block.append_to(op.regions[0])
            holder.erase()
            return list(op.results), index.maximum(self.trip, 0)
        first = arith.constant(BOOL.type, 1)
        if self.condition is not None:
            first = _scalar(self.node, self.condition)
        operands = [index.value(0), first, *carried]
        head = [v.type for v in operands]
        limit = None if self.trip is None else index.value(self.trip)
        op = ir.Operation.create("scf.while", results=head, operands=operands, regions=2)
        before = op.regions[0].blocks.append(*head, arg_locs=[ir.Location.current] * len(head))
        with ir.InsertionPoint(before):
            go = before.arguments[1]
            if limit is not None:
                room = arith.cmpi(arith.CmpIPredicate.slt, before.arguments[0], limit)
                go = arith.andi(go, room)
            scf.ConditionOp(go, list(before.arguments))
        block.append_to(op.regions[1])
        holder.erase()
        return list(op.results)[2:], op.results[0]


class _Stack:
    """One scan output: rows written into place where their number is bounded, else appended."""

    def __init__(self, row: Tensor, trip: Dim | None) -> None:
        self.row = row
        self.dynamic = [a for a, d in enumerate(row.dims) if not isinstance(d, int)]
        self.bounded = trip is not None and not self.dynamic
        self.trip = trip
        self.width = 1 if self.bounded else 1 + len(self.dynamic)

    def start(self) -> list[ir.Value]:
        """Return what the loop carries before its first run."""
        if self.bounded:
            assert self.trip is not None
            rows = index.maximum(self.trip, 0)
            return [tensors.empty([index.value(rows), *self.row.dims], self.row.element)]
        empty = tensors.empty([index.value(0)], self.row.element)
        return [empty, *[index.value(0) for _ in self.dynamic]]

    def push(self, position: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        """Emit, inside the body, the addition of this run's row."""
        stack = Tensor.of(carried[0], self.row.element)
        if self.bounded:
            row = tensors.expand_dims(self.row, [0])
            into = [position, *[0] * self.row.rank]
            return [tensors.insert_slice(row, stack, into).value]
        flat = tensors.reshape(self.row, [index.product(self.row.dims)])
        size = index.value(flat.dims[0])
        joined = tensors.concat([stack, tensors.with_dims(flat, [size])], 0)
        return [joined.value, *[index.value(self.row.dims[a]) for a in self.dynamic]]

    def result(self, carried: list[ir.Value], count: Dim) -> Tensor:
        """Return, after the loop, all rows."""
        stack = Tensor.of(carried[0], self.row.element)
        if self.bounded:
            return tensors.extract_slice(
                stack, [0] * stack.rank, [count, *stack.dims[1:]], [1] * stack.rank
            )
        sizes = iter(carried[1:])
        dims = [next(sizes) if a in self.dynamic else d for a, d in enumerate(self.row.dims)]
        return tensors.reshape(stack, [count, *dims])


@lowering("Loop")
def loop(node: Node) -> list[AnyValue]:
    """A body run up to M times while its condition holds."""
    graph = node.attr("body")
    trip = node.items(0)[0] if node.has(0) else None
    condition = node.value(1) if node.has(1) else None
    states = node.inputs[2:]
    if any(isinstance(s, Sequence_) for s in states):
        return _unrolled(node, trip, condition, [s for s in states if s is not None])

    def body(
        position: ir.Value, going: Value, current: list[Value]
    ) -> tuple[Value | None, list[Value], list[Value]]:
        number = Value(items=[position], rank=0, element=I64)
        made = node.importer.import_subgraph(graph, [number, going, *current])
        if not all(isinstance(v, Value) for v in made):
            node.unsupported("the body returns a sequence or an optional")
        values = [v for v in made if isinstance(v, Value)]
        return values[0], values[1 : 1 + len(current)], values[1 + len(current) :]

    given = [node.value(i) for i in range(2, len(node.inputs))]
    final, scans = _Loop(node, trip, condition, given, body).run()
    return [Value(tensor=t) for t in (*final, *scans)]


def _unrolled(
    node: Node, trip: Dim | None, condition: Value | None, states: list[AnyValue]
) -> list[AnyValue]:
    """Sequences grow while importing, so their loops must have a known length."""
    import numpy as np

    graph = node.attr("body")
    if not isinstance(trip, int) or trip > 1024:
        node.unsupported("a loop over sequences must have a trip count known at import")
    going = condition or Value(constant=array_constant(np.array(True)))
    scans: list[list[AnyValue]] = []
    for position in range(trip):
        array = going.array()
        if array is None:
            node.unsupported("a loop over sequences must have a condition known at import")
        if not bool(array.reshape(-1)[0]):
            break
        number = Value(items=[position], rank=0, element=I64)
        made = node.importer.import_subgraph(graph, [number, going, *states])
        if not isinstance(made[0], Value):
            node.unsupported("the condition is no tensor")
        going, states = made[0], made[1 : 1 + len(states)]
        scans.append(made[1 + len(states) :])
    stacked: list[AnyValue] = []
    for column in zip(*scans, strict=True):
        rows = [tensors.expand_dims(node.to_tensor(v), [0]) for v in column if isinstance(v, Value)]
        stacked.append(Value(tensor=tensors.concat(rows, 0)))
    return [*states, *stacked]


@lowering("Scan", since=9)
def scan(node: Node) -> list[AnyValue]:
    """A body run over slices of tensors."""
    graph = node.attr("body")
    count = node.attr("num_scan_inputs")
    first = len(node.inputs) - count
    sources = [node.tensor(i) for i in range(first, len(node.inputs))]
    axes = node.attr("scan_input_axes", [0] * count)
    axes = [node.normalize_axis(a, s.rank) for a, s in zip(axes, sources, strict=True)]
    backwards = node.attr("scan_input_directions", [0] * count)
    trip = sources[0].dims[axes[0]]

    def body(
        position: ir.Value, _: Value, current: list[Value]
    ) -> tuple[Value | None, list[Value], list[Value]]:
        slices = []
        for source, axis, reverse in zip(sources, axes, backwards, strict=True):
            place: Dim = index.sub(index.sub(trip, 1), position) if reverse else position
            offsets: list[Dim] = [0] * source.rank
            sizes = list(source.dims)
            offsets[axis], sizes[axis] = place, 1
            part = tensors.extract_slice(source, offsets, sizes, [1] * source.rank)
            slices.append(Value(tensor=tensors.squeeze(part, [axis])))
        made = node.importer.import_subgraph(graph, [*current, *slices])
        values = [v for v in made if isinstance(v, Value)]
        return None, values[: len(current)], values[len(current) :]

    given = [node.value(i) for i in range(first)]
    final, scans = _Loop(node, trip, None, given, body).run()
    outputs = _arrange(node, scans)
    return [Value(tensor=t) for t in (*final, *outputs)]


def _arrange(node: Node, scans: list[Tensor]) -> list[Tensor]:
    """Apply directions and axes of the scan outputs."""
    from iree_frontend_onnx.ops.slicing import flipped

    axes = node.attr("scan_output_axes", [0] * len(scans))
    backwards = node.attr("scan_output_directions", [0] * len(scans))
    arranged = []
    for stack, axis, reverse in zip(scans, axes, backwards, strict=True):
        rows = flipped(stack, 0) if reverse else stack
        axis = node.normalize_axis(axis, stack.rank)
        order = list(range(1, stack.rank))
        order.insert(axis, 0)
        arranged.append(tensors.transpose(rows, order))
    return arranged
