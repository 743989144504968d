"""Contractions on tensor cores: a tile of the result per block, computed by ``mma.sync``.

The threads of a block bring a slice of both operands into shared memory, 16 bytes at a time,
evaluating whatever is fused into them (padding, conversions, windows of a convolution); the
warps then multiply it. While they do, the next slice is on its way into the other half of
shared memory. An operand is kept in the direction in which it is read, and ``ldmatrix`` turns it
where the instruction wants the other one. Elements outside of the operands are zeros there, and
are not stored at the end, so that no size has to be a multiple of anything.

Source: PTX ISA 8.x, "Matrix Fragments for mma.m16n8k16" (f16, bf16) and "mma.m16n8k8" (tf32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from iree_backend_cuda.cooperation import barrier, intrinsic, operation, warp_barrier
from iree_core.codegen import conv
from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.codegen.contraction_analysis import (
    Contraction,
    accumulator_type,
    match_contraction,
)
from iree_core.codegen.dispatch import Dispatch, as_expr
from iree_core.codegen.gpu import GpuKernel, GpuModel
from iree_core.codegen.gpu.frame import GpuFrame, make_gpu_kernel
from iree_core.codegen.microkernel import Linear
from iree_core.ir import arith, ir, vector

_SHARED = "tiles"
_WARP = 32
# Bytes of what a thread moves at a time, of a row of a fragment, and of what keeps the rows of
# a tile in different banks.
_GROUP_BYTES = 16
_LARGEST_GROUP = 8


@dataclass(frozen=True)
class Precision:
    """A kind of multiplication.

    Attributes:
        element: type of the operands in memory, as MLIR writes it.
        bits: of an operand.
        depth: products that one instruction adds up.
        intrinsic: LLVM's name of the instruction.
        pairs: fragments are passed as pairs of f16.
    """

    element: str
    bits: int
    depth: int
    intrinsic: str
    pairs: bool = False

    @property
    def group(self) -> int:
        """Elements of 16 bytes."""
        return _GROUP_BYTES * 8 // self.bits


PRECISIONS = {
    "f16": Precision("f16", 16, 16, "llvm.nvvm.mma.m16n8k16.row.col.f32.f32", pairs=True),
    "bf16": Precision("bf16", 16, 16, "llvm.nvvm.mma.m16n8k16.row.col.bf16"),
    "tf32": Precision("f32", 32, 8, "llvm.nvvm.mma.m16n8k8.row.col.tf32"),
}


@dataclass(frozen=True)
class Tiling:
    """How a block works.

    Attributes:
        rows, columns: of the result.
        depth: of a slice, in elements.
        warp_rows, warp_columns: how the warps share the tile.
    """

    rows: int
    columns: int
    depth: int
    warp_rows: int
    warp_columns: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.warp_rows * self.warp_columns * _WARP


def _tilings(precision: Precision) -> tuple[Tiling, ...]:
    """Return tilings, the one with most reuse first; a slice is 64 bytes deep."""
    depth = 64 * 8 // precision.bits
    return Tiling(128, 128, depth, 2, 4), Tiling(64, 64, depth, 2, 2)


def build_tensor_contraction(dispatch: Dispatch, gpu: GpuModel, *, tf32: bool = False) -> GpuKernel:
    """Schedule a product of two f16 or bf16 operands, or two of f32 rounded to tf32.

    Args:
        dispatch: what to compute.
        gpu: the device class.
        tf32: f32 may be rounded to 10 bits of mantissa before it is multiplied.

    Raises:
        NotScheduled: it is no such product, or too small.
    """
    contraction = match_contraction(dispatch)
    if contraction is None:
        raise NotScheduled("no single contraction whose results are stored from its tiles")
    sides = _sides(contraction)
    precision = _precision(contraction, sides, tf32)
    tiling = _choose(contraction, precision, gpu)
    grid = as_expr(contraction.extents[sides[0].dim]).ceildiv(tiling.rows) * tiling.threads
    grid = grid * as_expr(contraction.extents[sides[1].dim]).ceildiv(tiling.columns)
    for dim in contraction.outer:
        grid = grid * as_expr(contraction.extents[dim])

    def fill(frame: GpuFrame) -> None:
        _Emission(contraction, sides, precision, tiling, frame).emit()

    return make_gpu_kernel(dispatch, "tensor-contraction", grid, fill, workgroup=tiling.threads)


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


def _sides(c: Contraction) -> tuple[Side, Side]:
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


def _precision(c: Contraction, sides: tuple[Side, Side], tf32: bool) -> Precision:
    """Return how the operands are multiplied.

    Raises:
        NotScheduled: tensor cores have no such multiplication.
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
    if len(elements) == 1:
        (element,) = elements
        if element in ("f16", "bf16"):
            return PRECISIONS[element]
        if element == "f32" and tf32:
            return PRECISIONS["tf32"]
    raise NotScheduled(f"products of {' and '.join(sorted(elements))}")


