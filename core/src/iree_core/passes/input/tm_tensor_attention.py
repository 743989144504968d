"""Attention as contractions and a softmax, left in the open for fusion."""

from __future__ import annotations

from math import inf, sqrt

from iree_core.ir import arith, ir, math
from iree_core.lowering import scalars
from iree_core.lowering.element import I64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import contract, convert, elementwise, reduce
from iree_core.lowering.tensors import Tensor


def _square_root(size: Dim, element: ElementType) -> ir.Value:
    if isinstance(size, int):
        return scalars.constant(sqrt(size), element)
    number = arith.sitofp(element.type, arith.index_cast(I64.type, size))
    return math.sqrt(number)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return ``softmax(query key^T / sqrt(d) + mask) value``.

    Args:
        query: [..., m, d].
        key: [..., n, d].
        value: [..., n, e].
        mask: [..., m, n], added to the scores; of i1: unset hides a position.
    """
    batch = [f"b{i}" for i in range(query.rank - 2)]
    scores = contract(query, [*batch, "m", "d"], key, [*batch, "n", "d"], [*batch, "m", "n"])
    wide = scores.element
    root = _square_root(query.dims[-1], wide)
    scores = elementwise([scores], wide, lambda s: arith.divf(s, root))
    if mask is not None and mask.element.kind == "bool":
        hidden = -inf
        scores = elementwise(
            [scores, mask],
            wide,
            lambda s, keep: arith.select(keep, s, scalars.constant(hidden, wide)),
        )
    elif mask is not None:
        scores = elementwise([scores, convert(mask, wide)], wide, arith.addf)
    axis = scores.rank - 1

    def add(x: ir.Value, acc: ir.Value) -> ir.Value:
        return arith.addf(acc, x)

    largest = reduce([scores], [axis], -inf, wide, arith.maximumf, keep_dims=True)
    powers = elementwise([scores, largest], wide, lambda s, top: math.exp(arith.subf(s, top)))
    total = reduce([powers], [axis], 0.0, wide, add, keep_dims=True)
    weights = elementwise([powers, total], wide, arith.divf)
    result = contract(
        convert(weights, value.element), [*batch, "m", "n"], value, [*batch, "n", "e"],
        [*batch, "m", "e"],
    )  # fmt: skip
    return convert(result, query.element)
