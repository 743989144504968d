"""Elementary functions in single precision as branch-free arithmetic, for vectors of any length.

Errors stay within about four units in the last place over the whole range; infinities, NaNs,
zeros of either sign and denormal numbers give what C11 Annex F asks for. Polynomials after
S. L. Moshier, *Methods and Programs for Mathematical Functions* (Cephes, single precision),
unless a comment names another source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from iree_core.codegen.arithmetic.inverse_hyperbolic import acosh, asinh, atanh
from iree_core.codegen.arithmetic.numeric import Num, polynomial, select
from iree_core.ir import ir

# Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits.
_ROUND = 12582912.0
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_INF = math.inf
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
        5.0000001201e-1)  # fmt: skip
# e^r = 1 + r + ... for |r| <= ln(2) / 2, of least relative error: 3e-9 (0.7 units in the last
# place once rounded). _EXP serves e^r - 1.
_EXP_WHOLE = (1.381459878757596e-3, 8.368716575205326e-3, 4.166838899254799e-2,
              1.666652113199234e-1, 4.999999403953552e-1, 1.0, 1.0)  # fmt: skip
_EXP2 = (1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2,
         2.402264791363012e-1, 6.931472028550421e-1)  # fmt: skip
_LOG = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
        -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip
_ATAN = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
_ASIN = (4.2163199048e-2, 2.4181311049e-2, 4.5470025998e-2, 7.4953002686e-2, 1.6666752422e-1)
_SINH = (2.03721912945e-4, 8.33028376239e-3, 1.66667160211e-1)


# Exponentials


def _scaling(x: Num, scale: float, shift: int) -> tuple[Num, Callable[[Num], Num]]:
    """Return n = round(x * scale), and what multiplies a number near 1 by 2^(n + shift)."""
    if x.scale is not None:
        n = x.times_plus(scale, _ROUND) - _ROUND
        return n, lambda p: p.times_power_of_two(n + shift if shift else n)
    # By bits, with 2^(n + shift +- 64) first and then 2^-+64, which undoes the 64: in two steps
    # no intermediate result overflows or becomes denormal.
    negative = x < 0.0
    bias = 127 + shift
    magic = select(negative, x.like(_ROUND + bias + 64), _ROUND + bias - 64)
    t = x.times_plus(scale, magic)
    undo = select(negative, x.like(2.0**-64), 2.0**64)
    return t - magic, lambda p: p * (t.bits() << 23).as_float() * undo


def _exp_scaled(x: Num, shift: int) -> Num:
    """Return e^x * 2^shift."""
    x = x.at_most(89.5).at_least(-104.5)
    n, apply = _scaling(x, 1.44269504088896341, shift)
    r = n.times_plus(-_LN2_LOW, n.times_plus(-_LN2_HIGH, x))
    return apply(polynomial(r, _EXP_WHOLE))


def exp(x: Num) -> Num:
    """e^x"""
    return _exp_scaled(x, 0)


def exp2(x: Num) -> Num:
    """2^x"""
    x = x.at_most(129.0).at_least(-151.0)
    n, apply = _scaling(x, 1.0, 0)
    return apply(polynomial(x - n, (*_EXP2, 1.0)))


def expm1(x: Num) -> Num:
    """e^x - 1 = 2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2)) with x = n ln 2 + r"""
    clamped = x.at_most(89.0).at_least(-20.0)
    t = clamped.times_plus(1.44269504088896341, _ROUND + 126)
    n = t - (_ROUND + 126)
    half = (t.bits() << 23).as_float()
    r = n.times_plus(-_LN2_LOW, n.times_plus(-_LN2_HIGH, clamped))
    p = polynomial(r, _EXP).times_plus(r * r, r)
    result = half.times_plus(p, half - 0.5) * 2.0
    return select(x.eq(0.0), x, result)


# Logarithms


def _split_logarithm(x: Num) -> tuple[Num, Num, Num]:
    """Return z, y, e with log(x) = z + y + e log(2) for positive finite x, denormals included.

    1 + z lies between the roots of 1/2 and 2.
    """
    small = x < 1.17549435e-38
    x = select(small, x * 2.0**23, x)
    # Subtracting the bits of sqrt(1/2) makes the exponent field that of the wanted range.
    shifted = x.bits() - 0x3F3504F3
    e = (shifted >> 23).int_to_float(ir.F32Type.get())
    e = e + select(small, x.like(-23.0), 0.0)
    m = ((shifted & 0x7FFFFF) + 0x3F3504F3).as_float()
    z = m - 1.0
    z2 = z * z
    y = polynomial(z, _LOG) * z * z2
    return z, z2.times_plus(-0.5, y), e


def _log_special(x: Num, result: Num) -> Num:
    """Put the logarithm's values outside of the positive finite numbers."""
    result = select(x.eq(0.0), x.like(-_INF), result)
    result = select(x < _INF, result, x)  # infinity and NaN are kept
    return select(x < 0.0, x.like(math.nan), result)


