"""Factorisation of symmetric indefinite matrices with Bunch and Kaufman's pivots, and its systems.

Matrices are the last two dimensions; all before them are a batch, done in parallel. (Golub and
Van Loan, Matrix Computations, 4.4; storage and pivots are those of LAPACK's sytrf and sytrs for
the lower triangle.)
"""

from __future__ import annotations

import math

from iree_core.ir import arith, ir
from iree_core.lowering import index
from iree_core.lowering.element import BOOL, I32
from iree_core.lowering.factor import copied, pivot_size
from iree_core.lowering.imperative import (
    Array,
    Number,
    Position,
    Routine,
    Variable,
    below,
    both,
    choose,
    either,
    number,
    real_of,
    unequal,
)
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor

_GROWTH = (1.0 + math.sqrt(17.0)) / 8.0


def ldl(a: Tensor) -> list[Tensor]:
    """Return the factors in one matrix [..., n, n], whose upper triangle is zero, the pivots
    [..., n] and per matrix 0, or the number of the first pivot that is zero.

    A pivot counts from 1; two equal negative ones belong to a block of two rows. Only the lower
    triangle of ``a`` is read. Complex matrices are taken as symmetric, not Hermitian.
    """
    size, element = a.dims[-1], a.element

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        m = routine.array(copied(inputs[0], into[0]), element)
        pivots, info = routine.array(into[1], I32), routine.array(into[2], I32)
        info[()] = number(0, I32)
        with routine.loop(0, size) as j, routine.loop(0, j) as i:
            m[i, j] = number(0.0, element)
        k = routine.position(0)
        with routine.repeat(lambda: below(k.get(), size)):
            place, two, zero = _choose_pivot(routine, m, k.get(), size)
            _factor_step(routine, m, (k.get(), place.get()), two, zero, size)
            _note(routine, (pivots, info), (k, place), two, zero)
        return [m.value, pivots.value, info.value]

    outputs = [((size, size), element), ((size,), I32), ((), I32)]
    return per_matrix([a], a.dims[:-2], outputs, body)


def _not(condition: ir.Value) -> ir.Value:
    return arith.xori(condition, number(1, BOOL).value)


def _choose_pivot(
    routine: Routine, m: Array, k: ir.Value, size: Dim
) -> tuple[Position, Variable, Variable]:
    """Return the row to exchange with, and whether two rows are a block or the column is zero."""
    real = real_of(m.element)
    diagonal = pivot_size(m[k, k])
    largest, row = routine.variable(0.0, real), routine.position(k)
    with routine.loop(index.add(k, 1), size) as i:
        better = pivot_size(m[i, k]) > largest.get()
        with routine.when(better):
            largest.set(pivot_size(m[i, k]))
            row.set(i)
    place, two = routine.position(k), routine.variable(0, BOOL)
    column = largest.get()
    nothing = _not(either(diagonal > 0.0, column > 0.0))
    zero = routine.variable(Number(nothing, BOOL), BOOL)
    with routine.when(diagonal < column * _GROWTH):
        beside = routine.variable(0.0, real)
        with routine.loop(k, size) as j:
            inside = below(j, row.get())
            first = index.select(inside, row.get(), j)
            second = index.select(inside, j, row.get())
            entry = pivot_size(m[first, second])
            take = both(unequal(j, row.get()), entry > beside.get())
            beside.set(choose(take, entry, beside.get()))
        with routine.when(diagonal < column * _GROWTH * (column / beside.get())):
            corner = pivot_size(m[row.get(), row.get()])
            place.set(row.get())
            two.set(Number(corner < beside.get() * _GROWTH, BOOL))
    return place, two, zero


def _factor_step(
    routine: Routine,
    m: Array,
    places: tuple[ir.Value, ir.Value],
    two: Variable,
    zero: Variable,
    size: Dim,
) -> None:
    """Exchange rows and columns, and eliminate one column or two."""
    k, chosen = places
    pair = two.get().value
    following = index.value(index.add(k, 1))
    target = index.select(pair, following, k)
    with routine.when(unequal(target, chosen)):
        _exchange(routine, m, target, chosen, size)
        with routine.when(pair):
            held = m[following, k]
            m[following, k] = m[chosen, k]
            m[chosen, k] = held
    single = _not(either(pair, zero.get().value))
    with routine.when(single):
        inverse = number(1.0, m.element) / m[k, k]
        with routine.loop(following, size) as j:
            factor = inverse * m[j, k]
            with routine.loop(j, size) as i:
                m[i, j] = m[i, j] - m[i, k] * factor
        with routine.loop(following, size) as j:
            m[j, k] = m[j, k] * inverse
    with routine.when(pair):
        beside = m[following, k]
        lower, upper = m[following, following] / beside, m[k, k] / beside
        one = number(1.0, m.element)
        scale = one / (lower * upper - one) / beside
        with routine.loop(index.add(k, 2), size) as j:
            left = scale * (lower * m[j, k] - m[j, following])
            right = scale * (upper * m[j, following] - m[j, k])
            with routine.loop(j, size) as i:
                m[i, j] = m[i, j] - m[i, k] * left - m[i, following] * right
            m[j, k] = left
            m[j, following] = right


