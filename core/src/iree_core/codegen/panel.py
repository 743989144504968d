"""Packing of operands into scratch memory while a kernel runs.

Constant operands are packed when the model is compiled. One that is computed at run time (keys
and values of attention, or weights that are dequantised on the way) is rearranged here, panel
by panel, into ``[reduction loops][columns]``, so that the tiles below read whole vectors in
sequence. Where it is contiguous along the innermost reduction loop instead of along the lanes,
square blocks are transposed in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from iree_core.codegen.builder import Buffer, Index, KernelBuilder, Lane, Scalar, element_bits
from iree_core.codegen.evaluate import Evaluator
from iree_core.codegen.microkernel import Linear
from iree_core.ir import arith, ir, memref, vector

Read = Callable[[Sequence[Index], Lane | None], ir.Value]


@dataclass(frozen=True)
class Panel:
    """An operand that is packed panel by panel.

    Attributes:
        operand: number of the input.
        maps: its coordinates.
        reductions: the reduction loops it depends on, outermost first.
        lane: the lane loop.
        transposes: it is contiguous along the last of ``reductions``.
    """

    operand: int
    maps: tuple[Linear, ...]
    reductions: tuple[int, ...]
    lane: int
    transposes: bool


class PanelPacker:
    """Emits the packing of one panel and its reads.

    Args:
        evaluator: where operations go.
        panel: the operand.
        read: reads the operand at its coordinates.
        sizes: trip counts of all loops.
        scratch: the kernel's private memory.
        offset: where in it the panel goes, in bytes.
        element: type of an element.
        columns: lanes of a panel.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        panel: Panel,
        read: Read,
        sizes: Sequence[Scalar],
        scratch: ir.Value,
        offset: Scalar,
        element: ir.Type,
        columns: int,
    ) -> None:
        self.evaluator, self.panel, self.read, self.sizes = evaluator, panel, read, sizes
        self.builder: KernelBuilder = evaluator.builder
        self.columns = columns
        self.element = element
        dynamic = ir.ShapedType.get_dynamic_size()
        kind = ir.MemRefType.get([dynamic], element)
        length = self.builder.value(self._length())
        self.memory = memref.ViewOp(kind, scratch, self.builder.value(offset), [length]).result

    def _length(self) -> Scalar:
        rows = self.builder.product([self.sizes[d] for d in self.panel.reductions])
        return self.builder.mul(rows, self.columns)

    def bytes(self) -> Scalar:
        """Return how much memory the panel takes."""
        return self.builder.mul(self._length(), element_bits(self.element) // 8)

    def load(self, base: Mapping[int, Index], lane: Lane | None) -> ir.Value:
        """Return the packed operand where the loops are at ``base`` (lanes from the panel's)."""
        assert lane is not None
        position = [base[d] for d in self.panel.reductions]
        shape = [self.sizes[d] for d in self.panel.reductions]
        buffer = Buffer(self.memory, self.element, (*shape, self.columns))
        return self.builder.load(buffer, [*position, base[self.panel.lane]], Lane(lane.width))

    def pack(self, base: Mapping[int, Scalar], lanes: Sequence[Lane]) -> None:
        """Fill the panel whose first lane is ``base[lane]``."""
        self._nest(list(self.panel.reductions), dict(base), lanes)

    def _nest(self, dims: list[int], base: dict[int, Scalar], lanes: Sequence[Lane]) -> None:
        dim, *rest = dims
        if not rest and self.panel.transposes:
            self._transpose(dim, base, lanes)
            return

        def body(k: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            with self.evaluator.scope():
                inner = base | {dim: k}
                if rest:
                    self._nest(rest, inner, lanes)
                else:
                    self._row(inner, lanes)
            return []

        self.builder.loop(0, self.sizes[dim], 1, body)

    def _row(self, base: Mapping[int, Scalar], lanes: Sequence[Lane]) -> None:
        start = 0
        for lane in lanes:
            indices = {d: Index(i) for d, i in base.items()}
            indices[self.panel.lane] = Index(self.builder.add(base[self.panel.lane], start), 1)
            value = self.read(coordinates(self.builder, self.panel.maps, indices, lane.width), lane)
            self._store(base, start, self.builder.splat(value, lane.width))
            start += lane.width

    def _store(self, base: Mapping[int, Scalar], column: int, value: ir.Value) -> None:
        b = self.builder
        at: Scalar = 0
        for dim in self.panel.reductions:
            at = b.add(b.mul(at, self.sizes[dim]), base[dim])
        vector.StoreOp(value, self.memory, [b.value(b.add(b.mul(at, self.columns), column))])

    def _transpose(self, dim: int, base: dict[int, Scalar], lanes: Sequence[Lane]) -> None:
        """Read vectors along the reduction loop ``dim``, store vectors along the lanes."""
        b, width = self.builder, lanes[0].width
        size = self.sizes[dim]
        whole = b.mul(b.div(size, width), width)

        def block(k: Scalar, lane: Lane, rows: int | None) -> list[ir.Value]:
            with self.evaluator.scope():
                for number in range(len(lanes)):
                    self._square(dim, base, k, number * width, lane, rows)
            return []

        b.loop(0, whole, width, lambda k, _: block(k, Lane(width), width))
        rest = b.sub(size, whole)
        if isinstance(rest, int) and rest == 0:
            return
        mask = b.tail_mask(width, rest)
        rows = rest if isinstance(rest, int) else None
        b.loop(whole, size, width, lambda k, _: block(k, Lane(width, mask), rows))

    def _square(
        self,
        dim: int,
        base: Mapping[int, Scalar],
        start: Scalar,
        column: int,
        lane: Lane,
        rows: int | None,
    ) -> None:
        b, width = self.builder, lane.width
        last = b.sub(self.sizes[self.panel.lane], 1)
        vectors = []
        for j in range(width):
            # Columns past the end repeat the last one; nothing stored depends on them.
            n = b.min(b.add(base[self.panel.lane], column + j), last)
            indices = {d: Index(i) for d, i in base.items()}
            indices |= {dim: Index(start, 1), self.panel.lane: Index(n)}
            value = self.read(coordinates(b, self.panel.maps, indices, width), lane)
            vectors.append(b.splat(value, width))
        columns = transpose(vectors)
        if rows is not None:
            for i in range(rows):
                self._store({**base, dim: b.add(start, i)}, column, columns[i])
            return
        for i in range(width):
            at = b.add(start, i)
            inside = b.compare("slt", at, self.sizes[dim])

            def store(at: Scalar = at, i: int = i) -> list[ir.Value]:
                self._store({**base, dim: at}, column, columns[i])
                return []

            b.select_branch(inside, [], store, list)


def transpose(rows: Sequence[ir.Value]) -> list[ir.Value]:
    """Return the columns of a square of vectors, whose number is a power of two.

    The butterfly of shuffles: at each step, pairs of rows exchange blocks of lanes.
    """
    width = len(rows)
    current = list(rows)
    distance = 1
    while distance < width:
        following = list(current)
        low = [i if not i & distance else width + (i ^ distance) for i in range(width)]
        high = [(i | distance) if not i & distance else width + i for i in range(width)]
        for i in range(width):
            if i & distance:
                continue
            a, b = current[i], current[i | distance]
            following[i] = vector.ShuffleOp(a, b, low).result
            following[i | distance] = vector.ShuffleOp(a, b, high).result
        current = following
        distance *= 2
    return current


@dataclass(frozen=True)
class RowBlock:
    """An operand whose rows are evaluated into scratch memory before the panels pass by.

    Attributes:
        operand: number of the input.
        maps: its coordinates.
        row: the row loop.
        reductions: the reduction loops it depends on, outermost first.
        element: type of an element in scratch memory.
    """

    operand: int
    maps: tuple[Linear, ...]
    row: int
    reductions: tuple[int, ...]
    element: ir.Type


class RowPacker:
    """Emits the evaluation of a block of rows, as ``[rows][reduction loops]``, and its reads."""

    def __init__(
        self,
        evaluator: Evaluator,
        block: RowBlock,
        read: Read,
        sizes: Sequence[Scalar],
        scratch: ir.Value,
        offset: Scalar,
        rows: int,
        lanes: int,
    ) -> None:
        self.evaluator, self.block, self.read, self.sizes = evaluator, block, read, sizes
        self.builder: KernelBuilder = evaluator.builder
        self.lanes = lanes
        self.start: Scalar = 0
        shape: list[Scalar] = [rows, *(sizes[d] for d in block.reductions)]
        dynamic = ir.ShapedType.get_dynamic_size()
        kind = ir.MemRefType.get([dynamic], block.element)
        b = self.builder
        memory = memref.ViewOp(kind, scratch, b.value(offset), [b.value(b.product(shape))]).result
        self.buffer = Buffer(memory, block.element, tuple(shape))

    def load(self, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        """Return the operand at (row, reduction loops)."""
        row, *reductions = position
        here = Index(self.builder.sub(row.base, self.start))
        return self.builder.load(self.buffer, [here, *reductions], lane)

    def pack(self, base: Mapping[int, Scalar], start: Scalar, stop: Scalar) -> None:
        """Evaluate rows ``start..stop`` where the outer loops are at ``base``."""
        self.start = start
        dims = [self.block.row, *self.block.reductions]

        def nest(level: int, loops: dict[int, Scalar]) -> list[ir.Value]:
            dim = dims[level]
            with self.evaluator.scope():
                if level == len(dims) - 1:
                    self._row(loops, dim)
                    return []
                first = start if level == 0 else 0
                last = stop if level == 0 else self.sizes[dim]
                self.builder.loop(first, last, 1, lambda i, _: nest(level + 1, {**loops, dim: i}))
            return []

        nest(0, dict(base))

    def _row(self, loops: Mapping[int, Scalar], dim: int) -> None:
        b, size = self.builder, self.sizes[dim]
        whole = b.mul(b.div(size, self.lanes), self.lanes)

        def copy(k: Scalar, lane: Lane) -> list[ir.Value]:
            with self.evaluator.scope():
                indices = {d: Index(i) for d, i in loops.items()} | {dim: Index(k, 1)}
                value = self.read(coordinates(b, self.block.maps, indices, lane.width), lane)
                value = widen(b.splat(value, lane.width), self.block.element)
                row = indices[self.block.row]
                at = [Index(b.sub(row.base, self.start))]
                at += [indices[d] for d in self.block.reductions]
                b.store(self.buffer, at, value, lane)
            return []

        b.loop(0, whole, self.lanes, lambda k, _: copy(k, Lane(self.lanes)))
        rest = b.sub(size, whole)
        if isinstance(rest, int) and rest == 0:
            return
        mask = b.tail_mask(self.lanes, rest)
        b.loop(whole, size, self.lanes, lambda k, _: copy(k, Lane(self.lanes, mask)))


def coordinates(
    builder: KernelBuilder, maps: Sequence[Linear], loops: Mapping[int, Index], width: int
) -> list[Index]:
    """Return linear forms of loop coordinates as coordinates."""
    result = []
    for form in maps:
        total = Index(form.constant)
        for dim, factor in form.factors:
            total = builder.index_add(total, builder.index_mul(loops[dim], factor, width), width)
        result.append(total)
    return result


def widen(value: ir.Value, element: ir.Type) -> ir.Value:
    """Return a float vector with elements of a wider type; anything else as it is."""
    kind = value.type.element_type
    if kind == element or not isinstance(kind, ir.FloatType):
        return value
    return arith.ExtFOp(ir.VectorType.get(value.type.shape, element), value).result
