"""Tiles whose operands go through shared memory in slices.

The threads of a block bring a slice of both operands into shared memory, 16 bytes at a time, and
multiply it from there while later slices are on their way. What is read as it is goes there by
``cp.async``, several slices ahead; what has to be computed (padding, conversions, windows of a
convolution), and 16-bit elements that are not aligned, go through registers. Elements outside of
the operands are zeros.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from iree_backend_cuda.cooperation import (
    barrier,
    copy_bytes,
    element_pointer,
    finish_copies,
    i32,
    operation,
    warp_barrier,
)
from iree_backend_cuda.kernel import STATIC_SHARED, declare_shared
from iree_backend_cuda.target import CudaTarget
from iree_backend_cuda.tiles import ResultTile, Side, Tiling, runs_along, splits
from iree_core.codegen.builder import Index, Lane, Scalar
from iree_core.codegen.contraction_analysis import Contraction
from iree_core.codegen.gpu.frame import GpuFrame
from iree_core.ir import arith, ir, vector

# Bytes of what a thread moves at a time, and of what keeps the lines of a tile in different banks.
GROUP_BYTES = 16
_WORD_BYTES = 4
_MOST_STAGES = 4


class StagedTile(ResultTile):
    """A tile with its slices in shared memory.

    Attributes:
        group: elements that a thread moves at a time.
        direct: of either operand, the bytes that are copied at a time without going through
            registers, 0 where that cannot be.
        stages: slices that shared memory holds.
        dynamic: bytes of shared memory that the launch has to ask for.
    """

    def __init__(
        self,
        c: Contraction,
        sides: tuple[Side, Side],
        element: ir.Type,
        tiling: Tiling,
        frame: GpuFrame,
        target: CudaTarget,
    ) -> None:
        super().__init__(c, sides, element, tiling, frame)
        self.group = GROUP_BYTES * 8 // self.bits
        self.pitches = [self.pitch(n) for n in range(2)]
        self.starts = self._layout()
        self.direct = [self._direct(n) if target.asynchronous else 0 for n in range(2)]
        # Two blocks share a multiprocessor, and wait in turn.
        fitting = target.device_class.block_memory // 2 // self.starts[2]
        self.stages = max(2, min(_MOST_STAGES, fitting)) if any(self.direct) else 2
        self.shared = self.stages * self.starts[2]
        self.dynamic = self.shared if self.shared > STATIC_SHARED else 0

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

    # Shared memory: for each of the slices the tile of the rows, then that of the columns.

    def pitch(self, number: int) -> int:
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

    def multiply(self) -> list[ir.Value]:
        """Emit the loop over slices; return the sums of this thread."""
        b, tiling, ahead = self.b, self.tiling, self.stages - 1
        self.base = declare_shared(self.frame, self.shared)
        steps = b.ceildiv(self.depth, tiling.depth)
        for number in range(ahead):
            with self.evaluator.scope():
                fetched = self._fetch(number * tiling.depth, number * self.starts[2])
            self._stage(fetched, number * self.starts[2])

        def slice_(step: Scalar, sums: list[ir.Value]) -> list[ir.Value]:
            if any(self.direct):
                finish_copies(ahead - 1)
            # Everyone's part of this slice is there, and nobody reads the one before any more.
            barrier()
            following = b.add(step, ahead)
            start = b.mul(b.mod(following, self.stages), self.starts[2])
            with self.evaluator.scope():
                fetched = self._fetch(b.mul(following, tiling.depth), start)
            # Reading at the edges sets the threads of a warp apart.
            warp_barrier()
            sums = self.products(b.mul(b.mod(step, self.stages), self.starts[2]), sums)
            self._stage(fetched, start)
            return sums

        sums = b.loop(0, steps, 1, slice_, self.zeros())
        if any(self.direct):
            finish_copies(0)
        return sums

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

    def _direct(self, number: int) -> int:
        """Return the bytes that lie in memory as they are to lie in shared memory, aligned.

        Elements of 4 bytes can be copied one by one, which turns them, too.
        """
        side, group = self.sides[number], self.group
        moving = self.c.reductions[-1] if side.along else side.dim
        buffer = self.evaluator.buffers.get(side.tensor)
        if buffer is None or buffer.layout is not None or not runs_along(side.maps, moving):
            return 0
        if buffer.memory.type.element_type != self.element or buffer.element != self.element:
            return 0
        last, size = side.maps[-1], buffer.shape[-1]
        if (
            side.along != self.turned(number)
            and buffer.offset == 0
            and len(last.factors) == 1
            and last.constant == 0
            and (not side.along or splits(self.c))
            and isinstance(size, int)
            and size % group == 0
            and self.sizes[moving] == size
        ):
            return GROUP_BYTES
        return _WORD_BYTES if self.bits == _WORD_BYTES * 8 and len(self.c.reductions) == 1 else 0

    def _fetch(self, start: Scalar, target: Scalar) -> list[ir.Value]:
        """Read the slice from reduction step ``start`` on into registers.

        What can be copied directly is on its way to byte ``target`` of shared memory instead.
        """
        b, values = self.b, []
        for number, side in enumerate(self.sides):
            for line, place in self._groups(number):
                across, k = (line, place) if side.along else (place, line)
                at, step = b.add(self.origin[number], across), b.add(start, k)
                if self.direct[number] == GROUP_BYTES:
                    where = self.address(target, line, place, number)
                    self._copy(side, at, step, where, GROUP_BYTES)
                elif self.direct[number]:
                    self._copy_words(number, at, step, target, (line, place))
                else:
                    values.append(self._read(side, at, step))
        if any(self.direct):
            finish_copies(None)
        return values

    def _copy_words(
        self, number: int, at: Scalar, k: Scalar, target: Scalar, where: tuple[Scalar, Scalar]
    ) -> None:
        """Copy the elements of a group one by one."""
        b, side, (line, place) = self.b, self.sides[number], where
        for n in range(self.group):
            here = (at, b.add(k, n)) if side.along else (b.add(at, n), k)
            lies = (line, b.add(place, n))
            if side.along == self.turned(number):
                lies = lies[::-1]
            self._copy(side, *here, self.address(target, *lies, number), _WORD_BYTES)

    def _copy(self, side: Side, at: Scalar, k: Scalar, target: ir.Value, nbytes: int) -> None:
        """Copy some elements; where there are none they become zeros."""
        b, buffer = self.b, self.evaluator.buffers[side.tensor]
        inside = arith.AndIOp(
            b.compare("slt", at, self.sizes[side.dim]), b.compare("slt", k, self.depth)
        ).result
        position = self._position(side, at, k, None)
        offset = b.value(b.address(buffer, position, 1).base)
        given = arith.SelectOp(inside, i32(nbytes), i32(0)).result
        copy_bytes(target, element_pointer(buffer.memory, offset), given, nbytes)

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

        if side.along and not splits(self.c):
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
        return self.evaluator.value(side.tensor, self._position(side, at, k, lane), lane)

    def _position(self, side: Side, at: Scalar, k: Scalar, lane: Lane | None) -> list[Index]:
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
        return position

    def _stage(self, values: Sequence[ir.Value], start: Scalar) -> None:
        """Write the groups that :meth:`_fetch` returned to shared memory."""
        rest = iter(values)
        for number, side in enumerate(self.sides):
            if self.direct[number]:
                continue
            for line, place in self._groups(number):
                group = next(rest)
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
