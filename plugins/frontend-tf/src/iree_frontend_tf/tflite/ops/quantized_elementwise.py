"""Elementwise operators on scaled integers, as the reference kernels compute them."""

from __future__ import annotations

from math import log2

import numpy as np
from numpy.typing import NDArray

from iree_core.ir import arith, ir, math
from iree_core.lowering import scalars
from iree_core.lowering.element import BOOL, F32, I8, I16, I32, U8, ElementType
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor, reshape
from iree_frontend_tf.tflite.file import Quantization, TensorInfo
from iree_frontend_tf.tflite.fixed_point import (
    activation_range,
    emit_offset,
    emit_rounding_shift,
    emit_saturate,
    emit_scaled,
    limits,
    quantize_multiplier,
)
from iree_frontend_tf.tflite.ops.common import fused_activation
from iree_frontend_tf.tflite.registry import Node


def _output_range(node: Node) -> tuple[int, int]:
    scale, zero = node.scale(node.output())
    try:
        return activation_range(fused_activation(node), scale, zero, node.element())
    except ValueError as error:
        node.unsupported(str(error))


def _log2(scale: float) -> int | None:
    exponent = log2(scale)
    return round(exponent) if abs(exponent - round(exponent)) < 1e-3 else None


def add(node: Node) -> Tensor:
    """Sum or difference: both operands on a common scale with some bits to spare."""
    e, infos = node.element(), (node.input(0), node.input(1), node.output())
    (s0, z0), (s1, z1), (so, zo) = (node.scale(i) for i in infos)
    low, high = _output_range(node)
    negative = node.op == "SUB"
    a, b = node.tensor(0), node.tensor(1)
    if e == I16 and node.option("PotScaleInt16", True):
        exponents = [_log2(float(s)) for s in (s0, s1, so)]
        if all(x is not None for x in exponents) and z0 == z1 == zo == 0:
            return _add_shifted(node, [x for x in exponents if x is not None])
    spare = 15 if e == I16 else 20
    twice = float(np.float32(2) * max(s0, s1))
    factors = [quantize_multiplier(float(s) / twice) for s in (s0, s1)]
    out = quantize_multiplier(twice / ((1 << spare) * float(so)))

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        shift = constant(spare, I32)
        x = emit_scaled(arith.shli(emit_offset(x, e, z0), shift), factors[0])
        y = emit_scaled(arith.shli(emit_offset(y, e, z1), shift), factors[1])
        total = arith.subi(x, y) if negative else arith.addi(x, y)
        made = arith.addi(emit_scaled(total, out), constant(zo, I32))
        return emit_saturate(made, low, high, e)

    return elementwise([a, b], e, body)


def _add_shifted(node: Node, exponents: list[int]) -> Tensor:
    """16-bit values with scales that are powers of two: one operand is shifted to the other's."""
    e = node.element()
    low, high = _output_range(node)
    shifts = [exponents[i] - exponents[2] for i in range(2)]
    if 0 not in shifts or max(shifts) > 0:
        node.unsupported("one 16-bit operand must have the scale of the result, none a larger")

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        operands = []
        for value, shift in zip((x, y), shifts, strict=True):
            wide = arith.extsi(I32.type, value)
            operands.append(
                wide if shift == 0 else emit_rounding_shift(wide, constant(-shift, I32))
            )
        total = (arith.subi if node.op == "SUB" else arith.addi)(*operands)
        bottom, top = limits(e)
        # The sum saturates before the activation function.
        whole = arith.minsi(arith.maxsi(total, constant(bottom, I32)), constant(top, I32))
        return emit_saturate(whole, low, high, e)

    return elementwise([node.tensor(0), node.tensor(1)], e, body)


def multiply(node: Node) -> Tensor:
    """Product, scaled once."""
    e = node.element()
    (s0, z0), (s1, z1), (so, zo) = (
        node.scale(i) for i in (node.input(0), node.input(1), node.output())
    )
    low, high = _output_range(node)
    factor = quantize_multiplier(float(np.float32(s0) * np.float32(s1) / np.float32(so)))

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        product = arith.muli(emit_offset(x, e, z0), emit_offset(y, e, z1))
        made = arith.addi(emit_scaled(product, factor), constant(zo, I32))
        return emit_saturate(made, low, high, e)

    return elementwise([node.tensor(0), node.tensor(1)], e, body)


def divide(node: Node) -> Tensor:
    """Quotient; not supported on integers."""
    node.unsupported("it is not supported on quantized integers")


