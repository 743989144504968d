"""Sequences and optionals: Python lists at import, no operations at run time."""

from __future__ import annotations

from iree_core.lowering import index, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.values import Value
from iree_frontend_onnx.registry import Node, lowering
from iree_frontend_onnx.values import AnyValue, Optional_, Sequence_


@lowering("SequenceEmpty")
def sequence_empty(node: Node) -> Sequence_:
    """An empty sequence."""
    return Sequence_([])


@lowering("SequenceConstruct")
def sequence_construct(node: Node) -> Sequence_:
    """A sequence of the inputs."""
    return Sequence_([node.value(i) for i in range(len(node.inputs))])


def _position(node: Node, place: int, length: int, default: int) -> int:
    if not node.has(place):
        return default
    found = node.ints(place, "the position in the sequence")[0]
    return found + length if found < 0 else found


@lowering("SequenceInsert")
def sequence_insert(node: Node) -> Sequence_:
    """A sequence with one more entry."""
    values = list(node.sequence(0).values)
    values.insert(_position(node, 2, len(values), len(values)), node.value(1))
    return Sequence_(values)


@lowering("SequenceErase")
def sequence_erase(node: Node) -> Sequence_:
    """A sequence with one entry less."""
    values = list(node.sequence(0).values)
    del values[_position(node, 1, len(values), len(values) - 1)]
    return Sequence_(values)


@lowering("SequenceAt")
def sequence_at(node: Node) -> Value:
    """One entry."""
    values = node.sequence(0).values
    return values[_position(node, 1, len(values), 0)]


@lowering("SequenceLength")
def sequence_length(node: Node) -> Value:
    """The number of entries."""
    return Value(items=[len(node.sequence(0).values)], rank=0)


@lowering("ConcatFromSequence")
def concat_from_sequence(node: Node) -> AnyValue:
    """All entries joined along an axis, or stacked along one that is inserted."""
    parts = [node.to_tensor(v) for v in node.sequence(0).values]
    stack = bool(node.attr("new_axis", 0))
    axis = node.normalize_axis(node.attr("axis"), parts[0].rank + stack)
    if stack:
        parts = [tensors.expand_dims(p, [axis]) for p in parts]
    return Value(tensor=tensors.concat(parts, axis))


@lowering("SplitToSequence")
def split_to_sequence(node: Node) -> Sequence_:
    """Parts along an axis; their number must be known at import."""
    x = node.tensor(0)
    axis = node.axis(x.rank)
    total = x.dims[axis]
    keep = bool(node.attr("keepdims", 1))
    sizes: list[Dim]
    if node.has(1):
        given = node.items(1)
        if node.value(1).rank == 0:
            step = given[0]
            if not isinstance(total, int) or not isinstance(step, int):
                node.unsupported("the number of parts must be known at import")
            sizes = [min(step, total - start) for start in range(0, total, step)]
        else:
            sizes = given
        keep = True
    else:
        if not isinstance(total, int):
            node.unsupported("the number of parts must be known at import")
        sizes = [1] * total
    parts: list[Value] = []
    start: Dim = 0
    for size in sizes:
        offsets: list[Dim] = [0] * x.rank
        dims = list(x.dims)
        offsets[axis], dims[axis] = start, size
        part = tensors.extract_slice(x, offsets, dims, [1] * x.rank)
        parts.append(Value(tensor=part if keep else tensors.squeeze(part, [axis])))
        start = index.add(start, size)
    return Sequence_(parts)


@lowering("SequenceMap")
def sequence_map(node: Node) -> list[AnyValue]:
    """A body applied to every entry."""
    lists = node.sequence(0).values
    others = [node.any(i) for i in range(1, len(node.inputs))]
    columns: list[list[Value]] = [[] for _ in node.proto.output]
    for place, value in enumerate(lists):
        inputs: list[AnyValue] = [value]
        inputs += [o.values[place] if isinstance(o, Sequence_) else o for o in others]
        made = node.importer.import_subgraph(node.attr("body"), inputs)
        for column, result in zip(columns, made, strict=True):
            if not isinstance(result, Value):
                node.unsupported("the body returns a sequence or an optional")
            column.append(result)
    return [Sequence_(column) for column in columns]


@lowering("Optional")
def optional(node: Node) -> Optional_:
    """An optional with or without a value."""
    given = node.inputs[0] if node.inputs else None
    return Optional_(given if isinstance(given, (Value, Sequence_)) else None)


@lowering("OptionalHasElement")
def optional_has_element(node: Node) -> Value:
    """Whether there is a value."""
    import numpy as np

    from iree_core.lowering.values import array_constant

    given = node.inputs[0] if node.inputs else None
    present = given.value is not None if isinstance(given, Optional_) else given is not None
    return Value(constant=array_constant(np.array(present)))


@lowering("OptionalGetElement")
def optional_get_element(node: Node) -> AnyValue:
    """The value."""
    given = node.any(0)
    found = given.value if isinstance(given, Optional_) else given
    if found is None:
        node.unsupported("the optional is empty")
    return found
