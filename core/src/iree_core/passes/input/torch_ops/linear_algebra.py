"""Factorisations, eigenvalues and triangular systems: the primitives that torch calls LAPACK for.

What torch builds from them (solve, inverse, determinant, QR) is decomposed by the frontend.
"""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import eigen, eigenvectors, factor, indefinite, index, solve
from iree_core.lowering.element import I32
from iree_core.lowering.imperative import Routine
from iree_core.lowering.loops import Values
from iree_core.lowering.structured import broadcast_dims, broadcast_to
from iree_core.lowering.tensors import Tensor, fill
from iree_core.passes.input.torch_ops.registry import Declined, Node, register


@register("aten.linalg_cholesky_ex")
def cholesky(node: Node) -> list[Tensor]:
    """``linalg_cholesky_ex(a, upper, check_errors)``; the second result says that all is well."""
    source = node.tensor(0)
    result = solve.cholesky(source, lower=not node.integer(1))
    return [result, fill(source.dims[:-2], I32, 0)]


@register("aten.cholesky")
def plain_cholesky(node: Node) -> Tensor:
    """``cholesky(a, upper)``."""
    return solve.cholesky(node.tensor(0), lower=not node.integer(1))


@register("aten.linalg_solve_triangular")
def solve_triangular(node: Node) -> Tensor:
    """``linalg_solve_triangular(a, b, upper, left, unitriangular)``."""
    a, b = _same_batch(node.tensor(0), node.tensor(1))
    upper, left, unit = (bool(node.integer(n)) for n in (2, 3, 4))
    return solve.triangular_solve(a, b, left=left, lower=not upper, unit_diagonal=unit)


def _same_batch(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    batch = broadcast_dims([a.dims[:-2], b.dims[:-2]])
    return broadcast_to(a, [*batch, *a.dims[-2:]]), broadcast_to(b, [*batch, *b.dims[-2:]])


@register("aten.linalg_lu_factor_ex")
def lu_factor(node: Node) -> list[Tensor]:
    """``linalg_lu_factor_ex(a, pivot, check_errors)``."""
    if not node.integer(1):
        raise Declined
    return factor.lu(node.tensor(0))


@register("aten.lu_unpack")
def lu_unpack(node: Node) -> list[Tensor]:
    """``lu_unpack(lu, pivots, unpack_data=False, unpack_pivots=True)``: the permutation's matrix.

    The frontend makes the triangles of ``lu`` itself.
    """
    source, pivots = node.tensor(0), node.tensor(1)
    if node.integer(2) or not node.integer(3):
        raise Declined
    rows, element = source.dims[-2], source.element

    def body(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        routine = Routine()
        exchanges, matrix = Routine().array(inputs[0], I32), routine.array(into[0], element)
        factor.identity(matrix, routine, rows, rows)
        with routine.loop(0, pivots.dims[-1]) as k:
            chosen = index.sub(arith.index_cast(ir.IndexType.get(), exchanges[k].value), 1)
            with routine.loop(0, rows) as i:
                held = matrix[i, k]
                matrix[i, k] = matrix[i, chosen]
                matrix[i, chosen] = held
        return [matrix.value]

    batch = pivots.dims[:-1]
    (made,) = solve.per_matrix([pivots], batch, [((rows, rows), element)], body)
    return [made, *(fill([0], element, 0) for _ in range(2))]


@register("aten.linalg_ldl_factor_ex")
def ldl_factor(node: Node) -> list[Tensor]:
    """``linalg_ldl_factor_ex(a, hermitian, check_errors)``."""
    return indefinite.ldl(_symmetric(node, 1))


@register("aten.linalg_ldl_solve")
def ldl_solve(node: Node) -> Tensor:
    """``linalg_ldl_solve(ld, pivots, b, hermitian)``."""
    factors, pivots, b = _symmetric(node, 3), node.tensor(1), node.tensor(2)
    batch = broadcast_dims([factors.dims[:-2], b.dims[:-2]])
    factors = broadcast_to(factors, [*batch, *factors.dims[-2:]])
    pivots = broadcast_to(pivots, [*batch, pivots.dims[-1]])
    return indefinite.ldl_solve(factors, pivots, broadcast_to(b, [*batch, *b.dims[-2:]]))


def _symmetric(node: Node, hermitian: int) -> Tensor:
    matrix = node.tensor(0)
    if matrix.element.kind == "complex" and node.integer(hermitian):
        raise Declined
    return matrix


@register("aten.geqrf")
def qr(node: Node) -> list[Tensor]:
    """``geqrf(a)``."""
    return factor.qr(node.tensor(0))


@register("aten.linalg_householder_product")
def householder_product(node: Node) -> Tensor:
    """``linalg_householder_product(a, tau)``."""
    return factor.householder_product(node.tensor(0), node.tensor(1))


@register("aten.ormqr")
def apply_q(node: Node) -> Tensor:
    """``ormqr(a, tau, c, left, transpose)``."""
    left, adjoint = bool(node.integer(3)), bool(node.integer(4))
    return factor.apply_q(
        node.tensor(0), node.tensor(1), node.tensor(2), left=left, adjoint=adjoint
    )


@register("aten._linalg_eigh")
def eigh(node: Node) -> list[Tensor]:
    """``_linalg_eigh(a, uplo, compute_v)``."""
    source = node.tensor(0)
    vectors, values, _ = eigen.eigh(source, lower=node.text(1).upper() == "L")
    return [values, vectors if node.integer(2) else fill([0], source.element, 0)]


@register("aten._linalg_svd")
def svd(node: Node) -> list[Tensor]:
    """``_linalg_svd(a, full_matrices, compute_uv, driver)``."""
    source = node.tensor(0)
    if not all(isinstance(size, int) for size in source.dims[-2:]):
        raise Declined
    values, left, right, _ = eigen.svd(source, full=bool(node.integer(1)))
    if node.integer(2):
        return [left, values, right]
    nothing = fill([0], source.element, 0)
    return [nothing, values, nothing]


@register("aten.linalg_eig")
def eig(node: Node) -> list[Tensor]:
    """``linalg_eig(a)``: values and right vectors, complex."""
    values, _, vectors, _ = eigenvectors.eig(node.tensor(0), left=False, right=True)
    return [values, vectors]


@register("aten._linalg_eigvals")
def eigenvalues(node: Node) -> Tensor:
    """``_linalg_eigvals(a)``."""
    return eigenvectors.eig(node.tensor(0), left=False, right=False)[0]
