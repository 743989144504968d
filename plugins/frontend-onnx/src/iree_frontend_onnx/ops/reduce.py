"""Reductions over axes: sums, means, norms, extrema, ArgMax."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir, math, scf
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import I64, ElementType
from iree_core.lowering.extremum import arg_reduce
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import elementwise, reduce
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_frontend_onnx.ops.axes import chosen, given_axes, static_axes, without
from iree_frontend_onnx.registry import Node, lowering

Scalar1 = Callable[[ir.Value, ElementType], ir.Value]


def same(v: ir.Value, _: ElementType) -> ir.Value:
    """Return ``v``."""
    return v


def total(
    x: Tensor,
    axes: Sequence[int],
    prepare: Scalar1 = same,
    finish: Scalar1 = same,
    *,
    keep_dims: bool = True,
) -> Tensor:
    """Return finish(sum(prepare(x))) over ``axes``, summed in the accumulator type."""
    e, wide = x.element, x.element.accumulator

    def add(v: ir.Value, acc: ir.Value) -> ir.Value:
        return scalars.add(acc, prepare(scalars.convert(v, e, wide), wide), wide)

    result = reduce([x], axes, 0, wide, add, keep_dims=keep_dims)
    if finish is same and wide == e:
        return result
    return elementwise([result], e, lambda v: scalars.convert(finish(v, wide), wide, e))


def mean(x: Tensor, axes: Sequence[int], *, keep_dims: bool = True) -> Tensor:
    """Return the mean over ``axes``."""
    count = index.product(x.dims[a] for a in axes)
    outside = None if isinstance(count, int) else index.value(count)

    def divide(v: ir.Value, e: ElementType) -> ir.Value:
        if outside is None:
            number = scalars.constant(count, e)
        else:
            number = scalars.convert(arith.index_cast(I64.type, outside), I64, e)
        return scalars.div(v, number, e)

    return total(x, axes, finish=divide, keep_dims=keep_dims)


def _square(v: ir.Value, e: ElementType) -> ir.Value:
    return scalars.mul(v, v, e)


def _log(v: ir.Value, _: ElementType) -> ir.Value:
    return math.log(v)


def _sqrt(v: ir.Value, e: ElementType) -> ir.Value:
    if e.is_float:
        return math.sqrt(v)
    from iree_core.lowering.element import F64

    return scalars.convert(math.sqrt(scalars.convert(v, e, F64)), F64, e)


def reduction_axes(node: Node, rank: int, given: Sequence[Dim]) -> tuple[list[int], bool]:
    """Return axes and keepdims; no axes at all mean all, or none with noop_with_empty_axes."""
    keep = bool(node.attr("keepdims", 1))
    if not given:
        nothing = node.attr("noop_with_empty_axes", 0)
        return ([] if nothing else list(range(rank))), keep
    known = [a for a in given if isinstance(a, int)]
    return sorted({node.normalize_axis(a, rank) for a in known}), keep


@lowering(
    "ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
def reduction(node: Node) -> Tensor | Value:
    """All reductions of one tensor."""
    value = node.value(0)
    items = value.tracked_items()
    if node.op == "ReduceProd" and items is not None and node.attr("axes") in (None, [0]):
        return Value(
            items=[index.product(items)], rank=node.attr("keepdims", 1), element=value.element
        )
    x = node.tensor(0)
    runtime = given_axes(node, 1) or []
    if static_axes(runtime) is None:
        return _reduced_at_run_time(node.op, x, runtime, bool(node.attr("keepdims", 1)))
    axes, keep = reduction_axes(node, x.rank, runtime)
    return reduced(node.op, x, axes, keep)


def reduced(op: str, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return reduction ``op`` of ``x`` over ``axes``."""
    e = x.element
    if op == "ReduceSum":
        return x if not axes else total(x, axes, keep_dims=keep)
    if op == "ReduceMean":
        return x if not axes else mean(x, axes, keep_dims=keep)
    if op == "ReduceL1":
        return total(x, axes, scalars.absolute, keep_dims=keep)
    if op == "ReduceL2":
        return total(x, axes, _square, _sqrt, keep_dims=keep)
    if op == "ReduceSumSquare":
        return total(x, axes, _square, keep_dims=keep)
    if op == "ReduceLogSum":
        return total(x, axes, finish=_log, keep_dims=keep)
    if op == "ReduceLogSumExp":
        return _log_sum_exp(x, axes, keep)
    if not axes:
        return x
    if op == "ReduceProd":
        wide = e.accumulator
        product = reduce(
            [x], axes, 1, wide,
            lambda v, acc: scalars.mul(acc, scalars.convert(v, e, wide), wide), keep_dims=keep,
        )  # fmt: skip
        return (
            product
            if wide == e
            else elementwise([product], e, lambda v: scalars.convert(v, wide, e))
        )
    return extremum(x, axes, op == "ReduceMax", keep_dims=keep)


