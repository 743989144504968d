"""Discrete Fourier transforms.

A static length n = m * 2^s is done as m-point transforms by definition followed by s radix-2
steps (Cooley and Tukey 1965, decimation in time): n (m + s) operations. A length known only at
run time is done by definition. Values are carried as a real and an imaginary part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Literal

from iree_core.ir import arith, complex, ir, math
from iree_core.lowering import index, scalars
from iree_core.lowering.element import (
    COMPLEX64,
    COMPLEX128,
    F32,
    F64,
    I64,
    ElementType,
)
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, atomic, for_loop, load, map_rows, store
from iree_core.lowering.structured import computed, elementwise
from iree_core.lowering.tensors import Tensor, extract_slice, fill

Mode = Literal["FFT", "IFFT", "RFFT", "IRFFT"]


@dataclass(frozen=True)
class Parts:
    """A complex tensor as two real ones of equal sizes; ``im`` is None where it is zero."""

    re: Tensor
    im: Tensor | None


def split(operand: Tensor) -> Parts:
    """Return the parts of a complex tensor, or a real one as it is."""
    if operand.element.kind != "complex":
        return Parts(operand, None)
    half = F32 if operand.element == COMPLEX64 else F64
    return Parts(elementwise([operand], half, complex.re), elementwise([operand], half, complex.im))


def join(parts: Parts) -> Tensor:
    """Return both parts as one complex tensor."""
    element = COMPLEX64 if parts.re.element == F32 else COMPLEX128
    if parts.im is None:
        zero = scalars.constant(0.0, parts.re.element)
        return elementwise([parts.re], element, lambda re: complex.create_(element.type, re, zero))
    return elementwise(
        [parts.re, parts.im], element, lambda re, im: complex.create_(element.type, re, im)
    )


def dft(operand: Parts, axis: int, *, inverse: bool = False) -> Parts:
    """Return the transform along ``axis``, scaled by 1/n if ``inverse``; parts are f32 or f64."""
    element = operand.re.element
    axis %= operand.re.rank
    length = operand.re.dims[axis]
    inputs = [operand.re] if operand.im is None else [operand.re, operand.im]

    def build() -> Values:
        table = _twiddles(length, element, inverse)

        def row(rows: list[ir.Value], into: list[ir.Value]) -> Values:
            return _transform_row(rows, into, length, element, table, inverse)

        return map_rows(axis, inputs, [(length, element)] * 2, row)

    re, im = atomic([(operand.re.dims, element)] * 2, build)
    return Parts(re, im)


def fft(operand: Tensor, lengths: Sequence[int], mode: Mode) -> Tensor:
    """Return the transform over the last ``len(lengths)`` axes (StableHLO specification, fft).

    Real input for RFFT, real output for IRFFT, complex otherwise.
    """
    rank = operand.rank
    axes = list(range(rank - len(lengths), rank))
    parts = split(operand)
    if mode == "RFFT":
        parts = _take_first(dft(parts, axes[-1]), axes[-1], lengths[-1] // 2 + 1)
        rest = axes[:-1]
    elif mode == "IRFFT":
        for axis in axes[:-1]:
            parts = dft(parts, axis, inverse=True)
        if lengths[-1] == 0:
            return fill((*operand.dims[:-1], 0), parts.re.element, 0.0)
        full = mirror(parts, axes[-1], lengths[-1])
        return dft(full, axes[-1], inverse=True).re
    else:
        rest = axes
    for axis in reversed(rest):
        parts = dft(parts, axis, inverse=mode == "IFFT")
    return join(parts)


def _take_first(parts: Parts, axis: int, count: Dim) -> Parts:
    def take(part: Tensor) -> Tensor:
        sizes = [count if d == axis else n for d, n in enumerate(part.dims)]
        return extract_slice(part, [0] * part.rank, sizes, [1] * part.rank)

    return Parts(take(parts.re), take(parts.im) if parts.im else None)


def mirror(parts: Parts, axis: int, length: Dim) -> Parts:
    """Return the ``length`` frequencies of a real signal from its first length // 2 + 1."""
    element = parts.re.element
    dims = [length if d == axis else n for d, n in enumerate(parts.re.dims)]

    def body(*at: ir.Value) -> list[ir.Value]:
        known = parts.re.dims[axis]
        upper = index.compare(arith.CmpIPredicate.sge, at[axis], known)
        source = [*at[:axis], index.select(upper, index.sub(length, at[axis]), at[axis])]
        place = [*source, *at[axis + 1 :]]
        re = load(parts.re.value, *place)
        if parts.im is None:
            return [re, scalars.constant(0.0, element)]
        im = load(parts.im.value, *place)
        return [re, arith.select(upper, arith.negf(im), im)]

    re, im = computed(dims, [element, element], body)
    return Parts(re, im)


