"""Decompositions of operators on complex numbers into those on their real and imaginary parts.

For what torch-mlir converts for real numbers only. (Abramowitz and Stegun, Handbook of
Mathematical Functions, 3.7, 4.2 and 4.3; Smith 1962 for division.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten
OPERATORS: dict[OpOverload, Callable[..., Any]] = {}
"""By operator: what to do where an operand is complex."""


def _complex(*operators: OpOverload) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS.update(dict.fromkeys(operators, function))
        return function

    return keep


def preferred(function: Callable[..., Any], other: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return a decomposition: ``function`` for complex operands, else ``other``, if any."""

    def decomposed(*args: Any, **kwargs: Any) -> Any:
        if any(map(_is_complex, args)):
            return function(*args, **kwargs)
        return other(*args, **kwargs) if other else NotImplemented

    return decomposed


def _is_complex(value: Any) -> bool:
    return value.is_complex() if isinstance(value, Tensor) else isinstance(value, complex)


def _parts(x: Any) -> tuple[Any, Any]:
    if isinstance(x, Tensor):
        return (aten.real(x), aten.imag(x)) if x.is_complex() else (x, torch.zeros_like(x))
    return (x.real, x.imag) if isinstance(x, complex) else (x, 0.0)


@_complex(aten.div.Tensor, aten.div.Scalar)
def _divide(x: Any, y: Any) -> Tensor:
    a, b = _parts(x)
    if not _is_complex(y):
        return torch.complex(a / y, b / y)
    c, d = _parts(y)
    c, d = (v if isinstance(v, Tensor) else torch.full_like(a, v) for v in (c, d))
    size = torch.maximum(c.abs(), d.abs())
    c, d = c / size, d / size
    square = (c * c + d * d) * size
    return torch.complex((a * c + b * d) / square, (b * c - a * d) / square)


@_complex(aten.mul.Scalar, aten.mul.Tensor)
def _scale(x: Tensor, y: Any) -> Any:
    if isinstance(y, Tensor) and x.is_complex() and y.is_complex():
        return NotImplemented
    (a, b), (c, d) = _parts(x), _parts(y)
    if not _is_complex(y):
        return torch.complex(a * c, b * c)
    if not _is_complex(x):
        return torch.complex(a * c, a * d)
    return torch.complex(a * c - b * d, a * d + b * c)


