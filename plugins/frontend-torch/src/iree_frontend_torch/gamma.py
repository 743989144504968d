"""Decompositions of the regularised incomplete gamma functions, computed in double precision.

Sources: Abramowitz and Stegun, Handbook of Mathematical Functions 6.5.3, 6.5.29; Takahasi and Mori
1974, Double exponential formulas for numerical integration. As many terms as are taken give single
precision where a is below 200.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten
_TERMS = 128
_STEP, _FIRST, _LAST = 0.1, -36, 64


def _lower_series(a: Tensor, x: Tensor) -> Tensor:
    """Return P(a, x) by its power series, for x < a + 1."""
    n = torch.arange(1, _TERMS, dtype=a.dtype)
    terms = (x.unsqueeze(-1) / (a.unsqueeze(-1) + n)).cumprod(-1)
    return (1.0 + terms.sum(-1)) * _weight(a, x) / a


def _upper_integral(a: Tensor, x: Tensor) -> Tensor:
    """Return Q(a, x), for x >= a + 1: the integral of e^-v (1 + v / x)^(a - 1) over v >= 0, by the
    trapezoidal rule in s, where v = exp(s - exp(-s))."""
    s = torch.arange(_FIRST, _LAST, dtype=a.dtype) * _STEP
    v = (s - (-s).exp()).exp()
    growth = (a - 1.0).unsqueeze(-1) * (v / x.unsqueeze(-1)).log1p()
    values = (growth - v).exp() * (v * (1.0 + (-s).exp()) * _STEP)
    return values.sum(-1) * _weight(a, x) / x


def _weight(a: Tensor, x: Tensor) -> Tensor:
    """Return x^a e^-x / gamma(a)."""
    return (a * x.log() - x - torch.lgamma(a)).exp()


def _both(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return P and Q of positive finite arguments."""
    left = x < a + 1.0
    small = _lower_series(a, torch.where(left, x, a))
    large = _upper_integral(a, torch.where(left, a + 2.0, x))
    return torch.where(left, small, 1.0 - large), torch.where(left, 1.0 - small, large)


def _regularised(a: Tensor, x: Tensor, *, upper: bool) -> Tensor:
    kind = torch.promote_types(torch.result_type(a, x), torch.float32)
    a, x = torch.broadcast_tensors(a.double(), x.double())
    inside = (a > 0) & (x > 0) & (a < math.inf) & (x < math.inf)
    one = torch.ones_like(a)
    value = _both(torch.where(inside, a, one), torch.where(inside, x, one))[upper]
    beyond = torch.where(a == math.inf, x == math.inf, (a == 0) | (x > 0))
    lower = torch.where(beyond, one, torch.zeros_like(a))
    edge = 1.0 - lower if upper else lower
    unknown = (a < 0) | (x < 0) | a.isnan() | x.isnan()
    unknown = unknown | ((a == 0) & (x == 0)) | ((a == math.inf) & (x == math.inf))
    edge = torch.where(unknown, torch.full_like(a, math.nan), edge)
    return torch.where(inside, value, edge).to(kind)


@register(aten.igamma.default, torch.ops.prims.igamma.default)
def _igamma(a: Tensor, x: Tensor) -> Any:
    return _regularised(a, x, upper=False)


@register(aten.igammac.default, torch.ops.prims.igammac.default)
def _igammac(a: Tensor, x: Tensor) -> Any:
    return _regularised(a, x, upper=True)