def _exchange(routine: Routine, m: Array, low: ir.Value, high: ir.Value, size: Dim) -> None:
    """Exchange rows and columns ``low`` < ``high`` of what the lower triangle stands for."""
    with routine.loop(index.add(high, 1), size) as i:
        held = m[i, low]
        m[i, low] = m[i, high]
        m[i, high] = held
    with routine.loop(index.add(low, 1), high) as i:
        held = m[i, low]
        m[i, low] = m[high, i]
        m[high, i] = held
    held = m[low, low]
    m[low, low] = m[high, high]
    m[high, high] = held


def _note(
    routine: Routine,
    into: tuple[Array, Array],
    places: tuple[Position, Position],
    two: Variable,
    zero: Variable,
) -> None:
    """Write down the pivots of a step, and go on to the next."""
    (pivots, info), (k, place) = into, places
    here = Number(arith.index_cast(I32.type, index.value(index.add(place.get(), 1))), I32)
    pair = two.get().value
    pivots[k.get()] = choose(pair, -here, here)
    with routine.when(pair):
        pivots[index.value(index.add(k.get(), 1))] = -here
    first = both(zero.get().value, _not(info[()].differs(0)))
    count = Number(arith.index_cast(I32.type, index.value(index.add(k.get(), 1))), I32)
    info[()] = choose(first, count, info[()])
    k.set(index.add(k.get(), index.select(pair, index.value(2), index.value(1))))


def ldl_solve(factors: Tensor, pivots: Tensor, b: Tensor) -> Tensor:
    """Return x [..., n, m] with ``a x = b`` for the factors and pivots that :func:`ldl` gives."""
    size, count, element = b.dims[-2], b.dims[-1], b.element

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        m, exchanges = Routine().array(inputs[0], element), Routine().array(inputs[1], I32)
        x = routine.array(copied(inputs[2], into[0]), element)
        _forward(routine, m, exchanges, x, (size, count))
        _backward(routine, m, exchanges, x, (size, count))
        return [x.value]

    batch = b.dims[:-2]
    return per_matrix([factors, pivots, b], batch, [((size, count), element)], body)[0]


def _partner(pivots: Array, k: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the row that is exchanged, and whether the pivot is of a block of two rows."""
    pivot = pivots[k]
    pair = pivot < 0
    row = arith.index_cast(ir.IndexType.get(), choose(pair, -pivot, pivot).value)
    return index.value(index.sub(row, 1)), pair


def _swap_rows(routine: Routine, x: Array, first: ir.Value, second: ir.Value, count: Dim) -> None:
    with routine.loop(0, count) as c:
        held = x[first, c]
        x[first, c] = x[second, c]
        x[second, c] = held


def _forward(routine: Routine, m: Array, pivots: Array, x: Array, dims: tuple[Dim, Dim]) -> None:
    """Solve with the lower triangular and then the block diagonal factor."""
    size, count = dims
    k = routine.position(0)
    with routine.repeat(lambda: below(k.get(), size)):
        here = k.get()
        other, pair = _partner(pivots, here)
        following = index.value(index.add(here, 1))
        _swap_rows(routine, x, index.select(pair, following, here), other, count)
        step = index.value(index.add(here, index.select(pair, index.value(2), index.value(1))))
        with routine.loop(step, size) as i, routine.loop(0, count) as c:
            x[i, c] = x[i, c] - m[i, here] * x[here, c]
        with routine.when(pair):
            with routine.loop(step, size) as i, routine.loop(0, count) as c:
                x[i, c] = x[i, c] - m[i, following] * x[following, c]
            beside = m[following, here]
            upper, lower = m[here, here] / beside, m[following, following] / beside
            divisor = upper * lower - 1.0
            with routine.loop(0, count) as c:
                first, second = x[here, c] / beside, x[following, c] / beside
                x[here, c] = (lower * first - second) / divisor
                x[following, c] = (upper * second - first) / divisor
        single = _not(pair)
        with routine.when(single), routine.loop(0, count) as c:
            x[here, c] = x[here, c] / m[here, here]
        k.set(step)


def _backward(routine: Routine, m: Array, pivots: Array, x: Array, dims: tuple[Dim, Dim]) -> None:
    """Solve with the transpose of the triangular factor, from the last row up."""
    size, count = dims
    left = routine.position(size)
    with routine.repeat(lambda: below(0, left.get())):
        here = index.value(index.sub(left.get(), 1))
        other, pair = _partner(pivots, here)
        with routine.loop(left.get(), size) as i, routine.loop(0, count) as c:
            x[here, c] = x[here, c] - m[i, here] * x[i, c]
        with routine.when(pair):
            above = index.value(index.sub(here, 1))
            with routine.loop(left.get(), size) as i, routine.loop(0, count) as c:
                x[above, c] = x[above, c] - m[i, above] * x[i, c]
        _swap_rows(routine, x, here, other, count)
        left.set(index.sub(left.get(), index.select(pair, index.value(2), index.value(1))))
