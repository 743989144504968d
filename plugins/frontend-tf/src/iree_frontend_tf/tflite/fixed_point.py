"""TFLite's fixed-point arithmetic, on numpy arrays and as emitted scalar operations.

Both follow the reference kernels to the bit: ``MultiplyByQuantizedMultiplier`` in its form with
two roundings (gemmlowp's ``SaturatingRoundingDoublingHighMul`` and ``RoundingDivideByPOT``) for
32-bit values, and with a multiplier reduced to 16 bits for 64-bit values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp

import numpy as np
from numpy.typing import NDArray

from iree_core.ir import arith, ir
from iree_core.lowering import scalars
from iree_core.lowering.element import F64, I32, I64, ElementType
from iree_core.lowering.scalars import constant

Multiplier = tuple[int, int]
"""A factor as a 31-bit significand and a power of two."""


def round_half_away(value: float) -> int:
    """Return ``value`` rounded like C's ``round``."""
    return int(np.copysign(np.floor(abs(value) + 0.5), value))


def quantize_multiplier(factor: float) -> Multiplier:
    """Return ``factor`` as significand and shift (``QuantizeMultiplier``)."""
    if factor == 0.0:
        return 0, 0
    significand, shift = frexp(float(factor))
    fixed = round_half_away(significand * (1 << 31))
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return fixed, shift


def wrap32(x: NDArray) -> NDArray:
    """Return int64 values reduced to what an int32 would hold."""
    return x.astype(np.int64).astype(np.int32).astype(np.int64)


def high_mul(a: NDArray, b: NDArray | int) -> NDArray:
    """Return ``round(a * b / 2^31)`` (``SaturatingRoundingDoublingHighMul``), as int64."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    result = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))
    return np.minimum(result, (1 << 31) - 1)


def rounding_shift(x: NDArray, exponent: int) -> NDArray:
    """Return ``round(x / 2^exponent)``, halves away from zero (``RoundingDivideByPOT``)."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def multiply(x: NDArray, factor: Multiplier) -> NDArray:
    """Return int32 values times ``factor`` (``MultiplyByQuantizedMultiplier``), as int64."""
    significand, shift = factor
    shifted = wrap32(np.asarray(x, np.int64) << max(shift, 0))
    return rounding_shift(high_mul(shifted, significand), max(-shift, 0))


def emit_high_mul(a: ir.Value, b: ir.Value) -> ir.Value:
    """Emit :func:`high_mul` of two i32."""
    product = arith.muli(arith.extsi(I64.type, a), arith.extsi(I64.type, b))
    negative = arith.cmpi(arith.CmpIPredicate.slt, product, constant(0, I64))
    nudge = arith.select(negative, constant(1 - (1 << 30), I64), constant(1 << 30, I64))
    quotient = arith.divsi(arith.addi(product, nudge), constant(1 << 31, I64))
    limited = arith.minsi(quotient, constant((1 << 31) - 1, I64))
    return arith.trunci(I32.type, limited)


def emit_rounding_shift(x: ir.Value, exponent: ir.Value) -> ir.Value:
    """Emit :func:`rounding_shift` of an i32 by an i32 between 0 and 31."""
    one, zero = constant(1, I32), constant(0, I32)
    mask = arith.subi(arith.shli(one, exponent), one)
    negative = arith.extui(I32.type, arith.cmpi(arith.CmpIPredicate.slt, x, zero))
    threshold = arith.addi(arith.shrsi(mask, one), negative)
    over = arith.cmpi(arith.CmpIPredicate.sgt, arith.andi(x, mask), threshold)
    return arith.addi(arith.shrsi(x, exponent), arith.extui(I32.type, over))


def emit_multiply(x: ir.Value, significand: ir.Value, shift: ir.Value) -> ir.Value:
    """Emit :func:`multiply` of an i32 by i32 parts of a multiplier that may vary."""
    zero = constant(0, I32)
    left = arith.maxsi(shift, zero)
    right = arith.maxsi(arith.subi(zero, shift), zero)
    return emit_rounding_shift(emit_high_mul(arith.shli(x, left), significand), right)


