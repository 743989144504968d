"""IF, WHILE, calls and variables.

The sizes of what a loop carries are found by importing its body until they no longer change: a
size that the body does not keep becomes dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, scf, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.lowering.values import Value
from iree_frontend_tf.tflite.initial import variable_name
from iree_frontend_tf.tflite.registry import Node, lowering
from iree_frontend_tf.tflite.values import AnyValue, Resource


def _common(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [a if a == b else DYNAMIC for a, b in zip(first, second, strict=True)]


def _cast(t: Tensor, kind: ir.Type) -> ir.Value:
    return t.value if t.type == kind else tensor.cast(kind, t.value)


def _given(node: Node, first: int) -> list[AnyValue]:
    found = node.inputs[first:]
    if any(v is None for v in found):
        node.unsupported("an input is missing")
    return [v for v in found if v is not None]


def _flag(node: Node, value: AnyValue) -> ir.Value:
    if not isinstance(value, Value):
        node.unsupported("the condition is no tensor")
    return tensors.scalar_at(tensors.reshape(node.to_tensor(value), ()), [])


def _tensors(node: Node, values: Sequence[AnyValue]) -> list[Tensor]:
    return [node.to_tensor(v) for v in values if isinstance(v, Value)]


@lowering("IF")
def if_(node: Node) -> list[AnyValue]:
    """One of two graphs; chosen at import where the condition is known."""
    numbers = [node.option("ThenSubgraphIndex", -1), node.option("ElseSubgraphIndex", -1)]
    inputs = _given(node, 1)
    known = node.array(0)
    importer = node.importer
    if known is not None:
        return importer.import_graph(numbers[0 if known.reshape(-1)[0] else 1], inputs)
    condition = _flag(node, node.value(0))

    def branch(number: int) -> Callable[[], list[AnyValue]]:
        return lambda: importer.import_graph(number, inputs)

    return _choose(node, condition, [branch(number) for number in numbers])


@lowering("STABLEHLO_CASE")
def case(node: Node) -> list[AnyValue]:
    """One of several graphs by a number; the last one where the number names none."""
    numbers = node.option_list("BranchSubgraphIndices")
    inputs = _given(node, 1)
    if not numbers:
        node.unsupported("it has no branch")
    known = node.array(0)
    if known is not None:
        chosen = int(known.reshape(-1)[0])
        inside = 0 <= chosen < len(numbers)
        return node.importer.import_graph(numbers[chosen if inside else -1], inputs)
    selector = tensors.scalar_at(tensors.reshape(node.tensor(0), ()), [])

    def branch(place: int) -> list[AnyValue]:
        if place == len(numbers) - 1:
            return node.importer.import_graph(numbers[place], inputs)
        wanted = scalars.constant(place, node.value(0).element)
        here = arith.cmpi(arith.CmpIPredicate.eq, selector, wanted)
        return _choose(
            node,
            here,
            [
                lambda: node.importer.import_graph(numbers[place], inputs),
                lambda: branch(place + 1),
            ],
        )

    return branch(0)


def _choose(
    node: Node, condition: ir.Value, branches: Sequence[Callable[[], list[AnyValue]]]
) -> list[AnyValue]:
    """Emit what the first of two ``branches`` emits where ``condition`` holds, else the other."""
    holder = scf.IfOp(condition, [], has_else=True)
    blocks = [holder.then_block, holder.else_block]
    results: list[list[Tensor]] = []
    for block, emit in zip(blocks, branches, strict=True):
        with ir.InsertionPoint(block):
            made = emit()
            if not all(isinstance(v, Value) for v in made):
                node.unsupported("a branch returns a variable")
            results.append(_tensors(node, made))
    types = []
    for a, b in zip(*results, strict=True):
        if a.rank != b.rank or a.element != b.element:
            node.unsupported("both branches must return tensors of the same rank and type")
        types.append(ir.RankedTensorType.get(_common(a.type.shape, b.type.shape), a.element.type))
    op = ir.Operation.create("scf.if", results=types, operands=[condition], regions=2)
    for block, region, outputs in zip(blocks, op.regions, results, strict=True):
        with ir.InsertionPoint(block):
            scf.YieldOp([_cast(t, k) for t, k in zip(outputs, types, strict=True)])
        block.append_to(region)
    holder.operation.erase()
    return [
        Value(tensor=Tensor.of(r, t.element)) for r, t in zip(op.results, results[0], strict=True)
    ]


@lowering("WHILE", "STABLEHLO_WHILE")
def while_(node: Node) -> list[AnyValue]:
    """A graph repeated as long as another returns true."""
    numbers = node.option("CondSubgraphIndex", -1), node.option("BodySubgraphIndex", -1)
    inputs = _given(node, 0)
    initial = _tensors(node, inputs)
    shapes = [list(t.type.shape) for t in initial]
    while True:
        with index.trial():
            op = _loop(node, numbers, inputs, initial, shapes)
        if op is not None:
            break
    results = iter(Tensor.of(r, t.element) for r, t in zip(op.results, initial, strict=True))
    return [v if isinstance(v, Resource) else Value(tensor=next(results)) for v in inputs]


def _loop(
    node: Node,
    numbers: tuple[int, int],
    inputs: Sequence[AnyValue],
    initial: Sequence[Tensor],
    shapes: list[list[int]],
) -> ir.Operation | None:
    """Emit the loop; None where its body does not keep ``shapes``, which are then widened."""
    types = [
        ir.RankedTensorType.get(s, t.element.type) for s, t in zip(shapes, initial, strict=True)
    ]
    op = ir.Operation.create(
        "scf.while",
        results=types,
        operands=[_cast(t, k) for t, k in zip(initial, types, strict=True)],
        regions=2,
    )
    here = [ir.Location.current] * len(types)
    blocks = [region.blocks.append(*types, arg_locs=here) for region in op.regions]

    def bound(block: ir.Block) -> list[AnyValue]:
        arguments = iter(
            Tensor.of(a, t.element) for a, t in zip(block.arguments, initial, strict=True)
        )
        return [v if isinstance(v, Resource) else Value(tensor=next(arguments)) for v in inputs]

    with ir.InsertionPoint(blocks[0]):
        going = node.importer.import_graph(numbers[0], bound(blocks[0]))
        scf.ConditionOp(_flag(node, going[0]), list(blocks[0].arguments))
    with ir.InsertionPoint(blocks[1]):
        following = _tensors(node, node.importer.import_graph(numbers[1], bound(blocks[1])))
        changed = False
        for place, (shape, made) in enumerate(zip(shapes, following, strict=True)):
            if made.rank != len(shape):
                node.unsupported("the rank of a loop-carried value changes")
            common = _common(shape, made.type.shape)
            changed |= common != shape
            shapes[place] = common
        if not changed:
            scf.YieldOp([_cast(t, k) for t, k in zip(following, types, strict=True)])
            return op
    op.erase()
    return None


@lowering("CALL_ONCE")
def call_once(node: Node) -> list[AnyValue]:
    """Nothing: the values it assigns are the variables' first ones."""
    return []


@lowering("CALL")
def call(node: Node) -> list[AnyValue]:
    """What another graph makes of the inputs."""
    return node.importer.import_graph(node.option("Subgraph", -1), _given(node, 0))


@lowering("STABLEHLO_COMPOSITE")
def composite(node: Node) -> list[AnyValue]:
    """The graph that says what a composite operator does."""
    number = node.option("DecompositionSubgraphIndex", -1)
    return node.importer.import_graph(number, _given(node, 0))


@lowering("VAR_HANDLE")
def var_handle(node: Node) -> Resource:
    """The handle of a variable."""
    return Resource(variable_name(node.info))


@lowering("READ_VARIABLE")
def read_variable(node: Node) -> Tensor:
    """The present contents of a variable."""
    info = node.output()
    return node.importer.state.variables.load(node.resource(0).name, info.dims, node.element())


@lowering("ASSIGN_VARIABLE")
def assign_variable(node: Node) -> list[AnyValue]:
    """Other contents for a variable."""
    node.importer.state.variables.store(node.resource(0).name, node.tensor(1))
    return []
