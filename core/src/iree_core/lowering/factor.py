"""LU and QR factorisations and reductions to Hessenberg form, as LAPACK stores them.

Matrices are the last two dimensions; all before them are a batch, done in parallel. (Golub and
Van Loan, Matrix Computations, 3.4, 5.2 and 7.4; the storage is that of LAPACK's getrf, geqrf,
orgqr, ormqr, gehrd and gtsv.)
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir, linalg
from iree_core.lowering import index
from iree_core.lowering.element import BOOL as _BOOL
from iree_core.lowering.element import I32, ElementType
from iree_core.lowering.imperative import (
    Array,
    Number,
    Routine,
    both,
    choose,
    compose,
    either,
    equal,
    number,
    real_of,
    unequal,
)
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor, fill


def copied(source: ir.Value, into: ir.Value) -> ir.Value:
    """Return ``into`` with the elements of ``source``."""
    return linalg.copy(source, outs=[into])


def fill_array(array: Array, routine: Routine, dims: Sequence[Dim], value: float) -> None:
    """Set all elements of a matrix or vector."""
    scalar = number(value, array.element)
    if len(dims) == 1:
        with routine.loop(0, dims[0]) as i:
            array[i] = scalar
        return
    with routine.loop(0, dims[0]) as i, routine.loop(0, dims[1]) as j:
        array[i, j] = scalar


def identity(array: Array, routine: Routine, rows: Dim, columns: Dim) -> None:
    """Set a matrix to the identity."""
    zero, one = number(0.0, array.element), number(1.0, array.element)
    with routine.loop(0, rows) as i, routine.loop(0, columns) as j:
        array[i, j] = choose(equal(i, j), one, zero)


def pivot_size(entry: Number) -> Number:
    """Return what LAPACK compares pivots by: the sum of the parts' magnitudes."""
    if entry.element.kind != "complex":
        return entry.magnitude
    return entry.real.magnitude + entry.imag.magnitude


def lu(a: Tensor) -> list[Tensor]:
    """Return the factors in one matrix [..., m, n], row exchanges [..., k] (counted from 1) and
    per matrix 0, or the number of the first pivot that is zero (LAPACK getrf)."""
    rows, columns = a.dims[-2:]
    size = index.minimum(rows, columns)
    batch = a.dims[:-2]

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        m = routine.array(copied(inputs[0], into[0]), a.element)
        exchanges, info = routine.array(into[1], I32), routine.array(into[2], I32)
        info[()] = number(0, I32)
        with routine.loop(0, size) as k:
            best = routine.variable(pivot_size(m[k, k]), real_of(a.element))
            place = routine.position(k)
            after = index.add(k, 1)
            with routine.loop(after, rows) as i:
                candidate = pivot_size(m[i, k])
                with routine.when(candidate > best.get()):
                    best.set(candidate)
                    place.set(i)
            chosen = place.get()
            exchanges[k] = _as_i32(index.add(chosen, 1))
            with routine.when(unequal(chosen, k)), routine.loop(0, columns) as j:
                held = m[k, j]
                m[k, j] = m[chosen, j]
                m[chosen, j] = held
            pivot = m[k, k]
            nonzero = pivot.differs(0.0)
            with routine.when(nonzero), routine.loop(after, rows) as i:
                m[i, k] = m[i, k] / pivot
            first = both(_not(nonzero), _not(info[()].differs(0)))
            with routine.when(first):
                info[()] = _as_i32(after)
            with routine.loop(after, rows) as i:
                factor = m[i, k]
                with routine.loop(after, columns) as j:
                    m[i, j] = m[i, j] - factor * m[k, j]
        return [m.value, exchanges.value, info.value]

    outputs = [((rows, columns), a.element), ((size,), I32), ((), I32)]
    return per_matrix([a], batch, outputs, body)


def _as_i32(position: Dim) -> Number:
    return Number(arith.index_cast(I32.type, index.value(position)), I32)


def _not(condition: ir.Value) -> ir.Value:
    return arith.xori(condition, number(1, _BOOL).value)


