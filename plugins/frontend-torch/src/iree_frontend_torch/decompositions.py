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
