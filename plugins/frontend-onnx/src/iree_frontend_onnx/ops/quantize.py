"""Quantisation: to and from integers and small floats, and integer products."""

from __future__ import annotations

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import F32, I32, U8, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import convert, elementwise, elementwise_many
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.cast import convert_scalar
from iree_frontend_onnx.ops.elementwise import number
from iree_frontend_onnx.ops.matmul import integer_matmul
from iree_frontend_onnx.registry import Node, lowering


def _shaped(node: Node, parameter: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """Return a scale or zero point that broadcasts against ``x`` split into blocks."""
    if parameter.rank == 0 or (parameter.rank == 1 and index.same(parameter.dims[0], 1)):
        return tensors.reshape(parameter, ())
    if block:
        return tensors.expand_dims(parameter, [axis + 1])
    if parameter.rank == 1:
        return tensors.expand_dims(parameter, range(1, x.rank - axis))
    return parameter


def _axis(node: Node, x: Tensor) -> int:
    """The axis only matters where there is more than one scale."""
    axis = node.attr("axis", 1)
    return axis % x.rank if -x.rank <= axis < x.rank else 0


def _blocks(x: Tensor, axis: int, block: int) -> Tensor:
    if not block:
        return x
    size = x.dims[axis]
    count = index.ceildiv(size, block)
    missing = index.sub(index.mul(count, block), size)
    high: list[Dim] = [missing if a == axis else 0 for a in range(x.rank)]
    x = tensors.pad(x, [0] * x.rank, high, 0)
    return tensors.reshape(x, [*x.dims[:axis], count, block, *x.dims[axis + 1 :]])


def _unblocked(x: Tensor, dims: tuple[Dim, ...], axis: int, block: int) -> Tensor:
    if not block:
        return x
    whole = tensors.collapse(
        x, [[a] for a in range(axis)] + [[axis, axis + 1]] + [[a] for a in range(axis + 2, x.rank)]
    )
    return tensors.extract_slice(whole, [0] * len(dims), dims, [1] * len(dims))


def limits(element: ElementType) -> tuple[int, int]:
    """Return the smallest and largest value of an integer type."""
    return int(scalars.lowest(element)), int(scalars.highest(element))


def quantized(v: ir.Value, zero: ir.Value | None, wide: ElementType, e: ElementType) -> ir.Value:
    """Inside a body: round, shift and saturate a scaled float."""
    if e.is_float:
        return convert_scalar(v, wide, e)
    low, high = limits(e)
    v = math.roundeven(v)
    if zero is not None:
        v = arith.addf(v, scalars.convert(zero, e, wide))
    v = arith.minimumf(arith.maximumf(v, number(low, wide)), number(high, wide))
    return scalars.convert(scalars.convert(v, wide, I32), I32, e)


@lowering("QuantizeLinear")
def quantize_linear(node: Node) -> Tensor:
    """saturate(round(x / scale) + zero point), per tensor, axis or block."""
    x, scale, zero = node.tensor(0), node.tensor(1), node.optional(2)
    target = zero.element if zero is not None else node.element_attr("output_dtype", U8)
    axis = _axis(node, x)
    block = node.attr("block_size", 0)
    data = _blocks(x, axis, block)
    shifts = None if target.is_float else zero
    parts = [data] + [_shaped(node, p, x, axis, block) for p in (scale, shifts) if p is not None]
    wide = F32 if max(x.element.bits, scale.element.bits) <= 32 else x.element
    narrow = node.element_attr("precision", scale.element if scale.element.is_float else F32)
    rounds = narrow.is_float and narrow.bits == 16

    def body(v: ir.Value, s: ir.Value, *z: ir.Value) -> ir.Value:
        ratio = arith.divf(
            scalars.convert(v, x.element, wide), scalars.convert(s, scale.element, wide)
        )
        if rounds:
            ratio = scalars.convert(scalars.convert(ratio, wide, narrow), narrow, wide)
        if target.is_float:
            return convert_scalar(ratio, wide, target, bool(node.attr("saturate", 1)))
        return quantized(ratio, z[0] if z else None, wide, target)

    made = elementwise(parts, target, body, dims=data.dims)
    return _unblocked(made, x.dims, axis, block)


@lowering("DequantizeLinear")
def dequantize_linear(node: Node) -> Tensor:
    """(x - zero point) * scale, per tensor, axis or block."""
    x, scale, zero = node.tensor(0), node.tensor(1), node.optional(2)
    target = node.element_attr("output_dtype", scale.element)
    if target.bits < 16:
        target = F32
    axis = _axis(node, x)
    block = node.attr("block_size", 0)
    data = _blocks(x, axis, block)
    parts = [data] + [_shaped(node, p, x, axis, block) for p in (scale, zero) if p is not None]
    wide = target.accumulator

    def body(v: ir.Value, s: ir.Value, *z: ir.Value) -> ir.Value:
        if x.element.is_float:
            v = scalars.convert(v, x.element, wide)
            if z and zero is not None:
                v = arith.subf(v, scalars.convert(z[0], zero.element, wide))
        else:
            v = scalars.convert(v, x.element, I32)
            if z and zero is not None:
                v = arith.subi(v, scalars.convert(z[0], zero.element, I32))
            v = scalars.convert(v, I32, wide)
        result = arith.mulf(v, scalars.convert(s, scale.element, wide))
        return scalars.convert(result, wide, target)

    made = elementwise(parts, target, body, dims=data.dims)
    return _unblocked(made, x.dims, axis, block)


@lowering("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Node) -> list[Tensor]:
    """To ui8 with a scale and zero point from the data's range."""
    from iree_frontend_onnx.ops.reduce import extremum

    x = node.tensor(0)
    axes = list(range(x.rank))
    low, high = (extremum(x, axes, largest, keep_dims=False) for largest in (False, True))

    def parameters(a: ir.Value, b: ir.Value) -> list[ir.Value]:
        nothing = number(0.0, F32)
        a, b = arith.minimumf(a, nothing), arith.maximumf(b, nothing)
        scale = arith.divf(arith.subf(b, a), number(255.0, F32))
        flat = scalars.compare("eq", scale, nothing, F32)
        divisor = arith.select(flat, number(1.0, F32), scale)
        zero = math.roundeven(arith.divf(arith.subf(nothing, a), divisor))
        return [scale, quantized(zero, None, F32, U8)]

    scale, zero = elementwise_many([low, high], [F32, U8], parameters)

    def body(v: ir.Value, s: ir.Value, z: ir.Value) -> ir.Value:
        flat = scalars.compare("eq", s, number(0.0, F32), F32)
        divisor = arith.select(flat, number(1.0, F32), s)
        return quantized(arith.divf(v, divisor), z, F32, U8)

    return [elementwise([x, scale, zero], U8, body), scale, zero]


def _row_vector(zero: Tensor | None) -> Tensor | None:
    """A per-row zero point [m] becomes a column [m, 1]."""
    if zero is None or zero.rank != 1 or index.same(zero.dims[0], 1):
        return zero
    return tensors.expand_dims(zero, [1])


@lowering("MatMulInteger")
def matmul_integer(node: Node) -> Tensor:
    """Product in i32 of operands without their zero points."""
    return integer_matmul(
        node.tensor(0), node.tensor(1), _row_vector(node.optional(2)), node.optional(3)
    )


def _centred(x: Tensor, zero: Tensor | None) -> Tensor:
    if zero is None:
        return convert(x, I32)

    def body(v: ir.Value, z: ir.Value) -> ir.Value:
        return arith.subi(scalars.convert(v, x.element, I32), scalars.convert(z, zero.element, I32))

    return elementwise([x, zero], I32, body, dims=x.dims)


def _per_filter(zero: Tensor | None, rank: int) -> Tensor | None:
    if zero is None or zero.rank != 1:
        return zero
    if index.same(zero.dims[0], 1):
        return tensors.reshape(zero, ())
    return tensors.expand_dims(zero, range(1, rank))


def _integer_convolution(
    node: Node, x: Tensor, w: Tensor, x_zero: Tensor | None, w_zero: Tensor | None
) -> Tensor:
    from iree_frontend_onnx.ops.conv import convolution

    if x_zero is not None:
        x_zero = tensors.reshape(x_zero, ())
    return convolution(node, _centred(x, x_zero), _centred(w, _per_filter(w_zero, w.rank)), I32)


@lowering("ConvInteger")
def conv_integer(node: Node) -> Tensor:
    """Convolution in i32 of operands without their zero points."""
    return _integer_convolution(
        node, node.tensor(0), node.tensor(1), node.optional(2), node.optional(3)
    )


def _requantized(total: Tensor, scales: list[Tensor], zero: Tensor) -> Tensor:
    """Return saturate(round(total * s0 * s1 / s2) + zero)."""
    target = zero.element

    def body(v: ir.Value, a: ir.Value, b: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        a, b, y = (
            scalars.convert(s, t.element, F32) for s, t in zip((a, b, y), scales, strict=True)
        )
        ratio = arith.divf(arith.mulf(a, b), y)
        value = arith.mulf(scalars.convert(v, I32, F32), ratio)
        return quantized(value, z, F32, target)

    return elementwise([total, *scales, zero], target, body, dims=total.dims)


@lowering("QLinearMatMul")
def qlinear_matmul(node: Node) -> Tensor:
    """Product of quantised matrices, quantised again."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (node.tensor(i) for i in range(8))
    total = integer_matmul(a, b, _row_vector(a_zero), b_zero)
    scales = [_row_vector(a_scale) or a_scale, b_scale, y_scale]
    return _requantized(total, scales, y_zero)


@lowering("QLinearConv")
def qlinear_conv(node: Node) -> Tensor:
    """Convolution of quantised operands with an i32 bias, quantised again."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (node.tensor(i) for i in range(8))
    total = _integer_convolution(node, x, w, x_zero, w_zero)
    if node.has(8):
        bias = tensors.expand_dims(node.tensor(8), range(1, x.rank - 1))
        total = elementwise([total, bias], I32, lambda v, b: arith.addi(v, b), dims=total.dims)

    def channel(t: Tensor) -> Tensor:
        if t.rank == 0 or index.same(t.dims[0], 1):
            return tensors.reshape(t, ())
        return tensors.expand_dims(t, range(1, x.rank - 1))

    return _requantized(
        total, [channel(x_scale), channel(w_scale), channel(y_scale)], channel(y_zero)
    )
