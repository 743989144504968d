"""Choosing among overlapping boxes."""

from __future__ import annotations

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import F32, I32
from iree_core.lowering.imperative import Number, Routine, below, both
from iree_core.lowering.loops import atomic, load
from iree_core.lowering.scalars import constant
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.registry import Node, lowering


@lowering("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def non_max_suppression(node: Node) -> list[Tensor]:
    """Boxes kept by score; one that overlaps a kept one too much is left out.

    With a sixth input, sigma, overlapping boxes lose score instead (Bodla et al., Soft-NMS,
    2017). Of equal scores the first is taken first.
    """
    boxes, scores = node.tensor(0), node.tensor(1)
    if boxes.element != F32:
        node.unsupported("boxes of scaled integers are not supported")
    limit = node.items(2)[0]
    overlap, threshold = (_scalar(node, i) for i in (3, 4))
    sigma = _scalar(node, 5) if node.has(5) else None

    def build() -> list[ir.Value]:
        chosen, kept, count = _select(boxes, scores, limit, overlap, threshold, sigma)
        return [chosen, kept, tensors.from_elements([count], I32, ()).value]

    chosen, kept, count = atomic([([limit], I32), ([limit], F32), ([], I32)], build)
    return [chosen, count] if node.op.endswith("V4") else [chosen, kept, count]


def _scalar(node: Node, position: int) -> Number:
    flat = tensors.reshape(node.tensor(position), ())
    return Number(tensors.scalar_at(flat, []), F32)


def _equal(a: Number, b: Number | int) -> ir.Value:
    other = b.value if isinstance(b, Number) else constant(b, a.element)
    return scalars.compare("eq", a.value, other, a.element)


def _select(
    boxes: Tensor,
    scores: Tensor,
    limit: index.Dim,
    overlap: Number,
    threshold: Number,
    sigma: Number | None,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return positions and scores of the boxes kept, filled up with zeros, and their number."""
    routine, count = Routine(), scores.dims[0]
    chosen = routine.array(tensors.fill([limit], I32, 0).value, I32)
    kept = routine.array(tensors.fill([limit], F32, 0).value, F32)
    score = routine.array(tensors.fill([count], F32, 0).value, F32)
    # How many of the boxes kept were compared with a candidate already; -1: no candidate.
    compared = routine.array(tensors.fill([count], I32, -1).value, I32)
    waiting, taken = routine.position(0), routine.position(0)
    with routine.loop(0, count) as i:
        own = Number(load(scores.value, i), F32)
        score[i] = own
        with routine.when(own > threshold):
            compared[i] = Number(constant(0, I32), I32)
            waiting.set(index.add(waiting.get(), 1))
    wanted = index.minimum(waiting.get(), limit)
    with routine.repeat(lambda: both(below(taken.get(), wanted), below(0, waiting.get()))):
        best = routine.position(0)
        top = routine.variable(float("-inf"), F32)
        with routine.loop(0, count) as i:
            candidate = compared[i] >= 0
            with routine.when(both(candidate, score[i] > top.get())):
                best.set(i)
                top.set(score[i])
        original = top.get()
        out = routine.variable(0, I32)
        stop = routine.variable(0, I32)
        other = routine.position(taken.get())
        first = arith.index_cast(ir.IndexType.get(), compared[best.get()].value)
        with routine.repeat(lambda: both(_equal(stop.get(), 0), below(first, other.get()))):
            other.set(index.sub(other.get(), 1))
            place = arith.index_cast(ir.IndexType.get(), chosen[other.get()].value)
            ratio = _intersection_over_union(boxes, best.get(), place)
            hit = ratio >= overlap
            with routine.when(hit):
                out.set(1)
                stop.set(1)
            with routine.when(_equal(out.get(), 0)):
                if sigma is not None:
                    top.set(top.get() * _decay(ratio, sigma))
                with routine.when(top.get() <= threshold):
                    stop.set(1)
        seen = taken.get()
        compared[best.get()] = Number(constant(-1, I32), I32)
        waiting.set(index.sub(waiting.get(), 1))
        with routine.when(_equal(out.get(), 0)):
            with routine.when(_equal(top.get(), original)):
                chosen[taken.get()] = Number(arith.index_cast(I32.type, best.get()), I32)
                kept[taken.get()] = top.get()
                taken.set(index.add(taken.get(), 1))
            with routine.when(top.get() > threshold):
                score[best.get()] = top.get()
                compared[best.get()] = Number(arith.index_cast(I32.type, seen), I32)
                waiting.set(index.add(waiting.get(), 1))
    return chosen.value, kept.value, arith.index_cast(I32.type, taken.get())


def _decay(ratio: Number, sigma: Number) -> Number:
    scale = Number(constant(-0.5, F32), F32) / sigma
    factor = math.exp((scale * ratio * ratio).value)
    return Number(arith.select(sigma > 0, factor, constant(1.0, F32)), F32)


def _intersection_over_union(boxes: Tensor, a: index.Dim, b: index.Dim) -> Number:
    """Return the ratio for two boxes given by two opposite corners each; 0 for empty ones."""
    spans = []
    for box in (a, b):
        y1, x1, y2, x2 = (load(boxes.value, box, corner) for corner in range(4))
        spans.append(
            [(arith.minimumf(p, q), arith.maximumf(p, q)) for p, q in ((y1, y2), (x1, x2))]
        )

    def area(sides: list[tuple[ir.Value, ir.Value]]) -> ir.Value:
        (y_low, y_high), (x_low, x_high) = sides
        return arith.mulf(arith.subf(y_high, y_low), arith.subf(x_high, x_low))

    zero = constant(0.0, F32)
    common = [
        arith.maximumf(
            arith.subf(arith.minimumf(p[1], q[1]), arith.maximumf(p[0], q[0])), zero
        )
        for p, q in zip(*spans, strict=True)
    ]  # fmt: skip
    shared = arith.mulf(*common)
    areas = [area(s) for s in spans]
    empty = arith.ori(*(scalars.compare("le", size, zero, F32) for size in areas))
    joined = arith.subf(arith.addf(*areas), shared)
    # A quotient of two nothings is not needed where a box is empty.
    safe = arith.select(empty, constant(1.0, F32), joined)
    return Number(arith.select(empty, zero, arith.divf(shared, safe)), F32)
