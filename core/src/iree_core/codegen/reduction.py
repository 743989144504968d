"""Reductions inside a kernel: accumulators, combiners, and lanes along a reduced dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from iree_core.codegen.body import yielded
from iree_core.codegen.builder import Index, Lane, NotScheduled, Scalar
from iree_core.ir import arith, ir, vector

if TYPE_CHECKING:
    from iree_core.codegen.evaluate import Evaluator


def is_reduction(op: ir.OpView) -> bool:
    """Whether a ``linalg.generic`` has a reduction loop."""
    return any("reduction" in str(kind) for kind in op.iterator_types)


def reduction_dims(op: ir.OpView) -> list[int]:
    """Return the reduction loops of a ``linalg.generic``."""
    return [d for d, kind in enumerate(op.iterator_types) if "reduction" in str(kind)]


@dataclass(frozen=True)
class Combiner:
    """How two partial results of a reduction join: ``op(a, b)``, starting from ``identity``."""

    op: str
    kind: str

    def identity(self, element: ir.Type) -> float | int:
        """Return the element that changes nothing."""
        bits = element.width
        return {
            "arith.addf": 0.0,
            "arith.mulf": 1.0,
            "arith.maximumf": -inf,
            "arith.maxnumf": -inf,
            "arith.minimumf": inf,
            "arith.minnumf": inf,
            "arith.addi": 0,
            "arith.muli": 1,
            "arith.maxsi": -(1 << (bits - 1)),
            "arith.minsi": (1 << (bits - 1)) - 1,
            "arith.maxui": 0,
            "arith.minui": -1,
            "arith.andi": -1,
            "arith.ori": 0,
            "arith.xori": 0,
        }[self.op]

    def join(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Emit the combination of two scalars or two vectors."""
        return _of_any_zero(ir.Operation.create(self.op, results=[a.type], operands=[a, b]).result)

    def across(self, value: ir.Value) -> ir.Value:
        """Emit the combination of all lanes of a vector."""
        kind = ir.Attribute.parse(f"#vector.kind<{self.kind}>")
        fast = ir.Attribute.parse("#arith.fastmath<reassoc,nsz>")
        floats = isinstance(value.type.element_type, ir.FloatType)
        # Without reassoc a sum of lanes is a chain of scalar additions.
        return vector.ReductionOp(
            value.type.element_type, kind, value, fastmath=fast if floats else None
        ).result


def _of_any_zero(value: ir.Value) -> ir.Value:
    """Let a largest or smallest value be a zero of either sign.

    Which of several zeros a reduction finds depends on its order anyhow, and telling them apart
    takes as long as all the rest.
    """
    owner = value.owner
    if not isinstance(owner, ir.Block) and owner.operation.name in (
        "arith.maximumf",
        "arith.minimumf",
    ):
        owner.operation.attributes["fastmath"] = ir.Attribute.parse("#arith.fastmath<nsz>")
    return value


_KINDS = {
    "arith.addf": "add", "arith.addi": "add", "arith.mulf": "mul", "arith.muli": "mul",
    "arith.maximumf": "maximumf", "arith.maxnumf": "maxnumf", "arith.minimumf": "minimumf",
    "arith.minnumf": "minnumf", "arith.maxsi": "maxsi", "arith.minsi": "minsi",
    "arith.maxui": "maxui", "arith.minui": "minui", "arith.andi": "and", "arith.ori": "or",
    "arith.xori": "xor",
}  # fmt: skip


def combiners(op: ir.OpView) -> list[Combiner] | None:
    """Return how each result accumulates, or None where that is no known combination."""
    block = op.regions[0].blocks[0]
    arguments = list(block.arguments)[len(list(op.inputs)) :]
    found = []
    for argument, value in zip(arguments, yielded(block), strict=True):
        owner = value.owner
        if isinstance(owner, ir.Block) or owner.operation.name not in _KINDS:
            return None
        operands = list(owner.operands)
        if operands.count(argument) != 1 or len(list(argument.uses)) != 1:
            return None
        found.append(Combiner(owner.operation.name, _KINDS[owner.operation.name]))
    return found


