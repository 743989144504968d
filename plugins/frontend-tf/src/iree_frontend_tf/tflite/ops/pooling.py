"""Pooling over windows of images."""

from __future__ import annotations

from collections.abc import Callable

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import F32, I32, ElementType
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import affine_map, computed, elementwise, generic
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.fixed_point import activation_range, emit_saturate
from iree_frontend_tf.tflite.ops.common import activate, fused_activation, is_quantized
from iree_frontend_tf.tflite.ops.windows import Windows, windows
from iree_frontend_tf.tflite.registry import Node, lowering


def _geometry(node: Node, x: Tensor) -> Windows:
    kernel = [int(node.option(f"Filter{n}", 1)) for n in ("Height", "Width")]
    strides = [int(node.option(f"Stride{n}", 1)) for n in "HW"]
    return windows(x.dims[1:-1], kernel, strides, [1, 1], int(node.option("Padding", 0)))


def _pool(
    x: Tensor,
    g: Windows,
    initial: float,
    element: ElementType,
    combine: Callable[[ir.Value, ir.Value], ir.Value],
) -> Tensor:
    """Return ``combine(element, accumulator)`` over every window."""
    data = g.padded(x, initial if element == x.element else 0)
    dims = (x.dims[0], *g.out, x.dims[-1])
    shape = tensors.empty(g.kernel, element)
    init = tensors.fill(dims, element, initial)
    (result,) = generic(
        [data.value, shape],
        [init.value],
        [
            affine_map(6, [0, *g.positions(4), 3]),
            affine_map(6, [4, 5]),
            affine_map(6, [0, 1, 2, 3]),
        ],
        [False] * 4 + [True] * 2,
        lambda v, _, acc: combine(v, acc),
    )
    return Tensor(result, dims, element)


def _limited(node: Node, x: Tensor) -> Tensor:
    scale, zero = node.scale(node.output())
    try:
        low, high = activation_range(fused_activation(node), scale, zero, x.element)
    except ValueError as error:
        node.unsupported(str(error))
    e = x.element

    def body(v: ir.Value) -> ir.Value:
        limited = scalars.maximum(v, constant(low, e), e)
        return scalars.minimum(limited, constant(high, e), e)

    return elementwise([x], e, body)


@lowering("MAX_POOL_2D")
def max_pool(node: Node) -> Tensor:
    """The largest element of each window."""
    x = node.tensor(0)
    e = x.element
    made = _pool(
        x, _geometry(node, x), scalars.lowest(e), e, lambda v, acc: scalars.maximum(acc, v, e)
    )
    if is_quantized(node):
        return _limited(node, made) if fused_activation(node) else made
    return activate(node, made)


@lowering("AVERAGE_POOL_2D")
def average_pool(node: Node) -> Tensor:
    """The mean of the elements of each window that lie inside the image."""
    x = node.tensor(0)
    g = _geometry(node, x)
    if not is_quantized(node):
        sums = _pool(x, g, 0, F32, lambda v, acc: arith.addf(acc, _f32(v, x.element)))
        counts = _counts(x, g, F32)
        e = x.element
        mean = elementwise(
            [sums, counts],
            e,
            lambda s, c: scalars.convert(arith.divf(s, c), F32, e),
            dims=sums.dims,
        )
        return activate(node, mean)
    e = x.element
    sums = _pool(x, g, 0, I32, lambda v, acc: arith.addi(acc, scalars.convert(v, e, I32)))
    counts = _counts(x, g, I32)
    scale, zp = node.scale(node.output())
    try:
        low, high = activation_range(fused_activation(node), scale, zp, e)
    except ValueError as error:
        node.unsupported(str(error))

    def body(s: ir.Value, c: ir.Value) -> ir.Value:
        half = arith.divsi(c, constant(2, I32))
        positive = arith.cmpi(arith.CmpIPredicate.sgt, s, constant(0, I32))
        nudged = arith.select(positive, arith.addi(s, half), arith.subi(s, half))
        return emit_saturate(arith.divsi(nudged, c), low, high, e)

    return elementwise([sums, counts], e, body, dims=sums.dims)


def _f32(v: ir.Value, e: ElementType) -> ir.Value:
    return scalars.convert(v, e, F32)


def _counts(x: Tensor, g: Windows, element: ElementType) -> Tensor:
    """Return how many elements of each window lie inside, [1, height, width, 1]."""
    if all(index.same(p, 0) for p in (*g.low, *g.high)):
        whole = index.product(g.kernel)
        assert isinstance(whole, int)
        return tensors.fill([1, 1, 1, 1], element, whole)
    known = [
        (index.value(d), index.value(p), s, int(k))
        for d, p, s, k in zip(x.dims[1:-1], g.low, g.strides, g.kernel, strict=True)
    ]

    def body(_: ir.Value, *at: ir.Value) -> ir.Value:
        kind = ir.IndexType.get()
        total = arith.constant(kind, 1)
        for place, (size, before, stride, taps) in zip(at[:2], known, strict=True):
            start = arith.subi(arith.muli(place, arith.constant(kind, stride)), before)
            end = arith.minsi(arith.addi(start, arith.constant(kind, taps)), size)
            start = arith.maxsi(start, arith.constant(kind, 0))
            total = arith.muli(total, arith.subi(end, start))
        whole = arith.index_cast(I32.type, total)
        return scalars.convert(whole, I32, element)

    return computed([1, *g.out, 1], [element], body)[0]


@lowering("L2_POOL_2D")
def l2_pool(node: Node) -> Tensor:
    """The root of the mean square of each window."""
    x = node.tensor(0)
    g = _geometry(node, x)
    sums = _pool(x, g, 0, F32, lambda v, acc: arith.addf(acc, arith.mulf(v, v)))
    counts = _counts(x, g, F32)
    root = elementwise(
        [sums, counts], F32, lambda s, c: math.sqrt(arith.divf(s, c)), dims=sums.dims
    )
    return activate(node, root)
