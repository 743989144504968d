"""Recognition of contractions and windows: which loops are lanes, rows and reductions.

:func:`match_contraction` looks for a dispatch around one reducing ``linalg.generic`` whose loops
include a lane dimension. It decides everything that does not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.codegen.builder import NotScheduled
from iree_core.codegen.dispatch import Dispatch, Size
from iree_core.codegen.microkernel import Body, Linear, linear, read_body
from iree_core.codegen.placement import Placement, placements
from iree_core.codegen.reduction import is_reduction
from iree_core.ir import ir
from iree_core.layout import layout_of

ASSUMED = 128
"""What an unknown dimension is taken for where only speed depends on it."""


@dataclass(frozen=True)
class Contraction:
    """A dispatch that this schedule fits.

    Attributes:
        dispatch: the whole program.
        generic: its only reduction.
        body: what the reduction computes.
        inputs: maps of the inputs.
        output: which loop each coordinate of the result is.
        extents: trip count of every loop.
        lane: the loop that is the vector dimension.
        row: the loop that is the row dimension of the register tile, if any.
        outer: the other parallel loops.
        reductions: the reduction loops, outermost first.
        placements: where each result of the dispatch lies relative to the reduction's.
    """

    dispatch: Dispatch
    generic: ir.OpView
    body: Body
    inputs: tuple[tuple[Linear, ...], ...]
    output: tuple[int, ...]
    extents: tuple[Size, ...]
    lane: int
    row: int | None
    outer: tuple[int, ...]
    reductions: tuple[int, ...]
    placements: tuple[Placement, ...]

    def extent(self, dim: int) -> int:
        """Return a trip count, or a guess where it is not known."""
        size = self.extents[dim]
        return size if isinstance(size, int) else ASSUMED

    def static(self, dim: int) -> int | None:
        """Return a trip count where it is known."""
        size = self.extents[dim]
        return size if isinstance(size, int) else None


def match_contraction(dispatch: Dispatch) -> Contraction | None:
    """Return how this schedule fits ``dispatch``, or None where it does not."""
    generics = [op for op in dispatch.operations if op.operation.name == "linalg.generic"]
    reducing = [op for op in generics if is_reduction(op)]
    if len(reducing) != 1:
        return None
    generic = reducing[0]
    body = read_body(generic)
    if body is None or not isinstance(generic.results[0].type, ir.RankedTensorType):
        return None
    try:
        return _analyse(dispatch, generic, body)
    except NotScheduled:
        return None


def _analyse(dispatch: Dispatch, generic: ir.OpView, body: Body) -> Contraction | None:
    maps = [tuple(linear(e) for e in a.value.results) for a in generic.indexing_maps]
    *inputs, result = maps
    if any(len(form.factors) > 1 or form.constant for form in result):
        return None
    output = tuple(form.dims[0] for form in result if form.dims)
    if len(output) != len(result) or not output:
        return None
    reductions = tuple(
        d for d, kind in enumerate(generic.iterator_types) if "reduction" in str(kind)
    )
    if not _is_contraction_like(inputs, body, reductions):
        return None
    where = placements(dispatch, generic.results[0])
    if where is None:
        return None
    operands = list(generic.inputs)
    extents = loop_extents(dispatch, generic)
    lane = _choose_lane(output, inputs, operands, where, extents)
    if lane is None or extents[lane] == 1:
        return None
    row = _choose_row(lane, output, _used(inputs, body), extents)
    if row is None and not any(
        _contiguity(m, o, lane) > 0 for m, o in zip(inputs, operands, strict=True)
    ):
        return None  # lanes along the reduction, as the schedule for rows has them, are faster
    outer = tuple(d for d in output if d not in (lane, row))
    order = _reduction_order(reductions, inputs, operands, lane)
    order = _window_along_rows_last(order, inputs, lane, row)
    return Contraction(
        dispatch, generic, body, tuple(inputs), output, extents, lane, row, outer, order, where
    )


def _is_contraction_like(
    inputs: Sequence[tuple[Linear, ...]], body: Body, reductions: Sequence[int]
) -> bool:
    window = any(len(form.factors) > 1 for maps in inputs for form in maps)
    owner = body.term.owner
    product = not isinstance(owner, ir.Block) and owner.operation.name in (
        "arith.mulf",
        "arith.muli",
    )
    return window or (product and len(_used(inputs, body)) >= 2)


def _used(inputs: Sequence[tuple[Linear, ...]], body: Body) -> list[tuple[Linear, ...]]:
    """Return the maps of the inputs that are read; some only give a window its size."""
    return [m for m, a in zip(inputs, body.inputs, strict=True) if len(list(a.uses))]


def _choose_lane(
    output: tuple[int, ...],
    inputs: Sequence[tuple[Linear, ...]],
    operands: Sequence[ir.Value],
    where: Sequence[Placement],
    extents: Sequence[Size],
) -> int | None:
    """Return the loop along which results and operands are read and written in vectors."""
    candidates = [d for d in reversed(output) if extents[d] != 1][:1]
    for placement in where:
        last = placement.innermost()
        if last is not None and extents[output[last]] != 1:
            candidates.append(output[last])
    scores = {}
    for dim in candidates:
        if any(form.factor(dim) for maps in inputs for form in maps):
            scores[dim] = sum(_contiguity(m, o, dim) for m, o in zip(inputs, operands, strict=True))
    return max(scores, key=lambda d: scores[d]) if scores else None


def _contiguity(maps: tuple[Linear, ...], operand: ir.Value, dim: int) -> int:
    layout = layout_of(operand.type)
    for position, form in enumerate(maps):
        if form.factor(dim):
            if layout is not None:
                return 4 if layout.tile_dim == position else -4
            return 2 if position == len(maps) - 1 and form.factor(dim) == 1 else 0
    return 0


def _choose_row(
    lane: int,
    output: tuple[int, ...],
    inputs: Sequence[tuple[Linear, ...]],
    extents: Sequence[Size],
) -> int | None:
    """Return the loop whose iterations share most of the operands that vary along the lanes.

    They share an operand that does not depend on the loop, and in part one over which a window
    slides along it.
    """
    vectors = [maps for maps in inputs if any(form.factor(lane) for form in maps)]
    best: tuple[int, int, int] | None = None
    for position, dim in enumerate(output):
        if dim == lane:
            continue
        shares = sum(not any(form.factor(dim) for form in maps) for maps in vectors)
        slides = any(form.factor(dim) and len(form.factors) > 1 for m in vectors for form in m)
        size = extents[dim]
        number = size if isinstance(size, int) else ASSUMED
        if number == 1 or not (shares or slides):
            continue
        score = (shares, min(number, 4), position)
        if best is None or score > best:
            best = score
    return None if best is None else output[best[2]]


def _reduction_order(
    reductions: Sequence[int],
    inputs: Sequence[tuple[Linear, ...]],
    operands: Sequence[ir.Value],
    lane: int,
) -> tuple[int, ...]:
    """Return the reduction loops in the storage order of the operand along the lanes."""
    for maps, operand in zip(inputs, operands, strict=True):
        if not any(form.factor(lane) for form in maps):
            continue
        layout = layout_of(operand.type)
        dims = layout.order if layout is not None else range(len(maps))
        order = [
            d for position in dims for d in maps[position].dims if d in reductions and d != lane
        ]
        if sorted(order) == sorted(reductions) and all(len(form.factors) <= 1 for form in maps):
            return tuple(order)
    return tuple(reductions)


def _window_along_rows_last(
    order: tuple[int, ...], inputs: Sequence[tuple[Linear, ...]], lane: int, row: int | None
) -> tuple[int, ...]:
    """Return the loops with a window along contiguous rows (an NCHW image) as the innermost."""
    for maps in inputs:
        last = maps[-1] if maps else Linear(())
        if row is None or not last.factor(row) or any(form.factor(lane) for form in maps):
            continue
        windows = [d for d in last.dims if d in order]
        if windows:
            return (*(d for d in order if d != windows[0]), windows[0])
    return order


def loop_extents(dispatch: Dispatch, generic: ir.OpView) -> tuple[Size, ...]:
    """Return the trip count of every loop of a ``linalg.generic``.

    Raises:
        NotScheduled: one is not the size of a dimension that can be computed beforehand.
    """
    maps = [a.value for a in generic.indexing_maps]
    found: list[Size | None] = [None] * maps[0].n_dims
    for operand, map_ in zip([*generic.inputs, *generic.outputs], maps, strict=True):
        for position, result in enumerate(map_.results):
            if not isinstance(result, ir.AffineDimExpr):
                continue
            if found[result.position] is None or not isinstance(found[result.position], int):
                size = _size(dispatch, operand, position)
                found[result.position] = size if size is not None else found[result.position]
    if any(size is None for size in found):
        raise NotScheduled("a loop whose size is not that of a dimension")
    return tuple(size for size in found if size is not None)


def _size(dispatch: Dispatch, tensor: ir.Value, position: int) -> Size | None:
    if not tensor.type.is_dynamic_dim(position):
        return int(tensor.type.shape[position])
    if tensor in dispatch.tensors:
        return dispatch.argument_sizes[dispatch.tensors.index(tensor)][position]
    owner = tensor.owner
    name = owner.operation.name
    if name == "tensor.empty":
        dynamic = [d for d in range(tensor.type.rank) if tensor.type.is_dynamic_dim(d)]
        return dispatch.expression(owner.operands[dynamic.index(position)])
    if name in ("linalg.fill", "linalg.generic"):
        outputs = list(owner.outputs)
        return _size(dispatch, outputs[list(owner.results).index(tensor)], position)
    return None


def accumulator_type(contraction: Contraction) -> ir.Type:
    """Return the element type of accumulators: that of the result, but at least float32."""
    kind = contraction.generic.results[0].type.element_type
    if isinstance(kind, ir.FloatType) and kind.width < 32:
        return ir.F32Type.get()
    return kind
