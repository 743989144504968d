"""Decompositions of linear algebra into the primitives that the compiler lowers.

Those are LU, QR and Cholesky factorisation, Hermitian and general eigenvalues, singular values,
products of reflectors and triangular systems. (Golub and Van Loan, Matrix Computations, 3.1 to
3.4, 5.2, 9.3.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


def _factors(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return aten.linalg_lu_factor_ex(a)


def _permutation(lu: Tensor, pivots: Tensor) -> Tensor:
    return aten.lu_unpack(lu, pivots, False, True)[0]


def _unit_lower(lu: Tensor) -> Tensor:
    rows, columns = lu.shape[-2:]
    size = min(rows, columns)
    return lu[..., :size].tril(-1) + torch.eye(rows, size, dtype=lu.dtype, device=lu.device)


@register(aten.lu_unpack.default)
def _lu_unpack(
    lu: Tensor, pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    if not unpack_data:
        return NotImplemented
    size = min(lu.shape[-2:])
    empty = lu.new_zeros([0])
    permutation = _permutation(lu, pivots) if unpack_pivots else empty
    return permutation, _unit_lower(lu), lu[..., :size, :].triu()


@register(aten.linalg_lu.default)
def _linalg_lu(a: Tensor, *, pivot: bool = True) -> Any:
    if not pivot:
        return NotImplemented
    lu, pivots, _ = _factors(a)
    return _lu_unpack(lu, pivots)


@register(aten.linalg_lu_solve.default)
def _lu_solve(
    lu: Tensor, pivots: Tensor, b: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    if not left:
        # x a = b is a^H x^H = b^H.
        return _lu_solve(lu, pivots, _adjoint(b), adjoint=not adjoint).mH
    permutation = _permutation(lu, pivots)
    if adjoint:
        y = aten.linalg_solve_triangular(_adjoint(lu), b, upper=False)
        x = aten.linalg_solve_triangular(_adjoint(lu), y, upper=True, unitriangular=True)
        return permutation @ x
    y = permutation.mT @ b
    y = aten.linalg_solve_triangular(lu, y, upper=False, unitriangular=True)
    return aten.linalg_solve_triangular(lu, y, upper=True)


def _adjoint(a: Tensor) -> Tensor:
    return a.mT.conj_physical() if a.is_complex() else a.mT


@register(aten._linalg_solve_ex.default)
def _solve(a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    vector = b.dim() == 1 or (a.dim() - 1 == b.dim() and b.shape == a.shape[:-1])
    lu, pivots, info = _factors(a)
    right = b.unsqueeze(-1) if vector else b
    x = _lu_solve(lu, pivots, right, left=left or vector)
    return x.squeeze(-1) if vector else x, lu, pivots, info


@register(aten.linalg_inv_ex.default)
def _inverse(a: Tensor, *, check_errors: bool = False) -> Any:
    lu, pivots, info = _factors(a)
    identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand(a.shape)
    return _lu_solve(lu, pivots, identity), info


def _exchanges(pivots: Tensor) -> Tensor:
    """Return 1 or -1 for an even or odd number of exchanges."""
    places = torch.arange(1, pivots.shape[-1] + 1, dtype=pivots.dtype, device=pivots.device)
    return 1 - 2 * ((pivots != places).sum(-1) % 2)


@register(aten._linalg_det.default)
def _determinant(a: Tensor) -> Any:
    lu, pivots, _ = _factors(a)
    diagonal = lu.diagonal(0, -2, -1)
    return diagonal.prod(-1) * _exchanges(pivots).to(a.dtype), lu, pivots


@register(aten._linalg_slogdet.default)
def _log_determinant(a: Tensor) -> Any:
    lu, pivots, _ = _factors(a)
    diagonal = lu.diagonal(0, -2, -1)
    sign = diagonal.sgn().prod(-1) * _exchanges(pivots).to(a.dtype)
    return sign, diagonal.abs().log().sum(-1), lu, pivots


@register(aten.linalg_qr.default)
def _qr(a: Tensor, mode: str = "reduced") -> Any:
    rows, columns = a.shape[-2:]
    size = min(rows, columns)
    factored, taus = aten.geqrf(a)
    if mode == "r":
        return a.new_zeros([0]), factored[..., :size, :].triu()
    if mode == "reduced":
        q = aten.linalg_householder_product(factored[..., :size], taus)
        return q, factored[..., :size, :].triu()
    vectors = factored[..., :size]
    if rows > size:
        rest = a.new_zeros([*a.shape[:-1], rows - size])
        vectors = torch.cat([vectors, rest], -1)
    return aten.linalg_householder_product(vectors, taus), factored.triu()


@register(aten.cholesky_solve.default)
def _cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    lower = _adjoint(factor) if upper else factor
    y = aten.linalg_solve_triangular(lower, b, upper=False)
    return aten.linalg_solve_triangular(_adjoint(lower), y, upper=True)


@register(aten.cholesky_inverse.default)
def _cholesky_inverse(factor: Tensor, upper: bool = False) -> Tensor:
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return _cholesky_solve(identity.expand(factor.shape), factor, upper)


@register(aten.triangular_solve.default)
def _triangular_solve(
    b: Tensor, a: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    matrix = a.mT if transpose else a
    x = aten.linalg_solve_triangular(
        matrix, b, upper=upper != transpose, unitriangular=unitriangular
    )
    return x, a.expand([*x.shape[:-2], *a.shape[-2:]]).clone()


@register(aten.linalg_pinv.atol_rtol_tensor)
def _pseudo_inverse(
    a: Tensor, *, atol: Tensor | None = None, rtol: Tensor | None = None, hermitian: bool = False
) -> Tensor:
    if 0 in a.shape:
        return a.mT.clone()
    if hermitian:
        signed, left = aten._linalg_eigh(a, "L", True)
        values, right = signed.abs(), _adjoint(left)
        largest = values.amax(-1, keepdim=True)
    else:
        left, values, right = aten._linalg_svd(a, False, True)
        signed, largest = values, values[..., :1]
    absolute = values.new_zeros([]) if atol is None else atol
    if rtol is None:
        epsilon = torch.finfo(values.dtype).eps * max(a.shape[-2:])
        positive = absolute > 0
        relative = torch.where(positive, 0.0, epsilon).to(values.dtype)
    else:
        relative = rtol
    limit = torch.maximum(absolute.unsqueeze(-1), relative.unsqueeze(-1) * largest)
    inverse = torch.where(values > limit, 1 / signed, torch.zeros_like(values))
    return (_adjoint(right) * inverse.unsqueeze(-2)) @ _adjoint(left)


@register(aten.linalg_matrix_exp.default)
def _matrix_exponential(a: Tensor) -> Tensor:
    """Scale to a norm below 1/2, sum the series to double the precision's needs, and square."""
    if a.dtype == torch.float32:
        return _matrix_exponential(a.double()).to(a.dtype)
    norm = a.abs().sum(-2).amax(-1)
    steps = (norm * 2).log2().ceil().clamp(0, _SQUARINGS).to(torch.int32)
    scaled = a * torch.exp2(-steps.to(norm.dtype))[..., None, None]
    identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand(a.shape)
    total = identity
    for n in range(_TERMS, 0, -1):
        total = identity + scaled @ total / n
    for n in range(_SQUARINGS):
        total = torch.where((n < steps)[..., None, None], total @ total, total)
    return total


_TERMS = 14  # 0.5 ** 15 / 15! is 2e-17
_SQUARINGS = 16


@register(aten.linalg_vander.default)
def _vandermonde(x: Tensor, *, N: int | None = None) -> Tensor:
    count = x.shape[-1] if N is None else N
    columns = [torch.ones_like(x)]
    for _ in range(count - 1):
        columns.append(columns[-1] * x)
    return torch.stack(columns, -1)
