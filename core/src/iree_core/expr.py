"""Integer expressions over the scalar operands of a dispatch.

A kernel states its grid and its scratch memory as expressions, because dimensions may only be
known at run time. The virtual machine evaluates them; where every operand is a constant they
fold to a number while compiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Operator = Literal["const", "scalar", "add", "mul", "ceildiv", "min", "max"]


@dataclass(frozen=True)
class Expr:
    """A tree of integer operations.

    ``const`` holds its number in ``value``; ``scalar`` the position of a scalar operand of the
    dispatch; every other operator has two ``args``.
    """

    op: Operator
    value: int = 0
    args: tuple[Expr, ...] = ()

    def evaluate(self, scalars: Sequence[int]) -> int:
        """Return the number this expression has for the given scalar operands."""
        if self.op == "const":
            return self.value
        if self.op == "scalar":
            return scalars[self.value]
        left, right = (arg.evaluate(scalars) for arg in self.args)
        return _apply(self.op, left, right)

    def __add__(self, other: Expr | int) -> Expr:
        return _binary("add", self, other)

    def __mul__(self, other: Expr | int) -> Expr:
        return _binary("mul", self, other)

    def ceildiv(self, divisor: Expr | int) -> Expr:
        """Return the quotient rounded towards positive infinity."""
        return _binary("ceildiv", self, divisor)

    def max(self, other: Expr | int) -> Expr:
        """Return the larger of both."""
        return _binary("max", self, other)

    def min(self, other: Expr | int) -> Expr:
        """Return the smaller of both."""
        return _binary("min", self, other)

    def to_json(self) -> list:
        """Return nested lists: ``["const", 3]``, ``["mul", [..], [..]]``."""
        if self.op in ("const", "scalar"):
            return [self.op, self.value]
        return [self.op, *(arg.to_json() for arg in self.args)]

    @staticmethod
    def from_json(data: list) -> Expr:
        """Invert :meth:`to_json`."""
        op, *rest = data
        if op in ("const", "scalar"):
            return Expr(op, rest[0])
        return Expr(op, 0, tuple(Expr.from_json(arg) for arg in rest))


def const(value: int) -> Expr:
    """Return the constant ``value``."""
    return Expr("const", value)


def scalar(position: int) -> Expr:
    """Return the value of the dispatch's scalar operand at ``position``."""
    return Expr("scalar", position)


def _apply(op: str, left: int, right: int) -> int:
    if op == "add":
        return left + right
    if op == "mul":
        return left * right
    if op == "ceildiv":
        return -(-left // right)
    return min(left, right) if op == "min" else max(left, right)


def _binary(op: Operator, left: Expr, right: Expr | int) -> Expr:
    if isinstance(right, int):
        right = const(right)
    if left.op == "const" and right.op == "const":
        return const(_apply(op, left.value, right.value))
    if op == "mul" and const(1) in (left, right):
        return right if left == const(1) else left
    if op == "ceildiv" and right == const(1):
        return left
    return Expr(op, 0, (left, right))
