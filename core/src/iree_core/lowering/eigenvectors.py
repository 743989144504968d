"""Eigenvalues and eigenvectors of any square matrix, from its Schur form.

Golub and Van Loan, Matrix Computations, 7.6. The block triangular form of a real matrix is made
triangular by a rotation per block of two rows, so that its real eigenvalues stay real and the
others come in conjugate pairs, as LAPACK's geev gives them. Matrices are the last two dimensions;
all before them are a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import ir
from iree_core.lowering import index, real_schur, schur
from iree_core.lowering.element import I32
from iree_core.lowering.factor import fill_array
from iree_core.lowering.imperative import (
    Array,
    Number,
    Routine,
    choose,
    compose,
    number,
    real_of,
)
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor, empty


def eig(a: Tensor, *, left: bool, right: bool) -> list[Tensor]:
    """Return eigenvalues [..., n], left and right eigenvectors as columns [..., n, n], all
    complex, and per matrix 0 or 1 (LAPACK geev). Vectors not asked for are zero."""
    element, size = schur.complex_of(a.element), a.dims[-1]

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        t = routine.array(empty([size, size], element), element)
        z = routine.array(empty([size, size], element), element)
        x = routine.array(empty([size], element), element)
        w, lefts, rights = (routine.array(value, element) for value in into[:3])
        info = routine.array(into[3], I32)
        source = Routine().array(inputs[0], a.element)
        if a.element == element:
            schur.decompose(routine, source, t, z, info, size)
        else:
            _decompose_real(routine, source, t, z, info, size)
        with routine.loop(0, size) as i:
            w[i] = t[i, i]
        for wanted, vectors, solve in ((left, lefts, _left_vector), (right, rights, _right_vector)):
            if not wanted:
                fill_array(vectors, routine, (size, size), 0.0)
                continue
            with routine.loop(0, size) as k:
                solve(routine, t, x, k, size)
                _expand(routine, z, x, vectors, k, size)
                if a.element != element:
                    _match_real(routine, w, vectors, k, size)
        return [w.value, lefts.value, rights.value, info.value]

    square = ((size, size), element)
    return per_matrix([a], a.dims[:-2], [((size,), element), square, square, ((), I32)], body)


def _decompose_real(
    routine: Routine, source: Array, t: Array, z: Array, info: Array, size: Dim
) -> None:
    """Like ``schur.decompose``, for a real matrix: eigenvalues that are real stay so."""
    real = source.element
    form, basis = (routine.array(empty([size, size], real), real) for _ in range(2))
    re, im = (routine.array(empty([size], real), real) for _ in range(2))
    real_schur.decompose(routine, source, (form, basis, re, im, info), size)
    with routine.loop(0, size) as i, routine.loop(0, size) as j:
        t[i, j] = form[i, j].widened(t.element)
        z[i, j] = basis[i, j].widened(t.element)
    with routine.downwards(size, 1) as low:
        high = index.value(index.sub(low, 1))
        with routine.when(form[low, high].differs(0.0)):
            value = compose(re[high], im[high], t.element)
            _make_triangular(routine, t, z, high, value, size)
            t[low, low] = value.conj


def _make_triangular(
    routine: Routine, t: Array, z: Array, high: ir.Value, value: Number, size: Dim
) -> None:
    """Rotate rows and columns ``high`` and ``high + 1`` so that ``value`` is the upper corner."""
    low = index.value(index.add(high, 1))
    gap, below = value - t[low, low], t[low, high]
    length = _length([gap.real, gap.imag, below.real])
    c, s = gap.over(length), below.over(length)
    with routine.loop(high, size) as j:
        upper, lower = t[high, j], t[low, j]
        t[high, j] = c.conj * upper + s * lower
        t[low, j] = c * lower - s * upper
    for matrix, rows in ((t, index.add(low, 1)), (z, size)):
        with routine.loop(0, rows) as i:
            first, second = matrix[i, high], matrix[i, low]
            matrix[i, high] = c * first + s * second
            matrix[i, low] = c.conj * second - s * first
    t[high, high] = value
    t[low, high] = number(0.0, t.element)


def _length(parts: Sequence[Number]) -> Number:
    """Return the length of a real vector that is not zero, without overflow on the way."""
    largest = number(0.0, parts[0].element)
    for part in parts:
        largest = choose(part.magnitude > largest, part.magnitude, largest)
    total = number(0.0, largest.element)
    for part in parts:
        total = total + (part / largest) * (part / largest)
    return total.root * largest


def _match_real(routine: Routine, w: Array, vectors: Array, k: ir.Value, size: Dim) -> None:
    """Make column ``k`` what the eigenvector of a real matrix is.

    That of a real eigenvalue is real: its real part, once the largest element is real, is an
    eigenvector as well. That of the second of a conjugate pair is the conjugate of the first.
    """
    imag = w[k].imag
    with routine.when(imag < 0.0), routine.loop(0, size) as i:
        vectors[i, k] = vectors[i, index.sub(k, 1)].conj
    with routine.when(_is_zero(imag)):
        largest = routine.variable(0.0, imag.element)
        place = routine.position(0)
        with routine.loop(0, size) as i, routine.when(vectors[i, k].square > largest.get()):
            largest.set(vectors[i, k].square)
            place.set(i)
        turn = vectors[place.get(), k].conj.over(largest.get().root)
        norm = routine.variable(0.0, imag.element)
        with routine.loop(0, size) as i:
            vectors[i, k] = (vectors[i, k] * turn).real.widened(w.element)
            norm.add(vectors[i, k].square)
        length = norm.get().root
        with routine.loop(0, size) as i:
            vectors[i, k] = vectors[i, k].over(length)


def _is_zero(value: Number) -> ir.Value:
    return value.magnitude <= 0.0


def _apart(value: Number, other: Number) -> Number:
    """Return ``value - other``, moved away from zero by rounding size."""
    gap = value - other
    real = real_of(value.element)
    epsilon = 2.0**-23 if real.bits == 32 else 2.0**-52
    least = (value.magnitude + other.magnitude) * epsilon + float(2.0**-100)
    return choose(gap.magnitude < least, least.widened(gap.element), gap)


def _right_vector(routine: Routine, t: Array, x: Array, k: ir.Value, size: Dim) -> None:
    """Solve ``t x = t[k, k] x`` by back substitution."""
    fill_array(x, routine, (size,), 0.0)
    x[k] = number(1.0, t.element)
    with routine.downwards(k) as i:
        total = routine.variable(0.0, t.element)
        with routine.loop(index.add(i, 1), index.add(k, 1)) as j:
            total.add(t[i, j] * x[j])
        x[i] = -(total.get() / _apart(t[i, i], t[k, k]))


def _left_vector(routine: Routine, t: Array, x: Array, k: ir.Value, size: Dim) -> None:
    """Solve ``x^H t = t[k, k] x^H`` by forward substitution."""
    fill_array(x, routine, (size,), 0.0)
    x[k] = number(1.0, t.element)
    with routine.loop(index.add(k, 1), size) as i:
        total = routine.variable(0.0, t.element)
        with routine.loop(k, i) as j:
            total.add(t[j, i].conj * x[j])
        x[i] = -(total.get() / _apart(t[i, i].conj, t[k, k].conj))


def _expand(routine: Routine, z: Array, x: Array, vectors: Array, k: ir.Value, size: Dim) -> None:
    """Set column ``k`` to ``z x``, of length 1."""
    norm = routine.variable(0.0, real_of(z.element))
    with routine.loop(0, size) as i:
        total = routine.variable(0.0, z.element)
        with routine.loop(0, size) as j:
            total.add(z[i, j] * x[j])
        vectors[i, k] = total.get()
        norm.add(total.get().square)
    length = norm.get().root
    with routine.loop(0, size) as i:
        vectors[i, k] = vectors[i, k].over(length)
