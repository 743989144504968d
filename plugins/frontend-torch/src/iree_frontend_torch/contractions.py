"""Decompositions of products, convolutions and attention, and of their gradients."""

from __future__ import annotations

import math
from typing import Any

import torch

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


@register(aten._scaled_dot_product_flash_attention_for_cpu.default)
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


@register(aten.convolution_backward.default)
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


@register(aten._cdist_forward.default)
def _cdist(x: torch.Tensor, y: torch.Tensor, p: float, mode: int | None) -> torch.Tensor:
    difference = (x.unsqueeze(-2) - y.unsqueeze(-3)).abs()
    if p == 0:
        return (difference != 0).to(x.dtype).sum(-1)
    if p == 1:
        return difference.sum(-1)
    if p == 2:
        return (difference * difference).sum(-1).sqrt()
    if p == float("inf"):
        return difference.amax(-1)
    return difference.pow(p).sum(-1).pow(1.0 / p)


@register(aten._scaled_mm.default)
def _scaled_product(
    a: torch.Tensor,
    b: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    scale_result: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    use_fast_accum: bool = False,
) -> Any:
    rows, columns = a.shape[0], b.shape[1]
    for scale, fitting in ((scale_a, (rows, 1)), (scale_b, (1, columns))):
        if scale.dtype != torch.float32 or (scale.numel() != 1 and tuple(scale.shape) != fitting):
            return NotImplemented  # a scale for each block
    product = a.float() @ b.float()
    product = product * scale_a.reshape(-1, 1) * scale_b.reshape(1, -1)
    if bias is not None:
        product = product + bias.float()
    kind = a.dtype if out_dtype is None else out_dtype
    if scale_result is not None and kind.itemsize == 1:
        product = product * scale_result
    return product.to(kind)


@register(aten.mm.default, aten.bmm.default)
def _narrow_product(a: torch.Tensor, b: torch.Tensor) -> Any:
    if a.dtype not in (torch.int8, torch.uint8, torch.int16):
        return NotImplemented
    # torch-mlir's conversion crashes on these; sums wrap around in either type alike.
    return torch.matmul(a.to(torch.int32), b.to(torch.int32)).to(a.dtype)


@register(aten._trilinear.default)
def _trilinear(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    expand_a: Any,
    expand_b: Any,
    expand_c: Any,
    sum_over: Any,
    unroll_dim: int = 1,
) -> torch.Tensor:
    product = None
    for tensor, axes in ((a, expand_a), (b, expand_b), (c, expand_c)):
        for axis in sorted(axes):
            tensor = tensor.unsqueeze(axis)
        product = tensor if product is None else product * tensor
    assert product is not None
    for axis in {*expand_a} & {*expand_b} & {*expand_c}:
        product = product.narrow(axis, 0, 0)  # no operand gives it a size
    return product.sum(list(sum_over)) if sum_over else product


@register(aten.conv_tbc.default)
def _conv_tbc(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pad: int = 0) -> Any:
    """Decompose the convolution over time [T, B, C] with a weight [K, C, F] to the usual one."""
    made = aten.convolution(
        x.permute(1, 2, 0), weight.permute(2, 1, 0), None, [1], [pad], [1], False, [0], 1
    )
    return made.permute(2, 0, 1) + bias


@register(aten._scaled_dot_product_flash_attention_for_cpu_backward.default)
def _attention_backward(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    dropout_p: float,
    is_causal: bool,
    *,
    attn_mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, ...]:
    """Compute the weights again, and the gradients from them (Dao et al. 2022, appendix B.2)."""
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    groups = query.shape[1] // key.shape[1]
    keys, values = (t.repeat_interleave(groups, 1) if groups > 1 else t for t in (key, value))
    scores = query @ keys.mT * factor
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = torch.where(allowed, scores, -math.inf)
    elif attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = torch.where(attn_mask, scores, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    to_scores = weights * (grad @ values.mT - (grad * out).sum(-1, keepdim=True)) * factor
    to_key, to_value = to_scores.mT @ query, weights.mT @ grad
    if groups > 1:
        to_key, to_value = (t.unflatten(1, (-1, groups)).sum(2) for t in (to_key, to_value))
    return to_scores @ keys, to_key, to_value


@register(aten.rms_norm.default)
def _rms_norm(
    x: torch.Tensor, sizes: Any, weight: torch.Tensor | None = None, eps: float | None = None
) -> torch.Tensor:
    """Divide by the root of the mean square of the last ``len(sizes)`` dimensions."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    least = torch.finfo(x.dtype).eps if eps is None else eps
    square = (wide * wide).mean(list(range(-len(sizes), 0)), keepdim=True)
    made = wide * torch.rsqrt(square + least)
    return (made if weight is None else made * weight).to(x.dtype)
