"""Pooling over windows and over whole images."""

from __future__ import annotations

from collections.abc import Callable

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import I64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import (
    affine_map,
    computed,
    convert,
    elementwise,
    generic,
    loop_index,
    reduce,
    windowed,
)
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.conv import window_output, window_pads
from iree_frontend_onnx.registry import Node, lowering


class Windows:
    """The geometry of one pooling node."""

    def __init__(self, node: Node, x: Tensor) -> None:
        spatial = x.rank - 2
        self.kernel: list[int] = node.attr("kernel_shape")
        self.strides: list[int] = node.attr("strides", [1] * spatial)
        self.dilations: list[int] = node.attr("dilations", [1] * spatial)
        self.low, self.high = window_pads(
            node, x.dims[2:], self.kernel, self.strides, self.dilations
        )
        ceil = bool(node.attr("ceil_mode", 0))
        self.out: list[Dim] = [
            window_output(*args, ceil=ceil)
            for args in zip(
                x.dims[2:], self.kernel, self.low, self.high, self.strides, self.dilations,
                strict=True,
            )
        ]  # fmt: skip
        # With ceil_mode the last window may reach past the padding.
        self.reach = [
            index.maximum(h, index.sub(self._end(a), index.add(x.dims[2 + a], self.low[a])))
            if ceil
            else h
            for a, h in enumerate(self.high)
        ]

    def _end(self, axis: int) -> Dim:
        last = index.mul(index.sub(self.out[axis], 1), self.strides[axis])
        return index.add(last, (self.kernel[axis] - 1) * self.dilations[axis] + 1)

    def pool(
        self,
        x: Tensor,
        initial: float,
        element: ElementType,
        combine: Callable[[ir.Value, ir.Value], ir.Value],
        filler: float | None = None,
    ) -> Tensor:
        """Run ``combine`` over the windows of ``x``."""
        data = tensors.pad(
            x, [0, 0, *self.low], [0, 0, *self.reach], initial if filler is None else filler
        )
        dims = [*x.dims[:2], *self.out]
        return windowed(
            data, self.kernel, dims, self.strides, self.dilations, initial, element, combine
        )


@lowering("MaxPool")
def max_pool(node: Node) -> Tensor | list[Tensor]:
    """The largest element of each window, and where it is."""
    x = node.tensor(0)
    e = x.element
    windows = Windows(node, x)
    if node.wants(1):
        return _max_with_position(node, x, windows)
    return windows.pool(x, scalars.lowest(e), e, lambda v, acc: scalars.maximum(acc, v, e))


def _max_with_position(node: Node, x: Tensor, windows: Windows) -> list[Tensor]:
    """Values and flat positions in one reduction over window positions."""
    e = x.element
    spatial = x.rank - 2
    dims = [*x.dims[:2], *windows.out]
    rank = 2 + 2 * spatial
    window = tensors.empty(windows.kernel, e)
    inits = [tensors.fill(dims, e, scalars.lowest(e)), tensors.fill(dims, I64, -1)]
    sizes = [index.value(d) for d in x.dims]
    lows = [index.value(p) for p in windows.low]
    column_major = bool(node.attr("storage_order", 0))

    def body(_: ir.Value, best: ir.Value, where: ir.Value) -> list[ir.Value]:
        kind = ir.IndexType.get()
        zero = arith.constant(kind, 0)
        loops = [loop_index(a) for a in range(rank)]
        inside = arith.constant(ir.IntegerType.get_signless(1), 1)
        at = []
        for a in range(spatial):
            place = arith.addi(
                arith.muli(loops[2 + a], arith.constant(kind, windows.strides[a])),
                arith.muli(loops[2 + spatial + a], arith.constant(kind, windows.dilations[a])),
            )
            place = arith.subi(place, lows[a])
            inside = arith.andi(inside, arith.cmpi(arith.CmpIPredicate.sge, place, zero))
            inside = arith.andi(inside, arith.cmpi(arith.CmpIPredicate.slt, place, sizes[2 + a]))
            last = arith.subi(sizes[2 + a], arith.constant(kind, 1))
            at.append(arith.minsi(arith.maxsi(place, zero), last))
        value = tensor.extract(x.value, [*loops[:2], *at])
        flat = arith.addi(arith.muli(loops[0], sizes[1]), loops[1])
        order = list(reversed(range(spatial))) if column_major else list(range(spatial))
        for a in order:
            flat = arith.addi(arith.muli(flat, sizes[2 + a]), at[a])
        unset = arith.cmpi(arith.CmpIPredicate.slt, where, scalars.constant(0, I64))
        better = arith.ori(scalars.compare("gt", value, best, e), unset)
        better = arith.andi(better, inside)
        position = arith.index_cast(I64.type, flat)
        return [arith.select(better, value, best), arith.select(better, position, where)]

    identity = affine_map(rank, list(range(2 + spatial)))
    results = generic(
        [window],
        [t.value for t in inits],
        [affine_map(rank, list(range(2 + spatial, rank))), identity, identity],
        [False] * (2 + spatial) + [True] * spatial,
        body,
    )
    return [Tensor(r, tuple(dims), t) for r, t in zip(results, (e, I64), strict=True)]


