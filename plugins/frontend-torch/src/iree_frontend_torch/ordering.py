"""Decompositions of medians, searches, samples and running sums."""

from __future__ import annotations

from typing import Any

import torch

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


@register(aten.median.dim)
def _median(tensor: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    if not tensor.is_floating_point():
        return NotImplemented
    values, places = torch.sort(tensor, dim=dim, stable=True)
    middle = (tensor.shape[dim] - 1) // 2
    # NaNs are last in the order, and the median where there is one.
    has_nan = tensor.isnan().any(dim, keepdim=True)
    first_nan = tensor.isnan().to(torch.int64).argmax(dim, keepdim=True)
    value = torch.where(has_nan, float("nan"), values.narrow(dim, middle, 1))
    place = torch.where(has_nan, first_nan, places.narrow(dim, middle, 1))
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


@register(aten.searchsorted.Tensor)
def _searchsorted(
    sequence: torch.Tensor,
    values: torch.Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: torch.Tensor | None = None,
) -> torch.Tensor:
    if sorter is not None:
        sequence = torch.gather(sequence, -1, sorter)
    if sequence.dim() > 1:
        sequence = sequence.unsqueeze(-2)
    each = values.unsqueeze(-1)
    before = sequence <= each if right or side == "right" else sequence < each
    return before.sum(-1).to(torch.int32 if out_int32 else torch.int64)


@register(aten.median.default)
def _median_of_all(tensor: torch.Tensor) -> torch.Tensor:
    return torch.median(tensor.reshape(-1), 0).values


@register(aten.cumprod.default)
def _running_product(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    kind = dtype or (x.dtype if x.is_floating_point() or x.is_complex() else torch.int64)
    return aten.cumprod(x.to(kind), dim) if kind != x.dtype or dtype else NotImplemented


@register(torch.ops.prims.prod.default)
def _product(x: torch.Tensor, dims: Any, *, output_dtype: torch.dtype | None = None) -> Any:
    made = x if output_dtype is None else x.to(output_dtype)
    for dim in sorted(range(x.dim()) if dims is None else dims, reverse=True):
        made = made.prod(dim)
    return made


@register(aten.logcumsumexp.default)
def _logcumsumexp(x: torch.Tensor, dim: int) -> torch.Tensor:
    if x.is_complex() or not x.dim():
        return NotImplemented
    # In double the largest element of a row may exceed the others by 700 before they vanish.
    wide = x.double()
    largest = wide.amax(dim, keepdim=True)
    largest = torch.where(largest.isinf(), torch.zeros_like(largest), largest)
    return ((wide - largest).exp().cumsum(dim).log() + largest).to(x.dtype)


@register(aten.multinomial.default)
def _multinomial(
    weights: torch.Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> torch.Tensor:
    """Invert the cumulative distribution, or take the first in a race of exponential clocks."""
    # Efraimidis and Spirakis 2006 for samples without replacement.
    if replacement:
        reached = weights.cumsum(-1)
        drawn = torch.rand([*weights.shape[:-1], num_samples], dtype=weights.dtype)
        drawn = drawn * reached.narrow(-1, weights.shape[-1] - 1, 1)
        number = (reached.unsqueeze(-2) <= drawn.unsqueeze(-1)).sum(-1)
        return number.clamp(max=weights.shape[-1] - 1)
    clocks = -torch.rand(weights.shape, dtype=weights.dtype).log() / weights
    return torch.topk(clocks, num_samples, -1, largest=False).indices


@register(aten.randint.default)
def _random_integers_below(high: Any, size: Any, **options: Any) -> Any:
    return _random_integers(0, high, size, **options)


@register(aten.randint.low)
def _random_integers(low: Any, high: Any, size: Any, **options: Any) -> Any:
    """Draw integers, whatever type is to hold them: torch-mlir's way gives floats fractions."""
    kind = options.pop("dtype", None)
    if kind is None or not kind.is_floating_point:
        return NotImplemented
    return aten.randint.low(low, high, size, dtype=torch.int64, **options).to(kind)


@register(aten.scatter.reduce)
def _scatter_reduce(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, reduce: str
) -> torch.Tensor:
    return aten.scatter_reduce(x, dim, index, source, {"add": "sum", "multiply": "prod"}[reduce])


@register(aten.scatter.value_reduce)
def _scatter_value_reduce(
    x: torch.Tensor, dim: int, index: torch.Tensor, value: Any, *, reduce: str
) -> torch.Tensor:
    source = torch.full(index.shape, value, dtype=x.dtype, device=x.device)
    return _scatter_reduce(x, dim, index, source, reduce=reduce)


@register(aten.split_with_sizes.default)
def _split_with_sizes(x: torch.Tensor, sizes: Any, dim: int = 0) -> list[torch.Tensor]:
    parts, start = [], 0
    for size in sizes:
        parts.append(x.narrow(dim, start, size))
        start = start + size
    return parts


@register(aten.histc.default)
def _histogram(x: torch.Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> torch.Tensor:
    flat = x.reshape(-1)
    low = torch.full([], min, dtype=x.dtype)
    high = torch.full([], max, dtype=x.dtype)
    if min == max and flat.shape[0]:
        low, high = flat.amin(), flat.amax()
    equal = low == high
    low, high = torch.where(equal, low - 1, low), torch.where(equal, high + 1, high)
    number = ((flat - low) / (high - low) * bins).to(torch.int64).clamp(max=bins - 1)
    inside = (flat >= low) & (flat <= high)
    hits = (number.unsqueeze(0) == torch.arange(bins).unsqueeze(1)) & inside.unsqueeze(0)
    return hits.sum(1).to(x.dtype)


@register(aten.mode.default)
def _most_frequent(x: torch.Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """Return the smallest of the most frequent elements, and the last place it is at."""
    if not x.dim():
        return x.clone(), torch.zeros([], dtype=torch.int64)
    rows = x.movedim(dim, -1)
    count = (rows.unsqueeze(-1) == rows.unsqueeze(-2)).sum(-1)
    most = count == count.amax(-1, keepdim=True)
    highest = torch.full([], float("inf") if x.is_floating_point() else torch.iinfo(x.dtype).max)
    value = torch.where(most, rows, highest.to(x.dtype)).amin(-1, keepdim=True)
    place = torch.where(rows == value, torch.arange(rows.shape[-1]), 0).amax(-1, keepdim=True)
    if not keepdim:
        return value.squeeze(-1), place.squeeze(-1)
    return value.movedim(-1, dim), place.movedim(-1, dim)


@register(aten.nanmedian.dim)
def _nanmedian(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    if not x.is_floating_point() or not x.dim():
        return NotImplemented
    values, places = torch.sort(x, dim=dim, stable=True)
    count = x.isnan().logical_not().sum(dim, keepdim=True)
    middle = ((count - 1) // 2).clamp(min=0)
    value, place = values.gather(dim, middle), places.gather(dim, middle)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


@register(aten.nanmedian.default)
def _nanmedian_of_all(x: torch.Tensor) -> torch.Tensor:
    return torch.nanmedian(x.reshape(-1), 0).values


@register(aten._pdist_forward.default)
def _pairwise_distance(x: torch.Tensor, p: float = 2.0) -> torch.Tensor:
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1)
    difference = (x[first] - x[second]).abs()
    if p == 0:
        return (difference != 0).to(x.dtype).sum(-1)
    if p == float("inf"):
        return difference.amax(-1)
    return difference.pow(p).sum(-1).pow(1.0 / p)