def emit_scaled(x: ir.Value, factor: Multiplier) -> ir.Value:
    """Emit :func:`multiply` of an i32 by a multiplier known now."""
    significand, shift = factor
    if shift > 0:
        x = arith.shli(x, constant(shift, I32))
    x = emit_high_mul(x, constant(significand, I32))
    return x if shift >= 0 else emit_rounding_shift(x, constant(-shift, I32))


def emit_multiply_wide(x: ir.Value, significand: ir.Value, shift: ir.Value) -> ir.Value:
    """Emit the form for an i64: ``round(x * reduced >> (15 - shift))`` as i32.

    ``significand`` and ``shift`` are i32, the significand not reduced yet.
    """
    limit = constant(0x7FFF0000, I32)
    small = arith.cmpi(arith.CmpIPredicate.slt, significand, limit)
    rounded = arith.shrsi(arith.addi(significand, constant(1 << 15, I32)), constant(16, I32))
    reduced = arith.select(small, rounded, constant(0x7FFF, I32))
    total = arith.extsi(I64.type, arith.subi(constant(15, I32), shift))
    one = constant(1, I64)
    half = arith.shli(one, arith.subi(total, one))
    product = arith.muli(x, arith.extsi(I64.type, reduced))
    return arith.trunci(I32.type, arith.shrsi(arith.addi(product, half), total))


def multiply_wide(x: NDArray, factor: Multiplier) -> NDArray:
    """Return int64 values times ``factor`` as :func:`emit_multiply_wide` does."""
    significand, shift = factor
    reduced = (significand + (1 << 15)) >> 16 if significand < 0x7FFF0000 else 0x7FFF
    total = 15 - shift
    return wrap32((np.asarray(x, np.int64) * reduced + (1 << (total - 1))) >> total)


def limits(element: ElementType) -> tuple[int, int]:
    """Return the smallest and largest value of an integer type."""
    return int(scalars.lowest(element)), int(scalars.highest(element))


def activation_range(
    activation: int, scale: np.float32, zero: int, element: ElementType
) -> tuple[int, int]:
    """Return the stored values that a fused activation lies between
    (``CalculateActivationRangeQuantized``)."""
    low, high = limits(element)

    def stored(real: float) -> int:
        return zero + round_half_away(float(np.float32(real) / np.float32(scale)))

    bounds: dict[int, Sequence[float | None]] = {
        0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0),
    }  # fmt: skip
    if activation not in bounds:
        raise ValueError(f"fused activation function number {activation} on integers")
    first, last = bounds[activation]
    return (
        low if first is None else max(low, stored(first)),
        high if last is None else min(high, stored(last)),
    )


def emit_saturate(x: ir.Value, low: int, high: int, element: ElementType) -> ir.Value:
    """Return an i32 between two values, as ``element``."""
    x = arith.maxsi(x, constant(low, I32))
    x = arith.minsi(x, constant(high, I32))
    return x if element.bits == 32 else arith.trunci(element.type, x)


def emit_rounded(x: ir.Value) -> ir.Value:
    """Return an f64 rounded like C's ``round`` as i32, saturated."""
    x = arith.maximumf(x, constant(-(2.0**31), F64))
    x = arith.minimumf(x, constant(2.0**31 - 1, F64))
    whole = arith.fptosi(I32.type, x)
    rest = arith.subf(x, arith.sitofp(F64.type, whole))
    up = arith.cmpf(arith.CmpFPredicate.OGE, rest, constant(0.5, F64))
    down = arith.cmpf(arith.CmpFPredicate.OLE, rest, constant(-0.5, F64))
    whole = arith.addi(whole, arith.extui(I32.type, up))
    return arith.subi(whole, arith.extui(I32.type, down))


def emit_offset(x: ir.Value, element: ElementType, zero: int) -> ir.Value:
    """Return a stored value minus the zero point, as i32."""
    wide = scalars.convert(x, element, I32)
    return wide if zero == 0 else arith.subi(wide, constant(zero, I32))
