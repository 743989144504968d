"""Which operators are taken apart on the torch side, and how: the table for run_decompositions."""

from __future__ import annotations

import functools
import math
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
    from iree_frontend_torch import indexing, linear_algebra, pooling, special  # noqa: F401

    found = {**get_decomposition_table(), **_lacking(), **_OWN}
    for operator in _ALONG_DIMENSIONS:
        found[operator] = _with_dimension(operator, found.get(operator))
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
    aten.gather.default,
)  # fmt: skip
"""Operators that torch-mlir converts only for tensors with dimensions."""


@register(aten.empty_permuted.default)
def _empty_permuted(size: Any, order: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    return torch.empty(size, dtype=dtype, device=device)


@register(torch.ops.prims.copy_strided.default)
def _copy_strided(tensor: torch.Tensor, strides: Any) -> torch.Tensor:
    return tensor.clone()


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


@register(aten.erfc.default)
def _erfc(x: torch.Tensor) -> torch.Tensor:
    # Numerical Recipes, 6.2.2: a Chebyshev fit with a relative error of 1.2e-7.
    z = x.abs()
    t = 1.0 / (1.0 + 0.5 * z)
    fit = torch.full_like(t, _ERFC[-1])
    for coefficient in reversed(_ERFC[:-1]):
        fit = fit * t + coefficient
    value = t * torch.exp(-z * z + fit)
    return torch.where(x >= 0, value, 2.0 - value)


_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398,
    1.48851587, -0.82215223, 0.17087277,
)  # fmt: skip


@register(aten.copysign.Tensor)
def _copysign(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    negative = (y < 0) | ((y == 0) & (1.0 / y < 0))
    return torch.where(negative, -x.abs(), x.abs())


@register(aten.hypot.default)
def _hypot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    larger, smaller = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    ratio = torch.where(larger == 0, torch.zeros_like(larger), smaller / larger)
    return torch.where(larger.isinf(), larger, larger * torch.sqrt(1 + ratio * ratio))


@register(aten.lgamma.default)
def _lgamma(x: torch.Tensor) -> torch.Tensor:
    # Lanczos's approximation with g = 7 and 9 terms, in double; reflection left of 1/2.
    wide = x.double()
    left = wide < 0.5
    z = torch.where(left, 1 - wide, wide) - 1
    series = torch.full_like(z, _LANCZOS[0])
    for n, coefficient in enumerate(_LANCZOS[1:], 1):
        series = series + coefficient / (z + n)
    t = z + 7.5
    right = 0.5 * math.log(2 * math.pi) + (z + 0.5) * t.log() - t + series.log()
    sine = torch.sin(math.pi * (wide - wide.floor())).abs()
    value = torch.where(left, math.log(math.pi) - sine.log() - right, right)
    return torch.where(wide.isinf(), wide.abs(), value).to(x.dtype)


_LANCZOS = (
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
    -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
    1.5056327351493116e-7,
)  # fmt: skip


@register(aten.digamma.default)
def _digamma(x: torch.Tensor) -> torch.Tensor:
    # Reflection left of 1/2, recurrence up to 7 and beyond, then the asymptotic series, in double.
    wide = x.double()
    left = wide < 0.5
    z = torch.where(left, 1 - wide, wide)
    value = torch.zeros_like(z)
    for _ in range(7):
        value = value - 1 / z
        z = z + 1
    inverse = 1 / (z * z)
    tail = inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse / 240)))
    value = value + z.log() - 0.5 / z - tail
    value = torch.where(left, value - math.pi / torch.tan(math.pi * wide), value)
    pole = (wide < 0) & (wide == wide.floor())
    return torch.where(pole, torch.full_like(wide, math.nan), value).to(x.dtype)


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


@register(aten._conj.default, aten._conj_physical.default)
def _conj(x: torch.Tensor) -> torch.Tensor:
    return torch.complex(aten.real(x), -aten.imag(x)) if x.is_complex() else x.clone()


@register(aten.median.default)
def _median_of_all(tensor: torch.Tensor) -> torch.Tensor:
    return torch.median(tensor.reshape(-1), 0).values


