"""Matrices: factorisations, systems and eigenvalues, by the core's programs.

TensorFlow's passes turn these into calls of XLA's own expansions, and want static shapes. Here
they take a batch of any size.
"""

from __future__ import annotations

from collections.abc import Callable

from iree_core.ir import arith, complex, ir, math
from iree_core.lowering import eigen, eigenvectors, factor, index, scalars, solve, structured
from iree_core.lowering.element import I32, ElementType
from iree_core.lowering.imperative import Number, Routine, real_of
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, load
from iree_core.lowering.tensors import Tensor, extract_slice, squeeze, transpose
from iree_frontend_tf.programs.call import Call


def cholesky(call: Call) -> list[Tensor]:
    """``Cholesky(input)``: the lower factor."""
    return [solve.cholesky(call.tensor(0))]


def triangular_solve(call: Call) -> list[Tensor]:
    """``MatrixTriangularSolve(matrix, rhs)``, ``lower``, ``adjoint``."""
    a, b = _same_batch(call.tensor(0), call.tensor(1))
    adjoint = call.option("adjoint", False)
    a = _conjugate(a) if adjoint else a
    lower = call.option("lower", True)
    return [solve.triangular_solve(a, b, lower=lower, transpose=adjoint)]


def solve_system(call: Call) -> list[Tensor]:
    """``MatrixSolve(matrix, rhs)``, ``adjoint``."""
    a, b = _same_batch(call.tensor(0), call.tensor(1))
    return [_solved(_adjoint(a) if call.option("adjoint", False) else a, b)]


def inverse(call: Call) -> list[Tensor]:
    """``MatrixInverse(input)``, ``adjoint``."""
    a = call.tensor(0)
    a = _adjoint(a) if call.option("adjoint", False) else a
    return [_solved(a, _identity(a))]


def determinant(call: Call) -> list[Tensor]:
    """``MatrixDeterminant(input)``."""
    sign, diagonal = _pivots(call.tensor(0))
    return [_multiplied([sign, diagonal], diagonal.element)]


def log_determinant(call: Call) -> list[Tensor]:
    """``LogMatrixDeterminant(input)``: sign, and logarithm of the absolute value."""
    sign, diagonal = _pivots(call.tensor(0))
    element, real = diagonal.element, real_of(diagonal.element)
    sizes = structured.elementwise([diagonal], real, lambda x: _size(x, element))
    units = structured.elementwise([diagonal], element, lambda x: _unit(x, element))
    logs = structured.elementwise([sizes], real, math.log)
    total = structured.reduce(
        [logs], [logs.rank - 1], 0, real, lambda x, total: scalars.add(total, x, real)
    )
    if element.kind == "complex":
        total = structured.convert(total, element)
    return [_multiplied([sign, units], element), total]


def lu(call: Call) -> list[Tensor]:
    """``Lu(input)``: the factors in one matrix, and which row comes to each place."""
    a = call.tensor(0)
    factors, exchanges, _ = factor.lu(a)
    rows = a.dims[-2]

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        given, order = Routine().array(inputs[0], I32), routine.array(into[0], I32)
        with routine.loop(0, rows) as i:
            order[i] = _integer(i)
        with routine.loop(0, exchanges.dims[-1]) as k:
            chosen = index.sub(arith.index_cast(ir.IndexType.get(), given[k].value), 1)
            held = order[k]
            order[k] = order[chosen]
            order[chosen] = held
        return [order.value]

    (order,) = solve.per_matrix([exchanges], a.dims[:-2], [((rows,), I32)], body)
    return [factors, order]


def qr(call: Call) -> list[Tensor]:
    """``Qr(input)``, ``full_matrices``."""
    a = call.tensor(0)
    packed, taus = factor.qr(a)
    rows, columns = a.dims[-2:]
    size = index.minimum(rows, columns)
    batch = list(a.dims[:-2])
    whole = call.option("full_matrices", False)
    kept = rows if whole else size
    reflectors = _first(packed, [*batch, rows, size])
    if whole:
        q = factor.apply_q(reflectors, taus, _identity(a, rows), left=True, adjoint=False)
    else:
        q = factor.householder_product(reflectors, taus)
    return [q, _upper(_first(packed, [*batch, kept, columns]))]


def svd(call: Call) -> list[Tensor]:
    """``Svd(input)``, ``compute_uv``, ``full_matrices``: right vectors as columns."""
    values, left, right, _ = eigen.svd(call.tensor(0), full=call.option("full_matrices", False))
    return [values, left, _adjoint(right)]


def eigh(call: Call) -> list[Tensor]:
    """``SelfAdjointEigV2(input)``, ``compute_v``."""
    vectors, values, _ = eigen.eigh(call.tensor(0))
    return [structured.convert(values, vectors.element), vectors]


def eig(call: Call) -> list[Tensor]:
    """``Eig(input)``, ``compute_v``: complex values and right vectors."""
    values, _, vectors, _ = eigenvectors.eig(
        call.tensor(0), left=False, right=call.option("compute_v", True)
    )
    return [values, vectors]


