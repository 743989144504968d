"""Decompositions of operators that work element by element."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


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


@register(aten._conj.default, aten._conj_physical.default)
def _conj(x: torch.Tensor) -> torch.Tensor:
    return torch.complex(aten.real(x), -aten.imag(x)) if x.is_complex() else x.clone()


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


@register(aten.frexp.Tensor)
def _frexp(x: torch.Tensor) -> Any:
    """Take mantissa and exponent from the bits (IEEE 754)."""
    if x.dtype not in (torch.float32, torch.float64):
        return NotImplemented
    mantissa_bits, bias = (23, 126) if x.dtype == torch.float32 else (52, 1022)
    field = ((1 << (x.element_size() * 8 - 1 - mantissa_bits)) - 1) << mantissa_bits
    tiny = x.abs() < torch.finfo(x.dtype).tiny
    normal = torch.where(tiny, x * 2.0**mantissa_bits, x)
    bits = normal.view(_BITS[x.element_size()])
    exponent = ((bits & field) >> mantissa_bits) - bias
    exponent = torch.where(tiny, exponent - mantissa_bits, exponent)
    mantissa = ((bits & ~field) + (bias << mantissa_bits)).view(x.dtype)
    plain = (x == 0) | x.isfinite().logical_not()
    return torch.where(plain, x, mantissa), torch.where(plain, 0, exponent).to(torch.int32)


@register(aten.nextafter.default)
def _nextafter(x: torch.Tensor, y: torch.Tensor) -> Any:
    if x.dtype not in (torch.float32, torch.float64) or x.dtype != y.dtype:
        return NotImplemented
    x, y = torch.broadcast_tensors(x, y)
    bits = x.contiguous().view(_BITS[x.element_size()])
    away = (y > x) == (x > 0)
    moved = torch.where(away, bits + 1, bits - 1).view(x.dtype)
    smallest = torch.full([], 5e-324 if x.dtype == torch.float64 else 1e-45, dtype=x.dtype)
    moved = torch.where(x == 0, torch.where(y > 0, smallest, -smallest), moved)
    return torch.where(x.isnan() | y.isnan(), x + y, torch.where(x == y, y, moved))


@register(torch.ops.prims.convert_element_type.default)
def _to_wide_complex(x: torch.Tensor, dtype: torch.dtype) -> Any:
    # torch-mlir's importer has no number for the type.
    if dtype != torch.complex128 or x.dtype == dtype:
        return NotImplemented
    if x.is_complex():
        return torch.complex(aten.real(x).double(), aten.imag(x).double())
    wide = x.double()
    return torch.complex(wide, torch.zeros_like(wide))