def _twiddles(length: Dim, element: ElementType, inverse: bool) -> list[Tensor]:
    """Return cos and sin of 2 pi k / n for k = 0 .. n-1, computed in f64."""
    sign = 1.0 if inverse else -1.0

    def body(k: ir.Value) -> list[ir.Value]:
        numerator = arith.sitofp(F64.type, arith.index_cast(I64.type, k))
        size = arith.sitofp(F64.type, arith.index_cast(I64.type, index.value(length)))
        step = arith.divf(scalars.constant(2.0 * pi, F64), size)
        angle = arith.mulf(numerator, step)
        sine = arith.mulf(scalars.constant(sign, F64), math.sin(angle))
        return [scalars.convert(v, F64, element) for v in (math.cos(angle), sine)]

    return computed([length], [element, element], body)


def _transform_row(
    rows: Values,
    into: Values,
    length: Dim,
    element: ElementType,
    table: list[Tensor],
    inverse: bool,
) -> list[ir.Value]:
    steps = 0
    if isinstance(length, int) and length:
        steps = (length & -length).bit_length() - 1
    groups = 1 << steps
    size = index.floordiv(length, groups) if groups > 1 else length
    result = _by_definition(rows, into, length, size, groups, element, table)
    for step in range(steps):
        result = _butterflies(result, length, index.mul(size, 1 << step), element, table)
    if not inverse:
        return result
    count = arith.index_cast(I64.type, index.value(length))
    return _scaled(result, length, arith.sitofp(element.type, count))


def _scaled(rows: Values, length: Dim, divisor: ir.Value) -> list[ir.Value]:
    def step(i: ir.Value, state: list[ir.Value]) -> Values:
        return [store(arith.divf(load(row, i), divisor), row, i) for row in state]

    return for_loop(0, length, rows, step)


def _by_definition(
    rows: Values,
    into: Values,
    length: Dim,
    size: Dim,
    groups: int,
    element: ElementType,
    table: list[Tensor],
) -> list[ir.Value]:
    """Transform ``groups`` interleaved parts of ``size`` elements into consecutive blocks.

    Block b holds the part that starts at b with its bits reversed, as radix-2 steps want it.
    """

    def one(position: ir.Value, state: list[ir.Value]) -> Values:
        block, k = index.floordiv(position, size), index.remainder(position, size)
        first = _reverse_bits(block, groups)

        def add(j: ir.Value, sums: list[ir.Value]) -> Values:
            source = index.add(first, index.mul(j, groups))
            turn = index.mul(index.remainder(index.mul(j, k), size), groups)
            item = [load(row, source) for row in rows]
            return _add_product(sums, item, _turn(table, turn))

        zero = scalars.constant(0.0, element)
        sums = for_loop(0, size, [zero, zero], add)
        return [store(s, t, position) for s, t in zip(sums, state, strict=True)]

    return for_loop(0, length, into, one)


def _reverse_bits(block: Dim, groups: int) -> Dim:
    result: Dim = 0
    weight = groups // 2
    while weight:
        bit = index.remainder(block, 2)
        result = index.add(result, index.mul(bit, weight))
        block = index.floordiv(block, 2)
        weight //= 2
    return result


def _turn(table: list[Tensor], position: Dim) -> list[ir.Value]:
    return [load(part.value, position) for part in table]


def _add_product(sums: Values, item: Values, turn: Values) -> list[ir.Value]:
    """Return ``sums + item * turn`` for complex numbers; ``item`` may be real."""
    re = arith.addf(sums[0], arith.mulf(item[0], turn[0]))
    im = arith.addf(sums[1], arith.mulf(item[0], turn[1]))
    if len(item) == 1:
        return [re, im]
    re = arith.subf(re, arith.mulf(item[1], turn[1]))
    return [re, arith.addf(im, arith.mulf(item[1], turn[0]))]


def _butterflies(
    rows: Values, length: Dim, half: Dim, element: ElementType, table: list[Tensor]
) -> list[ir.Value]:
    """Join neighbouring blocks of ``half`` elements into blocks of twice the size, in place."""
    stride = index.floordiv(length, index.mul(half, 2))

    def block(low: ir.Value, state: list[ir.Value]) -> Values:
        def butterfly(k: ir.Value, state: list[ir.Value]) -> Values:
            top = index.add(low, k)
            bottom = index.add(top, half)
            even = [load(row, top) for row in state]
            odd = [load(row, bottom) for row in state]
            zero = scalars.constant(0.0, element)
            turned = _add_product([zero, zero], odd, _turn(table, index.mul(k, stride)))
            written = []
            for row, a, b in zip(state, even, turned, strict=True):
                row = store(arith.addf(a, b), row, top)
                written.append(store(arith.subf(a, b), row, bottom))
            return written

        return for_loop(0, half, state, butterfly)

    return for_loop(0, length, rows, block, step=index.mul(half, 2))
