"""Sizes and positions: arithmetic on numbers known now and ``index`` values known at run time.

A :data:`Dim` is a Python int or an SSA value of type ``index``. Ints fold; the same run-time
computation made twice in one scope gives the same SSA value, so that two dimensions are known
to be equal when their values are identical. Not for arithmetic inside ``linalg`` bodies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from iree_core.ir import arith, ir

Dim: TypeAlias = int | ir.Value

_memo: dict[tuple, ir.Value] | None = None


@contextmanager
def sharing() -> Iterator[None]:
    """Share equal computations for as long as code is only appended to open blocks."""
    global _memo
    previous, _memo = _memo, {}
    try:
        yield
    finally:
        _memo = previous


def shared(key: tuple, build: Callable[[], ir.Value]) -> ir.Value:
    """Return the value ``build`` makes, or the one made for ``key`` in an enclosing block."""
    if _memo is None:
        return build()
    block = ir.InsertionPoint.current.block
    scope: ir.Block | None = block
    while scope is not None:
        found = _memo.get((scope, *key))
        if found is not None:
            return found
        owner = scope.owner.operation
        scope = owner.block if owner.parent is not None else None
    return _memo.setdefault((block, *key), build())


def value(dim: Dim) -> ir.Value:
    """Return ``dim`` as an SSA value of type ``index``."""
    if not isinstance(dim, int):
        return dim
    return shared(("const", dim), lambda: arith.constant(ir.IndexType.get(), dim))


def same(left: Dim, right: Dim) -> bool:
    """Tell whether both are provably equal."""
    if isinstance(left, int) or isinstance(right, int):
        return isinstance(left, int) and isinstance(right, int) and left == right
    return left == right


def add(left: Dim, right: Dim) -> Dim:
    """Return ``left + right``."""
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    if left == 0 or right == 0:
        return right if left == 0 else left
    return _binary(arith.addi, left, right)


def sub(left: Dim, right: Dim) -> Dim:
    """Return ``left - right``."""
    if isinstance(left, int) and isinstance(right, int):
        return left - right
    if same(left, right):
        return 0
    if isinstance(right, int):
        return add(left, -right)
    return _binary(arith.subi, left, right)


def mul(left: Dim, right: Dim) -> Dim:
    """Return ``left * right``."""
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and one in (0, 1):
            return other if one else 0
    return _binary(arith.muli, left, right)


def floordiv(left: Dim, right: Dim) -> Dim:
    """Return the quotient rounded down, exact cancellation of common factors first."""
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    exact = monomial(left).over(monomial(right))
    if exact is not None:
        return exact.build()
    return _binary(arith.floordivsi, left, right)


def ceildiv(left: Dim, right: Dim) -> Dim:
    """Return the quotient rounded up."""
    if isinstance(left, int) and isinstance(right, int):
        return -(-left // right)
    return left if right == 1 else _binary(arith.ceildivsi, left, right)


def remainder(left: Dim, right: Dim) -> Dim:
    """Return the remainder, with the sign of ``left``."""
    if isinstance(left, int) and isinstance(right, int):
        return abs(left) % abs(right) * (1 if left >= 0 else -1)
    return _binary(arith.remsi, left, right)


def minimum(left: Dim, right: Dim) -> Dim:
    """Return the smaller (signed)."""
    if isinstance(left, int) and isinstance(right, int):
        return min(left, right)
    return left if same(left, right) else _binary(arith.minsi, left, right)


def maximum(left: Dim, right: Dim) -> Dim:
    """Return the larger (signed)."""
    if isinstance(left, int) and isinstance(right, int):
        return max(left, right)
    return left if same(left, right) else _binary(arith.maxsi, left, right)


def compare(predicate: arith.CmpIPredicate, left: Dim, right: Dim) -> ir.Value:
    """Return an i1 value that compares both."""
    a, b = value(left), value(right)
    return shared(("cmp", int(predicate), a, b), lambda: arith.cmpi(predicate, a, b))


def select(condition: ir.Value, if_true: Dim, if_false: Dim) -> Dim:
    """Return one of both by an i1 value."""
    if same(if_true, if_false):
        return if_true
    a, b = value(if_true), value(if_false)
    return shared(("select", condition, a, b), lambda: arith.select(condition, a, b))


def wrap_negative(position: Dim, size: Dim) -> Dim:
    """Return ``position + size`` where ``position`` is negative, else ``position``."""
    if isinstance(position, int):
        return position if position >= 0 else add(position, size)
    negative = compare(arith.CmpIPredicate.slt, position, 0)
    return select(negative, add(position, size), position)


def product(dims: Iterable[Dim]) -> Dim:
    """Return the product of all ``dims``, static factors first."""
    dims = list(dims)
    result: Dim = prod(d for d in dims if isinstance(d, int))
    for dim in dims:
        if not isinstance(dim, int):
            result = mul(dim, result)
    return result


@dataclass(frozen=True)
class Monomial:
    """A number times a product of run-time values: what sizes of reshapes are made of."""

    coefficient: int
    factors: frozenset[tuple[ir.Value, int]]

    def times(self, other: Monomial) -> Monomial:
        """Return the product."""
        counts = Counter(dict(self.factors)) + Counter(dict(other.factors))
        return Monomial(self.coefficient * other.coefficient, frozenset(counts.items()))

    def over(self, other: Monomial) -> Monomial | None:
        """Return the exact quotient, or None where it is not a monomial."""
        if other.coefficient == 0 or self.coefficient % other.coefficient:
            return None
        counts = Counter(dict(self.factors))
        counts.subtract(dict(other.factors))
        if any(count < 0 for count in counts.values()):
            return None
        return Monomial(self.coefficient // other.coefficient, frozenset((+counts).items()))

    def build(self) -> Dim:
        """Return the value, emitting what is missing."""
        factors: list[Dim] = [f for f, count in self.factors for _ in range(count)]
        return product([*factors, self.coefficient])


ONE = Monomial(1, frozenset())


def monomial(dim: Dim) -> Monomial:
    """Return ``dim`` taken apart into its factors."""
    if isinstance(dim, int):
        return Monomial(dim, frozenset())
    owner = dim.owner
    if isinstance(owner, ir.Block):
        return Monomial(1, frozenset({(dim, 1)}))
    if owner.name == "arith.muli":
        left, right = owner.operands
        return monomial(left).times(monomial(right))
    if owner.name == "arith.constant":
        return Monomial(ir.IntegerAttr(owner.attributes["value"]).value, frozenset())
    return Monomial(1, frozenset({(dim, 1)}))


def monomials_product(dims: Sequence[Dim]) -> Monomial:
    """Return the product of ``dims`` as one monomial, emitting nothing."""
    result = ONE
    for dim in dims:
        result = result.times(monomial(dim))
    return result


def _binary(build: Callable[..., ir.Value], left: Dim, right: Dim) -> ir.Value:
    a, b = value(left), value(right)
    return shared((build.__name__, a, b), lambda: build(a, b))


@contextmanager
def trial() -> Iterator[None]:
    """Forget on leaving what was computed inside: for code that may be erased again."""
    global _memo
    previous = _memo
    _memo = None if previous is None else dict(previous)
    try:
        yield
    finally:
        _memo = previous