def reflect(
    routine: Routine, m: Array, tau: Array, k: ir.Value, start: Dim, rows: Dim
) -> tuple[Number, Number]:
    """Make the reflector that clears column ``k`` below row ``start`` (LAPACK larfg).

    Its vector is 1 at ``start`` and is stored below; ``tau[k]`` gets the factor. Returns the
    element that stays at ``start`` and the factor.
    """
    element = m.element
    real = real_of(element)
    below = index.add(start, 1)
    largest = routine.variable(0.0, real)
    with routine.loop(below, rows) as i:
        size = m[i, k].magnitude
        largest.set(choose(size > largest.get(), size, largest.get()))
    scale = choose(largest.get() > 0.0, largest.get(), number(1.0, real))
    total = routine.variable(0.0, real)
    with routine.loop(below, rows) as i:
        total.add(m[i, k].over(scale).square)
    norm = total.get().root * scale
    alpha = m[start, k]
    parts = [norm, alpha.real] + ([alpha.imag] if element.kind == "complex" else [])
    whole = _hypot(parts)
    needed = norm > 0.0
    if element.kind == "complex":
        needed = either(needed, alpha.imag.differs(0.0))
    beta = choose(alpha.real > 0.0, -whole, whole)
    safe = choose(needed, beta, number(1.0, real))
    factor = (safe - alpha.real) / safe
    result: Number = factor
    if element.kind == "complex":
        result = compose(factor, -(alpha.imag / safe), element)
    result = choose(needed, result, number(0.0, element))
    tau[k] = result
    divisor = alpha - safe.widened(element)
    with routine.when(needed), routine.loop(below, rows) as i:
        m[i, k] = m[i, k] / divisor
    return choose(needed, safe.widened(element), alpha), result


def _hypot(parts: Sequence[Number]) -> Number:
    """Return the length of a vector of real numbers without overflow on the way."""
    sizes = [part.magnitude for part in parts]
    largest = sizes[0]
    for size in sizes[1:]:
        largest = choose(size > largest, size, largest)
    scale = choose(largest > 0.0, largest, number(1.0, largest.element))
    total = number(0.0, largest.element)
    for part in parts:
        ratio = part / scale
        total = total + ratio * ratio
    return total.root * scale


def apply_reflector(
    routine: Routine,
    vectors: Array,
    k: Dim,
    start: Dim,
    rows: Dim,
    factor: Number,
    target: Array,
    columns: tuple[Dim, Dim],
) -> None:
    """Multiply columns of ``target`` from the left by ``1 - factor v v^H``."""
    below = index.add(start, 1)
    with routine.loop(*columns) as j:
        total = routine.variable(target[start, j], target.element)
        with routine.loop(below, rows) as i:
            total.add(vectors[i, k].conj * target[i, j])
        step = factor * total.get()
        target[start, j] = target[start, j] - step
        with routine.loop(below, rows) as i:
            target[i, j] = target[i, j] - vectors[i, k] * step


def qr(a: Tensor) -> list[Tensor]:
    """Return R with the reflectors' vectors below it [..., m, n], and their factors
    [..., min(m, n)] (LAPACK geqrf)."""
    rows, columns = a.dims[-2:]
    size = index.minimum(rows, columns)

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        m = routine.array(copied(inputs[0], into[0]), a.element)
        tau = routine.array(into[1], a.element)
        with routine.loop(0, size) as k:
            beta, factor = reflect(routine, m, tau, k, k, rows)
            apply_reflector(routine, m, k, k, rows, factor.conj, m, (index.add(k, 1), columns))
            m[k, k] = beta
        return [m.value, tau.value]

    return per_matrix([a], a.dims[:-2], [((rows, columns), a.element), ((size,), a.element)], body)


