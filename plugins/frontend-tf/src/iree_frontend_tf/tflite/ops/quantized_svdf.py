"""``SVDF`` of scaled integers: 8-bit features, a window of 16 bits over time."""

from __future__ import annotations

import numpy as np

from iree_core.ir import arith, ir
from iree_core.lowering import index, tensors
from iree_core.lowering.element import I8, I16, I32
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import elementwise, reduce
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite import fixed_point as fp
from iree_frontend_tf.tflite.ops.accumulate import sum_of_products
from iree_frontend_tf.tflite.registry import Node


def scaled_svdf(node: Node) -> Tensor:
    """Follow the reference kernel ``EvalIntegerSVDF``."""
    x, features, times, state = (node.tensor(i) for i in (0, 1, 2, 4))
    bias = node.optional(3)
    if (x.element, features.element, times.element, state.element) != (I8, I8, I16, I16):
        node.unsupported("its scaled integers are not of 8, 8, 16 and 16 bits")
    rank = int(node.option("Rank", 1))
    batch, filters, memory = x.dims[0], features.dims[0], times.dims[1]
    (_, zero), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    window = tensors.reshape(state, [batch, filters, memory])
    rest = tensors.extract_slice(
        window, [0, 0, 1], [batch, filters, index.sub(memory, 1)], [1, 1, 1]
    )
    sums = sum_of_products(
        x, [0, 2], features, [1, 2], [batch, filters], 1, I32, (zero, 0)
    )  # fmt: skip
    si, sf, st, ss = (np.float32(node.scale(node.input(i))[0]) for i in (0, 1, 2, 4))
    first = fp.quantize_multiplier(float(si * sf / ss))

    def feature(v: ir.Value) -> ir.Value:
        return fp.emit_saturate(fp.emit_scaled(v, first), *fp.limits(I16), I16)

    now = tensors.expand_dims(elementwise([sums], I16, feature), [2])
    window = tensors.concat([rest, now], 2)
    following = tensors.reshape(window, state.dims)
    node.importer.store_state(node.info.inputs[4], following)
    # batch, filter | memory
    filtered = sum_of_products(
        window, [0, 1, 2], times, [1, 2], [batch, filters], 1, I32
    )  # fmt: skip
    units = index.floordiv(filters, rank)
    grouped = reduce(
        [tensors.reshape(filtered, [batch, units, rank])], [2], 0, I32, arith.addi
    )  # fmt: skip
    second = fp.quantize_multiplier(float(ss * st / so))

    def finish(v: ir.Value, *added: ir.Value) -> ir.Value:
        for item in added:
            v = arith.addi(v, item)
        made = arith.addi(fp.emit_scaled(v, second), constant(zo, I32))
        return fp.emit_saturate(made, *fp.limits(I8), I8)

    return elementwise([grouped] if bias is None else [grouped, bias], I8, finish)
