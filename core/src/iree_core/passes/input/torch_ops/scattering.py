"""Writing and accumulating at positions along one dimension."""

from __future__ import annotations

from typing import Literal, cast

from iree_core.lowering import scalars, scatter
from iree_core.lowering.tensors import Tensor, expand_dims, extract_slice, fill, squeeze
from iree_core.passes.input.torch_ops.registry import Declined, Node, register

_REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
Reduction = Literal["none", "add", "mul", "max", "min"]


@register("aten.scatter.src")
def scatter_source(node: Node) -> Tensor:
    """``scatter(x, dim, index, src)``; of positions that repeat the last wins."""
    return _scatter(node, "none")


@register("aten.scatter_add")
def scatter_add(node: Node) -> Tensor:
    """``scatter_add(x, dim, index, src)``."""
    return _scatter(node, "add")


@register("aten.scatter_reduce.two")
def scatter_reduce(node: Node) -> Tensor:
    """``scatter_reduce(x, dim, index, src, reduce, include_self)``; not the mean."""
    reduction = _REDUCTIONS.get(node.text(4))
    if reduction is None:
        raise Declined
    return _scatter(node, cast(Reduction, reduction), include_self=bool(node.integer(5)))


def _scatter(node: Node, reduction: Reduction, *, include_self: bool = True) -> Tensor:
    data, dim = node.tensor(0), node.integer(1)
    index, source = node.tensor(2), node.tensor(3)
    if not data.rank:
        data, index, source = (expand_dims(t, [0]) if not t.rank else t
                               for t in (data, index, source))  # fmt: skip
        return squeeze(_along(data, 0, index, source, reduction, include_self), [0])
    return _along(data, dim, index, source, reduction, include_self)


def _along(
    data: Tensor, dim: int, index: Tensor, source: Tensor, reduction: Reduction, include_self: bool
) -> Tensor:
    if data.element.kind == "bool" and reduction != "none":
        raise Declined
    if index.rank != data.rank or source.rank != data.rank:
        raise Declined
    rank = data.rank
    updates = extract_slice(source, [0] * rank, list(index.dims), [1] * rank)
    if not include_self:
        neutral = fill(index.dims, data.element, _neutral(data, reduction))
        data = scatter.scatter_elements(data, index, neutral, dim)
    return scatter.scatter_elements(data, index, updates, dim, reduction)


def _neutral(data: Tensor, reduction: Reduction) -> float | int:
    if reduction == "max":
        return scalars.lowest(data.element)
    if reduction == "min":
        return scalars.highest(data.element)
    return 1 if reduction == "mul" else 0
