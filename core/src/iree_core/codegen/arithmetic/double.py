"""Elementary functions in double precision as branch-free arithmetic, for vectors of any length.

Errors stay within about four units in the last place; special values are those of
:mod:`iree_core.codegen.arithmetic.functions`. Polynomials of the Freely Distributable Math
Library (Sun Microsystems, 1993) or Taylor series, unless a comment names another source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from iree_core.codegen.arithmetic.double_angles import cos, sin, tan
from iree_core.codegen.arithmetic.inverse_hyperbolic import acosh, asinh, atanh
from iree_core.codegen.arithmetic.numeric import Num, polynomial, select

_INF = math.inf
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it leaves a whole number in the low bits
_LEAST_NORMAL = 2.2250738585072014e-308
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_PI_LOW = 1.2246467991473532e-16
_EXP = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))
_LOG = (1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
        2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
        6.666666666666735130e-01)  # fmt: skip
_ATAN = (1.62858201153657823623e-02, -3.65315727442169155270e-02, 4.97687799461593236017e-02,
         -5.83357013379057348645e-02, 6.66107313738753120669e-02, -7.69187620504482999495e-02,
         9.09088713343650656196e-02, -1.11111104054623557880e-01, 1.42857142725034663711e-01,
         -1.99999999998764832476e-01, 3.33333333333329318027e-01)  # fmt: skip
_ASIN_TOP = (3.47933107596021167570e-05, 7.91534994289814532176e-04, -4.00555345006794114027e-02,
             2.01212532134862925881e-01, -3.25565818622400915405e-01,
             1.66666666666666657415e-01)  # fmt: skip
_ASIN_BOTTOM = (7.70381505559019352791e-02, -6.88283971605453293030e-01, 2.02094576023350569471e00,
                -2.40339491173441421878e00, 1.0)  # fmt: skip


# Exponentials


def _exp_of_sum(x: Num, low: Num | None, shift: int) -> Num:
    """Return e^(x + low) * 2^shift.

    The power of two is applied in two steps: no intermediate result overflows or is denormal.
    """
    x = x.at_most(711.0).at_least(-746.0)
    bias = 1023 + shift
    negative = x < 0.0
    magic = select(negative, x.like(_ROUND + bias + 512), _ROUND + bias - 512)
    shifted = x * (1.0 / math.log(2.0)) + magic
    n, power = shifted - magic, (shifted.bits() << 52).as_float()
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    if low is not None:
        r = r + low
    p = polynomial(r, _EXP).times_plus(r * r, r)
    return p.times_plus(power, power) * select(negative, x.like(2.0**-512), 2.0**512)


def exp(x: Num) -> Num:
    """e^x"""
    return _exp_of_sum(x, None, 0)


def exp2(x: Num) -> Num:
    """2^x = e^(r log 2) 2^n"""
    x = x.at_most(1025.0).at_least(-1076.0)
    negative = x < 0.0
    magic = select(negative, x.like(_ROUND + 1023 + 512), _ROUND + 1023 - 512)
    shifted = x + magic
    r = (x - (shifted - magic)) * math.log(2.0)
    power = (shifted.bits() << 52).as_float()
    p = polynomial(r, _EXP).times_plus(r * r, r)
    return p.times_plus(power, power) * select(negative, x.like(2.0**-512), 2.0**512)


def expm1(x: Num) -> Num:
    """e^x - 1 = 2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2)) with x = n ln 2 + r"""
    clamped = x.at_most(710.0).at_least(-50.0)
    shifted = clamped * (1.0 / math.log(2.0)) + (_ROUND + 1022)
    n, half = shifted - (_ROUND + 1022), (shifted.bits() << 52).as_float()
    high = clamped - n * _LN2_HIGH
    r = high - n * _LN2_LOW
    lost = (high - r) - n * _LN2_LOW
    p = polynomial(r, _EXP).times_plus(r * r, lost) + r
    result = (half * p + (half - 0.5)) * 2.0
    return select(x.eq(0.0), x, result)


# Logarithms


def _split(x: Num) -> tuple[Num, Num]:
    """Return m between the roots of 1/2 and 2, and e, with x = m 2^e; x is positive and finite."""
    small = x < _LEAST_NORMAL
    x = select(small, x * 2.0**54, x)
    # Subtracting the bits of sqrt(1/2) makes the exponent field that of the wanted range.
    shifted = x.bits() - 0x3FE6A09E667F3BCD
    e = (shifted >> 52).int_to_float(x.element) + select(small, x.like(-54.0), 0.0)
    return ((shifted & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD).as_float(), e


def _log_parts(m: Num) -> tuple[Num, Num, Num]:
    """Return f, h and r with log(m) = f - h + r, f = m - 1 and h = f f / 2."""
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    h = f * f * 0.5
    return f, h, s * (h + polynomial(z, _LOG) * z)


def _log_special(x: Num, result: Num) -> Num:
    result = select(x.eq(0.0), x.like(-_INF), result)
    result = select(x < _INF, result, x)  # infinity and NaN are kept
    return select(x < 0.0, x.like(math.nan), result)


def log(x: Num) -> Num:
    """Natural logarithm"""
    m, e = _split(x)
    f, h, r = _log_parts(m)
    return _log_special(x, e * _LN2_HIGH - ((h - (r + e * _LN2_LOW)) - f))


def _log_in_base(x: Num, scale: tuple[float, float], two: tuple[float, float]) -> Num:
    """Return log(x) times ``scale``; ``two`` is the result for 2. Both are in two parts."""
    m, e = _split(x)
    f, h, r = _log_parts(m)
    difference = f - h
    high = (difference.bits() & -0x100000000).as_float()
    low = (f - high) - h + r
    value = high * scale[0]
    rest = e * two[1] + (low + high) * scale[1] + low * scale[0]
    base = e * two[0]
    total = base + value
    return _log_special(x, rest + ((base - total) + value) + total)


def log2(x: Num) -> Num:
    """Binary logarithm"""
    return _log_in_base(x, (1.44269504072144627571e00, 1.67517131648865118353e-10), (1.0, 0.0))


def log10(x: Num) -> Num:
    """Decimal logarithm"""
    scale = (4.34294481878168880939e-01, 2.50829467116452752298e-11)
    return _log_in_base(x, scale, (3.01029995663611771306e-01, 3.69423907715893078616e-13))


def log1p(x: Num) -> Num:
    """log(1 + x) = log(u) x / (u - 1) with u = 1 + x rounded (W. Kahan)"""
    u = x + 1.0
    exact = u - 1.0
    result = select(exact.eq(0.0), x, log(u) * (x / exact))
    return select(u.eq(_INF), x, result)


# Inverse trigonometric functions


def _atan_positive(a: Num) -> Num:
    """Inverse tangent of a number >= 0: atan(c) + atan((a - c) / (1 + a c))"""
    half, one, three_halves, right_angle = (math.atan(c) for c in (0.5, 1.0, 1.5, _INF))
    ranges = (
        (0.4375, a * 2.0 - 1.0, a + 2.0, half, 2.26987774529616870924e-17),
        (0.6875, a - 1.0, a + 1.0, one, 3.06161699786838301793e-17),
        (1.1875, a - 1.5, a * 1.5 + 1.0, three_halves, 1.39033110312309984516e-17),
        (2.4375, a.like(-1.0), a, right_angle, 6.12323399573676603587e-17),
    )
    top, bottom, high, low = a, a.like(1.0), a.like(0.0), a.like(0.0)
    for start, numerator, denominator, angle, rest in ranges:
        inside = a >= start
        top, bottom = select(inside, numerator, top), select(inside, denominator, bottom)
        high, low = select(inside, a.like(angle), high), select(inside, a.like(rest), low)
    t = top / bottom
    z = t * t
    return high - ((t * (polynomial(z, _ATAN) * z) - low) - t)


def atan(x: Num) -> Num:
    """Inverse tangent"""
    return select(x.is_nan(), x, _atan_positive(abs(x)).copysign(x))


def atan2(y: Num, x: Num) -> Num:
    """Angle of the point (x, y)"""
    a, b = abs(y), abs(x)
    steep = a > b
    small, large = select(steep, b, a), select(steep, a, b)
    t = select(large.eq(0.0), large, small / large)
    t = select(small.eq(_INF), t.like(1.0), t)
    angle = _atan_positive(t)
    angle = select(steep, math.pi / 2 - (angle - _PI_LOW / 2), angle)
    angle = select(x.bits() < 0, math.pi - (angle - _PI_LOW), angle)
    return select(x.is_nan() | y.is_nan(), x + y, angle.copysign(y))


def _asin_parts(x: Num) -> tuple[Num, Num, Num]:
    """Return whether |x| is above 1/2, s (|x| or sqrt((1 - |x|) / 2)) and asin(s) - s."""
    a = abs(x)
    high = a > 0.5
    z = select(high, (1.0 - a) * 0.5, a * a)
    s = select(high, z.sqrt(), a)
    return high, s, s * (polynomial(z, _ASIN_TOP) * z / polynomial(z, _ASIN_BOTTOM))


def asin(x: Num) -> Num:
    """Inverse sine"""
    high, s, p = _asin_parts(x)
    return select(high, math.pi / 2 - ((s + p) * 2.0 - _PI_LOW / 2), s + p).copysign(x)


def acos(x: Num) -> Num:
    """Inverse cosine"""
    high, s, p = _asin_parts(x)
    twice = (s + p) * 2.0
    far = select(x < 0.0, math.pi - (twice - _PI_LOW), twice)
    s, p = s.copysign(x), p.copysign(x)
    return select(high, far, math.pi / 2 - (s - (_PI_LOW / 2 - p)))


# Hyperbolic functions


def tanh(x: Num) -> Num:
    """1 - 2 / (t + 2) with t = e^2|x| - 1 from 1 on, else -t / (t + 2) with t = e^-2|x| - 1"""
    a = abs(x)
    large = a >= 1.0
    t = expm1(select(large, a.at_most(22.0) * 2.0, a * -2.0))
    return select(large, 1.0 - 2.0 / (t + 2.0), -t / (t + 2.0)).copysign(x)


def sinh(x: Num) -> Num:
    """Hyperbolic sine"""
    a = abs(x)
    t = expm1(a.at_most(22.0))
    small = select(a < 1.0, t * 2.0 - t * t / (t + 1.0), t + t / (t + 1.0)) * 0.5
    return select(a < 22.0, small, _exp_of_sum(a, None, -1)).copysign(x)


def cosh(x: Num) -> Num:
    """Hyperbolic cosine"""
    e = _exp_of_sum(abs(x), None, -1)
    return e + 0.25 / e


# Error functions

# erf(x) / x over x^2 up to 1, and (1 + 2a) e^(a^2) erfc(a) over (a - 4) / (a + 4) up to a = 28:
# Chebyshev interpolation in 60 digits, with errors of 1.3e-19 and 2e-18.
_ERF = (5.957176147748911e-11, -1.1372848856791674e-09, 1.4659775274047436e-08,
        -1.6350312701054695e-07, 1.6461000484121368e-06, -1.4925595266831182e-05,
        0.0001205533111164271, -0.000854832698083379, 0.0052239776248180145,
        -0.026866170645076792, 0.11283791670954879, -0.3761263890318375,
        1.1283791670955126)  # fmt: skip
_ERFC = (1.263782858042137e-09, 1.868487385473519e-09, -1.4091982822555755e-08,
         -1.799947545903142e-08, 1.1005996198640057e-07, 7.471952780500971e-08,
         -8.254699744871162e-07, 2.9377854943443786e-07, 5.709784760966506e-06,
         -1.1222046316669005e-05, -2.439924428312988e-05, 0.00015062169704678355,
         -0.00019925668432389153, -0.0007577732973669146, 0.005031969975753176,
         -0.01619773405599449, 0.03716751553777026, -0.0663303658124095, 0.09373283499833023,
         -0.10103906603629459, 0.06809705425469323, 0.015379652102619558,
         -0.13962111684056253, 1.2329951186255526)  # fmt: skip


def erf(x: Num) -> Num:
    """Error function"""
    a = abs(x)
    large = 1.0 - _erfc_positive(a.at_most(6.0))
    return select(a > 1.0, large.copysign(x), polynomial(x * x, _ERF) * x)


def erfc(x: Num) -> Num:
    """Complementary error function"""
    a = abs(x)
    tail = _erfc_positive(a.at_most(28.0))
    near = 1.0 - polynomial(x * x, _ERF) * x
    far = select(x < 0.0, 2.0 - tail, tail)
    return select(a < 0.25, near, far)


def _erfc_positive(a: Num) -> Num:
    ratio = polynomial((a - 4.0) / (a + 4.0), _ERFC) / (a * 2.0 + 1.0)
    square, lost = _product(a, a)
    return _exp_of_sum(-square, -lost, 0) * ratio


# Powers


def cbrt(x: Num) -> Num:
    """Cube root: a third of the exponent, then Newton's iterations"""
    a = abs(x)
    small = a < _LEAST_NORMAL
    a = select(small, a * 2.0**54, a)
    guess = a.bits().int_to_float(x.element) * (1.0 / 3.0) + 715094163.0 * 2.0**32
    t = guess.to_int(64).as_float()
    for _ in range(5):
        t = (a / (t * t) - t) * (1.0 / 3.0) + t
    t = select(small, t * 2.0**-18, t).copysign(x)
    return select((a > 0.0) & (a < _INF), t, x)


