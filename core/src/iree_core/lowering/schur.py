"""The complex Schur form of any square matrix, by the shifted QR algorithm.

Hessenberg reduction, then implicit single-shift steps with Wilkinson's shift (Golub and Van
Loan, Matrix Computations, 7.4 to 7.6). Real matrices are treated as complex ones. Matrices are
the last two dimensions; all before them are a batch.
"""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index
from iree_core.lowering.element import BOOL, COMPLEX64, COMPLEX128, I32, ElementType
from iree_core.lowering.factor import apply_reflector, hessenberg_in_place, identity
from iree_core.lowering.imperative import (
    Array,
    Number,
    Position,
    Routine,
    both,
    choose,
    compose,
    equal,
    number,
    real_of,
)
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor, empty

_STEPS_PER_ROW = 40


def complex_of(element: ElementType) -> ElementType:
    """Return the complex type whose parts are as precise as ``element``."""
    return COMPLEX64 if real_of(element).bits == 32 else COMPLEX128


def schur(a: Tensor) -> list[Tensor]:
    """Return the upper triangular form [..., n, n], the unitary basis [..., n, n], eigenvalues
    [..., n] and per matrix 0, or 1 where there was no convergence (LAPACK gees)."""
    element, size = complex_of(a.element), a.dims[-1]

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        t, z, w = (routine.array(value, element) for value in into[:3])
        info = routine.array(into[3], I32)
        decompose(routine, Routine().array(inputs[0], a.element), t, z, info, size)
        with routine.loop(0, size) as i:
            w[i] = t[i, i]
        return [t.value, z.value, w.value, info.value]

    outputs = [*(((size, size), element) for _ in range(2)), ((size,), element), ((), I32)]
    return per_matrix([a], a.dims[:-2], outputs, body)


def decompose(routine: Routine, source: Array, t: Array, z: Array, info: Array, size: Dim) -> None:
    """Set ``t`` to the triangular form of ``source``, ``z`` to the basis; ``info`` as in
    :func:`schur`."""
    element = t.element
    tau = routine.array(empty([size], element), element)
    with routine.loop(0, size) as i, routine.loop(0, size) as j:
        t[i, j] = source[i, j].widened(element)
    hessenberg_in_place(routine, t, tau, size)
    identity(z, routine, size, size)
    with routine.downwards(index.maximum(index.sub(size, 1), 0)) as k:
        start = index.add(k, 1)
        apply_reflector(routine, t, k, start, size, tau[k], z, (start, size))
    zero = number(0.0, element)
    with routine.loop(0, size) as j, routine.loop(index.add(j, 2), size) as i:
        t[i, j] = zero
    _iterate(routine, t, z, info, size)


def _iterate(routine: Routine, t: Array, z: Array, info: Array, size: Dim) -> None:
    """Shift and chase until the matrix is triangular."""
    last = routine.position(index.sub(size, 1))
    steps, tries = routine.position(0), routine.position(0)
    limit = index.mul(size, _STEPS_PER_ROW)

    def go_on() -> ir.Value:
        unfinished = index.compare(arith.CmpIPredicate.sgt, last.get(), 0)
        few = index.compare(arith.CmpIPredicate.slt, steps.get(), limit)
        return both(unfinished, few)

    with routine.repeat(go_on):
        steps.set(index.add(steps.get(), 1))
        first = deflate(routine, t, last)
        done = equal(first.get(), last.get())
        with routine.when(done):
            last.set(index.sub(last.get(), 1))
            tries.set(0)
        with routine.when(arith.xori(done, number(1, BOOL).value)):
            tries.set(index.add(tries.get(), 1))
            # An unusual shift every tenth time breaks cycles.
            tenth = equal(index.remainder(tries.get(), 10), 0)
            hi = last.get()
            above = index.sub(hi, 1)
            strange = t[hi, hi] + _real(t[hi, above].magnitude, t.element)
            shift = choose(tenth, strange, _wilkinson(t, hi))
            _chase(routine, t, z, first.get(), hi, shift, size)
    left = index.compare(arith.CmpIPredicate.sgt, last.get(), 0)
    info[()] = choose(left, number(1, I32), number(0, I32))


