"""Softmax and the normalisations: batch, instance, group, layer, RMS, local response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import F32, ElementType
from iree_core.lowering.extremum import arg_reduce
from iree_core.lowering.structured import convert, elementwise, loop_index
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_onnx.ops.elementwise import number
from iree_frontend_onnx.ops.reduce import extremum, mean, total
from iree_frontend_onnx.registry import Node, lowering


def softmax(x: Tensor, axis: int, *, may_be_empty: bool = False) -> Tensor:
    """Return exp(x - max) / sum(exp(x - max)) along ``axis``, in the accumulator type.

    With ``may_be_empty`` rows of nothing but minus infinity give zeros instead of NaN.
    """
    x = convert(x, x.element.accumulator)
    e = x.element
    top = extremum(x, [axis], True)
    if may_be_empty:
        # With a finite maximum such a row is exp(-inf) = 0 everywhere.
        lowest = float(np.finfo(e.numpy).min)
        top = elementwise([top], e, lambda m: arith.maximumf(m, number(lowest, e)))
    powers = elementwise([x, top], e, lambda v, m: math.exp(arith.subf(v, m)))
    summed = total(powers, [axis])

    def divide(v: ir.Value, s: ir.Value) -> ir.Value:
        if may_be_empty:
            empty = scalars.compare("eq", s, number(0.0, e), e)
            s = arith.select(empty, number(1.0, e), s)
        return arith.divf(v, s)

    return elementwise([powers, summed], e, divide)


def log_softmax(x: Tensor, axis: int) -> Tensor:
    """Return x - max - log(sum(exp(x - max))) along ``axis``, in the accumulator type."""
    x = convert(x, x.element.accumulator)
    e = x.element
    top = extremum(x, [axis], True)
    shifted = elementwise([x, top], e, lambda v, m: arith.subf(v, m))
    summed = total(shifted, [axis], lambda v, _: math.exp(v))
    return elementwise([shifted, summed], e, lambda v, s: arith.subf(v, math.log(s)))


@lowering("Softmax", "LogSoftmax", "Hardmax", since=13)
def softmax_node(node: Node) -> Tensor:
    """Along one axis."""
    x = node.tensor(0)
    return _along(node.op, x, node.axis(x.rank, -1))


@lowering("Softmax", "LogSoftmax", "Hardmax", since=1, until=12)
def softmax_flattened(node: Node) -> Tensor:
    """Over all axes from ``axis`` on, taken as one."""
    x = node.tensor(0)
    axis = node.axis(x.rank, 1)
    if axis == x.rank - 1:
        return _along(node.op, x, axis)
    flat = [index.product(x.dims[:axis]), index.product(x.dims[axis:])]
    return tensors.reshape(_along(node.op, tensors.reshape(x, flat), 1), x.dims)


def _along(op: str, x: Tensor, axis: int) -> Tensor:
    if op == "Hardmax":
        return _hardmax(x, axis)
    return convert((softmax if op == "Softmax" else log_softmax)(x, axis), x.element)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    from iree_core.lowering.element import I64

    e = x.element
    places = arg_reduce(x, axis, largest=True)

    def body(place: ir.Value) -> ir.Value:
        here = arith.index_cast(I64.type, loop_index(axis))
        return arith.select(scalars.compare("eq", place, here, I64), number(1, e), number(0, e))

    return elementwise([places], e, body, dims=x.dims)


def along_channels(x: Tensor, rank: int) -> Tensor:
    """Return a per-channel vector shaped to broadcast against [N, C, ...] of ``rank``."""
    return tensors.expand_dims(x, range(1, rank - 1)) if rank > 2 else x


@lowering("BatchNormalization")
def batch_normalization(node: Node) -> Tensor | list[Tensor]:
    """Per-channel scale and shift; with constant statistics these are folded at import."""
    x = node.tensor(0)
    epsilon = node.attr("epsilon", 1e-5)
    if node.attr("training_mode", 0) or (node.version < 14 and node.wants(3)):
        return _training_batch_normalization(node, x, epsilon)
    parameters = [node.value(i) for i in range(1, 5)]
    e, wide = x.element, x.element.accumulator
    if all(p.constant is not None for p in parameters):
        scale, shift = _folded_statistics(node, parameters, epsilon, wide)
        operands = [x, *(along_channels(node.to_tensor(v), x.rank) for v in (scale, shift))]

        def apply(v: ir.Value, s: ir.Value, b: ir.Value) -> ir.Value:
            v = scalars.convert(v, e, wide)
            return scalars.convert(arith.addf(arith.mulf(v, s), b), wide, e)

        return elementwise(operands, e, apply, dims=x.dims)
    given = [along_channels(node.tensor(i), x.rank) for i in range(1, 5)]
    return _scale_shift(x, given[0], given[1], given[2], given[3], epsilon)


def _folded_statistics(
    node: Node, parameters: Sequence[Value], epsilon: float, element: ElementType
) -> tuple[Value, Value]:
    scale, shift, average, variance = (p.constant for p in parameters)
    assert scale and shift and average and variance

    def factor() -> np.ndarray:
        exact = scale.read().astype(np.float64) / np.sqrt(
            variance.read().astype(np.float64) + epsilon
        )
        return exact.astype(element.numpy)

    def offset() -> np.ndarray:
        exact = shift.read().astype(np.float64) - average.read().astype(np.float64) * factor()
        return exact.astype(element.numpy)

    return (
        node.derived(scale, "folded_scale", scale.shape, element, factor),
        node.derived(scale, "folded_shift", scale.shape, element, offset),
    )


def _scale_shift(
    x: Tensor, scale: Tensor, shift: Tensor, average: Tensor, variance: Tensor, epsilon: float
) -> Tensor:
    e = x.element
    operands = [x, scale, shift, average, variance]
    wide = max((t.element.accumulator for t in operands), key=lambda t: t.bits)

    def body(*values: ir.Value) -> ir.Value:
        v, s, b, m, var = (
            scalars.convert(a, t.element, wide) for a, t in zip(values, operands, strict=True)
        )
        deviation = math.sqrt(arith.addf(var, number(epsilon, wide)))
        normal = arith.divf(arith.subf(v, m), deviation)
        return scalars.convert(arith.addf(arith.mulf(normal, s), b), wide, e)

    return elementwise(operands, e, body, dims=x.dims)


def _training_batch_normalization(node: Node, x: Tensor, epsilon: float) -> list[Tensor]:
    momentum = node.attr("momentum", 0.9)
    axes = [a for a in range(x.rank) if a != 1]
    average, variance = moments(x, axes)
    scale, shift = (along_channels(node.tensor(i), x.rank) for i in (1, 2))
    y = _scale_shift(x, scale, shift, average, variance, epsilon)

    def mixed(place: int, now: Tensor) -> Tensor:
        before = node.tensor(place)
        flat = tensors.reshape(now, before.dims)
        e = before.element

        def mix(old: ir.Value, fresh: ir.Value) -> ir.Value:
            fresh = scalars.convert(fresh, flat.element, e)
            kept = arith.mulf(old, number(momentum, e))
            return arith.addf(kept, arith.mulf(fresh, number(1 - momentum, e)))

        return elementwise([before, flat], e, mix)

    return [y, mixed(3, average), mixed(4, variance)]


def moments(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return mean and variance over ``axes`` (kept as 1), in the accumulator type."""
    x = convert(x, x.element.accumulator)
    average = mean(x, axes)
    centred = elementwise([x, average], x.element, lambda v, m: arith.subf(v, m), dims=x.dims)
    squared = elementwise([centred], x.element, lambda v: arith.mulf(v, v))
    return average, mean(squared, axes)


