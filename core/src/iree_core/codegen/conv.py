"""What windows add to a contraction: padding, and which rows a window position reaches.

Zero padding before a sum of products (or the identity of the reduction before pooling) has no
effect, so it is neither stored nor computed: outer window loops run only where the window lies
inside the image, and along the row dimension, whose window loop is unrolled, the tiles at the
left and right border leave out the rows that would read padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iree_core.codegen.builder import Index, Lane, Scalar
from iree_core.codegen.evaluate import Evaluator
from iree_core.codegen.microkernel import Axis, Linear
from iree_core.codegen.padding import MOST_UNROLLED, Slide, find_slides, pad_value
from iree_core.codegen.prefetch import is_streamed, request_next_panel
from iree_core.ir import arith, ir, vector
from iree_core.layout import layout_of

if TYPE_CHECKING:
    from iree_core.codegen.contraction_analysis import Contraction


@dataclass(frozen=True)
class Run:
    """Rows ``start..stop`` of an image in tiles of ``rows`` that all meet the border alike."""

    start: int
    stop: int
    rows: int


def window_registers(contraction: Contraction) -> int:
    """Return how many vectors of weights the unrolled window keeps in registers."""
    c = contraction
    last = c.reductions[-1]
    slides = any(
        form.factor(last) and c.row is not None and form.factor(c.row)
        for maps in c.inputs
        for form in maps
    )
    weights = any(
        any(f.factor(c.lane) for f in maps) and not any(f.factor(c.row) for f in maps)
        for maps, argument in zip(c.inputs, c.body.inputs, strict=True)
        if c.row is not None and len(list(argument.uses))
    )
    size = c.static(last)
    return size if slides and weights and size is not None and size <= MOST_UNROLLED else 1


def needs_whole_row(contraction: Contraction) -> bool:
    """Whether a work item must cover the row dimension: its border tiles differ."""
    return any(s.unrolled for s in find_slides(contraction))


class Window:
    """How the reduction loops of one kernel meet padding.

    Args:
        contraction: the dispatch.
        evaluator: reads tensors inside the kernel.
        sizes: the trip count of every loop inside the kernel.
        cached: bytes that stay in a core's cache; larger packed operands are prefetched.
        group: how many iterations of the innermost reduction loop are done at a time.
    """

    def __init__(
        self,
        contraction: Contraction,
        evaluator: Evaluator,
        sizes: Sequence[Scalar],
        cached: int,
        group: int = 1,
    ) -> None:
        self.c, self.evaluator, self.sizes = contraction, evaluator, sizes
        self.streamed = [t for t in contraction.generic.inputs if is_streamed(t, cached)]
        self.slides = find_slides(contraction)
        self.start = 0
        self.guarded = False
        self.group = group
        self._outer_sizes = {(s.operand, s.position): self._source_size(s) for s in self.slides}

    def _source_size(self, slide: Slide) -> Scalar:
        pad = self.c.generic.inputs[slide.operand].owner
        return self.evaluator.shape(pad.operands[0])[slide.position]

    def reader(self, number: int) -> Callable[[Sequence[Index], Lane | None], ir.Value]:
        """Return what reads an input of the reduction at its coordinates."""
        operand = self.c.generic.inputs[number]
        if not isinstance(operand.type, ir.RankedTensorType):
            return lambda *_: self.evaluator.scalar(operand)
        if any(s.operand == number for s in self.slides):
            return lambda position, lane: self._read_padded(number, position, lane)
        if layout_of(operand.type) is not None and operand in self.evaluator.buffers:
            # The last tile is padded: what lies past the end may be read.
            return lambda position, lane: self._read_packed(operand, position, lane)
        return lambda position, lane: self.evaluator.value(operand, position, lane)

    def _read_padded(self, number: int, position: Sequence[Index], lane: Lane | None) -> ir.Value:
        """Read the source of a padded input; what is left out by the loops is never asked for."""
        b = self.evaluator.builder
        pad = self.c.generic.inputs[number].owner
        moved = [
            Index(b.sub(i.base, low), i.step)
            for i, low in zip(position, pad.static_low, strict=True)
        ]
        if not self.guarded:
            return self.evaluator.value(pad.operands[0], moved, lane)
        inside: ir.Value | None = None
        for slide in self._open_slides():
            if slide.operand == number:
                at = b.value(moved[slide.position].base)
                size = b.value(self._outer_sizes[(number, slide.position)])
                inside = arith.CmpIOp(arith.CmpIPredicate.ult, at, size).result
                at = arith.SelectOp(inside, at, b.value(0)).result
                moved[slide.position] = Index(at)
        value = self.evaluator.value(pad.operands[0], moved, lane)
        filler: ir.Value = self.evaluator.scalar(pad_value(pad))
        if isinstance(value.type, ir.VectorType):
            filler = b.splat(filler, value.type.shape[0])
        return value if inside is None else arith.SelectOp(inside, value, filler).result

    def _open_slides(self) -> list[Slide]:
        """Return the slides along the row dimension whose border is known at run time only."""
        return [s for s in self.slides if s.parallel == self.c.row and not s.unrolled]

    def interior(self, base: Mapping[int, Scalar], rows: int) -> ir.Value | None:
        """Return whether a tile meets no padding, where only the running kernel knows."""
        b, condition = self.evaluator.builder, None
        for slide in self._open_slides():
            first = b.sub(b.mul(base[slide.parallel], slide.stride), slide.low)
            reach = b.mul(b.sub(self.sizes[slide.window], 1), slide.dilation)
            last = b.add(b.add(first, (rows - 1) * slide.stride), reach)
            size = self._outer_sizes[(slide.operand, slide.position)]
            for here in (b.compare("sge", first, 0), b.compare("slt", last, size)):
                condition = here if condition is None else arith.AndIOp(condition, here).result
        return condition

    def _read_packed(
        self, operand: ir.Value, position: Sequence[Index], lane: Lane | None
    ) -> ir.Value:
        b = self.evaluator.builder
        if lane is not None and operand in self.streamed:
            request_next_panel(b, self.evaluator.buffers[operand], position, lane)
        return self.evaluator.value(operand, position, Lane(lane.width) if lane else None)

    def load_groups(self, operand: ir.Value, position: Sequence[Index], lane: Lane) -> ir.Value:
        """Read the groups of all lanes, side by side, of an operand that is packed in groups."""
        b, buffer = self.evaluator.builder, self.evaluator.buffers[operand]
        assert buffer.layout is not None and buffer.layout.group is not None
        if operand in self.streamed:
            request_next_panel(b, buffer, position, lane)
        kind = ir.VectorType.get([lane.width * buffer.layout.group[1]], buffer.element)
        # The lanes start on a multiple of their number, inside one tile.
        at = b.address(buffer, [Index(i.base) for i in position], 1).base
        return vector.LoadOp(kind, buffer.memory, [b.value(at)]).result

    def axes(self, rows: int) -> list[Axis]:
        """Return the reduction loops of the tile that was entered, outermost first."""
        joined = self._joinable() if self._all_active(rows) else None
        if joined is None:
            return [self.axis(d) for d in self.c.reductions]
        outer, inner = joined
        # Neighbouring pixels and their channels are one contiguous run, for input and weights:
        # walking the inner loop past its end walks the outer one.
        length = self.evaluator.builder.mul(self.sizes[outer], self.sizes[inner])
        rest = [self.axis(d) for d in self.c.reductions[:-2]]
        return [*rest, Axis(outer, 1, True), Axis(inner, length)]

    def _all_active(self, rows: int) -> bool:
        slides = [s for s in self.slides if s.unrolled]
        if self.guarded:
            return False
        return all(
            len(active) == rows for s in slides for active in self._signature(s, self.start, rows)
        )

    def _joinable(self) -> tuple[int, int] | None:
        """Return the two innermost reduction loops if memory holds them as one."""
        c = self.c
        if len(c.reductions) < 2:
            return None
        outer, inner = c.reductions[-2:]
        if any(s.window == outer and s.parallel != c.row for s in self.slides):
            return None
        for number, maps in enumerate(c.inputs):
            read = len(list(c.body.inputs[number].uses)) > 0
            if read and not self._contiguous(number, maps, outer, inner):
                return None
        return outer, inner

    def _contiguous(self, number: int, maps: tuple[Linear, ...], outer: int, inner: int) -> bool:
        tensor = self.c.generic.inputs[number]
        if any(s.operand == number for s in self.slides):
            tensor = tensor.owner.operands[0]
        if tensor not in self.evaluator.buffers:
            return False
        layout = layout_of(tensor.type)
        order = range(len(maps)) if layout is None else layout.order
        uses = [p for p in order if maps[p].factor(outer) or maps[p].factor(inner)]
        if len(uses) != 2 or uses[1] != order[-1] or uses[0] != order[-2]:
            return False
        first, second = maps[uses[0]], maps[uses[1]]
        size = self.c.extents[inner]
        return (
            first.factor(outer) == 1
            and first.factor(inner) == 0
            and second.is_dim(inner)
            and isinstance(size, int)
            and size == tensor.type.shape[uses[1]]
            and size % self.group == 0
        )

    def axis(self, dim: int) -> Axis:
        """Return the reduction loop over ``dim``."""
        c = self.c
        size = c.static(dim)
        slide = next((s for s in self.slides if s.window == dim), None)
        if slide is not None and slide.unrolled:
            assert size is not None
            sweep = (slide.stride, slide.dilation)
            return Axis(dim, size, True, None, lambda k: self._active(slide, k), sweep)
        if slide is not None and slide.parallel != c.row:
            return Axis(dim, self.sizes[dim], False, lambda base: self._bounds(slide, base))
        shared = self._shared_by_rows(dim)
        if shared is not None and size is not None and size <= MOST_UNROLLED:
            return Axis(dim, size, True, sweep=shared)
        return Axis(dim, self.sizes[dim])

    def _shared_by_rows(self, dim: int) -> tuple[int, int] | None:
        """Return how neighbouring rows share elements at different window positions."""
        c = self.c
        if c.reductions[-1] != dim or c.row is None:
            return None
        for maps in c.inputs:
            for form in maps:
                if form.factor(dim) and form.factor(c.row):
                    return form.factor(c.row), form.factor(dim)
        return None

    def enter(self, base: Mapping[int, Scalar], rows: int) -> None:
        """Note the tile that is emitted next."""
        self.rows = rows
        self.start = self._representative(base)

    def _representative(self, base: Mapping[int, Scalar]) -> int:
        row = self.c.row
        if row is None or not needs_whole_row(self.c):
            return 0
        number = base[row]
        return number if isinstance(number, int) else self.run_start

    def _active(self, slide: Slide, k: int) -> list[int]:
        return _rows_inside(slide, self.start, self.rows, k)

    def _bounds(self, slide: Slide, base: Mapping[int, Scalar]) -> tuple[Scalar, Scalar]:
        """Return the window positions that lie inside the image."""
        b = self.evaluator.builder
        at = b.mul(base[slide.parallel], slide.stride)
        before = b.max(b.sub(slide.low, at), 0)
        first = b.ceildiv(before, slide.dilation)
        size = self._outer_sizes[(slide.operand, slide.position)]
        room = b.max(b.sub(b.add(size, slide.low), at), 0)
        last = b.min(b.ceildiv(room, slide.dilation), self.sizes[slide.window])
        return first, b.max(first, last)

    def runs(self, rows: int) -> list[Run] | None:
        """Return the tiles of a row of the image, grouped, or None where all are alike."""
        slides = [s for s in self.slides if s.unrolled]
        if not slides or self.c.row is None:
            return None
        extent = self.c.static(self.c.row)
        assert extent is not None
        found: list[Run] = []
        previous: object = None
        for start in range(0, extent, rows):
            height = min(rows, extent - start)
            signature = (height, [self._signature(s, start, height) for s in slides])
            if signature == previous:
                found[-1] = Run(found[-1].start, start + height, height)
            else:
                found.append(Run(start, start + height, height))
            previous = signature
        return found

    def _signature(self, slide: Slide, start: int, rows: int) -> list[list[int]]:
        count = self.c.extent(slide.window)
        return [_rows_inside(slide, start, rows, k) for k in range(count)]

    run_start: int = 0


def _rows_inside(slide: Slide, start: int, rows: int, k: int) -> list[int]:
    assert slide.size is not None
    at = [(start + r) * slide.stride + k * slide.dilation - slide.low for r in range(rows)]
    return [r for r, a in enumerate(at) if 0 <= a < slide.size]


def convert_float(value: ir.Value, element: ir.Type) -> ir.Value:
    """Return a float scalar or vector as another float type; anything else as it is."""
    kind = value.type.element_type if isinstance(value.type, ir.VectorType) else value.type
    if kind == element or not isinstance(element, ir.FloatType):
        return value
    target: ir.Type = element
    if isinstance(value.type, ir.VectorType):
        target = ir.VectorType.get(value.type.shape, element)
    if element.width > kind.width:
        return arith.ExtFOp(target, value).result
    return arith.TruncFOp(target, value).result


__all__ = ["Run", "Window", "convert_float", "needs_whole_row", "window_registers"]
