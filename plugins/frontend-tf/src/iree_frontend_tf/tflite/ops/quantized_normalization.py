"""Logarithm of softmax and unit rows of scaled integers, in the reference kernels' fixed point."""

from __future__ import annotations

import numpy as np

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import scalars
from iree_core.lowering.element import I8, I32, I64
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import elementwise, elementwise_many, reduce
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite import fixed_point as fp
from iree_frontend_tf.tflite.ops import quantized_softmax as softmax
from iree_frontend_tf.tflite.registry import Node

_LOG_2, _SQRT_HALF, _SQRT_SQRT_HALF = 1488522236, 1518500250, 1805811301


def log_softmax(node: Node) -> Tensor:
    """Differences to the largest minus the logarithm of the sum of exponentials, 8 bits."""
    x = node.tensor(0)
    if x.element != I8:
        node.unsupported(f"it is not supported on scaled {x.element.name}")
    factor, smallest = softmax.preprocess(node, 1.0)
    differences = np.arange(-255, 1, dtype=np.int64)
    rescaled = fp.multiply(differences, factor)
    powers = np.where(differences >= smallest, softmax.exp_on_negative(rescaled), 0)
    parts = node.constant(fp.rounding_shift(powers, 12).astype(np.int32), I32, "exp.sum")
    table = node.constant(rescaled.astype(np.int32), I32, "differences")
    largest = softmax.row_maximum(x)
    logs = elementwise([softmax.table_sum(x, largest, parts)], I32, _logarithm)
    reverse = fp.quantize_multiplier((1 << (31 - factor[1])) / float(factor[0]))

    def body(v: ir.Value, m: ir.Value, log: ir.Value) -> ir.Value:
        place = softmax.difference(v, m, x.element)
        lowest = fp.emit_scaled(arith.addi(log, constant(-(1 << 31), I32)), reverse)
        lowest = arith.maxsi(lowest, constant(smallest - 1, I32))
        there = arith.subi(arith.index_cast(I32.type, place), constant(255, I32))
        counts = arith.cmpi(arith.CmpIPredicate.sgt, there, lowest)
        shifted = arith.subi(tensor.extract(table.value, [place]), log)
        made = fp.emit_rounding_shift(shifted, constant(22, I32))
        made = arith.addi(made, constant(127, I32))
        made = arith.select(counts, made, constant(-128, I32))
        return fp.emit_saturate(made, -128, 127, I8)

    return elementwise([x, largest, logs], I8, body)


def _logarithm(x: ir.Value) -> ir.Value:
    """TFLite's ``log_x_for_x_greater_than_or_equal_to_1``: raw Q12.19 to raw Q5.26."""
    headroom = math.ctlz(x)
    down = arith.subi(headroom, constant(1, I32))
    half = constant(_SQRT_HALF, I32)
    root = constant(_SQRT_SQRT_HALF, I32)
    quarter = constant(1 << 23, I32)
    first = softmax.saturating_shift(
        fp.emit_high_mul(_shift(x, down), half), 1
    )  # fmt: skip
    first_power = arith.addi(_units(headroom), quarter)
    scaled = fp.emit_high_mul(x, half)
    scaled_headroom = arith.subi(math.ctlz(scaled), constant(1, I32))
    second = _shift(x, scaled_headroom)
    second_power = arith.subi(_units(scaled_headroom), quarter)
    r = arith.minsi(first, second)
    power = arith.maxsi(first_power, second_power)
    p = _rounding_half_sum(r, root)
    q = arith.shli(arith.subi(r, root), constant(1, I32))
    squared = fp.emit_high_mul(q, q)
    cubed = fp.emit_high_mul(fp.emit_high_mul(q, squared), constant(117049297, I32))
    numerator = arith.addi(fp.emit_high_mul(q, r), cubed)
    inner = arith.addi(
        arith.addi(constant(1057819769, I32), q),
        fp.emit_high_mul(constant(127690142, I32), squared),
    )
    denominator = arith.addi(
        fp.emit_high_mul(p, inner), fp.emit_high_mul(constant(638450708, I32), q)
    )
    inverse = softmax.one_over_one_plus(denominator)
    made = arith.addi(
        fp.emit_high_mul(power, constant(_LOG_2, I32)),
        fp.emit_high_mul(fp.emit_rounding_shift(numerator, constant(6, I32)), inverse),
    )
    return softmax.saturating_shift(made, 1)


