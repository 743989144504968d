"""Decompositions of histograms and of reductions of segments."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


def _bounds(x: Tensor, given: Any) -> tuple[Tensor, Tensor]:
    """Return the outer edges: those given, or the extrema of ``x`` [n], never equal."""
    if given is not None:
        low, high = (torch.full([], value, dtype=x.dtype) for value in given)
    elif x.shape[0] == 0:
        low, high = torch.zeros([], dtype=x.dtype), torch.ones([], dtype=x.dtype)
    else:
        low, high = x.amin(), x.amax()
    equal = low == high
    return torch.where(equal, low - 0.5, low), torch.where(equal, high + 0.5, high)


def _edges(x: Tensor, bins: int, given: Any) -> Tensor:
    low, high = _bounds(x, given)
    step = (high - low) / bins
    number = torch.arange(bins + 1, dtype=x.dtype)
    rising, falling = low + number * step, high - (bins - number) * step
    return torch.where(number < (bins + 1) // 2, rising, falling)


def _counted(
    columns: list[Tensor], edges: list[Tensor], weight: Tensor | None, density: bool
) -> Tensor:
    """Count points, a coordinate [n] per dimension, in the cells between the edges."""
    kind = columns[0].dtype
    flat = torch.zeros(columns[0].shape, dtype=torch.int64)
    valid = torch.ones(columns[0].shape, dtype=torch.bool)
    for column, edge in zip(columns, edges, strict=True):
        bins = edge.shape[0] - 1
        number = (column.unsqueeze(1) >= edge).sum(1) - 1
        flat = flat * bins + number.clamp(0, bins - 1)
        valid = valid & (column >= edge[0]) & (column <= edge[bins])
    share = torch.ones_like(columns[0]) if weight is None else weight.reshape(-1).to(kind)
    sizes = [edge.shape[0] - 1 for edge in edges]
    hist = torch.zeros([math.prod(sizes)], dtype=kind)
    hist = hist.scatter_add(0, flat, torch.where(valid, share, 0.0)).reshape(sizes)
    if not density:
        return hist
    total = hist.sum()
    for axis, edge in enumerate(edges):
        width = (edge[1:] - edge[:-1]).reshape([-1] + [1] * (len(edges) - 1 - axis))
        hist = hist / width
    return hist / total


@register(aten.histogram.bin_ct)
def _histogram_of_count(
    x: Tensor, bins: int = 100, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    flat = x.reshape(-1)
    edges = _edges(flat, bins, range)
    return _counted([flat], [edges], weight, density), edges


@register(aten.histogram.bins_tensor)
def _histogram_of_edges(
    x: Tensor, bins: Tensor, *, weight: Any = None, density: bool = False
) -> Any:
    return _counted([x.reshape(-1)], [bins], weight, density), bins.clone()


def _columns(x: Tensor) -> list[Tensor]:
    points = x.reshape(-1, x.shape[-1])
    return [points[:, n] for n in range(points.shape[1])]


@register(aten._histogramdd_bin_edges.default)
def _edges_of_each(
    x: Tensor, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> list[Tensor]:
    pairs = [None] * len(bins) if range is None else list(zip(range[::2], range[1::2], strict=True))
    return [_edges(c, n, pair) for c, n, pair in zip(_columns(x), bins, pairs, strict=True)]


@register(aten._histogramdd_from_bin_cts.default)
def _cells_of_counts(
    x: Tensor, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Tensor:
    return _counted(_columns(x), _edges_of_each(x, bins, range=range), weight, density)


@register(aten._histogramdd_from_bin_tensors.default)
def _cells_of_edges(x: Tensor, bins: Any, *, weight: Any = None, density: bool = False) -> Tensor:
    return _counted(_columns(x), list(bins), weight, density)


_SEGMENTS = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}


@register(aten.segment_reduce.default)
def _segment_reduce(
    data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
    offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False, initial: Any = None,
) -> Any:  # fmt: skip
    """Reduce runs of rows along the first dimension."""
    if axis or (lengths is None and offsets is None):
        return NotImplemented
    if offsets is not None:
        starts, ends = offsets[:-1], offsets[1:]
    else:
        assert lengths is not None
        ends = lengths.cumsum(0)
        starts = ends - lengths
    row = torch.arange(data.shape[0])
    inside = (row >= starts.unsqueeze(1)) & (row < ends.unsqueeze(1))
    inside = inside.reshape([*inside.shape, *[1] * (data.dim() - 1)])
    start = _SEGMENTS[reduce] if initial is None else initial
    values = torch.where(inside, data.unsqueeze(0), _SEGMENTS[reduce])
    if reduce in ("max", "min"):
        found = values.amax(1) if reduce == "max" else values.amin(1)
        bound = torch.full_like(found, start)
        return torch.maximum(found, bound) if reduce == "max" else torch.minimum(found, bound)
    if reduce == "prod":
        return values.prod(1) * start
    total = values.sum(1) + start
    if reduce == "sum":
        return total
    count = (ends - starts).reshape([-1, *[1] * (data.dim() - 1)])
    empty = math.nan if initial is None else initial
    return torch.where(count == 0, empty, total / count.clamp(min=1))
