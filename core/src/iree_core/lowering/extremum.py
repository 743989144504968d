"""Where extrema are."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import scalars, tensors
from iree_core.lowering.element import I64
from iree_core.lowering.structured import affine_map, generic, loop_index
from iree_core.lowering.tensors import Tensor


def arg_reduce(x: Tensor, axis: int, *, largest: bool, last: bool = False) -> Tensor:
    """Return the positions (i64) of the extremum along ``axis``, which is kept as 1.

    Args:
        largest: look for the largest element, else for the smallest.
        last: of equal ones take the last, else the first.
    """
    e = x.element
    dims = [1 if a == axis else d for a, d in enumerate(x.dims)]
    start = scalars.lowest(e) if largest else scalars.highest(e)
    inits = [tensors.fill(dims, e, start), tensors.fill(dims, I64, -1)]

    def body(v: ir.Value, best: ir.Value, where: ir.Value) -> list[ir.Value]:
        strict = "gt" if largest else "lt"
        predicate = strict.replace("t", "e") if last else strict
        better = scalars.compare(predicate, v, best, e)
        unset = scalars.compare("lt", where, scalars.constant(0, I64), I64)
        better = arith.ori(better, unset)
        position = arith.index_cast(I64.type, loop_index(axis))
        return [arith.select(better, v, best), arith.select(better, position, where)]

    identity = affine_map(x.rank, list(range(x.rank)))
    out = affine_map(x.rank, [None if a == axis else a for a in range(x.rank)])
    _, places = generic(
        [x.value],
        [t.value for t in inits],
        [identity, out, out],
        [a == axis for a in range(x.rank)],
        body,
    )
    return Tensor(places, tuple(dims), I64)