def squared_difference(node: Node) -> Tensor:
    """Square of the difference on a common scale with 7 bits to spare."""
    e = node.element()
    (s0, z0), (s1, z1), (so, zo) = (
        node.scale(i) for i in (node.input(0), node.input(1), node.output())
    )
    low, high = limits(e)
    spare = 7 if e == I8 else 0
    twice = 2.0 * float(max(s0, s1))
    factors = [quantize_multiplier(float(s) / twice) for s in (s0, s1)]
    out = quantize_multiplier(twice * twice / ((1 << (spare * 2)) * float(so)))

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        shift = constant(spare, I32)
        x = emit_scaled(arith.shli(emit_offset(x, e, z0), shift), factors[0])
        y = emit_scaled(arith.shli(emit_offset(y, e, z1), shift), factors[1])
        difference = arith.subi(x, y)
        square = arith.muli(difference, difference)
        made = arith.addi(emit_scaled(square, out), constant(zo, I32))
        return emit_saturate(made, low, high, e)

    return elementwise([node.tensor(0), node.tensor(1)], e, body)


def extremum(node: Node) -> Tensor:
    """Larger or smaller of stored values; the scales of all operands are equal."""
    a, b = node.tensor(0), node.tensor(1)
    e = a.element
    pick = scalars.maximum if node.op == "MAXIMUM" else scalars.minimum
    return elementwise([a, b], e, lambda x, y: pick(x, y, e))


def compare(node: Node, predicate: str) -> Tensor:
    """Comparison of both operands on scales that are multiplied out with 8 bits to spare."""
    a, b = node.tensor(0), node.tensor(1)
    (s0, z0), (s1, z1) = (node.scale(node.input(i)) for i in range(2))
    e = a.element
    spare = 8
    factors = [quantize_multiplier(float(s)) for s in (s0, s1)]

    def body(x: ir.Value, y: ir.Value) -> ir.Value:
        shift = constant(spare, I32)
        x = emit_scaled(arith.shli(emit_offset(x, e, z0), shift), factors[0])
        y = emit_scaled(arith.shli(emit_offset(y, e, z1), shift), factors[1])
        return scalars.compare(predicate, x, y, I32)

    return elementwise([a, b], BOOL, body)


def leaky_relu(node: Node) -> Tensor:
    """Two factors, by sign."""
    x = node.tensor(0)
    e = x.element
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    alpha = np.float32(node.option("Alpha", 0.0))
    slope = quantize_multiplier(float(si * alpha / so))
    identity = quantize_multiplier(float(si / so))
    low, high = limits(e)

    def body(v: ir.Value) -> ir.Value:
        value = emit_offset(v, e, zi)
        positive = arith.cmpi(arith.CmpIPredicate.sge, value, constant(0, I32))
        made = arith.select(positive, emit_scaled(value, identity), emit_scaled(value, slope))
        return emit_saturate(arith.addi(made, constant(zo, I32)), low, high, e)

    return elementwise([x], e, body)


def prelu(node: Node) -> Tensor:
    """Two factors, by sign, the negative one times alpha."""
    x, alpha = node.tensor(0), node.tensor(1)
    e = x.element
    (si, zi), (sa, za), (so, zo) = (
        node.scale(i) for i in (node.input(0), node.input(1), node.output())
    )
    identity = quantize_multiplier(float(si / so))
    slope = quantize_multiplier(float(si * sa / so))
    low, high = limits(e)

    def body(v: ir.Value, a: ir.Value) -> ir.Value:
        value = emit_offset(v, e, zi)
        product = arith.muli(value, emit_offset(a, e, za))
        positive = arith.cmpi(arith.CmpIPredicate.sge, value, constant(0, I32))
        made = arith.select(positive, emit_scaled(value, identity), emit_scaled(product, slope))
        return emit_saturate(arith.addi(made, constant(zo, I32)), low, high, e)

    return elementwise([x, alpha], e, body)


# Between floats and integers ----------------------------------------------------------------


def dequantize_array(stored: NDArray, found: Quantization) -> NDArray:
    """Return real values of a constant."""
    shape = [1] * stored.ndim
    if found.per_channel:
        shape[found.axis] = -1
    scale, zero = found.scale.reshape(shape), found.zero_point.reshape(shape)
    if not found.per_channel:
        scale, zero = found.scale[0], found.zero_point[0]
    return ((stored.astype(np.int64) - zero).astype(np.float32) * scale).astype(np.float32)


