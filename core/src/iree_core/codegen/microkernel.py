"""The innermost part of contractions and windows: a register tile and its reduction loops.

A tile is ``rows`` positions of one loop dimension times ``vectors`` registers of the lane
dimension. Its accumulators stay in registers over all reduction loops; every operand is read
once per position it depends on: one that does not vary along the lane as a scalar that the
multiplication broadcasts, one that does not vary along the rows once for all rows. Matrix
multiplication, direct convolution, depthwise convolution and pooling are all this loop nest and
differ only in the indexing maps. (The register blocking is that of Goto and van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", 2008.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from iree_core.codegen.body import yielded
from iree_core.codegen.builder import Index, KernelBuilder, Lane, NotScheduled, Scalar
from iree_core.codegen.evaluate import Evaluator
from iree_core.codegen.reduction import Combiner, combiners
from iree_core.ir import arith, ir, math


@dataclass(frozen=True)
class Linear:
    """An affine expression ``constant + sum(factor * dim)`` of loop dimensions."""

    factors: tuple[tuple[int, int], ...]
    constant: int = 0

    @property
    def dims(self) -> tuple[int, ...]:
        """The loop dimensions that occur."""
        return tuple(d for d, _ in self.factors)

    def factor(self, dim: int) -> int:
        """Return the factor of a loop dimension, 0 where it does not occur."""
        return dict(self.factors).get(dim, 0)

    def is_dim(self, dim: int) -> bool:
        """Whether the expression is just that loop dimension."""
        return self.factors == ((dim, 1),) and self.constant == 0


def linear(expression: ir.AffineExpr) -> Linear:
    """Return an affine expression as a linear form.

    Raises:
        NotScheduled: it divides or takes a remainder.
    """
    factors, constant = _collect(expression)
    return Linear(tuple(sorted((d, f) for d, f in factors.items() if f)), constant)


def _collect(expression: ir.AffineExpr) -> tuple[dict[int, int], int]:
    if isinstance(expression, ir.AffineConstantExpr):
        return {}, expression.value
    if isinstance(expression, ir.AffineDimExpr):
        return {expression.position: 1}, 0
    if not isinstance(expression, ir.AffineAddExpr | ir.AffineMulExpr):
        raise NotScheduled(f"the index {expression} is not linear")
    (left, a), (right, b) = _collect(expression.lhs), _collect(expression.rhs)
    if isinstance(expression, ir.AffineAddExpr):
        return {d: left.get(d, 0) + right.get(d, 0) for d in left | right}, a + b
    if left and right:
        raise NotScheduled(f"the index {expression} is not linear")
    return {d: f * (b if left else a) for d, f in (left | right).items()}, a * b


@dataclass(frozen=True)
class Body:
    """The region of a reducing ``linalg.generic``: ``yield combine(accumulator, term(inputs))``.

    Attributes:
        inputs: the block arguments of the inputs.
        combiner: how a term is added.
        term: the value that is added at every point.
    """

    inputs: tuple[ir.Value, ...]
    combiner: Combiner
    term: ir.Value


def read_body(operation: ir.OpView) -> Body | None:
    """Return the parts of a reducing body, or None where it has another form."""
    found = combiners(operation)
    if found is None or len(found) != 1:
        return None
    block = operation.regions[0].blocks[0]
    *inputs, accumulator = list(block.arguments)
    first, second = yielded(block)[0].owner.operands
    return Body(tuple(inputs), found[0], second if first == accumulator else first)


@dataclass(frozen=True)
class Axis:
    """One reduction loop.

    Attributes:
        dim: the loop dimension.
        extent: how many iterations; a number where ``unrolled``.
        unrolled: emit every iteration separately.
        bounds: first and last-plus-one iteration at the tile's position, where they are
            narrower than the extent.
        active: the rows for which an unrolled iteration has an effect.
        sweep: how far the element that is read moves with the row and with an iteration, where
            rows share elements.
        step: how many iterations are done at a time; the last time there may be fewer.
        meanwhile: the number of iterations after which to emit something else, and what.
    """

    dim: int
    extent: Scalar
    unrolled: bool = False
    bounds: Callable[[Mapping[int, Scalar]], tuple[Scalar, Scalar]] | None = None
    active: Callable[[int], Sequence[int]] | None = None
    sweep: tuple[int, int] | None = None
    step: int = 1
    meanwhile: tuple[int, Callable[[Scalar], None]] | None = None


@dataclass(frozen=True)
class Operand:
    """An input of the body.

    Attributes:
        maps: one linear form of loop dimensions per coordinate.
        read: emits the value at those coordinates.
    """

    maps: tuple[Linear, ...]
    read: Callable[[Sequence[Index], Lane | None], ir.Value]

    def depends_on(self, dim: int) -> bool:
        """Whether the operand varies along a loop dimension."""
        return any(m.factor(dim) for m in self.maps)


@dataclass
class RegisterTile:
    """Emits one register tile at a time.

    Attributes:
        evaluator: where operations go.
        body: what is computed at each point.
        operands: the inputs, in the order of the body's block arguments.
        row, lane: the loop dimensions of the tile; ``row`` is None where there is one row only.
        accumulator: element type of the accumulators.
        fused: multiply-add instructions exist.
    """

    evaluator: Evaluator
    body: Body
    operands: Sequence[Operand]
    row: int | None
    lane: int
    accumulator: ir.Type
    fused: bool = True
    _memo: dict[object, ir.Value] = field(default_factory=dict)

    @property
    def builder(self) -> KernelBuilder:
        """Where operations go."""
        return self.evaluator.builder

    def emit(
        self,
        base: Mapping[int, Scalar],
        rows: int,
        lanes: Sequence[Lane],
        initial: Sequence[ir.Value],
        axes: Sequence[Axis],
        phases: int = 1,
    ) -> list[ir.Value]:
        """Emit the loops; return the accumulators, row-major over (rows, vectors).

        Args:
            base: position of the tile in every parallel loop dimension.
            rows: height of the tile.
            lanes: the registers of a row.
            initial: the accumulators' first values.
            axes: the reduction loops, outermost first.
            phases: independent sets of accumulators over which the innermost loop is unrolled,
                to hide the latency of additions where a tile is small.
        """
        self._lanes, self._rows = lanes, rows
        width = self._width = len(initial)
        state = list(initial)
        for _ in range(phases - 1):
            state += [self._identity(lanes[i % len(lanes)].width) for i in range(width)]
        state = self._reduce(list(axes), dict(base), {}, range(rows), state)
        for phase in range(1, phases):
            for i in range(width):
                state[i] = self._combine(state[i], state[phase * width + i])
        return state[:width]

    def _identity(self, width: int) -> ir.Value:
        number = self.body.combiner.identity(self.accumulator)
        return self.builder.splat(self.builder.constant(self.accumulator, number), width)

    def _reduce(
        self,
        axes: list[Axis],
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        if not axes:
            return self._step(base, offsets, rows, state)
        axis, rest = axes[0], axes[1:]
        if axis.unrolled and axis.sweep is not None and not rest:
            return self._sweep(axis, base | {axis.dim: 0}, offsets, rows, state)
        if axis.unrolled:
            for k in range(_number(axis.extent)):
                active = axis.active(k) if axis.active else rows
                if active:
                    at = offsets | {axis.dim: k}
                    state = self._reduce(rest, base | {axis.dim: 0}, at, active, state)
            return state
        start, stop = axis.bounds(base) if axis.bounds else (0, axis.extent)
        phases = len(state) // self._width
        if axis.step > 1:
            start, state = self._whole_steps(axis, start, stop, base, offsets, rows, state)
            return self._last_step(axis, start, stop, base, offsets, rows, state)
        if axis.meanwhile is not None and phases == 1:
            start, state = self._interrupted(axis, start, stop, rest, base, offsets, rows, state)
        if rest or phases == 1:
            return self._loop(axis, start, stop, 1, 1, rest, base, offsets, rows, state)
        start, state = self._whole_steps(axis, start, stop, base, offsets, rows, state)
        tail = self._loop(axis, start, stop, 1, 1, rest, base, offsets, rows, state[: self._width])
        return tail + state[self._width :]

    def _interrupted(
        self,
        axis: Axis,
        start: Scalar,
        stop: Scalar,
        rest: list[Axis],
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> tuple[Scalar, list[ir.Value]]:
        """Emit the loop with something else between its intervals; return where it stops."""
        assert axis.meanwhile is not None
        b, (interval, emit) = self.builder, axis.meanwhile

        def body(k: Scalar, carried: list[ir.Value]) -> list[ir.Value]:
            with self.evaluator.scope():
                emit(k)
                end = b.add(k, interval)
                return self._loop(axis, k, end, 1, 1, rest, base, offsets, rows, carried)

        whole = b.mul(b.div(b.sub(stop, start), interval), interval)
        middle = b.add(start, whole)
        return middle, b.loop(start, middle, interval, body, state)

    def _whole_steps(
        self,
        axis: Axis,
        start: Scalar,
        stop: Scalar,
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> tuple[Scalar, list[ir.Value]]:
        """Emit the innermost loop over all phases at a time; return where it stops, and sums."""
        b, step = self.builder, axis.step
        phases = len(state) // self._width
        for together in sorted({phases, 1 if step > 1 else phases}, reverse=True):
            size = together * step
            whole = b.mul(b.div(b.sub(stop, start), size), size)
            middle = b.add(start, whole)
            used = together * self._width
            state = (
                self._loop(
                    axis, start, middle, size, together, [], base, offsets, rows, state[:used]
                )
                + state[used:]
            )
            start = middle
        return start, state

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
        """Emit the iterations that remain where several are done at a time."""
        raise NotScheduled("a loop with a step that this tile does not know")

    def _loop(
        self,
        axis: Axis,
        start: Scalar,
        stop: Scalar,
        step: int,
        phases: int,
        rest: list[Axis],
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        width = len(state) // phases

        def body(k: Scalar, carried: list[ir.Value]) -> list[ir.Value]:
            outer, self._memo = self._memo, {}
            result: list[ir.Value] = []
            with self.evaluator.scope():
                for phase in range(phases):
                    part = carried[phase * width : (phase + 1) * width]
                    at = offsets | {axis.dim: phase * axis.step}
                    result += self._reduce(rest, base | {axis.dim: k}, at, rows, part)
            self._memo = outer
            return result

        return self.builder.loop(start, stop, step, body, state)

    def _sweep(
        self,
        axis: Axis,
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        """Emit the iterations of a window in the order of the elements that rows share.

        Each element is then needed for a short time only, and registers suffice.
        """
        assert axis.sweep is not None
        row_stride, step = axis.sweep
        points = [
            (r * row_stride + k * step, k, r)
            for k in range(_number(axis.extent))
            for r in (axis.active(k) if axis.active else rows)
        ]
        for _, k, r in sorted(points):
            state = self._step(base, offsets | {axis.dim: k}, [r], state)
        return state

    def _step(
        self,
        base: dict[int, Scalar],
        offsets: dict[int, int],
        rows: Sequence[int],
        state: list[ir.Value],
    ) -> list[ir.Value]:
        result = list(state)
        for r in rows:
            for v in range(len(self._lanes)):
                slot = r * len(self._lanes) + v
                point = Point(base, offsets, r, v)
                result[slot] = self._accumulate(result[slot], point)
        return result

    def _accumulate(self, accumulator: ir.Value, point: Point) -> ir.Value:
        width = self._lanes[point.vector].width
        owner = self.body.term.owner
        name = "" if isinstance(owner, ir.Block) else owner.operation.name
        if self.body.combiner.op == "arith.addf" and name == "arith.mulf":
            left, right = (self._widen(self._value(o, point)) for o in owner.operands)
            left, right = self.builder.splat(left, width), self.builder.splat(right, width)
            if self.fused:
                return math.FmaOp(left, right, accumulator).result
            return arith.AddFOp(accumulator, arith.MulFOp(left, right).result).result
        term = self._widen(self._value(self.body.term, point))
        return self._combine(accumulator, self.builder.splat(term, width))

    def _combine(self, accumulator: ir.Value, term: ir.Value) -> ir.Value:
        return self.body.combiner.join(accumulator, term)

    def _widen(self, value: ir.Value) -> ir.Value:
        # Narrow floats are added up in float32.
        if _element(value) == self.accumulator:
            return value
        key = ("widen", value)
        if key not in self._memo:
            target = _typed_like(value.type, self.accumulator)
            self._memo[key] = arith.ExtFOp(target, value).result
        return self._memo[key]

    def _value(self, value: ir.Value, point: Point) -> ir.Value:
        key = self._key(value, point)
        if key not in self._memo:
            self._memo[key] = self._compute(value, point)
        return self._memo[key]

    def _compute(self, value: ir.Value, point: Point) -> ir.Value:
        if value in self.body.inputs:
            return self._read(self.operands[self.body.inputs.index(value)], point)
        owner = value.owner.operation
        if owner.name == "arith.constant":
            return arith.ConstantOp(value.type, owner.attributes["value"]).result
        operands = [self._value(o, point) for o in owner.operands]
        if owner.name == "arith.extf" and _element(operands[0]) == value.type:
            return operands[0]  # a packed operand was converted when it was packed
        width = next((o.type.shape[0] for o in operands if _is_vector(o)), None)
        if width is not None:
            operands = [self.builder.splat(o, width) for o in operands]
        kind = value.type if width is None else ir.VectorType.get([width], value.type)
        return _rebuild(owner, operands, kind)

    def _key(self, value: ir.Value, point: Point) -> object:
        # Two points share a value if every input below it is read at the same coordinates.
        if value in self.body.inputs:
            operand = self.operands[self.body.inputs.index(value)]
            at = tuple(self._offset(m, point) for m in operand.maps)
            return (value, at, point.vector if operand.depends_on(self.lane) else None)
        if isinstance(value.owner, ir.Block):
            raise NotScheduled("a body that uses an enclosing block's argument")
        return (value, tuple(self._key(o, point) for o in value.owner.operation.operands))

    def _offset(self, form: Linear, point: Point) -> int:
        return sum(f * self._static(d, point) for d, f in form.factors)

    def _static(self, dim: int, point: Point) -> int:
        return point.row if dim == self.row else point.offsets.get(dim, 0)

    def _read(self, operand: Operand, point: Point) -> ir.Value:
        lane = self._lanes[point.vector]
        indices = [self._index(form, point) for form in operand.maps]
        return operand.read(indices, lane if operand.depends_on(self.lane) else None)

    def _index(self, form: Linear, point: Point) -> Index:
        b = self.builder
        base: Scalar = 0
        for dim, factor in form.factors:
            base = b.add(base, b.mul(point.base[dim], factor))
        offset = form.constant + self._offset(form, point)
        factor = form.factor(self.lane)
        if factor:
            offset += factor * sum(lane.width for lane in self._lanes[: point.vector])
        return Index(b.add(base, offset), factor)


@dataclass(frozen=True)
class Point:
    base: Mapping[int, Scalar]
    offsets: Mapping[int, int]
    row: int
    vector: int


def _number(extent: Scalar) -> int:
    if not isinstance(extent, int):
        raise NotScheduled("an unrolled loop without a static trip count")
    return extent


def _element(value: ir.Value) -> ir.Type:
    return value.type.element_type if isinstance(value.type, ir.VectorType) else value.type


def _is_vector(value: ir.Value) -> bool:
    return isinstance(value.type, ir.VectorType)


def _typed_like(kind: ir.Type, element: ir.Type) -> ir.Type:
    if isinstance(kind, ir.VectorType):
        return ir.VectorType.get(kind.shape, element)
    return element


def _rebuild(operation: ir.Operation, operands: Sequence[ir.Value], kind: ir.Type) -> ir.Value:
    attributes = {name: operation.attributes[name] for name in operation.attributes}
    return ir.Operation.create(
        operation.name, results=[kind], operands=list(operands), attributes=attributes
    ).result
