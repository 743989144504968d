"""The schedule of matrix multiplications, convolutions and other windows: register tiles.

What differs between a matrix multiplication, a convolution and pooling is only which loop is
the row dimension of the register tile and how its reduction loops meet padding; the latter is
in :mod:`iree_core.codegen.conv`. This file decides the sizes of blocks; the dispatch is
recognised in :mod:`iree_core.codegen.contraction_analysis`, its loops are emitted in
:mod:`iree_core.codegen.contraction_loops`.

A work item is one block of rows times some panels of lanes, at one position of the other
parallel loops. Consecutive items share their rows, so that a thread keeps them in its cache
while the other operand streams by.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from iree_core.codegen import blocking, conv
from iree_core.codegen.builder import NotScheduled, element_bits
from iree_core.codegen.choices import CYCLES, PANELS, ROWS, SLICE, given_choices
from iree_core.codegen.contraction_analysis import (
    Contraction,
    accumulator_type,
    match_contraction,
)
from iree_core.codegen.contraction_loops import ALIGNMENT, ContractionLoops, Schedule
from iree_core.codegen.dispatch import Dispatch, as_expr
from iree_core.codegen.dot import DotForm, declare, match_dot
from iree_core.codegen.frame import make_kernel
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.codegen.panel import Panel, RowBlock
from iree_core.expr import Expr, const
from iree_core.ir import ir
from iree_core.layout import layout_of

__all__ = ["build", "build_contraction", "match_contraction"]

_ROWS_WORTH_PACKING = 32
_ROWS_OF_A_SLICE = 256


def build_contraction(dispatch: Dispatch, cpu: CpuModel) -> Kernel:
    """Schedule a dispatch around one contraction or window.

    Raises:
        NotScheduled: it is not of that form.
    """
    contraction = match_contraction(dispatch)
    if contraction is None:
        raise NotScheduled("no single contraction whose results are stored from its tiles")
    return build(contraction, cpu)


def build(contraction: Contraction, cpu: CpuModel) -> Kernel:
    """Return the kernel of a dispatch that :func:`match_contraction` recognised."""
    dot = match_dot(contraction, cpu)
    if dot is not None:
        # Neighbours along the innermost loop form the groups.
        order = [d for d in contraction.reductions if d != dot.dim]
        grouped = replace(contraction, reductions=(*order, dot.dim))
        if _packed_in_groups(grouped, dot):
            contraction = grouped
        else:
            dot = None
    schedule, choices = _plan(contraction, cpu, dot)
    windows = any(len(form.factors) > 1 for maps in contraction.inputs for form in maps)
    return make_kernel(
        contraction.dispatch,
        "conv" if windows else "contraction",
        schedule.grid,
        lambda frame: ContractionLoops(contraction, schedule, cpu, frame).emit(),
        scratch=schedule.scratch,
        grain=schedule.grain,
        choices=choices,
        declare=None if dot is None else lambda m: declare(m, dot, schedule.register.lanes),
    )


def _packed_in_groups(c: Contraction, dot: DotForm) -> bool:
    """Whether the operand along the lanes lies in groups, or is worth packing at run time."""
    if layout_of(c.generic.inputs[dot.lanes].type) is not None:
        return True
    heights = prod(c.extent(d) for d in c.output if d != c.lane)
    panel = _run_time_panel(c, heights, dot)
    return panel is not None and panel.reductions[-1] == dot.dim


def _plan(c: Contraction, cpu: CpuModel, dot: DotForm | None) -> tuple[Schedule, dict[str, int]]:
    """Return the block sizes, and those among them that were free to choose."""
    given, taken = given_choices(c.dispatch.function), {}
    register = _register_block(c, cpu, given.get(ROWS))
    if c.row is not None:
        taken[ROWS] = register.rows
    lanes, columns = register.lanes, register.columns
    depth = prod(c.extent(d) for d in c.reductions)
    heights = prod(c.extent(d) for d in c.output if d != c.lane)
    panels = -(-c.extent(c.lane) // columns)
    traffic = _bytes_per_element(c)
    group = 1 if dot is None else dot.group
    tile_row = blocking.item_cycles(depth // group * columns, lanes, columns * traffic)
    budget = given.get(CYCLES) or blocking.item_budget(tile_row * heights * panels)
    taken[CYCLES] = round(budget)
    panel = _run_time_panel(c, heights, dot)
    evaluated = _run_time_rows(c, panels, dot)
    length = None
    if panel is None and evaluated is None and _may_slice(c):
        length = _slice(c, cpu, columns, dot, given.get(SLICE))
        taken[SLICE] = length or 0
    block = 1
    if c.row is not None:
        # A panel that is packed at run time wants more rows to pay for that.
        wanted = max(64 if panel is None else 256, budget / tile_row)
        fixed = c.static(c.row)
        row_bytes = _row_bytes(c, length)
        block = blocking.block_rows(cpu, register.rows, fixed, row_bytes, wanted)
        if conv.needs_whole_row(c):
            block = -(-c.extent(c.row) // register.rows) * register.rows
    height = 1 if c.row is None else min(block, c.extent(c.row))
    streamed = columns * (depth * 4 if c.row is None else height * traffic)
    cost = blocking.item_cycles(height * (depth // group) * columns, lanes, streamed)
    counts: dict[int, int] = {}
    for dim in reversed(c.outer):
        most = blocking.even_blocks(c.static(dim), budget / cost)
        counts[dim] = most if evaluated is None else 1
        cost *= counts[dim]
    together = blocking.even_blocks(panels, budget / cost)
    if evaluated is not None:
        together = max(together, blocking.even_blocks(panels, 4))
    together = min(panels, given.get(PANELS) or together)
    taken[PANELS] = together
    schedule = Schedule(
        register=register,
        rows=block,
        panels=together,
        depth=counts,
        grain=blocking.grain_for(cost * together),
        grid=_grid(c, block, counts, columns * together),
        slice=length,
        panel=panel,
        block=evaluated,
        scratch=_scratch(c, panel, evaluated, columns, block, group),
        dot=dot,
    )
    return schedule, taken


def _register_block(c: Contraction, cpu: CpuModel, rows: int | None) -> blocking.RegisterBlock:
    """Return the register tile, ``rows`` high where that is given and registers suffice."""
    lanes = cpu.lanes(element_bits(accumulator_type(c)))
    width = c.static(c.lane)
    vectors = _vectors_of_packed(c, lanes) or blocking.vectors_per_panel(cpu)
    height = 1 if c.row is None else c.extent(c.row)
    if height <= 4 and _reads_dense_rows(c):
        vectors = blocking.vectors_of_few_rows(cpu, height, c.extent(c.lane) // lanes)
    if width is not None:
        vectors = min(vectors, -(-width // lanes))
    if c.row is None:
        return blocking.RegisterBlock(1, vectors, lanes)
    window = conv.window_registers(c)
    if rows is None:
        rows = blocking.register_rows(cpu, vectors, c.static(c.row), window)
    most = min(c.extent(c.row), blocking.most_rows(cpu, vectors, window))
    return blocking.RegisterBlock(min(rows, most), vectors, lanes)


def _vectors_of_packed(c: Contraction, lanes: int) -> int | None:
    """Return how many registers wide the panels of a packed operand are, None without one."""
    for maps, operand in zip(c.inputs, c.generic.inputs, strict=True):
        layout = layout_of(operand.type)
        if layout is not None and maps[layout.tile_dim].is_dim(c.lane):
            return layout.tile // lanes
    return None


def _grid(c: Contraction, block: int, counts: dict[int, int], columns: int) -> Expr:
    grid: Expr = const(1)
    for dim in c.outer:
        grid = grid * as_expr(c.extents[dim]).ceildiv(counts[dim])
    if c.row is not None:
        grid = grid * as_expr(c.extents[c.row]).ceildiv(block)
    return grid * as_expr(c.extents[c.lane]).ceildiv(columns)


def _scratch(
    c: Contraction,
    panel: Panel | None,
    evaluated: RowBlock | None,
    columns: int,
    rows: int,
    group: int,
) -> Expr:
    scratch = const(0)
    if panel is not None:
        scratch = _panel_bytes(c, panel, columns, group)
    if evaluated is not None:
        scratch = scratch + _block_bytes(c, evaluated, rows)
    return scratch


def _bytes_per_element(c: Contraction) -> int:
    """Return the memory traffic of one result element where no operand is shared by rows."""
    total = 2 * element_bits(c.generic.results[0].type.element_type) // 8
    for maps, operand in zip(c.inputs, c.generic.inputs, strict=True):
        loops = {d for form in maps for d in form.dims}
        if c.lane in loops and c.row in loops:
            strides = [f for form in maps for d, f in form.factors if d not in c.reductions]
            total += element_bits(operand.type.element_type) // 8 * prod(strides)
    return total


def _reads_dense_rows(c: Contraction) -> bool:
    """Whether every operand along the lanes is contiguous there and not packed."""
    for maps, operand in zip(c.inputs, c.generic.inputs, strict=True):
        if any(form.factor(c.lane) for form in maps) and (
            not maps[-1].is_dim(c.lane) or layout_of(operand.type) is not None
        ):
            return False
    return True


def _panel_bytes(c: Contraction, panel: Panel, columns: int, group: int) -> Expr:
    size = element_bits(c.generic.inputs[panel.operand].type.element_type) // 8
    *outer, last = panel.reductions
    count = const(columns * size * group) * as_expr(c.extents[last]).ceildiv(group)
    for dim in outer:
        count = count * as_expr(c.extents[dim])
    return count.ceildiv(ALIGNMENT) * ALIGNMENT


def _block_bytes(c: Contraction, block: RowBlock, rows: int) -> Expr:
    count = const(rows * element_bits(block.element) // 8)
    for dim in block.reductions:
        count = count * as_expr(c.extents[dim])
    return count


def _run_time_rows(c: Contraction, panels: int, dot: DotForm | None) -> RowBlock | None:
    """Return the operand along the rows if evaluating it once per work item pays.

    It does where an element costs more than a load (a producer is fused, or a narrow float
    must be converted) and several panels and rows use it.
    """
    if c.row is None or panels < 2 or c.extent(c.row) < 4:
        return None
    for number, (maps, operand) in enumerate(zip(c.inputs, c.generic.inputs, strict=True)):
        loops = {d for form in maps for d in form.dims}
        if c.row not in loops or c.lane in loops or any(len(f.factors) > 1 for f in maps):
            continue
        if not isinstance(operand.type, ir.RankedTensorType) or not maps[-1].dims:
            continue
        element = operand.type.element_type
        reductions = tuple(d for d in c.reductions if d in loops)
        narrow = dot is None and isinstance(element, ir.FloatType) and element.width < 32
        plain = operand in c.dispatch.tensors and not (narrow and _only_widened(c, number))
        if plain or not reductions or reductions[-1] not in maps[-1].dims:
            continue
        if narrow and _only_widened(c, number):
            element = ir.F32Type.get()
        return RowBlock(number, maps, c.row, reductions, element)
    return None


def _only_widened(c: Contraction, number: int) -> bool:
    """Whether the body converts an input to float32 before it does anything else with it."""
    if not isinstance(accumulator_type(c), ir.F32Type):
        return False
    for use in c.body.inputs[number].uses:
        op = use.owner.operation
        if op.name == "arith.extf" and isinstance(op.results[0].type, ir.F32Type):
            continue
        if op.name == "arith.mulf" and op.results[0] == c.body.term:
            continue
        return False
    return True


def _run_time_panel(c: Contraction, rows: int, dot: DotForm | None) -> Panel | None:
    """Return the operand along the lanes if its panels are worth packing at run time."""
    for number, (maps, operand) in enumerate(zip(c.inputs, c.generic.inputs, strict=True)):
        loops = {d for form in maps for d in form.dims}
        if c.lane not in loops or c.row in loops or any(len(f.factors) > 1 for f in maps):
            continue
        if layout_of(operand.type) is not None:
            continue
        reductions = tuple(d for d in c.reductions if d in loops)
        if not reductions or not isinstance(operand.type, ir.RankedTensorType):
            continue
        last = maps[-1].dims
        contiguous = c.lane in last
        plain = operand in c.dispatch.tensors
        if contiguous and (rows < _ROWS_WORTH_PACKING or (plain and c.row is None)):
            continue
        if dot is not None and (number != dot.lanes or reductions[-1] != dot.dim):
            continue
        return Panel(number, maps, reductions, c.lane, reductions[-1] in last)
    return None


def _may_slice(c: Contraction) -> bool:
    """Whether the reduction can be done a slice at a time, with rows enough to use it again."""
    return len(c.reductions) == 1 and c.row is not None and c.extent(c.row) >= 32


def _slice(
    c: Contraction, cpu: CpuModel, columns: int, dot: DotForm | None, given: int | None
) -> int | None:
    """Return how much of a long reduction to do at a time, None for all of it.

    Unless a length is given, slices of a panel that takes more than half of the L2 cache take at
    most a quarter. Slices of the rows take at most all of it, so that a panel comes at most
    twice.
    """
    assert c.row is not None
    (dim,) = c.reductions
    extent = c.static(dim)
    group = 1 if dot is None else dot.group
    if given is not None:
        return -(-given // group) * group if extent is not None and 0 < given < extent else None
    size = element_bits(accumulator_type(c)) // 8
    rows = min(c.extent(c.row), _ROWS_OF_A_SLICE)
    most = min(cpu.l2_bytes // 4 // (columns * size), cpu.l2_bytes // (rows * size)) * group
    if extent is None or extent <= 2 * most:
        return None
    return -(-blocking.even_blocks(extent, most) // group) * group


def _row_bytes(c: Contraction, length: int | None) -> int | None:
    """Return how many bytes of cache a row of the row dimension needs, if that is known.

    ``length`` is the length of a slice of the reduction, None for all of it.
    """
    assert c.row is not None
    total = 0
    for maps, operand in zip(c.inputs, c.generic.inputs, strict=True):
        if not any(form.factor(c.row) for form in maps) or not hasattr(operand.type, "rank"):
            continue
        loops = {d for form in maps for d in form.dims if d in c.reductions}
        elements = prod(c.extent(d) for d in loops) if length is None else length
        total += elements * element_bits(operand.type.element_type) // 8
    return total or None
