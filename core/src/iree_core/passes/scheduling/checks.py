"""Run-time checks of sizes: what types and dispatches promise, and symbols do not prove.

A tensor's type, a reshape and the operands of one dispatch state that sizes are equal, a slice
that it is inside of its tensor. Where a model is wrong about that, for the inputs of one call,
memory outside would be read or written; the call fails instead. Nothing is emitted where both
sizes are the same polynomial of the function's dimensions (:mod:`sizes`), or where the range of
a slice is known (:mod:`ranges`), as is the case nearly everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from iree_core.dialects import hal
from iree_core.ir import arith, func, ir
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.scheduling.inner_sizes import Facts, Inner, dims_of_arguments, facts_of
from iree_core.passes.scheduling.ranges import Ranges
from iree_core.passes.scheduling.shapes import NamedDim, Shapes
from iree_core.passes.scheduling.sizes import Size, fixed


class Checks:
    """Emits the checks of one function, each once, at the insertion point."""

    def __init__(self, shapes: Shapes, build: Callable[[Size], ir.Value]) -> None:
        self._shapes, self._build = shapes, build
        self._ranges = Ranges(shapes.symbols)
        self._done: set[tuple[arith.CmpIPredicate, Size, Size]] = set()
        self._facts: dict[str, Facts] = {}

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

    def slice(
        self, op: ir.OpView, offsets: Sequence[Size], sizes: Sequence[Size], dims: Sequence[Size]
    ) -> None:
        """Check that a slice with strides of 1 is inside of a tensor of shape ``dims``."""
        for offset, size, dim in zip(offsets, sizes, dims, strict=True):
            for natural, message in (
                (offset, "A slice starts before its tensor"),
                (size, "A slice has a negative size"),
                (dim - offset - size, "A slice reaches past the end of its tensor"),
            ):
                if not self._ranges.is_natural(natural):
                    self._emit(arith.CmpIPredicate.sge, natural, fixed(0), message, op)

    def call(self, op: func.CallOp, callee: func.FuncOp) -> None:
        """Check the operands of a dispatch against the sizes it is told, and each other."""
        symbols = self._shapes.symbols
        scalars = {n: symbols.value(v) for n, v in enumerate(op.operands) if _is_size(v)}
        for operand, positions in zip(op.operands, dims_of_arguments(callee), strict=True):
            sizes = iter(positions)
            for d, size in enumerate(self._shapes.dims(operand) if positions else ()):
                if operand.type.is_dynamic_dim(d):
                    self._require(size, scalars[next(sizes)], op)
        name = op.callee.value
        if name not in self._facts:
            self._facts[name] = facts_of(callee)
        for pair in self._facts[name].equalities:
            one, other = (_outer(inner, scalars) for inner in pair)
            if one is not None and other is not None:
                self._require(one, other, op)
        for taken in self._facts[name].slices:
            offset, length, dim = (_outer(inner, scalars) for inner in taken)
            if offset is not None and length is not None and dim is not None:
                self.slice(op, [offset], [length], [dim])

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


def _outer(inner: Inner, scalars: Mapping[int, Size]) -> Size | None:
    """Return what a size inside a dispatch is for its caller."""
    return fixed(inner) if isinstance(inner, int) else scalars.get(inner[1])


def _is_size(value: ir.Value) -> bool:
    return isinstance(value.type, ir.IndexType)
