"""Reductions over dimensions, and where extrema are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import BOOL, I32, I64, ElementType
from iree_core.lowering.extremum import arg_reduce
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import (
    convert,
    elementwise,
    loop_index,
    reduce,
)
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_core.lowering.window import Window, reduce_window
from iree_frontend_tf.tflite.fixed_point import (
    emit_multiply,
    emit_multiply_wide,
    emit_offset,
    emit_saturate,
    limits,
    quantize_multiplier,
)
from iree_frontend_tf.tflite.ops.common import is_quantized
from iree_frontend_tf.tflite.ops.quantized_elementwise import rescaled
from iree_frontend_tf.tflite.registry import Node, lowering


def _axes(node: Node, rank: int) -> list[int]:
    axes = {node.axis(a, rank) for a in node.ints(1, "the axes")}
    return sorted(axes) if rank else []


def _keep(node: Node) -> bool:
    return bool(node.option("KeepDims", False))


def total(
    x: Tensor, axes: Sequence[int], element: ElementType, *, keep_dims: bool = True
) -> Tensor:
    """Return the sum over ``axes`` in ``element``."""

    def body(v: ir.Value, acc: ir.Value) -> ir.Value:
        return scalars.add(acc, scalars.convert(v, x.element, element), element)

    return reduce([x], axes, 0, element, body, keep_dims=keep_dims)


@lowering("SUM", "MEAN")
def sum_or_mean(node: Node) -> Tensor:
    """Sum or mean; integers on a scale are summed exactly and scaled once."""
    x = node.tensor(0)
    axes = _axes(node, x.rank)
    mean = node.op == "MEAN"
    if is_quantized(node):
        return _scaled_sum(node, x, axes, mean)
    e = x.element
    wide = e.accumulator if e.is_float else (I64 if mean and e.bits < 64 else e)
    sums = total(x, axes, wide, keep_dims=_keep(node))
    if not mean:
        return elementwise([sums], e, lambda v: scalars.convert(v, wide, e))
    count = tensors.from_scalar(_count(x, axes, wide), wide)

    def body(s: ir.Value, c: ir.Value) -> ir.Value:
        return scalars.convert(scalars.div(s, c, wide), wide, e)

    return elementwise([sums, count], e, body, dims=sums.dims)


def _count(x: Tensor, axes: Sequence[int], element: ElementType) -> ir.Value:
    size = index.product(x.dims[a] for a in axes)
    if isinstance(size, int):
        return constant(size, element)
    return scalars.convert(arith.index_cast(I64.type, size), I64, element)


def _scaled_sum(node: Node, x: Tensor, axes: Sequence[int], mean: bool) -> Tensor:
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    e = x.element
    size = index.product(x.dims[a] for a in axes)
    low, high = limits(e)
    significand, shift = quantize_multiplier(float(si) / float(so))
    sums = total(x, axes, I32, keep_dims=_keep(node))

    def body(s: ir.Value) -> ir.Value:
        known = isinstance(size, int)
        count = constant(size, I64) if known else arith.index_cast(I64.type, size)
        factor = [constant(significand, I32), constant(shift, I32)]
        if mean:
            factor = _mean_factor(significand, shift, count)
        offset = arith.muli(arith.trunci(I32.type, count), constant(zi, I32))
        made = emit_multiply(arith.subi(s, offset), *factor)
        return emit_saturate(arith.addi(made, constant(zo, I32)), low, high, e)

    return elementwise([sums], e, body)


def _mean_factor(significand: int, shift: int, count: ir.Value) -> list[ir.Value]:
    """Return the factor of sums: the scale's divided by the count (i64) in fixed point."""
    bits = arith.subi(constant(63, I64), math.ctlz(count))
    spare = arith.minsi(bits, constant(min(32, 31 + shift), I64))
    wide = arith.divsi(arith.shli(constant(significand, I64), spare), count)
    spare = arith.trunci(I32.type, spare)
    return [arith.trunci(I32.type, wide), arith.subi(constant(shift, I32), spare)]


