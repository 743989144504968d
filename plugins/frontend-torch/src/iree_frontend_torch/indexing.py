"""Decompositions of writing through masks, whose number of elements is only known at run time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


@register(aten.index_put.default, aten._unsafe_index_put.default)
def _index_put(x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    """Where the only index is a mask, choose by element between the tensor and the values.

    The n-th element that the mask takes gets the n-th of the values.
    """
    given = [(place, index) for place, index in enumerate(indices) if index is not None]
    if not any(_is_mask(index) for _, index in given):
        return NotImplemented
    if len(given) != 1:
        positions = _positions(indices)
        return (
            NotImplemented
            if positions is None
            else aten.index_put(x, positions, values, accumulate)
        )
    first, mask = given[0][0], given[0][1].to(torch.bool)
    after = x.dim() - first - mask.dim()
    spread = _spread(values, mask, after)
    chosen = mask.reshape([1] * first + list(mask.shape) + [1] * after)
    spread = spread.to(x.dtype)
    return torch.where(chosen, x + spread if accumulate else spread, x)


def _is_mask(index: Tensor) -> bool:
    return index.dtype in (torch.bool, torch.uint8)


def _positions(indices: Any) -> list[Tensor | None] | None:
    """Return indices with positions for masks; the other indices tell how many each takes.

    None where they do not.
    """
    counts = [i.shape[0] for i in indices if i is not None and not _is_mask(i) and i.dim() == 1]
    masks = [i for i in indices if i is not None and _is_mask(i)]
    if not counts or any(mask.dim() != 1 for mask in masks):
        return None
    count = max(counts)

    def position(mask: Tensor) -> Tensor:
        order = torch.sort((mask == 0).to(torch.int32), stable=True).indices
        return order.narrow(0, 0, count)

    return [position(i) if i is not None and _is_mask(i) else i for i in indices]


@register(aten.index.Tensor)
def _index(x: Tensor, indices: Any) -> Any:
    """Take elements through masks beside other indices."""
    if not any(i is not None and _is_mask(i) for i in indices):
        return NotImplemented
    if len(indices) == 1 and indices[0].dim() == x.dim():
        return aten.masked_select(x, indices[0].to(torch.bool))
    positions = _positions(indices)
    return NotImplemented if positions is None else aten.index(x, positions)


def _spread(values: Tensor, mask: Tensor, after: int) -> Tensor:
    """Return the values at the elements of the mask that take them; of any value elsewhere."""
    place = values.dim() - 1 - after
    if place < 0:
        return values
    if isinstance(values.shape[place], int) and values.shape[place] == 1:
        return values.reshape(
            [*values.shape[:place], *[1] * mask.dim(), *values.shape[place + 1 :]]
        )
    flat = mask.reshape(-1)
    number = (flat.to(torch.int64).cumsum(0) - 1).clamp(min=0)
    taken = values.index_select(place, number)
    return taken.reshape([*values.shape[:place], *mask.shape, *values.shape[place + 1 :]])


@register(aten.masked_scatter.default)
def _masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(x.shape, mask.shape)
    x, mask = x.expand(shape), mask.expand(shape)
    number = (mask.reshape(-1).to(torch.int64).cumsum(0) - 1).clamp(min=0)
    taken = source.reshape(-1).index_select(0, number).reshape(shape)
    return torch.where(mask, taken, x)


@register(aten.scatter_reduce.two)
def _scatter_mean(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    if reduce != "mean":
        return NotImplemented
    total = aten.scatter_reduce(x, dim, index, source, "sum", include_self=include_self)
    start = torch.ones_like(x) if include_self else torch.zeros_like(x)
    count = aten.scatter_add(start, dim, index, torch.ones_like(source)).clamp(min=1)
    return total / count if x.is_floating_point() else total.div(count, rounding_mode="floor")


@register(aten.as_strided.default)
def _as_strided(x: Tensor, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    """Read the elements one by one where torch-mlir's way, for known sizes only, does not do."""
    known = all(isinstance(n, int) for n in (*x.shape, *size, *stride, storage_offset or 0))
    if known and not x.dim() and not storage_offset and math.prod(size) == 1:
        return x.reshape(size)
    if known or not x.is_contiguous():
        return NotImplemented
    place = torch.full([], storage_offset or 0, dtype=torch.int64)
    for count, step in zip(size, stride, strict=True):
        place = place.unsqueeze(-1) + torch.arange(count) * step
    return x.reshape(-1)[place.reshape(-1)].reshape(size)


@register(aten.resize.default)
def _resize(x: Tensor, size: Any, *, memory_format: Any = None) -> Tensor:
    """Keep the first elements; what PyTorch leaves undefined is zero."""
    count, flat = math.prod(size), x.reshape(-1)
    if count > flat.shape[0]:
        flat = torch.cat([flat, flat.new_zeros([count - flat.shape[0]])])
    return flat.narrow(0, 0, count).reshape(size)


@register(aten.diagonal_scatter.default)
def _diagonal_scatter(
    x: Tensor, source: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    y = x.movedim((dim1, dim2), (-2, -1))
    rows, columns = torch.arange(y.shape[-2]).unsqueeze(1), torch.arange(y.shape[-1]).unsqueeze(0)
    here = columns - rows == offset
    place = (rows if offset >= 0 else columns).expand(here.shape).clamp(max=source.shape[-1] - 1)
    spread = source.index_select(-1, place.reshape(-1)).unflatten(-1, here.shape)
    return torch.where(here, spread, y).movedim((-2, -1), (dim1, dim2))


@register(aten.as_strided_scatter.default)
def _as_strided_scatter(
    x: Tensor, source: Tensor, size: Any, stride: Any, storage_offset: Any = None
) -> Any:
    if not x.is_contiguous():
        return NotImplemented
    place = torch.full([], storage_offset or 0, dtype=torch.int64)
    for count, step in zip(size, stride, strict=True):
        place = place.unsqueeze(-1) + torch.arange(count) * step
    return x.reshape(-1).scatter(0, place.reshape(-1), source.reshape(-1)).reshape(x.shape)


@register(aten.index_reduce.default)
def _index_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    if not x.dim():
        row, place, values = (t.reshape(1) for t in (x, index, source))
        made = aten.scatter_reduce(row, 0, place, values, reduce, include_self=include_self)
        return made.reshape(())
    shape = [1] * x.dim()
    shape[dim] = index.shape[0]
    each = index.to(torch.int64).reshape(shape).expand(source.shape)
    return aten.scatter_reduce(x, dim, each, source, reduce, include_self=include_self)


@register(aten.put.default)
def _put(x: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    flat = x.reshape(-1)
    place = torch.where(index < 0, index + flat.shape[0], index).reshape(-1)
    values = source.reshape(-1)
    made = flat.scatter_add(0, place, values) if accumulate else flat.scatter(0, place, values)
    return made.reshape(x.shape)