def pivoted_qr(a: Tensor, columns_first: Tensor) -> list[Tensor]:
    """Return R with reflectors below it [..., m, n], the number of the column at each place
    [..., n] (counted from 1) and the reflectors' factors (LAPACK geqp3).

    Columns with a number in ``columns_first`` [..., n] that is not zero are treated as all
    others: the longest remaining column comes next.
    """
    rows, columns = a.dims[-2:]
    size = index.minimum(rows, columns)
    real = real_of(a.element)

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        m = routine.array(copied(inputs[0], into[0]), a.element)
        order, tau = routine.array(into[1], I32), routine.array(into[2], a.element)
        with routine.loop(0, columns) as j:
            order[j] = _as_i32(index.add(j, 1))
        with routine.loop(0, size) as k:
            best, place = routine.variable(-1.0, real), routine.position(k)
            with routine.loop(k, columns) as j:
                length = routine.variable(0.0, real)
                with routine.loop(k, rows) as i:
                    length.add(m[i, j].square)
                with routine.when(length.get() > best.get()):
                    best.set(length.get())
                    place.set(j)
            chosen = place.get()
            held = order[k]
            order[k] = order[chosen]
            order[chosen] = held
            with routine.loop(0, rows) as i:
                entry = m[i, k]
                m[i, k] = m[i, chosen]
                m[i, chosen] = entry
            beta, factor = reflect(routine, m, tau, k, k, rows)
            apply_reflector(routine, m, k, k, rows, factor.conj, m, (index.add(k, 1), columns))
            m[k, k] = beta
        return [m.value, order.value, tau.value]

    outputs = [((rows, columns), a.element), ((columns,), I32), ((size,), a.element)]
    return per_matrix([a, columns_first], a.dims[:-2], outputs, body)


def householder_product(a: Tensor, taus: Tensor) -> Tensor:
    """Return the first n columns of the product of reflectors [..., m, n] (LAPACK orgqr).

    Args:
        a: [..., m, n], vectors below the diagonal.
        taus: [..., k], their factors.
    """
    rows, columns = a.dims[-2:]
    count = taus.dims[-1]

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        q = routine.array(into[0], a.element)
        vectors, tau = Routine().array(inputs[0], a.element), Routine().array(inputs[1], a.element)
        identity(q, routine, rows, columns)
        with routine.downwards(count) as k:
            apply_reflector(routine, vectors, k, k, rows, tau[k], q, (k, columns))
        return [q.value]

    return per_matrix([a, taus], a.dims[:-2], [((rows, columns), a.element)], body)[0]


def apply_q(a: Tensor, taus: Tensor, c: Tensor, *, left: bool, adjoint: bool) -> Tensor:
    """Return ``q c`` or ``c q`` for the product q of reflectors, or its adjoint (LAPACK ormqr).

    Args:
        a: [..., m, n], vectors below the diagonal.
        taus: [..., k], their factors.
        c: [..., m, p] ([..., p, m] if not ``left``).
    """
    rows, columns = c.dims[-2:]
    count = taus.dims[-1]
    backwards = left != adjoint

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        target = routine.array(copied(inputs[2], into[0]), c.element)
        vectors, tau = Routine().array(inputs[0], a.element), Routine().array(inputs[1], a.element)
        steps = routine.downwards(count) if backwards else routine.loop(0, count)
        with steps as k:
            factor = tau[k].conj if adjoint else tau[k]
            if left:
                apply_reflector(routine, vectors, k, k, rows, factor, target, (0, columns))
            else:
                _apply_from_right(routine, vectors, k, columns, factor, target, rows)
        return [target.value]

    return per_matrix([a, taus, c], c.dims[:-2], [((rows, columns), c.element)], body)[0]


def _apply_from_right(
    routine: Routine, vectors: Array, k: Dim, size: Dim, factor: Number, target: Array, rows: Dim
) -> None:
    """Multiply ``target`` from the right by ``1 - factor v v^H``."""
    below = index.add(k, 1)
    with routine.loop(0, rows) as i:
        total = routine.variable(target[i, k], target.element)
        with routine.loop(below, size) as j:
            total.add(target[i, j] * vectors[j, k])
        step = factor * total.get()
        target[i, k] = target[i, k] - step
        with routine.loop(below, size) as j:
            target[i, j] = target[i, j] - step * vectors[j, k].conj