def _real(value: Number, element: ElementType) -> Number:
    return value.widened(element)


def deflate(routine: Routine, t: Array, last: Position) -> Position:
    """Return where the block that ends at ``last`` begins; its subdiagonal entry becomes zero."""
    real = real_of(t.element)
    epsilon = number(2.0**-24 if real.bits == 32 else 2.0**-53, real)
    first = routine.position(last.get())
    searching = routine.variable(1, BOOL)

    def go_on() -> ir.Value:
        return both(searching.get().value, index.compare(arith.CmpIPredicate.sgt, first.get(), 0))

    with routine.repeat(go_on):
        here = first.get()
        above = index.sub(here, 1)
        scale = t[above, above].magnitude + t[here, here].magnitude
        small = t[here, above].magnitude <= scale * epsilon
        with routine.when(small):
            t[here, above] = number(0.0, t.element)
            searching.set(number(0, BOOL))
        with routine.when(arith.xori(small, number(1, BOOL).value)):
            first.set(above)
    return first


def _wilkinson(t: Array, hi: Dim) -> Number:
    """Return the eigenvalue of the last two rows and columns that is nearer to the corner."""
    above = index.sub(hi, 1)
    a, b, c, d = t[above, above], t[above, hi], t[hi, above], t[hi, hi]
    half = number(0.5, real_of(t.element))
    difference = (a - d).scaled(half)
    root = _square_root(difference * difference + b * c)
    middle = (a + d).scaled(half)
    plus, minus = middle + root, middle - root
    return choose((plus - d).square < (minus - d).square, plus, minus)


def _square_root(z: Number) -> Number:
    size = z.magnitude
    zero = number(0.0, size.element)
    half = number(0.5, size.element)

    def root(value: Number) -> Number:
        return choose(value > 0.0, value, zero).root

    real = root((size + z.real) * half)
    imag = root((size - z.real) * half)
    return compose(real, choose(z.imag < 0.0, -imag, imag), z.element)


def _chase(
    routine: Routine, t: Array, z: Array, first: Dim, last: Dim, shift: Number, size: Dim
) -> None:
    """One implicit step of the QR algorithm on the block from ``first`` to ``last``."""
    x = routine.variable(t[first, first] - shift, t.element)
    y = routine.variable(t[index.add(first, 1), first], t.element)
    with routine.loop(first, last) as k:
        following = index.value(index.add(k, 1))
        inside = index.compare(arith.CmpIPredicate.sgt, k, first)
        with routine.when(inside):
            x.set(t[k, index.sub(k, 1)])
            y.set(t[following, index.sub(k, 1)])
        length = _length(x.get(), y.get())
        usable = length > 0.0
        divisor = choose(usable, length, number(1.0, length.element))
        c = choose(usable, x.get().over(divisor), number(1.0, t.element))
        s = choose(usable, y.get().over(divisor), number(0.0, t.element))
        start = index.select(inside, index.sub(k, 1), k)
        with routine.loop(start, size) as j:
            upper, lower = t[k, j], t[following, j]
            t[k, j] = c.conj * upper + s.conj * lower
            t[following, j] = c * lower - s * upper
        with routine.when(inside):
            t[following, index.sub(k, 1)] = number(0.0, t.element)
        end = index.add(index.minimum(index.add(k, 2), last), 1)
        for matrix, rows in ((t, end), (z, size)):
            with routine.loop(0, rows) as i:
                left, right = matrix[i, k], matrix[i, following]
                matrix[i, k] = c * left + s * right
                matrix[i, following] = c.conj * right - s.conj * left


def _length(x: Number, y: Number) -> Number:
    a, b = x.magnitude, y.magnitude
    scale = choose(a > b, a, b)
    safe = choose(scale > 0.0, scale, number(1.0, scale.element))
    return ((a / safe) * (a / safe) + (b / safe) * (b / safe)).root * scale
