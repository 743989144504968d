"""Matrix products: FULLY_CONNECTED and BATCH_MATMUL."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import I4, I8, I16, I32, U8
from iree_core.lowering.structured import contract, convert, elementwise, reduce
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.fixed_point import emit_offset, quantize_multiplier
from iree_frontend_tf.tflite.ops.accumulate import (
    accumulator,
    finish_float,
    finish_in_double,
    finish_integer,
    is_hybrid,
    product_scale,
    requantized,
    sum_of_products,
)
from iree_frontend_tf.tflite.ops.common import is_quantized
from iree_frontend_tf.tflite.ops.hybrid import Rows, finish_hybrid, quantize_rows, weight_scales
from iree_frontend_tf.tflite.registry import Node, lowering


@lowering("FULLY_CONNECTED")
def fully_connected(node: Node) -> Tensor:
    """``x . w^T + bias``: filters [out, in]; all but the last dimension of x are rows."""
    if node.option("WeightsFormat", 0):
        node.unsupported("shuffled weights are not supported")
    x, w, bias = node.tensor(0), node.tensor(1), node.optional(2)
    depth = w.dims[1]
    lead = list(x.dims[:-1])
    if index.same(x.dims[-1], depth) or not isinstance(x.dims[-1], int):
        rows = tensors.reshape(x, [index.product(lead), depth])
    else:
        rows = tensors.reshape(x, [index.floordiv(index.product(x.dims), depth), depth])
        lead = [rows.dims[0]]
    result = _product(node, rows, w, bias)
    if node.option("KeepNumDims", False) and len(lead) != 1:
        return tensors.reshape(result, [*lead, w.dims[0]])
    return result


def _product(node: Node, rows: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    dims = [rows.dims[0], w.dims[0]]
    if not is_quantized(node):
        return finish_float(node, times_filters(node, rows, 1), bias, node.element())
    offsets = node.scale(node.input(0))[1], int(node.quantization(node.input(1)).zero_point[0])
    wide = accumulator(rows.element, bias)
    sums = sum_of_products(rows, [0, 2], w, [1, 2], dims, 1, wide, offsets)
    if rows.element == U8:
        return finish_integer(node, sums, 0, 1, bias)
    return finish_in_double(node, sums, 0, 1, bias)


def times_filters(node: Node, rows: Tensor, position: int) -> Tensor:
    """Return ``rows . w^T`` for the floats or scaled integers [out, in] of input ``position``."""
    w = node.tensor(position)
    dims = [rows.dims[0], w.dims[0]]
    if not is_hybrid(node, position):
        if rows.element != w.element:
            node.unsupported(f"{rows.element.name} rows with {w.element.name} filters")
        return sum_of_products(rows, [0, 2], w, [1, 2], dims, 1, accumulator(rows.element))
    asymmetric = bool(node.option("AsymmetricQuantizeInputs", False))
    scaled = quantize_rows(rows, [1], asymmetric=asymmetric)
    w = convert(w, I8) if w.element == I4 else w
    sums = sum_of_products(scaled.stored, [0, 2], w, [1, 2], dims, 1, I32)
    if scaled.zero is not None:
        # sum((x - zero) * w) = sum(x * w) - zero * sum(w)
        columns = reduce([w], [1], 0, I32, _accumulate)
        sums = elementwise([sums, scaled.zero, columns], I32, _without_offset, dims=dims)
    return finish_hybrid(node, sums, scaled, weight_scales(node, position))


def _accumulate(v: ir.Value, acc: ir.Value) -> ir.Value:
    return arith.addi(acc, arith.extsi(I32.type, v))


def _without_offset(sums: ir.Value, zero: ir.Value, column: ir.Value) -> ir.Value:
    return arith.subi(sums, arith.muli(zero, column))


@lowering("BATCH_MATMUL")
def batch_matmul(node: Node) -> Tensor:
    """Products of the matrices in the last two dimensions; the others broadcast."""
    x, y = node.tensor(0), node.tensor(1)
    hybrid = is_hybrid(node, 1)
    if x.element != y.element and not hybrid:
        node.unsupported(f"{x.element.name} times {y.element.name}")
    labels = "abcdefgh"
    count = max(x.rank, y.rank) - 2
    batch = list(labels[:count])
    xs = [*batch[count - x.rank + 2 :], *("ki" if node.option("AdjX", False) else "ik")]
    ys = [*batch[count - y.rank + 2 :], *("jk" if node.option("AdjY", False) else "kj")]
    out = [*batch, "i", "j"]
    if hybrid:
        return _hybrid_batch(node, x, xs, y, ys, out)
    if not is_quantized(node):
        target = node.element()
        return convert(contract(x, xs, y, ys, out, accumulator(x.element)), target)
    (sx, zx), (sy, zy) = node.scale(node.input(0)), node.scale(node.input(1))
    so, zo = node.scale(node.output())
    wide = accumulator(x.element)
    sums = contract(_shifted(x, zx), xs, _shifted(y, zy), ys, out, wide)
    factor = quantize_multiplier(product_scale(sx, sy) / float(so))
    return requantized(node, sums, [factor], None, (so, zo), node.element())


def _shifted(x: Tensor, zero: int) -> Tensor:
    """Return stored values minus their zero point, in 16 bits where they need it."""
    if zero == 0:
        return x
    wide = I16 if x.element.bits == 8 else I32

    def body(v: ir.Value) -> ir.Value:
        return scalars.convert(emit_offset(v, x.element, zero), I32, wide)

    return elementwise([x], wide, body)


def _hybrid_batch(
    node: Node, x: Tensor, xs: list[str], y: Tensor, ys: list[str], out: list[str]
) -> Tensor:
    asymmetric = bool(node.option("AsymmetricQuantizeInputs", False))
    depth = xs.index("k")
    scaled = quantize_rows(x, [depth], asymmetric=asymmetric)
    stored = scaled.stored
    if scaled.zero is not None:

        def centre(v: ir.Value, zero: ir.Value) -> ir.Value:
            return arith.subi(arith.extsi(I16.type, v), arith.trunci(I16.type, zero))

        stored = elementwise([stored, scaled.zero], I16, centre)
    sums = contract(stored, xs, y, ys, out, I32)
    # One scale per row of the product, which a transposed x has in its last dimension.
    scale = tensors.squeeze(scaled.scale, [depth])
    tall = tensors.expand_dims(scale, [scale.rank])
    rows = Rows(stored, tall, None)
    return finish_hybrid(node, sums, rows, weight_scales(node, 1))
