"""Decompositions of special functions, computed in double precision.

Sources: Abramowitz and Stegun, Handbook of Mathematical Functions (A&S, with the formula);
Giles 2012, Approximating the erfinv function; Numerical Recipes 6.2.2. Results agree with
PyTorch's to single precision, not to the last bit of a double.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from iree_frontend_torch.decompositions import register

aten = torch.ops.aten


def _entered(*operators: Any) -> Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]:
    """Register a function of doubles for tensors of any real type."""

    def keep(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        @register(*operators)
        def decomposed(x: Tensor) -> Tensor:
            kind = x.dtype if x.is_floating_point() else torch.get_default_dtype()
            return function(x.double()).to(kind)

        return function

    return keep


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Evaluate by Horner's rule, the highest power first."""
    total = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


# Modified Bessel functions of the first kind.

_NODES = 32
_FAR = 30.0


def _scaled_i(x: Tensor, order: int) -> Tensor:
    """Return exp(-|x|) I_order(|x|): A&S 9.6.19 by the trapezoidal rule, or 9.7.1 far out."""
    size = x.abs()
    near = size.clamp(max=_FAR)
    total = 0.5 * (1.0 + (-1) ** order * torch.exp(-2.0 * near))
    for n in range(1, _NODES):
        angle = math.pi * n / _NODES
        total = total + math.cos(order * angle) * torch.exp(near * (math.cos(angle) - 1.0))
    far = size.clamp(min=_FAR)
    series = torch.ones_like(far)
    term = torch.ones_like(far)
    for k in range(1, 10):
        term = term * (-(4.0 * order**2 - (2 * k - 1) ** 2) / (8.0 * k)) / far
        series = series + term
    return torch.where(size <= _FAR, total / _NODES, series / (2.0 * math.pi * far).sqrt())


@_entered(aten.special_i0e.default)
def _i0e(x: Tensor) -> Tensor:
    return _scaled_i(x, 0)


@_entered(aten.i0.default, aten.special_modified_bessel_i0.default)
def _i0(x: Tensor) -> Tensor:
    return _scaled_i(x, 0) * x.abs().exp()


@_entered(aten.special_i1e.default)
def _i1e(x: Tensor) -> Tensor:
    value = _scaled_i(x, 1)
    return torch.where(x < 0, -value, value)


@_entered(aten.special_i1.default, aten.special_modified_bessel_i1.default)
def _i1(x: Tensor) -> Tensor:
    return _i1e(x) * x.abs().exp()


# Bessel functions of the first and second kind.

_SPLIT = 8.0
_EULER = 0.57721566490153286061


def _near_j(x: Tensor, order: int) -> Tensor:
    """Return J_order by its power series (A&S 9.1.10)."""
    quarter = -0.25 * x * x
    term = torch.full_like(x, 1.0) if order == 0 else 0.5 * x
    total = term
    for k in range(1, 28):
        term = term * quarter / (k * (k + order))
        total = total + term
    return total


def _near_y(x: Tensor, order: int) -> Tensor:
    """Return Y_order by its power series (A&S 9.1.11)."""
    quarter = -0.25 * x * x
    harmonic = [0.0]
    for k in range(1, 31):
        harmonic.append(harmonic[-1] + 1.0 / k)
    term = torch.full_like(x, 1.0) if order == 0 else 0.5 * x
    total = torch.zeros_like(x)
    for k in range(28):
        if k:
            term = term * quarter / (k * (k + order))
        total = total + (harmonic[k] + harmonic[k + order] - 2.0 * _EULER) * term
    value = 2.0 * (0.5 * x).log() * _near_j(x, order) - total
    if order:
        value = value - 2.0 / x
    return value / math.pi