def dequantize(node: Node, x: Tensor, found: Quantization) -> Tensor:
    """Return real values; ``scale`` may differ along one axis."""
    e = x.element
    wide = I32

    def real(v: ir.Value, scale: ir.Value, zero: ir.Value) -> ir.Value:
        offset = arith.subi(scalars.convert(v, e, wide), zero)
        return arith.mulf(arith.sitofp(F32.type, offset), scale)

    if not found.per_channel:
        scale, zero = float(found.scale[0]), int(found.zero_point[0])
        return elementwise([x], F32, lambda v: real(v, constant(scale, F32), constant(zero, wide)))
    shape = [1] * x.rank
    shape[found.axis] = found.scale.size
    scales = reshape(node.constant(found.scale, F32, "scale"), shape)
    zeros = reshape(node.constant(found.zero_point.astype(np.int32), I32, "zero_point"), shape)
    return elementwise([x, scales, zeros], F32, real, dims=x.dims)


def quantize(node: Node, x: Tensor, info: TensorInfo) -> Tensor:
    """Return floats as stored values of ``info``: ``round(x / scale) + zero_point``."""
    scale, zero = node.scale(info)
    assert info.element is not None
    e = info.element
    low, high = limits(e)

    def body(v: ir.Value) -> ir.Value:
        v = scalars.convert(v, x.element, F32)
        steps = round_away(arith.divf(v, constant(float(scale), F32)))
        # Bounds are applied as floats: a conversion out of range is undefined.
        steps = arith.maximumf(steps, constant(float(low - zero), F32))
        steps = arith.minimumf(steps, constant(float(high - zero), F32))
        made = arith.addi(arith.fptosi(I32.type, steps), constant(zero, I32))
        return emit_saturate(made, low, high, e)

    return elementwise([x], e, body)


def round_away(x: ir.Value) -> ir.Value:
    """Return a f32 rounded to a whole number, halves away from zero (C's ``round``)."""
    return math.round(x)


def requantize(node: Node) -> Tensor:
    """From one scale to another."""
    return _rescale(node, node.tensor(0), node.input(0), node.output())


def rescaled(node: Node, x: Tensor, position: int) -> Tensor:
    """Return input ``position`` on the scale of the output, where they differ."""
    source, target = node.input(position), node.output()
    (s0, z0), (s1, z1) = node.scale(source), node.scale(target)
    if s0 == s1 and z0 == z1:
        return x
    if x.element != U8:
        node.unsupported("integers to be joined must have the scale of the result")
    inverse = np.float32(1) / s1
    scale = np.float32(s0 * inverse)
    bias = np.float32(-z0 * scale)

    def body(v: ir.Value) -> ir.Value:
        real = arith.uitofp(F32.type, v)
        scaled = arith.addf(
            arith.mulf(real, constant(float(scale), F32)), constant(float(bias), F32)
        )
        made = arith.addi(arith.fptosi(I32.type, round_away(scaled)), constant(z1, I32))
        return emit_saturate(made, 0, 255, U8)

    return elementwise([x], U8, body)


def _rescale(node: Node, x: Tensor, source: TensorInfo, target: TensorInfo) -> Tensor:
    (s0, z0), (s1, z1) = node.scale(source), node.scale(target)
    assert target.element is not None
    e, out = x.element, target.element
    low, high = limits(out)
    factor = quantize_multiplier(float(s0) / float(s1))

    def body(v: ir.Value) -> ir.Value:
        made = emit_scaled(emit_offset(v, e, z0), factor)
        return emit_saturate(arith.addi(made, constant(z1, I32)), low, high, out)

    return elementwise([x], out, body)


def nudge(low: float, high: float, first: int, last: int) -> tuple[float, float, float]:
    """Return range and step moved so that zero is a whole step (``NudgeQuantizationRange``)."""
    lowest, highest = np.float32(low), np.float32(high)
    scale = (highest - lowest) / np.float32(last - first)
    from_zero = np.float32(first) - lowest / scale
    if from_zero < first:
        zero = first
    elif from_zero > last:
        zero = last
    else:
        zero = int(np.floor(from_zero + np.float32(0.5)))
    return float((first - zero) * scale), float((last - zero) * scale), float(scale)


def stored_constant(node: Node, position: int, element: ElementType) -> NDArray:
    """Return a constant integer input as int64."""
    return node.known(position, "an operand of integers").astype(np.int64)