@_complex(aten.addmm.default)
def _add_product(x: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    product = aten.mm(a, b)
    product = product if _is_one(alpha) else product * alpha
    return product + (x if _is_one(beta) else x * beta)


@_complex(aten.neg.default)
def _negate(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return torch.complex(-a, -b)


@_complex(aten.add.Scalar, aten.add.Tensor)
def _shift(x: Tensor, y: Any, alpha: Any = 1) -> Tensor:
    (a, b), (c, d) = _parts(x), _parts(y if _is_one(alpha) else y * alpha)
    return torch.complex(a + c, b + d)


def _is_one(alpha: Any) -> bool:
    return isinstance(alpha, int | float) and alpha == 1


@_complex(aten.sub.Scalar, aten.sub.Tensor)
def _shift_back(x: Tensor, y: Any, alpha: Any = 1) -> Tensor:
    return _shift(x, -y, alpha)


@_complex(aten.reciprocal.default)
def _reciprocal(x: Tensor) -> Tensor:
    return _divide(torch.ones_like(aten.real(x)), x)


@_complex(aten.exp.default)
def _exp(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return torch.complex(a.exp() * b.cos(), a.exp() * b.sin())


@_complex(aten.log.default)
def _log(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return torch.complex(torch.hypot(a, b).log(), torch.atan2(b, a))


@_complex(aten.log2.default)
def _log2(x: Tensor) -> Tensor:
    return torch.log(x) * (1.0 / math.log(2.0))


@_complex(aten.log10.default)
def _log10(x: Tensor) -> Tensor:
    return torch.log(x) * (1.0 / math.log(10.0))


@_complex(aten.sqrt.default)
def _sqrt(x: Tensor) -> Tensor:
    a, b = _parts(x)
    root = ((a.abs() + torch.hypot(a, b)) * 0.5).sqrt()
    other = torch.where(root == 0, root, b * 0.5 / root)
    turned = torch.where(b < 0, -root, root)
    return torch.complex(torch.where(a < 0, other.abs(), root), torch.where(a < 0, turned, other))


@_complex(aten.rsqrt.default)
def _rsqrt(x: Tensor) -> Tensor:
    return torch.reciprocal(torch.sqrt(x))


@_complex(aten.sinh.default)
def _sinh(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return torch.complex(a.sinh() * b.cos(), a.cosh() * b.sin())


@_complex(aten.cosh.default)
def _cosh(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return torch.complex(a.cosh() * b.cos(), a.sinh() * b.sin())


@_complex(aten.sin.default)
def _sin(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return torch.complex(a.sin() * b.cosh(), a.cos() * b.sinh())


@_complex(aten.cos.default)
def _cos(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return torch.complex(a.cos() * b.cosh(), -a.sin() * b.sinh())


@_complex(aten.tanh.default)
def _tanh(x: Tensor) -> Tensor:
    a, b = _parts(x)
    inside = a.clamp(-40, 40)  # beyond, the result is 1 or -1 to the last bit
    size = (2.0 * inside).cosh() + (2.0 * b).cos()
    return torch.complex((2.0 * inside).sinh() / size, (2.0 * b).sin() / size)


@_complex(aten.tan.default)
def _tan(x: Tensor) -> Tensor:
    a, b = _parts(x)
    turned = torch.tanh(torch.complex(-b, a))
    return torch.complex(aten.imag(turned), -aten.real(turned))


@_complex(aten.sigmoid.default)
def _sigmoid(x: Tensor) -> Tensor:
    return torch.reciprocal(torch.exp(-x) + 1.0)


@_complex(aten.pow.Tensor_Scalar)
def _power_of_scalar(x: Tensor, exponent: Any) -> Tensor:
    if isinstance(exponent, int | float) and exponent == int(exponent) and abs(exponent) <= 16:
        made, square, rest = torch.ones_like(x), x, abs(int(exponent))
        while rest:
            made = made * square if rest % 2 else made
            square, rest = square * square, rest // 2
        return torch.reciprocal(made) if exponent < 0 else made
    return _power(x, exponent)


@_complex(aten.pow.Tensor_Tensor, aten.pow.Scalar)
def _power(x: Any, exponent: Any) -> Tensor:
    if not isinstance(x, Tensor):
        kind = exponent.dtype if exponent.is_complex() else torch.complex64
        x = torch.full([], x, dtype=kind)
    elif not x.is_complex():
        x = torch.complex(x, torch.zeros_like(x))
    made = torch.exp(torch.log(x) * exponent)
    a, b = _parts(x)
    zero = (a == 0) & (b == 0)
    to_nothing = exponent == 0
    edge = (
        torch.where(to_nothing, 1.0, 0.0) if isinstance(to_nothing, Tensor) else float(to_nothing)
    )
    real, imag = _parts(made)
    return torch.complex(
        torch.where(zero, edge, real).to(real.dtype), torch.where(zero, 0.0, imag).to(real.dtype)
    )


def _each_part(operator: OpOverload) -> None:
    """Apply a linear operator to both parts."""

    def function(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if kwargs.pop("dtype", None) not in (None, x.dtype):
            return NotImplemented
        return torch.complex(*(operator(part, *args, **kwargs) for part in _parts(x)))

    _complex(operator)(function)


for _operator in (
    aten.sum.default, aten.sum.dim_IntList, aten.mean.default, aten.mean.dim, aten.cumsum.default,
    aten.constant_pad_nd.default, aten.tril.default, aten.triu.default,
):  # fmt: skip
    _each_part(_operator)


@_complex(aten.var.correction)
def _variance(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    a, b = (aten.var.correction(part, *args, **kwargs) for part in _parts(x))
    return a + b


@_complex(aten.prod.dim_int)
def _product(x: Tensor, dim: int, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Multiply the halves with each other until one element is left."""
    if not x.dim() or not x.shape[dim]:
        return x.sum(dim, keepdim=keepdim) * 0 + 1 if x.dim() else x
    while x.shape[dim] > 1:
        half = x.shape[dim] // 2
        rest = x.narrow(dim, 2 * half, x.shape[dim] - 2 * half)
        x = torch.cat([x.narrow(dim, 0, half) * x.narrow(dim, half, half), rest], dim)
    return x if keepdim else x.squeeze(dim)


@_complex(aten.prod.default)
def _product_of_all(x: Tensor, *, dtype: Any = None) -> Tensor:
    return _product(x.reshape(-1), 0)


@_complex(aten.cumprod.default)
def _running_product(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Multiply by what is 1, 2, 4, ... places before (Hillis and Steele 1986)."""
    if not x.dim():
        return x
    step = 1
    while step < x.shape[dim]:
        count = x.shape[dim] - step
        later = x.narrow(dim, step, count) * x.narrow(dim, 0, count)
        x = torch.cat([x.narrow(dim, 0, step), later], dim)
        step *= 2
    return x


@_complex(aten.masked_fill.Scalar)
def _fill_masked(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    a, b = _parts(x)
    c, d = _parts(value)
    return torch.complex(torch.where(mask, c, a), torch.where(mask, d, b))


@_complex(aten.eq.Tensor, aten.eq.Scalar)
def _equal(x: Any, y: Any) -> Tensor:
    (a, b), (c, d) = _parts(x), _parts(y)
    return (a == c) & (b == d)


@_complex(aten.ne.Tensor, aten.ne.Scalar)
def _unequal(x: Any, y: Any) -> Tensor:
    (a, b), (c, d) = _parts(x), _parts(y)
    return (a != c) | (b != d)


@_complex(aten.isnan.default)
def _is_nan(x: Tensor) -> Tensor:
    a, b = _parts(x)
    return a.isnan() | b.isnan()
