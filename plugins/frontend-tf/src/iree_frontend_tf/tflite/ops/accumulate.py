"""Sums of products of any operand types, and what makes results of them: floats get a bias and
an activation, scaled integers a bias and a multiplier per channel as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iree_core.ir import arith, ir
from iree_core.lowering import scalars, tensors
from iree_core.lowering.element import F32, F64, I16, I32, I64, U8, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import affine_map, elementwise, generic
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.fixed_point import (
    activation_range,
    emit_multiply,
    emit_multiply_wide,
    emit_rounded,
    emit_saturate,
    emit_scaled,
    quantize_multiplier,
)
from iree_frontend_tf.tflite.ops.common import activate_scalar, fused_activation
from iree_frontend_tf.tflite.registry import Node

Map = Sequence[int | ir.AffineExpr | None]


def sum_of_products(
    x: Tensor,
    x_map: Map,
    w: Tensor,
    w_map: Map,
    dims: Sequence[Dim],
    reductions: int,
    element: ElementType,
    offsets: tuple[int, int] = (0, 0),
) -> Tensor:
    """Return sums of ``(x - offsets[0]) * (w - offsets[1])`` in ``element``.

    The loops are one per size in ``dims``, in order, then ``reductions`` reduced ones.
    """
    rank = len(dims) + reductions

    def operand(v: ir.Value, source: ElementType, offset: int) -> ir.Value:
        wide = scalars.convert(v, source, element)
        return wide if offset == 0 else arith.subi(wide, constant(offset, element))

    def body(a: ir.Value, b: ir.Value, acc: ir.Value) -> ir.Value:
        a, b = operand(a, x.element, offsets[0]), operand(b, w.element, offsets[1])
        return scalars.add(acc, scalars.mul(a, b, element), element)

    init = tensors.fill(dims, element, 0)
    (result,) = generic(
        [x.value, w.value],
        [init.value],
        [
            affine_map(rank, x_map),
            affine_map(rank, w_map),
            affine_map(rank, list(range(len(dims)))),
        ],
        [d >= len(dims) for d in range(rank)],
        body,
    )
    return Tensor(result, tuple(dims), element)


def accumulator(x: ElementType, bias: Tensor | None = None) -> ElementType:
    """Return the type that TFLite sums products with operand ``x`` in."""
    if x.is_float:
        return F32
    # The converter says with the bias whether 32 bits are enough (QuantizedBiasType).
    return I64 if x == I16 and (bias is None or bias.element == I64) else I32


def product_scale(x: np.float32, w: np.float32) -> float:
    """Return the scale of products of tensors with one scale each, rounded to single precision
    (``GetQuantizedConvolutionMultipler``)."""
    return float(np.float32(x) * np.float32(w))


def finish_float(node: Node, sums: Tensor, bias: Tensor | None, target: ElementType) -> Tensor:
    """Add a bias per channel (the last dimension) and apply the fused activation."""
    kind = fused_activation(node)
    wide = sums.element

    def body(v: ir.Value, *rest: ir.Value) -> ir.Value:
        for b in rest:
            assert bias is not None
            v = scalars.add(v, scalars.convert(b, bias.element, wide), wide)
        return scalars.convert(activate_scalar(node, v, wide, kind), wide, target)

    operands = [sums] if bias is None else [sums, bias]
    return elementwise(operands, target, body, dims=sums.dims)


def finish_integer(
    node: Node, sums: Tensor, data: int, weights: int, bias: Tensor | None
) -> Tensor:
    """Add a bias, multiply by the scales per channel, add the zero point and saturate.

    Args:
        data, weights: the inputs that hold images or rows, and filters, whose scales may differ
            per channel.
    """
    (si, _), found = node.scale(node.input(data)), node.quantization(node.input(weights))
    so, zo = node.scale(node.output())
    e = node.element()
    if node.input(data).element == U8 and not found.per_channel:
        products = [product_scale(si, found.scale[0])]
    else:
        products = [float(si) * float(s) for s in found.scale]
    factors = [quantize_multiplier(product / float(so)) for product in products]
    return requantized(node, sums, factors, bias, (so, zo), e)


def _limits(node: Node, scale: np.float32, zero: int, e: ElementType) -> tuple[int, int]:
    try:
        return activation_range(fused_activation(node), scale, zero, e)
    except ValueError as error:
        node.unsupported(str(error))


def requantized(
    node: Node,
    sums: Tensor,
    factors: Sequence[tuple[int, int]],
    bias: Tensor | None,
    output: tuple[np.float32, int],
    e: ElementType,
) -> Tensor:
    """Return ``sums`` plus ``bias`` times ``factors`` (one, or one per channel) as ``e``."""
    so, zo = output
    low, high = _limits(node, so, zo, e)
    wide = sums.element
    varying = len(factors) > 1
    operands = [sums]
    if bias is not None:
        operands.append(bias)
    if varying:
        parts = np.array(factors, np.int32)
        operands.append(node.constant(parts[:, 0].copy(), I32, "multiplier"))
        operands.append(node.constant(parts[:, 1].copy(), I32, "shift"))

    def body(v: ir.Value, *rest: ir.Value) -> ir.Value:
        given = list(rest)
        if bias is not None:
            v = arith.addi(v, scalars.convert(given.pop(0), bias.element, wide))
        if wide == I64:
            pair = given or [constant(factors[0][0], I32), constant(factors[0][1], I32)]
            made = emit_multiply_wide(v, *pair)
        elif varying:
            made = emit_multiply(v, *given)
        else:
            made = emit_scaled(v, factors[0])
        if zo:
            made = arith.addi(made, constant(zo, I32))
        return emit_saturate(made, low, high, e)

    return elementwise(operands, e, body, dims=sums.dims)


def finish_in_double(
    node: Node, sums: Tensor, data: int, weights: int, bias: Tensor | None
) -> Tensor:
    """Like :func:`finish_integer` with factors that are doubles, as the reference kernel of
    ``FULLY_CONNECTED`` computes."""
    (si, _), found = node.scale(node.input(data)), node.quantization(node.input(weights))
    so, zo = node.scale(node.output())
    e = node.element()
    low, high = _limits(node, so, zo, e)
    wide = sums.element
    scales = float(si) * found.scale.astype(np.float64) / float(so)
    operands = [t for t in (sums, bias) if t is not None]
    if found.per_channel:
        operands.append(node.constant(scales, F64, "factor"))

    def body(v: ir.Value, *rest: ir.Value) -> ir.Value:
        given = list(rest)
        if bias is not None:
            v = arith.addi(v, scalars.convert(given.pop(0), bias.element, wide))
        factor = given[0] if given else constant(float(scales[0]), F64)
        made = emit_rounded(arith.mulf(scalars.convert(v, wide, F64), factor))
        return emit_saturate(arith.addi(made, constant(zo, I32)), low, high, e)

    return elementwise(operands, e, body, dims=sums.dims)


def is_hybrid(node: Node, weights: int, data: int = 0) -> bool:
    """Tell whether floats meet filters of scaled integers (dynamic range quantization)."""
    info = node.input(weights)
    return (
        node.value(data).element == F32
        and node.value(weights).element.is_integer
        and node.value(weights).element.bits <= 8
        and info.quantization is not None
    )
