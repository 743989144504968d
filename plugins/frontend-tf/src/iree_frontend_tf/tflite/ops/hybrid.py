"""Dynamic range quantization: floats are scaled to 8 bits row by row as the program runs,
multiplied with integer filters, and the sums scaled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iree_core.ir import arith, ir, math
from iree_core.lowering import scalars
from iree_core.lowering.element import F32, F64, I8, I16, I32, ElementType
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import elementwise, reduce
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.registry import Node


@dataclass(frozen=True)
class Rows:
    """Floats as 8-bit integers, with one scale (and zero point) per row.

    Attributes:
        stored: the integers, of the shape of the floats.
        scale: f32, that shape with the reduced dimensions 1.
        zero: i32, of the same shape as ``scale``; None where it is 0.
    """

    stored: Tensor
    scale: Tensor
    zero: Tensor | None
    accumulator: ElementType = I32


def quantize_rows(x: Tensor, axes: Sequence[int], *, asymmetric: bool) -> Rows:
    """Scale floats to 8 bits over ``axes`` (``SymmetricQuantizeFloats`` and
    ``AsymmetricQuantizeFloats``)."""
    e = F32
    if asymmetric:
        return _asymmetric(x, axes)

    def largest(v: ir.Value, acc: ir.Value) -> ir.Value:
        return scalars.maximum(acc, math.absf(v), e)

    range_ = reduce([x], axes, 0.0, e, largest, keep_dims=True)

    def scale_of(r: ir.Value) -> ir.Value:
        zero = scalars.compare("eq", r, constant(0, e), e)
        return arith.select(zero, constant(1, e), arith.divf(r, constant(127, e)))

    def store(v: ir.Value, r: ir.Value) -> ir.Value:
        zero = scalars.compare("eq", r, constant(0, e), e)
        safe = arith.select(zero, constant(1, e), r)
        inverse = arith.divf(constant(127, e), safe)
        steps = math.round(arith.mulf(v, inverse))
        steps = arith.minimumf(arith.maximumf(steps, constant(-127, e)), constant(127, e))
        return arith.fptosi(I8.type, steps)

    return Rows(elementwise([x, range_], I8, store), elementwise([range_], e, scale_of), None)


def _asymmetric(x: Tensor, axes: Sequence[int]) -> Rows:
    e = F32
    low = reduce([x], axes, 0.0, e, lambda v, a: scalars.minimum(a, v, e), keep_dims=True)
    high = reduce([x], axes, 0.0, e, lambda v, a: scalars.maximum(a, v, e), keep_dims=True)

    def scale_of(a: ir.Value, b: ir.Value) -> ir.Value:
        flat = scalars.compare("eq", a, b, e)
        wide = scalars.convert(b, e, F64)
        step = arith.divf(arith.subf(wide, scalars.convert(a, e, F64)), constant(255, F64))
        return arith.select(flat, constant(1, e), scalars.convert(step, F64, e))

    scale = elementwise([low, high], e, scale_of)

    def zero_of(a: ir.Value, b: ir.Value) -> ir.Value:
        f64 = F64
        wide_low, wide_high = scalars.convert(a, e, f64), scalars.convert(b, e, f64)
        flat = arith.cmpf(arith.CmpFPredicate.OEQ, wide_low, wide_high)
        step = arith.divf(arith.subf(wide_high, wide_low), constant(255, f64))
        step = arith.select(flat, constant(1, f64), step)
        below = arith.subf(constant(-128, f64), arith.divf(wide_low, step))
        above = arith.subf(constant(127, f64), arith.divf(wide_high, step))
        error_low = arith.addf(constant(128, f64), math.absf(arith.divf(wide_low, step)))
        error_high = arith.addf(constant(127, f64), math.absf(arith.divf(wide_high, step)))
        first = arith.cmpf(arith.CmpFPredicate.OLT, error_low, error_high)
        point = arith.select(first, below, above)
        limited = arith.minimumf(
            arith.maximumf(math.round(point), constant(-128, f64)), constant(127, f64)
        )
        return arith.select(flat, constant(0, I32), arith.fptosi(I32.type, limited))

    zero = elementwise([low, high], I32, zero_of)

    def store(v: ir.Value, s: ir.Value, z: ir.Value) -> ir.Value:
        inverse = arith.divf(constant(1, e), s)
        point = arith.sitofp(e.type, z)
        steps = math.round(arith.addf(point, arith.mulf(v, inverse)))
        steps = arith.minimumf(arith.maximumf(steps, constant(-128, e)), constant(127, e))
        return arith.fptosi(I8.type, steps)

    return Rows(elementwise([x, scale, zero], I8, store), scale, zero)


def quantize_images(x: Tensor, *, asymmetric: bool) -> Rows:
    """Scale every image of a batch on its own; zero points are subtracted already."""
    rows = quantize_rows(x, list(range(1, x.rank)), asymmetric=asymmetric)
    if rows.zero is None:
        return rows

    def centre(v: ir.Value, z: ir.Value) -> ir.Value:
        return arith.trunci(I16.type, arith.subi(arith.extsi(I32.type, v), z))

    return Rows(elementwise([rows.stored, rows.zero], I16, centre), rows.scale, None)


def weight_scales(node: Node, position: int) -> Tensor:
    """Return the scales of filters, [1] or [channels]."""
    found = node.quantization(node.input(position)).scale
    return node.constant(np.atleast_1d(found).astype(np.float32), F32, "scale")


def finish_hybrid(node: Node, sums: Tensor, rows: Rows, scales: Tensor) -> Tensor:
    """Return integer sums as floats: times the row's scale and the channel's."""

    def body(v: ir.Value, s: ir.Value, w: ir.Value) -> ir.Value:
        return arith.mulf(arith.sitofp(F32.type, v), arith.mulf(s, w))

    return elementwise([sums, rows.scale, scales], F32, body, dims=sums.dims)