def log(x: Num) -> Num:
    """Natural logarithm"""
    z, y, e = _split_logarithm(x)
    y = e.times_plus(_LN2_LOW, y)
    return _log_special(x, e.times_plus(_LN2_HIGH, z + y))


def log2(x: Num) -> Num:
    """Binary logarithm"""
    z, y, e = _split_logarithm(x)
    extra = 0.44269504088896340735992  # log2(e) - 1
    low = z.times_plus(extra, y * extra)
    return _log_special(x, ((low + y) + z) + e)


def log10(x: Num) -> Num:
    """Decimal logarithm"""
    z, y, e = _split_logarithm(x)
    result = (z + y) * 7.00731903251827651129e-4
    result = e.times_plus(2.48745663981195213739e-4, result)
    result = z.times_plus(4.3359375e-1, y.times_plus(4.3359375e-1, result))
    return _log_special(x, e.times_plus(3.0078125e-1, result))


def log1p(x: Num) -> Num:
    """log(1 + x) = log(u) x / (u - 1) with u = 1 + x rounded (W. Kahan)"""
    u = x + 1.0
    exact = u - 1.0
    corrected = log(u) * (x / exact)
    result = select(exact.eq(0.0), x, corrected)
    return select(u.eq(_INF), x, result)


# Trigonometric functions; |x| is below REDUCTION_LIMIT.

REDUCTION_LIMIT = 71476.0


def _reduce(x: Num) -> tuple[Num, Num]:
    """Return r in [-pi/4, pi/4] and the integer quadrant with x = quadrant * pi/2 + r."""
    t = x.times_plus(0.636619772367581, _ROUND)
    n = t - _ROUND
    if x.fma:
        r = n.times_plus(-1.57079637050628662109375, x)
        r = n.times_plus(4.37113900018624283e-8, r)
        return n.times_plus(1.71512469e-15, r), t.bits()
    # Without fused operations, products of 33 and 20 bits are exact in double precision.
    double = ir.F64Type.get()
    wide = n.to(double)
    r = (x.to(double) - wide * 1.57079632673412561417e00) - wide * 6.07710050650619224932e-11
    return r.to(ir.F32Type.get()), t.bits()


