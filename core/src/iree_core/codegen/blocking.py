"""Block sizes of contractions: packed layouts of weights, register tiles, work items.

Everything here is arithmetic on shapes and a :class:`~iree_core.codegen.kernel.CpuModel`; it
neither reads nor emits IR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.codegen.kernel import CpuModel
from iree_core.layout import PackedLayout

_MINIMUM_ROWS = 4
_LEAST_COLUMNS = 8
_REGISTERS_OF_WIDE_PANELS = 32
_CYCLES_PER_MICROSECOND = 4000
_ITEM_CYCLES = 60_000
_LEAST_ITEM_CYCLES = 8_000
_BYTES_PER_CYCLE = 8


@dataclass(frozen=True)
class RegisterBlock:
    """The shape of a register tile: ``rows`` x ``vectors`` registers of ``lanes`` elements."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Elements along the lane dimension."""
        return self.vectors * self.lanes


def vectors_per_panel(cpu: CpuModel) -> int:
    """Return how many registers wide a panel is: two, which 8 rows turn into 16 accumulators."""
    return 2 if cpu.vector_registers >= 16 else 1


def vectors_per_packed_panel(cpu: CpuModel, extent: int, lanes: int) -> int:
    """Return how many registers wide the packed panels of ``extent`` columns should be.

    The usual width, or one more where that leaves less padding in the last panel and registers
    suffice for the accumulators; one where there is only one.
    """
    usual, vectors = vectors_per_panel(cpu), -(-extent // lanes)
    wider = [usual + 1] if cpu.vector_registers >= _REGISTERS_OF_WIDE_PANELS else []
    return min(vectors, min([usual, *wider], key=lambda width: -vectors % width))


def vectors_of_few_rows(cpu: CpuModel, rows: int, available: int) -> int:
    """Return how many registers wide a tile of very few rows is over an unpacked operand.

    The operand is read once only, so longer pieces of its rows make better use of memory; but
    several panels must be left for the threads.
    """
    wide = max(1, cpu.vector_registers // 2 // rows)
    return max(vectors_per_panel(cpu), min(wide, available // 8))


def packing_for(
    cpu: CpuModel, shape: Sequence[int], lane_dim: int, order: Sequence[int], accumulator_bits: int
) -> PackedLayout | None:
    """Return how the constant operand of a contraction should lie in memory.

    Args:
        cpu: the processor.
        shape: logical shape of the operand.
        lane_dim: its dimension that is an output dimension of the contraction (N; the output
            channels of a convolution).
        order: its other dimensions as the reduction loops run, outermost first: batch or group
            dimensions, then kh, kw, c.
        accumulator_bits: width of an accumulator (32 for f32, bf16, f16 and i8 operands).

    Returns:
        The layout, or None where packing does not pay: fewer lanes than one register.
    """
    lanes = cpu.lanes(max(32, accumulator_bits))  # narrower accumulators are widened
    if shape[lane_dim] < lanes:
        return None
    vectors = vectors_per_packed_panel(cpu, shape[lane_dim], lanes)
    return PackedLayout(tuple(order), lane_dim, vectors * lanes)


def most_rows(cpu: CpuModel, vectors: int, window: int) -> int:
    """Return how many rows a register tile can have.

    All accumulators, ``window`` registers per vector of the other operand and two for elements
    on their way must fit.
    """
    return max(1, (cpu.vector_registers - window * vectors - 2) // vectors)


def panels_for(
    width: int, shape: Sequence[int], lane_dim: int, order: Sequence[int]
) -> PackedLayout | None:
    """Return how the constant operand of a contraction should lie for a device that is no CPU.

    Invocations side by side then read columns side by side, and what one reads next lies near.

    Args:
        width: columns of a panel; panels are narrower where that wastes less.
        shape, lane_dim, order: as of :func:`packing_for`.

    Returns:
        The layout, or None where packing does not pay: too few columns.
    """
    columns = shape[lane_dim]
    if columns < _LEAST_COLUMNS:
        return None
    even = -(-columns // -(-columns // width))
    return PackedLayout(tuple(order), lane_dim, -(-even // _LEAST_COLUMNS) * _LEAST_COLUMNS)


def register_rows(cpu: CpuModel, vectors: int, extent: int | None, window: int = 1) -> int:
    """Return how many rows a register tile has.

    Of the heights near the highest that registers allow, the one that leaves the smallest remainder
    of ``extent`` is taken (None: not known, then a power of two, so that halves cover every
    remainder).
    """
    most = most_rows(cpu, vectors, window)
    best = 8 if most >= 8 else 4 if most >= 4 else 1
    if extent is None:
        return best
    if extent <= most:
        return extent
    candidates = range(min(most, 12), max(best - 3, 0), -1)

    def cost(rows: int) -> tuple[float, int]:
        rest = extent % rows
        steps = extent // rows * rows + (max(rest, _MINIMUM_ROWS) if rest else 0)
        # Short tiles load more per multiplication.
        return steps * (1 + 0.25 / rows), abs(rows - best)

    return min(candidates, key=cost)


def item_budget(total_cycles: float) -> float:
    """Return how many cycles a work item should take, given those of the whole kernel.

    Many enough items to balance over 16 threads, as long as each is worth its setup.
    """
    return min(_ITEM_CYCLES, max(_LEAST_ITEM_CYCLES, total_cycles / 64))


def even_blocks(extent: int | None, wanted: float) -> int:
    """Return a block size of at most about ``wanted`` that divides ``extent`` evenly enough."""
    if extent is None:
        return 1
    count = min(extent, max(1, int(wanted)))
    return -(-extent // -(-extent // count))


def block_rows(
    cpu: CpuModel, rows: int, extent: int | None, row_bytes: int | None, wanted: float
) -> int:
    """Return how many rows of the row dimension one work item covers, a multiple of ``rows``.

    The rows' data stays in half of the L2 cache while the panels pass by.
    """
    fits = max(rows, cpu.l2_bytes // 2 // row_bytes) if row_bytes else 128
    block = min(fits, int(wanted))
    if extent is not None:
        if extent <= block * 3 // 2:
            block = extent
        # Blocks of equal size balance better than full ones and a small last one.
        block = -(-extent // -(-extent // block))
    return max(rows, -(-block // rows) * rows)


def item_cycles(multiply_adds: float, lanes: int, streamed_bytes: float) -> float:
    """Estimate the cycles of a work item: two vector multiply-adds or 8 streamed bytes each."""
    return max(multiply_adds / (2 * lanes), streamed_bytes / _BYTES_PER_CYCLE)


def grain_for(cycles_per_item: float) -> int:
    """Return how many work items take about 15 microseconds."""
    return max(1, round(15 * _CYCLES_PER_MICROSECOND / max(1.0, cycles_per_item)))