_EXTREMA: dict[str, tuple[Callable, Callable]] = {
    "REDUCE_MAX": (scalars.maximum, scalars.lowest),
    "REDUCE_MIN": (scalars.minimum, scalars.highest),
    "REDUCE_PROD": (scalars.mul, lambda _: 1),
    "REDUCE_ANY": (lambda a, b, _: arith.ori(a, b), lambda _: 0),
    "REDUCE_ALL": (lambda a, b, _: arith.andi(a, b), lambda _: 1),
}


@lowering(*_EXTREMA)
def extremum(node: Node) -> Tensor | Value:
    """Largest, smallest, product, any, all."""
    combine, initial = _EXTREMA[node.op]
    value = node.value(0)
    items = value.tracked_items()
    if node.op == "REDUCE_PROD" and items is not None and value.rank == 1 and not _keep(node):
        return Value(items=[index.product(items)], rank=0, element=value.element)
    x = node.tensor(0)
    if is_quantized(node) and node.op == "REDUCE_PROD":
        return _scaled_product(node, x, _axes(node, x.rank))
    e = x.element
    axes = _axes(node, x.rank)
    made = reduce(
        [x], axes, initial(e), e, lambda v, acc: combine(acc, v, e), keep_dims=_keep(node)
    )
    return rescaled(node, made, 0) if is_quantized(node) else made


def _scaled_product(node: Node, x: Tensor, axes: Sequence[int]) -> Tensor:
    """Products, scaled after each factor so that 32 bits hold them (``QuantizedReduceProd``)."""
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    e = x.element
    count = index.product(x.dims[a] for a in axes)
    if not isinstance(count, int):
        node.unsupported("the number of factors is not known")
    scale = float(si) / float(so) ** (1.0 / max(count, 1))
    parts = [constant(part, I32) for part in quantize_multiplier(scale)]

    def multiply(v: ir.Value, made: ir.Value) -> ir.Value:
        item = emit_offset(v, e, zi)
        wide = arith.muli(arith.extsi(I64.type, made), arith.extsi(I64.type, item))
        first = constant(1, BOOL)
        for axis in axes:
            at = arith.index_cast(I32.type, loop_index(axis))
            first = arith.andi(first, scalars.compare("eq", at, constant(0, I32), I32))
        return arith.select(first, item, emit_multiply_wide(wide, *parts))

    made = reduce([x], axes, 1, I32, multiply, keep_dims=_keep(node))
    low, high = limits(e)

    def finish(v: ir.Value) -> ir.Value:
        scaled = emit_multiply_wide(arith.extsi(I64.type, v), *parts)
        return emit_saturate(arith.addi(scaled, constant(zo, I32)), low, high, e)

    return elementwise([made], e, finish)


@lowering("ARG_MAX", "ARG_MIN")
def arg_extremum(node: Node) -> Tensor:
    """The first position of the extremum along a dimension."""
    x = node.tensor(0)
    axis = node.axis(node.ints(1, "the axis")[0], x.rank)
    places = arg_reduce(x, axis, largest=node.op == "ARG_MAX")
    return tensors.squeeze(convert(places, node.element()), [axis])


_WINDOW_FUNCTIONS: dict[int, Callable[..., ir.Value]] = {
    1: scalars.add, 2: scalars.mul, 3: scalars.minimum, 4: scalars.maximum,
}  # fmt: skip


@lowering("REDUCE_WINDOW")
def reduce_windows(node: Node) -> Tensor:
    """Sums, products, extrema, and or or of windows of a given shape."""
    x = node.tensor(0)
    kind, e = node.option("ReduceFunction", 0), x.element
    shape, strides, dilations = (
        node.ints(i, what) for i, what in ((2, "the window"), (3, "strides"), (4, "dilations"))
    )
    table = {5: scalars.mul, 6: scalars.add} if e == BOOL else _WINDOW_FUNCTIONS
    combine = table.get(kind)
    if combine is None:
        node.unsupported(f"the reduction number {kind} of {e.name} is not supported")
    initial = tensors.scalar_at(tensors.reshape(node.tensor(1), ()), [])
    windows = [Window(*sizes) for sizes in zip(shape, strides, dilations, strict=True)]
    return reduce_window(
        [x], windows, [initial], lambda made, item: [combine(made[0], item[0], e)]
    )[0]  # fmt: skip
