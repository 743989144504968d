"""Regions of StableHLO operations (comparators, reducers) as scalar code.

A region works on tensors of rank 0. What the table knows becomes ``arith`` on scalars; the rest
is kept as StableHLO on rank-0 tensors, which the conversion to linalg handles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import scalars
from iree_core.lowering.element import ElementType, from_name
from iree_core.lowering.tensors import Tensor
from iree_core.passes.input.support import create


def element_of(value: ir.Value) -> ElementType:
    """Return the element type, signedness included, of a StableHLO tensor value."""
    return from_name(str(ir.RankedTensorType(value.type).element_type))


def as_tensor(value: ir.Value) -> Tensor:
    """Return a StableHLO value as a signless :class:`Tensor`."""
    element = element_of(value)
    kind = ir.RankedTensorType(value.type)
    return Tensor.of(retype(value, ir.RankedTensorType.get(kind.shape, element.type)), element)


def retype(value: ir.Value, kind: ir.Type) -> ir.Value:
    """Return the same bits under a type that differs in signedness at most."""
    if value.type == kind:
        return value
    return create("builtin.unrealized_conversion_cast", [kind], [value]).results[0]


def inline_region(block: ir.Block, arguments: Sequence[ir.Value]) -> list[ir.Value]:
    """Emit the body of ``block`` on signless scalars; returns the scalars it yields."""
    known: dict[ir.Value, ir.Value] = dict(zip(block.arguments, arguments, strict=True))

    def scalar(value: ir.Value) -> ir.Value:
        if value not in known:
            known[value] = tensor.extract(as_tensor(value).value, [])
        return known[value]

    for view in block.operations:
        op = view.operation
        if op.name in ("stablehlo.return", "func.return"):
            return [scalar(v) for v in op.operands]
        made = None
        if op.name in _TABLE:
            made = scalar_operation(op, [scalar(v) for v in op.operands])
        if made is not None:
            known[op.results[0]] = made
        else:
            _keep(op, scalar, known)
    raise ValueError("the region has no stablehlo.return")


def scalar_operation(op: ir.Operation, operands: Sequence[ir.Value]) -> ir.Value | None:
    """Emit an elementwise operation on signless scalars; None where there is no such form."""
    build = _TABLE.get(op.name)
    return None if build is None else build(op, list(operands))


def _keep(
    op: ir.Operation, scalar: Callable[[ir.Value], ir.Value], known: dict[ir.Value, ir.Value]
) -> None:
    """Emit a copy of ``op`` on rank-0 tensors made from scalars."""
    operands = []
    for operand in op.operands:
        value = scalar(operand)
        packed = tensor.from_elements(ir.RankedTensorType.get([], value.type), [value])
        operands.append(retype(packed, operand.type))
    copy = op.clone(ip=ir.InsertionPoint.current)
    for position, operand in enumerate(operands):
        copy.operation.operands[position] = operand
    for source, result in zip(op.results, copy.operation.results, strict=True):
        known[source] = tensor.extract(as_tensor(result).value, [])


def _binary(function: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
    return lambda op, args: function(args[0], args[1], element_of(op.results[0]))


def _bitwise(function: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
    return lambda op, args: function(args[0], args[1])


def _constant(op: ir.Operation, args: list[ir.Value]) -> ir.Value | None:
    element = element_of(op.results[0])
    if element.kind == "complex":
        return None
    value = ir.DenseElementsAttr(op.attributes["value"]).get_splat_value()
    number = value.value
    return scalars.constant(number, element)


def _compare(op: ir.Operation, args: list[ir.Value]) -> ir.Value:
    element = element_of(op.operands[0])
    direction = str(op.attributes["comparison_direction"])
    predicate = next(p for p in ("EQ", "NE", "LE", "LT", "GE", "GT") if p in direction).lower()
    total = "compare_type" in op.attributes and "TOTALORDER" in str(op.attributes["compare_type"])
    if element.is_float and total:
        integer = from_name(f"i{element.bits}")
        args = [_total_order_key(a, integer) for a in args]
        element = integer
    return scalars.compare(predicate, args[0], args[1], element)


def _total_order_key(a: ir.Value, integer: ElementType) -> ir.Value:
    """Return a signed integer that orders floats as IEEE 754's totalOrder does."""
    bits = arith.bitcast(integer.type, a)
    negative = scalars.compare("lt", bits, scalars.constant(0, integer), integer)
    largest = scalars.constant((1 << (integer.bits - 1)) - 1, integer)
    return arith.select(negative, arith.xori(bits, largest), bits)


def _convert(op: ir.Operation, args: list[ir.Value]) -> ir.Value | None:
    source, target = element_of(op.operands[0]), element_of(op.results[0])
    if source.is_float and target.is_integer:
        return None  # out-of-range values need the stock lowering's care
    return scalars.convert(args[0], source, target)


def _bitcast(op: ir.Operation, args: list[ir.Value]) -> ir.Value | None:
    source, target = element_of(op.operands[0]), element_of(op.results[0])
    if source.type == target.type:
        return args[0]
    return arith.bitcast(target.type, args[0]) if source.bits == target.bits else None


def _not(op: ir.Operation, args: list[ir.Value]) -> ir.Value:
    element = element_of(op.results[0])
    ones = scalars.constant(1 if element.kind == "bool" else -1, element)
    return arith.xori(args[0], ones)


def _divide(op: ir.Operation, args: list[ir.Value]) -> ir.Value | None:
    element = element_of(op.results[0])
    return scalars.div(args[0], args[1], element) if element.is_float else None


def _extremum(
    ordered: Callable[..., ir.Value], logical: Callable[..., ir.Value]
) -> Callable[..., ir.Value | None]:
    def build(op: ir.Operation, args: list[ir.Value]) -> ir.Value | None:
        element = element_of(op.results[0])
        if element.kind == "complex":
            return None
        if element.kind == "bool":
            return logical(args[0], args[1])
        return ordered(args[0], args[1], element)

    return build


_TABLE: dict[str, Callable[..., ir.Value | None]] = {
    "stablehlo.add": _binary(scalars.add),
    "stablehlo.and": _bitwise(arith.andi),
    "stablehlo.bitcast_convert": _bitcast,
    "stablehlo.compare": _compare,
    "stablehlo.constant": _constant,
    "stablehlo.convert": _convert,
    "stablehlo.divide": _divide,
    "stablehlo.maximum": _extremum(scalars.maximum, arith.ori),
    "stablehlo.minimum": _extremum(scalars.minimum, arith.andi),
    "stablehlo.multiply": _binary(scalars.mul),
    "stablehlo.negate": lambda op, args: scalars.negate(args[0], element_of(op.results[0])),
    "stablehlo.not": _not,
    "stablehlo.or": _bitwise(arith.ori),
    "stablehlo.select": lambda op, args: arith.select(*args),
    "stablehlo.subtract": _binary(scalars.sub),
    "stablehlo.xor": _bitwise(arith.xori),
}
