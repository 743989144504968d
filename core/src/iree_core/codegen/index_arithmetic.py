"""Index arithmetic that is folded as far as its numbers are known while compiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from iree_core.ir import arith, ir

Scalar: TypeAlias = int | ir.Value
"""A number known while compiling, or an SSA value of type ``index``."""


class IndexArithmetic:
    """Emits arithmetic on numbers of type ``index`` at the current insertion point."""

    def __init__(self) -> None:
        self.index_type = ir.IndexType.get()
        self._sums: dict[ir.Value, tuple[ir.Value, int]] = {}

    def value(self, number: Scalar) -> ir.Value:
        """Return ``number`` as an SSA value of type ``index``."""
        if isinstance(number, int):
            return arith.ConstantOp(self.index_type, number).result
        return number

    def add(self, a: Scalar, b: Scalar) -> Scalar:
        """Return a + b."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        (x, m), (y, n) = self._parts(a), self._parts(b)
        if isinstance(x, int) or isinstance(y, int):
            return self._moved(self.value(y if isinstance(x, int) else x), m + n)
        return self._moved(arith.AddIOp(x, y).result, m + n)

    def _parts(self, number: Scalar) -> tuple[Scalar, int]:
        """Return a number as the sum of an unknown (0 if there is none) and a constant."""
        if isinstance(number, int):
            return 0, number
        return self._sums.get(number, (number, 0))

    def _moved(self, value: ir.Value, constant: int) -> ir.Value:
        """Return ``value + constant``, of which later sums take the constant out again.

        Addresses of neighbours then differ by a constant only, whatever they are computed from.
        """
        if constant == 0:
            return value
        result = arith.AddIOp(value, self.value(constant)).result
        self._sums[result] = (value, constant)
        return result

    def sub(self, a: Scalar, b: Scalar) -> Scalar:
        """Return a - b."""
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        if isinstance(b, int):
            return self.add(a, -b)
        return arith.SubIOp(self.value(a), b).result

    def mul(self, a: Scalar, b: Scalar) -> Scalar:
        """Return a * b."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if isinstance(b, int):
            a, b = b, a
        if isinstance(a, int):
            if a == 0:
                return 0
            if a == 1:
                return b
            value, constant = self._parts(b)
            if constant:
                return self._moved(arith.MulIOp(self.value(a), value).result, a * constant)
        return arith.MulIOp(self.value(a), self.value(b)).result

    def div(self, a: Scalar, b: Scalar) -> Scalar:
        """Return a / b rounded down, for numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        if isinstance(b, int) and b == 1:
            return a
        return arith.DivUIOp(self.value(a), self.value(b)).result

    def mod(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the remainder of a / b, for numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        if isinstance(b, int) and b == 1:
            return 0
        return arith.RemUIOp(self.value(a), self.value(b)).result

    def ceildiv(self, a: Scalar, b: Scalar) -> Scalar:
        """Return a / b rounded up, for numbers that are not negative."""
        return self.div(self.add(a, self.sub(b, 1)), b)

    def min(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the smaller of two signed numbers."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return arith.MinSIOp(self.value(a), self.value(b)).result

    def max(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the larger of two signed numbers."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return arith.MaxSIOp(self.value(a), self.value(b)).result

    def product(self, numbers: Sequence[Scalar]) -> Scalar:
        """Return the product of all numbers (1 for none)."""
        result: Scalar = 1
        for number in numbers:
            result = self.mul(result, number)
        return result

    def compare(self, predicate: str, a: Scalar, b: Scalar) -> ir.Value:
        """Return the i1 of a signed comparison: slt, sle, sgt, sge, eq, ne."""
        predicates = arith.CmpIPredicate
        return arith.CmpIOp(getattr(predicates, predicate), self.value(a), self.value(b)).result

    def delinearize(self, number: Scalar, sizes: Sequence[Scalar]) -> list[Scalar]:
        """Split a row-major position into one coordinate per size."""
        result: list[Scalar] = []
        for size in reversed(sizes[1:]):
            result.append(self.mod(number, size))
            number = self.div(number, size)
        return [number, *reversed(result)] if sizes else []