def _sine(r: Num) -> Num:
    z = r * r
    p = polynomial(z, (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
    return (p * z).times_plus(r, r)


def _cosine(r: Num) -> Num:
    z = r * r
    p = polynomial(z, (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))
    return (p * z).times_plus(z, z.times_plus(-0.5, 1.0))


def _circular(x: Num, shift: int) -> Num:
    """Return sin(x + shift pi/2)."""
    r, quadrant = _reduce(x)
    quadrant = quadrant + shift if shift else quadrant
    odd = (quadrant & 1).ne(0)
    result = select(odd, _cosine(r), _sine(r))
    return (result.bits() ^ ((quadrant & 2) << 30)).as_float()


def sin(x: Num) -> Num:
    """Sine"""
    return select(x.eq(0.0), x, _circular(x, 0))


def cos(x: Num) -> Num:
    """Cosine"""
    return _circular(x, 1)


def tan(x: Num) -> Num:
    """Tangent"""
    r, quadrant = _reduce(x)
    s, c = _sine(r), _cosine(r)
    odd = (quadrant & 1).ne(0)
    result = select(odd, -c, s) / select(odd, s, c)
    return select(x.eq(0.0), x, result)


def _atan_positive(a: Num) -> Num:
    large, medium = a > 2.414213562373095, a > 0.4142135623730950
    top = select(large, a.like(-1.0), select(medium, a - 1.0, a))
    bottom = select(large, a, select(medium, a + 1.0, 1.0))
    t = top / bottom
    z = t * t
    base = select(large, a.like(math.pi / 2), select(medium, a.like(math.pi / 4), 0.0))
    return base + (polynomial(z, _ATAN) * z).times_plus(t, t)


def atan(x: Num) -> Num:
    """Inverse tangent"""
    return _atan_positive(abs(x)).copysign(x)


def atan2(y: Num, x: Num) -> Num:
    """Angle of the point (x, y)"""
    a, b = abs(y), abs(x)
    steep = a > b
    small, large = select(steep, b, a), select(steep, a, b)
    t = select(large.eq(0.0), large, small / large)
    t = select(small.eq(_INF), t.like(1.0), t)
    angle = _atan_positive(t)
    angle = select(steep, math.pi / 2 - angle, angle)
    angle = select(x.bits() < 0, math.pi - angle, angle)
    return select(x.is_nan() | y.is_nan(), x + y, angle.copysign(y))


def _asin_parts(x: Num) -> tuple[Num, Num]:
    """Return whether |x| is above 1/2, and asin of |x| or of sqrt((1 - |x|) / 2)."""
    a = abs(x)
    high = a > 0.5
    z = select(high, (1.0 - a) * 0.5, a * a)
    s = select(high, z.sqrt(), a)
    return high, (polynomial(z, _ASIN) * z).times_plus(s, s)


def asin(x: Num) -> Num:
    """Inverse sine"""
    high, p = _asin_parts(x)
    return select(high, math.pi / 2 - (p + p), p).copysign(x)


def acos(x: Num) -> Num:
    """Inverse cosine"""
    high, p = _asin_parts(x)
    twice = p + p
    far = select(x < 0.0, math.pi - twice, twice)
    # pi/2 in two parts: the result near 1/2 keeps its last bit.
    near = (1.57079637050628662109375 - p.copysign(x)) - 4.37113883e-8
    return select(high, far, near)


# Hyperbolic functions


def tanh(x: Num) -> Num:
    """tanh|x| = (e^2|x| - 1) / (e^2|x| + 1), a polynomial below 5/8"""
    a = abs(x)
    z = x * x
    coefficients = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1,
                    -3.33332819422e-1)  # fmt: skip
    small = (polynomial(z, coefficients) * z).times_plus(a, a)
    large = 1.0 - 2.0 / (exp(a.at_most(10.0) * 2.0) + 1.0)
    return select(a < 0.625, small, large).copysign(x)


def sinh(x: Num) -> Num:
    """Hyperbolic sine"""
    a = abs(x)
    z = x * x
    small = (polynomial(z, _SINH) * z).times_plus(x, x)
    e = _exp_scaled(a, -1)
    large = (e - 0.25 / e).copysign(x)
    return select(a < 1.0, small, large)


def cosh(x: Num) -> Num:
    """Hyperbolic cosine"""
    e = _exp_scaled(abs(x), -1)
    return e + 0.25 / e


# Error functions


def erf(x: Num) -> Num:
    """Error function: 1 - e^p(|x|), an odd polynomial for small x (N. Juffa)"""
    a, z = abs(x), x * x
    low = (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1,
           1.28379166e-1)  # fmt: skip
    high = (-1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1,
            -6.34846687e-1, -1.28717512e-1)  # fmt: skip
    t = a.at_most(4.0)
    large = 1.0 - exp(polynomial(t, high).times_plus(t, -t))
    return select(a > 0.927734375, large.copysign(x), polynomial(z, low).times_plus(x, x))


def erfc(x: Num) -> Num:
    """Complementary error function (N. Juffa)

    (1 + 2a) e^(a^2) erfc(a) is 1 + p((a - 2) / (a + 2)).
    """
    a = abs(x).at_most(11.0)
    inverse = 1.0 / (a + 2.0)
    q = (a - 2.0) * inverse
    q = inverse.times_plus(q.times_plus(-a, (q + 1.0).times_plus(-2.0, a)), q)
    p = polynomial(q, (-4.01139259e-4, -1.23075210e-3, 1.31355342e-3, 8.63227434e-3,
                       -8.05991981e-3, -5.42046614e-2, 1.64055392e-1, -1.66031361e-1,
                       -9.27639827e-2, 2.76978403e-1))  # fmt: skip
    half = 0.5 / (a + 0.5)
    ratio = p.times_plus(half, half)
    ratio = ((p - ratio) + (ratio + ratio).times_plus(-a, 1.0)).times_plus(half, ratio)
    square = a * a
    lost = square - square if not x.fma else (-a).times_plus(a, square)
    power = exp(-square)
    tail = ratio.times_plus(power, ratio * power * lost)
    return select(x < 0.0, 2.0 - tail, tail)


# Powers


def cbrt(x: Num) -> Num:
    """Cube root: a third of the exponent, then three of Newton's iterations"""
    a = abs(x)
    small = a < 1.17549435e-38
    a = select(small, a * 2.0**24, a)
    bits = a.bits().int_to_float(ir.F32Type.get()) * (1.0 / 3.0) + 709982100.0
    t = bits.to_int(32).as_float()
    for _ in range(3):
        t = (a / (t * t) - t).times_plus(1.0 / 3.0, t)
    t = select(small, t * 2.0**-8, t).copysign(x)
    return select((a > 0.0) & (a < _INF), t, x)


def pow(x: Num, y: Num) -> Num:
    """|x|^y = 2^(y log2 |x|) in double precision, rounded once at the end"""
    double, single = ir.F64Type.get(), ir.F32Type.get()
    a = abs(x)
    t = y.to(double) * _log2_double(a)
    result = _exp2_double(t).to(single)
    whole = y.floor().eq(y)
    half = y * 0.5
    odd = whole & half.floor().ne(half)
    result = select((x.bits() < 0) & odd, -result, result)
    no_root = (x < 0.0) & y.floor().ne(y) & (a < _INF)
    result = select(no_root, x.like(math.nan), result)
    result = select(x.is_nan() | y.is_nan(), x + y, result)
    one = x.eq(1.0) | y.eq(0.0) | (x.eq(-1.0) & abs(y).eq(_INF))
    return select(one, x.like(1.0), result)


def _log2_double(a: Num) -> Num:
    """Binary logarithm of a float >= 0 to 40 bits: 2 atanh((m - 1) / (m + 1)) / log 2"""
    double = ir.F64Type.get()
    wide = a.to(double)  # a denormal float is a normal double
    shifted = wide.bits() - 0x3FE6A09E667F3BCD
    e = (shifted >> 52).int_to_float(double)
    m = ((shifted & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD).as_float()
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = [2.0 / (k * math.log(2.0)) for k in (15, 13, 11, 9, 7, 5, 3, 1)]
    result = polynomial(z, series).times_plus(s, e)
    result = select(wide.eq(0.0), wide.like(-_INF), result)
    return select(wide.eq(_INF), wide, result)


def _exp2_double(t: Num) -> Num:
    """2^t to 40 bits; t may be infinite"""
    t = t.at_most(200.0).at_least(-200.0)
    magic = 6755399441055744.0 + 1023  # 1.5 * 2^52, and the exponent's bias
    shifted = t + magic
    r = t - (shifted - magic)
    series = [math.log(2.0) ** k / math.factorial(k) for k in range(10, -1, -1)]
    return polynomial(r, series) * (shifted.bits() << 52).as_float()


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
# Beyond REDUCTION_LIMIT the C library takes over, lane by lane.
PERIODIC = frozenset({"math.sin", "math.cos", "math.tan"})