@lowering("AveragePool")
def average_pool(node: Node) -> Tensor:
    """The mean of each window, with or without the padding counted."""
    x = node.tensor(0)
    e, wide = x.element, x.element.accumulator
    windows = Windows(node, x)

    def add(v: ir.Value, acc: ir.Value) -> ir.Value:
        return scalars.add(acc, scalars.convert(v, e, wide), wide)

    total = windows.pool(x, 0, wide, add)
    counts = _window_counts(node, x, windows, wide)

    def divide(v: ir.Value, *count: ir.Value) -> ir.Value:
        return scalars.convert(scalars.div(v, count[0], wide), wide, e)

    return elementwise([total, counts], e, divide, dims=total.dims)


def _window_counts(node: Node, x: Tensor, windows: Windows, wide: ElementType) -> Tensor:
    """Return how many elements each window averages; rank 0 where all are equal."""
    from math import prod

    import numpy as np

    include = bool(node.attr("count_include_pad", 0))
    padded = any(not index.same(p, 0) for p in (*windows.low, *windows.high))
    overhang = any(not index.same(a, b) for a, b in zip(windows.reach, windows.high, strict=True))
    if not overhang and (include or not padded):
        return tensors.constant(np.array(prod(windows.kernel), wide.numpy), wide)
    sizes = [
        index.value(index.add(index.add(d, low), high) if include else d)
        for d, low, high in zip(x.dims[2:], windows.low, windows.high, strict=True)
    ]
    lows = [index.value(0 if include else p) for p in windows.low]

    def body(*places: ir.Value) -> ir.Value:
        kind = ir.IndexType.get()
        zero, count = arith.constant(kind, 0), arith.constant(kind, 1)
        for a, place in enumerate(places):
            step = arith.constant(kind, windows.dilations[a])
            first = arith.subi(arith.muli(place, arith.constant(kind, windows.strides[a])), lows[a])
            # Taps t with 0 <= first + t * step < size, of 0 <= t < kernel.
            low = arith.maxsi(arith.ceildivsi(arith.subi(zero, first), step), zero)
            end = arith.ceildivsi(arith.subi(sizes[a], first), step)
            end = arith.minsi(end, arith.constant(kind, windows.kernel[a]))
            count = arith.muli(count, arith.subi(end, low))
        return arith.sitofp(wide.type, arith.index_cast(I64.type, count))

    return computed(windows.out, [wide], body)[0]


@lowering("LpPool")
def lp_pool(node: Node) -> Tensor:
    """The p-norm of each window."""
    x = node.tensor(0)
    e, wide = x.element, x.element.accumulator
    p = float(node.attr("p", 2))

    def add(v: ir.Value, acc: ir.Value) -> ir.Value:
        magnitude = math.absf(scalars.convert(v, e, wide))
        return arith.addf(acc, _power(magnitude, p, wide))

    total = Windows(node, x).pool(x, 0, wide, add)
    return elementwise([total], e, lambda v: scalars.convert(_power(v, 1 / p, wide), wide, e))


def _power(v: ir.Value, p: float, e: ElementType) -> ir.Value:
    if p == 1.0:
        return v
    if p == 2.0:
        return arith.mulf(v, v)
    return math.sqrt(v) if p == 0.5 else math.powf(v, scalars.constant(p, e))


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.rank))


@lowering("GlobalAveragePool")
def global_average_pool(node: Node) -> Tensor:
    """The mean over all spatial dimensions."""
    from iree_frontend_onnx.ops.reduce import mean

    x = node.tensor(0)
    return mean(x, _spatial(x))


@lowering("GlobalMaxPool")
def global_max_pool(node: Node) -> Tensor:
    """The maximum over all spatial dimensions."""
    x = node.tensor(0)
    e = x.element
    return reduce(
        [x], _spatial(x), scalars.lowest(e), e, lambda v, acc: scalars.maximum(acc, v, e),
        keep_dims=True,
    )  # fmt: skip


@lowering("GlobalLpPool")
def global_lp_pool(node: Node) -> Tensor:
    """The p-norm over all spatial dimensions."""
    x = node.tensor(0)
    e, wide = x.element, x.element.accumulator
    p = float(node.attr("p", 2))

    def add(v: ir.Value, acc: ir.Value) -> ir.Value:
        return arith.addf(acc, _power(math.absf(scalars.convert(v, e, wide)), p, wide))

    total = reduce([x], _spatial(x), 0, wide, add, keep_dims=True)
    return elementwise([total], e, lambda v: scalars.convert(_power(v, 1 / p, wide), wide, e))


@lowering("MaxUnpool")
def max_unpool(node: Node) -> Tensor:
    """Pooled values put back at their positions, zero elsewhere."""
    from iree_frontend_onnx.ops.scatter_gather import scatter_flat

    x, places = node.tensor(0), node.tensor(1)
    spatial = x.rank - 2
    kernel = node.attr("kernel_shape")
    strides = node.attr("strides", [1] * spatial)
    pads = node.attr("pads", [0] * 2 * spatial)
    natural: list[Dim] = [
        index.sub(index.add(index.mul(index.sub(d, 1), s), k), pads[a] + pads[a + spatial])
        for a, (d, s, k) in enumerate(zip(x.dims[2:], strides, kernel, strict=True))
    ]
    # The positions count in the shape without output_shape; larger outputs are zero-padded.
    dims = [*x.dims[:2], *natural]
    flat = tensors.fill([index.product(dims)], x.element, 0)
    filled = scatter_flat(flat, convert(places, I64), x)
    result = tensors.reshape(filled, dims)
    if node.has(2):
        wanted = node.items(2)
        extra = [index.sub(w, d) for w, d in zip(wanted, dims, strict=True)]
        result = tensors.pad(result, [0] * x.rank, extra, 0)
    return result
