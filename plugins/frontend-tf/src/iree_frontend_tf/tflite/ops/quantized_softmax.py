"""Softmax of scaled integers, in the reference kernels' fixed point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import scalars
from iree_core.lowering.element import I16, I32, ElementType
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import affine_map, elementwise, generic, reduce
from iree_core.lowering.tensors import Tensor, fill
from iree_frontend_tf.tflite import fixed_point as fp
from iree_frontend_tf.tflite.ops import tables
from iree_frontend_tf.tflite.registry import Node


def row_maximum(x: Tensor) -> Tensor:
    """Return the largest element of each row, the last dimension 1."""
    e = x.element
    return reduce(
        [x], [x.rank - 1], scalars.lowest(e), e,
        lambda v, acc: scalars.maximum(acc, v, e), keep_dims=True,
    )  # fmt: skip


def exp_on_negative(a: NDArray[np.int64]) -> NDArray[np.int64]:
    """gemmlowp's ``exp_on_negative_values`` with 5 integer bits: raw Q5.26 to raw Q0.31."""
    fraction_bits = 26
    quarter = 1 << (fraction_bits - 2)
    mask = quarter - 1
    reduced = (a & mask) - quarter
    remainder = reduced - a
    result = _exp_between_quarter(np.clip(reduced << 5, -(1 << 31), (1 << 31) - 1))
    factors = {
        -2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308,
        2: 39332535, 3: 720401, 4: 242,
    }  # fmt: skip
    for exponent, factor in factors.items():
        bit = 1 << (fraction_bits + exponent)
        result = np.where(remainder & bit, fp.high_mul(result, factor), result)
    return np.where(a == 0, (1 << 31) - 1, result)


def _exp_between_quarter(a: NDArray[np.int64]) -> NDArray[np.int64]:
    """exp of raw Q0.31 in [-1/4, 0): a Taylor series around -1/8."""
    constant_term, third = 1895147668, 715827883
    x = fp.wrap32(a + (1 << 28))
    x2 = fp.high_mul(x, x)
    x3 = fp.high_mul(x2, x)
    x4 = fp.high_mul(x2, x2)
    x4_over_4 = fp.rounding_shift(x4, 2)
    inner = fp.high_mul(fp.wrap32(x4_over_4 + x3), third) + x2
    over_2 = fp.rounding_shift(fp.wrap32(inner), 1)
    return np.clip(
        constant_term + fp.high_mul(np.array(constant_term), fp.wrap32(x + over_2)),
        -(1 << 31), (1 << 31) - 1,
    )  # fmt: skip


def preprocess(node: Node, beta: float) -> tuple[fp.Multiplier, int]:
    """Return the factor of differences and the smallest one that counts."""
    scale = float(node.scale(node.input(0))[0])
    real = min(beta * scale * (1 << 26), (1 << 31) - 1.0)
    significand, shift = fp.quantize_multiplier(real)
    radius = 31.0 * (1 << 26) / (1 << shift)
    return (significand, shift), -int(np.floor(radius))


def softmax(node: Node) -> Tensor:
    """Exponentials over their sum; 8 bits by fixed point, 16 bits by tables."""
    x = node.tensor(0)
    if x.element == I16:
        return _softmax_16(node, x)
    factor, smallest = preprocess(node, float(np.float32(node.option("Beta", 1.0))))
    differences = np.arange(-255, 1, dtype=np.int64)
    rescaled = fp.multiply(differences, factor)
    counts = differences >= smallest
    powers = np.where(counts, exp_on_negative(rescaled), 0)
    parts = fp.rounding_shift(powers, 12)
    e = node.element()
    exp_table = node.constant(powers.astype(np.int32), I32, "exp")
    sum_table = node.constant(parts.astype(np.int32), I32, "exp.sum")
    largest = row_maximum(x)
    sums = table_sum(x, largest, sum_table)
    scale, shift = _reciprocal(sums)
    low, high = fp.limits(e)
    bits = 16 if e == I16 else 8

    def body(v: ir.Value, m: ir.Value, s: ir.Value, h: ir.Value) -> ir.Value:
        place = difference(v, m, x.element)
        power = tensor.extract(exp_table.value, [place])
        product = fp.emit_high_mul(s, power)
        amount = arith.addi(h, constant(31 - bits, I32))
        made = fp.emit_rounding_shift(product, arith.minsi(amount, constant(31, I32)))
        return fp.emit_saturate(arith.addi(made, constant(low, I32)), low, high, e)

    return elementwise([x, largest, scale, shift], e, body)


def difference(v: ir.Value, m: ir.Value, e: ElementType) -> ir.Value:
    """Return the place of ``v - m``, between -255 and 0, in a table of 256."""
    wide = [scalars.convert(s, e, I32) for s in (v, m)]
    place = arith.addi(arith.subi(*wide), constant(255, I32))
    return arith.index_cast(ir.IndexType.get(), place)


def table_sum(x: Tensor, largest: Tensor, table: Tensor) -> Tensor:
    """Return the sums per row of what ``table`` holds for differences to the largest."""
    rank, last = x.rank, x.rank - 1
    kept = affine_map(rank, [None if a == last else a for a in range(rank)])
    dims = largest.dims

    def body(v: ir.Value, m: ir.Value, acc: ir.Value) -> ir.Value:
        place = difference(v, m, x.element)
        return arith.addi(acc, tensor.extract(table.value, [place]))

    (sums,) = generic(
        [x.value, largest.value],
        [fill(dims, I32, 0).value],
        [affine_map(rank, list(range(rank))), kept, kept],
        [a == last for a in range(rank)],
        body,
    )
    return Tensor(sums, dims, I32)


