"""Decompositions of pooling whose windows differ in size, and of sums over bags of rows."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


def _window(size: Any, count: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return positions [count, longest] of the windows of adaptive pooling, and which are inside.

    Window o reaches from floor(o size / count) to below ceil((o + 1) size / count).
    """
    place = torch.arange(count, device=device)
    start = place * size // count
    end = ((place + 1) * size + count - 1) // count
    if isinstance(size, int) and isinstance(count, int):
        longest = max(-(-(o + 1) * size // count) - o * size // count for o in range(count))
    else:
        longest = (size + count - 1) // count + 1
    each = start.unsqueeze(1) + torch.arange(longest, device=device)
    return each.clamp(max=size - 1), each < end.unsqueeze(1)


def _windows(x: Tensor, sizes: list[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return windows [..., *sizes, n], whether elements are inside, their flat positions."""
    spatial = len(sizes)
    lead = x.dim() - spatial
    inside = position = None
    for axis, count in enumerate(sizes):
        size = x.shape[lead + 2 * axis]
        each, within = _window(size, count, x.device)
        taken = x.index_select(lead + 2 * axis, each.reshape(-1))
        x = taken.unflatten(lead + 2 * axis, each.shape)
        shape = [1] * (2 * spatial)
        shape[2 * axis : 2 * axis + 2] = list(each.shape)
        each, within = each.reshape(shape), within.reshape(shape)
        inside = within if inside is None else inside & within
        position = each if position is None else position * size + each
    assert inside is not None and position is not None
    outer = [lead + 2 * axis for axis in range(spatial)]
    order = [*range(lead), *outer, *(axis + 1 for axis in outer)]
    x = x.permute(order).flatten(lead + spatial)
    tail = [n - lead for n in order[lead:]]
    inside = inside.expand_as(position).permute(tail).flatten(spatial)
    return x, inside, position.permute(tail).flatten(spatial)


def _adaptive_max_pool(x: Tensor, sizes: Any) -> tuple[Tensor, Tensor]:
    values, inside, position = _windows(x, list(sizes))
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    values = torch.where(inside, values, torch.full([], lowest, dtype=x.dtype))
    best = values.argmax(-1, keepdim=True)
    place = position.expand(values.shape).gather(-1, best)
    return values.amax(-1), place.squeeze(-1)


@register(aten.adaptive_max_pool2d.default)
def _adaptive_max_pool2d(x: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    return _adaptive_max_pool(x, output_size)


@register(aten.adaptive_max_pool3d.default)
def _adaptive_max_pool3d(x: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    return _adaptive_max_pool(x, output_size)


def _adaptive_average_pool(x: Tensor, sizes: Any) -> Tensor:
    values, inside, _ = _windows(x, list(sizes))
    inside = inside.to(x.dtype)
    return (values * inside).sum(-1) / inside.sum(-1)


@register(aten._adaptive_avg_pool3d.default)
def _adaptive_average_pool3d(x: Tensor, output_size: Any) -> Tensor:
    return _adaptive_average_pool(x, output_size)


@register(aten._embedding_bag.default)
def _embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, ...]:
    """Sum (mode 0), average (1) or take the largest (2) of the rows of each bag."""
    # PyTorch's short way to a plain sum tells nothing of the bags.
    short = mode == 0 and padding_idx < 0 and weight.dtype in (torch.float32, torch.float16)
    if include_last_offset:
        offsets = offsets[:-1]
    places = torch.arange(indices.shape[0], device=indices.device)
    bag = (places.unsqueeze(1) >= offsets.unsqueeze(0)).sum(1) - 1
    bags = torch.arange(offsets.shape[0], device=indices.device)
    member = (bag.unsqueeze(0) == bags.unsqueeze(1)) & (indices != padding_idx).unsqueeze(0)
    size = member.sum(1)
    rows = weight[indices]
    which = bag.to(indices.dtype)
    which = which[:0] if short else which
    if mode == 2:
        lowest = torch.full([], -math.inf, dtype=weight.dtype)
        candidates = torch.where(member.unsqueeze(2), rows.unsqueeze(0), lowest)
        best, at = candidates.amax(1), candidates.argmax(1)
        empty = (size == 0).unsqueeze(1)
        return torch.where(empty, torch.zeros_like(best), best), which, size, indices[at]
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    total = member.to(rows.dtype) @ rows
    if mode == 1:
        total = total / size.clamp(min=1).unsqueeze(1).to(total.dtype)
    if short:
        size = torch.zeros_like(size)
    return total, which, size, size


@register(aten._embedding_bag_forward_only.default)
def _embedding_bag_forward_only(
    weight: Tensor, indices: Tensor, offsets: Tensor, *options: Any, **named: Any
) -> tuple[Tensor, ...]:
    total, which, size, largest = _embedding_bag(weight, indices, offsets, *options, **named)
    if which.shape[0] == 0 and indices.shape[0] != 0:
        size = largest = torch.zeros_like(offsets)
    return total, which, size, largest


def _batched(operator: Any, spatial: int) -> None:
    """Let a pooling operator take one image: give it a batch of one."""

    @register(operator)
    def decomposed(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if x.dim() != spatial + 1:
            return NotImplemented
        found = operator(x.unsqueeze(0), *args, **kwargs)
        if isinstance(found, Tensor):
            return found.squeeze(0)
        return tuple(part.squeeze(0) for part in found)


for _operator, _spatial in (
    (aten.avg_pool2d.default, 2), (aten.avg_pool3d.default, 3),
    (aten.max_pool2d_with_indices.default, 2), (aten.max_pool3d_with_indices.default, 3),
):  # fmt: skip
    _batched(_operator, _spatial)