def hessenberg(a: Tensor) -> list[Tensor]:
    """Return the Hessenberg form with reflectors below it [..., n, n] and their factors
    [..., n - 1] (LAPACK gehrd over the whole matrix)."""
    size = a.dims[-1]
    count = index.maximum(index.sub(size, 1), 0)

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        m = routine.array(copied(inputs[0], into[0]), a.element)
        tau = routine.array(into[1], a.element)
        hessenberg_in_place(routine, m, tau, size)
        return [m.value, tau.value]

    return per_matrix([a], a.dims[:-2], [((size, size), a.element), ((count,), a.element)], body)


def hessenberg_in_place(routine: Routine, m: Array, tau: Array, size: Dim) -> None:
    """Reduce a matrix to Hessenberg form; vectors stay below it, factors go to ``tau``."""
    with routine.loop(0, index.maximum(index.sub(size, 1), 0)) as k:
        start = index.add(k, 1)
        below = index.add(k, 2)
        beta, factor = reflect(routine, m, tau, k, start, size)
        # From the right: m - factor (m v) v^H.
        with routine.loop(0, size) as i:
            total = routine.variable(m[i, start], m.element)
            with routine.loop(below, size) as j:
                total.add(m[i, j] * m[j, k])
            step = factor * total.get()
            m[i, start] = m[i, start] - step
            with routine.loop(below, size) as j:
                m[i, j] = m[i, j] - step * m[j, k].conj
        apply_reflector(routine, m, k, start, size, factor.conj, m, (start, size))
        m[start, k] = beta


def tridiagonal_solve(
    lower: Tensor, diagonal: Tensor, upper: Tensor, right: Tensor
) -> list[Tensor]:
    """Return the eliminated diagonals, x with ``t x = b`` and 0 (LAPACK gtsv).

    Args:
        lower, diagonal, upper: [..., n]; the first of ``lower`` and the last of ``upper`` lie
            outside of the matrix.
        right: [..., n, m].
    """
    size, count = right.dims[-2:]
    element: ElementType = right.element

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        names = zip(inputs, into[:4], strict=True)
        dl, d, du, x = (routine.array(copied(source, to), element) for source, to in names)
        info = routine.array(into[4], I32)
        second = routine.array(fill([size], element, 0.0).value, element)
        info[()] = number(0, I32)
        with routine.loop(0, index.sub(size, 1)) as k:
            _eliminate(routine, (dl, d, du, second, x), k, size, count)
        with routine.downwards(size) as i, routine.loop(0, count) as c:
            rest = routine.variable(x[i, c], element)
            one, two = index.add(i, 1), index.add(i, 2)
            with routine.when(index.compare(arith.CmpIPredicate.slt, one, size)):
                rest.set(rest.get() - du[i] * x[one, c])
            with routine.when(index.compare(arith.CmpIPredicate.slt, two, size)):
                rest.set(rest.get() - second[i] * x[two, c])
            x[i, c] = rest.get() / d[i]
        return [dl.value, d.value, du.value, x.value, info.value]

    dims = [t.dims[-1:] for t in (lower, diagonal, upper)]
    outputs = [*((shape, element) for shape in dims), ((size, count), element), ((), I32)]
    return per_matrix([lower, diagonal, upper, right], right.dims[:-2], outputs, body)


def _eliminate(
    routine: Routine, arrays: tuple[Array, ...], k: ir.Value, size: Dim, count: Dim
) -> None:
    """One step of the elimination of a tridiagonal matrix with row exchanges."""
    dl, d, du, second, x = arrays
    following = index.value(index.add(k, 1))
    last = index.sub(size, 2)
    inner = index.compare(arith.CmpIPredicate.slt, k, last)
    exchange = pivot_size(dl[following]) > pivot_size(d[k])
    with routine.when(exchange):
        held = d[k]
        d[k] = dl[following]
        dl[following] = held
        held = d[following]
        d[following] = du[k]
        du[k] = held
        with routine.when(inner):
            second[k] = du[following]
            du[following] = number(0.0, du.element)
        with routine.loop(0, count) as c:
            held = x[k, c]
            x[k, c] = x[following, c]
            x[following, c] = held
    factor = dl[following] / d[k]
    d[following] = d[following] - factor * du[k]
    with routine.when(inner):
        du[following] = du[following] - factor * second[k]
    with routine.loop(0, count) as c:
        x[following, c] = x[following, c] - factor * x[k, c]
