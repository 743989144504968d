"""Packing of operands in groups, as dot-product instructions take them, while a kernel runs.

The panel is ``[reduction loops][columns][group]``, where the innermost reduction loop counts
groups of neighbours; the last group is padded with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iree_core.codegen.builder import Index, Lane, Scalar, element_bits
from iree_core.codegen.panel import PanelPacker, coordinates, transpose
from iree_core.ir import arith, ir, vector


class GroupPacker(PanelPacker):
    """Emits the packing of one panel in groups, and its reads.

    Args:
        arguments: those of :class:`PanelPacker`.
        group: elements of a group.
    """

    def __init__(self, *arguments: Any, group: int) -> None:
        self.group = group
        super().__init__(*arguments)

    def _length(self) -> Scalar:
        return self.builder.mul(self.builder.product(self._shape()), self.columns * self.group)

    def _shape(self) -> list[Scalar]:
        """Return the sizes of the reduction loops, the innermost in groups."""
        *outer, last = (self.sizes[d] for d in self.panel.reductions)
        return [*outer, self.builder.ceildiv(last, self.group)]

    def load_groups(self, base: Mapping[int, Index], lane: Lane) -> ir.Value:
        """Return the groups of all lanes where the loops are at ``base``."""
        loops = {d: index.base for d, index in base.items()}
        at = self._place(loops, base[self.panel.lane].base)
        kind = ir.VectorType.get([lane.width * self.group], self.element)
        return vector.LoadOp(kind, self.memory, [self.builder.value(at)]).result

    def _place(self, base: Mapping[int, Scalar], column: Scalar) -> Scalar:
        """Return where the group that holds the position of the reduction loops starts."""
        b = self.builder
        at: Scalar = 0
        *outer, last = self.panel.reductions
        for dim, size in zip(outer, self._shape(), strict=False):
            at = b.add(b.mul(at, size), base[dim])
        at = b.add(b.mul(at, self._shape()[-1]), b.div(base[last], self.group))
        return b.mul(b.add(b.mul(at, self.columns), column), self.group)

    def _nest(self, dims: list[int], base: dict[int, Scalar], lanes: Sequence[Lane]) -> None:
        if len(dims) > 1:
            super()._nest(dims, base, lanes)
        elif self.panel.transposes:
            self._transpose(dims[0], base, lanes)
        else:
            self._interleave(dims[0], base, lanes)

    def _interleave(self, dim: int, base: dict[int, Scalar], lanes: Sequence[Lane]) -> None:
        """Read vectors along the lanes, store them element by element in turn."""
        b, size = self.builder, self.sizes[dim]
        whole = b.mul(b.div(size, self.group), self.group)

        def body(k: Scalar, full: bool) -> list[ir.Value]:
            with self.evaluator.scope():
                start = 0
                for lane in lanes:
                    parts = [
                        self._part(base, dim, b.add(k, i), start, lane, full)
                        for i in range(self.group)
                    ]
                    self._put({**base, dim: k}, start, _interleaved(parts))
                    start += lane.width
            return []

        b.loop(0, whole, self.group, lambda k, _: body(k, True))
        b.loop(whole, size, self.group, lambda k, _: body(k, False))

    def _part(
        self,
        base: Mapping[int, Scalar],
        dim: int,
        k: Scalar,
        start: int,
        lane: Lane,
        full: bool,
    ) -> ir.Value:
        b, size = self.builder, self.sizes[dim]
        inside = None
        if not full:
            inside = b.compare("slt", k, size)
            k = b.min(k, b.sub(size, 1))
        indices = {d: Index(i) for d, i in base.items()} | {dim: Index(k)}
        indices[self.panel.lane] = Index(b.add(base[self.panel.lane], start), 1)
        value = self.read(coordinates(b, self.panel.maps, indices, lane.width), lane)
        value = b.splat(value, lane.width)
        return value if inside is None else self._zero_unless(inside, value)

    def _zero_unless(self, condition: ir.Value, value: ir.Value) -> ir.Value:
        zero = self.builder.splat(self.builder.constant(self.element, 0), value.type.shape[0])
        return arith.SelectOp(condition, value, zero).result

    def _put(self, base: Mapping[int, Scalar], column: int, groups: ir.Value) -> None:
        at = self.builder.value(self._place(base, column))
        vector.StoreOp(groups, self.memory, [at])

    def _transpose(self, dim: int, base: dict[int, Scalar], lanes: Sequence[Lane]) -> None:
        """Read vectors along the reduction loop ``dim``, store groups along the lanes."""
        b, width = self.builder, lanes[0].width
        size, length = self.sizes[dim], lanes[0].width * self.group
        whole = b.mul(b.div(size, length), length)

        def block(k: Scalar, mask: ir.Value | None) -> list[ir.Value]:
            with self.evaluator.scope():
                for number in range(len(lanes)):
                    self._turn(dim, base, k, number * width, Lane(length, mask))
            return []

        b.loop(0, whole, length, lambda k, _: block(k, None))
        rest = b.sub(size, whole)
        if isinstance(rest, int) and rest == 0:
            return
        mask = b.tail_mask(length, rest)
        b.loop(whole, size, length, lambda k, _: block(k, mask))

    def _turn(
        self, dim: int, base: Mapping[int, Scalar], start: Scalar, column: int, lane: Lane
    ) -> None:
        """Turn a square of groups, each of which is moved as one word."""
        b, width = self.builder, lane.width // self.group
        word = ir.IntegerType.get_signless(self.group * element_bits(self.element))
        words = ir.VectorType.get([width], word)
        last = b.sub(self.sizes[self.panel.lane], 1)
        rows = []
        for j in range(width):
            # Columns past the end repeat the last one; nothing stored depends on them.
            n = b.min(b.add(base[self.panel.lane], column + j), last)
            indices = {d: Index(i) for d, i in base.items()}
            indices |= {dim: Index(start, 1), self.panel.lane: Index(n)}
            value = self.read(coordinates(b, self.panel.maps, indices, lane.width), lane)
            value = b.splat(value, lane.width)
            if lane.mask is not None:
                value = self._zero_unless(lane.mask, value)
            rows.append(vector.BitCastOp(words, value).result)
        kind = ir.VectorType.get([lane.width], self.element)
        for i, turned in enumerate(transpose(rows)):
            at = b.add(start, i * self.group)

            def store(at: Scalar = at, turned: ir.Value = turned) -> list[ir.Value]:
                groups = vector.BitCastOp(kind, turned).result
                self._put({**base, dim: at}, column, groups)
                return []

            if lane.mask is None:
                store()
            else:
                b.select_branch(b.compare("slt", at, self.sizes[dim]), [], store, list)


def _interleaved(parts: Sequence[ir.Value]) -> ir.Value:
    """Return the first elements of all vectors, their second elements, and so on."""
    if len(parts) == 1:
        return parts[0]
    even, odd = _interleaved(parts[::2]), _interleaved(parts[1::2])
    return vector.InterleaveOp(even, odd).result
