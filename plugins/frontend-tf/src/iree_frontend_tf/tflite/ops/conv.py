"""Convolutions: images [batch, spatial..., channels], filters [out, spatial..., in]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.ir import ir
from iree_core.lowering import index, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.ops.accumulate import (
    accumulator,
    finish_float,
    finish_integer,
    is_hybrid,
    sum_of_products,
)
from iree_frontend_tf.tflite.ops.common import is_quantized
from iree_frontend_tf.tflite.ops.hybrid import Rows, finish_hybrid, quantize_images, weight_scales
from iree_frontend_tf.tflite.ops.windows import Windows, windows
from iree_frontend_tf.tflite.registry import Node, lowering


@dataclass(frozen=True)
class _Operands:
    """A convolution's image and filters with the zero points to subtract."""

    x: Tensor
    w: Tensor
    offsets: tuple[int, int]
    element: ElementType
    rows: Rows | None = None


def _operands(node: Node, x: int, w: int, bias: int) -> _Operands:
    image, filters = node.tensor(x), node.tensor(w)
    if is_hybrid(node, w, x):
        # Filters with a scale per channel meet images with zero points.
        varying = node.quantization(node.input(w)).per_channel or node.op.startswith("DEPTH")
        rows = quantize_images(image, asymmetric=varying)
        return _Operands(rows.stored, filters, (0, 0), rows.accumulator, rows)
    if not is_quantized(node, x):
        if image.element != filters.element:
            node.unsupported(f"{image.element.name} images with {filters.element.name} filters")
        return _Operands(image, filters, (0, 0), accumulator(image.element))
    zero = int(node.quantization(node.input(w)).zero_point[0])
    wide = accumulator(image.element, node.optional(bias))
    return _Operands(image, filters, (node.scale(node.input(x))[1], zero), wide)


def _finish(node: Node, o: _Operands, sums: Tensor, data: int, bias: int) -> Tensor:
    added = node.optional(bias)
    if o.rows is not None:
        scaled = finish_hybrid(node, sums, o.rows, weight_scales(node, 1))
        return finish_float(node, scaled, added, node.element())
    if o.element.is_float or not is_quantized(node, data):
        return finish_float(node, sums, added, node.element())
    return finish_integer(node, sums, data, 1, added)


def _geometry(node: Node, x: Tensor, kernel: Sequence[Dim], names: str) -> Windows:
    strides = [int(node.option(f"Stride{n}", 1)) for n in names]
    dilations = [int(node.option(f"Dilation{n}Factor", 1)) for n in names]
    return windows(x.dims[1:-1], kernel, strides, dilations, int(node.option("Padding", 0)))