def _reciprocal(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``1 / sum`` as Q0.31 and how many bits over the unit (``GetReciprocal``)."""
    from iree_core.lowering.structured import elementwise_many

    def body(s: ir.Value) -> list[ir.Value]:
        zeros = math.ctlz(s)
        over = arith.subi(constant(12, I32), zeros)
        one = constant(1 << 31, I32)
        shifted = arith.subi(arith.shli(s, zeros), one)
        return [one_over_one_plus(shifted), over]

    scale, over = elementwise_many([sums], [I32, I32], body)
    return scale, over


def one_over_one_plus(a: ir.Value) -> ir.Value:
    """gemmlowp's ``one_over_one_plus_x_for_x_in_0_1``: Newton-Raphson with 2 integer bits."""
    half = _half_sum(a)
    two = constant(1 << 29, I32)
    x = arith.addi(constant(1515870810, I32), fp.emit_high_mul(half, constant(-1010580540, I32)))
    for _ in range(3):
        product = fp.emit_high_mul(half, x)
        rest = arith.subi(two, product)
        x = arith.addi(x, saturating_shift(fp.emit_high_mul(x, rest), 2))
    return saturating_shift(x, 1)


def _half_sum(a: ir.Value) -> ir.Value:
    """Return ``(a + 1) / 2`` of a Q0.31, halves away from zero (``RoundingHalfSum``)."""
    from iree_core.lowering.element import I64

    total = arith.addi(arith.extsi(I64.type, a), constant((1 << 31) - 1, I64))
    sign = arith.select(
        arith.cmpi(arith.CmpIPredicate.sge, total, constant(0, I64)),
        constant(1, I64),
        constant(-1, I64),
    )
    return arith.trunci(I32.type, arith.divsi(arith.addi(total, sign), constant(2, I64)))


def saturating_shift(x: ir.Value, bits: int) -> ir.Value:
    """Return ``x * 2^bits``, saturated."""
    from iree_core.lowering.element import I64

    wide = arith.shli(arith.extsi(I64.type, x), constant(bits, I64))
    wide = arith.maxsi(wide, constant(-(1 << 31), I64))
    return arith.trunci(I32.type, arith.minsi(wide, constant((1 << 31) - 1, I64)))


def _softmax_16(node: Node, x: Tensor) -> Tensor:
    """Tables of exp over [-10, 0] and of 1 / (1 + x) over [0, 1] (``SoftmaxInt16``)."""
    d = np.float64
    span = 65535.0
    stored = np.arange(-32768, 32768, dtype=np.int64)
    exp = tables.interpolate(
        tables.sample(np.exp, d(10.0 / span), 32767, d(2.0 / span), 0, d), stored
    )
    inverse = tables.interpolate(
        tables.sample(lambda v: 1 / (1 + v), d(1.0 / span), -32768, d(2.0 / span), 0, d), stored
    )
    scale, _ = node.scale(node.input(0))
    beta = np.float32(node.option("Beta", 1.0))
    factor = fp.quantize_multiplier(float(np.float32(scale * beta)) / (10.0 / 65535.0))
    exp_table = node.constant(exp.astype(np.int16), I16, "exp")
    inverse_table = node.constant(inverse.astype(np.int16), I16, "inverse")
    largest = row_maximum(x)

    def power(v: ir.Value, m: ir.Value) -> ir.Value:
        difference = arith.subi(*[arith.extsi(I32.type, s) for s in (v, m)])
        scaled = fp.emit_scaled(difference, factor)
        centred = arith.addi(scaled, constant(32767, I32))
        limited = arith.maxsi(centred, constant(-32768, I32))
        limited = arith.minsi(limited, constant(32767, I32))
        place = arith.index_cast(ir.IndexType.get(), arith.addi(limited, constant(32768, I32)))
        return tensor.extract(exp_table.value, [place])

    powers = elementwise([x, largest], I16, power)
    sums = reduce(
        [powers], [x.rank - 1], 0, I32,
        lambda v, acc: arith.addi(acc, arith.extsi(I32.type, v)), keep_dims=True,
    )  # fmt: skip

    def reciprocal(s: ir.Value) -> list[ir.Value]:
        zeros = math.ctlz(s)
        shifted = arith.shli(s, arith.subi(zeros, constant(1, I32)))
        unit = arith.subi(shifted, constant(1 << 30, I32))
        place = arith.subi(
            arith.shrsi(arith.addi(unit, constant(1 << 13, I32)), constant(14, I32)),
            constant(32768, I32),
        )
        at = arith.index_cast(ir.IndexType.get(), arith.addi(place, constant(32768, I32)))
        at = arith.minsi(at, arith.constant(ir.IndexType.get(), 65535))
        found = arith.extsi(I32.type, tensor.extract(inverse_table.value, [at]))
        return [found, arith.subi(constant(31, I32), zeros)]

    from iree_core.lowering.structured import elementwise_many

    inverses, rights = elementwise_many([sums], [I32, I32], reciprocal)

    def body(p: ir.Value, s: ir.Value, right: ir.Value) -> ir.Value:
        product = arith.muli(arith.extsi(I32.type, p), s)
        one = constant(1, I32)
        half = arith.shli(one, arith.subi(right, one))
        made = arith.shrsi(arith.addi(product, half), right)
        return fp.emit_saturate(made, 0, 32767, I16)

    return elementwise([powers, inverses, rights], I16, body)
