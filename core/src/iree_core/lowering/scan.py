"""Running reductions along one axis: cumulative sum, product, maximum, minimum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iree_core.ir import ir
from iree_core.lowering import index, scalars
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, atomic, for_loop, load, map_rows, store
from iree_core.lowering.tensors import Tensor

Combine = Callable[[Values, Values], Values]
"""Joins (accumulators, scalars of the next element) into new accumulators."""


def scan(
    operands: Sequence[Tensor],
    axis: int,
    initial: Callable[[], Values],
    combine: Combine,
    *,
    exclusive: bool = False,
    reverse: bool = False,
    accumulators: Sequence[ElementType] | None = None,
) -> list[Tensor]:
    """Return the running ``combine`` of ``operands`` (equal sizes) along ``axis``.

    Args:
        initial: emits the accumulators before the first element.
        combine: see :data:`Combine`.
        exclusive: element i holds the reduction of the elements before it, not including it.
        reverse: run from the end to the start.
        accumulators: types of the accumulators and results; the operands' where None.
    """
    axis %= operands[0].rank
    elements = list(accumulators or [o.element for o in operands])
    length = operands[0].dims[axis]

    def row(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        count = len(into)

        def step(i: ir.Value, state: list[ir.Value]) -> Values:
            running, written = state[:count], state[count:]
            place: Dim = index.sub(index.sub(length, 1), i) if reverse else i
            following = list(combine(running, [load(s, place) for s in inputs]))
            visible = running if exclusive else following
            stored = [store(s, t, place) for s, t in zip(visible, written, strict=True)]
            return [*following, *stored]

        return for_loop(0, length, [*initial(), *into], step)[count:]

    return atomic(
        [(operands[0].dims, e) for e in elements],
        lambda: map_rows(axis, operands, [(length, e) for e in elements], row),
    )


def cumulative(
    operand: Tensor,
    axis: int,
    kind: str,
    *,
    exclusive: bool = False,
    reverse: bool = False,
) -> Tensor:
    """Return the cumulative ``kind`` (add, mul, max, min) of ``operand`` along ``axis``.

    Half-precision sums and products are kept in f32 and rounded once per element. The
    accumulator of an exclusive maximum starts at the type's lowest value, of a minimum at its
    highest.

    Raises:
        KeyError: another ``kind``.
    """
    element = operand.element
    wide = element.accumulator if kind in ("add", "mul") else element
    start: dict[str, complex | float | int] = {"add": 0, "mul": 1}
    if kind in ("max", "min"):
        start = {"max": scalars.lowest(element), "min": scalars.highest(element)}
    join = {
        "add": scalars.add, "mul": scalars.mul, "max": scalars.maximum, "min": scalars.minimum,
    }[kind]  # fmt: skip
    axis %= operand.rank
    length = operand.dims[axis]

    def row(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        def step(i: ir.Value, state: list[ir.Value]) -> Values:
            running, written = state
            place: Dim = index.sub(index.sub(length, 1), i) if reverse else i
            item = scalars.convert(load(inputs[0], place), element, wide)
            following = join(running, item, wide)
            visible = scalars.convert(running if exclusive else following, wide, element)
            return [following, store(visible, written, place)]

        return for_loop(0, length, [scalars.constant(start[kind], wide), into[0]], step)[1:]

    (result,) = atomic(
        [(operand.dims, element)],
        lambda: map_rows(axis, [operand], [(length, element)], row),
    )
    return result
