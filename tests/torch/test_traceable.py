"""Functions that ``torch.export`` alone refuses, against eager PyTorch."""

from __future__ import annotations

import torch

import iree_frontend_torch


def test_functions_that_look_at_their_data() -> None:
    def statistics(x: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
        variance = x.square() + 0.1
        return [
            torch.cov(x), torch.cov(x, aweights=weights, correction=0), torch.corrcoef(x),
            torch.nn.functional.gaussian_nll_loss(x, x.flip(0), variance, full=True),
            torch.combinations(weights, 2),
        ]  # fmt: skip

    torch.manual_seed(0)
    x, weights = torch.randn(3, 5), torch.rand(5)
    program = iree_frontend_torch.export(statistics, x, weights)
    torch.testing.assert_close(program(x, weights), statistics(x, weights), rtol=1e-4, atol=1e-5)


def test_least_squares() -> None:
    def solve(a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
        found = torch.linalg.lstsq(a, b, driver="gelsd")
        return [found.solution, found.residuals, found.rank]

    torch.manual_seed(0)
    a, b = torch.randn(2, 6, 3), torch.randn(2, 6, 2)
    program = iree_frontend_torch.export(solve, a, b)
    torch.testing.assert_close(program(a, b), solve(a, b), rtol=1e-3, atol=1e-4)
