"""Asking for the weights of the next panel while tiles of this one are multiplied.

Weights that are larger than the caches arrive from memory panel by panel. Every register tile of
the rows that a panel is multiplied with asks for its share of what comes next, a few cache lines
every few iterations of the reduction, so that the requests are spread evenly and none is made
twice. Hardware prefetchers follow the panel in use, which lies in the cache already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from iree_core.codegen.builder import (
    Buffer,
    Index,
    KernelBuilder,
    Lane,
    Scalar,
    element_bits,
)
from iree_core.codegen.evaluate import Evaluator
from iree_core.codegen.microkernel import Axis, Linear
from iree_core.codegen.panel import coordinates
from iree_core.ir import ir, memref
from iree_core.layout import PackedLayout, layout_of

if TYPE_CHECKING:
    from iree_core.codegen.contraction_analysis import Contraction
    from iree_core.codegen.contraction_loops import Schedule

_INTERVAL = 16
_LINE_BYTES = 64
_SECOND_LEVEL = 2
_LEAST_ACCUMULATORS = 8


@dataclass(frozen=True)
class Stream:
    """A packed operand of a matrix product that passes through the cache panel by panel.

    Attributes:
        evaluator: where operations go.
        operand: the tensor.
        maps: its coordinates.
        layout: how it lies in memory.
        row: the row loop.
        rows: rows of a register tile.
        tiles: register tiles along the rows of a work item.
        length: iterations of the reduction that all rows do before its next part follows.
    """

    evaluator: Evaluator
    operand: ir.Value
    maps: tuple[Linear, ...]
    layout: PackedLayout
    row: int
    rows: int
    tiles: int
    length: int

    def spread(self, axes: list[Axis], base: Mapping[int, Scalar], first_row: Scalar) -> list[Axis]:
        """Let the reduction of a tile ask for what follows this panel, or this slice of it.

        Args:
            axes: the tile's reduction loops.
            base: position of the tile in the parallel loops.
            first_row: the first row of the work item.
        """
        *outer, axis = axes
        b, buffer = self.evaluator.builder, self.evaluator.buffers[self.operand]
        start: Scalar = 0 if axis.bounds is None else axis.bounds(base)[0]
        line = max(1, _LINE_BYTES * 8 // element_bits(buffer.element))
        lines = -(-_INTERVAL * self.layout.tile // (self.tiles * line))
        share = lines * line * -(-self.length // _INTERVAL)
        number = b.div(b.sub(base[self.row], first_row), self.rows)

        def request(k: Scalar) -> None:
            loops = {d: Index(i) for d, i in base.items()}
            # What lies behind the end of a panel is the next one.
            loops[axis.dim] = Index(b.add(start, self.length))
            at = b.address(buffer, coordinates(b, self.maps, loops, 1), 1).base
            at = b.add(at, b.mul(number, share))
            at = b.add(at, b.mul(b.div(b.sub(k, start), _INTERVAL), lines * line))
            for n in range(lines):
                there = [b.value(b.add(at, n * line))]
                memref.PrefetchOp(buffer.memory, there, False, _SECOND_LEVEL, True)

        return [*outer, replace(axis, meanwhile=(_INTERVAL, request))]


def is_streamed(tensor: ir.Value, cached: int) -> bool:
    """Whether a packed operand passes through the cache, of which two panels fill a part."""
    layout = layout_of(tensor.type) if isinstance(tensor.type, ir.RankedTensorType) else None
    if layout is None:
        return False
    size = element_bits(tensor.type.element_type) // 8
    tiles, *panel = layout.storage_shape(tuple(tensor.type.shape))
    return tiles * prod(panel) * size > cached >= 4 * prod(panel) * size


def request_next_panel(
    builder: KernelBuilder, buffer: Buffer, position: Sequence[Index], lane: Lane
) -> None:
    """Ask for the place in the following panel that ``position`` has in its own.

    For windows, whose loops inside a panel are many.
    """
    layout = buffer.layout
    assert layout is not None
    at = builder.address(buffer, position, lane.width).base
    sizes = [builder.ceildiv(buffer.shape[d], layout.grouped(d)) for d in layout.order]
    inner = 1 if layout.group is None else layout.group[1]
    panel = builder.product([*sizes, layout.tile * inner])
    there = [builder.value(builder.add(at, panel))]
    memref.PrefetchOp(buffer.memory, there, False, _SECOND_LEVEL, True)


def find_stream(
    contraction: Contraction, schedule: Schedule, evaluator: Evaluator, cached: int
) -> Stream | None:
    """Return the operand whose panels are worth asking for, None where there is none.

    It must be larger than ``cached`` bytes, and each of its panels meet all rows of a work item,
    and nothing else, before the next.
    """
    c, register = contraction, schedule.register
    if c.row is None or len(c.reductions) != 1 or schedule.dot is not None:
        return None
    if register.rows * register.vectors < _LEAST_ACCUMULATORS:
        return None
    length = schedule.slice or c.static(c.reductions[0])
    if length is None or any(count > 1 for count in schedule.depth.values()):
        return None
    found = [
        (operand, maps, layout)
        for operand, maps, layout in _packed(c, list(evaluator.buffers))
        if prod(layout.storage_shape(tuple(operand.type.shape))) * _bytes(operand) > cached
    ]
    if len(found) != 1:
        return None
    operand, maps, layout = found[0]
    if layout.group is not None or not maps[layout.order[-1]].is_dim(c.reductions[0]):
        return None
    tiles = -(-min(schedule.rows, c.static(c.row) or schedule.rows) // register.rows)
    return Stream(evaluator, operand, maps, layout, c.row, register.rows, tiles, length)


def _packed(
    c: Contraction, buffers: Sequence[ir.Value]
) -> list[tuple[ir.Value, tuple[Linear, ...], PackedLayout]]:
    found = []
    for operand, maps in zip(c.generic.inputs, c.inputs, strict=True):
        layout = layout_of(operand.type)
        if layout is not None and operand in buffers:
            found.append((operand, maps, layout))
    return found


def _bytes(operand: ir.Value) -> int:
    return element_bits(operand.type.element_type) // 8
