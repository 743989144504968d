"""Broadcasting of CHLO's binary operations with dynamic sizes, made explicit.

Two dynamic sizes that meet are taken to be equal, as are a dynamic one and a static one that is
not 1; only static ones expand. The runtime checks sizes, so that other sizes are an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import ir
from iree_core.lowering import index
from iree_core.lowering.index import Dim

_PREFIX = "chlo.broadcast_"
_IOTA = "stablehlo.dynamic_iota"
_OF_CHLO = ("next_after", "polygamma", "zeta")
_DYNAMIC = ir.ShapedType.get_dynamic_size()


def resolve(module: ir.Module) -> None:
    """Replace every such operation that has an operand of dynamic size.

    Counting (``dynamic_iota``) takes its sizes as integers then, or from its static type.
    """
    found: list[ir.Operation] = []

    def visit(op: ir.OpView) -> ir.WalkResult:
        operation = op.operation
        dynamic = operation.name.startswith(_PREFIX) and _is_dynamic(operation)
        if dynamic or operation.name == _IOTA:
            found.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in found:
        with ir.InsertionPoint(op), op.location, index.sharing():
            made = _counted(op) if op.name == _IOTA else _explicit(op)
            op.results[0].replace_all_uses_with(made)
        op.erase()


def _counted(op: ir.Operation) -> ir.Value:
    kind, sizes = ir.RankedTensorType(op.results[0].type), op.operands[0]
    attributes = {"iota_dimension": op.attributes["iota_dimension"]}
    if kind.has_static_shape:
        return ir.Operation.create("stablehlo.iota", results=[kind], attributes=attributes).result
    shape = ir.RankedTensorType(sizes.type)
    if isinstance(shape.element_type, ir.IndexType):
        integers = ir.RankedTensorType.get(shape.shape, ir.IntegerType.get_signless(64))
        sizes = ir.Operation.create("arith.index_cast", results=[integers], operands=[sizes]).result
    return ir.Operation.create(
        _IOTA, results=[kind], operands=[sizes], attributes=attributes
    ).result


def _is_dynamic(op: ir.Operation) -> bool:
    return any(not ir.RankedTensorType(o.type).has_static_shape for o in op.operands)


def _explicit(op: ir.Operation) -> ir.Value:
    kinds = [ir.RankedTensorType(o.type) for o in op.operands]
    rank = max(kind.rank for kind in kinds)
    places = [_places(op, kind, rank) for kind in kinds]
    dims = [_dim(op.operands, kinds, places, axis) for axis in range(rank)]
    operands = [
        _broadcast(value, kind, place, dims)
        for value, kind, place in zip(op.operands, kinds, places, strict=True)
    ]
    name = op.name.removeprefix(_PREFIX)
    attributes = {
        key: op.attributes[key]
        for key in (a if isinstance(a, str) else a.name for a in op.attributes)
        if key != "broadcast_dimensions"
    }
    if name == "compare":
        for key, enum in (("comparison_direction", True), ("compare_type", False)):
            if key in attributes:
                word = str(attributes[key]).rpartition(" ")[2].rstrip(">")
                kind = "comparison_direction" if enum else "comparison_type"
                attributes[key] = ir.Attribute.parse(f"#stablehlo<{kind} {word}>")
    result = ir.RankedTensorType(op.results[0].type)
    shape = [d if isinstance(d, int) else _DYNAMIC for d in dims]
    made = ir.Operation.create(
        f"{'chlo' if name in _OF_CHLO else 'stablehlo'}.{name}",
        results=[ir.RankedTensorType.get(shape, result.element_type)],
        operands=operands,
        attributes=attributes,
    ).result
    return _cast(made, result)


def _places(op: ir.Operation, kind: ir.RankedTensorType, rank: int) -> list[int]:
    """Return the dimension of the result that each of an operand's is."""
    if kind.rank < rank and kind.rank and "broadcast_dimensions" in op.attributes:
        given = list(ir.DenseI64ArrayAttr(op.attributes["broadcast_dimensions"]))
        if len(given) == kind.rank:
            return given
    return list(range(rank - kind.rank, rank))


def _dim(
    operands: Sequence[ir.Value],
    kinds: Sequence[ir.RankedTensorType],
    places: Sequence[Sequence[int]],
    axis: int,
) -> Dim:
    """Return a size of the result: a static one where any operand has one that is not 1."""
    one = False
    dynamic: tuple[ir.Value, int] | None = None
    for value, kind, place in zip(operands, kinds, places, strict=True):
        if axis not in place:
            continue
        own = place.index(axis)
        if kind.is_dynamic_dim(own):
            dynamic = dynamic or (value, own)
        elif kind.get_dim_size(own) != 1:
            return kind.get_dim_size(own)
        else:
            one = True
    if dynamic is None:
        assert one
        return 1
    return _size(*dynamic)


def _size(value: ir.Value, axis: int) -> ir.Value:
    return ir.Operation.create(
        "tensor.dim", results=[ir.IndexType.get()], operands=[value, index.value(axis)]
    ).result


def _broadcast(
    value: ir.Value, kind: ir.RankedTensorType, places: Sequence[int], dims: Sequence[Dim]
) -> ir.Value:
    shape = [d if isinstance(d, int) else _DYNAMIC for d in dims]
    target = ir.RankedTensorType.get(shape, kind.element_type)
    expanding = [
        own
        for own, place in enumerate(places)
        if not kind.is_dynamic_dim(own) and kind.get_dim_size(own) == 1 and dims[place] != 1
    ]
    if kind.rank == len(dims) and not expanding:
        return _cast(value, target)
    numbers = ir.DenseI64ArrayAttr.get(list(places))
    if target.has_static_shape and kind.has_static_shape:
        return ir.Operation.create(
            "stablehlo.broadcast_in_dim",
            results=[target],
            operands=[value],
            attributes={"broadcast_dimensions": numbers},
        ).result
    sizes = ir.Operation.create(
        "tensor.from_elements",
        results=[ir.RankedTensorType.get([len(dims)], ir.IndexType.get())],
        operands=[index.value(d) for d in dims],
    ).result
    others = [own for own in range(kind.rank) if own not in expanding]
    return ir.Operation.create(
        "stablehlo.dynamic_broadcast_in_dim",
        results=[target],
        operands=[value, sizes],
        attributes={
            "broadcast_dimensions": numbers,
            "known_expanding_dimensions": ir.DenseI64ArrayAttr.get(expanding),
            "known_nonexpanding_dimensions": ir.DenseI64ArrayAttr.get(others),
        },
    ).result


def _cast(value: ir.Value, kind: ir.Type) -> ir.Value:
    if value.type == kind:
        return value
    return ir.Operation.create("tensor.cast", results=[kind], operands=[value]).result
