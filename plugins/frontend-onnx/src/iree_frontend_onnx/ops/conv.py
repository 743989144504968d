"""Convolutions: Conv, ConvTranspose and their integer forms."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import convert, convolve, elementwise
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.registry import Node, lowering


def window_pads(
    node: Node,
    sizes: Sequence[Dim],
    kernel: Sequence[Dim],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[Dim], list[Dim]]:
    """Return the padding before and after each spatial dimension (pads or auto_pad)."""
    spatial = len(sizes)
    mode = node.attr("auto_pad", "NOTSET") or "NOTSET"
    if mode == "VALID":
        return [0] * spatial, [0] * spatial
    if mode == "NOTSET":
        pads = node.attr("pads", [0] * 2 * spatial)
        return list(pads[:spatial]), list(pads[spatial:])
    low: list[Dim] = []
    high: list[Dim] = []
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        out = index.ceildiv(size, stride)
        reach = index.add(index.mul(index.sub(taps, 1), dilation), 1)
        need = index.sub(index.add(index.mul(index.sub(out, 1), stride), reach), size)
        need = index.maximum(need, 0)
        half = index.floordiv(need, 2)
        rest = index.sub(need, half)
        low.append(half if mode == "SAME_UPPER" else rest)
        high.append(rest if mode == "SAME_UPPER" else half)
    return low, high


def window_output(
    size: Dim, taps: Dim, low: Dim, high: Dim, stride: int, dilation: int, *, ceil: bool = False
) -> Dim:
    """Return how many windows fit into a padded dimension."""
    reach = index.add(index.mul(index.sub(taps, 1), dilation), 1)
    room = index.sub(index.add(index.add(size, low), high), reach)
    if ceil:
        count = index.add(index.ceildiv(room, stride), 1)
        # The last window must start inside the data or the padding before it.
        limit = index.ceildiv(index.add(size, low), stride)
        return index.minimum(count, limit)
    return index.add(index.floordiv(room, stride), 1)


def convolution(
    node: Node,
    x: Tensor,
    w: Tensor,
    element: ElementType | None = None,
    filler: float | ir.Value = 0,
) -> Tensor:
    """Return the convolution with the node's attributes, in the accumulator type."""
    spatial = x.rank - 2
    kernel = list(w.dims[2:])
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    low, high = window_pads(node, x.dims[2:], kernel, strides, dilations)
    out = [
        window_output(*args)
        for args in zip(x.dims[2:], kernel, low, high, strides, dilations, strict=True)
    ]
    data = tensors.pad(x, [0, 0, *low], [0, 0, *high], filler)
    groups = node.attr("group", 1)
    dims = [x.dims[0], w.dims[0], *out]
    return convolve(data, w, dims, strides, dilations, groups=groups, element=element)


@lowering("Conv")
def conv(node: Node) -> Tensor:
    """Convolution with optional bias."""
    x = node.tensor(0)
    return add_bias(node, convolution(node, x, node.tensor(1)), node.optional(2), x.element)


def add_bias(node: Node, result: Tensor, bias: Tensor | None, element: ElementType) -> Tensor:
    """Add a per-channel bias and convert to ``element``."""
    if bias is None:
        return convert(result, element)
    wide = result.element
    shaped = tensors.expand_dims(bias, range(1, result.rank - 1))

    def body(v: ir.Value, b: ir.Value) -> ir.Value:
        total = scalars.add(v, scalars.convert(b, bias.element, wide), wide)
        return scalars.convert(total, wide, element)

    return elementwise([result, shaped], element, body, dims=result.dims)


@lowering("ConvTranspose")
def conv_transpose(node: Node) -> Tensor:
    """Transposed convolution: a convolution of the spread-out data with the flipped kernel."""
    x, w = node.tensor(0), node.tensor(1)
    spatial = x.rank - 2
    groups = node.attr("group", 1)
    kernel = list(w.dims[2:])
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    extra = node.attr("output_padding", [0] * spatial)
    reach = [
        index.add(index.mul(index.sub(k, 1), d), 1) for k, d in zip(kernel, dilations, strict=True)
    ]
    full = [
        index.add(index.add(index.mul(index.sub(size, 1), s), r), e)
        for size, s, r, e in zip(x.dims[2:], strides, reach, extra, strict=True)
    ]
    low, high, out = _transposed_pads(node, x.dims[2:], full, strides)
    spread = _spread(x, strides)
    before = [index.sub(index.sub(r, 1), p) for r, p in zip(reach, low, strict=True)]
    after = [
        index.sub(index.add(index.sub(r, 1), e), p)
        for r, e, p in zip(reach, extra, high, strict=True)
    ]
    data = _pad_or_crop(spread, [0, 0, *before], [0, 0, *after])
    filters = _flip_kernel(w, groups)
    dims = [x.dims[0], filters.dims[0], *out]
    ones = [1] * spatial
    result = convolve(data, filters, dims, ones, dilations, groups=groups)
    return add_bias(node, result, node.optional(2), x.element)


