"""Which operators are taken apart on the torch side, and how: the table for run_decompositions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

_OWN: dict[OpOverload, Callable[..., Any]] = {}


@functools.cache
def table() -> dict[OpOverload, Callable[..., Any]]:
    """Return torch's core decompositions, those that torch-mlir asks for, and our own."""
    from torch_mlir.extras.fx_decomp_util import get_decomposition_table

    return {**get_decomposition_table(), **_OWN}


def _register(*operators: OpOverload) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        for operator in operators:
            _OWN[operator] = function
        return function

    return keep


aten = torch.ops.aten


@_register(aten.empty_permuted.default)
def _empty_permuted(size: Any, order: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    return torch.empty(size, dtype=dtype, device=device)


@_register(torch.ops.prims.copy_strided.default)
def _copy_strided(tensor: torch.Tensor, strides: Any) -> torch.Tensor:
    return tensor.clone()


@_register(aten._scaled_dot_product_flash_attention_for_cpu.default)
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decompose to matrix products, with the result laid out in memory like the query.

    That is how the operator's own kernel lays it out, and views that follow rely on it; torch's
    decomposition has another order.
    """
    from torch._prims_common import compute_elementwise_output_logical_to_physical_perm as order_of

    output, weights = aten._scaled_dot_product_attention_math.default(
        query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal,
        dropout_mask=None, scale=scale, enable_gqa=query.size(1) != key.size(1),
    )  # fmt: skip
    order = order_of(torch.empty_like(query))[0]
    back = sorted(range(len(order)), key=order.__getitem__)
    return output.permute(order).contiguous().permute(back), weights


@_register(aten.convolution_backward.default)
def _convolution_backward(
    grad: torch.Tensor,
    data: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    output_mask: Any,
) -> tuple[torch.Tensor | None, ...]:
    """Decompose to convolutions: of the gradient with the weight, of the data with the gradient."""
    spatial = data.dim() - 2
    stride, padding, dilation = (_per_dimension(v, spatial) for v in (stride, padding, dilation))
    to_data = to_weight = to_bias = None
    if output_mask[0] and transposed:
        to_data = aten.convolution(
            grad, weight, None, stride, padding, dilation, False, [0] * spatial, groups
        )
    elif output_mask[0]:
        reached = [
            (grad.shape[2 + d] - 1) * stride[d] - 2 * padding[d]
            + dilation[d] * (weight.shape[2 + d] - 1) + 1
            for d in range(spatial)
        ]  # fmt: skip
        missing = [data.shape[2 + d] - reached[d] for d in range(spatial)]
        to_data = aten.convolution(
            grad, weight, None, stride, padding, dilation, True, missing, groups
        )
    if output_mask[1]:
        pair = (grad, data) if transposed else (data, grad)
        to_weight = _weight_gradient(*pair, weight, stride, padding, dilation, groups)
    if output_mask[2]:
        to_bias = grad.sum([0, *range(2, grad.dim())])
    return to_data, to_weight, to_bias


def _per_dimension(values: Any, spatial: int) -> list[int]:
    return list(values) * spatial if len(values) == 1 else list(values)


def _weight_gradient(
    data: torch.Tensor,
    grad: torch.Tensor,
    weight: torch.Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> torch.Tensor:
    """Return the correlation of data [N, G*C, ...] with grad [N, G*F, ...] as [G*F, C, ...]."""
    batch, channels = data.shape[0], data.shape[1] // groups
    split = data.reshape(batch, groups, channels, *data.shape[2:]).transpose(0, 2)
    images = split.reshape(channels, groups * batch, *data.shape[2:])
    made = aten.convolution(
        images, grad.transpose(0, 1), None, dilation, padding, stride, False,
        [0] * len(stride), groups,
    )  # fmt: skip
    for axis in range(2, weight.dim()):
        made = made.narrow(axis, 0, weight.shape[axis])
    return made.transpose(0, 1)