@dataclass(frozen=True)
class Share:
    """The part of a reduction that one of several workers does.

    Attributes:
        first, step: which iterations of a loop are its own.
        join: emits the combination of what the workers have.
        longest: that loop is the longest, not the innermost one.
    """

    first: Scalar
    step: int
    join: Callable[[Combiner, ir.Value], ir.Value]
    longest: bool = False

    def loop(self, op: ir.OpView) -> int:
        """Return which reduction loop of an operation workers share."""
        dims = reduction_dims(op)
        if not self.longest:
            return dims[-1]
        lengths = reduction_lengths(op)
        return max(dims, key=lambda d: (lengths.get(d, 0), d))


def reduction_lengths(op: ir.OpView) -> dict[int, int]:
    """Return the lengths of the reduction loops of a ``linalg.generic`` that are known."""
    dynamic = ir.ShapedType.get_dynamic_size()
    return {
        result.position: tensor.type.shape[position]
        for tensor, map_ in zip(op.inputs, op.indexing_maps, strict=False)
        if isinstance(tensor.type, ir.RankedTensorType)
        for position, result in enumerate(map_.value.results)
        if isinstance(result, ir.AffineDimExpr)
        and result.position in reduction_dims(op)
        and tensor.type.shape[position] != dynamic
    }


def emit_inline(
    evaluator: Evaluator,
    op: ir.OpView,
    number: int,
    position: Sequence[Index],
    lane: Lane | None,
    share: Share | None = None,
) -> list[ir.Value]:
    """Reduce at one position (lanes, if any, run along parallel loops): plain nested loops.

    With ``share`` several workers do a part each and all of them return the result.

    Raises:
        NotScheduled: work is shared but how its parts combine is not known.
    """
    builder = evaluator.builder
    maps = [a.value for a in op.indexing_maps]
    count = len(list(op.inputs))
    loops: list[Index] = [Index(0)] * maps[0].n_dims
    for index, expression in zip(position, maps[count + number].results, strict=True):
        if isinstance(expression, ir.AffineDimExpr):
            loops[expression.position] = index
        elif not isinstance(expression, ir.AffineConstantExpr):
            raise NotScheduled(f"a reduction written through {expression}")
    sizes = evaluator.loop_sizes(op)

    def widened(value: ir.Value) -> ir.Value:
        return value if lane is None else builder.splat(value, lane.width)

    start = [
        widened(evaluator.generic_operand(operand, map_, loops, lane))
        for operand, map_ in zip(op.outputs, maps[count:], strict=True)
    ]

    reduced = reduction_dims(op)
    shared = None if share is None else share.loop(op)

    def nest(dims: Sequence[int], carried: list[ir.Value]) -> list[ir.Value]:
        if not dims:
            with evaluator.scope():
                inputs = input_values(evaluator, op, loops, lane)
                results = evaluator.body(op, loops, [*inputs, *carried], lane)
                return [widened(_of_any_zero(r)) for r in results]
        first, step = (share.first, share.step) if share and dims[0] == shared else (0, 1)

        def body(i: Scalar, inner: list[ir.Value]) -> list[ir.Value]:
            loops[dims[0]] = Index(i)
            with evaluator.scope():
                return nest(dims[1:], inner)

        return builder.loop(first, sizes[dims[0]], step, body, carried)

    if share is None:
        return nest(reduced, start)
    kinds = combiners(op)
    if kinds is None:
        raise NotScheduled("a reduction whose combination is not known")
    neutral = [
        builder.constant(value.type, kind.identity(value.type))
        for kind, value in zip(kinds, start, strict=True)
    ]
    parts = nest(reduced, neutral)
    return [
        kind.join(share.join(kind, part), value)
        for kind, part, value in zip(kinds, parts, start, strict=True)
    ]


