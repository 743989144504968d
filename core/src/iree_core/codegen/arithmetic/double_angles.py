"""Sine, cosine and tangent in double precision.

Small arguments are reduced by pi/2 in parts of 33 bits (W. Cody and W. Waite, *Software Manual
for the Elementary Functions*, 1980), large ones from the bits of 2/pi around the binary point
(M. Payne and R. Hanek, *Radian reduction for trigonometric functions*, SIGNUM Newsletter 18,
1983). Polynomials of the Freely Distributable Math Library (Sun Microsystems, 1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from iree_core.codegen.arithmetic.numeric import Num, polynomial, select
from iree_core.ir import ir, scf

_ROUND = 6755399441055744.0  # 1.5 * 2^52
# pi/2 in three parts; the first two have 33 bits, so that up to 2^20 times them is exact.
_PARTS = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
_LIMIT = 2.0**20
_SINE = (1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
         -1.98412698298579493134e-04, 8.33333333332248946124e-03,
         -1.66666666666666324348e-01)  # fmt: skip
_COSINE = (-1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
           2.48015872894767294178e-05, -1.38888888888741095749e-03,
           4.16666666666666019037e-02)  # fmt: skip
# The words of 2/pi after two words of zeros.
_TWO_OVER_PI = (
    0, 0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB,
    0xDEBBC561, 0xB7246E3A, 0x424DD2E0, 0x06492EEA, 0x09D1921C, 0xFE1DEB1C, 0xB129A73E,
    0xE88235F5, 0x2EBB4484, 0xE99C7026, 0xB45F7E41, 0x3991D639, 0x835339F4, 0x9C845F8B,
    0xBDF9283B, 0x1FF897FF, 0xDE05980F, 0xEF2F118B, 0x5A0A6D1F, 0x6D367ECF, 0x27CB09B7,
    0x4F463F66, 0x9E5FEA2D, 0x7527BAC7, 0xEBE5F17B, 0x3D0739F7, 0x8A5292EA, 0x6BFB5FB1,
    0x1F8D5D08, 0x56033046,
)  # fmt: skip
_LIMBS = 6


def sin(x: Num) -> Num:
    """Sine"""
    return select(x.eq(0.0), x, _circular(x, 0))


def cos(x: Num) -> Num:
    """Cosine"""
    return _circular(x, 1)


def tan(x: Num) -> Num:
    """Tangent"""
    angle, low, quadrant = _reduce(x)
    s, c = _sine(angle, low), _cosine(angle, low)
    odd = (quadrant & 1).ne(0)
    result = select(odd, -c, s) / select(odd, s, c)
    return select(x.eq(0.0), x, result)


def _circular(x: Num, shift: int) -> Num:
    """Return sin(x + shift pi/2)."""
    angle, low, quadrant = _reduce(x)
    quadrant = quadrant + shift if shift else quadrant
    odd = (quadrant & 1).ne(0)
    result = select(odd, _cosine(angle, low), _sine(angle, low))
    return (result.bits() ^ ((quadrant & 2) << 62)).as_float()


def _sine(x: Num, low: Num) -> Num:
    z = x * x
    v = z * x
    r = polynomial(z, _SINE[:-1])
    return x - ((z * (low * 0.5 - v * r) - low) - v * _SINE[-1])


def _cosine(x: Num, low: Num) -> Num:
    z = x * x
    half = z * 0.5
    w = 1.0 - half
    r = polynomial(z, _COSINE) * z
    return w + (((1.0 - w) - half) + (z * r - x * low))


def _reduce(x: Num) -> tuple[Num, Num, Num]:
    """Return an angle in [-pi/4, pi/4] in two parts, and which quadrant modulo 4 it is in."""
    large = abs(x) >= _LIMIT
    if isinstance(x.kind, ir.VectorType):
        # Lanes differ in which branch they take: both are computed.
        parts = zip(_reduce_large(x), _reduce_small(x), strict=True)
        a, b, c = (select(large, big, small) for big, small in parts)
        return a, b, c
    kinds = [x.kind, x.kind, ir.IntegerType.get_signless(64)]
    branch = scf.IfOp(large.value, kinds, has_else=True)
    reductions: list[tuple[ir.Block, Callable[[Num], tuple[Num, Num, Num]]]] = [
        (branch.then_block, _reduce_large),
        (branch.else_block, _reduce_small),
    ]
    for block, reduce in reductions:
        with ir.InsertionPoint(block):
            scf.YieldOp([part.value for part in reduce(x)])
    a, b, c = (Num(result, x.fma) for result in branch.results)
    return a, b, c


def _reduce_small(x: Num) -> tuple[Num, Num, Num]:
    shifted = x * 0.636619772367581343076 + _ROUND
    n = shifted - _ROUND
    first, second, third = _PARTS
    near = x - n * first
    w = n * second
    r = near - w
    w = n * third - ((near - r) - w)
    angle = r - w
    return angle, (r - angle) - w, shifted.bits() & 3


def _reduce_large(x: Num) -> tuple[Num, Num, Num]:
    i64 = ir.IntegerType.get_signless(64)
    bits = x.bits()
    exponent = bits.shift_right_zero(52) & 2047
    mantissa = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000
    # x = mantissa 2^(exponent - 1075). Bits of 2/pi whose product with it is a multiple of 4 are
    # left out; the 64 in front are zeros.
    place = exponent - (1075 - 62)
    words = _words(place.shift_right_zero(5), _LIMBS + 1)
    inside = place & 31
    window = [
        (((high << 32) | low) << inside).shift_right_zero(32) for high, low in pairwise(words)
    ]
    limbs = _multiply(mantissa, window)
    quadrant = limbs[0].shift_right_zero(30)
    # The fraction of a quadrant in words of 32 bits, the first one signed: a half and more
    # belong to the next quadrant, from below.
    fraction = [((a << 2) & 0xFFFFFFFF) | b.shift_right_zero(30) for a, b in pairwise(limbs)][:4]
    quadrant = quadrant + fraction[0].shift_right_zero(31)
    top = (fraction[0] << 32) >> 32
    numbers = [w.int_to_float(x.element) * 2.0 ** (-32 * n - 32) for n, w in
               enumerate([top, *fraction[1:]])]  # fmt: skip
    total = numbers[0] + numbers[1]
    rest = (numbers[1] - (total - numbers[0])) + (numbers[2] + numbers[3])
    high = total + rest
    low = rest - (high - total)
    angle = high * (math.pi / 2)
    error = high * 6.123233995736766e-17 + low * (math.pi / 2)
    negative = bits < 0
    angle, error = (select(negative, -a, a) for a in (angle, error))
    quadrant = select(negative, quadrant.like(4) - quadrant, quadrant) & 3
    nan = x.like(math.nan)
    assert angle.element == x.element and quadrant.element == i64
    return select(exponent.eq(2047), nan, angle), error, quadrant


def _words(number: Num, count: int) -> list[Num]:
    """Return ``count`` words of 2/pi from a word on, the number of which has six bits."""
    words = [number.like(word) for word in _TWO_OVER_PI]
    for bit in range(5, -1, -1):
        moved, zero = (number & (1 << bit)).ne(0), number.like(0)
        padded = words + [zero] * (1 << bit)
        needed = count + (1 << bit) - 1
        words = [select(moved, padded[i + (1 << bit)], padded[i]) for i in
                 range(min(needed, len(words)))]  # fmt: skip
        words += [zero] * (count - len(words))
    return words[:count]


def _multiply(number: Num, words: list[Num]) -> list[Num]:
    """Return a product modulo the length of ``words``, in words; the first one is the highest."""
    low, high = number & 0xFFFFFFFF, number.shift_right_zero(32)
    carry, before = number.like(0), number.like(0)
    result = []
    for word in reversed(words):
        a = low * word
        total = carry + (a & 0xFFFFFFFF) + (before & 0xFFFFFFFF)
        result.append(total & 0xFFFFFFFF)
        carry = total.shift_right_zero(32) + a.shift_right_zero(32) + before.shift_right_zero(32)
        before = high * word
    return result[::-1]