def _far_parts(x: Tensor, order: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return P, Q, the angle and the amplitude of A&S 9.2.5 to 9.2.10."""
    p, q = torch.ones_like(x), torch.zeros_like(x)
    term = torch.ones_like(x)
    for k in range(1, 14):
        term = term * ((4.0 * order**2 - (2 * k - 1) ** 2) / (8.0 * k)) / x
        sign = -1.0 if k % 4 in (2, 3) else 1.0
        if k % 2:
            q = q + sign * term
        else:
            p = p + sign * term
    angle = x - (0.5 * order + 0.25) * math.pi
    return p, q, angle, (2.0 / (math.pi * x)).sqrt()


def _bessel_j(x: Tensor, order: int) -> Tensor:
    size = x.abs()
    p, q, angle, amplitude = _far_parts(size.clamp(min=_SPLIT), order)
    far = amplitude * (p * angle.cos() - q * angle.sin())
    value = torch.where(size < _SPLIT, _near_j(size.clamp(max=_SPLIT), order), far)
    return torch.where(x < 0, -value, value) if order else value


def _bessel_y(x: Tensor, order: int) -> Tensor:
    p, q, angle, amplitude = _far_parts(x.clamp(min=_SPLIT), order)
    far = amplitude * (p * angle.sin() + q * angle.cos())
    value = torch.where(x < _SPLIT, _near_y(x.clamp(max=_SPLIT), order), far)
    edge = torch.where(x == 0, -math.inf, math.nan).to(x.dtype)
    return torch.where(x > 0, value, edge)


for _order, _first, _second in (
    (0, aten.special_bessel_j0.default, aten.special_bessel_y0.default),
    (1, aten.special_bessel_j1.default, aten.special_bessel_y1.default),
):
    _entered(_first)(lambda x, order=_order: _bessel_j(x, order))  # type: ignore[misc]
    _entered(_second)(lambda x, order=_order: _bessel_y(x, order))  # type: ignore[misc]


# Modified Bessel functions of the second kind.


def _near_k(x: Tensor, order: int) -> Tensor:
    """Return K_order by its power series (A&S 9.6.11)."""
    quarter = 0.25 * x * x
    harmonic = [0.0]
    for k in range(1, 20):
        harmonic.append(harmonic[-1] + 1.0 / k)
    term = torch.full_like(x, 1.0) if order == 0 else 0.5 * x
    total, first = torch.zeros_like(x), torch.zeros_like(x)
    for k in range(16):
        if k:
            term = term * quarter / (k * (k + order))
        total = total + (harmonic[k] + harmonic[k + order] - 2.0 * _EULER) * term
        first = first + term
    sign = -1.0 if order == 0 else 1.0
    value = sign * (0.5 * x).log() * first - sign * 0.5 * total
    return value + 1.0 / x if order else value


def _scaled_k(x: Tensor, order: int) -> Tensor:
    """Return exp(x) K_order(x): the series, or A&S 9.6.24 by the trapezoidal rule."""
    far = x.clamp(min=2.0)
    total = torch.full_like(far, 0.5)
    for n in range(1, 44):
        t = 0.1 * n
        total = total + math.cosh(order * t) * torch.exp(far * (1.0 - math.cosh(t)))
    near = x.clamp(max=2.0)
    value = torch.where(x < 2.0, _near_k(near, order) * near.exp(), 0.1 * total)
    edge = torch.where(x == 0, math.inf, math.nan).to(x.dtype)
    return torch.where(x > 0, value, edge)


for _order, _plain, _scaled in (
    (0, aten.special_modified_bessel_k0.default, aten.special_scaled_modified_bessel_k0.default),
    (1, aten.special_modified_bessel_k1.default, aten.special_scaled_modified_bessel_k1.default),
):
    _entered(_plain)(lambda x, order=_order: _scaled_k(x, order) * (-x).exp())  # type: ignore[misc]
    _entered(_scaled)(lambda x, order=_order: _scaled_k(x, order))  # type: ignore[misc]


@_entered(aten.special_spherical_bessel_j0.default)
def _spherical_j0(x: Tensor) -> Tensor:
    small = x.abs() < 1e-4
    return torch.where(small, 1.0 - x * x / 6.0, x.sin() / torch.where(small, 1.0, x))


# The normal distribution.

_ERFC = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418,
    0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip
_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


@_entered(aten.special_erfcx.default)
def _erfcx(x: Tensor) -> Tensor:
    size = x.abs()
    t = 1.0 / (1.0 + 0.5 * size)
    right = t * _polynomial(t, _ERFC).exp()
    return torch.where(x >= 0, right, 2.0 * (x * x).exp() - right)


def _giles(w: Tensor) -> Tensor:
    """Return erfinv(x) / x for w = -log((1 - x) (1 + x))."""
    centre = _polynomial(w - 2.5, _CENTRE)
    return torch.where(w < 5.0, centre, _polynomial(w.clamp(min=5.0).sqrt() - 3.0, _TAIL))


@_entered(aten.erfinv.default)
def _erfinv(x: Tensor) -> Tensor:
    inside = x.abs() < 1
    held = torch.where(inside, x, torch.zeros_like(x))
    value = held * _giles(-((1.0 - held) * (1.0 + held)).log())
    edge = torch.where(x.abs() == 1, x * math.inf, math.nan)
    return torch.where(inside, value, edge)


@_entered(aten.special_ndtri.default)
def _ndtri(p: Tensor) -> Tensor:
    inside = (p > 0) & (p < 1)
    held = torch.where(inside, p, torch.full_like(p, 0.5))
    value = math.sqrt(2.0) * (2.0 * held - 1.0) * _giles(-(4.0 * held * (1.0 - held)).log())
    edge = torch.where(p == 0, -math.inf, torch.where(p == 1, math.inf, math.nan)).to(p.dtype)
    return torch.where(inside, value, edge)


# Hurwitz's zeta function and derivatives of the digamma function.

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_DIRECT = 20


def _zeta(s: Tensor, q: Tensor) -> Tensor:
    """Sum by Euler and Maclaurin's formula (A&S 23.2.7 continued); s > 1."""
    total = torch.zeros_like(s * q)
    for k in range(_DIRECT):
        total = total + (q + k) ** -s
    end = q + _DIRECT
    power = end**-s
    total = total + end * power / (s - 1.0) + 0.5 * power
    factor = s * power / end
    for j, number in enumerate(_BERNOULLI, 1):
        total = total + number / math.factorial(2 * j) * factor
        factor = factor * (s + 2 * j - 1) * (s + 2 * j) / (end * end)
    return total


@register(aten.special_zeta.default)
def _hurwitz(s: Tensor, q: Tensor) -> Tensor:
    kind = torch.promote_types(torch.result_type(s, q), torch.float32)
    wide, start = s.double(), q.double()
    value = _zeta(wide, start)
    pole = (start <= 0) & (start == start.floor())
    undefined = (wide < 1) | ((start < 0) & (wide != wide.floor()))
    value = torch.where(pole, torch.full_like(value, math.inf), value)
    value = torch.where(undefined, torch.full_like(value, math.nan), value)
    return torch.where(wide == 1, torch.full_like(value, math.inf), value).to(kind)


@register(aten.polygamma.default)
def _polygamma(n: int, x: Tensor) -> Tensor:
    if n == 0:
        return torch.digamma(x)
    kind = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    start = x.double()
    value = _zeta(torch.full_like(start, n + 1.0), start) * ((-1) ** (n + 1) * math.factorial(n))
    pole = (start <= 0) & (start == start.floor())
    return torch.where(pole, torch.full_like(value, math.inf), value).to(kind)


# Chebyshev's polynomials, by angles (A&S 22.3.15 to 22.3.18).


def _chebyshev(x: Tensor, n: Tensor, kind: str) -> Tensor:
    inside = x.abs() <= 1
    angle = torch.acos(x.clamp(-1, 1))
    grown = torch.acosh(x.abs().clamp(min=1.0))
    negative = x < 0
    odd = torch.where(n % 2 == 1, -1.0, 1.0).to(x.dtype)
    if kind == "t":
        near, far = (n * angle).cos(), (n * grown).cosh()
        far = torch.where(negative, odd * far, far)
    elif kind == "u":
        near = _ratio((n + 1) * angle, angle, torch.sin, torch.where(negative, odd, 1.0) * (n + 1))
        far = _ratio((n + 1) * grown, grown, torch.sinh, n + 1)
        far = torch.where(negative, odd * far, far)
    else:
        # Of the third kind cos((n + 1/2) a) / cos(a / 2); the fourth is its mirror image.
        mirrored = -x if kind == "w" else x
        angle = torch.acos(mirrored.clamp(-1, 1))
        edge = torch.where(mirrored < 0, odd * (2 * n + 1), 1.0)
        near = _ratio((n + 0.5) * angle, 0.5 * angle, torch.cos, edge)
        right = ((n + 0.5) * grown).cosh() / (0.5 * grown).cosh()
        left = _ratio((n + 0.5) * grown, 0.5 * grown, torch.sinh, 2 * n + 1)
        far = torch.where(mirrored < 0, odd * left, right)
        near, far = (odd * near, odd * far) if kind == "w" else (near, far)
    value = torch.where(inside, near, far)
    return torch.where(n < 0, torch.zeros_like(value), value)


def _ratio(top: Tensor, bottom: Tensor, function: Callable[[Tensor], Tensor], edge: Any) -> Tensor:
    divisor = function(bottom)
    small = divisor.abs() < 1e-9
    return torch.where(small, edge, function(top) / torch.where(small, 1.0, divisor))


for _kind in "tuvw":
    for _shifted in (False, True):
        _name = f"special_{'shifted_' if _shifted else ''}chebyshev_polynomial_{_kind}"

        @register(getattr(aten, _name).default)
        def _polynomial_of(
            x: Tensor, n: Tensor, kind: str = _kind, shifted: bool = _shifted
        ) -> Tensor:
            made = torch.promote_types(torch.result_type(x, n), torch.float32)
            wide = 2.0 * x.double() - 1.0 if shifted else x.double()
            return _chebyshev(wide, n.double().trunc(), kind).to(made)


@register(aten.fmax.default)
def _fmax(x: Tensor, y: Tensor) -> Any:
    kind = torch.result_type(x, y)
    if not kind.is_floating_point:
        return torch.maximum(x, y)
    larger = torch.maximum(x, y)
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, larger)).to(kind)


@register(aten.fmin.default)
def _fmin(x: Tensor, y: Tensor) -> Any:
    kind = torch.result_type(x, y)
    if not kind.is_floating_point:
        return torch.minimum(x, y)
    smaller = torch.minimum(x, y)
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, smaller)).to(kind)


@register(aten.polar.default)
def _polar(size: Tensor, angle: Tensor) -> Tensor:
    return torch.complex(size * angle.cos(), size * angle.sin())
