"""Sizes inside a dispatch: what its operations take for granted of them. Not for host functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.ir import func, ir, linalg

# A size inside a dispatch: a number, or the position of the argument that holds it.
Inner = int | tuple[str, int]


@dataclass(frozen=True)
class Facts:
    """What has to hold for the operands of a dispatch.

    Attributes:
        equalities: pairs of sizes that operations walk together.
        slices: offset, size and dimension of slices, which have to be inside.
    """

    equalities: list[tuple[Inner, Inner]]
    slices: list[tuple[Inner, Inner, Inner]]


def dims_of_arguments(callee: func.FuncOp) -> Iterator[Sequence[int]]:
    """Yield, for each argument, the positions of the arguments that hold its dynamic sizes."""
    attributes = callee.attributes.get("arg_attrs", None)
    for number in range(len(callee.type.inputs)):
        found = ir.DictAttr(attributes[number]) if attributes is not None else {}
        yield [int(p) for p in found[flow.DIMS]] if flow.DIMS in found else []


def facts_of(callee: func.FuncOp) -> Facts:
    """Return what the operations of a dispatch take for granted of its operands."""
    block = callee.regions[0].blocks[0]
    known: dict[ir.Value, list[Inner | None]] = {}
    equalities: list[tuple[Inner, Inner]] = []
    slices: list[tuple[Inner, Inner, Inner]] = []
    for argument, positions in zip(block.arguments, dims_of_arguments(callee), strict=True):
        if isinstance(argument.type, ir.RankedTensorType):
            known[argument] = _merge(argument.type, [("argument", p) for p in positions])
    for op in block.operations:
        name = op.operation.name
        if name == "tensor.empty":
            known[op.result] = _merge(op.result.type, [_argument(o, block) for o in op.operands])
        elif name.startswith("linalg.") and len(op.operands):
            equalities += _of_structured(op, known)
        elif name == "tensor.concat":
            equalities += _of_concat(op, known)
        elif name in ("tensor.extract_slice", "tensor.insert_slice"):
            slices += _of_slice(op, known, block)
    return Facts(list(dict.fromkeys(equalities)), list(dict.fromkeys(slices)))


def _of_slice(
    op: ir.OpView, known: dict[ir.Value, list[Inner | None]], block: ir.Block
) -> Iterator[tuple[Inner, Inner, Inner]]:
    """Yield offset, size and dimension of a slice with strides of 1, as far as they are known."""
    first = 1 if op.operation.name == "tensor.extract_slice" else 2
    segments = [int(n) for n in op.attributes["operandSegmentSizes"]]
    operands = list(op.operands)
    whole = operands[first - 1]
    if first == 2 and whole in known:
        known[op.results[0]] = known[whole]
    parts: list[list[Inner | None]] = []
    for group, attribute in enumerate(("static_offsets", "static_sizes", "static_strides")):
        start = sum(segments[: first + group])
        dynamic = iter(operands[start : start + segments[first + group]])
        parts.append(
            [
                _argument(next(dynamic), block) if n == ir.ShapedType.get_dynamic_size() else n
                for n in (int(n) for n in op.attributes[attribute])
            ]
        )
    for offset, size, stride, dim in zip(*parts, known.get(whole, ()), strict=False):
        if stride == 1 and offset is not None and size is not None and dim is not None:
            yield offset, size, dim


def _merge(kind: ir.Type, dynamic: Sequence[Inner | None]) -> list[Inner | None]:
    sizes = iter(dynamic)
    return [
        next(sizes) if kind.is_dynamic_dim(d) else kind.get_dim_size(d) for d in range(kind.rank)
    ]


def _argument(value: ir.Value, block: ir.Block) -> Inner | None:
    arguments = list(block.arguments)
    return ("argument", arguments.index(value)) if value in arguments else None


def _of_structured(
    op: ir.OpView, known: dict[ir.Value, list[Inner | None]]
) -> Iterator[tuple[Inner, Inner]]:
    loops: dict[int, Inner] = {}
    operands = list(op.operands)
    for value, indexing in zip(operands, linalg.get_indexing_maps(op) or (), strict=False):
        for size, loop in zip(known.get(value, ()), _results(indexing), strict=False):
            if size is not None and isinstance(loop, ir.AffineDimExpr):
                position = ir.AffineDimExpr(loop).position
                first = loops.setdefault(position, size)
                if first != size:
                    yield first, size
    results = list(op.results)
    for result, init in zip(results, operands[len(operands) - len(results) :], strict=True):
        if init in known:
            known[result] = known[init]


def _results(indexing: ir.Attribute) -> Sequence[ir.AffineExpr]:
    found = indexing.value if isinstance(indexing, ir.AffineMapAttr) else indexing
    return list(found.results)


def _of_concat(
    op: ir.OpView, known: dict[ir.Value, list[Inner | None]]
) -> Iterator[tuple[Inner, Inner]]:
    axis = ir.IntegerAttr(op.attributes["dim"]).value
    first, *others = (known.get(operand) for operand in op.operands)
    for other in others:
        for d, (one, two) in enumerate(zip(first or (), other or (), strict=False)):
            if d != axis and one is not None and two is not None and one != two:
                yield one, two
