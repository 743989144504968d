"""Decompositions of resizing with antialiasing and of sampling volumes at given places."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


def _triangle(x: Tensor) -> Tensor:
    return (1.0 - x.abs()).clamp(min=0.0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2."""
    size = x.abs()
    near = (1.5 * size - 2.5) * size * size + 1.0
    far = ((-0.5 * size + 2.5) * size - 4.0) * size + 2.0
    return torch.where(size < 1.0, near, torch.where(size < 2.0, far, 0.0))


def _weights(
    length: Any, count: Any, align: bool, factor: float | None, radius: float, kernel: Callable
) -> Tensor:
    """Return the share of each of ``length`` pixels in each of ``count`` [count, length]."""
    if align:
        scale = (length - 1) / (count - 1) if count > 1 else 0.0
    else:
        scale = 1.0 / factor if factor else length / count
    spread = max(scale, 1.0)
    centre = (torch.arange(count).unsqueeze(1) + 0.5) * scale
    pixel = torch.arange(length).unsqueeze(0)
    first = (centre - radius * spread + 0.5).trunc().clamp(min=0)
    last = (centre + radius * spread + 0.5).trunc().clamp(max=length)
    values = kernel((pixel - centre + 0.5) / spread)
    values = torch.where((pixel >= first) & (pixel < last), values, 0.0)
    return values / values.sum(1, keepdim=True)


def _antialiased(
    x: Tensor, size: Any, align: bool, factors: Any, radius: float, kernel: Callable
) -> Any:
    if not x.is_floating_point():
        return NotImplemented
    rows, columns = (
        _weights(x.shape[axis], size[axis], align, factors[axis], radius, kernel).to(x.dtype)
        for axis in (-2, -1)
    )
    return rows @ (x @ columns.mT)


@register(aten._upsample_bilinear2d_aa.default)
def _bilinear(
    x: Tensor, size: Any, align: bool, scales_h: float | None = None, scales_w: float | None = None
) -> Any:
    return _antialiased(x, size, align, (scales_h, scales_w), 1.0, _triangle)


@register(aten._upsample_bicubic2d_aa.default)
def _bicubic(
    x: Tensor, size: Any, align: bool, scales_h: float | None = None, scales_w: float | None = None
) -> Any:
    return _antialiased(x, size, align, (scales_h, scales_w), 2.0, _cubic)


_NEAREST = 1
_BORDER, _REFLECTION = 1, 2


def _reflected(place: Tensor, low: float, high: float) -> Tensor:
    span = high - low
    if span == 0:
        return torch.zeros_like(place)
    away = (place - low).abs()
    rest = away - (away / span).floor() * span
    turned = (away / span).floor() % 2 == 1
    return torch.where(turned, high - rest, low + rest)


def _places(place: Tensor, length: int, padding: int, align: bool) -> Tensor:
    """Return coordinates of pixels for coordinates from -1 to 1."""
    place = (place + 1) * 0.5 * (length - 1) if align else ((place + 1) * length - 1) * 0.5
    if padding == _REFLECTION:
        low, high = (0.0, length - 1.0) if align else (-0.5, length - 0.5)
        place = _reflected(place, low, high)
    return place.clamp(0, length - 1) if padding in (_BORDER, _REFLECTION) else place


@register(aten.grid_sampler_3d.default)
def _sample_volume(x: Tensor, grid: Tensor, mode: int, padding: int, align: bool) -> Tensor:
    """Sample x [n, c, d, h, w] at grid [n, ..., 3], whose coordinates are those of w, h and d."""
    batch, channels, *sizes = x.shape
    flat = x.reshape(batch, channels, -1)
    where = [_places(grid[..., 2 - n], sizes[n], padding, align) for n in range(3)]
    lower = [p.round() if mode == _NEAREST else p.floor() for p in where]
    total = None
    for corner in itertools.product((0, 1), repeat=0 if mode == _NEAREST else 3):
        corner = corner or (0, 0, 0)
        number = torch.zeros(grid.shape[:-1], dtype=torch.int64)
        share = torch.ones(grid.shape[:-1], dtype=x.dtype)
        for place, low, step, size in zip(where, lower, corner, sizes, strict=True):
            position = low + step
            inside = (position >= 0) & (position <= size - 1)
            number = number * size + position.clamp(0, size - 1).to(torch.int64)
            near = 1.0 - (place - position).abs() if mode != _NEAREST else torch.ones_like(place)
            share = share * torch.where(inside, near, 0.0)
        index = number.reshape(batch, 1, -1).expand(batch, channels, -1)
        part = flat.gather(2, index) * share.reshape(batch, 1, -1)
        total = part if total is None else total + part
    assert total is not None
    return total.reshape(batch, channels, *grid.shape[1:-1])
