"""The def-use graph of one host-level block, with every operation classified for fusion.

Built once per block; grouping works on node numbers and tuples instead of IR objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from iree_core.ir import ir
from iree_core.passes.dispatch.structure import (
    FIXED,
    Body,
    Decoder,
    Kind,
    Loops,
    captured_values,
    linalg_kind,
    read_body,
)

Sizes = Mapping[ir.Value, tuple[ir.Value, ...]]
"""For a tensor, the values of its dynamic dimensions in order."""

ATOMIC_ATTRIBUTE = "flow.atomic"
"""Marks an operation (a loop over scalars, say) that becomes one dispatch as a whole."""

# Constants of at most this many elements are repeated in every dispatch that uses them.
MAX_INLINE_ELEMENTS = 16

RESHAPES = ("tensor.expand_shape", "tensor.collapse_shape")

OUTSIDE = -1
"""Stands for the producer of a value that is defined outside the block."""


@dataclass
class Node:
    """One operation of the block.

    Attributes:
        index: position in the block, and name of the node.
        op: the operation.
        kind: its part in fusion.
        operands: its operands, then the values its regions capture.
        producers: per entry of ``operands``, the node that defines it, or :data:`OUTSIDE`.
        users: nodes that use a result, ascending.
        loops: the loop nest of a ``linalg.generic``.
        body: its body.
        inputs: how many of the operands are inputs of a ``linalg.generic``.
    """

    index: int
    op: ir.Operation
    kind: Kind
    operands: tuple[ir.Value, ...]
    producers: tuple[int, ...] = ()
    users: list[int] = field(default_factory=list)
    loops: Loops | None = None
    body: Body | None = None
    inputs: int = 0

    @property
    def space(self) -> tuple[int, ...]:
        """The parallel loops in the order in which they index the first result."""
        assert self.loops is not None
        parallel = self.loops.parallel
        access = self.loops.maps[self.inputs]
        result = [d for d in access if d is not None and d != FIXED and parallel[d]]
        missing = [d for d, p in enumerate(parallel) if p and d not in result]
        return tuple(result + missing)


def build_graph(block: ir.Block, decoder: Decoder, sizes: Sizes) -> list[Node]:
    """Return the nodes of ``block`` in order, the terminator last."""
    nodes: list[Node] = []
    producer: dict[ir.Value, int] = {}
    for index, view in enumerate(block.operations):
        op = view.operation
        operands = tuple(op.operands)
        if op.regions:
            operands += tuple(captured_values(op))
        node = Node(index, op, Kind.HOST, operands)
        node.producers = tuple(producer.get(value, OUTSIDE) for value in operands)
        if op.name in RESHAPES and _reshapes_view(node, nodes):
            node.kind = Kind.VIEW
        _classify(node, decoder, sizes)
        for number in dict.fromkeys(node.producers):
            if number != OUTSIDE:
                nodes[number].users.append(index)
        for result in op.results:
            producer[result] = index
        nodes.append(node)
    return nodes


def _reshapes_view(node: Node, nodes: Sequence[Node]) -> bool:
    """Whether a reshape is better read through than done on the host.

    That is so behind a broadcast or transposition that nobody needs stored, as long as the
    last dimension, along which vectors run, is not involved.
    """
    source = node.producers[0]
    if source == OUTSIDE or nodes[source].kind is not Kind.VIEW or nodes[source].loops is None:
        return False
    last = list(node.op.attributes["reassociation"])[-1:]
    return bool(last) and len(last[0]) == 1


def _classify(node: Node, decoder: Decoder, sizes: Sizes) -> None:
    op = node.op
    name = op.name
    if ATOMIC_ATTRIBUTE in op.attributes:
        node.kind = Kind.ATOMIC
    elif name == "linalg.generic":
        node.loops = decoder.loops(op)
        node.body = read_body(op)
        node.inputs = len(node.loops.maps) - len(op.results)
        node.kind = linalg_kind(node.loops, node.body, node.inputs)
    elif name in ("linalg.fill", "tensor.empty", "tensor.splat"):
        node.kind = Kind.CONSTANT
    elif name == "arith.constant":
        if isinstance(op.results[0].type, ir.RankedTensorType) and _is_small(op):
            node.kind = Kind.CONSTANT
    elif name == "tensor.extract_slice":
        node.kind = Kind.HOST if is_contiguous_slice(op, sizes) else Kind.VIEW
    elif name == "tensor.pad":
        node.kind = Kind.VIEW if len(list(op.regions[0].blocks[0].operations)) == 1 else Kind.ATOMIC
    elif name in ("tensor.concat", "tensor.insert_slice"):
        node.kind = Kind.MOVE
    elif name in ("tensor.generate", "tensor.gather", "tensor.scatter") or (
        name.startswith("linalg.") and op.results
    ):
        node.kind = Kind.ATOMIC


def _is_small(op: ir.Operation) -> bool:
    value = op.attributes["value"]
    if not isinstance(value, ir.DenseElementsAttr):
        return False
    return value.is_splat or len(value) <= MAX_INLINE_ELEMENTS


def is_contiguous_slice(op: ir.Operation, sizes: Sizes) -> bool:
    """Whether a ``tensor.extract_slice`` certainly takes one contiguous range of its source.

    That is so where every stride is 1 and behind the first dimension that is cut every
    dimension is taken whole; the dimensions before it have size 1.
    """
    if any(stride != 1 for stride in _static(op, "static_strides")):
        return False
    kind = ir.RankedTensorType(op.operands[0].type)
    counts = _static(op, "static_sizes")
    extents = iter(sizes.get(op.operands[0], ()))
    offsets = sum(o == ir.ShapedType.get_dynamic_size() for o in _static(op, "static_offsets"))
    taken = iter(list(op.operands)[1 + offsets :])
    whole: list[bool] = []
    for dim, count in enumerate(counts):
        size = next(taken) if count == ir.ShapedType.get_dynamic_size() else count
        extent = next(extents, None) if kind.is_dynamic_dim(dim) else kind.shape[dim]
        whole.append(type(size) is type(extent) and size == extent)
    cuts = [d for d, entire in enumerate(whole) if not entire]
    if not cuts:
        return True
    first = next((d for d in cuts if counts[d] != 1), cuts[-1])
    return all(whole[first + 1 :]) and all(size == 1 for size in counts[:first])


def _static(op: ir.Operation, name: str) -> Sequence[int]:
    return list(ir.DenseI64ArrayAttr(op.attributes[name]))
