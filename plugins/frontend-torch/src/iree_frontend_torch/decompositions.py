"""Which operators are taken apart on the torch side, and how: the table for run_decompositions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

_OWN: dict[OpOverload, Callable[..., Any]] = {}


@functools.cache
def table() -> dict[OpOverload, Callable[..., Any]]:
    """Return torch's core decompositions, those that torch-mlir asks for, and our own."""
    from torch_mlir.extras.fx_decomp_util import get_decomposition_table

    # Each enters its own.
    from iree_frontend_torch import (  # noqa: F401
        complex_numbers,
        contractions,
        elementwise,
        gamma,
        histograms,
        indexing,
        linear_algebra,
        ordering,
        pooling,
        resampling,
        special,
    )

    found = {**get_decomposition_table(), **_lacking(), **_OWN}
    for operator in _ALONG_DIMENSIONS:
        found[operator] = _with_dimension(operator, found.get(operator))
    for operator, function in complex_numbers.OPERATORS.items():
        found[operator] = complex_numbers.preferred(function, found.get(operator))
    return found


def _lacking() -> dict[OpOverload, Callable[..., Any]]:
    """Return torch's decompositions of operators that the torch dialect does not have.

    The Fourier transforms it has, but converts only in part: they end in three primitives.
    """
    from torch._decomp import core_aten_decompositions, decomposition_table
    from torch_mlir.dialects import torch as dialect  # noqa: F401  # registers the operations

    from iree_frontend_torch.exporting import context

    known = context()
    found = {}
    for op, function in {**decomposition_table, **core_aten_decompositions()}.items():
        if not isinstance(op, OpOverload) or op.namespace != "aten":
            continue
        overload = "" if op._overloadname == "default" else f".{op._overloadname}"
        name = op._schema.name.partition("::")[2]
        if _is_taken_apart(name) or not known.is_registered_operation(
            f"torch.aten.{name}{overload}"
        ):
            found[op] = function
    return {op: f for op, f in found.items() if op._schema.name not in _KEPT}


def _is_taken_apart(name: str) -> bool:
    return name in _TAKEN_APART or name.startswith("fft_") or name.endswith("_copy")


_TAKEN_APART = frozenset({
    "stft", "istft", "linalg_norm", "isfinite", "linalg_det", "linalg_slogdet", "det", "slogdet",
    "logdet",
})  # fmt: skip
# Operators that the core lowers itself although the dialect lacks them.
_KEPT = frozenset({
    "aten::_fft_c2c", "aten::_fft_r2c", "aten::_fft_c2r", "aten::linalg_cholesky_ex",
    "aten::kthvalue", "aten::cummax", "aten::cummin", "aten::linalg_solve_triangular",
    "aten::linalg_lu_factor_ex", "aten::geqrf", "aten::linalg_householder_product", "aten::ormqr",
    "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_consecutive",
    "aten::_linalg_eigh", "aten::_linalg_svd", "aten::linalg_eig", "aten::_linalg_eigvals",
})  # fmt: skip


def _with_dimension(
    operator: OpOverload, decomposition: Callable[..., Any] | None
) -> Callable[..., Any]:
    """Give tensors of rank 0 a dimension to work along, and take it from the results again."""

    def decomposed(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if tensor.dim():
            return decomposition(tensor, *args, **kwargs) if decomposition else NotImplemented
        others = pytree.tree_map_only(torch.Tensor, lambda t: t.reshape(1), (args, kwargs))
        found = operator(tensor.reshape(1), *others[0], **others[1])
        return pytree.tree_map_only(torch.Tensor, lambda t: t.reshape(()), found)

    return decomposed


def register(*operators: OpOverload) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a decomposition; it may return NotImplemented for cases that it leaves alone."""

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        for operator in operators:
            _OWN[operator] = function
        return function

    return keep


aten = torch.ops.aten
_ALONG_DIMENSIONS = (
    aten.cumsum.default, aten.cumprod.default, aten.logcumsumexp.default, aten.cummax.default,
    aten.cummin.default, aten.amax.default, aten.amin.default, aten.any.dim, aten.all.dim,
    aten.argmax.default, aten.argmin.default, aten.sort.default, aten.sort.stable,
    aten.topk.default, aten.max.dim, aten.min.dim, aten.kthvalue.default, aten.median.dim,
    aten.gather.default, aten.nanmedian.dim, aten.prod.dim_int,
)  # fmt: skip
"""Operators that torch-mlir converts only for tensors with dimensions."""


@register(aten.empty_permuted.default)
def _empty_permuted(size: Any, order: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    return torch.empty(size, dtype=dtype, device=device)


@register(torch.ops.prims.copy_strided.default)
def _copy_strided(tensor: torch.Tensor, strides: Any) -> torch.Tensor:
    return tensor.clone()


@register(aten.empty_strided.default)
def _empty_strided(size: Any, stride: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    return torch.empty(size, dtype=dtype, device=device)
