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
