"""Arithmetic on sizes in StableHLO, which the host does: a scalar, not a tensor program.

JAX computes what depends on symbolic dimensions (sizes of slices, constraints of the exported
function) on tensors of rank 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iree_core.ir import arith, ir
from iree_core.lowering import scalars, tensors
from iree_core.lowering.element import ElementType
from iree_core.passes.input.stablehlo_regions import element_of, retype, scalar_operation
from iree_core.passes.input.support import before, operations, replace
from iree_core.passes.state import CompilationState

_ELEMENTWISE = frozenset(
    f"stablehlo.{name}"
    for name in (
        "add", "and", "compare", "convert", "divide", "maximum", "minimum", "multiply", "negate",
        "not", "or", "remainder", "select", "sign", "subtract", "xor",
    )
)  # fmt: skip
_RESHAPES = frozenset(("stablehlo.broadcast_in_dim", "stablehlo.reshape"))


@dataclass(frozen=True)
class StablehloSizes:
    """Computes with scalars where all operands are sizes or constants; later, constants fold.

    Before::

        %n = tensor.from_elements %i : tensor<i32>
        %m = stablehlo.multiply %n, %c2 : tensor<i32>

    After::

        %j = arith.muli %i, %c2 : i32
        %m = tensor.from_elements %j : tensor<i32>
    """

    name: str = "stablehlo-sizes"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite every such operation on signed integers and truth values."""
        for op in operations(module, _ELEMENTWISE | _RESHAPES):
            kind = ir.RankedTensorType(op.results[0].type)
            if not kind.has_static_shape or any(n != 1 for n in kind.shape):
                continue
            values = [*op.operands, op.results[0]]
            if not all(_is_counted(element_of(value)) for value in values):
                continue
            known = [_scalar(value) for value in op.operands]
            makers = [maker for maker in known if maker is not None]
            if len(makers) < len(known):
                continue
            with before(op):
                made = _compute(op, [make() for make in makers])
                if made is None:
                    continue
                packed = tensors.from_elements([made], element_of(op.results[0]), kind.shape)
                value = retype(packed.value, kind)
            replace(op, [value])


def _is_counted(element: ElementType) -> bool:
    return element.kind in ("signed", "bool")


def _scalar(value: ir.Value) -> Callable[[], ir.Value] | None:
    """Return what gives the only element of a tensor, None where it is no size or constant."""
    op = value.owner
    if isinstance(op, ir.Block):
        return None
    if op.name == "builtin.unrealized_conversion_cast":
        return _scalar(op.operands[0])
    if op.name == "tensor.from_elements" and len(op.operands) == 1:
        operand = op.operands[0]
        return lambda: operand
    if op.name == "stablehlo.constant":
        attribute, element = ir.DenseElementsAttr(op.attributes["value"]), element_of(value)
        if attribute.is_splat and ir.RankedTensorType(value.type).shape in ([], [1]):
            number = attribute.get_splat_value().value
            return lambda: scalars.constant(number, element)
    return None


def _compute(op: ir.Operation, operands: list[ir.Value]) -> ir.Value | None:
    if op.name in _RESHAPES:
        return operands[0]
    element = element_of(op.results[0])
    if op.name in ("stablehlo.divide", "stablehlo.remainder"):
        a, b = operands
        return _divide(a, b, element, remainder=op.name == "stablehlo.remainder")
    if op.name == "stablehlo.sign":
        one, zero, below = (scalars.constant(n, element) for n in (1, 0, -1))
        negative = scalars.compare("lt", operands[0], zero, element)
        positive = scalars.compare("gt", operands[0], zero, element)
        return arith.select(positive, one, arith.select(negative, below, zero))
    return scalar_operation(op, operands)


def _divide(a: ir.Value, b: ir.Value, element: ElementType, *, remainder: bool) -> ir.Value:
    """Divide as StableHLO does: by zero gives -1 (and all of ``a`` remains), no overflow."""
    zero, one, ones = (scalars.constant(n, element) for n in (0, 1, -1))
    lowest = scalars.constant(int(scalars.lowest(element)), element)
    by_zero = scalars.compare("eq", b, zero, element)
    overflow = arith.andi(
        scalars.compare("eq", a, lowest, element), scalars.compare("eq", b, ones, element)
    )
    safe = arith.select(arith.ori(by_zero, overflow), one, b)
    if remainder:
        rest = arith.select(overflow, zero, arith.remsi(a, safe))
        return arith.select(by_zero, a, rest)
    return arith.select(by_zero, ones, arith.divsi(a, safe))
