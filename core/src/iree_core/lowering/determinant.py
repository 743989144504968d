"""Determinants by Gaussian elimination with partial pivoting (Golub and Van Loan, Matrix
Computations, 3.4)."""

from __future__ import annotations

from iree_core.ir import arith, ir, linalg
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, for_loop, load, store
from iree_core.lowering.solve import per_matrix
from iree_core.lowering.tensors import Tensor


def determinant(a: Tensor) -> Tensor:
    """Return the determinants [...] of the real floating-point matrices [..., n, n] in ``a``."""
    size, element = a.dims[-1], a.element

    def body(matrices: list[ir.Value], into: list[ir.Value]) -> Values:
        work = linalg.copy(matrices[0], outs=[tensors.empty([size, size], element)])

        def eliminate(k: ir.Value, state: list[ir.Value]) -> Values:
            work, product = state
            row, _ = _largest(work, k, size, element)
            work = _exchange(work, k, row, size)
            pivot = load(work, k, k)
            product = scalars.mul(product, pivot, element)
            moved = index.compare(arith.CmpIPredicate.ne, row, k)
            product = arith.select(moved, scalars.negate(product, element), product)
            return [_subtract(work, k, pivot, size, element), product]

        one = scalars.constant(1, element)
        _, product = for_loop(0, size, [work, one], eliminate)
        return [store(product, into[0], 0)]

    (result,) = per_matrix([a], a.dims[:-2], [((1,), element)], body)
    return tensors.squeeze(result, [result.rank - 1])


def _largest(work: ir.Value, k: ir.Value, size: Dim, element: ElementType) -> list[ir.Value]:
    """Return the row from ``k`` on with the largest magnitude in column ``k``, and that."""

    def visit(i: ir.Value, best: list[ir.Value]) -> Values:
        here = scalars.absolute(load(work, i, k), element)
        better = scalars.compare("gt", here, best[1], element)
        return [arith.select(better, i, best[0]), arith.select(better, here, best[1])]

    return for_loop(index.add(k, 1), size, [k, scalars.absolute(load(work, k, k), element)], visit)


def _exchange(work: ir.Value, k: ir.Value, row: ir.Value, size: Dim) -> ir.Value:
    """Exchange the rows ``k`` and ``row`` from column ``k`` on."""

    def visit(j: ir.Value, state: list[ir.Value]) -> Values:
        upper, lower = load(state[0], k, j), load(state[0], row, j)
        return [store(upper, store(lower, state[0], k, j), row, j)]

    return for_loop(k, size, [work], visit)[0]


def _subtract(
    work: ir.Value, k: ir.Value, pivot: ir.Value, size: Dim, element: ElementType
) -> ir.Value:
    """Subtract multiples of row ``k`` from the rows below to clear their column ``k``."""
    zero = scalars.constant(0, element)
    singular = scalars.compare("eq", pivot, zero, element)

    def row(i: ir.Value, state: list[ir.Value]) -> Values:
        factor = scalars.div(load(state[0], i, k), pivot, element)
        factor = arith.select(singular, zero, factor)

        def column(j: ir.Value, state: list[ir.Value]) -> Values:
            product = scalars.mul(factor, load(state[0], k, j), element)
            rest = scalars.sub(load(state[0], i, j), product, element)
            return [store(rest, state[0], i, j)]

        return for_loop(index.add(k, 1), size, state, column)

    return for_loop(index.add(k, 1), size, [work], row)[0]