@register(aten.empty_strided.default)
def _empty_strided(size: Any, stride: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    return torch.empty(size, dtype=dtype, device=device)


@register(aten.logcumsumexp.default)
def _logcumsumexp(x: torch.Tensor, dim: int) -> torch.Tensor:
    if x.is_complex() or not x.dim():
        return NotImplemented
    # In double the largest element of a row may exceed the others by 700 before they vanish.
    wide = x.double()
    largest = wide.amax(dim, keepdim=True)
    largest = torch.where(largest.isinf(), torch.zeros_like(largest), largest)
    return ((wide - largest).exp().cumsum(dim).log() + largest).to(x.dtype)


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
    return product.sum(list(sum_over)) if sum_over else product


@register(aten.conv_tbc.default)
def _conv_tbc(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, pad: int = 0) -> Any:
    """Decompose the convolution over time [T, B, C] with a weight [K, C, F] to the usual one."""
    made = aten.convolution(
        x.permute(1, 2, 0), weight.permute(2, 1, 0), None, [1], [pad], [1], False, [0], 1
    )
    return made.permute(2, 0, 1) + bias


@register(aten.clamp.default)
def _clamp(x: torch.Tensor, low: Any = None, high: Any = None) -> Any:
    kinds = [torch.result_type(x, bound) for bound in (low, high) if bound is not None]
    kind = functools.reduce(torch.promote_types, kinds, x.dtype)
    return aten.clamp(x.to(kind), low, high) if kind != x.dtype else NotImplemented


@register(aten.signbit.default)
def _signbit(x: torch.Tensor) -> Any:
    if not x.is_floating_point():
        return x < 0 if x.dtype != torch.bool else torch.zeros_like(x)
    return x.view(_BITS[x.element_size()]) < 0


_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@register(aten.abs.default)
def _magnitude(x: torch.Tensor) -> Any:
    return torch.hypot(aten.real(x), aten.imag(x)) if x.is_complex() else NotImplemented


@register(aten.angle.default)
def _angle(x: torch.Tensor) -> torch.Tensor:
    if x.is_complex():
        return torch.atan2(aten.imag(x), aten.real(x))
    angle = torch.where(x < 0, math.pi, 0.0)
    return torch.where(x.isnan(), x, angle) if x.is_floating_point() else angle


@register(aten.sgn.default)
def _sgn(x: torch.Tensor) -> torch.Tensor:
    if not x.is_complex():
        return torch.sign(x)
    size = x.abs()
    scale = torch.where(size == 0, torch.zeros_like(size), 1 / size)
    return torch.complex(aten.real(x) * scale, aten.imag(x) * scale)


@register(aten.isfinite.default)
def _isfinite(x: torch.Tensor) -> torch.Tensor:
    if not (x.is_floating_point() or x.is_complex()):
        return torch.ones_like(x, dtype=torch.bool)
    return x.abs() < math.inf


@register(aten.eq.Tensor)
def _equal(x: torch.Tensor, y: torch.Tensor) -> Any:
    # torch-mlir takes anything to be equal to itself, NaN included.
    return x.isnan().logical_not() if x is y and x.is_floating_point() else NotImplemented


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


@register(aten.pow.Tensor_Tensor)
def _integer_power(base: torch.Tensor, exponent: torch.Tensor) -> Any:
    """Square and multiply; integers wrap around."""
    kind = torch.result_type(base, exponent)
    if kind.is_floating_point or kind.is_complex:
        return NotImplemented
    base, exponent = base.to(kind), exponent.to(kind)
    power, square, rest = torch.ones_like(base * exponent), base, exponent.clamp(min=0)
    for _ in range(6):
        power = torch.where(rest % 2 == 1, power * square, power)
        square, rest = square * square, rest // 2
    # Of other bases no power as high or negative is left in the type.
    sign = torch.where(exponent % 2 == 0, base * base, base)
    unit = base.abs() == 1
    return torch.where((exponent < 0) | (exponent > 63), torch.where(unit, sign, 0), power)


@register(aten.pow.Scalar)
def _power_of_number(base: Any, exponent: torch.Tensor) -> Any:
    if isinstance(base, float) or exponent.is_floating_point():
        return NotImplemented
    return torch.pow(torch.full([], base, dtype=exponent.dtype), exponent)


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


@register(aten.threshold_backward.default)
def _threshold_backward(grad: torch.Tensor, x: torch.Tensor, threshold: Any) -> Any:
    kind = torch.promote_types(grad.dtype, x.dtype)
    if kind == grad.dtype:
        return NotImplemented
    grad = grad.to(kind)
    return torch.where(x <= threshold, torch.zeros_like(grad), grad)


@register(aten.view.dtype)
def _view_as_type(x: torch.Tensor, dtype: torch.dtype) -> Any:
    """Split or join the bits of elements where the widths differ; the lowest come first."""
    given, wanted = x.element_size(), dtype.itemsize
    if given == wanted or x.is_complex() or dtype.is_complex:
        return NotImplemented
    bits = x.view(_BITS[given])
    step = 8 * min(given, wanted)
    count = max(given, wanted) // min(given, wanted)
    if given > wanted:
        parts = torch.stack([bits >> (step * n) for n in range(count)], -1)
        return parts.to(_BITS[wanted]).flatten(-2).view(dtype)
    wide = bits.to(_BITS[wanted]).unflatten(-1, (-1, count)) & ((1 << step) - 1)
    joined = wide[..., 0]
    for n in range(1, count):
        joined = joined | (wide[..., n] << (step * n))
    return joined.view(dtype)


@register(aten.split_with_sizes.default)
def _split_with_sizes(x: torch.Tensor, sizes: Any, dim: int = 0) -> list[torch.Tensor]:
    parts, start = [], 0
    for size in sizes:
        parts.append(x.narrow(dim, start, size))
        start = start + size
    return parts
