"""Matrix products, convolutions and other windows: a register tile per invocation.

A tile is some rows by some vectors of four columns. Operands that do not depend on the columns
are read four at a time along the innermost reduced dimension. Where the tiles do not divide the
result evenly, the last one moves back and computes some elements again: no element needs a
condition. Only where a dimension may be smaller than a tile, because it is known at run time,
or where the result lies over an operand, a second version of the code goes element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from iree_core.codegen import conv
from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import (
    Contraction,
    accumulator_type,
    match_contraction,
)
from iree_core.codegen.dispatch import Dispatch, as_expr
from iree_core.codegen.frame import may_alias
from iree_core.codegen.gpu.frame import GpuFrame, make_gpu_kernel
from iree_core.codegen.gpu.kernel import GpuKernel, GpuModel
from iree_core.codegen.microkernel import Axis, Operand, Point, RegisterTile
from iree_core.codegen.padding import pad_value
from iree_core.expr import Expr, const
from iree_core.ir import arith, ir, vector

_GROUP = 4
# Multiply-adds of a tile whose window is unrolled.
_MOST_UNROLLED = 256


def build_contraction(dispatch: Dispatch, gpu: GpuModel) -> GpuKernel:
    """Schedule a dispatch around one contraction or window.

    Raises:
        NotScheduled: it is not of that form.
    """
    contraction = match_contraction(dispatch)
    if contraction is None:
        raise NotScheduled("no single contraction whose results are stored from its tiles")
    shape = _tile_shape(contraction, gpu)
    windows = any(len(form.factors) > 1 for maps in contraction.inputs for form in maps)
    return make_gpu_kernel(
        dispatch,
        "conv" if windows else "contraction",
        _grid(contraction, shape),
        lambda frame: _Tiles(contraction, shape, frame).emit(),
        workgroup=gpu.invocations,
    )


@dataclass(frozen=True)
class TileShape:
    """The register tile of an invocation: ``rows`` by ``vectors`` of ``lanes`` columns."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Elements along the lane dimension."""
        return self.vectors * self.lanes


