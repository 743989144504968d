"""Floats of at most 8 bits, converted with integer arithmetic.

Processors and LLVM have no such types, so their conversions are spelled out here: decoding to
f32 is exact, encoding rounds to nearest, ties to even. Formats: OCP 8-bit floating point and
Microscaling specifications, and the FNUZ variants of Noune et al. (arXiv:2206.02915).
"""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import arith, ir, math
from iree_core.lowering.element import ElementType


@dataclass(frozen=True)
class _Format:
    """Layout of one format.

    Attributes:
        mantissa, bias: as usual.
        largest: code of the largest finite value (sign clear).
        nan: code of the canonical NaN (sign clear), or None where there is none.
        infinity: code of infinity, or None.
        signed: whether there is a sign bit.
        negative_zero: whether the code with only the sign set is a zero (else it is NaN).
    """

    bits: int
    mantissa: int
    bias: int
    largest: int
    nan: int | None
    infinity: int | None = None
    signed: bool = True
    negative_zero: bool = True


_FORMATS = {
    "f8E4M3FN": _Format(8, 3, 7, 0x7E, 0x7F),
    "f8E4M3FNUZ": _Format(8, 3, 8, 0x7F, 0x80, negative_zero=False),
    "f8E5M2": _Format(8, 2, 15, 0x7B, 0x7E, 0x7C),
    "f8E5M2FNUZ": _Format(8, 2, 16, 0x7F, 0x80, negative_zero=False),
    "f8E8M0FNU": _Format(8, 0, 127, 0xFE, 0xFF, signed=False),
    "f4E2M1FN": _Format(4, 1, 1, 0x7, None),
}  # fmt: skip


def _i32(number: int) -> ir.Value:
    kind = ir.IntegerType.get_signless(32)
    if number >= 1 << 31:
        number -= 1 << 32
    return arith.constant(kind, ir.IntegerAttr.get(kind, number))


def _f32(number: float) -> ir.Value:
    kind = ir.F32Type.get()
    return arith.constant(kind, ir.FloatAttr.get(kind, number))


def _equal(a: ir.Value, code: int) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.eq, a, _i32(code))


def decode(value: ir.Value, element: ElementType) -> ir.Value:
    """Return ``value`` of a small float type as f32."""
    form = _FORMATS[element.name]
    i32 = ir.IntegerType.get_signless(32)
    code = arith.extui(i32, arith.bitcast(ir.IntegerType.get_signless(form.bits), value))
    if not form.signed:
        # A power of two: the code is the exponent field of f32, but for 2 ** -127.
        normal = arith.bitcast(ir.F32Type.get(), arith.shli(code, _i32(23)))
        tiny = arith.select(_equal(code, 0), _f32(2.0**-127), normal)
        return arith.select(_equal(code, 0xFF), _f32(float("nan")), tiny)
    sign_bit = 1 << (form.bits - 1)
    magnitude = arith.andi(code, _i32(sign_bit - 1))
    # Shifted into place the exponent is off by the difference of biases: one exact product.
    shifted = arith.bitcast(ir.F32Type.get(), arith.shli(magnitude, _i32(23 - form.mantissa)))
    size = arith.mulf(shifted, _f32(2.0 ** (127 - form.bias)))
    if form.infinity is not None:
        above = arith.cmpi(arith.CmpIPredicate.ugt, magnitude, _i32(form.infinity))
        size = arith.select(_equal(magnitude, form.infinity), _f32(float("inf")), size)
        size = arith.select(above, _f32(float("nan")), size)
    elif form.nan is not None and form.negative_zero:
        size = arith.select(_equal(magnitude, form.nan), _f32(float("nan")), size)
    negative = arith.cmpi(arith.CmpIPredicate.uge, code, _i32(sign_bit))
    result = arith.select(negative, arith.negf(size), size)
    if not form.negative_zero:
        result = arith.select(_equal(code, sign_bit), _f32(float("nan")), result)
    return result


def encode(
    value: ir.Value, element: ElementType, *, saturate: bool = False, rounding: str = "nearest"
) -> ir.Value:
    """Return an f32 ``value`` as a small float type.

    What is out of range becomes the largest finite value if ``saturate``, else infinity or NaN
    where the format has them. ``rounding`` (nearest, up, down) is for powers of two only.
    """
    form = _FORMATS[element.name]
    i32 = ir.IntegerType.get_signless(32)
    size = math.absf(value)
    bits = arith.bitcast(i32, size)
    drop = 23 - form.mantissa
    odd = arith.andi(arith.shrui(bits, _i32(drop)), _i32(1))
    rounded = arith.shrui(
        arith.addi(bits, arith.addi(odd, _i32((1 << (drop - 1)) - 1))), _i32(drop)
    )
    normal = arith.subi(rounded, _i32((127 - form.bias) << form.mantissa))
    if form.signed:
        unit = 2.0 ** (form.bias - 1 + form.mantissa)
        steps = math.roundeven(arith.mulf(size, _f32(unit)))
        small = arith.cmpf(arith.CmpFPredicate.OLT, size, _f32(2.0 ** (1 - form.bias)))
        # Only small sizes are converted, so that the conversion is defined.
        steps = arith.select(small, steps, _f32(0.0))
        code = arith.select(small, arith.fptoui(i32, steps), normal)
    else:
        code = arith.maxsi(normal, _i32(0))
        if rounding in ("up", "down"):
            code = arith.shrui(
                arith.addi(bits, _i32((1 << 23) - 1 if rounding == "up" else 0)), _i32(23)
            )
    # Without NaN the code of minus zero stands for it, as in ml_dtypes.
    nan = _i32(form.nan if form.nan is not None else 1 << (form.bits - 1))
    beyond = arith.cmpi(arith.CmpIPredicate.sgt, code, _i32(form.largest))
    limit = _i32(form.largest)
    if not saturate and form.infinity is not None:
        limit = _i32(form.infinity)
    elif not saturate and form.nan is not None:
        limit = nan
    code = arith.select(beyond, limit, code)
    is_nan = arith.cmpf(arith.CmpFPredicate.UNO, value, value)
    raw = arith.bitcast(i32, value)
    negative = arith.cmpi(arith.CmpIPredicate.slt, raw, _i32(0))
    if form.signed:
        sign = _i32(1 << (form.bits - 1))
        signed = arith.ori(code, sign)
        if not form.negative_zero:
            plain = arith.ori(_equal(code, 0), _equal(code, form.nan or 0))
            signed = arith.select(plain, code, signed)
        code = arith.select(negative, signed, code)
    code = arith.select(is_nan, nan, code)
    small_int = ir.IntegerType.get_signless(form.bits)
    return arith.bitcast(element.type, arith.trunci(small_int, code))
