"""A tile of a product per block: which products have that form, and where a tile's results go.

How the sums of a tile come about is up to the subclasses of :class:`ResultTile`. Elements outside
of the result are not stored, so that no size has to be a multiple of anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from iree_core.codegen import conv
from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import Contraction, accumulator_type
from iree_core.codegen.dispatch import as_expr
from iree_core.codegen.gpu import GpuModel
from iree_core.codegen.gpu.frame import GpuFrame
from iree_core.codegen.microkernel import Linear
from iree_core.expr import Expr
from iree_core.ir import arith, ir, vector

_LARGEST_GROUP = 8
_LEAST_SIDE = 16
_BAND = 8


@dataclass(frozen=True)
class Tiling:
    """How large a block's tile is.

    Attributes:
        rows, columns: of the result.
        depth: of a slice, in elements.
        threads: of a block.
    """

    rows: int
    columns: int
    depth: int
    threads: int


@dataclass(frozen=True)
class Side:
    """One operand.

    Attributes:
        tensor: its value.
        maps: where it is read, over the loops.
        dim: the loop of the result that it varies along: the rows or the columns.
        along: elements that are neighbours in memory are neighbours along the reduction.
    """

    tensor: ir.Value
    maps: tuple[Linear, ...]
    dim: int
    along: bool


def find_sides(c: Contraction) -> tuple[Side, Side]:
    """Return what varies along the rows and what varies along the columns.

    Raises:
        NotScheduled: the operands do not divide like that.
    """
    if c.row is None:
        raise NotScheduled("a single row")
    found: dict[int, Side] = {}
    operands = zip(c.generic.inputs, c.inputs, c.body.inputs, strict=True)
    for tensor, maps, argument in operands:
        if not len(list(argument.uses)):
            continue
        dims = [d for d in (c.row, c.lane) if any(form.factor(d) for form in maps)]
        if len(dims) != 1 or not isinstance(tensor.type, ir.RankedTensorType):
            raise NotScheduled("an operand that varies along rows and columns, or along neither")
        if dims[0] in found:
            raise NotScheduled("two operands that vary along the same dimension")
        along = runs_along(maps, c.reductions[-1]) and splits(c)
        found[dims[0]] = Side(tensor, maps, dims[0], along or not runs_along(maps, dims[0]))
    if len(found) != 2:
        raise NotScheduled("no product of two operands")
    return found[c.row], found[c.lane]


def runs_along(maps: tuple[Linear, ...], dim: int) -> bool:
    """Whether neighbours along a loop are neighbours in memory."""
    factors = [form.factor(dim) for form in maps]
    return bool(factors) and factors[-1] == 1 and not any(factors[:-1])


def splits(c: Contraction) -> bool:
    """Whether groups along the reduction never go from one row of an operand to the next."""
    inner = c.static(c.reductions[-1])
    return len(c.reductions) == 1 or (inner is not None and inner % _LARGEST_GROUP == 0)


def factor_type(c: Contraction, sides: tuple[Side, Side]) -> str:
    """Return the element type of the operands of a sum of products in f32.

    Raises:
        NotScheduled: it is something else.
    """
    owner = c.body.term.owner
    if c.body.combiner.op != "arith.addf" or owner.operation.name != "arith.mulf":
        raise NotScheduled("no sum of products of floats")
    for factor in owner.operands:
        source = factor
        if not isinstance(factor.owner, ir.Block) and factor.owner.operation.name == "arith.extf":
            source = factor.owner.operands[0]
        if source not in c.body.inputs:
            raise NotScheduled("factors that are computed")
    if not isinstance(accumulator_type(c), ir.F32Type):
        raise NotScheduled("sums that are not single precision")
    elements = {str(side.tensor.type.element_type) for side in sides}
    if len(elements) != 1:
        raise NotScheduled(f"products of {' and '.join(sorted(elements))}")
    return elements.pop()


def choose_tiling(c: Contraction, gpu: GpuModel, large: Tiling, small: Tiling) -> Tiling:
    """Return the larger tiling if it leaves enough blocks.

    Raises:
        NotScheduled: tiles would be mostly empty.
    """
    assert c.row is not None
    rows, columns = c.extent(c.row), c.extent(c.lane)
    if min(rows, columns) < _LEAST_SIDE or prod(c.extent(d) for d in c.reductions) < small.depth:
        raise NotScheduled("a product too small for tiles")
    return large if tile_count(c, large) * large.threads >= gpu.least_tiles else small


def tile_count(c: Contraction, tiling: Tiling) -> int:
    """Return how many tiles there are, or a guess where that is not known."""
    assert c.row is not None
    blocks = -(-c.extent(c.row) // tiling.rows) * -(-c.extent(c.lane) // tiling.columns)
    return blocks * prod(c.extent(d) for d in c.outer)


def tile_grid(c: Contraction, sides: tuple[Side, Side], tiling: Tiling) -> Expr:
    """Return how many threads compute all tiles."""
    grid = as_expr(c.extents[sides[0].dim]).ceildiv(tiling.rows) * tiling.threads
    grid = grid * as_expr(c.extents[sides[1].dim]).ceildiv(tiling.columns)
    for dim in c.outer:
        grid = grid * as_expr(c.extents[dim])
    return grid


class ResultTile(ABC):
    """Emission of one block's work.

    Attributes:
        element: type of the operands.
        bits: of an operand.
        sides, tiling: what is multiplied, and how.
        depth: products that a result adds up.
        extents: rows and columns of the tile.
        outer: where the tile is along the other loops of the result.
        origin: first row and column of the tile.
    """

    def __init__(
        self,
        c: Contraction,
        sides: tuple[Side, Side],
        element: ir.Type,
        tiling: Tiling,
        frame: GpuFrame,
    ) -> None:
        self.c, self.sides, self.tiling = c, sides, tiling
        self.frame, self.b, self.evaluator = frame, frame.builder, frame.evaluator
        self.sizes = self.evaluator.loop_sizes(c.generic)
        self.depth = self.b.product([self.sizes[d] for d in c.reductions])
        self.i32, self.i64 = (ir.IntegerType.get_signless(n) for n in (32, 64))
        self.f32 = ir.F32Type.get()
        self.element, self.bits = element, element.width
        self.extents = (tiling.rows, tiling.columns)
        self.supplied: ir.Value | None = None
        self.evaluator.bind(c.generic.results[0], lambda *_: self._supply())

    @abstractmethod
    def multiply(self) -> list[ir.Value]:
        """Emit the sums of this thread."""

    @abstractmethod
    def places(self, sums: list[ir.Value]) -> Iterator[tuple[Scalar, Scalar, list[ir.Value]]]:
        """Yield row and column in the result, and the sums from there on along the columns."""

    def emit(self) -> None:
        """Emit the tile of this block."""
        b, c, tiling = self.b, self.c, self.tiling
        counts: list[Scalar] = [self.sizes[d] for d in c.outer]
        tiles = [
            b.ceildiv(self.sizes[side.dim], extent)
            for side, extent in zip(self.sides, self.extents, strict=True)
        ]
        *outer, number = b.delinearize(self.frame.group, [*counts, b.product(tiles)])
        row, column = self._place(number, *tiles)
        self.outer: dict[int, Scalar] = dict(zip(c.outer, outer, strict=True))
        self.origin = (b.mul(row, tiling.rows), b.mul(column, tiling.columns))
        with self.evaluator.scope():
            for row, column, values in self.places(self.multiply()):
                self._store(row, column, values)

    def _place(self, number: Scalar, rows: Scalar, columns: Scalar) -> tuple[Scalar, Scalar]:
        """Return row and column of a tile.

        Tiles are counted down a band of some rows, then column by column: those that are under
        way at the same time share more of both operands than whole rows of tiles would, so that
        more of them is found in the second-level cache.
        """
        b = self.b
        if isinstance(rows, int) and rows <= _BAND:
            return b.mod(number, rows), b.div(number, rows)
        whole = b.mul(columns, _BAND)
        first, inside = b.mul(b.div(number, whole), _BAND), b.mod(number, whole)
        even = isinstance(rows, int) and rows % _BAND == 0
        height = _BAND if even else b.min(b.sub(rows, first), _BAND)
        return b.add(first, b.mod(inside, height)), b.div(inside, height)

    # Results.

    def _supply(self) -> ir.Value:
        if self.supplied is None:
            raise NotScheduled("an accumulator is read outside its tile")
        return self.supplied

    def _store(self, row: Scalar, column: Scalar, values: list[ir.Value]) -> None:
        """Store neighbours along the columns, as far as they are inside of the result."""
        columns, width = self.sizes[self.sides[1].dim], len(values)
        if isinstance(columns, int) and columns % width == 0:
            kind = ir.VectorType.get([width], self.f32)
            together = vector.FromElementsOp(kind, values).result
            self._store_value(row, column, together, Lane(width))
            return
        for n, value in enumerate(values):
            self._store_value(row, self.b.add(column, n), value, None)

    def _store_value(self, row: Scalar, column: Scalar, value: ir.Value, lane: Lane | None) -> None:
        b, rows, columns = self.b, self.sizes[self.sides[0].dim], self.sizes[self.sides[1].dim]
        inside = arith.AndIOp(b.compare("slt", row, rows), b.compare("slt", column, columns)).result

        def write() -> list[ir.Value]:
            with self.evaluator.scope():
                self._finish(row, column, value, lane)
            return []

        b.select_branch(inside, [], write, list)

    def _finish(self, row: Scalar, column: Scalar, value: ir.Value, lane: Lane | None) -> None:
        """Add what the sums start from, compute what follows, and store."""
        b, c, width = self.b, self.c, lane.width if lane else 1
        where = {**self.outer, self.sides[0].dim: row, self.sides[1].dim: column}
        position = [Index(where[d], 1 if lane and d == self.sides[1].dim else 0) for d in c.output]
        start = self.evaluator.value(c.generic.outputs[0], position, lane)
        start = conv.convert_float(b.splat(start, width) if lane else start, self.f32)
        total = arith.AddFOp(start, value).result
        element = c.generic.results[0].type.element_type
        self.supplied = conv.convert_float(total, element)
        for placement, buffer in zip(c.placements, self.frame.outputs, strict=True):
            at = placement.locate(b, position, width)
            result = self.evaluator.value(placement.tensor, at, lane)
            b.store(buffer, at, b.splat(result, width) if lane else result, lane)
        self.supplied = None
