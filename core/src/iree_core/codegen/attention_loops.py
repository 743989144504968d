"""The loops of attention's kernel: items, packing, blocks of scores, softmax, weighted values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from iree_core.codegen.attention_analysis import At, Attention, Product
from iree_core.codegen.builder import Buffer, Index, KernelBuilder, Lane, Scalar, element_bits
from iree_core.codegen.contraction_loops import ALIGNMENT
from iree_core.codegen.evaluate import Supplier
from iree_core.codegen.frame import Frame
from iree_core.codegen.kernel import CpuModel
from iree_core.codegen.microkernel import Axis, Linear, Operand, RegisterTile
from iree_core.codegen.panel import Panel, PanelPacker
from iree_core.codegen.placement import Placement
from iree_core.codegen.reduction import Combiner, combiners
from iree_core.expr import Expr
from iree_core.ir import arith, ir, memref

__all__ = ["ALIGNMENT", "AttentionLoops", "Schedule"]

# Rows of a softmax that are done together, and vectors of it that are.
_SOFTMAX_ROWS = 4
_UNDER_WAY = 4


@dataclass(frozen=True)
class Schedule:
    """Block sizes of one kernel.

    Attributes:
        rows: rows of a register tile.
        lanes: elements of a register.
        key_vectors, value_vectors: registers of a panel of keys and of values.
        block: queries whose scores are in memory at a time, a multiple of ``rows``.
        item: queries of a work item, a multiple of ``block``.
        static_rows: the number of queries where it is known.
        grid, grain, scratch: see :class:`iree_core.codegen.kernel.Kernel`.
    """

    rows: int
    lanes: int
    key_vectors: int
    value_vectors: int
    block: int
    item: int
    static_rows: int | None
    grid: Expr
    grain: int
    scratch: Expr


class AttentionLoops:
    """Emits the loops of one kernel."""

    def __init__(
        self,
        attention: Attention,
        schedule: Schedule,
        results: Sequence[Placement],
        cpu: CpuModel,
        frame: Frame,
    ) -> None:
        self.a, self.s, self.results, self.cpu, self.frame = (
            attention, schedule, results, cpu, frame,
        )  # fmt: skip
        self.evaluator = frame.evaluator
        self.b: KernelBuilder = frame.builder
        self.first_sizes = self.evaluator.loop_sizes(attention.first.op)
        self.sizes = self.evaluator.loop_sizes(attention.second.op)
        (self.key,) = attention.second.reductions
        self.keys = self.sizes[self.key]
        self.queries = self.sizes[attention.second.row]
        self._divide_scratch()
        self.top: Scalar = 0
        self.supplied: ir.Value | None = None
        self.evaluator.bind(attention.second.op.results[0], lambda *_: self._supply())

    def _supply(self) -> ir.Value:
        assert self.supplied is not None
        return self.supplied

    def _divide_scratch(self) -> None:
        """Lay out the panels of keys and of values, the block of scores, a factor per row."""
        b, s = self.b, self.s
        size = element_bits(self.a.element) // 8
        width = s.key_vectors * s.lanes
        count = b.ceildiv(self.keys, width)
        depth = b.product([self.first_sizes[d] for d in self.a.first.reductions])
        self.key_panel_bytes = self._aligned(b.mul(depth, width * size))
        values = s.value_vectors * s.lanes
        self.value_panel_bytes = self._aligned(b.mul(self.keys, values * size))
        self.values_at = b.mul(self.key_panel_bytes, count)
        panels = b.ceildiv(self.sizes[self.a.second.lane], values)
        scores_at = b.add(self.values_at, b.mul(self.value_panel_bytes, panels))
        stride = b.mul(count, width)
        self.block = self._buffer(scores_at, (s.block, stride))
        factors_at = b.add(scores_at, b.mul(stride, s.block * size))
        self.factors = self._buffer(factors_at, (s.block,))

    def _aligned(self, count: Scalar) -> Scalar:
        return self.b.mul(self.b.ceildiv(count, ALIGNMENT), ALIGNMENT)

    def _buffer(self, offset: Scalar, shape: tuple[Scalar, ...]) -> Buffer:
        b, element = self.b, self.a.element
        kind = ir.MemRefType.get([ir.ShapedType.get_dynamic_size()], element)
        length = [b.value(b.product(shape))]
        view = memref.ViewOp(kind, self.frame.scratch, b.value(offset), length).result
        return Buffer(view, element, shape)

    def emit(self) -> None:
        """Emit the loop over the work items."""
        b, s = self.b, self.s
        counts = [*(self.sizes[d] for d in self.a.outer), b.ceildiv(self.queries, s.item)]

        def item(number: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            *outer, run = b.delinearize(number, counts)
            self.base: dict[int, Scalar] = dict(zip(self.a.outer, outer, strict=True))
            start = b.mul(run, s.item)
            stop = b.min(b.add(start, s.item), self.queries)
            with self.evaluator.scope():
                self._pack()
                self._loop(start, stop, s.block, lambda top, _: self._block(top, stop))
            return []

        b.loop(self.frame.begin, self.frame.end, 1, item)

    def _loop(
        self,
        start: Scalar,
        stop: Scalar,
        step: int,
        body: Callable[[Scalar, list[ir.Value]], list[ir.Value]],
        carried: Sequence[ir.Value] = (),
    ) -> list[ir.Value]:
        def scoped(i: Scalar, values: list[ir.Value]) -> list[ir.Value]:
            with self.evaluator.scope():
                return body(i, values)

        return self.b.loop(start, stop, step, scoped, carried)

    # Packing.

    def _first_base(self) -> dict[int, Scalar]:
        """Return where the outer loops of the first product are."""
        loops = self.a.loops.items()
        base = {loop: 0 if at is None else self.base.get(at, 0) for loop, at in loops}
        return base

    def _pack(self) -> None:
        first, second = self.a.first, self.a.second

        def keys(start: Scalar, lanes: list[Lane]) -> None:
            self._key_panel(start).pack(self._first_base() | {first.lane: start}, lanes)

        def values(start: Scalar, lanes: list[Lane]) -> None:
            self._value_panel(start).pack(self.base | {second.lane: start}, lanes)

        self._panels(self.keys, self.s.key_vectors, keys)
        self._panels(self.sizes[second.lane], self.s.value_vectors, values)

    def _panels(
        self, size: Scalar, vectors: int, visit: Callable[[Scalar, list[Lane]], None]
    ) -> None:
        """Visit every panel; lanes past the end of the last one are masked off."""
        b, lanes = self.b, self.s.lanes
        width = vectors * lanes

        def whole(start: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            visit(start, [Lane(lanes)] * vectors)
            return []

        def tail(start: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            left = b.sub(size, start)
            masks = [b.tail_mask(lanes, b.max(0, b.sub(left, v * lanes))) for v in range(vectors)]
            visit(start, [Lane(lanes, mask) for mask in masks])
            return []

        end = b.mul(b.div(size, width), width)
        self._loop(0, end, width, whole)
        if not (isinstance(size, int) and size % width == 0):
            self._loop(end, size, width, tail)

    def _key_panel(self, start: Scalar) -> PanelPacker:
        vectors, sizes = self.s.key_vectors, self.first_sizes
        return self._panel(self.a.first, sizes, start, vectors, 0, self.key_panel_bytes)

    def _value_panel(self, start: Scalar) -> PanelPacker:
        vectors, nbytes = self.s.value_vectors, self.value_panel_bytes
        return self._panel(self.a.second, self.sizes, start, vectors, self.values_at, nbytes)

    def _panel(
        self,
        product: Product,
        sizes: Sequence[Scalar],
        start: Scalar,
        vectors: int,
        first: Scalar,
        nbytes: Scalar,
    ) -> PanelPacker:
        """Return the panel whose first lane is ``start``."""
        b, columns = self.b, vectors * self.s.lanes
        maps = product.maps[product.lanes]
        last = maps[-1].dims
        transposes = product.reductions[-1] in last
        panel = Panel(product.lanes, maps, product.reductions, product.lane, transposes)
        operand = product.op.inputs[product.lanes]
        offset = b.add(first, b.mul(b.div(start, columns), nbytes))
        return PanelPacker(
            self.evaluator, panel, lambda at, lane: self.evaluator.value(operand, at, lane), sizes,
            self.frame.scratch, offset, self.a.element, columns,
        )  # fmt: skip

    # One block of queries.

    def _block(self, top: Scalar, stop: Scalar) -> list[ir.Value]:
        self.top = top
        end = self.b.min(self.b.add(top, self.s.block), stop)
        self._scores(end)

        def rows(query: Scalar, count: int) -> list[ir.Value]:
            self._softmax([self.b.add(query, r) for r in range(count)])
            return []

        many = _SOFTMAX_ROWS
        whole = self.b.sub(end, self.b.mod(self.b.sub(end, top), many))
        self._loop(top, whole, many, lambda q, _: rows(q, many))
        if self.s.static_rows is None or self.s.static_rows % many or self.s.block % many:
            self._loop(whole, end, 1, lambda q, _: rows(q, 1))
        self._weighted(end)
        return []

    def _row_tiles(self, stop: Scalar, emit: Callable[[Scalar, int], None]) -> None:
        """Cover the queries of the block with register tiles."""
        b, rows, size = self.b, self.s.rows, self.s.static_rows

        def run(start: Scalar, end: Scalar, height: int) -> None:
            def body(m: Scalar, _: list[ir.Value]) -> list[ir.Value]:
                emit(m, height)
                return []

            self._loop(start, end, height, body)

        if size is not None and size % rows == 0:
            run(self.top, stop, rows)
            return
        whole = b.sub(stop, b.mod(b.sub(stop, self.top), rows))
        run(self.top, whole, rows)
        if size is not None:
            run(whole, stop, size % rows)
            return
        while rows > 1:
            rows //= 2
            middle = b.add(whole, b.mul(b.div(b.sub(stop, whole), rows), rows))
            run(whole, middle, rows)
            whole = middle

    def _scores(self, stop: Scalar) -> None:
        """Multiply the block's queries by all keys."""
        first, b, s = self.a.first, self.b, self.s
        width = s.key_vectors * s.lanes
        lanes = [Lane(s.lanes)] * s.key_vectors
        base = self._first_base() | {first.lane: 0}
        axes = [Axis(d, self.first_sizes[d]) for d in first.reductions]

        def panel(start: Scalar, _: list[ir.Value]) -> list[ir.Value]:
            tile = self._tile(first, self._queries(), self._key_panel(start))

            def emit(m: Scalar, rows: int) -> None:
                zeros = self._zeros(rows * len(lanes))
                found = tile.emit({**base, first.row: m}, rows, lanes, zeros, axes)
                for number, value in enumerate(found):
                    r, v = divmod(number, len(lanes))
                    at = [Index(b.add(b.sub(m, self.top), r)), Index(b.add(start, v * s.lanes), 1)]
                    b.store(self.block, at, value, lanes[v])

            self._row_tiles(stop, emit)
            return []

        self._loop(0, self.keys, width, panel)

    def _queries(self) -> Operand:
        operand = self.a.first.op.inputs[self.a.first.rows]
        maps = self.a.first.maps[self.a.first.rows]
        return Operand(maps, lambda at, lane: self.evaluator.value(operand, at, lane))

    def _weights(self) -> Operand:
        """Return the exponentials of the block as an operand of the second product."""

        def read(at: Sequence[Index], _: Lane | None) -> ir.Value:
            query, key = at
            here = Index(self.b.sub(query.base, self.top))
            return self.b.load(self.block, [here, key], None)

        return Operand((Linear(((self.a.second.row, 1),)), Linear(((self.key, 1),))), read)

    def _tile(self, product: Product, rows: Operand, packer: PanelPacker) -> RegisterTile:
        dims = (*product.reductions, product.lane)

        def read(at: Sequence[Index], lane: Lane | None) -> ir.Value:
            return packer.load(dict(zip(dims, at, strict=True)), lane)

        lanes = Operand(tuple(Linear(((d, 1),)) for d in dims), read)
        operands = [rows, lanes] if product.rows == 0 else [lanes, rows]
        return RegisterTile(
            evaluator=self.evaluator,
            body=product.body,
            operands=operands,
            row=product.row,
            lane=product.lane,
            accumulator=self.a.element,
            fused=self.cpu.fma,
        )

    def _zeros(self, count: int) -> list[ir.Value]:
        zero = self.b.splat(self.b.constant(self.a.element, 0.0), self.s.lanes)
        return [zero] * count

    # The softmax of some rows.

    def _softmax(self, queries: list[Scalar]) -> None:
        """Replace rows of scores by exponentials; keep what they are to be multiplied by."""
        evaluator, b, a = self.evaluator, self.b, self.a
        bound = dict(evaluator.bound)
        evaluator.bind(a.first.op.results[0], self._in_block(self._raw_at()))
        masked = a.scores[0] != a.first.op.results[0]
        peaks = self._reduce(queries, a.scores, a.maximum, masked)
        evaluator.bind(a.scores[0], self._in_block(a.scores[1]))
        row = a.maximum[1].index(a.second.row)
        evaluator.bind(a.maximum[0], lambda at, _: peaks[queries.index(at[row].base)])
        totals = self._reduce(queries, a.exponentials, a.total, True)
        evaluator.bound = bound
        one = b.constant(a.element, 1.0)
        for query, total in zip(queries, totals, strict=True):
            here = Index(b.sub(query, self.top))
            factor = arith.DivFOp(one, total).result
            if a.guarded:
                factor = self._guard(here, total, factor, one)
            b.store(self.factors, [here], factor, None)

    def _raw_at(self) -> At:
        """Return where the raw scores lie."""
        maps = list(self.a.first.op.indexing_maps)[-1].value
        loops = {**self.a.loops, self.a.first.lane: self.key, self.a.first.row: self.a.second.row}
        return tuple(loops[e.position] for e in maps.results)

    def _in_block(self, at: At) -> Supplier:
        """Return how a tensor of scores that lies in the block is read."""
        row, key = at.index(self.a.second.row), at.index(self.key)

        def read(position: Sequence[Index], lane: Lane | None) -> ir.Value:
            here = Index(self.b.sub(position[row].base, self.top))
            return self.b.load(self.block, [here, position[key]], lane)

        return read

    def _guard(self, row: Index, total: ir.Value, factor: ir.Value, one: ir.Value) -> ir.Value:
        """Clear a row whose sum is not a number: then none of its weights is one."""
        b = self.b
        unordered = arith.CmpFOp(arith.CmpFPredicate.UNO, total, total).result

        def clear() -> list[ir.Value]:
            zero = self._zeros(1)[0]
            end = self.block.shape[1]  # padded to whole registers

            def body(k: Scalar, _: list[ir.Value]) -> list[ir.Value]:
                b.store(self.block, [row, Index(k, 1)], zero, Lane(self.s.lanes))
                return []

            b.loop(0, end, self.s.lanes, body)
            return [one]

        return b.select_branch(unordered, [self.a.element], clear, lambda: [factor])[0]

    def _reduce(
        self,
        queries: list[Scalar],
        source: tuple[ir.Value, At],
        target: tuple[ir.Value, At],
        keep: bool,
    ) -> list[ir.Value]:
        """Combine ``source`` over all keys, keeping its elements in the block if asked to.

        Several vectors are under way at a time, to hide the latency of the exponential.
        """
        b, lanes, count = self.b, self.s.lanes, len(queries)
        op = target[0].owner
        found = combiners(op)
        assert found is not None
        combiner: Combiner = found[0]
        join = _larger if target == self.a.maximum else combiner.join

        def step(query: Scalar, k: Scalar, carried: ir.Value, mask: ir.Value | None) -> ir.Value:
            loops = {**self._outer(query), self.key: Index(k, 1)}
            position = self._position(source[1], loops)
            value = self.evaluator.value(source[0], position, Lane(lanes, mask))
            value = b.splat(value, lanes)
            if keep:
                here = Index(b.sub(query, self.top))
                b.store(self.block, [here, Index(k, 1)], value, Lane(lanes))
            joined = join(carried, value)
            return joined if mask is None else arith.SelectOp(mask, joined, carried).result

        def steps(
            k: Scalar, carried: list[ir.Value], mask: ir.Value | None = None
        ) -> list[ir.Value]:
            starts = [b.add(k, n * lanes) for n in range(len(carried) // count)]
            places = [(q, start) for start in starts for q in queries]
            return [step(q, at, c, mask) for (q, at), c in zip(places, carried, strict=True)]

        neutral = b.splat(b.constant(self.a.element, combiner.identity(self.a.element)), lanes)
        unroll = max(1, _UNDER_WAY // count)
        many = unroll * lanes
        ends = [b.mul(b.div(self.keys, many), many), b.mul(b.div(self.keys, lanes), lanes)]
        parts = self._loop(0, ends[0], many, steps, [neutral] * (unroll * count))
        for n in range(1, unroll):
            parts[:count] = [
                join(x, y)
                for x, y in zip(parts[:count], parts[n * count : (n + 1) * count], strict=True)
            ]
        parts = self._loop(ends[0], ends[1], lanes, steps, parts[:count])
        if not (isinstance(self.keys, int) and self.keys % lanes == 0):
            mask = b.tail_mask(lanes, b.sub(self.keys, ends[1]))
            parts = self._loop(ends[1], self.keys, lanes, lambda k, c: steps(k, c, mask), parts)
        totals = []
        for query, part in zip(queries, parts, strict=True):
            at = self._position(target[1], self._outer(query))
            init = self.evaluator.value(op.outputs[0], at, None)
            totals.append(combiner.join(combiner.across(part), init))
        return totals

    def _outer(self, query: Scalar) -> dict[int, Index]:
        """Return the loops that a whole row shares."""
        return {**{d: Index(i) for d, i in self.base.items()}, self.a.second.row: Index(query)}

    def _position(self, at: At, loops: Mapping[int, Index]) -> list[Index]:
        return [Index(0) if d is None else loops[d] for d in at]

    # Results.

    def _weighted(self, stop: Scalar) -> None:
        """Multiply the block's weights by the values and store the results."""
        second, s = self.a.second, self.s
        axes = [Axis(self.key, self.keys)]

        def panel(start: Scalar, lanes: list[Lane]) -> None:
            tile = self._tile(second, self._weights(), self._value_panel(start))

            def emit(m: Scalar, rows: int) -> None:
                base = {**self.base, second.row: m, second.lane: 0}
                zeros = self._zeros(rows * len(lanes))
                found = tile.emit(base, rows, lanes, zeros, axes)
                for r in range(rows):
                    self._store(m, r, start, lanes, found[r * len(lanes) : (r + 1) * len(lanes)])

            self._row_tiles(stop, emit)

        self._panels(self.sizes[second.lane], s.value_vectors, panel)

    def _store(
        self, m: Scalar, row: int, start: Scalar, lanes: list[Lane], values: Sequence[ir.Value]
    ) -> None:
        b = self.b
        here = b.add(b.sub(m, self.top), row)
        factor = b.splat(b.load(self.factors, [Index(here)], None), self.s.lanes)
        loops = {d: Index(i) for d, i in self.base.items()}
        loops[self.a.second.row] = Index(b.add(m, row))
        written = list(self.a.second.op.indexing_maps)[-1].value
        for v, (lane, value) in enumerate(zip(lanes, values, strict=True)):
            loops[self.a.second.lane] = Index(b.add(start, v * self.s.lanes), 1)
            position = [loops[e.position] for e in written.results]
            with self.evaluator.scope():
                self.supplied = arith.MulFOp(value, factor).result
                for placement, buffer in zip(self.results, self.frame.outputs, strict=True):
                    at = placement.locate(b, position, lane.width)
                    result = self.evaluator.value(placement.tensor, at, lane)
                    b.store(buffer, at, b.splat(result, lane.width), lane)
                self.supplied = None


def _larger(a: ir.Value, b: ir.Value) -> ir.Value:
    """Return the larger of two numbers, ``a`` if ``b`` is none.

    A row's maximum need not be NaN where a score is: the sum of the row's exponentials is, and
    with it all of the row's weights. This is one instruction, a maximum that keeps NaN is six.
    """
    above = arith.CmpFOp(arith.CmpFPredicate.OGT, b, a).result
    return arith.SelectOp(above, b, a).result
