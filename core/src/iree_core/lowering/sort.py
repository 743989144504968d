"""Stable sorting, and the first k elements of an order, along one axis.

The sort is a bottom-up merge sort (Knuth, The Art of Computer Programming, vol. 3, 5.2.4): it
needs n log n comparisons in every case, works for any comparator, and its inner loop has no
branch but the loop itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from iree_core.ir import arith, ir, linalg
from iree_core.lowering import index, scalars
from iree_core.lowering.element import I64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import (
    Values,
    atomic,
    branch,
    for_loop,
    load,
    map_rows,
    store,
    while_loop,
)
from iree_core.lowering.tensors import Tensor, empty, extract_slice

Before = Callable[[Values, Values], ir.Value]
"""Tells (i1) whether the first tuple of scalars comes strictly before the second."""

NanOrder = Literal["first", "last"]

# Above this many, the first k elements are taken from the sorted row.
_MAX_INSERTION_K = 128
# Elements that are compared with the last of the first k at a time.
_BLOCK = 64


def ordering(element: ElementType, *, descending: bool = False, nan: NanOrder = "last") -> Before:
    """Return the usual order of one key; NaNs are equal to each other and placed as asked.

    The comparator looks at the first scalar of each tuple only, so further operands follow it.
    """

    def before(left: Values, right: Values) -> ir.Value:
        a, b = left[0], right[0]
        result = scalars.compare("gt" if descending else "lt", a, b, element)
        if not element.is_float:
            return result
        early, late = (a, b) if nan == "first" else (b, a)
        only = arith.andi(scalars.is_nan(early), arith.cmpf(arith.CmpFPredicate.ORD, late, late))
        return arith.ori(result, only)

    return before


def sort(operands: Sequence[Tensor], axis: int, before: Before) -> list[Tensor]:
    """Return ``operands`` (equal sizes) sorted together along ``axis``; equal elements keep
    their order."""
    axis %= operands[0].rank
    length = operands[0].dims[axis]
    outputs = [(length, o.element) for o in operands]

    def row(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        start = [_copy(i, o) for i, o in zip(inputs, into, strict=True)]
        return _merge_sort(start, length, [o.element for o in operands], before)

    return atomic(
        [(o.dims, o.element) for o in operands], lambda: map_rows(axis, operands, outputs, row)
    )


def argsort(
    operand: Tensor, axis: int, before: Before, position: ElementType = I64
) -> tuple[Tensor, Tensor]:
    """Return ``operand`` stably sorted along ``axis``, and where each element was.

    ``before`` sees tuples of one value and one position.
    """
    axis %= operand.rank
    length = operand.dims[axis]

    def row(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        start = [_copy(inputs[0], into[0]), _count(into[1], length, position)]
        return _merge_sort(start, length, [operand.element, position], before)

    outputs = [(length, operand.element), (length, position)]
    values, positions = atomic(
        [(operand.dims, operand.element), (operand.dims, position)],
        lambda: map_rows(axis, [operand], outputs, row),
    )
    return values, positions


def top_k(
    operand: Tensor, k: Dim, axis: int, before: Before, position: ElementType = I64
) -> tuple[Tensor, Tensor]:
    """Return the first ``k`` elements of ``operand`` along ``axis`` in the order ``before``, and
    where they were; of equal elements the earlier comes first.

    ``k`` must not exceed the size of ``axis``. A small constant k costs one comparison per
    element plus n log n in expectation for a random order; other k sort the whole row.
    """
    axis %= operand.rank
    dims = [k if d == axis else n for d, n in enumerate(operand.dims)]
    if not isinstance(k, int) or k > _MAX_INSERTION_K:
        pair = argsort(operand, axis, before, position)
        values, positions = (
            extract_slice(part, [0] * part.rank, dims, [1] * part.rank) for part in pair
        )
        return values, positions

    def row(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        return _select(inputs[0], into, operand.dims[axis], k, before, position)

    values, positions = atomic(
        [(dims, operand.element), (dims, position)],
        lambda: map_rows(axis, [operand], [(k, operand.element), (k, position)], row),
    )
    return values, positions


def _copy(source: ir.Value, into: ir.Value) -> ir.Value:
    return linalg.copy(source, outs=[into])


def _count(into: ir.Value, length: Dim, position: ElementType) -> ir.Value:
    (result,) = for_loop(
        0, length, [into], lambda i, t: [store(_to_position(i, position), t[0], i)]
    )
    return result


def _to_position(i: ir.Value, position: ElementType) -> ir.Value:
    return arith.index_cast(position.type, i)


def _merge_sort(
    rows: Values, length: Dim, elements: Sequence[ElementType], before: Before
) -> list[ir.Value]:
    """Sort ``rows``: each round merges runs into a second set of rows and back."""
    count = len(rows)
    spare = [empty([length], element) for element in elements]

    def again(state: list[ir.Value]) -> ir.Value:
        return index.compare(arith.CmpIPredicate.slt, state[0], length)

    def rounds(state: list[ir.Value]) -> Values:
        width, first, second = state[0], state[1 : 1 + count], state[1 + count :]
        double = index.value(index.mul(width, 2))
        second = _merge_runs(first, second, length, width, before)
        first = _merge_runs(second, first, length, double, before)
        return [index.value(index.mul(double, 2)), *first, *second]

    done = while_loop([index.value(1), *rows, *spare], again, rounds)
    return done[1 : 1 + count]


def _merge_runs(
    source: Values, target: Values, length: Dim, width: ir.Value, before: Before
) -> list[ir.Value]:
    """Write neighbouring sorted runs of ``width`` elements as one run each."""

    def pair(low: ir.Value, target: list[ir.Value]) -> Values:
        middle = index.minimum(index.add(low, width), length)
        high = index.minimum(index.add(middle, width), length)

        def step(position: ir.Value, state: list[ir.Value]) -> Values:
            left, right, *target = state
            take, scalar = _take(source, length, left, right, middle, high, before)
            written = [store(s, t, position) for s, t in zip(scalar, target, strict=True)]
            left_next = arith.select(take, left, index.value(index.add(left, 1)))
            right_next = arith.select(take, index.value(index.add(right, 1)), right)
            return [left_next, right_next, *written]

        start = [low, index.value(middle), *target]
        return for_loop(low, high, start, step)[2:]

    return for_loop(0, length, target, pair, step=index.mul(width, 2))


def _take(
    source: Values,
    length: Dim,
    left: ir.Value,
    right: ir.Value,
    middle: Dim,
    high: Dim,
    before: Before,
) -> tuple[ir.Value, list[ir.Value]]:
    """Return whether the next element comes from the right run, and its scalars."""
    last = index.sub(length, 1)
    a = [load(s, index.minimum(left, last)) for s in source]
    b = [load(s, index.minimum(right, last)) for s in source]
    left_empty = index.compare(arith.CmpIPredicate.sge, left, middle)
    right_full = index.compare(arith.CmpIPredicate.slt, right, high)
    take = arith.andi(right_full, arith.ori(left_empty, before(b, a)))
    return take, [arith.select(take, y, x) for x, y in zip(a, b, strict=True)]


def _select(
    source: ir.Value,
    into: Values,
    length: Dim,
    k: int,
    before: Before,
    position: ElementType,
) -> list[ir.Value]:
    """Keep the first k elements met so far in order, inserting each that belongs there.

    Few do once k are kept, so blocks are first looked through for any, which takes no branches
    and is done in vectors.
    """

    def visit(i: ir.Value, kept: list[ir.Value]) -> Values:
        new = [load(source, i), _to_position(i, position)]
        size = index.minimum(i, k)
        # While fewer than k are kept, the new one goes to the end and always belongs.
        last = index.maximum(index.sub(size, 1), 0)
        room = index.compare(arith.CmpIPredicate.slt, i, k)
        better = before(new, [load(t, last) for t in kept])
        return branch(arith.ori(room, better), lambda: _insert(new, kept, size, k, before), kept)

    def block(low: ir.Value, kept: list[ir.Value]) -> Values:
        high = index.minimum(index.add(low, _BLOCK), length)
        last = [load(t, k - 1) for t in kept]

        def look(i: ir.Value, found: list[ir.Value]) -> Values:
            return [arith.ori(found[0], before([load(source, i), _to_position(i, position)], last))]

        start = index.compare(arith.CmpIPredicate.slt, low, k)
        (found,) = for_loop(low, high, [start], look)
        return branch(found, lambda: for_loop(low, high, kept, visit), kept)

    return for_loop(0, length, into, block, step=_BLOCK)


def _insert(new: Values, kept: list[ir.Value], size: Dim, k: int, before: Before) -> list[ir.Value]:
    """Move the kept elements that come after ``new`` one place on and put it before them."""
    start = index.minimum(size, k - 1)

    def goes_on(state: list[ir.Value]) -> ir.Value:
        place, *rows = state
        previous = index.maximum(index.sub(place, 1), 0)
        positive = index.compare(arith.CmpIPredicate.sgt, place, 0)
        return arith.andi(positive, before(new, [load(t, previous) for t in rows]))

    def move(state: list[ir.Value]) -> Values:
        place, *rows = state
        previous = index.value(index.sub(place, 1))
        return [previous, *(store(load(t, previous), t, place) for t in rows)]

    place, *rows = while_loop([index.value(start), *kept], goes_on, move)
    return [store(s, t, place) for s, t in zip(new, rows, strict=True)]
