"""Decompositions of writing through masks, whose number of elements is only known at run time."""

from __future__ import annotations

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
    if len(given) != 1 or given[0][1].dtype not in (torch.bool, torch.uint8):
        return NotImplemented
    first, mask = given[0][0], given[0][1].to(torch.bool)
    after = x.dim() - first - mask.dim()
    spread = _spread(values, mask, after)
    chosen = mask.reshape([1] * first + list(mask.shape) + [1] * after)
    spread = spread.to(x.dtype)
    return torch.where(chosen, x + spread if accumulate else spread, x)


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
