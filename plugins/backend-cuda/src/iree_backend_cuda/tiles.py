"""A tile of a product per block, whose operands go through shared memory.

The threads of a block bring a slice of both operands into shared memory, 16 bytes at a time,
evaluating whatever is fused into them (padding, conversions, windows of a convolution), and
multiply it from there. While they do, the next slice is on its way into the other half of shared
memory. Elements outside of the operands are zeros there, and are not stored at the end, so that
no size has to be a multiple of anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from iree_backend_cuda.cooperation import barrier, operation, warp_barrier
from iree_core.codegen import conv
from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import Contraction, accumulator_type
from iree_core.codegen.dispatch import as_expr
from iree_core.codegen.gpu import GpuModel
from iree_core.codegen.gpu.frame import GpuFrame
from iree_core.codegen.microkernel import Linear
from iree_core.expr import Expr
from iree_core.ir import arith, ir, vector

_SHARED = "tiles"
# Bytes of what a thread moves at a time, and of what keeps the lines of a tile in different banks.
GROUP_BYTES = 16
_LARGEST_GROUP = 8
_LEAST_SIDE = 16


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
        along = _runs_along(maps, c.reductions[-1]) and _splits(c)
        found[dims[0]] = Side(tensor, maps, dims[0], along or not _runs_along(maps, dims[0]))
    if len(found) != 2:
        raise NotScheduled("no product of two operands")
    return found[c.row], found[c.lane]


def _runs_along(maps: tuple[Linear, ...], dim: int) -> bool:
    """Whether neighbours along a loop are neighbours in memory."""
    factors = [form.factor(dim) for form in maps]
    return bool(factors) and factors[-1] == 1 and not any(factors[:-1])


def _splits(c: Contraction) -> bool:
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
    blocks = -(-rows // large.rows) * -(-columns // large.columns)
    blocks *= prod(c.extent(d) for d in c.outer)
    return large if blocks * large.threads >= gpu.least_tiles else small


def tile_grid(c: Contraction, sides: tuple[Side, Side], tiling: Tiling) -> Expr:
    """Return how many threads compute all tiles."""
    grid = as_expr(c.extents[sides[0].dim]).ceildiv(tiling.rows) * tiling.threads
    grid = grid * as_expr(c.extents[sides[1].dim]).ceildiv(tiling.columns)
    for dim in c.outer:
        grid = grid * as_expr(c.extents[dim])
    return grid


class BlockTile(ABC):
    """Emission of one block's work.

    Attributes:
        element: type of the operands.
        bits: of an operand.
        sides, tiling: what is multiplied, and how.
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
        self.group = GROUP_BYTES * 8 // self.bits
        self.extents = (tiling.rows, tiling.columns)
        self.pitches = [self._pitch(n) for n in range(2)]
        self.starts = self._layout()
        self.supplied: ir.Value | None = None
        self.evaluator.bind(c.generic.results[0], lambda *_: self._supply())

    # What differs.

    @abstractmethod
    def turned(self, number: int) -> bool:
        """Whether a tile is kept as [reduction][rows or columns], else the other way round."""

    @abstractmethod
    def zeros(self) -> list[ir.Value]:
        """Return what the sums of a thread start from."""

    @abstractmethod
    def products(self, start: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
        """Add the products of the slice at byte ``start`` of shared memory to the sums."""

    @abstractmethod
    def places(self, sums: list[ir.Value]) -> Iterator[tuple[Scalar, Scalar, list[ir.Value]]]:
        """Yield row and column in the result, and the sums from there on along the columns."""

    def rounded(self, group: ir.Value) -> ir.Value:
        """Return a group of elements as shared memory holds it."""
        return group

    # Shared memory: for each of two slices the tile of the rows, then that of the columns.

    def _pitch(self, number: int) -> int:
        """Return the elements from one line of a tile to the next; 16 bytes keep banks apart."""
        line = self.extents[number] if self.turned(number) else self.tiling.depth
        return line + self.group

    def _layout(self) -> tuple[int, int, int]:
        """Return the bytes at which the tiles start, and those of a slice."""
        nbytes = []
        for number in range(2):
            lines = self.tiling.depth if self.turned(number) else self.extents[number]
            nbytes.append(lines * self.pitches[number] * self.bits // 8)
        return 0, nbytes[0], sum(nbytes)

    def _declare(self) -> ir.Value:
        """Declare the block's shared memory and return its address."""
        total = 2 * self.starts[2]
        number = ir.IntegerAttr.get
        facts = {
            "sym_name": ir.StringAttr.get(_SHARED),
            "global_type": ir.TypeAttr.get(ir.Type.parse(f"!llvm.array<{total} x i8>")),
            "linkage": ir.Attribute.parse("#llvm.linkage<internal>"),
            "addr_space": number(self.i32, 3),
            "alignment": number(self.i64, GROUP_BYTES),
        }
        with ir.InsertionPoint(self.frame.group.owner.owner):
            ir.Operation.create("llvm.mlir.global", [], [], facts, regions=1)
        pointer = ir.Type.parse("!llvm.ptr<3>")
        name = ir.FlatSymbolRefAttr.get(_SHARED)
        return operation("llvm.mlir.addressof", pointer, [], global_name=name)

    def address(self, start: Scalar, line: Scalar, place: Scalar, number: int) -> ir.Value:
        """Return the address of an element of a tile; ``start`` is where the slice starts."""
        b = self.b
        element = b.add(b.mul(line, self.pitches[number]), place)
        offset = b.add(b.mul(element, self.bits // 8), self.starts[number])
        return self._at(b.add(start, offset))

    def _at(self, offset: Scalar) -> ir.Value:
        number = arith.IndexCastOp(self.i64, self.b.value(offset)).result
        return operation(
            "llvm.getelementptr", self.base.type, [self.base, number],
            elem_type=ir.TypeAttr.get(ir.IntegerType.get_signless(8)),
            rawConstantIndices=ir.DenseI32ArrayAttr.get([-(1 << 31)]),
        )  # fmt: skip

    # The whole.

    def emit(self) -> None:
        """Emit the tile of this block."""
        b, c, tiling = self.b, self.c, self.tiling
        self.base = self._declare()
        counts: list[Scalar] = [self.sizes[d] for d in c.outer]
        tiles = [
            b.ceildiv(self.sizes[side.dim], extent)
            for side, extent in zip(self.sides, self.extents, strict=True)
        ]
        *outer, row, column = b.delinearize(self.frame.group, [*counts, *tiles])
        self.outer: dict[int, Scalar] = dict(zip(c.outer, outer, strict=True))
        self.origin = (b.mul(row, tiling.rows), b.mul(column, tiling.columns))
        with self.evaluator.scope():
            for row, column, values in self.places(self._multiply()):
                self._store(row, column, values)

    def _multiply(self) -> list[ir.Value]:
        """Emit the loop over slices; return the sums of this thread."""
        b, tiling = self.b, self.tiling
        steps = b.ceildiv(self.depth, tiling.depth)
        self._stage(self._fetch(0), 0)
        barrier()

        def slice_(step: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
            following = b.add(step, 1)
            with self.evaluator.scope():
                fetched = self._fetch(b.mul(following, tiling.depth))
            # Reading at the edges sets the threads of a warp apart.
            warp_barrier()
            sums = self.products(b.mul(b.mod(step, 2), self.starts[2]), sums)
            self._stage(fetched, b.mul(b.mod(following, 2), self.starts[2]))
            barrier()
            return sums

        return b.loop(0, steps, 1, slice_, self.zeros())

    # From the operands to shared memory.

    def _groups(self, number: int) -> list[tuple[Scalar, Scalar]]:
        """Return line and place of the groups of elements that this thread moves.

        A line is a row or column of the result where the groups run along the reduction, else a
        step of the reduction.
        """
        b, group = self.b, self.group
        along = self.sides[number].along
        lines = self.extents[number] if along else self.tiling.depth
        length = self.tiling.depth if along else self.extents[number]
        per_line, threads = length // group, self.tiling.threads
        found = []
        for start in range(0, lines * per_line, threads):
            item = b.add(self.frame.local, start)
            found.append((b.div(item, per_line), b.mul(b.mod(item, per_line), group)))
        return found

    def _fetch(self, start: Scalar) -> list[ir.Value]:
        """Read the slice that starts at ``start`` into registers."""
        b, values = self.b, []
        for number, side in enumerate(self.sides):
            for line, place in self._groups(number):
                across, k = (line, place) if side.along else (place, line)
                at = b.add(self.origin[number], across)
                values.append(self._read(side, at, b.add(start, k)))
        return values

    def _read(self, side: Side, at: Scalar, k: Scalar) -> ir.Value:
        """Return a group of elements from row or column ``at`` and reduction step ``k`` on."""
        b, width, size = self.b, self.group, self.sizes[side.dim]
        kind = ir.VectorType.get([width], self.element)
        zero = b.splat(b.constant(self.element, 0.0), width)
        last_at = b.add(at, 0 if side.along else width - 1)
        last_k = b.add(k, width - 1 if side.along else 0)
        # Groups never straddle the end where the size is a multiple of them.
        inside = arith.AndIOp(
            b.compare("slt", last_at, size), b.compare("slt", last_k, self.depth)
        ).result

        def vectors() -> list[ir.Value]:
            with self.evaluator.scope():
                value = self._value(side, at, k, Lane(width))
                return [b.splat(value, width)]

        def elements() -> list[ir.Value]:
            group = zero
            for n in range(width):
                here = (at, b.add(k, n)) if side.along else (b.add(at, n), k)
                group = vector.InsertOp(self._element(side, *here), group, [], [n]).result
            return [group]

        if side.along and not _splits(self.c):
            return elements()[0]
        varying = self.depth if side.along else size
        exact = isinstance(varying, int) and varying % width == 0
        otherwise = (lambda: [zero]) if exact else elements
        return b.select_branch(inside, [kind], vectors, otherwise)[0]

    def _element(self, side: Side, at: Scalar, k: Scalar) -> ir.Value:
        b = self.b
        inside = arith.AndIOp(
            b.compare("slt", at, self.sizes[side.dim]), b.compare("slt", k, self.depth)
        ).result

        def read() -> list[ir.Value]:
            with self.evaluator.scope():
                return [self._value(side, at, k, None)]

        zero = b.constant(self.element, 0.0)
        return b.select_branch(inside, [self.element], read, lambda: [zero])[0]

    def _value(self, side: Side, at: Scalar, k: Scalar, lane: Lane | None) -> ir.Value:
        b, c = self.b, self.c
        where: dict[int, Scalar] = {**self.outer, side.dim: at}
        steps = b.delinearize(k, [self.sizes[d] for d in c.reductions])
        where |= dict(zip(c.reductions, steps, strict=True))
        moving = None if lane is None else c.reductions[-1] if side.along else side.dim
        position = []
        for form in side.maps:
            base: Scalar = form.constant
            for dim, factor in form.factors:
                base = b.add(base, b.mul(where[dim], factor))
            position.append(Index(base, 0 if moving is None else form.factor(moving)))
        return self.evaluator.value(side.tensor, position, lane)

    def _stage(self, values: Sequence[ir.Value], start: Scalar) -> None:
        """Write the groups that :meth:`_fetch` returned to shared memory."""
        rest = iter(values)
        for number, side in enumerate(self.sides):
            for line, place in self._groups(number):
                group = self.rounded(next(rest))
                if side.along != self.turned(number):
                    self._write(group, self.address(start, line, place, number))
                    continue
                for n in range(self.group):
                    value = vector.ExtractOp(group, [], [n]).result
                    line_n = self.b.add(place, n)
                    self._write(value, self.address(start, line_n, line, number))

    def _write(self, value: ir.Value, address: ir.Value) -> None:
        nbytes = self.bits // 8
        if isinstance(value.type, ir.VectorType):
            nbytes *= value.type.shape[0]
        alignment = ir.IntegerAttr.get(self.i64, nbytes)
        ir.Operation.create(
            "llvm.store", [], [value, address],
            {"ordering": ir.IntegerAttr.get(self.i64, 0), "alignment": alignment},
        )  # fmt: skip

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
