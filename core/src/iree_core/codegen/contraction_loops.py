"""The loops of a contraction's kernel: work items, panels, rows, register tiles, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from iree_core.codegen import blocking, conv
from iree_core.codegen.builder import Index, KernelBuilder, Lane, NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import Contraction, accumulator_type
from iree_core.codegen.dot import DotForm, DotTile
from iree_core.codegen.frame import Frame
from iree_core.codegen.group_panel import GroupPacker
from iree_core.codegen.kernel import CpuModel
from iree_core.codegen.microkernel import Axis, Linear, Operand, RegisterTile
from iree_core.codegen.panel import Panel, PanelPacker, RowBlock, RowPacker
from iree_core.codegen.prefetch import find_stream
from iree_core.codegen.traits import body_cost, generics
from iree_core.expr import Expr
from iree_core.ir import ir, memref, vector

ALIGNMENT = 64
_LONG_EPILOGUE = 12


@dataclass(frozen=True)
class Schedule:
    """Block sizes of one kernel.

    Attributes:
        register: the register tile.
        rows: rows of a work item.
        panels: panels of a work item.
        depth: iterations of every other parallel loop in a work item.
        grain, grid, scratch: see :class:`iree_core.codegen.kernel.Kernel`.
        slice: iterations of the only reduction loop after which the next rows follow, where it
            is too long for the cache.
        panel: the operand that is packed panel by panel, if any.
        block: the operand whose rows are evaluated beforehand, if any.
        dot: the dot-product instructions that multiply, if any do.
    """

    register: blocking.RegisterBlock
    rows: int
    panels: int
    depth: dict[int, int]
    grain: int
    grid: Expr
    slice: int | None
    panel: Panel | None
    block: RowBlock | None
    scratch: Expr
    dot: DotForm | None = None


class ContractionLoops:
    """Emits the loops of one kernel."""

    def __init__(
        self, contraction: Contraction, schedule: Schedule, cpu: CpuModel, frame: Frame
    ) -> None:
        self.c, self.s, self.cpu, self.frame = contraction, schedule, cpu, frame
        self.evaluator = frame.evaluator
        self.b: KernelBuilder = frame.builder
        self.sizes = self.evaluator.loop_sizes(contraction.generic)
        self.kind = accumulator_type(contraction)
        group = schedule.dot.group if schedule.dot is not None else 1
        self.window = conv.Window(contraction, self.evaluator, self.sizes, cpu.l2_bytes, group)
        self.stream = find_stream(contraction, schedule, self.evaluator, cpu.l2_bytes)
        if self.stream is not None:
            self.window.streamed = []
        self.first_row: Scalar = 0
        self.packer = self._packer()
        self.row_packer = self._row_packer()
        self.staging = self._staging()
        self.reached: tuple[Scalar, Axis] | None = None
        self.column: Scalar = 0
        self.tile = self._register_tile()
        self.supplied: ir.Value | None = None
        self.evaluator.bind(contraction.generic.results[0], lambda *_: self._supply())

    def _register_tile(self) -> RegisterTile:
        c, dot = self.c, self.s.dot
        parts = (self.evaluator, c.body, self._operands(), c.row, c.lane, self.kind, self.cpu.fma)
        if dot is None:
            return RegisterTile(*parts)
        lanes = self.s.register.lanes
        return DotTile(*parts, form=dot, width=lanes, read_groups=self._read_groups)

    def _read_groups(self, position: Sequence[Index], lane: Lane) -> ir.Value:
        """Return the groups of all lanes of the operand along them."""
        dot = self.s.dot
        assert dot is not None
        if self.packer is None:
            return self.window.load_groups(self.c.generic.inputs[dot.lanes], position, lane)
        assert isinstance(self.packer, GroupPacker)
        return self.packer.load_groups(self._panel_loops(position), lane)

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
        made = PanelPacker if self.s.dot is None else partial(GroupPacker, group=self.s.dot.group)
        return made(
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
            offset = b.mul(b.ceildiv(self.packer.bytes(), ALIGNMENT), ALIGNMENT)
        read = self.window.reader(block.operand)
        rows, lanes = self.s.rows, self.s.register.lanes
        return RowPacker(
            self.evaluator, block, read, self.sizes, self.frame.scratch, offset, rows, lanes
        )

    def _read_panel(self, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        assert self.packer is not None
        return self.packer.load(self._panel_loops(position), lane)

    def _panel_loops(self, position: Sequence[Index]) -> dict[int, Index]:
        """Return the loops of the panel, lanes counted from its first, from coordinates."""
        assert self.packer is not None
        *reductions, column = position
        loops = dict(zip(self.packer.panel.reductions, reductions, strict=True))
        start = self.b.sub(column.base, self.column)
        return loops | {self.c.lane: Index(start, column.step)}

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
        runs = self.window.runs(s.register.rows)
        if runs is not None:
            for run in runs:
                self.window.run_start = run.start
                self._row_run(run.start, run.stop, run.rows, base, lanes)
            return
        size = c.static(c.row)
        start: Scalar = 0
        stop: Scalar = size or 0
        if size is None or size > s.rows:
            start = b.mul(block, s.rows)
            stop = b.min(b.add(start, s.rows), self.sizes[c.row])
        self.first_row = start
        if s.slice is None:
            self._row_tiles(start, stop, base, lanes)
        else:
            self._slices(s.slice, start, stop, base, lanes)

    def _slices(
        self, length: int, start: Scalar, stop: Scalar, base: dict[int, Scalar], lanes: list[Lane]
    ) -> None:
        """Reduce slice by slice, so that one of the panel and of the rows stay in the cache.

        Between slices the accumulators of all rows wait in memory.
        """
        b, (dim,) = self.b, self.c.reductions
        init = self.c.generic.outputs[0]

        def clear(position: list[Index], lane: Lane, at: ir.Value) -> None:
            value = self._to_accumulator(self.evaluator.value(init, position, lane))
            vector.StoreOp(b.splat(value, lane.width), self.staging, [at])

        def reduce(k: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            end = b.min(b.add(k, length), self.sizes[dim])
            self.reached = (start, Axis(dim, self.sizes[dim], bounds=lambda _: (k, end)))
            self._row_tiles(start, stop, base, lanes)
            self.reached = None
            return []

        self._each_staged(start, stop, base, lanes, clear)
        self._loop(0, self.sizes[dim], length, reduce)
        self._each_staged(start, stop, base, lanes, self._store_staged)

    def _row_tiles(
        self, start: Scalar, stop: Scalar, base: dict[int, Scalar], lanes: list[Lane]
    ) -> None:
        """Cover rows ``start..stop`` with register tiles."""
        b, c, s = self.b, self.c, self.s
        size = None if c.row is None else c.static(c.row)
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
        spots = [(r, v) for r in range(rows) for v in range(len(lanes))]
        phases = max(1, 8 // len(spots))
        self.window.enter(base, rows)
        if self.reached is not None:
            self._slice_tile(base, rows, lanes, phases, *self.reached)
            return
        positions = [self._position(base, r, v, lanes) for r, v in spots]
        init = self.c.generic.outputs[0]
        initial = []
        for (_, v), position in zip(spots, positions, strict=True):
            value = self.evaluator.value(init, position, lanes[v])
            initial.append(self.b.splat(self._to_accumulator(value), lanes[v].width))
        axes = self._finished(base, self.window.axes(rows))
        accumulators = self.tile.emit(base, rows, lanes, initial, axes, phases)
        if self.staging is not None and rows > 1:
            self._store_by_rows(base, rows, lanes, accumulators)
            return
        for (_, v), position, value in zip(spots, positions, accumulators, strict=True):
            self._store(position, lanes[v], value)

    def _finished(self, base: Mapping[int, Scalar], axes: list[Axis]) -> list[Axis]:
        """Let the innermost loop step by groups of dot products, or ask for weights ahead."""
        if self.stream is not None:
            return self.stream.spread(axes, base, self.first_row)
        if self.s.dot is None:
            return axes
        return [*axes[:-1], replace(axes[-1], step=self.s.dot.group)]

    def _slice_tile(
        self,
        base: Mapping[int, Scalar],
        rows: int,
        lanes: list[Lane],
        phases: int,
        first: Scalar,
        axis: Axis,
    ) -> None:
        """Add one slice of the reduction to the accumulators in memory."""
        b, row = self.b, self.c.row
        assert row is not None
        below = b.sub(base[row], first)
        places = [
            self._staged(b.add(below, r), lanes, v) for r in range(rows) for v in range(len(lanes))
        ]
        kind = ir.VectorType.get([lanes[0].width], self.kind)
        initial = [vector.LoadOp(kind, self.staging, [at]).result for at in places]
        axes = self._finished(base, [axis])
        accumulators = self.tile.emit(base, rows, lanes, initial, axes, phases)
        for at, value in zip(places, accumulators, strict=True):
            vector.StoreOp(value, self.staging, [at])

    def _staging(self) -> ir.Value | None:
        """Allocate room for accumulators if they must leave the registers before the epilogue.

        They must between slices of the reduction, and if the epilogue is too long to repeat for
        every register.
        """
        cost = sum(body_cost(op) for op in generics(self.c.dispatch) if op != self.c.generic)
        if self.c.row is None or (cost < _LONG_EPILOGUE and self.s.slice is None):
            return None
        rows = self.s.register.rows if self.s.slice is None else self.s.rows
        size = rows * self.s.register.columns
        return memref.AllocaOp(ir.MemRefType.get([size], self.kind), [], []).result

    def _staged(self, row: Scalar, lanes: list[Lane], number: int) -> ir.Value:
        """Return where a vector of a row is staged."""
        before = sum(lane.width for lane in lanes[:number])
        return self.b.value(self.b.add(self.b.mul(row, self.s.register.columns), before))

    def _store_by_rows(
        self,
        base: Mapping[int, Scalar],
        rows: int,
        lanes: list[Lane],
        accumulators: Sequence[ir.Value],
    ) -> None:
        """Park a tile in memory and run the epilogue in a loop over its rows."""
        row = self.c.row
        assert row is not None
        for number, value in enumerate(accumulators):
            r, v = divmod(number, len(lanes))
            vector.StoreOp(value, self.staging, [self._staged(r, lanes, v)])
        stop = self.b.add(base[row], rows)
        self._each_staged(base[row], stop, base, lanes, self._store_staged)

    def _each_staged(
        self,
        start: Scalar,
        stop: Scalar,
        base: Mapping[int, Scalar],
        lanes: list[Lane],
        visit: Callable[[list[Index], Lane, ir.Value], None],
    ) -> None:
        """Emit a loop over rows ``start..stop``, staged from the first on."""
        b, row = self.b, self.c.row
        assert row is not None

        def body(r: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            here = {**base, row: b.add(start, r)}
            for v, lane in enumerate(lanes):
                visit(self._position(here, 0, v, lanes), lane, self._staged(r, lanes, v))
            return []

        self._loop(0, b.sub(stop, start), 1, body)

    def _store_staged(self, position: list[Index], lane: Lane, at: ir.Value) -> None:
        kind = ir.VectorType.get([lane.width], self.kind)
        self._store(position, lane, vector.LoadOp(kind, self.staging, [at]).result)

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