def _tile_shape(c: Contraction, gpu: GpuModel) -> TileShape:
    columns = c.static(c.lane)
    most_rows, most_columns = gpu.tile_rows, gpu.tile_columns
    if all(any(form.factor(c.lane) for form in maps) for maps in c.inputs if maps):
        # Nothing is the same for all columns: a large tile would share no more than a small one.
        most_rows, most_columns = min(4, most_rows), _GROUP
    lanes = _GROUP if columns is None else min(_GROUP, columns)
    vectors = 1
    if columns is not None:
        while most_columns > lanes and columns % most_columns:
            most_columns //= 2
        vectors = max(1, most_columns // lanes)
    rows = 1
    if c.row is not None:
        height = c.static(c.row)
        rows = most_rows
        if height is not None:
            rows = -(-height // -(-height // rows))  # equal tiles compute nothing twice
        others = prod(c.extent(d) for d in c.outer)
        tiles = others * c.extent(c.row) * c.extent(c.lane) // (rows * vectors * lanes)
        while rows > 1 and tiles < gpu.least_tiles:
            rows, tiles = -(-rows // 2), tiles * 2
    return TileShape(rows, vectors, lanes)


def _grid(c: Contraction, shape: TileShape) -> Expr:
    grid = as_expr(c.extents[c.lane]).ceildiv(shape.columns)
    if c.row is not None:
        grid = grid * as_expr(c.extents[c.row]).ceildiv(shape.rows)
    for dim in c.outer:
        grid = grid * as_expr(c.extents[dim])
    return grid if grid.op != "const" else const(grid.value)


@dataclass
class _GroupedTile(RegisterTile):
    """A register tile that reads operands in groups along the innermost reduced loop.

    Attributes:
        inner: that loop.
        grouped: groups are read at present.
    """

    inner: int = 0
    grouped: bool = False

    def _step(
        self,
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        if not self.grouped:
            return super()._step(base, offsets, rows, state)
        for k in range(_GROUP):
            state = super()._step(base, offsets | {self.inner: k}, rows, state)
        return state

    def _last_step(
        self,
        axis: Axis,
        start: Scalar,
        stop: Scalar,
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        self.grouped = False
        state = self._loop(axis, start, stop, 1, 1, [], base, offsets, rows, state)
        self.grouped = True
        return state

    def _read(self, operand: Operand, point: Point) -> ir.Value:
        if not self.grouped or operand.depends_on(self.lane) or not self._runs_along(operand):
            return super()._read(operand, point)
        first = Point(point.base, {**point.offsets, self.inner: 0}, point.row, 0)
        at = tuple(self._offset(form, first) for form in operand.maps)
        key = ("group", id(operand), at)
        if key not in self._memo:
            *outer, last = (self._index(form, first) for form in operand.maps)
            along = [*outer, Index(last.base, 1)]
            self._memo[key] = operand.read(along, Lane(_GROUP))
        group = self._memo[key]
        if not isinstance(group.type, ir.VectorType):
            return group
        return vector.ExtractOp(group, [], [point.offsets[self.inner]]).result

    def _runs_along(self, operand: Operand) -> bool:
        """Whether neighbours along the inner loop are neighbours in memory."""
        factors = [form.factor(self.inner) for form in operand.maps]
        return bool(factors) and factors[-1] == 1 and not any(factors[:-1])


class _Tiles:
    """Emission of the tile of one invocation."""

    def __init__(self, contraction: Contraction, shape: TileShape, frame: GpuFrame) -> None:
        self.c, self.shape, self.frame = contraction, shape, frame
        self.b, self.evaluator = frame.builder, frame.evaluator
        self.sizes = self.evaluator.loop_sizes(contraction.generic)
        self.kind = accumulator_type(contraction)
        self.inner = contraction.reductions[-1]
        operands = [
            Operand(maps, self._reader(tensor))
            for maps, tensor in zip(contraction.inputs, contraction.generic.inputs, strict=True)
        ]
        fused = isinstance(self.kind, ir.F32Type)
        self.tile = _GroupedTile(
            self.evaluator,
            contraction.body,
            operands,
            contraction.row,
            contraction.lane,
            self.kind,
            fused,
            inner=self.inner,
        )
        self.supplied: ir.Value | None = None
        self.evaluator.bind(contraction.generic.results[0], lambda *_: self._supply())

    def _reader(self, tensor: ir.Value) -> Callable[[Sequence[Index], Lane | None], ir.Value]:
        if not isinstance(tensor.type, ir.RankedTensorType):
            return lambda *_: self.evaluator.scalar(tensor)
        owner = tensor.owner
        if not isinstance(owner, ir.Block) and owner.operation.name == "tensor.pad":
            return lambda position, lane: self._padded(owner, position, lane)
        return lambda position, lane: self.evaluator.value(tensor, position, lane)

    def _padded(self, pad: ir.OpView, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        """Read a padded operand: the nearest element's place, and a choice instead of a branch."""
        b, evaluator, source = self.b, self.evaluator, pad.operands[0]
        low, high = evaluator.pad_geometry(pad)
        moved, inside = list(position), None
        for dim, size in enumerate(evaluator.shape(source)):
            if low[dim] == 0 and high[dim] == 0:
                continue
            if position[dim].varies or not isinstance(size, int) or size == 0:
                return evaluator.value(pad.result, position, lane)
            at = b.value(b.sub(position[dim].base, low[dim]))
            here = arith.CmpIOp(arith.CmpIPredicate.ult, at, b.value(size)).result
            moved[dim] = Index(arith.SelectOp(here, at, b.value(0)).result)
            inside = here if inside is None else arith.AndIOp(inside, here).result
        value = evaluator.value(source, moved, lane)
        filler = evaluator.scalar(pad_value(pad))
        if isinstance(value.type, ir.VectorType):
            filler = b.splat(filler, value.type.shape[0])
        return value if inside is None else arith.SelectOp(inside, value, filler).result

    def _supply(self) -> ir.Value:
        if self.supplied is None:
            raise NotScheduled("an accumulator is read outside its tile")
        return self.supplied

    def emit(self) -> None:
        """Emit the tile whose number is that of the invocation."""
        b, c, shape = self.b, self.c, self.shape
        counts: list[Scalar] = [self.sizes[d] for d in c.outer]
        if c.row is not None:
            counts.append(b.ceildiv(self.sizes[c.row], shape.rows))
        counts.append(b.ceildiv(self.sizes[c.lane], shape.columns))
        *blocks, column = b.delinearize(self.frame.item, counts)
        base: dict[int, Scalar] = dict(zip(c.outer, blocks, strict=False))
        with self.evaluator.scope():
            if c.row is None:
                self._columns(base, 1, column)
                return
            dim = c.row
            self._along(
                dim,
                blocks[-1],
                shape.rows,
                lambda row, count: self._columns({**base, dim: row}, count, column),
            )

    def _columns(self, base: dict[int, Scalar], rows: int, column: Scalar) -> None:
        lane, shape = self.c.lane, self.shape

        def emit(start: Scalar, count: int) -> None:
            whole = count == shape.columns
            lanes = [Lane(shape.lanes)] * shape.vectors if whole else [Lane(1)]
            self._tile({**base, lane: start}, rows, lanes)

        self._along(lane, column, shape.columns, emit)

    def _along(
        self, dim: int, block: Scalar, count: int, emit: Callable[[Scalar, int], None]
    ) -> None:
        """Emit block ``block`` of ``count`` places of a dimension, whatever its size.

        ``emit(start, number)`` emits ``number`` places, either all or one.
        """
        b, size = self.b, self.sizes[dim]
        start = b.mul(block, count)
        if isinstance(size, int) and size % count == 0:
            emit(start, count)
            return
        overlap = not may_alias(self.c.dispatch.function)
        if isinstance(size, int) and overlap:
            emit(b.min(start, size - count), count)
            return
        if count == 1:
            emit(start, 1)
            return

        def whole() -> list[ir.Value]:
            with self.evaluator.scope():
                emit(b.min(start, b.sub(size, count)) if overlap else start, count)
            return []

        def single(i: Scalar, _: Sequence[ir.Value]) -> list[ir.Value]:
            with self.evaluator.scope():
                emit(i, 1)
            return []

        def one_by_one() -> list[ir.Value]:
            b.loop(start, b.min(b.add(start, count), size), 1, single)
            return []

        # An element that overwrites an operand must be computed once only.
        needed = count if overlap else b.add(start, count)
        b.select_branch(b.compare("sge", size, needed), [], whole, one_by_one)

    def _tile(self, base: Mapping[int, Scalar], rows: int, lanes: list[Lane]) -> None:
        places = [(r, v) for r in range(rows) for v in range(len(lanes))]
        initial = [self._initial(self._position(base, r, v, lanes), lanes[v]) for r, v in places]
        size = self.sizes[self.inner]
        short = isinstance(size, int) and rows * len(lanes) * size <= _MOST_UNROLLED
        unrolled = short and self._slides()
        grouped = not unrolled and not (isinstance(size, int) and size < _GROUP)
        self.tile.grouped = grouped
        axes = [Axis(d, self.sizes[d]) for d in self.c.reductions[:-1]]
        step = _GROUP if grouped else 1
        axes.append(Axis(self.inner, size, unrolled=unrolled, step=step))
        accumulators = self.tile.emit(base, rows, lanes, initial, axes)
        for (r, v), value in zip(places, accumulators, strict=True):
            self._store(self._position(base, r, v, lanes), lanes[v], value)

    def _slides(self) -> bool:
        """Whether a window slides along the rows, so that they share elements."""
        forms = [form for maps in self.c.inputs for form in maps]
        row = self.c.row
        return row is not None and any(f.factor(self.inner) and f.factor(row) for f in forms)

    def _position(
        self, base: Mapping[int, Scalar], row: int, number: int, lanes: list[Lane]
    ) -> list[Index]:
        b, c = self.b, self.c
        before = sum(lane.width for lane in lanes[:number])
        result = []
        for dim in c.output:
            if dim == c.lane:
                result.append(Index(b.add(base[dim], before), 1))
            else:
                result.append(Index(b.add(base[dim], row if dim == c.row else 0)))
        return result

    def _initial(self, position: list[Index], lane: Lane) -> ir.Value:
        value = self.evaluator.value(self.c.generic.outputs[0], position, lane)
        return conv.convert_float(self.b.splat(value, lane.width), self.kind)

    def _store(self, position: list[Index], lane: Lane, value: ir.Value) -> None:
        element = self.c.generic.results[0].type.element_type
        with self.evaluator.scope():
            self.supplied = conv.convert_float(value, element)
            for placement, buffer in zip(self.c.placements, self.frame.outputs, strict=True):
                at = placement.locate(self.b, position, lane.width)
                result = self.evaluator.value(placement.tensor, at, lane)
                self.b.store(buffer, at, self.b.splat(result, lane.width), lane)
            self.supplied = None
