"""How reshapes and rank-reducing slices map dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import ir


def dropped_dims(kind: ir.RankedTensorType, sizes: Sequence[int]) -> set[int]:
    """Return which unit dimensions a rank-reducing slice leaves out.

    Matched from the last dimension on, as ``getDroppedDims`` of MLIR's tensor dialect does.
    """
    shape = list(kind.shape)
    dropped: set[int] = set()
    for dim in reversed(range(len(sizes))):
        if shape and (sizes[dim] != 1 or shape[-1] == 1):
            shape.pop()
        else:
            dropped.add(dim)
    return dropped


def groups(op: ir.OpView) -> list[list[int]]:
    """Return, for each dimension of the collapsed shape, the dimensions of the expanded one."""
    return [[a.value for a in group] for group in op.attributes["reassociation"]]
