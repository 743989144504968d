"""Changes of type: casts, and to and from scaled integers."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import scalars
from iree_core.lowering.element import F16, F32, F64, ElementType
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import convert, elementwise
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Constant, Value
from iree_frontend_tf.tflite.ops import quantized_elementwise as quantized
from iree_frontend_tf.tflite.ops.common import tracked
from iree_frontend_tf.tflite.registry import Node, lowering


@lowering("CAST")
def cast(node: Node) -> Tensor | Value:
    """C's conversion."""
    target = node.element()
    if node.value(0).element.is_integer and target.is_integer:
        known = tracked(node, lambda x: x)
        if known is not None:
            assert known.tracked_items() is not None
            return Value(items=known.tracked_items(), rank=known.rank, element=target)
    return float_to_any(node.tensor(0), target)


def float_to_any(x: Tensor, target: ElementType) -> Tensor:
    """Return ``x`` as ``target``; floats out of an integer's range become what the processor of
    TFLite's reference builds makes of them (the lowest value, truncated to the type)."""
    if not (x.element.is_float and target.is_integer):
        return convert(x, target)
    wide = _through(target)

    def body(v: ir.Value) -> ir.Value:
        low, high = -(2.0 ** (wide.bits - 1)), 2.0 ** (wide.bits - 1)
        source = scalars.convert(v, x.element, F64)
        inside = arith.andi(
            arith.cmpf(arith.CmpFPredicate.OGE, source, constant(low, F64)),
            arith.cmpf(arith.CmpFPredicate.OLT, source, constant(high, F64)),
        )
        safe = arith.select(inside, source, constant(0, F64))
        made = arith.select(
            inside, arith.fptosi(wide.type, safe), constant(-(2 ** (wide.bits - 1)), wide)
        )
        return made if wide.bits == target.bits else arith.trunci(target.type, made)

    return elementwise([x], target, body)


def _through(target: ElementType) -> ElementType:
    from iree_core.lowering.element import I32, I64

    return I64 if target.bits == 64 or target.name == "ui32" else I32


@lowering("DEQUANTIZE")
def dequantize(node: Node) -> Tensor | Value:
    """``scale * (stored - zero_point)``; constants stay constants, computed when written."""
    source, info = node.value(0), node.input(0)
    if source.element == F16:
        known = source.constant
        if known is None:
            return convert(node.tensor(0), F32)
        return Value(
            constant=Constant(
                f"{known.name}.f32", known.shape, F32, lambda: known.read().astype("float32")
            )
        )
    found = node.quantization(info)
    if source.constant is not None:
        stored = source.constant
        return Value(
            constant=Constant(
                f"{stored.name}.f32",
                stored.shape,
                F32,
                lambda: quantized.dequantize_array(stored.read(), found),
            )
        )
    return quantized.dequantize(node, node.tensor(0), found)


@lowering("QUANTIZE")
def quantize(node: Node) -> Tensor:
    """To scaled integers, from floats or from other scaled integers."""
    x = node.tensor(0)
    if x.element.is_float:
        return quantized.quantize(node, x, node.output())
    return quantized.requantize(node)


@lowering("FAKE_QUANT")
def fake_quant(node: Node) -> Tensor:
    """Floats rounded as if they were stored as integers (TensorFlow's nudged range)."""
    x = node.tensor(0)
    bits = node.option("NumBits", 8)
    low, high = node.option("Min", 0.0), node.option("Max", 0.0)
    from_zero = 1 if node.option("NarrowRange", False) else 0
    nudged_low, nudged_high, scale = quantized.nudge(low, high, from_zero, (1 << bits) - 1)

    def body(v: ir.Value) -> ir.Value:
        limited = arith.minimumf(
            arith.maximumf(v, constant(nudged_low, F32)), constant(nudged_high, F32)
        )
        shifted = arith.subf(limited, constant(nudged_low, F32))
        steps = arith.mulf(shifted, constant(1.0 / scale, F32))
        from iree_core.ir import math

        whole = math.floor(arith.addf(steps, constant(0.5, F32)))
        return arith.addf(arith.mulf(whole, constant(scale, F32)), constant(nudged_low, F32))

    return elementwise([x], F32, body)