@lowering("CONV_2D", "CONV_3D")
def conv(node: Node) -> Tensor:
    """Convolution, with groups where the image has more channels than the filters."""
    o = _operands(node, 0, 1, 2)
    x, w = o.x, o.w
    if node.op == "CONV_3D":
        # [depth, height, width, in, out]
        w = tensors.transpose(w, [4, 0, 1, 2, 3])
    spatial = x.rank - 2
    g = _geometry(node, x, w.dims[1:-1], "HW" if spatial == 2 else "DHW")
    data = g.padded(x, o.offsets[0])
    channels, per_group = x.dims[-1], w.dims[-1]
    if not (isinstance(channels, int) and isinstance(per_group, int)):
        node.unsupported("the number of channels is not known")
    if channels == per_group:
        # n s.. f | w.. c
        rank = 3 + 2 * spatial
        window = 2 + spatial
        inner = list(range(window, rank))
        sums = sum_of_products(
            data, [0, *g.positions(window), rank - 1],
            w, [1 + spatial, *inner],
            [x.dims[0], *g.out, w.dims[0]], 1 + spatial, o.element, o.offsets,
        )  # fmt: skip
        return _finish(node, o, sums, 0, 2)
    return _finish(node, o, _grouped(node, o, data, w, g, channels // per_group), 0, 2)


def _grouped(node: Node, o: _Operands, data: Tensor, w: Tensor, g: Windows, groups: int) -> Tensor:
    spatial = data.rank - 2
    filters, per_group = w.dims[0], w.dims[-1]
    each = index.floordiv(filters, groups)
    last = data.rank - 1
    split = tensors.expand(
        data, [*[[a] for a in range(last)], [last, last + 1]], [*data.dims[:-1], groups, per_group]
    )
    parts = tensors.expand(
        w, [[0, 1], *[[a + 1] for a in range(1, w.rank)]], [groups, each, *w.dims[1:]]
    )
    # n s.. g f | w.. c
    window = 3 + spatial
    rank = window + spatial + 1
    sums = sum_of_products(
        split, [0, *g.positions(window), 1 + spatial, rank - 1],
        parts, [1 + spatial, 2 + spatial, *range(window, rank)],
        [data.dims[0], *g.out, groups, each], 1 + spatial, o.element, o.offsets,
    )  # fmt: skip
    return tensors.collapse(sums, [*[[a] for a in range(1 + spatial)], [1 + spatial, 2 + spatial]])


@lowering("DEPTHWISE_CONV_2D")
def depthwise(node: Node) -> Tensor:
    """One or more filters per channel: filters [1, height, width, channels * multiplier]."""
    o = _operands(node, 0, 1, 2)
    x = o.x
    w = tensors.squeeze(o.w, [0])
    g = _geometry(node, x, w.dims[:2], "HW")
    data = g.padded(x, o.offsets[0])
    channels = x.dims[-1]
    multiplier = index.floordiv(w.dims[2], channels)
    if multiplier == 1:
        # n y x c | ky kx
        sums = sum_of_products(
            data, [0, *g.positions(4), 3], w, [4, 5, 3],
            [x.dims[0], *g.out, channels], 2, o.element, o.offsets,
        )  # fmt: skip
        return _finish(node, o, sums, 0, 2)
    w = tensors.expand(w, [[0], [1], [2, 3]], [*w.dims[:2], channels, multiplier])
    # n y x c m | ky kx
    sums = sum_of_products(
        data, [0, *g.positions(5), 3], w, [5, 6, 3, 4],
        [x.dims[0], *g.out, channels, multiplier], 2, o.element, o.offsets,
    )  # fmt: skip
    return _finish(node, o, tensors.collapse(sums, [[0], [1], [2], [3, 4]]), 0, 2)


@lowering("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")
def transpose_conv(node: Node) -> Tensor:
    """Transposed convolution: a convolution of the spread-out image with the turned filters."""
    wanted = node.items(0)
    o = _operands(node, 2, 1, 3)
    x, w = o.x, o.w
    three = node.op == "CONV_3D_TRANSPOSE"
    if three:
        # [depth, height, width, out, in]
        w = tensors.transpose(w, [3, 0, 1, 2, 4])
    names = "DHW" if three else "HW"
    strides = [int(node.option(f"Stride{n}", 1)) for n in names]
    spatial = x.rank - 2
    kernel = w.dims[1:-1]
    g = windows(wanted[1:-1], kernel, strides, [1] * spatial, int(node.option("Padding", 0)))
    spread_dims = [
        x.dims[0],
        *(
            index.add(index.mul(index.sub(d, 1), s), 1)
            for d, s in zip(x.dims[1:-1], strides, strict=True)
        ),
        x.dims[-1],
    ]
    zero = o.offsets[0]
    spread = x
    if any(s != 1 for s in strides):
        into = tensors.fill(spread_dims, x.element, zero)
        spread = tensors.insert_slice(x, into, [0] * x.rank, [1, *strides, 1])
    low = [index.sub(index.sub(k, 1), p) for k, p in zip(kernel, g.low, strict=True)]
    high = [
        index.sub(index.sub(index.add(want, index.sub(k, 1)), size), before)
        for want, k, size, before in zip(wanted[1:-1], kernel, spread_dims[1:-1], low, strict=True)
    ]
    data = _pad_or_cut(spread, [0, *low, 0], [0, *high, 0], zero)
    turned = _turned(w)
    rank = 3 + 2 * spatial
    window = 2 + spatial
    unit = Windows(tuple(kernel), (1,) * spatial, (1,) * spatial, (), (), ())
    sums = sum_of_products(
        data, [0, *unit.positions(window), rank - 1],
        turned, [1 + spatial, *range(window, rank)],
        [x.dims[0], *wanted[1:-1], w.dims[0]], 1 + spatial, o.element, o.offsets,
    )  # fmt: skip
    return _finish(node, o, sums, 2, 3)


def _pad_or_cut(x: Tensor, low: Sequence[Dim], high: Sequence[Dim], filler: int) -> Tensor:
    def cut(p: Dim) -> Dim:
        return index.maximum(index.sub(0, p), 0)

    sizes = [
        index.sub(index.sub(d, cut(a)), cut(b)) for d, a, b in zip(x.dims, low, high, strict=True)
    ]
    part = tensors.extract_slice(x, [cut(p) for p in low], sizes, [1] * x.rank)
    return tensors.pad(
        part, [index.maximum(p, 0) for p in low], [index.maximum(p, 0) for p in high], filler
    )


def _turned(w: Tensor) -> Tensor:
    """Return filters with their spatial dimensions reversed."""
    from iree_core.ir import arith, tensor
    from iree_core.lowering.structured import computed

    lasts = [index.value(index.sub(d, 1)) for d in w.dims[1:-1]]

    def body(*at: ir.Value) -> ir.Value:
        turned = [arith.subi(last, p) for last, p in zip(lasts, at[1:-1], strict=True)]
        return tensor.extract(w.value, [at[0], *turned, at[-1]])

    return computed(w.dims, [w.element], body)[0]