def normalized(
    x: Tensor,
    axes: Sequence[int],
    epsilon: float,
    scale: Tensor | None,
    shift: Tensor | None,
    *,
    centre: bool = True,
    wide: ElementType | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the normalised ``x``, the mean (None for RMS) and the inverse deviation."""
    wide = wide or x.element.accumulator
    data = convert(x, wide)
    average: Tensor | None = None
    if centre:
        average = mean(data, axes)
        data = elementwise([data, average], wide, lambda v, m: arith.subf(v, m), dims=x.dims)
    power = mean(elementwise([data], wide, lambda v: arith.mulf(v, v)), axes)
    inverse = elementwise(
        [power],
        wide,
        lambda v: arith.divf(number(1.0, wide), math.sqrt(arith.addf(v, number(epsilon, wide)))),
    )
    extras = [t for t in (scale, shift) if t is not None]

    def apply(v: ir.Value, inv: ir.Value, *given: ir.Value) -> ir.Value:
        result = arith.mulf(v, inv)
        rest = iter(scalars.convert(g, t.element, wide) for g, t in zip(given, extras, strict=True))
        if scale is not None:
            result = arith.mulf(result, next(rest))
        if shift is not None:
            result = arith.addf(result, next(rest))
        return scalars.convert(result, wide, x.element)

    y = elementwise([data, inverse, *extras], x.element, apply, dims=x.dims)
    return y, average, inverse


def _stash(node: Node, x: Tensor) -> ElementType:
    return node.element_attr("stash_type", F32) if x.element.bits < 32 else x.element


@lowering("LayerNormalization")
def layer_normalization(node: Node) -> list[Tensor | None]:
    """Over all axes from ``axis`` on."""
    x = node.tensor(0)
    axes = list(range(node.axis(x.rank, -1), x.rank))
    y, average, inverse = normalized(
        x, axes, node.attr("epsilon", 1e-5), node.optional(1), node.optional(2),
        wide=_stash(node, x),
    )  # fmt: skip
    return [y, average, inverse]


@lowering("RMSNormalization")
@lowering("SimplifiedLayerNormalization")
@lowering("SimplifiedLayerNormalization", domain="com.microsoft")
def rms_normalization(node: Node) -> Tensor:
    """Divided by the root mean square over all axes from ``axis`` on."""
    x = node.tensor(0)
    axes = list(range(node.axis(x.rank, -1), x.rank))
    return normalized(
        x, axes, node.attr("epsilon", 1e-5), node.optional(1), None, centre=False,
        wide=_stash(node, x),
    )[0]  # fmt: skip


@lowering("InstanceNormalization")
def instance_normalization(node: Node) -> Tensor:
    """Over the spatial axes."""
    x = node.tensor(0)
    scale, shift = (along_channels(node.tensor(i), x.rank) for i in (1, 2))
    axes = list(range(2, x.rank))
    return normalized(x, axes, node.attr("epsilon", 1e-5), scale, shift)[0]


@lowering("GroupNormalization")
def group_normalization(node: Node) -> Tensor:
    """Over groups of channels; scale per channel, or per group before opset 21."""
    x = node.tensor(0)
    groups = node.attr("num_groups")
    per_group = index.floordiv(x.dims[1], groups)
    dims = [x.dims[0], groups, per_group, *x.dims[2:]]
    split = tensors.reshape(x, dims)

    def shaped(t: Tensor) -> Tensor:
        if node.version < 21:
            return tensors.expand_dims(t, range(1, len(dims) - 1))
        return tensors.expand_dims(tensors.reshape(t, [groups, per_group]), range(2, len(dims) - 1))

    y = normalized(
        split, list(range(2, len(dims))), node.attr("epsilon", 1e-5),
        shaped(node.tensor(1)), shaped(node.tensor(2)),
        wide=_stash(node, x),
    )[0]  # fmt: skip
    return tensors.reshape(y, x.dims)


@lowering("MeanVarianceNormalization")
def mean_variance_normalization(node: Node) -> Tensor:
    """(x - mean) / deviation over ``axes``."""
    x = node.tensor(0)
    axes = [node.normalize_axis(a, x.rank) for a in node.attr("axes", [0, 2, 3])]
    average, variance = moments(x, axes)
    wide = average.element

    def body(v: ir.Value, m: ir.Value, var: ir.Value) -> ir.Value:
        v = scalars.convert(v, x.element, wide)
        deviation = arith.addf(math.sqrt(var), number(1e-9, wide))
        return scalars.convert(arith.divf(arith.subf(v, m), deviation), wide, x.element)

    return elementwise([x, average, variance], x.element, body, dims=x.dims)


@lowering("LpNormalization")
def lp_normalization(node: Node) -> Tensor:
    """Divided by the 1- or 2-norm along an axis; 0 where the norm is 0."""
    x = node.tensor(0)
    axis = node.axis(x.rank, -1)
    e = x.element
    if node.attr("p", 2) == 1:
        norm = total(x, [axis], scalars.absolute)
    else:
        norm = total(x, [axis], lambda v, w: arith.mulf(v, v), lambda v, w: math.sqrt(v))

    def body(v: ir.Value, n: ir.Value) -> ir.Value:
        zero = number(0, e)
        return arith.select(scalars.compare("eq", n, zero, e), zero, arith.divf(v, n))

    return elementwise([x, norm], e, body, dims=x.dims)


@lowering("LRN")
def local_response_normalization(node: Node) -> Tensor:
    """x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta."""
    from iree_core.lowering.structured import affine_map, generic

    x = node.tensor(0)
    e, wide = x.element, x.element.accumulator
    size = node.attr("size")
    alpha, beta, bias = node.attr("alpha", 1e-4), node.attr("beta", 0.75), node.attr("bias", 1.0)
    low = (size - 1) // 2
    pads = [[0, low], [0, size - 1 - low]]
    rest = [0] * (x.rank - 2)
    data = tensors.pad(x, [*pads[0], *rest], [*pads[1], *rest], 0)
    rank = x.rank + 1
    channel = ir.AffineDimExpr.get(1) + ir.AffineDimExpr.get(x.rank)
    init = tensors.fill(x.dims, wide, 0)

    def add(v: ir.Value, _: ir.Value, acc: ir.Value) -> ir.Value:
        v = scalars.convert(v, e, wide)
        return arith.addf(acc, arith.mulf(v, v))

    (summed,) = generic(
        [data.value, tensors.empty([size], wide)],
        [init.value],
        [
            affine_map(rank, [0, channel, *range(2, x.rank)]),
            affine_map(rank, [x.rank]),
            affine_map(rank, list(range(x.rank))),
        ],
        [False] * x.rank + [True],
        add,
    )

    def finish(v: ir.Value, s: ir.Value) -> ir.Value:
        base = arith.addf(arith.mulf(s, number(alpha / size, wide)), number(bias, wide))
        divisor = math.powf(base, number(beta, wide))
        return scalars.convert(arith.divf(scalars.convert(v, e, wide), divisor), wide, e)

    return elementwise([x, Tensor(summed, x.dims, wide)], e, finish)
