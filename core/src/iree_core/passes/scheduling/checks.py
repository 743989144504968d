"""Run-time checks of sizes: what types and dispatches promise, and symbols do not prove.

A tensor's type, a reshape and the operands of one dispatch state that sizes are equal. Where a
model is wrong about that, for the inputs of one call, a kernel would read or write outside of
its buffers; the call fails instead. Nothing is emitted where both sizes are the same polynomial
of the function's dimensions (:mod:`sizes`), as is the case nearly everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

from iree_core.dialects import flow, hal
from iree_core.ir import arith, func, ir, linalg
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.scheduling.shapes import NamedDim, Shapes
from iree_core.passes.scheduling.sizes import Size, fixed

# A size inside a dispatch: a number, or the position of the argument that holds it.
_Inner = int | tuple[str, int]


class Checks:
    """Emits the checks of one function, each once, at the insertion point."""

    def __init__(self, shapes: Shapes, build: Callable[[Size], ir.Value]) -> None:
        self._shapes, self._build = shapes, build
        self._done: set[tuple[arith.CmpIPredicate, Size, Size]] = set()
        self._equalities: dict[str, list[tuple[_Inner, _Inner]]] = {}

    def cast(self, op: ir.OpView) -> None:
        """Check that a ``tensor.cast`` to a static size finds that size."""
        kind = op.results[0].type
        for d, size in enumerate(self._shapes.dims(op.operands[0])):
            if not kind.is_dynamic_dim(d):
                self._require(size, fixed(kind.get_dim_size(d)), op)

    def expansion(self, op: ir.OpView) -> None:
        """Check that ``tensor.expand_shape`` does not change the number of elements."""
        source, result = self._shapes.dims(op.operands[0]), self._shapes.dims(op.results[0])
        for size, group in zip(source, op.attributes["reassociation"], strict=True):
            sizes = [result[ir.IntegerAttr(d).value] for d in group]
            self._require(size, prod(sizes, start=fixed(1)), op)
            for one in sizes if len(sizes) > 1 else ():
                self._require_natural(one, op)

    def call(self, op: func.CallOp, callee: func.FuncOp) -> None:
        """Check the operands of a dispatch against the sizes it is told, and each other."""
        symbols = self._shapes.symbols
        scalars = {n: symbols.value(v) for n, v in enumerate(op.operands) if _is_size(v)}
        for operand, positions in zip(op.operands, _dims_of_arguments(callee), strict=True):
            sizes = iter(positions)
            for d, size in enumerate(self._shapes.dims(operand) if positions else ()):
                if operand.type.is_dynamic_dim(d):
                    self._require(size, scalars[next(sizes)], op)
        name = op.callee.value
        if name not in self._equalities:
            self._equalities[name] = list(dict.fromkeys(_equalities(callee)))
        for pair in self._equalities[name]:
            one, other = (fixed(s) if isinstance(s, int) else scalars.get(s[1]) for s in pair)
            if one is not None and other is not None:
                self._require(one, other, op)

    def _require(self, one: Size, other: Size, op: ir.OpView) -> None:
        if one == other:
            return
        number = other.number if other.number is not None else one.number
        message = (
            "Two sizes differ that the model takes for equal"
            if number is None
            else f"A size is not {number}, as the model says"
        )
        self._emit(arith.CmpIPredicate.eq, one, other, message, op)

    def _require_natural(self, size: Size, op: ir.OpView) -> None:
        """Check that a size is not negative, unless it is made of dimensions alone."""
        keys = self._shapes.symbols.keys(size)
        if any(not isinstance(key, NamedDim) for key in keys):
            self._emit(arith.CmpIPredicate.sge, size, fixed(0), "A size is negative", op)

    def _emit(
        self, predicate: arith.CmpIPredicate, one: Size, other: Size, message: str, op: ir.OpView
    ) -> None:
        if (predicate, one, other) in self._done:
            return
        if isinstance(op.operation.parent.opview, func.FuncOp):
            self._done.add((predicate, one, other))  # every later operation is behind it
        where = describe_location(op.location)
        text = f"{message}, at {where}." if where else f"{message}."
        holds = arith.CmpIOp(predicate, self._build(one), self._build(other))
        hal.CheckOp(ir.StringAttr.get(text), holds.result)


def _is_size(value: ir.Value) -> bool:
    return isinstance(value.type, ir.IndexType)


def _dims_of_arguments(callee: func.FuncOp) -> Iterator[Sequence[int]]:
    """Yield, for each argument, the positions of the arguments that hold its dynamic sizes."""
    attributes = callee.attributes.get("arg_attrs", None)
    for number in range(len(callee.type.inputs)):
        found = ir.DictAttr(attributes[number]) if attributes is not None else {}
        yield [int(p) for p in found[flow.DIMS]] if flow.DIMS in found else []


def _equalities(callee: func.FuncOp) -> Iterator[tuple[_Inner, _Inner]]:
    """Yield pairs of sizes that the operations of a dispatch walk together."""
    block = callee.regions[0].blocks[0]
    known: dict[ir.Value, list[_Inner | None]] = {}
    for argument, positions in zip(block.arguments, _dims_of_arguments(callee), strict=True):
        if isinstance(argument.type, ir.RankedTensorType):
            known[argument] = _merge(argument.type, [("argument", p) for p in positions])
    for op in block.operations:
        name = op.operation.name
        if name == "tensor.empty":
            known[op.result] = _merge(op.result.type, [_argument(o, block) for o in op.operands])
        elif name.startswith("linalg.") and len(op.operands):
            yield from _of_structured(op, known)
        elif name == "tensor.concat":
            yield from _of_concat(op, known)


def _merge(kind: ir.Type, dynamic: Sequence[_Inner | None]) -> list[_Inner | None]:
    sizes = iter(dynamic)
    return [
        next(sizes) if kind.is_dynamic_dim(d) else kind.get_dim_size(d) for d in range(kind.rank)
    ]


def _argument(value: ir.Value, block: ir.Block) -> _Inner | None:
    arguments = list(block.arguments)
    return ("argument", arguments.index(value)) if value in arguments else None


def _of_structured(
    op: ir.OpView, known: dict[ir.Value, list[_Inner | None]]
) -> Iterator[tuple[_Inner, _Inner]]:
    loops: dict[int, _Inner] = {}
    operands = list(op.operands)
    for value, indexing in zip(operands, linalg.get_indexing_maps(op) or (), strict=False):
        for size, loop in zip(known.get(value, ()), _results(indexing), strict=False):
            if size is not None and isinstance(loop, ir.AffineDimExpr):
                position = ir.AffineDimExpr(loop).position
                first = loops.setdefault(position, size)
                if first != size:
                    yield first, size
    results = list(op.results)
    for result, init in zip(results, operands[len(operands) - len(results) :], strict=True):
        if init in known:
            known[result] = known[init]


def _results(indexing: ir.Attribute) -> Sequence[ir.AffineExpr]:
    found = indexing.value if isinstance(indexing, ir.AffineMapAttr) else indexing
    return list(found.results)


def _of_concat(
    op: ir.OpView, known: dict[ir.Value, list[_Inner | None]]
) -> Iterator[tuple[_Inner, _Inner]]:
    axis = ir.IntegerAttr(op.attributes["dim"]).value
    first, *others = (known.get(operand) for operand in op.operands)
    for other in others:
        for d, (one, two) in enumerate(zip(first or (), other or (), strict=False)):
            if d != axis and one is not None and two is not None and one != two:
                yield one, two
