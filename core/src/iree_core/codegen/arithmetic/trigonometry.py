"""Sine, cosine and tangent of large arguments without a library.

M. Payne and R. Hanek, *Radian reduction for trigonometric functions*, SIGNUM Newsletter 18
(1983): of x times 2/pi only the bits around the binary point matter, and they are computed from
the matching bits of 2/pi in integers.
"""

from __future__ import annotations

from collections.abc import Callable

from iree_core.codegen.arithmetic.numeric import Num, select
from iree_core.ir import ir, scf

# The words of 2/pi = 0.A2F9836E 4E441529 ... in hexadecimal digits; a zero word in front.
_TWO_OVER_PI = (
    0x0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB,
)  # fmt: skip


def large_circular(name: str, x: Num, small: Callable[[Num], Num], limit: float) -> Num:
    """Return ``small(x)`` below ``limit`` and the same function of the reduced x above.

    Args:
        name: ``math.sin``, ``math.cos`` or ``math.tan``.
        x: single precision, a scalar or a vector.
        small: the function for magnitudes below ``limit``.
        limit: at least 2.
    """
    if isinstance(x.kind, ir.VectorType):
        # Lanes differ in which branch they take: both are computed.
        return select(abs(x) >= limit, _large(name, x, small), small(x))
    branch = scf.IfOp((abs(x) >= limit).value, [x.kind], has_else=True)
    with ir.InsertionPoint(branch.then_block):
        scf.YieldOp([_large(name, x, small).value])
    with ir.InsertionPoint(branch.else_block):
        scf.YieldOp([small(x).value])
    return Num(branch.results[0], x.fma, x.scale)


def _large(name: str, x: Num, small: Callable[[Num], Num]) -> Num:
    i64 = ir.IntegerType.get_signless(64)
    bits = x.bits()
    exponent = (bits.shift_right_zero(23) & 255) - 127
    mantissa = ((bits & 0x7FFFFF) | 0x800000).extend_zero(i64)
    # x = mantissa 2^(exponent - 23). Words of 2/pi from bit exponent - 23 - 2 on, counted from
    # the point, are enough: those before add multiples of 4 to x 2/pi.
    shift = exponent + (32 - 25)
    word, inside = shift.shift_right_zero(5), (shift & 31).extend_zero(i64)
    parts = []
    for offset in range(3):
        high, low = (_word(word + offset + k).extend_zero(i64) for k in (0, 1))
        both = (high << 32) | low
        parts.append((both << inside).shift_right_zero(32))
    # The product's bits: 2 before the point, then the fraction, in units of 2^-94.
    low32 = mantissa * parts[2]
    middle = mantissa * parts[1] + low32.shift_right_zero(32)
    top = (mantissa * parts[0] << 32) + middle
    # The two uppermost bits are the quadrant of x 2/pi modulo 4.
    quadrant = top.shift_right_zero(62)
    fraction = top << 2
    # A fraction of a half and more belongs to the next quadrant, from below.
    quadrant = (quadrant + fraction.shift_right_zero(63)) & 3
    angle = fraction.int_to_float(ir.F32Type.get()) * (1.5707963267948966 * 2.0**-64)
    angle = select(bits < 0, -angle, angle)
    quadrant = select(bits < 0, (quadrant.like(4) - quadrant) & 3, quadrant)
    quadrant = quadrant.to(ir.IntegerType.get_signless(32))
    result = _turned(name, angle, quadrant, small)
    return select(exponent.eq(128), x.like(float("nan")), result)


def _turned(name: str, angle: Num, quadrant: Num, small: Callable[[Num], Num]) -> Num:
    """Return the function of angle + quadrant pi/2, angle being in [-pi/4, pi/4]."""
    from iree_core.codegen.arithmetic.functions import cos, sin

    odd = (quadrant & 1).ne(0)
    if name == "math.tan":
        value = small(angle)
        return select(odd, -1.0 / value, value)
    shift = quadrant + 1 if name == "math.cos" else quadrant
    value = select((shift & 1).ne(0), cos(angle), sin(angle))
    return (value.bits() ^ ((shift & 2) << 30)).as_float()


def _word(number: Num) -> Num:
    result = number.like(_TWO_OVER_PI[0])
    for position, word in enumerate(_TWO_OVER_PI):
        result = select(number.eq(position), number.like(word), result)
    return result
