"""Reductions over sliding windows, for any reducer, stride, dilation and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.ir import ir
from iree_core.lowering import index
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values
from iree_core.lowering.scan import Combine
from iree_core.lowering.structured import affine_map, generic
from iree_core.lowering.tensors import Tensor, empty, fill, pad


@dataclass(frozen=True)
class Window:
    """How windows lie along one dimension.

    Attributes:
        size: elements of one window.
        stride: distance from window to window.
        dilation: distance from element to element of one window.
        low, high: padding before and after.
    """

    size: Dim = 1
    stride: int = 1
    dilation: int = 1
    low: Dim = 0
    high: Dim = 0

    def count(self, length: Dim) -> Dim:
        """Return how many windows fit a dimension of ``length`` elements."""
        padded = index.add(index.add(self.low, length), self.high)
        reach = index.add(index.mul(index.sub(self.size, 1), self.dilation), 1)
        fitting = index.floordiv(index.sub(padded, reach), self.stride)
        return index.maximum(index.add(fitting, 1), 0)


def reduce_window(
    operands: Sequence[Tensor],
    windows: Sequence[Window],
    initial: Values,
    combine: Combine,
) -> list[Tensor]:
    """Return the reduction of ``operands`` (equal sizes) over every window.

    Args:
        windows: one per dimension.
        initial: scalars that padding holds and every reduction starts at.
        combine: joins (accumulators, scalars of the next element).
    """
    rank = operands[0].rank
    low, high = [w.low for w in windows], [w.high for w in windows]
    padded = [pad(o, low, high, s) for o, s in zip(operands, initial, strict=True)]
    dims = tuple(w.count(n) for w, n in zip(windows, operands[0].dims, strict=True))
    # Windows of one element need no loop of their own.
    inner = [d for d in range(rank) if windows[d].size != 1]
    loop = {d: rank + i for i, d in enumerate(inner)}
    loops = rank + len(inner)
    source = affine_map(
        loops,
        [
            ir.AffineDimExpr.get(d) * windows[d].stride
            + (ir.AffineDimExpr.get(loop[d]) * windows[d].dilation if d in loop else 0)
            for d in range(rank)
        ],
    )
    shape = empty([windows[d].size for d in inner], operands[0].element)
    outputs = [_filled(dims, o, s) for o, s in zip(operands, initial, strict=True)]
    count = len(operands)

    def body(*items: ir.Value) -> Values:
        return list(combine(items[count + 1 :], items[:count]))

    results = generic(
        [*(p.value for p in padded), shape],
        outputs,
        [
            *[source] * count,
            affine_map(loops, [loop[d] for d in inner]),
            *[affine_map(loops, list(range(rank)))] * count,
        ],
        [False] * rank + [True] * len(inner),
        body,
    )
    return [Tensor(v, dims, o.element) for v, o in zip(results, operands, strict=True)]


def _filled(dims: Sequence[Dim], operand: Tensor, scalar: ir.Value) -> ir.Value:
    return fill(dims, operand.element, scalar).value
