"""Sequential algorithms written with mutable variables: SSA form is made on the way.

A :class:`Routine` holds arrays and scalars that change. Loops and branches are context
managers; whatever changes inside is carried through them::

    routine = Routine()
    a = routine.array(source, F32)
    total = routine.variable(0.0, F32)
    with routine.loop(0, n) as i:
        with routine.when(a[i] > 0.0):
            total.set(total.get() + a[i])

For programs inside :func:`iree_core.lowering.loops.atomic`. What is declared inside a loop or
branch ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from iree_core.ir import arith, complex, ir, math, scf
from iree_core.lowering import index, scalars
from iree_core.lowering.element import F32, F64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import load, store

Operand: TypeAlias = "Number | int | float"


@dataclass(frozen=True)
class Number:
    """A scalar with its element type; arithmetic emits operations."""

    value: ir.Value
    element: ElementType

    def _other(self, other: Operand) -> ir.Value:
        if isinstance(other, Number):
            return other.value
        return scalars.constant(other, self.element)

    def _binary(self, function: Callable[..., ir.Value], other: Operand) -> Number:
        return Number(function(self.value, self._other(other), self.element), self.element)

    def __add__(self, other: Operand) -> Number:
        return self._binary(scalars.add, other)

    def __sub__(self, other: Operand) -> Number:
        return self._binary(scalars.sub, other)

    def __mul__(self, other: Operand) -> Number:
        return self._binary(scalars.mul, other)

    def __truediv__(self, other: Operand) -> Number:
        return self._binary(scalars.div, other)

    def __neg__(self) -> Number:
        return Number(scalars.negate(self.value, self.element), self.element)

    def _compare(self, predicate: str, other: Operand) -> ir.Value:
        return scalars.compare(predicate, self.value, self._other(other), self.element)

    def __gt__(self, other: Operand) -> ir.Value:
        return self._compare("gt", other)

    def __lt__(self, other: Operand) -> ir.Value:
        return self._compare("lt", other)

    def __ge__(self, other: Operand) -> ir.Value:
        return self._compare("ge", other)

    def __le__(self, other: Operand) -> ir.Value:
        return self._compare("le", other)

    def differs(self, other: Operand) -> ir.Value:
        """Return an i1: the values are unequal, or one is NaN."""
        return self._compare("ne", other)

    @property
    def real(self) -> Number:
        """The real part."""
        if self.element.kind != "complex":
            return self
        return Number(complex.re(self.value), real_of(self.element))

    @property
    def imag(self) -> Number:
        """The imaginary part of a complex number."""
        return Number(complex.im(self.value), real_of(self.element))

    @property
    def conj(self) -> Number:
        """The complex conjugate; a real number itself."""
        if self.element.kind != "complex":
            return self
        return compose(self.real, -self.imag, self.element)

    @property
    def square(self) -> Number:
        """The squared magnitude, real."""
        if self.element.kind != "complex":
            return self * self
        return self.real * self.real + self.imag * self.imag

    @property
    def magnitude(self) -> Number:
        """The absolute value, real, without overflow on the way."""
        if self.element.kind != "complex":
            return Number(math.absf(self.value), self.element)
        a, b = self.real.magnitude, self.imag.magnitude
        large, small = choose(a > b, a, b), choose(a > b, b, a)
        ratio = small / choose(large > 0.0, large, large + 1.0)
        return large * (ratio * ratio + 1.0).root

    @property
    def root(self) -> Number:
        """The square root of a real number."""
        return Number(math.sqrt(self.value), self.element)

    def scaled(self, factor: Number) -> Number:
        """Return the product with a real number."""
        if self.element.kind != "complex":
            return self * factor
        return compose(self.real * factor, self.imag * factor, self.element)

    def over(self, divisor: Number) -> Number:
        """Return the quotient by a real number."""
        if self.element.kind != "complex":
            return self / divisor
        return compose(self.real / divisor, self.imag / divisor, self.element)

    def widened(self, element: ElementType) -> Number:
        """Return a real number as ``element``, which may be complex."""
        if element.kind != "complex" or self.element.kind == "complex":
            return self
        return compose(self, number(0.0, self.element), element)


def real_of(element: ElementType) -> ElementType:
    """Return the type of the parts of a complex type; a real type itself."""
    if element.kind != "complex":
        return element
    return F32 if element.bits == 64 else F64


def number(value: float | int, element: ElementType) -> Number:
    """Return a constant."""
    return Number(scalars.constant(value, element), element)


def compose(real: Number, imag: Number, element: ElementType) -> Number:
    """Return a complex number made of its parts."""
    return Number(complex.create_(element.type, real.value, imag.value), element)


def choose(condition: ir.Value, if_true: Number, if_false: Number) -> Number:
    """Return one of two numbers."""
    return Number(arith.select(condition, if_true.value, if_false.value), if_true.element)


def both(left: ir.Value, right: ir.Value) -> ir.Value:
    """Return the conjunction of two conditions."""
    return arith.andi(left, right)


def either(left: ir.Value, right: ir.Value) -> ir.Value:
    """Return the disjunction of two conditions."""
    return arith.ori(left, right)


def equal(left: Dim, right: Dim) -> ir.Value:
    """Return an i1: two positions are equal."""
    return index.compare(arith.CmpIPredicate.eq, left, right)


def unequal(left: Dim, right: Dim) -> ir.Value:
    """Return an i1: two positions are not equal."""
    return index.compare(arith.CmpIPredicate.ne, left, right)


def below(left: Dim, right: Dim) -> ir.Value:
    """Return an i1: one position is smaller than the other."""
    return index.compare(arith.CmpIPredicate.slt, left, right)


class Routine:
    """The current values of everything that changes."""

    def __init__(self) -> None:
        self._values: list[ir.Value] = []

    def array(self, value: ir.Value, element: ElementType) -> Array:
        """Return a tensor as an array that can be written."""
        self._values.append(value)
        return Array(self, len(self._values) - 1, element)

    def variable(self, start: Operand, element: ElementType) -> Variable:
        """Return a scalar that can be set."""
        first = start if isinstance(start, Number) else number(start, element)
        self._values.append(first.value)
        return Variable(self, len(self._values) - 1, element)

    def position(self, start: Dim) -> Position:
        """Return an index that can be set."""
        self._values.append(index.value(start))
        return Position(self, len(self._values) - 1)

    @contextmanager
    def loop(self, lower: Dim, upper: Dim) -> Iterator[ir.Value]:
        """Count from ``lower`` to below ``upper``; gives the position."""
        op = scf.ForOp(index.value(lower), index.value(upper), index.value(1), list(self._values))
        count = len(self._values)
        with ir.InsertionPoint(op.body):
            self._values = list(op.inner_iter_args)
            yield op.induction_variable
            scf.YieldOp(self._values[:count])
        self._values = list(op.results)

    @contextmanager
    def downwards(self, upper: Dim, lower: Dim = 0) -> Iterator[ir.Value]:
        """Count from below ``upper`` down to ``lower``; gives the position."""
        with self.loop(lower, upper) as step:
            last = index.add(index.sub(upper, 1), lower)
            yield index.value(index.sub(last, step))

    @contextmanager
    def repeat(self, condition: Callable[[], ir.Value]) -> Iterator[None]:
        """Go on as long as ``condition``, emitted before each turn, is set."""
        types = [v.type for v in self._values]
        count = len(types)
        op = scf.WhileOp(types, list(self._values))
        locations = [ir.Location.current] * count
        before = op.regions[0].blocks.append(*types, arg_locs=locations)
        with ir.InsertionPoint(before):
            self._values = list(before.arguments)
            go_on = condition()
            scf.ConditionOp(go_on, list(before.arguments))
        after = op.regions[1].blocks.append(*types, arg_locs=locations)
        with ir.InsertionPoint(after):
            self._values = list(after.arguments)
            yield
            scf.YieldOp(self._values[:count])
        self._values = list(op.results)

    @contextmanager
    def when(self, condition: ir.Value) -> Iterator[None]:
        """Do something only where ``condition`` is set."""
        saved = list(self._values)
        op = scf.IfOp(condition, [v.type for v in saved], has_else=True)
        with ir.InsertionPoint(op.then_block):
            yield
            scf.YieldOp(self._values[: len(saved)])
        with ir.InsertionPoint(op.else_block):
            scf.YieldOp(saved)
        self._values = list(op.results)


@dataclass(frozen=True)
class Array:
    """A tensor that changes: ``a[i, j]`` reads, ``a[i, j] = number`` writes."""

    _routine: Routine
    _place: int
    element: ElementType

    @property
    def value(self) -> ir.Value:
        """The tensor as it is now."""
        return self._routine._values[self._place]

    def __getitem__(self, position: Dim | Sequence[Dim]) -> Number:
        return Number(load(self.value, *_positions(position)), self.element)

    def __setitem__(self, position: Dim | Sequence[Dim], scalar: Number) -> None:
        self._routine._values[self._place] = store(scalar.value, self.value, *_positions(position))


def _positions(position: Dim | Sequence[Dim]) -> Sequence[Dim]:
    return position if isinstance(position, tuple) else (position,)


@dataclass(frozen=True)
class Variable:
    """A scalar that changes."""

    _routine: Routine
    _place: int
    element: ElementType

    def get(self) -> Number:
        """Return what it is now."""
        return Number(self._routine._values[self._place], self.element)

    def set(self, scalar: Operand) -> None:
        """Give it another value."""
        made = scalar if isinstance(scalar, Number) else number(scalar, self.element)
        self._routine._values[self._place] = made.value

    def add(self, scalar: Number) -> None:
        """Add to it."""
        self.set(self.get() + scalar)


@dataclass(frozen=True)
class Position:
    """An index that changes."""

    _routine: Routine
    _place: int

    def get(self) -> ir.Value:
        """Return what it is now."""
        return self._routine._values[self._place]

    def set(self, position: Dim) -> None:
        """Give it another value."""
        self._routine._values[self._place] = index.value(position)
