"""Facts about a dispatch that schedules decide by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.reduction import is_reduction
from iree_core.ir import ir

_COSTS = {
    "math.exp": 12, "math.log": 12, "math.tanh": 20, "math.erf": 25, "math.powf": 40,
    "math.sin": 20, "math.cos": 20, "math.sqrt": 6, "math.rsqrt": 8, "arith.divf": 6,
    "arith.divsi": 12, "arith.remsi": 12, "arith.divui": 12, "arith.remui": 12,
    "math.exp2": 12, "math.log2": 12, "math.log1p": 15, "math.expm1": 15, "tensor.extract": 4,
}  # fmt: skip


def body_cost(op: ir.OpView) -> float:
    """Return the cost of one evaluation of a body, in additions."""
    if not len(op.regions):
        return 1.0
    total = 0.0
    for inner in op.regions[0].blocks[0].operations:
        total += _COSTS.get(inner.operation.name, 1)
        if inner.operation.name == "scf.if":
            total += sum(len(list(r.blocks[0].operations)) for r in inner.regions)
    return total


def is_expensive(op: ir.OpView) -> bool:
    """Whether recomputing an elementwise op costs more than keeping its result."""
    return body_cost(op) >= 10


def reductions(dispatch: Dispatch) -> list[ir.OpView]:
    """Return the reductions of a dispatch, producers first."""
    return [
        op
        for op in dispatch.operations
        if op.operation.name == "linalg.generic" and is_reduction(op)
    ]


def generics(dispatch: Dispatch) -> list[ir.OpView]:
    """Return every ``linalg.generic`` of a dispatch, producers first."""
    return [op for op in dispatch.operations if op.operation.name == "linalg.generic"]


def total_cost(dispatch: Dispatch) -> float:
    """Return the cost of one element through every body of the dispatch."""
    return max(1.0, sum(body_cost(op) for op in generics(dispatch)))


def body_operations(op: ir.OpView) -> Iterator[str]:
    """Yield the names of the operations in a body."""
    for inner in op.regions[0].blocks[0].operations:
        yield inner.operation.name


def result_positions(map_: ir.AffineMap) -> list[int | None]:
    """Return which loop each result of a map is, or None where it is no plain loop."""
    return [e.position if isinstance(e, ir.AffineDimExpr) else None for e in map_.results]


def widest_bits(dispatch: Dispatch) -> int:
    """Return the width of the largest element that is computed with, at most 64."""
    tensors = [*dispatch.tensors, *dispatch.results]
    tensors += [r for op in dispatch.operations for r in op.results if _is_tensor(r)]
    return max((_bits(t.type.element_type) for t in tensors), default=32)


def has_complex(dispatch: Dispatch) -> bool:
    """Whether complex numbers occur (they have no vector type)."""
    tensors: Sequence[ir.Value] = [*dispatch.tensors, *dispatch.results]
    inner = [r for op in dispatch.operations for r in op.results if _is_tensor(r)]
    return any(isinstance(t.type.element_type, ir.ComplexType) for t in [*tensors, *inner])


def _is_tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType)


def _bits(element: ir.Type) -> int:
    if isinstance(element, ir.IndexType):
        return 64
    if isinstance(element, ir.ComplexType):
        return 64
    return max(8, element.width)
