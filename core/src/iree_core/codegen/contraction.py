"""The schedule of matrix multiplications, convolutions and other windows: register tiles.

:func:`match_contraction` recognises a dispatch around one reducing ``linalg.generic`` whose
loops include a lane dimension (the last one of its output); :func:`build` makes its kernel.
What differs between a matrix multiplication, a convolution and pooling is only which loop is
the row dimension of the register tile and how its reduction loops meet padding; the latter is
in :mod:`iree_core.codegen.conv`.

A work item is one block of rows times some panels of lanes, at one position of the other
parallel loops. Consecutive items share their rows, so that a thread keeps them in its cache
while the other operand streams by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from iree_core.codegen import blocking, conv
from iree_core.codegen.builder import (
    Index,
    KernelBuilder,
    Lane,
    NotScheduled,
    Scalar,
    element_bits,
)
from iree_core.codegen.dispatch import Dispatch, Size, as_expr
from iree_core.codegen.frame import Frame, make_kernel
from iree_core.codegen.kernel import CpuModel, Kernel
from iree_core.codegen.microkernel import Body, Linear, Operand, RegisterTile, linear, read_body
from iree_core.codegen.panel import Panel, PanelPacker, RowBlock, RowPacker
from iree_core.codegen.placement import Placement, placements
from iree_core.codegen.reduction import is_reduction
from iree_core.codegen.traits import body_cost, generics
from iree_core.expr import Expr, const
from iree_core.ir import ir, memref, vector
from iree_core.layout import layout_of

_LONG_EPILOGUE = 12
_ALIGNMENT = 64
_ROWS_WORTH_PACKING = 32
_ASSUMED = 128
"""What an unknown dimension is taken for where only speed depends on it."""


@dataclass(frozen=True)
class Contraction:
    """A dispatch that this schedule fits.

    Attributes:
        dispatch: the whole program.
        generic: its only reduction.
        body: what the reduction computes.
        inputs: maps of the inputs.
        output: which loop each coordinate of the result is.
        extents: trip count of every loop.
        lane: the loop that is the vector dimension.
        row: the loop that is the row dimension of the register tile, if any.
        outer: the other parallel loops.
        reductions: the reduction loops, outermost first.
        placements: where each result of the dispatch lies relative to the reduction's.
    """

    dispatch: Dispatch
    generic: ir.OpView
    body: Body
    inputs: tuple[tuple[Linear, ...], ...]
    output: tuple[int, ...]
    extents: tuple[Size, ...]
    lane: int
    row: int | None
    outer: tuple[int, ...]
    reductions: tuple[int, ...]
    placements: tuple[Placement, ...]

    def extent(self, dim: int) -> int:
        """Return a trip count, or a guess where it is not known."""
        size = self.extents[dim]
        return size if isinstance(size, int) else _ASSUMED

    def static(self, dim: int) -> int | None:
        """Return a trip count where it is known."""
        size = self.extents[dim]
        return size if isinstance(size, int) else None


def match_contraction(dispatch: Dispatch) -> Contraction | None:
    """Return how this schedule fits ``dispatch``, or None where it does not."""
    generics = [op for op in dispatch.operations if op.operation.name == "linalg.generic"]
    reducing = [op for op in generics if is_reduction(op)]
    if len(reducing) != 1:
        return None
    generic = reducing[0]
    body = read_body(generic)
    if body is None or not isinstance(generic.results[0].type, ir.RankedTensorType):
        return None
    try:
        return _analyse(dispatch, generic, body)
    except NotScheduled:
        return None


def _analyse(dispatch: Dispatch, generic: ir.OpView, body: Body) -> Contraction | None:
    maps = [tuple(linear(e) for e in a.value.results) for a in generic.indexing_maps]
    *inputs, result = maps
    if any(len(form.factors) > 1 or form.constant for form in result):
        return None
    output = tuple(form.dims[0] for form in result if form.dims)
    if len(output) != len(result) or not output:
        return None
    reductions = tuple(
        d for d, kind in enumerate(generic.iterator_types) if "reduction" in str(kind)
    )
    if not _is_contraction_like(inputs, body, reductions):
        return None
    where = placements(dispatch, generic.results[0])
    if where is None:
        return None
    operands = list(generic.inputs)
    extents = loop_extents(dispatch, generic)
    lane = _choose_lane(output, inputs, operands, where, extents)
    if lane is None or extents[lane] == 1:
        return None
    row = _choose_row(lane, output, _used(inputs, body), extents)
    if row is None and not any(
        _contiguity(m, o, lane) > 0 for m, o in zip(inputs, operands, strict=True)
    ):
        return None  # lanes along the reduction, as the schedule for rows has them, are faster
    outer = tuple(d for d in output if d not in (lane, row))
    order = _reduction_order(reductions, inputs, operands, lane)
    return Contraction(
        dispatch, generic, body, tuple(inputs), output, extents, lane, row, outer, order, where
    )


def _is_contraction_like(
    inputs: Sequence[tuple[Linear, ...]], body: Body, reductions: Sequence[int]
) -> bool:
    window = any(len(form.factors) > 1 for maps in inputs for form in maps)
    owner = body.term.owner
    product = not isinstance(owner, ir.Block) and owner.operation.name in (
        "arith.mulf",
        "arith.muli",
    )
    return window or (product and len(_used(inputs, body)) >= 2)


def _used(inputs: Sequence[tuple[Linear, ...]], body: Body) -> list[tuple[Linear, ...]]:
    """Return the maps of the inputs that are read; some only give a window its size."""
    return [m for m, a in zip(inputs, body.inputs, strict=True) if len(list(a.uses))]


def _choose_lane(
    output: tuple[int, ...],
    inputs: Sequence[tuple[Linear, ...]],
    operands: Sequence[ir.Value],
    where: Sequence[Placement],
    extents: Sequence[Size],
) -> int | None:
    """Return the loop along which results and operands are read and written in vectors."""
    candidates = [d for d in reversed(output) if extents[d] != 1][:1]
    for placement in where:
        last = placement.innermost()
        if last is not None and extents[output[last]] != 1:
            candidates.append(output[last])
    scores = {}
    for dim in candidates:
        if any(form.factor(dim) for maps in inputs for form in maps):
            scores[dim] = sum(_contiguity(m, o, dim) for m, o in zip(inputs, operands, strict=True))
    return max(scores, key=lambda d: scores[d]) if scores else None


def _contiguity(maps: tuple[Linear, ...], operand: ir.Value, dim: int) -> int:
    layout = layout_of(operand.type)
    for position, form in enumerate(maps):
        if form.factor(dim):
            if layout is not None:
                return 4 if layout.tile_dim == position else -4
            return 2 if position == len(maps) - 1 and form.factor(dim) == 1 else 0
    return 0


def _choose_row(
    lane: int,
    output: tuple[int, ...],
    inputs: Sequence[tuple[Linear, ...]],
    extents: Sequence[Size],
) -> int | None:
    """Return the loop whose iterations share most of the operands that vary along the lanes.

    They share an operand that does not depend on the loop, and in part one over which a window
    slides along it.
    """
    vectors = [maps for maps in inputs if any(form.factor(lane) for form in maps)]
    best: tuple[int, int, int] | None = None
    for position, dim in enumerate(output):
        if dim == lane:
            continue
        shares = sum(not any(form.factor(dim) for form in maps) for maps in vectors)
        slides = any(form.factor(dim) and len(form.factors) > 1 for m in vectors for form in m)
        size = extents[dim]
        number = size if isinstance(size, int) else _ASSUMED
        if number == 1 or not (shares or slides):
            continue
        score = (shares, min(number, 4), position)
        if best is None or score > best:
            best = score
    return None if best is None else output[best[2]]


def _reduction_order(
    reductions: Sequence[int],
    inputs: Sequence[tuple[Linear, ...]],
    operands: Sequence[ir.Value],
    lane: int,
) -> tuple[int, ...]:
    """Return the reduction loops in the storage order of the operand along the lanes."""
    for maps, operand in zip(inputs, operands, strict=True):
        if not any(form.factor(lane) for form in maps):
            continue
        layout = layout_of(operand.type)
        dims = layout.order if layout is not None else range(len(maps))
        order = [
            d for position in dims for d in maps[position].dims if d in reductions and d != lane
        ]
        if sorted(order) == sorted(reductions) and all(
            len(form.factors) <= 1 for form in maps
        ):
            return tuple(order)
    return tuple(reductions)


def loop_extents(dispatch: Dispatch, generic: ir.OpView) -> tuple[Size, ...]:
    """Return the trip count of every loop of a ``linalg.generic``.

    Raises:
        NotScheduled: one is not the size of a dimension that can be computed beforehand.
    """
    maps = [a.value for a in generic.indexing_maps]
    found: list[Size | None] = [None] * maps[0].n_dims
    for operand, map_ in zip([*generic.inputs, *generic.outputs], maps, strict=True):
        for position, result in enumerate(map_.results):
            if not isinstance(result, ir.AffineDimExpr):
                continue
            if found[result.position] is None or not isinstance(found[result.position], int):
                size = _size(dispatch, operand, position)
                found[result.position] = size if size is not None else found[result.position]
    if any(size is None for size in found):
        raise NotScheduled("a loop whose size is not that of a dimension")
    return tuple(size for size in found if size is not None)


def _size(dispatch: Dispatch, tensor: ir.Value, position: int) -> Size | None:
    if not tensor.type.is_dynamic_dim(position):
        return int(tensor.type.shape[position])
    if tensor in dispatch.tensors:
        return dispatch.argument_sizes[dispatch.tensors.index(tensor)][position]
    owner = tensor.owner
    name = owner.operation.name
    if name == "tensor.empty":
        dynamic = [d for d in range(tensor.type.rank) if tensor.type.is_dynamic_dim(d)]
        return dispatch.expression(owner.operands[dynamic.index(position)])
    if name in ("linalg.fill", "linalg.generic"):
        outputs = list(owner.outputs)
        return _size(dispatch, outputs[list(owner.results).index(tensor)], position)
    return None


@dataclass
class _Schedule:
    """Block sizes of one kernel."""

    register: blocking.RegisterBlock
    rows: int
    panels: int
    depth: dict[int, int]
    grain: int
    grid: Expr
    panel: Panel | None
    block: RowBlock | None
    scratch: Expr


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
    schedule = _plan(contraction, cpu)
    windows = any(len(form.factors) > 1 for maps in contraction.inputs for form in maps)
    return make_kernel(
        contraction.dispatch,
        "conv" if windows else "contraction",
        schedule.grid,
        lambda frame: _Emission(contraction, schedule, cpu, frame).emit(),
        scratch=schedule.scratch,
        grain=schedule.grain,
    )


def _plan(c: Contraction, cpu: CpuModel) -> _Schedule:
    lanes = cpu.lanes(element_bits(accumulator_type(c)))
    width = c.static(c.lane)
    fixed = None if c.row is None else c.static(c.row)
    height = 1 if c.row is None else c.extent(c.row)
    vectors = blocking.vectors_per_panel(cpu)
    if height <= 4 and _reads_dense_rows(c):
        vectors = blocking.vectors_of_few_rows(cpu, height, c.extent(c.lane) // lanes)
    vectors = vectors if width is None else min(vectors, -(-width // lanes))
    rows = 1 if c.row is None else blocking.register_rows(
        cpu, vectors, fixed, conv.window_registers(c)
    )
    register = blocking.RegisterBlock(rows, vectors, lanes)
    depth = prod(c.extent(d) for d in c.reductions)
    heights = [c.extent(d) for d in c.output if d != c.lane]
    panels = -(-c.extent(c.lane) // register.columns)
    traffic = _bytes_per_element(c)
    tile_row = blocking.item_cycles(depth * register.columns, lanes, register.columns * traffic)
    budget = blocking.item_budget(tile_row * prod(heights) * panels)
    panel = _run_time_panel(c, prod(heights))
    packed_rows = _run_time_rows(c, panels)
    block = 1
    if c.row is not None:
        least = 64 if panel is None else 256
        wanted = max(least, budget / tile_row)
        block = blocking.block_rows(cpu, rows, fixed, _row_bytes(c), wanted)
        if conv.needs_whole_row(c):
            block = -(-c.extent(c.row) // rows) * rows
    height = 1 if c.row is None else min(block, c.extent(c.row))
    streamed = register.columns * (depth * 4 if c.row is None else height * traffic)
    cost = blocking.item_cycles(height * depth * register.columns, lanes, streamed)
    counts: dict[int, int] = {}
    for dim in reversed(c.outer):
        counts[dim] = blocking.even_blocks(c.static(dim), budget / cost)
        if packed_rows is not None:
            counts[dim] = 1
        cost *= counts[dim]
    group = blocking.even_blocks(panels, budget / cost)
    if packed_rows is not None:
        group = max(group, blocking.even_blocks(panels, 4))
    grid: Expr = const(1)
    for dim in c.outer:
        grid = grid * as_expr(c.extents[dim]).ceildiv(counts[dim])
    if c.row is not None:
        grid = grid * as_expr(c.extents[c.row]).ceildiv(block)
    grid = grid * as_expr(c.extents[c.lane]).ceildiv(register.columns * group)
    scratch = const(0)
    if panel is not None:
        scratch = _panel_bytes(c, panel, register.columns)
    if packed_rows is not None:
        scratch = scratch + _block_bytes(c, packed_rows, block)
    grain = blocking.grain_for(cost * group)
    return _Schedule(register, block, group, counts, grain, grid, panel, packed_rows, scratch)


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


def _panel_bytes(c: Contraction, panel: Panel, columns: int) -> Expr:
    size = element_bits(c.generic.inputs[panel.operand].type.element_type) // 8
    count = const(columns * size)
    for dim in panel.reductions:
        count = count * as_expr(c.extents[dim])
    return count.ceildiv(_ALIGNMENT) * _ALIGNMENT


def _block_bytes(c: Contraction, block: RowBlock, rows: int) -> Expr:
    count = const(rows * element_bits(block.element) // 8)
    for dim in block.reductions:
        count = count * as_expr(c.extents[dim])
    return count


def _run_time_rows(c: Contraction, panels: int) -> RowBlock | None:
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
        narrow = isinstance(element, ir.FloatType) and element.width < 32
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


def _run_time_panel(c: Contraction, rows: int) -> Panel | None:
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
        return Panel(number, maps, reductions, c.lane, reductions[-1] in last)
    return None


def _row_bytes(c: Contraction) -> int | None:
    """Return how many bytes of cache a row of the row dimension needs, if that is known."""
    assert c.row is not None
    total = 0
    for maps, operand in zip(c.inputs, c.generic.inputs, strict=True):
        if not any(form.factor(c.row) for form in maps) or not hasattr(operand.type, "rank"):
            continue
        size = element_bits(operand.type.element_type) // 8
        for d in {d for form in maps for d in form.dims if d in c.reductions}:
            size *= c.extent(d)
        total += size
    return total or None


def accumulator_type(contraction: Contraction) -> ir.Type:
    """Return the element type of accumulators: that of the result, but at least float32."""
    kind = contraction.generic.results[0].type.element_type
    if isinstance(kind, ir.FloatType) and kind.width < 32:
        return ir.F32Type.get()
    return kind


class _Emission:
    """Emits the loops of one kernel."""

    def __init__(
        self, contraction: Contraction, schedule: _Schedule, cpu: CpuModel, frame: Frame
    ) -> None:
        self.c, self.s, self.cpu, self.frame = contraction, schedule, cpu, frame
        self.evaluator = frame.evaluator
        self.b: KernelBuilder = frame.builder
        self.sizes = self.evaluator.loop_sizes(contraction.generic)
        self.kind = accumulator_type(contraction)
        self.window = conv.Window(contraction, self.evaluator, self.sizes, cpu.l2_bytes)
        self.packer = self._packer()
        self.row_packer = self._row_packer()
        self.staging = self._staging()
        self.column: Scalar = 0
        self.tile = RegisterTile(
            evaluator=self.evaluator,
            body=contraction.body,
            operands=self._operands(),
            row=contraction.row,
            lane=contraction.lane,
            accumulator=self.kind,
            fused=cpu.fma,
        )
        self.supplied: ir.Value | None = None
        self.evaluator.bind(contraction.generic.results[0], lambda *_: self._supply())

    def _supply(self) -> ir.Value:
        if self.supplied is None:
            raise NotScheduled("an accumulator is read outside its tile")
        return self.supplied

    def _operands(self) -> list[Operand]:
        operands = []
        for number, maps in enumerate(self.c.inputs):
            panel = self.s.panel
            if panel is not None and panel.operand == number:
                dims = (*panel.reductions, panel.lane)
                forms = tuple(Linear(((d, 1),)) for d in dims)
                operands.append(Operand(forms, self._read_panel))
            elif self.row_packer is not None and self.row_packer.block.operand == number:
                dims = (self.row_packer.block.row, *self.row_packer.block.reductions)
                forms = tuple(Linear(((d, 1),)) for d in dims)
                operands.append(Operand(forms, self.row_packer.load))
            else:
                operands.append(Operand(maps, self.window.reader(number)))
        return operands

    def _packer(self) -> PanelPacker | None:
        panel = self.s.panel
        if panel is None:
            return None
        assert self.frame.scratch is not None
        return PanelPacker(
            self.evaluator,
            panel,
            self.window.reader(panel.operand),
            self.sizes,
            self.frame.scratch,
            0,
            self.c.generic.inputs[panel.operand].type.element_type,
            self.s.register.columns,
        )

    def _row_packer(self) -> RowPacker | None:
        block = self.s.block
        if block is None:
            return None
        assert self.frame.scratch is not None
        offset: Scalar = 0
        if self.packer is not None:
            b = self.b
            offset = b.mul(b.ceildiv(self.packer.bytes(), _ALIGNMENT), _ALIGNMENT)
        read = self.window.reader(block.operand)
        rows, lanes = self.s.rows, self.s.register.lanes
        return RowPacker(
            self.evaluator, block, read, self.sizes, self.frame.scratch, offset, rows, lanes
        )

    def _read_panel(self, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        assert self.packer is not None
        *reductions, column = position
        loops = dict(zip(self.packer.panel.reductions, reductions, strict=True))
        start = self.b.sub(column.base, self.column)
        return self.packer.load(loops | {self.c.lane: Index(start, column.step)}, lane)

    def emit(self) -> None:
        """Emit the loop over the work items."""
        b, c, s = self.b, self.c, self.s
        counts: list[Scalar] = [b.ceildiv(self.sizes[d], s.depth[d]) for d in c.outer]
        if c.row is not None:
            counts.append(b.ceildiv(self.sizes[c.row], s.rows))
        counts.append(b.ceildiv(self.sizes[c.lane], s.register.columns * s.panels))

        def item(number: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            *blocks, group = b.delinearize(number, counts)
            with self.evaluator.scope():
                self._item(blocks, group)
            return []

        b.loop(self.frame.begin, self.frame.end, 1, item)

    def _item(self, blocks: list[Scalar], group: Scalar) -> None:
        b, c, s = self.b, self.c, self.s
        if self.row_packer is not None:
            assert c.row is not None
            start = b.mul(blocks[-1], s.rows)
            stop = b.min(b.add(start, s.rows), self.sizes[c.row])
            self.row_packer.pack(dict(zip(c.outer, blocks, strict=False)), start, stop)
        width = s.register.columns
        first = b.mul(group, s.panels * width)
        last = b.min(b.add(first, s.panels * width), self.sizes[c.lane])
        size = c.static(c.lane)
        whole = last
        if size is None or size % width:
            rest = b.mod(last, width)
            whole = b.sub(last, rest)

        def panel(start: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            lanes = [Lane(s.register.lanes)] * s.register.vectors
            self._rows(blocks, start, lanes)
            return []

        self._loop(first, whole, width, panel)
        if size is None:
            self._loop(whole, last, s.register.lanes, lambda n, _: self._masked(blocks, n, last))
        elif size % width:
            self._loop(whole, last, width, lambda n, _: self._tail(blocks, n, size % width))

    def _masked(self, blocks: list[Scalar], start: Scalar, stop: Scalar) -> list[ir.Value]:
        lanes = self.s.register.lanes
        mask = self.b.tail_mask(lanes, self.b.sub(stop, start))
        self._rows(blocks, start, [Lane(lanes, mask)])
        return []

    def _tail(self, blocks: list[Scalar], start: Scalar, active: int) -> list[ir.Value]:
        width = self.s.register.lanes
        lanes = [Lane(width)] * (active // width)
        if active % width:
            lanes.append(Lane(width, self.b.tail_mask(width, active % width)))
        self._rows(blocks, start, lanes)
        return []

    def _loop(
        self,
        start: Scalar,
        stop: Scalar,
        step: int,
        body: Callable[[Scalar, list[ir.Value]], list[ir.Value]],
    ) -> None:
        def scoped(i: Scalar, carried: list[ir.Value]) -> list[ir.Value]:
            with self.evaluator.scope():
                return body(i, carried)

        self.b.loop(start, stop, step, scoped)

    def _rows(self, blocks: list[Scalar], column: Scalar, lanes: list[Lane]) -> None:
        """Emit everything a work item does in one panel."""
        c = self.c
        base: dict[int, Scalar] = {c.lane: column}
        self.packed = self.packer is None
        self.column = column
        self._outer(list(zip(c.outer, blocks, strict=False)), blocks, base, lanes)

    def _outer(
        self,
        dims: list[tuple[int, Scalar]],
        blocks: list[Scalar],
        base: dict[int, Scalar],
        lanes: list[Lane],
    ) -> None:
        self._pack_when_known(base, lanes)
        if not dims:
            self._row_loop(blocks[-1] if self.c.row is not None else 0, base, lanes)
            return
        (dim, block), *rest = dims
        count = self.s.depth[dim]
        if count == 1:
            self._outer(rest, blocks, base | {dim: block}, lanes)
            return
        start = self.b.mul(block, count)
        stop = self.b.min(self.b.add(start, count), self.sizes[dim])

        def body(i: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            self._outer(rest, blocks, base | {dim: i}, lanes)
            return []

        self._loop(start, stop, 1, body)

    def _pack_when_known(self, base: Mapping[int, Scalar], lanes: list[Lane]) -> None:
        """Pack the panel as soon as every outer loop that it depends on is entered."""
        if self.packed or self.packer is None:
            return
        panel = self.packer.panel
        needed = {d for form in panel.maps for d in form.dims} - set(panel.reductions)
        if needed <= set(base):
            self.packer.pack(base, lanes)
            self.packed = True

    def _row_loop(self, block: Scalar, base: dict[int, Scalar], lanes: list[Lane]) -> None:
        b, c, s = self.b, self.c, self.s
        if c.row is None:
            self._tile(base, 1, lanes)
            return
        size = c.static(c.row)
        runs = self.window.runs(s.register.rows)
        if runs is not None:
            for run in runs:
                self.window.run_start = run.start
                self._row_run(run.start, run.stop, run.rows, base, lanes)
            return
        start = b.mul(block, s.rows) if size is None or size > s.rows else 0
        stop = b.min(b.add(start, s.rows), self.sizes[c.row])
        if size is not None and size <= s.rows:
            stop = size
        rows = s.register.rows
        if size is not None and size % rows == 0:
            self._row_run(start, stop, rows, base, lanes)
            return
        rest = b.mod(b.sub(stop, start), rows)
        whole = b.sub(stop, rest)
        self._row_run(start, whole, rows, base, lanes)
        if size is not None:
            self._row_run(whole, stop, size % rows, base, lanes)
            return
        while rows > 1:
            rows //= 2
            count = b.mul(b.div(b.sub(stop, whole), rows), rows)
            middle = b.add(whole, count)
            self._row_run(whole, middle, rows, base, lanes)
            whole = middle

    def _row_run(
        self, start: Scalar, stop: Scalar, rows: int, base: Mapping[int, Scalar], lanes: list[Lane]
    ) -> None:
        def body(m: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            assert self.c.row is not None
            self._tile({**base, self.c.row: m}, rows, lanes)
            return []

        self._loop(start, stop, rows, body)

    def _tile(self, base: Mapping[int, Scalar], rows: int, lanes: list[Lane]) -> None:
        interior = self.window.interior(base, rows)
        if interior is None:
            self._plain_tile(base, rows, lanes)
            return

        def side(guarded: bool) -> list[ir.Value]:
            self.window.guarded = guarded
            with self.evaluator.scope():
                self._plain_tile(base, rows, lanes)
            self.window.guarded = False
            return []

        self.b.select_branch(interior, [], lambda: side(False), lambda: side(True))

    def _plain_tile(self, base: Mapping[int, Scalar], rows: int, lanes: list[Lane]) -> None:
        c, b = self.c, self.b
        spots = [(r, v) for r in range(rows) for v in range(len(lanes))]
        self.window.enter(base, rows)
        positions = [self._position(base, r, v, lanes) for r, v in spots]
        init = c.generic.outputs[0]
        initial = []
        for (_, v), position in zip(spots, positions, strict=True):
            value = self.evaluator.value(init, position, lanes[v])
            initial.append(b.splat(self._to_accumulator(value), lanes[v].width))
        phases = max(1, 8 // len(spots))
        axes = self.window.axes(rows)
        accumulators = self.tile.emit(base, rows, lanes, initial, axes, phases)
        if self.staging is not None and rows > 1:
            self._store_by_rows(base, rows, lanes, accumulators)
            return
        for (_, v), position, value in zip(spots, positions, accumulators, strict=True):
            self._store(position, lanes[v], value)

    def _staging(self) -> ir.Value | None:
        """Allocate room for a tile if its epilogue is too long to repeat for every register."""
        cost = sum(body_cost(op) for op in generics(self.c.dispatch) if op != self.c.generic)
        if cost < _LONG_EPILOGUE or self.c.row is None:
            return None
        size = self.s.register.rows * self.s.register.columns
        return memref.AllocaOp(ir.MemRefType.get([size], self.kind), [], []).result

    def _store_by_rows(
        self,
        base: Mapping[int, Scalar],
        rows: int,
        lanes: list[Lane],
        accumulators: Sequence[ir.Value],
    ) -> None:
        """Park a tile in memory and run the epilogue in a loop over its rows."""
        b, row = self.b, self.c.row
        assert row is not None and self.staging is not None
        starts = [sum(lane.width for lane in lanes[:v]) for v in range(len(lanes))]
        width = self.s.register.columns
        for number, value in enumerate(accumulators):
            r, v = divmod(number, len(lanes))
            vector.StoreOp(value, self.staging, [b.value(r * width + starts[v])])

        def body(r: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            here = {**base, row: b.add(base[row], r)}
            for v, lane in enumerate(lanes):
                at = b.value(b.add(b.mul(r, width), starts[v]))
                kind = ir.VectorType.get([lane.width], self.kind)
                value = vector.LoadOp(kind, self.staging, [at]).result
                self._store(self._position(here, 0, v, lanes), lane, value)
            return []

        self._loop(0, rows, 1, body)

    def _position(
        self, base: Mapping[int, Scalar], row: int, vector: int, lanes: list[Lane]
    ) -> list[Index]:
        b, c = self.b, self.c
        before = sum(lane.width for lane in lanes[:vector])
        result = []
        for dim in c.output:
            if dim == c.lane:
                result.append(Index(b.add(base[dim], before), 1))
            elif dim == c.row:
                result.append(Index(b.add(base[dim], row)))
            else:
                result.append(Index(base[dim]))
        return result

    def _store(self, position: list[Index], lane: Lane, value: ir.Value) -> None:
        with self.evaluator.scope():
            self.supplied = self._from_accumulator(value)
            for placement, buffer in zip(self.c.placements, self.frame.outputs, strict=True):
                at = placement.locate(self.b, position, lane.width)
                result = self.evaluator.value(placement.tensor, at, lane)
                self.b.store(buffer, at, self.b.splat(result, lane.width), lane)
            self.supplied = None

    def _to_accumulator(self, value: ir.Value) -> ir.Value:
        return conv.convert_float(value, self.kind)

    def _from_accumulator(self, value: ir.Value) -> ir.Value:
        return conv.convert_float(value, self.c.generic.results[0].type.element_type)