# What is done to single elements before and after, around a reduction that may run over one
# dimension after the other.
_STAGES: dict[str, tuple[Scalar1, str, Scalar1]] = {
    "ReduceL1": (scalars.absolute, "ReduceSum", same),
    "ReduceSumSquare": (_square, "ReduceSum", same),
    "ReduceL2": (_square, "ReduceSum", _sqrt),
    "ReduceLogSum": (same, "ReduceSum", _log),
}


def _reduced_at_run_time(op: str, x: Tensor, axes: Sequence[Dim], keep: bool) -> Tensor:
    """One dimension after the other, each reduced if it is among the axes."""
    before, op, after = _STAGES.get(op, (same, op, same))
    e = x.element
    kept_dims = without(x.dims, axes) if not keep else []
    if before is not same:
        x = elementwise([x], e, lambda v: before(v, e))
    for axis, flag in enumerate(chosen(axes, x.rank)):
        x = _reduced_if(flag, op, x, axis)
    if after is not same:
        x = elementwise([x], e, lambda v: after(v, e))
    return x if keep else tensors.reshape(x, kept_dims)


def _reduced_if(flag: ir.Value, op: str, x: Tensor, axis: int) -> Tensor:
    dims = list(x.dims)
    dims[axis] = index.value(index.select(flag, 1, x.dims[axis]))
    op_if = scf.IfOp(flag, [tensors.tensor_type(dims, x.element)], has_else=True)
    with ir.InsertionPoint(op_if.then_block):
        scf.YieldOp([tensors.with_dims(reduced(op, x, [axis], True), dims).value])
    with ir.InsertionPoint(op_if.else_block):
        scf.YieldOp([tensors.with_dims(x, dims).value])
    return Tensor(op_if.results[0], tuple(dims), x.element)


def extremum(x: Tensor, axes: Sequence[int], largest: bool, *, keep_dims: bool = True) -> Tensor:
    """Return maximum or minimum over ``axes`` (logical or / and for i1)."""
    e = x.element
    if e.kind == "bool":
        build, initial = (arith.ori, 0) if largest else (arith.andi, 1)
        return reduce([x], axes, initial, e, lambda v, acc: build(acc, v), keep_dims=keep_dims)
    combine = scalars.maximum if largest else scalars.minimum
    start = scalars.lowest(e) if largest else scalars.highest(e)
    return reduce([x], axes, start, e, lambda v, acc: combine(acc, v, e), keep_dims=keep_dims)


def _log_sum_exp(x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """max + log(sum(exp(x - max))), the maximum taken as 0 where it is infinite."""
    e = x.element
    top = extremum(x, axes, True)

    def finite(v: ir.Value) -> ir.Value:
        infinite = scalars.compare("eq", math.absf(v), scalars.constant(float("inf"), e), e)
        return arith.select(infinite, scalars.constant(0.0, e), v)

    top = elementwise([top], e, finite)
    shifted = elementwise([x, top], e, lambda v, m: arith.subf(v, m))
    summed = total(shifted, axes, lambda v, _: math.exp(v), _log)
    result = elementwise([summed, top], e, lambda v, m: arith.addf(v, m))
    return result if keep else tensors.squeeze(result, axes)


@lowering("ArgMax", "ArgMin")
def arg_extremum(node: Node) -> Tensor:
    """Where the extremum is: the first such position, or the last."""
    x = node.tensor(0)
    axis = node.axis(x.rank)
    last = bool(node.attr("select_last_index", 0))
    places = arg_reduce(x, axis, largest=node.op == "ArgMax", last=last)
    return places if node.attr("keepdims", 1) else tensors.squeeze(places, [axis])