def _choose(c: Contraction, precision: Precision, gpu: GpuModel) -> Tiling:
    """Return the largest tiling that leaves enough blocks.

    Raises:
        NotScheduled: tiles would be mostly empty.
    """
    assert c.row is not None
    rows, columns = c.extent(c.row), c.extent(c.lane)
    if min(rows, columns) < 16 or prod(c.extent(d) for d in c.reductions) < precision.depth:
        raise NotScheduled("a product too small for tiles")
    large, small = _tilings(precision)
    blocks = -(-rows // large.rows) * -(-columns // large.columns)
    blocks *= prod(c.extent(d) for d in c.outer)
    return large if blocks * large.threads >= gpu.least_tiles else small


class _Emission:
    """Emission of one block's work."""

    def __init__(
        self,
        c: Contraction,
        sides: tuple[Side, Side],
        precision: Precision,
        tiling: Tiling,
        frame: GpuFrame,
    ) -> None:
        self.c, self.sides, self.precision, self.tiling = c, sides, precision, tiling
        self.frame, self.b, self.evaluator = frame, frame.builder, frame.evaluator
        self.sizes = self.evaluator.loop_sizes(c.generic)
        self.depth = self.b.product([self.sizes[d] for d in c.reductions])
        self.i32, self.i64 = (ir.IntegerType.get_signless(n) for n in (32, 64))
        self.f32 = ir.F32Type.get()
        self.element = ir.Type.parse(precision.element)
        self.extents = (tiling.rows, tiling.columns)
        self.warp = (tiling.rows // tiling.warp_rows, tiling.columns // tiling.warp_columns)
        self.pitches = [self._pitch(n) for n in range(2)]
        self.starts = self._layout()
        self.supplied: ir.Value | None = None
        self.evaluator.bind(c.generic.results[0], lambda *_: self._supply())

    # Shared memory: for each of two slices the tile of the rows, then that of the columns.

    def _turned(self, number: int) -> bool:
        """Whether a tile is kept as [reduction][rows or columns], which only 16 bits allow."""
        return not self.sides[number].along and self.precision.bits == 16

    def _pitch(self, number: int) -> int:
        """Return the elements from one line of a tile to the next; 16 bytes keep banks apart."""
        line = self.extents[number] if self._turned(number) else self.tiling.depth
        return line + self.precision.group

    def _layout(self) -> tuple[int, int, int]:
        """Return the bytes at which the tiles start, and those of a slice."""
        nbytes = []
        for number in range(2):
            lines = self.tiling.depth if self._turned(number) else self.extents[number]
            nbytes.append(lines * self.pitches[number] * self.precision.bits // 8)
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
            "alignment": number(self.i64, _GROUP_BYTES),
        }
        with ir.InsertionPoint(self.frame.group.owner.owner):
            ir.Operation.create("llvm.mlir.global", [], [], facts, regions=1)
        pointer = ir.Type.parse("!llvm.ptr<3>")
        name = ir.FlatSymbolRefAttr.get(_SHARED)
        return operation("llvm.mlir.addressof", pointer, [], global_name=name)

    def _address(self, start: Scalar, line: Scalar, place: Scalar, number: int) -> ir.Value:
        """Return the address of an element of a tile; ``start`` is where the slice starts."""
        b = self.b
        element = b.add(b.mul(line, self.pitches[number]), place)
        offset = b.add(b.mul(element, self.precision.bits // 8), self.starts[number])
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
        local = self.frame.local
        self.lane = b.mod(local, _WARP)
        warp = b.div(local, _WARP)
        self.place = (
            b.mul(b.div(warp, tiling.warp_columns), self.warp[0]),
            b.mul(b.mod(warp, tiling.warp_columns), self.warp[1]),
        )
        with self.evaluator.scope():
            sums = self._multiply()
            self._store(sums)

    def _multiply(self) -> list[ir.Value]:
        """Emit the loop over slices; return the sums of this thread."""
        b, tiling = self.b, self.tiling
        steps = b.ceildiv(self.depth, tiling.depth)
        zero = b.constant(self.f32, 0.0)
        count = (self.warp[0] // 16) * (self.warp[1] // 8) * 4
        self._stage(self._fetch(0), 0)
        barrier()

        def slice_(step: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
            following = b.add(step, 1)
            with self.evaluator.scope():
                fetched = self._fetch(b.mul(following, tiling.depth))
            # Reading at the edges sets the threads of a warp apart.
            warp_barrier()
            sums = self._products(b.mul(b.mod(step, 2), self.starts[2]), sums)
            self._stage(fetched, b.mul(b.mod(following, 2), self.starts[2]))
            barrier()
            return sums

        return b.loop(0, steps, 1, slice_, [zero] * count)

    # From the operands to shared memory.

    def _groups(self, number: int) -> list[tuple[Scalar, Scalar]]:
        """Return line and place of the groups of elements that this thread moves.

        A line is a row or column of the result where the groups run along the reduction, else a
        step of the reduction.
        """
        b, group = self.b, self.precision.group
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
        b, width, size = self.b, self.precision.group, self.sizes[side.dim]
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
                group = self._rounded(next(rest))
                if side.along or self._turned(number):
                    self._write(group, self._address(start, line, place, number))
                    continue
                for n in range(self.precision.group):
                    value = vector.ExtractOp(group, [], [n]).result
                    line_n = self.b.add(place, n)
                    self._write(value, self._address(start, line_n, line, number))

    def _rounded(self, group: ir.Value) -> ir.Value:
        """Round f32 as tensor cores take it: they ignore the bits that tf32 lacks."""
        if self.precision.bits == 16:
            return group
        width = self.precision.group
        values = [vector.ExtractOp(group, [], [n]).result for n in range(width)]
        rounded = [intrinsic("llvm.nvvm.f2tf32.rna", [self.i32], [v])[0] for v in values]
        kind = ir.VectorType.get([width], self.i32)
        return vector.FromElementsOp(kind, rounded).result

    def _write(self, value: ir.Value, address: ir.Value) -> None:
        nbytes = self.precision.bits // 8
        if isinstance(value.type, ir.VectorType):
            nbytes *= value.type.shape[0]
        alignment = ir.IntegerAttr.get(self.i64, nbytes)
        ir.Operation.create(
            "llvm.store", [], [value, address],
            {"ordering": ir.IntegerAttr.get(self.i64, 0), "alignment": alignment},
        )  # fmt: skip

    # From shared memory to the sums.

    def _products(self, start: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
        """Multiply a slice."""
        columns = self.warp[1] // 8
        for k in range(0, self.tiling.depth, self.precision.depth):
            rows = [self._fragment(0, start, m, k) for m in range(0, self.warp[0], 16)]
            pairs = [self._fragment(1, start, n, k) for n in range(0, self.warp[1], 16)]
            halves = [half for pair in pairs for half in (pair[:2], pair[2:])]
            for m, left in enumerate(rows):
                for n, right in enumerate(halves):
                    first = (m * columns + n) * 4
                    sums[first : first + 4] = self._mma(left, right, sums[first : first + 4])
        return sums

    def _fragment(self, number: int, start: Scalar, at: int, k: int) -> list[ir.Value]:
        """Load a 16 by 16 (tf32: 16 by 8) part of a tile: four registers of each thread.

        They are four matrices of 8 lines of 16 bytes. Of the rows' tile the second one is below
        the first and the third beside it; of the columns' tile the other way round, which makes
        two fragments of 8 columns.
        """
        b, unit = self.b, self.precision.group
        matrix, line = b.div(self.lane, 8), b.mod(self.lane, 8)
        low, high = b.mod(matrix, 2), b.div(matrix, 2)
        below, beside = (low, high) if number == 0 else (high, low)
        across = b.add(self.place[number], at)
        if self._turned(number):
            lines = b.add(b.add(b.mul(beside, 8), line), k)
            address = self._address(start, lines, b.add(across, b.mul(below, 8)), number)
        else:
            lines = b.add(b.add(b.mul(below, 8), line), across)
            address = self._address(start, lines, b.add(b.mul(beside, unit), k), number)
        turn = ".trans" if self._turned(number) else ""
        name = f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4{turn}.b16.p3"
        return intrinsic(name, [self.i32] * 4, [address])

    def _mma(
        self, left: list[ir.Value], right: list[ir.Value], sums: list[ir.Value]
    ) -> list[ir.Value]:
        registers = [*left, *right]
        if self.precision.pairs:
            pair = ir.VectorType.get([2], ir.F16Type.get())
            registers = [operation("llvm.bitcast", pair, [r]) for r in registers]
        return intrinsic(self.precision.intrinsic, [self.f32] * 4, [*registers, *sums])

    # Results.

    def _supply(self) -> ir.Value:
        if self.supplied is None:
            raise NotScheduled("an accumulator is read outside its tile")
        return self.supplied

    def _store(self, sums: list[ir.Value]) -> None:
        """Store the sums: of each fragment two neighbours of a row, and two 8 rows below."""
        b = self.b
        line, pair = b.div(self.lane, 4), b.mul(b.mod(self.lane, 4), 2)
        first_row = b.add(b.add(self.origin[0], self.place[0]), line)
        first_column = b.add(b.add(self.origin[1], self.place[1]), pair)
        rest = iter(sums)
        for m in range(0, self.warp[0], 16):
            for n in range(0, self.warp[1], 8):
                column = b.add(first_column, n)
                for row in (b.add(first_row, m), b.add(first_row, m + 8)):
                    self._store_pair(row, column, [next(rest), next(rest)])

    def _store_pair(self, row: Scalar, column: Scalar, values: list[ir.Value]) -> None:
        columns = self.sizes[self.sides[1].dim]
        if isinstance(columns, int) and columns % 2 == 0:
            kind = ir.VectorType.get([2], self.f32)
            both = vector.FromElementsOp(kind, values).result
            self._store_value(row, column, both, Lane(2))
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