def pow(x: Num, y: Num) -> Num:
    """|x|^y = e^(y log|x|), the exponent in two parts"""
    a = abs(x)
    high, low = _log_in_two_parts(a)
    exponent, lost = _product(y, high)
    lost = lost + y * low
    lost = select(abs(exponent) < 1000.0, lost, 0.0)
    result = _exp_of_sum(exponent, lost, 0)
    whole = y.floor().eq(y)
    half = y * 0.5
    odd = whole & half.floor().ne(half)
    result = select((x.bits() < 0) & odd, -result, result)
    no_root = (x < 0.0) & y.floor().ne(y) & (a < _INF)
    result = select(no_root, x.like(math.nan), result)
    result = select(x.is_nan() | y.is_nan(), x + y, result)
    one = x.eq(1.0) | y.eq(0.0) | (x.eq(-1.0) & abs(y).eq(_INF))
    return select(one, x.like(1.0), result)


def _product(a: Num, b: Num) -> tuple[Num, Num]:
    """Return a product and what its rounding lost (T. Dekker, 1971)."""
    p = a * b
    if a.fma:
        return p, a.times_plus(b, -p)
    (ah, al), (bh, bl) = (_halves(n) for n in (a, b))
    return p, (((ah * bh - p) + ah * bl) + al * bh) + al * bl


