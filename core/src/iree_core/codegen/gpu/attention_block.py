"""Emission of attention's kernel: the keys in blocks, the running softmax, the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_core.codegen.attention_analysis import At, Attention, Product
from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.codegen.gpu.cooperative import reduce_subgroup
from iree_core.codegen.gpu.frame import GpuFrame
from iree_core.codegen.gpu.kernel import GpuModel
from iree_core.codegen.placement import Placement
from iree_core.codegen.reduction import Combiner
from iree_core.ir import arith, ir, math, vector

_GROUP = 4
# Keys of a block: each query and key loaded is used that often.
_KEYS = 8
_LARGEST = Combiner("arith.maxnumf", "maxnumf")
_SUM = Combiner("arith.addf", "add")


@dataclass(frozen=True)
class Shape:
    """What one invocation does.

    Attributes:
        rows: queries.
        columns: columns of the values.
        slices: how many such parts there are in a row.
        workers: invocations that share all that.
    """

    rows: int
    columns: int
    slices: int
    workers: int


@dataclass
class _State:
    """What is known of the queries after some of the keys.

    Attributes:
        largest: per query, the largest score.
        totals: per query, the sum of exp(score - largest).
        sums: per query and vector of columns, the sum of the values weighted by that.
    """

    largest: list[ir.Value]
    totals: list[ir.Value]
    sums: list[list[ir.Value]]

    def values(self) -> list[ir.Value]:
        """Return everything in one list, as loops carry it."""
        return [*self.largest, *self.totals, *(v for row in self.sums for v in row)]

    def like(self, values: Sequence[ir.Value]) -> _State:
        """Return a state of the same shape from such a list."""
        count, width = len(self.largest), len(self.sums[0])
        rest = list(values[2 * count :])
        sums = [rest[r * width : (r + 1) * width] for r in range(count)]
        return _State(list(values[:count]), list(values[count : 2 * count]), sums)


class AttentionBlock:
    """Emission of the queries of one invocation, or of one subgroup."""

    def __init__(
        self,
        attention: Attention,
        shape: Shape,
        results: Sequence[Placement],
        gpu: GpuModel,
        frame: GpuFrame,
    ) -> None:
        self.a, self.shape, self.results = attention, shape, results
        self.gpu, self.frame = gpu, frame
        self.b, self.evaluator = frame.builder, frame.evaluator
        self.first_sizes = self.evaluator.loop_sizes(attention.first.op)
        self.sizes = self.evaluator.loop_sizes(attention.second.op)
        (self.key,) = attention.second.reductions
        self.element = attention.element
        whole, rest = divmod(shape.columns, _GROUP)
        self.widths = [_GROUP] * whole + [1] * rest
        self.supplied: ir.Value | None = None
        self.score: ir.Value | None = None
        self.evaluator.bind(attention.second.op.results[0], lambda *_: self._known(self.supplied))
        self.evaluator.bind(attention.first.op.results[0], lambda *_: self._known(self.score))

    def _known(self, value: ir.Value | None) -> ir.Value:
        if value is None:
            raise NotScheduled("a product of attention is read outside its loops")
        return value

    def emit(self) -> None:
        """Emit the queries whose number is that of the invocation or its subgroup."""
        b, a, shape = self.b, self.a, self.shape
        self.worker = b.mod(self.frame.item, shape.workers)
        item = b.div(self.frame.item, shape.workers)
        blocks = b.ceildiv(self.sizes[a.second.row], shape.rows)
        counts = [*(self.sizes[d] for d in a.outer), shape.slices, blocks]
        *outer, part, block = b.delinearize(item, counts)
        self.base = dict(zip(a.outer, outer, strict=True))
        self._place(block, part)
        with self.evaluator.scope():
            state = self._through_keys(self._start())
            if shape.workers > 1:
                state = self._join(state)
            self._finish(state)

    def _place(self, block: Scalar, part: Scalar) -> None:
        """Set the queries and the first column; what lies past the end is done, but not stored."""
        b, shape = self.b, self.shape
        queries, columns = self.sizes[self.a.second.row], self.sizes[self.a.second.lane]
        assert isinstance(columns, int)
        self.first_query = b.mul(block, shape.rows)
        whole = isinstance(queries, int) and queries % shape.rows == 0
        places = [b.add(self.first_query, r) for r in range(shape.rows)]
        last = b.sub(queries, 1)
        self.queries = [q if whole else b.min(q, last) for q in places]
        self.stored = None if whole else [b.compare("slt", q, queries) for q in places]
        self.wanted_column = b.mul(part, shape.columns)
        self.column = b.min(self.wanted_column, columns - shape.columns)

    def _start(self) -> _State:
        maximum = self.a.maximum
        init = maximum[0].owner.outputs[0]
        rows = [self._row(q) for q in self.queries]
        lows = [self.evaluator.value(init, self._at(maximum[1], row), None) for row in rows]
        zero = self.b.constant(self.element, 0.0)
        sums = [self._wide(zero, width) for width in self.widths]
        return _State(lows, [zero] * len(rows), [list(sums) for _ in rows])

    def _row(self, query: Scalar) -> dict[int, Scalar]:
        """Return the loops of the second product that a whole row shares."""
        return {**self.base, self.a.second.row: query}

    def _at(self, at: At, loops: dict[int, Scalar]) -> list[Index]:
        return [Index(0) if d is None else Index(loops[d]) for d in at]

    # The keys.

    def _through_keys(self, state: _State) -> _State:
        b, keys = self.b, self.sizes[self.key]
        count = _KEYS if not isinstance(keys, int) else min(_KEYS, keys)
        whole = b.mul(b.div(keys, count), count)

        def visit(number: int) -> Callable[[Scalar, list[ir.Value]], list[ir.Value]]:
            def body(key: Scalar, carried: list[ir.Value]) -> list[ir.Value]:
                with self.evaluator.scope():
                    places = [b.add(key, n) for n in range(number)]
                    return self._keys(places, state.like(carried)).values()

            return body

        start, step = b.mul(self.worker, count), count * self.shape.workers
        carried = b.loop(start, whole, step, visit(count), state.values())
        if not (isinstance(keys, int) and keys % count == 0):
            first = b.add(whole, self.worker)
            # The first bound says how few are left.
            stop = b.min(b.add(first, count), keys)
            carried = b.loop(first, stop, self.shape.workers, visit(1), carried)
        return state.like(carried)

    def _keys(self, keys: list[Scalar], state: _State) -> _State:
        """Add some keys to what is known."""
        raw = self._products(keys)
        weights, scales = [], []
        for r, query in enumerate(self.queries):
            scores = [self._score(query, key, raw[r][j]) for j, key in enumerate(keys)]
            before, largest = state.largest[r], state.largest[r]
            for score in scores:
                largest = _larger(largest, score)
            reference = self._finite(largest)
            weights.append([self._exp(score, reference) for score in scores])
            scales.append(self._exp(before, reference))
            state.largest[r] = largest
            total = arith.MulFOp(state.totals[r], scales[r]).result
            for weight in weights[r]:
                total = arith.AddFOp(total, weight).result
            state.totals[r] = total
        self._add_values(keys, weights, scales, state)
        return state

    def _score(self, query: Scalar, key: Scalar, raw: ir.Value) -> ir.Value:
        """Return what the softmax is taken of, from the raw product."""
        tensor, at = self.a.scores
        self.score = raw
        with self.evaluator.scope():
            place = self._at(at, self._row(query) | {self.key: key})
            value = self.evaluator.value(tensor, place, None)
        self.score = None
        return value

    def _finite(self, largest: ir.Value) -> ir.Value:
        """Return what exponents are relative to: anything where there is no key yet."""
        low = self.b.constant(self.element, -float("inf"))
        none = arith.CmpFOp(arith.CmpFPredicate.OEQ, largest, low).result
        return arith.SelectOp(none, self.b.constant(self.element, 0.0), largest).result

    def _exp(self, x: ir.Value, reference: ir.Value) -> ir.Value:
        return math.ExpOp(arith.SubFOp(x, reference).result).result

    def _add_values(
        self,
        keys: list[Scalar],
        weights: list[list[ir.Value]],
        scales: list[ir.Value],
        state: _State,
    ) -> None:
        b, second = self.b, self.a.second
        column = self.column
        for v, width in enumerate(self.widths):
            for r, scale in enumerate(scales):
                wide = self._wide(scale, width)
                state.sums[r][v] = arith.MulFOp(state.sums[r][v], wide).result
            for j, key in enumerate(keys):
                loops = {d: Index(i) for d, i in (self.base | {self.key: key}).items()}
                loops[second.lane], lane = _neighbours(column, width)
                value = self._wide(self._read(second, second.lanes, loops, lane), width)
                for r in range(len(scales)):
                    wide = self._wide(weights[r][j], width)
                    state.sums[r][v] = self._fma(wide, value, state.sums[r][v])
            column = b.add(column, width)

    def _wide(self, value: ir.Value, width: int) -> ir.Value:
        """Return a value in every lane; one lane is a scalar."""
        return self.b.splat(value, width) if width > 1 else value

    def _fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        if isinstance(self.element, ir.F32Type):
            return math.FmaOp(x, y, z).result
        return arith.AddFOp(z, arith.MulFOp(x, y).result).result

    def _read(
        self, part: Product, number: int, loops: dict[int, Index], lane: Lane | None
    ) -> ir.Value:
        map_ = list(part.op.indexing_maps)[number].value
        places = [loops.get(d, Index(0)) for d in range(map_.n_dims)]
        tensor = list(part.op.inputs)[number]
        return self.evaluator.generic_operand(tensor, map_, places, lane)

    # The scores.

    def _products(self, keys: list[Scalar]) -> list[list[ir.Value]]:
        """Return the products of all queries and keys, each a row."""
        first, b = self.a.first, self.b
        *outer, inner = first.reductions
        size = self.first_sizes[inner]
        count = len(self.queries) * len(keys)

        def step(number: int, depth: dict[int, Scalar]) -> Callable:
            def body(k: Scalar, carried: list[ir.Value]) -> list[ir.Value]:
                with self.evaluator.scope():
                    return self._step(keys, depth | {inner: k}, number, carried)

            return body

        def nest(dims: Sequence[int], depth: dict[int, Scalar], carried: list) -> list[ir.Value]:
            if dims:
                return b.loop(
                    0,
                    self.first_sizes[dims[0]],
                    1,
                    lambda k, inside: nest(dims[1:], depth | {dims[0]: k}, inside),
                    carried,
                )
            whole = b.mul(b.div(size, _GROUP), _GROUP)
            carried = b.loop(0, whole, _GROUP, step(_GROUP, depth), carried)
            return b.loop(whole, size, 1, step(1, depth), carried)

        zeros = [b.constant(self.element, 0.0)] * count
        found = nest(outer, {}, zeros)
        return [found[r * len(keys) :][: len(keys)] for r in range(len(self.queries))]

    def _step(
        self, keys: list[Scalar], depth: dict[int, Scalar], number: int, sums: list[ir.Value]
    ) -> list[ir.Value]:
        """Add ``number`` products along the depth to every sum."""
        first = self.a.first
        shared = {
            loop: Index(0 if at is None else self.base.get(at, 0))
            for loop, at in self.a.loops.items()
        } | {loop: Index(k) for loop, k in depth.items()}
        queries = self._vectors(first.rows, shared, first.row, self.queries, number)
        found = self._vectors(first.lanes, shared, first.lane, keys, number)
        result = list(sums)
        for n in range(number):
            for r, query in enumerate(queries):
                for j, key in enumerate(found):
                    place = r * len(keys) + j
                    result[place] = self._fma(query[n], key[n], result[place])
        return result

    def _vectors(
        self,
        operand: int,
        shared: dict[int, Index],
        dim: int,
        places: list[Scalar],
        number: int,
    ) -> list[list[ir.Value]]:
        """Return ``number`` elements along the depth for every place of ``dim``."""
        first, b = self.a.first, self.b
        inner = first.reductions[-1]
        maps = first.maps[operand]
        depth = shared[inner].base
        if number > 1 and maps[-1].is_dim(inner):
            rows = []
            for place in places:
                loops = shared | {dim: Index(place), inner: Index(depth, 1)}
                rows.append(self._elements(self._read(first, operand, loops, Lane(number)), number))
            return rows
        columns = []
        for n in range(number):
            at = shared | {inner: Index(b.add(depth, n))}
            columns.append(self._along(operand, at, dim, places))
        return [list(row) for row in zip(*columns, strict=True)]

    def _along(
        self, operand: int, at: dict[int, Index], dim: int, places: list[Scalar]
    ) -> list[ir.Value]:
        """Return the elements at all places, several at a time where they are neighbours."""
        first = self.a.first
        follow = dim == first.lane and len(places) % _GROUP == 0
        if not (follow and first.maps[operand][-1].is_dim(dim)):
            return [self._read(first, operand, at | {dim: Index(p)}, None) for p in places]
        found = []
        for n in range(0, len(places), _GROUP):
            group = self._read(first, operand, at | {dim: Index(places[n], 1)}, Lane(_GROUP))
            found += self._elements(group, _GROUP)
        return found

    def _elements(self, value: ir.Value, count: int) -> list[ir.Value]:
        if not isinstance(value.type, ir.VectorType):
            return [value] * count
        return [vector.ExtractOp(value, [], [n]).result for n in range(count)]

    # Results.

    def _join(self, state: _State) -> _State:
        """Combine what the invocations of a subgroup know."""
        gpu = self.gpu
        for r, own in enumerate(state.largest):
            largest = reduce_subgroup(_LARGEST, own, gpu)
            scale = self._exp(own, self._finite(largest))
            state.largest[r] = largest
            total = arith.MulFOp(state.totals[r], scale).result
            state.totals[r] = reduce_subgroup(_SUM, total, gpu)
            for v, width in enumerate(self.widths):
                scaled = arith.MulFOp(state.sums[r][v], self._wide(scale, width)).result
                parts = self._elements(scaled, width)
                parts = [reduce_subgroup(_SUM, part, gpu) for part in parts]
                if width > 1:
                    state.sums[r][v] = vector.FromElementsOp(scaled.type, parts).result
                else:
                    state.sums[r][v] = parts[0]
        return state

    def _finish(self, state: _State) -> None:
        """Divide by the totals and store the rows."""
        for r in range(len(self.queries)):

            def row(r: int = r) -> list[ir.Value]:
                with self.evaluator.scope():
                    self._store_row(r, state)
                return []

            condition = None if self.stored is None else self.stored[r]
            if self.shape.workers > 1:
                # Every invocation knows everything: each stores some rows.
                mine = self.b.compare("eq", self.worker, r % self.shape.workers)
                condition = mine if condition is None else arith.AndIOp(condition, mine).result
            if condition is None:
                row()
            else:
                self.b.select_branch(condition, [], row, list)

    def _store_row(self, r: int, state: _State) -> None:
        b, a = self.b, self.a
        loops = self._row(self.queries[r])
        init = a.total[0].owner.outputs[0]
        start = self.evaluator.value(init, self._at(a.total[1], loops), None)
        total = arith.AddFOp(state.totals[r], start).result
        factor = arith.DivFOp(b.constant(self.element, 1.0), total).result
        bad = arith.CmpFOp(arith.CmpFPredicate.UNO, factor, factor).result
        empty = arith.CmpFOp(arith.CmpFPredicate.OEQ, total, b.constant(self.element, 0.0)).result
        nothing = arith.OrIOp(bad, empty).result if a.guarded else None
        column = 0
        for width, value in zip(self.widths, state.sums[r], strict=True):
            result = arith.MulFOp(value, self._wide(factor, width)).result
            if nothing is not None:
                zero = self._wide(b.constant(self.element, 0.0), width)
                # Weights that are no numbers count as zero.
                result = arith.SelectOp(nothing, zero, result).result
            self._store(loops, column, width, result)
            column += width

    def _store(self, loops: dict[int, Scalar], offset: int, width: int, value: ir.Value) -> None:
        """Store some columns, but those that belong to the slice before."""
        b, second = self.b, self.a.second
        start = b.add(self.column, offset)
        if self.shape.slices * self.shape.columns == self.sizes[second.lane]:
            self._store_columns(loops, start, width, value)
            return
        for n, element in enumerate(self._elements(value, width)):
            place = b.add(start, n)

            def one(place: Scalar = place, element: ir.Value = element) -> list[ir.Value]:
                self._store_columns(loops, place, 1, element)
                return []

            b.select_branch(b.compare("sge", place, self.wanted_column), [], one, list)

    def _store_columns(
        self, loops: dict[int, Scalar], column: Scalar, width: int, value: ir.Value
    ) -> None:
        second = self.a.second
        at = {d: Index(i) for d, i in loops.items()}
        at[second.lane], lane = _neighbours(column, width)
        written = list(second.op.indexing_maps)[-1].value
        position = [at[e.position] for e in written.results]
        with self.evaluator.scope():
            self.supplied = value
            for placement, buffer in zip(self.results, self.frame.outputs, strict=True):
                where = placement.locate(self.b, position, width)
                result = self.evaluator.value(placement.tensor, where, lane)
                self.b.store(buffer, where, self._wide(result, width), lane)
            self.supplied = None


def _neighbours(start: Scalar, width: int) -> tuple[Index, Lane | None]:
    """Return the place of some neighbours, and as what they are read: one is a scalar."""
    return (Index(start, 1), Lane(width)) if width > 1 else (Index(start), None)


def _larger(a: ir.Value, b: ir.Value) -> ir.Value:
    """Return the larger of two numbers, ``a`` if ``b`` is none.

    The sum of a row's exponentials is no number where one of its scores is none.
    """
    above = arith.CmpFOp(arith.CmpFPredicate.OGT, b, a).result
    return arith.SelectOp(above, b, a).result
