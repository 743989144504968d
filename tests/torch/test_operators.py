"""Operators that this frontend lowers itself, many in one program, against eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

import iree_frontend_torch

X = torch.tensor([[0.0, 1.0, -2.5], [3.0, 0.0, float("nan")]])
SQUARE = torch.tensor([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 5.0]]).expand(2, 3, 3) * 1.0
POSITIVE = torch.linspace(0.1, 12, 40)


def selections(x: torch.Tensor) -> list[Any]:
    return [
        torch.nonzero(x), torch.masked_select(x, x > 0), x[x < 1],
        *torch.unique(x.nan_to_num(), return_inverse=True, return_counts=True),
        *torch.unique_consecutive(x.flatten().nan_to_num(), return_counts=True),
    ]  # fmt: skip


def writes(x: torch.Tensor) -> list[Any]:
    mask = x > 0
    values = torch.arange(1.0, 3.0)
    place = torch.tensor([[0, 0, 1]])
    source = torch.ones(1, 3)
    y = x.nan_to_num()
    return [
        torch.index_put(y, (mask,), values), torch.index_put(y, (mask,), values, accumulate=True),
        y.masked_scatter(mask, values), y.scatter_add(0, place, source),
        y.scatter_reduce(0, place, source, "amax", include_self=False),
        y.scatter_reduce(0, place, source, "mean"),
    ]  # fmt: skip


def comparisons(x: torch.Tensor) -> list[Any]:
    constant = torch.full([3], 2.5)
    return [
        torch.where(constant > 3, x, 1.0), x == x, x.isfinite(), x.signbit(), torch.fmax(x, -x),
        x.view(torch.int32), torch.full([3], 3).pow(torch.arange(3)), x.to(torch.int64).clamp(0.5),
        torch.tensor(2.0, dtype=torch.float64) + x,
    ]  # fmt: skip


def pools(x: torch.Tensor) -> list[Any]:
    image = x.nan_to_num().repeat(1, 3, 3)[:, :5, :7]
    return [
        *torch.nn.functional.adaptive_max_pool2d(image, (3, 4), return_indices=True),
        torch.nn.functional.avg_pool2d(image, 2),
        torch.nn.functional.embedding_bag(
            torch.tensor([0, 1, 1]), x.nan_to_num(), torch.tensor([0, 2])
        ),
    ]  # fmt: skip


def factorisations(a: torch.Tensor) -> list[Any]:
    values, vectors = torch.linalg.eigh(a)
    left, singular, right = torch.linalg.svd(a, full_matrices=False)
    indefinite = a - 2 * torch.eye(3).flip(0)
    factors, pivots = torch.linalg.ldl_factor(indefinite)
    return [
        factors, pivots, torch.linalg.ldl_solve(factors, pivots, a),
        torch.linalg.eigvals(torch.cat([a, a.flip(-1).cumsum(-1)])),
        *torch.linalg.lu_factor(a), *torch.linalg.qr(a), torch.linalg.inv(a),
        torch.linalg.solve(a, a[..., 0]), torch.linalg.det(a), *torch.linalg.slogdet(a),
        values, (vectors * values.unsqueeze(-2)) @ vectors.mT,
        (left * singular.unsqueeze(-2)) @ right, torch.linalg.matrix_exp(0.1 * a),
    ]  # fmt: skip


def special(x: torch.Tensor) -> list[Any]:
    return [
        torch.special.i0e(x), torch.special.i1(x / 4), torch.special.bessel_j0(x),
        torch.special.bessel_y1(x), torch.special.modified_bessel_k0(x), torch.special.erfcx(x),
        torch.erfinv(x / 13), torch.polygamma(2, x),
        torch.special.chebyshev_polynomial_t(x / 8, torch.tensor(5)),
    ]  # fmt: skip


def transforms(x: torch.Tensor) -> list[Any]:
    image = x.nan_to_num()
    found = torch.fft.fft2(torch.nn.functional.pad(torch.complex(image, image), (0, 1)))
    return [found.real, found.imag, found.abs(), torch.fft.irfft2(torch.fft.rfft2(image), (2, 3))]


def resampled(x: torch.Tensor) -> list[Any]:
    image = x.reshape(1, 2, 4, 5)
    volume, grid = x.reshape(1, 2, 2, 2, 5), x.reshape(-1)[:36].reshape(1, 2, 2, 3, 3) / 12
    return [
        torch.nn.functional.interpolate(image, (3, 2), mode="bilinear", antialias=True),
        torch.nn.functional.interpolate(image, (2, 7), mode="bicubic", antialias=True),
        torch.nn.functional.grid_sample(volume, grid, "bilinear", "reflection", True),
        torch.nn.functional.grid_sample(volume, grid, "nearest", "zeros", False),
    ]  # fmt: skip


def counted(x: torch.Tensor) -> list[Any]:
    return [
        *torch.histogram(x, 7, density=True), *torch.histogram(x, torch.tensor([1.0, 2.5, 9.0])),
        torch.segment_reduce(x, "mean", lengths=torch.tensor([3, 0, 37]), unsafe=True),
        torch.special.gammainc(x.flip(0), x), torch.special.gammaincc(x, x),
    ]  # fmt: skip


SLOW = (resampled, counted, factorisations, special, transforms)
CASES = [
    pytest.param(function, x, marks=[pytest.mark.slow] if function in SLOW else [])
    for function, x in (
        (selections, X), (writes, X), (comparisons, X), (pools, X), (factorisations, SQUARE),
        (special, POSITIVE), (transforms, X), (resampled, POSITIVE), (counted, POSITIVE),
    )
]  # fmt: skip


@pytest.mark.parametrize("function,x", CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_operators(function: Callable[[torch.Tensor], Sequence[Any]], x: torch.Tensor) -> None:
    program = iree_frontend_torch.export(function, x, target="llvm-cpu", device="local-sync")
    found, wanted = program(x), function(x)
    for number, (value, reference) in enumerate(
        zip(pytree.tree_leaves(found), pytree.tree_leaves(wanted), strict=True)
    ):
        torch.testing.assert_close(
            value, reference, rtol=1e-4, atol=1e-4, equal_nan=True,
            msg=lambda text, number=number: f"result {number}: {text}",
        )  # fmt: skip
