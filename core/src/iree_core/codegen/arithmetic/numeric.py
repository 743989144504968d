"""Formulas over MLIR values: scalars or vectors of floats and integers with Python's operators.

Every operation goes to the current insertion point. Both operands have the same type; a Python
number stands for a constant of that type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_core.ir import arith, ir, math

_FLOAT_OF = {16: ir.F16Type, 32: ir.F32Type, 64: ir.F64Type}


def shaped_like(kind: ir.Type, element: ir.Type) -> ir.Type:
    """Return ``kind`` with another element type."""
    if isinstance(kind, ir.VectorType):
        return ir.VectorType.get(kind.shape, element)
    return element


def element_of(kind: ir.Type) -> ir.Type:
    """Return the element type of a vector, the type itself of a scalar."""
    return kind.element_type if isinstance(kind, ir.VectorType) else kind


def constant(kind: ir.Type, number: float | int) -> ir.Value:
    """Return a constant, the same in every lane."""
    element = element_of(kind)
    attribute: ir.Attribute
    if isinstance(element, ir.FloatType):
        attribute = ir.FloatAttr.get(element, float(number))
    else:
        bits = element.width
        wrapped = int(number) & ((1 << bits) - 1)
        if wrapped >> (bits - 1) and bits > 1:
            wrapped -= 1 << bits
        attribute = ir.IntegerAttr.get(element, wrapped)
    if isinstance(kind, ir.VectorType):
        attribute = ir.DenseElementsAttr.get_splat(kind, attribute)
    return arith.ConstantOp(kind, attribute).result


@dataclass(frozen=True, eq=False)
class Num:
    """A number, or a vector of numbers; comparisons give an ``i1`` number.

    Attributes:
        value: the MLIR value.
        fma: the target has fused multiply-add instructions.
        scale: emits x * 2^n in one instruction for x and a whole n in floating point, right for
            every n; None where the target has none for values of this type.
    """

    value: ir.Value
    fma: bool = True
    scale: Callable[[ir.Value, ir.Value], ir.Value] | None = None

    def _with(self, value: ir.Value) -> Num:
        """Return another value of the same target."""
        return Num(value, self.fma, self.scale)

    # Types.

    @property
    def kind(self) -> ir.Type:
        """The MLIR type."""
        return self.value.type

    @property
    def element(self) -> ir.Type:
        """The type of one lane."""
        return element_of(self.kind)

    @property
    def is_float(self) -> bool:
        """Whether lanes are floating-point numbers."""
        return isinstance(self.element, ir.FloatType)

    def like(self, number: float | int) -> Num:
        """Return a constant of the same type."""
        return self._with(constant(self.kind, number))

    def _other(self, other: Num | float | int) -> ir.Value:
        return other.value if isinstance(other, Num) else self.like(other).value

    def _op(self, floats: type | None, ints: type | None, other: Num | float | int) -> Num:
        operation = floats if self.is_float else ints
        assert operation is not None
        return self._with(operation(self.value, self._other(other)).result)

    # Arithmetic.

    def __add__(self, other: Num | float | int) -> Num:
        return self._op(arith.AddFOp, arith.AddIOp, other)

    def __sub__(self, other: Num | float | int) -> Num:
        return self._op(arith.SubFOp, arith.SubIOp, other)

    def __rsub__(self, other: float | int) -> Num:
        return self.like(other) - self

    def __mul__(self, other: Num | float | int) -> Num:
        return self._op(arith.MulFOp, arith.MulIOp, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Num | float | int) -> Num:
        return self._op(arith.DivFOp, None, other)

    def __rtruediv__(self, other: float | int) -> Num:
        return self.like(other) / self

    def __neg__(self) -> Num:
        return self._with(arith.NegFOp(self.value).result)

    def __abs__(self) -> Num:
        return self._with(math.AbsFOp(self.value).result)

    def times_plus(self, factor: Num | float, addend: Num | float) -> Num:
        """Return ``self * factor + addend``, rounded once where the target can."""
        if not self.fma:
            return self * factor + addend
        operands = (self.value, self._other(factor), self._other(addend))
        return self._with(math.FmaOp(*operands).result)

    def sqrt(self) -> Num:
        """Return the correctly rounded square root."""
        return self._with(math.SqrtOp(self.value).result)

    def copysign(self, sign: Num) -> Num:
        """Return ``self`` with the sign bit of ``sign``."""
        return self._with(math.CopySignOp(self.value, sign.value).result)

    def floor(self) -> Num:
        """Return the largest whole number that is not greater."""
        return self._with(math.FloorOp(self.value).result)

    def times_power_of_two(self, exponent: Num) -> Num:
        """Return ``self * 2^exponent`` for a whole exponent, where ``scale`` is there."""
        assert self.scale is not None
        return self._with(self.scale(self.value, exponent.value))

    # Bits.

    def __and__(self, other: Num | int) -> Num:
        return self._op(None, arith.AndIOp, other)

    def __or__(self, other: Num | int) -> Num:
        return self._op(None, arith.OrIOp, other)

    def __xor__(self, other: Num | int) -> Num:
        return self._op(None, arith.XOrIOp, other)

    def __lshift__(self, other: Num | int) -> Num:
        return self._op(None, arith.ShLIOp, other)

    def __rshift__(self, other: Num | int) -> Num:
        """Shift in copies of the sign bit."""
        return self._op(None, arith.ShRSIOp, other)

    def shift_right_zero(self, other: Num | int) -> Num:
        """Shift in zeros."""
        return self._op(None, arith.ShRUIOp, other)

    def bits(self) -> Num:
        """Return a float's representation as an integer."""
        kind = shaped_like(self.kind, ir.IntegerType.get_signless(self.element.width))
        return self._with(arith.BitcastOp(kind, self.value).result)

    def as_float(self) -> Num:
        """Return the IEEE float with these bits."""
        return self.bitcast(_FLOAT_OF[self.element.width].get())

    def bitcast(self, element: ir.Type) -> Num:
        """Return the same bits as another type of the same width."""
        kind = shaped_like(self.kind, element)
        return self._with(arith.BitcastOp(kind, self.value).result)

    # Conversions.

    def to(self, element: ir.Type) -> Num:
        """Convert a float to another float, or a (signed) integer to another integer."""
        width, kind = self.element.width, shaped_like(self.kind, element)
        if element.width == width:
            return self
        if self.is_float:
            operation = arith.ExtFOp if element.width > width else arith.TruncFOp
        else:
            operation = arith.ExtSIOp if element.width > width else arith.TruncIOp
        return self._with(operation(kind, self.value).result)

    def extend_zero(self, element: ir.Type) -> Num:
        """Convert an unsigned integer to a wider one."""
        kind = shaped_like(self.kind, element)
        return self._with(arith.ExtUIOp(kind, self.value).result)

    def int_to_float(self, element: ir.Type) -> Num:
        """Convert a signed integer to a float."""
        kind = shaped_like(self.kind, element)
        return self._with(arith.SIToFPOp(kind, self.value).result)

    def to_int(self, width: int) -> Num:
        """Convert a float that is in range to a signed integer, towards zero."""
        kind = shaped_like(self.kind, ir.IntegerType.get_signless(width))
        return self._with(arith.FPToSIOp(kind, self.value).result)

    # Comparisons; false where a float operand is not a number, except for ne.

    def _compare(self, floats: str, ints: str, other: Num | float | int) -> Num:
        right = self._other(other)
        if self.is_float:
            predicate = getattr(arith.CmpFPredicate, floats)
            return self._with(arith.CmpFOp(predicate, self.value, right).result)
        predicate = getattr(arith.CmpIPredicate, ints)
        return self._with(arith.CmpIOp(predicate, self.value, right).result)

    def __lt__(self, other: Num | float | int) -> Num:
        return self._compare("OLT", "slt", other)

    def __le__(self, other: Num | float | int) -> Num:
        return self._compare("OLE", "sle", other)

    def __gt__(self, other: Num | float | int) -> Num:
        return self._compare("OGT", "sgt", other)

    def __ge__(self, other: Num | float | int) -> Num:
        return self._compare("OGE", "sge", other)

    def eq(self, other: Num | float | int) -> Num:
        """Whether both are equal."""
        return self._compare("OEQ", "eq", other)

    def ne(self, other: Num | float | int) -> Num:
        """Whether they differ; a NaN differs from everything."""
        return self._compare("UNE", "ne", other)

    def is_nan(self) -> Num:
        """Whether the float is not a number."""
        return self._compare("UNO", "", self)

    # Selection. A NaN operand of at_least or at_most is kept: clamping constants come second.

    def at_least(self, low: float) -> Num:
        """Return the larger of ``self`` and a constant, NaN for a NaN."""
        return select(self < low, self.like(low), self)

    def at_most(self, high: float) -> Num:
        """Return the smaller of ``self`` and a constant, NaN for a NaN."""
        return select(self > high, self.like(high), self)


def select(condition: Num, then: Num, otherwise: Num | float | int) -> Num:
    """Return ``then`` in the lanes where the condition holds, else ``otherwise``."""
    if not isinstance(otherwise, Num):
        otherwise = then.like(otherwise)
    return then._with(arith.SelectOp(condition.value, then.value, otherwise.value).result)


def polynomial(x: Num, coefficients: Sequence[float]) -> Num:
    """Evaluate a polynomial by Horner's rule, the highest coefficient first."""
    result = x.like(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result.times_plus(x, coefficient)
    return result
