"""Matrix products: FULLY_CONNECTED and BATCH_MATMUL."""

from __future__ import annotations

from iree_core.lowering import index, tensors
from iree_core.lowering.element import I4, I8, I32, U8
from iree_core.lowering.structured import contract, convert
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.fixed_point import quantize_multiplier
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
from iree_frontend_tf.tflite.ops.hybrid import finish_hybrid, quantize_rows, weight_scales
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
    if is_hybrid(node, 1):
        asymmetric = bool(node.option("AsymmetricQuantizeInputs", False))
        scaled = quantize_rows(rows, [1], asymmetric=asymmetric)
        sums = _hybrid_sums(scaled.stored, scaled.zero, w, dims)
        real = finish_hybrid(node, sums, scaled, weight_scales(node, 1))
        return finish_float(node, real, bias, node.element())
    if not is_quantized(node):
        if rows.element != w.element:
            node.unsupported(f"{rows.element.name} rows with {w.element.name} filters")
        sums = sum_of_products(rows, [0, 2], w, [1, 2], dims, 1, accumulator(rows.element))
        return finish_float(node, sums, bias, node.element())
    offsets = node.scale(node.input(0))[1], int(node.quantization(node.input(1)).zero_point[0])
    wide = accumulator(rows.element, bias)
    sums = sum_of_products(rows, [0, 2], w, [1, 2], dims, 1, wide, offsets)
    if rows.element == U8:
        return finish_integer(node, sums, 0, 1, bias)
    return finish_in_double(node, sums, 0, 1, bias)


def _hybrid_sums(stored: Tensor, zero: Tensor | None, w: Tensor, dims: list) -> Tensor:
    from iree_core.ir import arith
    from iree_core.lowering.structured import elementwise, reduce

    w = convert(w, I8) if w.element == I4 else w
    sums = sum_of_products(stored, [0, 2], w, [1, 2], dims, 1, I32)
    if zero is None:
        return sums
    # sum((x - zero) * w) = sum(x * w) - zero * sum(w)
    columns = reduce([w], [1], 0, I32, lambda v, acc: arith.addi(acc, arith.extsi(I32.type, v)))
    return elementwise(
        [sums, zero, columns], I32, lambda s, z, c: arith.subi(s, arith.muli(z, c)), dims=dims
    )


@lowering("BATCH_MATMUL")
def batch_matmul(node: Node) -> Tensor:
    """Products of the matrices in the last two dimensions; the others broadcast."""
    x, y = node.tensor(0), node.tensor(1)
    if is_hybrid(node, 1):
        return _hybrid_batch(node, x, y)
    quantized = is_quantized(node)
    if x.element != y.element:
        node.unsupported(f"{x.element.name} times {y.element.name}")
    labels = "abcdefgh"
    count = max(x.rank, y.rank) - 2
    batch = list(labels[:count])
    xs = [*batch[count - x.rank + 2 :], *("ki" if node.option("AdjX", False) else "ik")]
    ys = [*batch[count - y.rank + 2 :], *("jk" if node.option("AdjY", False) else "kj")]
    out = [*batch, "i", "j"]
    if not quantized:
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
    from iree_core.lowering.element import I16
    from iree_core.lowering.structured import elementwise
    from iree_frontend_tf.tflite.fixed_point import emit_offset

    if zero == 0:
        return x
    from iree_core.ir import arith

    return (
        elementwise([x], I16, lambda v: arith.trunci(I16.type, emit_offset(v, x.element, zero)))
        if x.element.bits == 8
        else elementwise([x], I32, lambda v: emit_offset(v, x.element, zero))
    )


def _hybrid_batch(node: Node, x: Tensor, y: Tensor) -> Tensor:
    node.unsupported(
        "floats times integers in BATCH_MATMUL are not supported",
        "Convert the model without dynamic range quantization of its matrix products.",
    )