def _units(headroom: ir.Value) -> ir.Value:
    """Return ``12 - headroom`` with 6 integer bits."""
    return arith.shli(arith.subi(constant(12, I32), headroom), constant(25, I32))


def _shift(x: ir.Value, bits: ir.Value) -> ir.Value:
    """Return ``x * 2^bits``, saturated."""
    wide = arith.shli(arith.extsi(I64.type, x), arith.extsi(I64.type, bits))
    low, high = constant(-(1 << 31), I64), constant((1 << 31) - 1, I64)
    return arith.trunci(I32.type, arith.minsi(arith.maxsi(wide, low), high))


def _rounding_half_sum(a: ir.Value, b: ir.Value) -> ir.Value:
    total = arith.addi(arith.extsi(I64.type, a), arith.extsi(I64.type, b))
    up = arith.cmpi(arith.CmpIPredicate.sge, total, constant(0, I64))
    sign = arith.select(up, constant(1, I64), constant(-1, I64))
    return arith.trunci(I32.type, arith.divsi(arith.addi(total, sign), constant(2, I64)))


def l2_normalization(node: Node) -> Tensor:
    """Rows divided by their length, 8 bits."""
    x = node.tensor(0)
    e = x.element
    if e.bits != 8:
        node.unsupported(f"it is not supported on scaled {e.name}")
    _, zero = node.scale(node.input(0))

    def squares(v: ir.Value, acc: ir.Value) -> ir.Value:
        item = fp.emit_offset(v, e, zero)
        return arith.addi(acc, arith.muli(item, item))

    sums = reduce([x], [x.rank - 1], 0, I32, squares, keep_dims=True)
    inverse, right = elementwise_many([sums], [I32, I32], _inverse_square_root)
    low, high = fp.limits(e)

    def body(v: ir.Value, significand: ir.Value, down: ir.Value) -> ir.Value:
        item = fp.emit_offset(v, e, zero)
        if e.is_unsigned:
            item = arith.muli(item, constant(128, I32))
        up = constant(0 if e.is_unsigned else 7, I32)
        made = fp.emit_multiply(item, significand, arith.subi(up, down))
        if e.is_unsigned:
            made = arith.addi(made, constant(128, I32))
        return fp.emit_saturate(made, low, high, e)

    return elementwise([x, inverse, right], e, body)


def _inverse_square_root(value: ir.Value) -> list[ir.Value]:
    """Emit ``GetInvSqrtQuantizedMultiplierExp``: significand and shift to the right."""
    one = scalars.compare("le", value, constant(1, I32), I32)
    right = constant(11, I32)
    x = arith.maxsi(value, constant(2, I32))
    for _ in range(2):
        large = scalars.compare("ge", x, constant(1 << 29, I32), I32)
        x = arith.select(large, arith.shrui(x, constant(2, I32)), x)
        right = arith.addi(right, arith.extui(I32.type, large))
    left = arith.subi(math.ctlz(x), constant(1, I32))
    pairs = arith.subi(arith.shrui(left, constant(1, I32)), constant(1, I32))
    right = arith.subi(right, pairs)
    x = arith.shli(x, arith.shli(pairs, constant(1, I32)))
    half = fp.emit_rounding_shift(arith.shrui(x, constant(1, I32)), constant(1, I32))
    guess = constant(1 << 28, I32)
    for _ in range(5):
        cube = fp.emit_high_mul(fp.emit_high_mul(guess, guess), guess)
        cube = softmax.saturating_shift(cube, 6)
        step = fp.emit_high_mul(constant((1 << 28) + (1 << 27), I32), guess)
        step = arith.subi(step, fp.emit_high_mul(half, cube))
        guess = softmax.saturating_shift(step, 3)
    made = fp.emit_high_mul(guess, constant(_SQRT_HALF, I32))
    zero = constant(0, I32)
    made = arith.shli(made, arith.maxsi(arith.subi(zero, right), zero))
    right = arith.maxsi(right, zero)
    largest = constant((1 << 31) - 1, I32)
    return [arith.select(one, largest, made), arith.select(one, zero, right)]