def _halves(a: Num) -> tuple[Num, Num]:
    """Return a number as the sum of its upper 26 bits and the rest."""
    high = (a.bits() & -0x8000000).as_float()
    return high, a - high


def _sum(a: Num, b: Num) -> tuple[Num, Num]:
    """Return a sum and what its rounding lost, for |a| >= |b|."""
    s = a + b
    return s, b - (s - a)


def _log_in_two_parts(a: Num) -> tuple[Num, Num]:
    """Return the logarithm of a number >= 0 to about 64 bits.

    log m = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1) / (m + 1); two terms in two parts.
    """
    m, e = _split(a)
    f, g = m - 1.0, m + 1.0
    g_lost = m - (g - 1.0)
    s = f / g
    p, p_lost = _product(s, g)
    s_low = ((f - p) - p_lost - s * g_lost) / g
    z, z_lost = _product(s, s)
    z_lost = z_lost + s * s_low * 2.0
    cube, cube_lost = _product(z, s)
    cube_lost = cube_lost + z_lost * s + z * s_low
    third, third_lost = _product(cube, cube.like(2.0 / 3.0))
    third_lost = third_lost + cube_lost * (2.0 / 3.0) + cube * 3.700743415417188e-17
    series = [2.0 / k for k in (23, 21, 19, 17, 15, 13, 11, 9, 7, 5)]
    rest = polynomial(z, series) * (z * cube)
    total, lost = _sum(s * 2.0, third)
    lost = lost + (third_lost + rest + s_low * 2.0)
    base = e * _LN2_HIGH
    high = base + total
    # Either may be the larger one.
    part = high - base
    lost = lost + ((base - (high - part)) + (total - part)) + e * _LN2_LOW
    high, lost = _sum(high, lost)
    special = a.eq(0.0) | a.eq(_INF)
    limit = select(a.eq(0.0), a.like(-_INF), a)
    return select(special, limit, high), select(special, a.like(0.0), lost)


UNARY: dict[str, Callable[[Num], Num]] = {
    "math.exp": exp, "math.exp2": exp2, "math.expm1": expm1,
    "math.log": log, "math.log2": log2, "math.log10": log10, "math.log1p": log1p,
    "math.sin": sin, "math.cos": cos, "math.tan": tan,
    "math.asin": asin, "math.acos": acos, "math.atan": atan,
    "math.sinh": sinh, "math.cosh": cosh, "math.tanh": tanh,
    "math.asinh": partial(asinh, log1p=log1p), "math.acosh": partial(acosh, log1p=log1p),
    "math.atanh": partial(atanh, log1p=log1p),
    "math.erf": erf, "math.erfc": erfc, "math.cbrt": cbrt,
}  # fmt: skip
BINARY: dict[str, Callable[[Num, Num], Num]] = {"math.powf": pow, "math.atan2": atan2}