def input_values(
    evaluator: Evaluator, op: ir.OpView, loops: Sequence[Index], lane: Lane | None
) -> list[ir.Value]:
    """Return the values of the inputs a reduction's body reads."""
    block = op.regions[0].blocks[0]
    values = []
    maps = [a.value for a in op.indexing_maps]
    for operand, map_, argument in zip(op.inputs, maps, block.arguments, strict=False):
        if len(list(argument.uses)):
            values.append(evaluator.generic_operand(operand, map_, loops, lane))
        else:
            values.append(evaluator.builder.constant(evaluator.builder.i1, 0))  # never read
    return values


def emit_along_lanes(
    evaluator: Evaluator,
    op: ir.OpView,
    loops: list[Index],
    lane_dim: int,
    width: int,
    unroll: int,
) -> list[ir.Value]:
    """Reduce with lanes along the reduced loop ``lane_dim``; returns one scalar per result.

    ``loops`` holds the coordinates of the parallel loops. ``unroll`` independent accumulators
    hide the latency of the combination.
    """
    kinds = combiners(op)
    if kinds is None:
        raise NotScheduled("a reduction whose combination is not known")
    builder = evaluator.builder
    maps = [a.value for a in op.indexing_maps]
    count = len(list(op.inputs))
    sizes = evaluator.loop_sizes(op)
    elements = [o.type.element_type for o in op.outputs]
    start = [
        evaluator.generic_operand(operand, map_, loops, None)
        for operand, map_ in zip(op.outputs, maps[count:], strict=True)
    ]
    neutral = [
        builder.splat(builder.constant(e, k.identity(e)), width)
        for e, k in zip(elements, kinds, strict=True)
    ]

    def step(base: Scalar, carried: list[ir.Value], active: Scalar | None) -> list[ir.Value]:
        mask = None if active is None else builder.tail_mask(width, active)
        lane = Lane(width, mask)
        loops[lane_dim] = Index(base, 1)
        with evaluator.scope():
            inputs = [builder.splat(v, width) for v in input_values(evaluator, op, loops, lane)]
            results = evaluator.body(op, loops, [*inputs, *carried], lane)
            results = [_of_any_zero(r) for r in results]
        if mask is None:
            return results
        return [
            arith.SelectOp(mask, new, old).result for new, old in zip(results, carried, strict=True)
        ]

    def inner(carried: list[ir.Value]) -> list[ir.Value]:
        size = sizes[lane_dim]
        many = width * unroll
        whole = builder.mul(builder.div(size, many), many) if unroll > 1 else 0
        if unroll > 1:
            groups = [carried, *([list(neutral)] * (unroll - 1))]
            flat = [value for group in groups for value in group]

            def unrolled(i: Scalar, values: list[ir.Value]) -> list[ir.Value]:
                out = []
                for k in range(unroll):
                    part = values[k * len(kinds) : (k + 1) * len(kinds)]
                    out += step(builder.add(i, k * width), part, None)
                return out

            flat = builder.loop(0, whole, many, unrolled, flat)
            carried = flat[: len(kinds)]
            for k in range(1, unroll):
                part = flat[k * len(kinds) : (k + 1) * len(kinds)]
                carried = [c.join(a, b) for c, a, b in zip(kinds, carried, part, strict=True)]
        full = builder.mul(builder.div(size, width), width)
        carried = builder.loop(whole, full, width, lambda i, v: step(i, v, None), carried)
        if isinstance(size, int) and size % width == 0:
            return carried
        return builder.loop(
            full, size, width, lambda i, v: step(i, v, builder.sub(size, i)), carried
        )

    def nest(dims: Sequence[int], carried: list[ir.Value]) -> list[ir.Value]:
        if not dims:
            return inner(carried)

        def body(i: Scalar, values: list[ir.Value]) -> list[ir.Value]:
            loops[dims[0]] = Index(i)
            with evaluator.scope():
                return nest(dims[1:], values)

        return builder.loop(0, sizes[dims[0]], 1, body, carried)

    outer = [d for d in reduction_dims(op) if d != lane_dim]
    totals = nest(outer, neutral)
    return [
        kind.join(kind.across(total), first)
        for kind, total, first in zip(kinds, totals, start, strict=True)
    ]
