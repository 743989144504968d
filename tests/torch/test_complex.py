"""Complex numbers against eager PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import iree_frontend_torch


def arithmetic(x: torch.Tensor, y: torch.Tensor) -> list[Any]:
    z, w = torch.complex(x, y), torch.complex(y, x + 1)
    return [
        z * w + 1, z / w, 2.0 / z, z - 3 * w, -z, z.pow(3), z.pow(0.3), z.exp(), z.log(),
        z.sqrt(), z.sin(), z.tanh(), z.sum(), z.mean(1), z.prod(1), z.cumsum(1), z @ w.mT,
        torch.nn.functional.linear(z, w, w[:, 0]), z.abs(), z.angle(), z == w,
        torch.where(x > 0, z, w), z.masked_fill(y > 0, 0.0),
    ]  # fmt: skip


@pytest.mark.slow
def test_arithmetic_of_complex_numbers() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    program = iree_frontend_torch.export(arithmetic, x, y)
    for found, wanted in zip(program(x, y), arithmetic(x, y), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
