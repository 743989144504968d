"""A convolution with a window of one element is a matrix product."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import ir, linalg, tensor
from iree_core.passes.globalopt.evaluate_parameters import is_parameter
from iree_core.passes.globalopt.fold_transposes import groups_attribute
from iree_core.passes.globalopt.generics import (
    copy_body,
    dim_positions,
    generics_of,
    maps_of,
    parallel_loops,
)
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class DropUnitWindows:
    """Drop reduction loops of one iteration, with the dimensions of weights they run over.

    Before::

        linalg.generic {(n, y, x, o, ky, kx, c) -> (n, y + ky, x + kx, c), (o, ky, kx, c), ...}
            ins(%x, %w : tensor<1x7x7x512xf32>, tensor<64x1x1x512xf32>)

    After::

        %v = tensor.collapse_shape %w [[0, 1, 2], [3]] : ... into tensor<64x512xf32>
        linalg.generic {(n, y, x, o, c) -> (n, y, x, c), (o, c), (n, y, x, o)} ins(%x, %v)
    """

    name: str = "drop-unit-windows"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite the contractions of ``module`` whose weights are parameters."""
        for op in generics_of(module):
            loops = _unit_loops(op)
            if loops:
                with ir.InsertionPoint(op), op.location:
                    _drop(op, loops)


def _unit_loops(op: ir.Operation) -> set[int]:
    """Return the reduction loops to drop: each runs over one dimension of one parameter."""
    if len(op.results) != 1 or any(
        inner.operation.name == "linalg.index" for inner in op.regions[0].blocks[0].operations
    ):
        return set()
    reduced = [not parallel for parallel in parallel_loops(op)]
    found: dict[int, int] = {}
    for operand, each in zip(op.operands, maps_of(op), strict=True):
        for dim, loop in enumerate(dim_positions(each)):
            if loop is None or not reduced[loop]:
                continue
            plain = operand.type.encoding is None and operand.type.rank > 1
            unit = operand.type.shape[dim] == 1 and plain and is_parameter(operand)
            found[loop] = found.get(loop, 0) + (1 if unit else 2)
    units = {loop for loop, count in found.items() if count == 1}
    rest = [loop for loop, is_reduced in enumerate(reduced) if is_reduced and loop not in units]
    return units if rest else set()


def _drop(op: ir.Operation, loops: set[int]) -> None:
    maps = maps_of(op)
    kept = [loop for loop in range(maps[0].n_dims) if loop not in loops]
    number = {loop: n for n, loop in enumerate(kept)}
    zero = ir.AffineConstantExpr.get(0)
    moved = ir.AffineMap.get(
        len(kept),
        0,
        [
            zero if loop in loops else ir.AffineDimExpr.get(number[loop])
            for loop in range(maps[0].n_dims)
        ],
    )
    operands, changed = [], []
    for operand, each in zip(op.operands, maps, strict=True):
        gone = [dim for dim, loop in enumerate(dim_positions(each)) if loop in loops]
        left = [e.compose(moved) for dim, e in enumerate(each.results) if dim not in gone]
        operands.append(_without(operand, gone) if gone else operand)
        changed.append(ir.AffineMap.get(len(kept), 0, left))
    kinds = list(op.attributes["iterator_types"])
    made = linalg.GenericOp(
        [op.results[0].type],
        operands[:-1],
        operands[-1:],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in changed]),
        ir.ArrayAttr.get([kinds[loop] for loop in kept]),
    )
    copy_body(op, made.operation)
    op.results[0].replace_all_uses_with(made.results[0])
    op.erase()


def _without(value: ir.Value, gone: list[int]) -> ir.Value:
    """Return a tensor without some dimensions of size one."""
    groups: list[list[int]] = []
    waiting: list[int] = []
    for dim in range(value.type.rank):
        if dim not in gone:
            groups.append([*waiting, dim])
            waiting = []
        elif groups:
            groups[-1].append(dim)
        else:
            waiting.append(dim)
    shape = [n for dim, n in enumerate(value.type.shape) if dim not in gone]
    kind = ir.RankedTensorType.get(shape, value.type.element_type)
    return tensor.CollapseShapeOp(kind, value, groups_attribute(groups)).result