def _transposed_pads(
    node: Node, sizes: Sequence[Dim], full: Sequence[Dim], strides: Sequence[int]
) -> tuple[list[Dim], list[Dim], list[Dim]]:
    spatial = len(full)
    mode = node.attr("auto_pad", "NOTSET") or "NOTSET"
    shape = node.attr("output_shape")
    if shape is None and mode in ("NOTSET", "VALID"):
        pads = node.attr("pads", [0] * 2 * spatial) if mode == "NOTSET" else [0] * 2 * spatial
        low, high = list(pads[:spatial]), list(pads[spatial:])
        out = [index.sub(index.sub(f, a), b) for f, a, b in zip(full, low, high, strict=True)]
        return low, high, out
    wanted = (
        list(shape[-spatial:])
        if shape
        else [index.mul(d, s) for d, s in zip(sizes, strides, strict=True)]
    )
    low, high = [], []
    for have, want in zip(full, wanted, strict=True):
        total = index.maximum(index.sub(have, want), 0)
        half = index.floordiv(total, 2)
        rest = index.sub(total, half)
        low.append(half if mode == "SAME_UPPER" else rest)
        high.append(rest if mode == "SAME_UPPER" else half)
        if mode == "NOTSET":
            low[-1], high[-1] = half, rest
    # An output larger than what the windows reach is filled up behind.
    out = list(wanted)
    for axis, (have, want) in enumerate(zip(full, wanted, strict=True)):
        high[axis] = index.sub(index.sub(have, low[axis]), want)
    return low, high, out


def _spread(x: Tensor, strides: Sequence[int]) -> Tensor:
    """Put ``stride - 1`` zeros between neighbouring elements."""
    if all(s == 1 for s in strides):
        return x
    dims = [
        *x.dims[:2],
        *(
            index.add(index.mul(index.sub(d, 1), s), 1)
            for d, s in zip(x.dims[2:], strides, strict=True)
        ),
    ]
    zeros = tensors.fill(dims, x.element, 0)
    return tensors.insert_slice(x, zeros, [0] * x.rank, [1, 1, *strides])


def _pad_or_crop(x: Tensor, low: Sequence[Dim], high: Sequence[Dim]) -> Tensor:
    def cut(p: Dim) -> Dim:
        return index.maximum(index.sub(0, p), 0)

    offsets = [cut(p) for p in low]
    sizes = [
        index.sub(index.sub(d, cut(a)), cut(b)) for d, a, b in zip(x.dims, low, high, strict=True)
    ]
    part = tensors.extract_slice(x, offsets, sizes, [1] * x.rank)
    return tensors.pad(
        part, [index.maximum(p, 0) for p in low], [index.maximum(p, 0) for p in high], 0
    )


def _flip_kernel(w: Tensor, groups: int) -> Tensor:
    """[C, F/g, window...] -> [F, C/g, flipped window...]."""
    from iree_core.ir import tensor
    from iree_core.lowering.structured import computed

    channels = index.floordiv(w.dims[0], groups)
    per_group = w.dims[1]
    window = w.dims[2:]
    dims = [index.mul(per_group, groups), channels, *window]
    counts = [index.value(channels), index.value(per_group)]
    lasts = [index.value(index.sub(k, 1)) for k in window]

    def body(f: ir.Value, c: ir.Value, *places: ir.Value) -> ir.Value:
        group = arith.divui(f, counts[1])
        source = arith.addi(arith.muli(group, counts[0]), c)
        flipped = [arith.subi(last, p) for last, p in zip(lasts, places, strict=True)]
        return tensor.extract(w.value, [source, arith.remui(f, counts[1]), *flipped])

    return computed(dims, [w.element], body)[0]
