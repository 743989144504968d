"""The Schur form of real matrices: block triangular, by Francis' double-shift QR algorithm.

Golub and Van Loan, Matrix Computations, 7.5. Blocks of two rows on the diagonal have complex
eigenvalues; those with real ones are split. Matrices are the last two dimensions; all before
them are a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir
from iree_core.lowering import index
from iree_core.lowering.element import BOOL, I32
from iree_core.lowering.factor import apply_reflector, hessenberg_in_place, identity
from iree_core.lowering.imperative import (
    Array,
    Number,
    Position,
    Routine,
    both,
    choose,
    equal,
    number,
)
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.schur import deflate
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor, empty

_STEPS_PER_ROW = 40


def real_schur(a: Tensor) -> list[Tensor]:
    """Return the form and the orthogonal basis [..., n, n], real and imaginary parts of the
    eigenvalues [..., n], and per matrix 0, or 1 where there was no convergence (LAPACK gees)."""
    element, size = a.element, a.dims[-1]

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        t, z, re, im = (routine.array(value, element) for value in into[:4])
        info = routine.array(into[4], I32)
        decompose(routine, Routine().array(inputs[0], element), (t, z, re, im, info), size)
        return [array.value for array in (t, z, re, im, info)]

    outputs = [
        *(((size, size), element) for _ in range(2)),
        *(((size,), element) for _ in range(2)),
        ((), I32),
    ]
    return per_matrix([a], a.dims[:-2], outputs, body)


def decompose(routine: Routine, source: Array, into: Sequence[Array], size: Dim) -> None:
    """Set the five arrays that :func:`real_schur` returns, for one matrix."""
    t, z, re, im, info = into
    _prepare(routine, source, t, z, size)
    _iterate(routine, t, z, info, size)
    _eigenvalues(routine, t, re, im, size)


def _prepare(routine: Routine, source: Array, t: Array, z: Array, size: Dim) -> None:
    """Reduce to Hessenberg form."""
    tau = routine.array(empty([size], t.element), t.element)
    with routine.loop(0, size) as i, routine.loop(0, size) as j:
        t[i, j] = source[i, j]
    hessenberg_in_place(routine, t, tau, size)
    identity(z, routine, size, size)
    with routine.downwards(index.maximum(index.sub(size, 1), 0)) as k:
        start = index.add(k, 1)
        apply_reflector(routine, t, k, start, size, tau[k], z, (start, size))
    zero = number(0.0, t.element)
    with routine.loop(0, size) as j, routine.loop(index.add(j, 2), size) as i:
        t[i, j] = zero


def _not(condition: ir.Value) -> ir.Value:
    return arith.xori(condition, number(1, BOOL).value)


def _iterate(routine: Routine, t: Array, z: Array, info: Array, size: Dim) -> None:
    last = routine.position(index.sub(size, 1))
    steps, tries = routine.position(0), routine.position(0)
    limit = index.mul(size, _STEPS_PER_ROW)

    def go_on() -> ir.Value:
        unfinished = index.compare(arith.CmpIPredicate.sgt, last.get(), 0)
        return both(unfinished, index.compare(arith.CmpIPredicate.slt, steps.get(), limit))

    with routine.repeat(go_on):
        steps.set(index.add(steps.get(), 1))
        first = deflate(routine, t, last)
        length = index.sub(last.get(), first.get())
        one, two = equal(length, 0), equal(length, 1)
        with routine.when(two):
            _split(routine, t, z, first.get(), size)
        with routine.when(arith.ori(one, two)):
            last.set(index.sub(last.get(), index.add(length, 1)))
            tries.set(0)
        with routine.when(_not(arith.ori(one, two))):
            tries.set(index.add(tries.get(), 1))
            _step(routine, t, z, first, last, tries, size)
    left = index.compare(arith.CmpIPredicate.sgt, last.get(), 0)
    info[()] = choose(left, number(1, I32), number(0, I32))


def _split(routine: Routine, t: Array, z: Array, k: Dim, size: Dim) -> None:
    """Make a block of two rows triangular if its eigenvalues are real."""
    following = index.value(index.add(k, 1))
    a, b, c, d = t[k, k], t[k, following], t[following, k], t[following, following]
    half = (a - d) * 0.5
    square = half * half + b * c
    with routine.when(both(square >= 0.0, c.differs(0.0))):
        root = square.root
        shift = half + choose(half < 0.0, -root, root)
        length = _length([shift, c])
        rotate(routine, t, z, k, shift / length, c / length, (k, index.add(k, 2)), size)
        t[following, k] = number(0.0, t.element)


def _length(parts: Sequence[Number]) -> Number:
    """Return the length of a vector, 1 for the zero vector."""
    largest = number(0.0, parts[0].element)
    for part in parts:
        largest = choose(part.magnitude > largest, part.magnitude, largest)
    scale = choose(largest > 0.0, largest, number(1.0, largest.element))
    total = number(0.0, largest.element)
    for part in parts:
        total = total + (part / scale) * (part / scale)
    return choose(total > 0.0, total.root * scale, number(1.0, total.element))


def rotate(
    routine: Routine,
    t: Array,
    z: Array,
    k: Dim,
    cosine: Number,
    sine: Number,
    bounds: tuple[Dim, Dim],
    size: Dim,
) -> None:
    """Rotate rows and columns k and k + 1: rows from column ``bounds[0]`` on, columns down to
    row ``bounds[1]``."""
    following = index.value(index.add(k, 1))
    with routine.loop(bounds[0], size) as j:
        upper, lower = t[k, j], t[following, j]
        t[k, j] = cosine * upper + sine * lower
        t[following, j] = cosine * lower - sine * upper
    for matrix, rows in ((t, bounds[1]), (z, size)):
        with routine.loop(0, rows) as i:
            left, right = matrix[i, k], matrix[i, following]
            matrix[i, k] = cosine * left + sine * right
            matrix[i, following] = cosine * right - sine * left


def _step(
    routine: Routine,
    t: Array,
    z: Array,
    first: Position,
    last: Position,
    tries: Position,
    size: Dim,
) -> None:
    """One implicit double-shift step on a block of three rows or more."""
    lo, hi = first.get(), last.get()
    above, next_ = index.sub(hi, 1), index.value(index.add(lo, 1))
    total, product = _shifts(t, above, hi)
    # An unusual shift every tenth time breaks cycles (as EISPACK's hqr does).
    tenth = equal(index.remainder(tries.get(), 10), 0)
    size_ = t[hi, above].magnitude + t[above, index.sub(hi, 2)].magnitude
    total = choose(tenth, size_ * 1.5, total)
    product = choose(tenth, size_ * size_, product)
    corner, low = t[lo, lo], t[next_, lo]
    x = routine.variable(corner * corner + t[lo, next_] * low - total * corner + product, t.element)
    y = routine.variable(low * (corner + t[next_, next_] - total), t.element)
    w = routine.variable(low * t[index.add(lo, 2), next_], t.element)
    zero = number(0.0, t.element)
    with routine.loop(lo, above) as k:
        inside = index.compare(arith.CmpIPredicate.sgt, k, lo)
        start = index.select(inside, index.sub(k, 1), k)
        rows = [k, index.value(index.add(k, 1)), index.value(index.add(k, 2))]
        _reflect_three(routine, t, z, rows, [x.get(), y.get(), w.get()], start, hi, size)
        with routine.when(inside):
            t[rows[1], start] = zero
            t[rows[2], start] = zero
        x.set(t[rows[1], k])
        y.set(t[rows[2], k])
        third = index.add(k, 3)
        exists = index.compare(arith.CmpIPredicate.sle, third, hi)
        w.set(choose(exists, t[index.minimum(third, hi), k], zero))
    length = _length([x.get(), y.get()])
    nothing = both(_not(x.get().differs(0.0)), _not(y.get().differs(0.0)))
    cosine = choose(nothing, number(1.0, t.element), x.get() / length)
    start = index.sub(above, 1)
    rotate(routine, t, z, above, cosine, y.get() / length, (start, index.add(hi, 1)), size)
    t[hi, start] = zero


def _shifts(t: Array, above: Dim, hi: Dim) -> tuple[Number, Number]:
    """Return sum and product of the shifts: the eigenvalues of the last two rows, or twice the
    one closer to the corner where they are real (as LAPACK's lahqr, for its order)."""
    corner = t[hi, hi]
    middle = (t[above, above] + corner) * 0.5
    rest = (t[above, above] - middle) * (corner - middle) - t[above, hi] * t[hi, above]
    real = rest < 0.0
    root = choose(real, -rest, rest).root
    upper, lower = middle + root, middle - root
    distances = (upper - corner).magnitude, (lower - corner).magnitude
    closer = choose(distances[0] <= distances[1], upper, lower)
    product = choose(real, closer * closer, middle * middle + rest)
    return choose(real, closer, middle) * 2.0, product


def _reflect_three(
    routine: Routine,
    t: Array,
    z: Array,
    rows: list[ir.Value],
    vector: list[Number],
    start: Dim,
    last: Dim,
    size: Dim,
) -> None:
    """Apply the reflector that maps ``vector`` to its first axis, from both sides."""
    scale = number(0.0, t.element)
    for part in vector:
        scale = choose(part.magnitude > scale, part.magnitude, scale)
    usable = scale > 0.0
    safe = choose(usable, scale, number(1.0, t.element))
    u = [part / safe for part in vector]
    length = (u[0] * u[0] + u[1] * u[1] + u[2] * u[2]).root
    u[0] = u[0] + choose(u[0] < 0.0, -length, length)
    square = u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
    one = number(1.0, t.element)
    factor = choose(usable, number(2.0, t.element) / choose(usable, square, one), one - one)
    with routine.loop(start, size) as j:
        total = factor * (u[0] * t[rows[0], j] + u[1] * t[rows[1], j] + u[2] * t[rows[2], j])
        for part, row in zip(u, rows, strict=True):
            t[row, j] = t[row, j] - part * total
    end = index.add(index.minimum(index.add(rows[0], 3), last), 1)
    for matrix, count in ((t, end), (z, size)):
        with routine.loop(0, count) as i:
            total = factor * (
                u[0] * matrix[i, rows[0]] + u[1] * matrix[i, rows[1]] + u[2] * matrix[i, rows[2]]
            )
            for part, column in zip(u, rows, strict=True):
                matrix[i, column] = matrix[i, column] - total * part


def _eigenvalues(routine: Routine, t: Array, re: Array, im: Array, size: Dim) -> None:
    """Read the eigenvalues off the blocks on the diagonal."""
    zero = number(0.0, t.element)
    with routine.loop(0, size) as i:
        re[i] = t[i, i]
        im[i] = zero
    with routine.loop(0, index.maximum(index.sub(size, 1), 0)) as i:
        following = index.value(index.add(i, 1))
        with routine.when(t[following, i].differs(0.0)):
            half = (t[i, i] - t[following, following]) * 0.5
            square = half * half + t[i, following] * t[following, i]
            middle = (t[i, i] + t[following, following]) * 0.5
            size_ = choose(square < 0.0, -square, zero).root
            re[i] = middle
            re[following] = middle
            im[i] = size_
            im[following] = -size_
