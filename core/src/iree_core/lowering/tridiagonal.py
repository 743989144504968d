"""Reduction of Hermitian matrices to real tridiagonal form by reflectors.

Golub and Van Loan, Matrix Computations, 8.3.1; the storage is that of LAPACK's sytrd and hetrd.
Matrices are the last two dimensions; all before them are a batch.
"""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index
from iree_core.lowering.factor import hessenberg_in_place
from iree_core.lowering.imperative import Routine, choose, equal, real_of
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor, empty


def reduce_hermitian(a: Tensor, *, lower: bool) -> list[Tensor]:
    """Return the matrix with reflectors in place of one triangle [..., n, n], the diagonal
    [..., n] and what is beside it [..., n - 1] (both real), and the reflectors' factors
    [..., n - 1] (LAPACK sytrd, hetrd).

    Args:
        a: [..., n, n]; only the triangle named by ``lower`` is read.
    """
    element, size = a.element, a.dims[-1]
    real = real_of(element)
    beside = index.maximum(index.sub(size, 1), 0)

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        source = Routine().array(inputs[0], element)
        m = routine.array(empty([size, size], element), element)
        tau = routine.array(empty([beside], element), element)
        kept, taus = routine.array(into[0], element), routine.array(into[3], element)
        diagonal, off = routine.array(into[1], real), routine.array(into[2], real)

        def place(i: Dim, count: Dim = size) -> Dim:
            """Reducing the upper triangle is reducing the lower one of the reversed matrix."""
            return i if lower else index.sub(index.sub(count, 1), i)

        with routine.loop(0, size) as j, routine.loop(j, size) as i:
            entry = source[place(i), place(j)]
            entry = choose(equal(i, j), entry.real.widened(element), entry)
            m[j, i] = entry.conj
            m[i, j] = entry
        hessenberg_in_place(routine, m, tau, size)
        with routine.loop(0, size) as j:
            diagonal[place(j)] = m[j, j].real
            with routine.loop(0, size) as i:
                inside = index.compare(arith.CmpIPredicate.sge, i, j)
                kept[place(i), place(j)] = choose(inside, m[i, j], source[place(i), place(j)])
        with routine.loop(0, beside) as k:
            off[place(k, beside)] = m[index.add(k, 1), k].real
            taus[place(k, beside)] = tau[k]
        return [kept.value, diagonal.value, off.value, taus.value]

    outputs = [((size, size), element), ((size,), real), ((beside,), real), ((beside,), element)]
    return per_matrix([a], a.dims[:-2], outputs, body)
