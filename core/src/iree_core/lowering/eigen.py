"""Eigenvalues of Hermitian matrices and singular values, by Jacobi's method.

Both rotate pairs of columns until they are orthogonal (Golub and Van Loan, Matrix Computations,
8.5 and 8.6.3; Demmel and Veselic 1992): slower than bidiagonalisation for large matrices, and
at least as accurate. Matrices are the last two dimensions; all before them are a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars
from iree_core.lowering.element import BOOL, I32, I64, ElementType
from iree_core.lowering.factor import identity
from iree_core.lowering.imperative import (
    Array,
    Number,
    Routine,
    Variable,
    below,
    both,
    choose,
    equal,
    number,
    real_of,
)
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor, empty

# Convergence is quadratic; matrices of thousands of rows take about ten sweeps.
_MAX_SWEEPS = 40


def _epsilon(element: ElementType) -> float:
    return 2.0**-23 if real_of(element).bits == 32 else 2.0**-52


class _Rotation:
    """The rotation of two columns that clears their common element (Jacobi 1846)."""

    def __init__(self, first: Number, second: Number, common: Number) -> None:
        """``first`` and ``second`` are the diagonal, ``common`` what is to become zero."""
        size = common.magnitude
        self.phase = common.over(size).conj
        zeta = (second - first) / (size + size)
        sign = choose(zeta < 0.0, number(-1.0, zeta.element), number(1.0, zeta.element))
        tangent = sign / (zeta.magnitude + (zeta * zeta + 1.0).root)
        self.cosine = number(1.0, zeta.element) / (tangent * tangent + 1.0).root
        self.sine = tangent * self.cosine

    def columns(self, routine: Routine, m: Array, p: Dim, q: Dim, rows: Dim) -> None:
        """Rotate two columns."""
        with routine.loop(0, rows) as i:
            left, right = m[i, p], m[i, q] * self.phase
            m[i, p] = left.scaled(self.cosine) - right.scaled(self.sine)
            m[i, q] = left.scaled(self.sine) + right.scaled(self.cosine)

    def rows(self, routine: Routine, m: Array, p: Dim, q: Dim, columns: Dim) -> None:
        """Rotate two rows by the conjugate."""
        with routine.loop(0, columns) as j:
            upper, lower = m[p, j], m[q, j] * self.phase.conj
            m[p, j] = upper.scaled(self.cosine) - lower.scaled(self.sine)
            m[q, j] = upper.scaled(self.sine) + lower.scaled(self.cosine)


class _Sweeps:
    """Goes over all pairs of columns until a sweep changes nothing."""

    def __init__(self, routine: Routine) -> None:
        self._routine = routine
        self.changed: Variable = routine.variable(1, BOOL)
        self._count = routine.position(0)

    def go_on(self) -> ir.Value:
        """Tell whether another sweep is needed."""
        few = index.compare(arith.CmpIPredicate.slt, self._count.get(), _MAX_SWEEPS)
        return both(few, self.changed.get().value)

    def begin(self) -> None:
        """Start a sweep."""
        self._count.set(index.add(self._count.get(), 1))
        self.changed.set(number(0, BOOL))


def eigh(a: Tensor, *, lower: bool = True) -> list[Tensor]:
    """Return eigenvectors as columns [..., n, n], real eigenvalues in ascending order [..., n]
    and per matrix 0 (LAPACK syevd, heevd). Only one triangle of ``a`` is read."""
    size = a.dims[-1]
    real = real_of(a.element)

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        source = Routine().array(inputs[0], a.element)
        h = routine.array(empty([size, size], a.element), a.element)
        v, w = routine.array(into[0], a.element), routine.array(into[1], real)
        info = routine.array(into[2], I32)
        info[()] = number(0, I32)
        _mirror(routine, source, h, size, lower)
        identity(v, routine, size, size)
        _diagonalise(routine, h, v, size)
        with routine.loop(0, size) as i:
            w[i] = h[i, i].real
        _sort(routine, w, [(v, size)], size, descending=False)
        return [v.value, w.value, info.value]

    outputs = [((size, size), a.element), ((size,), real), ((), I32)]
    return per_matrix([a], a.dims[:-2], outputs, body)


def _mirror(routine: Routine, source: Array, h: Array, size: Dim, lower: bool) -> None:
    with routine.loop(0, size) as i:
        h[i, i] = source[i, i].real.widened(h.element)
        with routine.loop(0, i) as j:
            entry = source[i, j] if lower else source[j, i].conj
            h[i, j] = entry
            h[j, i] = entry.conj


def _diagonalise(routine: Routine, h: Array, v: Array, size: Dim) -> None:
    real = real_of(h.element)
    largest = routine.variable(0.0, real)
    with routine.loop(0, size) as i, routine.loop(0, size) as j:
        entry = h[i, j].magnitude
        largest.set(choose(entry > largest.get(), entry, largest.get()))
    small = largest.get() * (_epsilon(h.element) * 0.03)
    sweeps = _Sweeps(routine)
    zero = number(0.0, h.element)
    with routine.repeat(sweeps.go_on):
        sweeps.begin()
        with (
            routine.loop(0, size) as p,
            routine.loop(index.add(p, 1), size) as q,
            routine.when(h[p, q].magnitude > small),
        ):
            sweeps.changed.set(number(1, BOOL))
            rotation = _Rotation(h[p, p].real, h[q, q].real, h[p, q])
            rotation.columns(routine, h, p, q, size)
            rotation.rows(routine, h, p, q, size)
            rotation.columns(routine, v, p, q, size)
            h[p, q] = zero
            h[q, p] = zero


def _sort(
    routine: Routine, w: Array, columns: list[tuple[Array, Dim]], size: Dim, *, descending: bool
) -> None:
    """Order ``w`` and columns of matrices with it, by selection."""
    with routine.loop(0, size) as i:
        place = routine.position(i)
        with routine.loop(index.add(i, 1), size) as j:
            candidate, best = w[j], w[place.get()]
            with routine.when(candidate > best if descending else candidate < best):
                place.set(j)
        chosen = place.get()
        held = w[i]
        w[i] = w[chosen]
        w[chosen] = held
        for matrix, rows in columns:
            with routine.loop(0, rows) as r:
                entry = matrix[r, i]
                matrix[r, i] = matrix[r, chosen]
                matrix[r, chosen] = entry


def svd(a: Tensor, *, full: bool) -> list[Tensor]:
    """Return singular values in descending order [..., k], left vectors as columns, right ones
    as conjugated rows, and per matrix 0 (LAPACK gesdd); k = min(m, n).

    The vectors are square matrices if ``full``, else [..., m, k] and [..., k, n].
    """
    rows, columns = a.dims[-2:]
    tall, wide = index.maximum(rows, columns), index.minimum(rows, columns)
    real = real_of(a.element)
    many = tall if full else wide

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        source = Routine().array(inputs[0], a.element)
        s, left, right = (
            routine.array(t, e) for t, e in zip(into[:3], (real, a.element, a.element), strict=True)
        )
        info = routine.array(into[3], I32)
        info[()] = number(0, I32)
        u = routine.array(empty([tall, many], a.element), a.element)
        v = routine.array(empty([wide, wide], a.element), a.element)
        flip = _less(rows, columns)
        for side in (False, True):
            with _branch(routine, flip, side) as taken:
                if taken:
                    _put(routine, source, u, rows, columns, conjugate=side)
        identity(v, routine, wide, wide)
        _orthogonalise(routine, u, v, tall, wide)
        with routine.loop(0, wide) as j:
            s[j] = _norm(routine, u, j, tall)
        _sort(routine, s, [(u, tall), (v, wide)], wide, descending=True)
        _normalise(routine, u, s, tall, wide, many)
        for side in (False, True):  # a = u s v^H, or its conjugate transpose
            with _branch(routine, flip, side) as taken:
                if taken:
                    wide_factor, tall_factor = (left, right) if side else (right, left)
                    _put(routine, u, tall_factor, tall, many, conjugate=side)
                    _put(routine, v, wide_factor, wide, wide, conjugate=not side)
        return [s.value, left.value, right.value, info.value]

    outputs = [
        ((wide,), real),
        ((rows, rows if full else wide), a.element),
        ((columns if full else wide, columns), a.element),
        ((), I32),
    ]
    return per_matrix([a], a.dims[:-2], outputs, body)


def _less(left: Dim, right: Dim) -> bool | ir.Value:
    """Return whether one size is smaller, now or at run time."""
    if isinstance(left, int) and isinstance(right, int):
        return left < right
    return below(left, right)


@contextmanager
def _branch(routine: Routine, condition: bool | ir.Value, side: bool) -> Iterator[bool]:
    """Emit what runs where ``condition`` is ``side``; gives False where that is never."""
    if isinstance(condition, bool):
        yield condition == side
        return
    with routine.when(condition if side else arith.xori(condition, number(1, BOOL).value)):
        yield True


def _put(
    routine: Routine, source: Array, into: Array, rows: Dim, columns: Dim, *, conjugate: bool
) -> None:
    """Copy a matrix, or its conjugate transpose."""
    with routine.loop(0, rows) as i, routine.loop(0, columns) as j:
        if conjugate:
            into[j, i] = source[i, j].conj
        else:
            into[i, j] = source[i, j]


def _norm(routine: Routine, m: Array, column: Dim, rows: Dim) -> Number:
    real = real_of(m.element)
    largest = routine.variable(0.0, real)
    with routine.loop(0, rows) as i:
        size = m[i, column].magnitude
        largest.set(choose(size > largest.get(), size, largest.get()))
    scale = choose(largest.get() > 0.0, largest.get(), number(1.0, real))
    total = routine.variable(0.0, real)
    with routine.loop(0, rows) as i:
        total.add(m[i, column].over(scale).square)
    return total.get().root * scale


def _orthogonalise(routine: Routine, u: Array, v: Array, rows: Dim, columns: Dim) -> None:
    """Rotate the first columns of ``u``, and ``v`` along, until they are orthogonal."""
    real = real_of(u.element)
    # The sums are of squares: scale to keep them in range.
    largest = routine.variable(0.0, real)
    with routine.loop(0, rows) as i, routine.loop(0, columns) as j:
        size = u[i, j].magnitude
        largest.set(choose(size > largest.get(), size, largest.get()))
    scale = choose(largest.get() > 0.0, largest.get(), number(1.0, real))
    small = number(_epsilon(u.element), real)
    sweeps = _Sweeps(routine)
    with routine.repeat(sweeps.go_on):
        sweeps.begin()
        with routine.loop(0, columns) as p, routine.loop(index.add(p, 1), columns) as q:
            first, second = routine.variable(0.0, real), routine.variable(0.0, real)
            common = routine.variable(0.0, u.element)
            with routine.loop(0, rows) as i:
                x, y = u[i, p].over(scale), u[i, q].over(scale)
                first.add(x.square)
                second.add(y.square)
                common.add(x.conj * y)
            bound = small * first.get().root * second.get().root
            with routine.when(common.get().magnitude > bound):
                sweeps.changed.set(number(1, BOOL))
                rotation = _Rotation(first.get(), second.get(), common.get())
                rotation.columns(routine, u, p, q, rows)
                rotation.columns(routine, v, p, q, columns)


def _normalise(routine: Routine, u: Array, s: Array, rows: Dim, columns: Dim, many: Dim) -> None:
    """Divide columns by their lengths; make the others up so that all are orthonormal."""
    real = real_of(u.element)
    limit = routine.variable(0.0, real)
    with _branch(routine, _less(0, columns), True) as taken:
        if taken:
            limit.set(s[0] * (_count(rows, real) * _epsilon(u.element)))
    bound = limit.get()
    with routine.loop(0, many) as j:
        known = routine.variable(0, BOOL)
        with routine.when(index.compare(arith.CmpIPredicate.slt, j, columns)):
            length = s[j]
            with routine.when(length > bound):
                known.set(number(1, BOOL))
                with routine.loop(0, rows) as i:
                    u[i, j] = u[i, j].over(length)
            with routine.when(length.differs(length)):  # NaNs stay what they are
                known.set(number(1, BOOL))
        unknown = arith.xori(known.get().value, number(1, BOOL).value)
        with routine.when(unknown):
            _complete(routine, u, j, rows)


def _count(size: Dim, real: ElementType) -> Number:
    """Return a size as a real number."""
    if isinstance(size, int):
        return number(float(size), real)
    whole = arith.index_cast(ir.IntegerType.get_signless(64), size)
    return Number(scalars.convert(whole, I64, real), real)


def _complete(routine: Routine, u: Array, column: ir.Value, rows: Dim) -> None:
    """Set a column to a unit vector that is orthogonal to all columns before it."""
    real = real_of(u.element)
    best, place = routine.variable(-1.0, real), routine.position(0)
    with routine.loop(0, rows) as r:
        rest = routine.variable(1.0, real)
        with routine.loop(0, column) as c:
            rest.set(rest.get() - u[r, c].square)
        with routine.when(rest.get() > best.get()):
            best.set(rest.get())
            place.set(r)
    zero, one = number(0.0, u.element), number(1.0, u.element)
    with routine.loop(0, rows) as i:
        u[i, column] = choose(equal(i, place.get()), one, zero)
    with routine.loop(0, 2), routine.loop(0, column) as c:  # twice is enough (Kahan, Parlett)
        along = routine.variable(0.0, u.element)
        with routine.loop(0, rows) as i:
            along.add(u[i, c].conj * u[i, column])
        amount = along.get()
        with routine.loop(0, rows) as i:
            u[i, column] = u[i, column] - u[i, c] * amount
    length = _norm(routine, u, column, rows)
    with routine.loop(0, rows) as i:
        u[i, column] = u[i, column].over(length)