def tridiagonal_solve(call: Call) -> list[Tensor]:
    """``TridiagonalSolve(diagonals [..., 3, n], rhs)``, always with pivoting."""
    diagonals, right = call.tensor(0), call.tensor(1)
    upper, middle, lower = (_row(diagonals, n) for n in range(3))
    return [factor.tridiagonal_solve(lower, middle, upper, right)[3]]


RULES: dict[str, Callable[[Call], list[Tensor]]] = {
    "Cholesky": cholesky,
    "Eig": eig,
    "LogMatrixDeterminant": log_determinant,
    "Lu": lu,
    "MatrixDeterminant": determinant,
    "MatrixInverse": inverse,
    "MatrixSolve": solve_system,
    "MatrixTriangularSolve": triangular_solve,
    "Qr": qr,
    "SelfAdjointEigV2": eigh,
    "Svd": svd,
    "TridiagonalSolve": tridiagonal_solve,
}


def _solved(a: Tensor, b: Tensor) -> Tensor:
    factors, exchanges, _ = factor.lu(a)

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        given = Routine().array(inputs[1], I32)
        rows = routine.array(factor.copied(inputs[0], into[0]), b.element)
        with routine.loop(0, exchanges.dims[-1]) as k:
            chosen = index.sub(arith.index_cast(ir.IndexType.get(), given[k].value), 1)
            with routine.loop(0, b.dims[-1]) as j:
                held = rows[k, j]
                rows[k, j] = rows[chosen, j]
                rows[chosen, j] = held
        return [rows.value]

    (moved,) = solve.per_matrix([b, exchanges], b.dims[:-2], [(b.dims[-2:], b.element)], body)
    half = solve.triangular_solve(factors, moved, unit_diagonal=True)
    return solve.triangular_solve(factors, half, lower=False)


def _pivots(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signs [..., n] that row exchanges bring in, and the pivots [..., n]."""
    factors, exchanges, _ = factor.lu(a)
    element = a.element

    def sign(*at: ir.Value) -> ir.Value:
        row = arith.addi(_integer(at[-1]).value, scalars.constant(1, I32))
        stays = scalars.compare("eq", load(exchanges.value, *at), row, I32)
        one, other = (scalars.constant(n, element) for n in (1, -1))
        return arith.select(stays, one, other)

    dims = a.dims[:-1]
    (signs,) = structured.computed(dims, [element], sign)
    (pivots,) = structured.computed(dims, [element], lambda *at: load(factors.value, *at, at[-1]))
    return signs, pivots


def _multiplied(parts: list[Tensor], element: ElementType) -> Tensor:
    def multiply(a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
        return scalars.mul(total, scalars.mul(a, b, element), element)

    return structured.reduce(parts, [parts[0].rank - 1], 1, element, multiply)


def _size(x: ir.Value, element: ElementType) -> ir.Value:
    return complex.abs(x) if element.kind == "complex" else math.absf(x)


def _unit(x: ir.Value, element: ElementType) -> ir.Value:
    """Return x / |x|."""
    if element.kind != "complex":
        return math.copysign(scalars.constant(1, element), x)
    real = real_of(element)
    zero = scalars.constant(0, real)
    return scalars.div(x, complex.create_(element.type, complex.abs(x), zero), element)


def _integer(position: ir.Value) -> Number:
    return Number(arith.index_cast(I32.type, position), I32)


def _same_batch(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    batch = structured.broadcast_dims([a.dims[:-2], b.dims[:-2]])
    return (
        structured.broadcast_to(a, [*batch, *a.dims[-2:]]),
        structured.broadcast_to(b, [*batch, *b.dims[-2:]]),
    )


def _conjugate(a: Tensor) -> Tensor:
    if a.element.kind != "complex":
        return a
    return structured.elementwise([a], a.element, complex.conj)


def _adjoint(a: Tensor) -> Tensor:
    order = [*range(a.rank - 2), a.rank - 1, a.rank - 2]
    return _conjugate(transpose(a, order))


def _identity(a: Tensor, size: Dim | None = None) -> Tensor:
    """Return identities of the batch and size of ``a``."""
    size = a.dims[-1] if size is None else size

    def entry(*at: ir.Value) -> ir.Value:
        one, zero = (scalars.constant(n, a.element) for n in (1, 0))
        return arith.select(index.compare(arith.CmpIPredicate.eq, at[-1], at[-2]), one, zero)

    return structured.computed([*a.dims[:-2], size, size], [a.element], entry)[0]


def _upper(a: Tensor) -> Tensor:
    def entry(*at: ir.Value) -> ir.Value:
        kept = index.compare(arith.CmpIPredicate.sge, at[-1], at[-2])
        return arith.select(kept, load(a.value, *at), scalars.constant(0, a.element))

    return structured.computed(a.dims, [a.element], entry)[0]


def _first(a: Tensor, dims: list[Dim]) -> Tensor:
    if all(map(index.same, a.dims, dims)):
        return a
    return extract_slice(a, [0] * a.rank, dims, [1] * a.rank)


def _row(a: Tensor, number: int) -> Tensor:
    """Return the row of each matrix of ``a`` [..., m, n]."""
    start = [0] * (a.rank - 2) + [number, 0]
    dims = [*a.dims[:-2], 1, a.dims[-1]]
    return squeeze(extract_slice(a, start, dims, [1] * a.rank), [a.rank - 2])
