"""Resize and Upsample: every dimension interpolated on its own, one after the other.

Each resized dimension takes a few weighted neighbours (ONNX specification, Resize); their
positions and weights depend on the output position only and are computed in the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import F32, I64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import for_loop
from iree_core.lowering.structured import computed, elementwise, loop_index
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.elementwise import number
from iree_frontend_onnx.registry import Node, lowering


@dataclass(frozen=True)
class _Axis:
    """One resized dimension: sizes, the scale as an f32 (number or SSA), the region of interest."""

    axis: int
    size: Dim
    out: Dim
    scale: float | ir.Value
    roi: tuple[ir.Value, ir.Value] | None = None


def _constant(value: float | ir.Value) -> ir.Value:
    return value if isinstance(value, ir.Value) else number(value, F32)


def _to_float(place: ir.Value) -> ir.Value:
    return arith.sitofp(F32.type, arith.index_cast(I64.type, place))


@lowering("Resize", since=11)
def resize(node: Node) -> Tensor:
    """Sizes from scales or sizes."""
    x = node.tensor(0)
    axes = [node.normalize_axis(a, x.rank) for a in node.attr("axes", list(range(x.rank)))]
    roi = (
        node.optional(1)
        if node.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
        else None
    )
    has_scales = node.has(2) and not index.same(node.value(2).dims[0], 0)
    plan: list[_Axis] = []
    for place, axis in enumerate(axes):
        if has_scales:
            made = _from_scale(node, x, axis, place, roi, len(axes))
        else:
            made = _from_size(node, x, axes, place, roi)
        plan.append(made)
    return _resized(node, x, plan)


@lowering("Resize", since=10, until=10)
@lowering("Upsample", since=9)
def resize_scales(node: Node) -> Tensor:
    """Scales as the second input; asymmetric coordinates."""
    x = node.tensor(0)
    scales = node.known(1, "the scales").reshape(-1)
    return _by_scales(node, x, [float(s) for s in scales])


@lowering("Upsample", since=7, until=8)
def upsample(node: Node) -> Tensor:
    """Scales as an attribute."""
    return _by_scales(node, node.tensor(0), node.attr("scales"))


def _by_scales(node: Node, x: Tensor, scales: Sequence[float]) -> Tensor:
    plan = [
        _Axis(a, d, _scaled(d, s), s) for a, (d, s) in enumerate(zip(x.dims, scales, strict=True))
    ]
    return _resized(node, x, plan, coordinates="asymmetric", rounding="floor")


def _scaled(size: Dim, scale: float) -> Dim:
    if isinstance(size, int):
        return floor(size * scale)
    if float(scale).is_integer():
        return index.mul(size, int(scale))
    if float(1 / scale).is_integer():
        return index.floordiv(size, int(1 / scale))
    return _runtime_size(size, number(scale, F32))


def _runtime_size(size: Dim, scale: ir.Value) -> ir.Value:
    exact = math.floor(arith.mulf(_to_float(index.value(size)), scale))
    return arith.index_cast(ir.IndexType.get(), arith.fptosi(I64.type, exact))


def _roi(roi: Tensor | None, place: int, count: int) -> tuple[ir.Value, ir.Value] | None:
    if roi is None:
        return None
    pair = [tensors.scalar_at(roi, [p]) for p in (place, place + count)]
    low, high = (scalars.convert(v, roi.element, F32) for v in pair)
    return low, high


def _from_scale(
    node: Node, x: Tensor, axis: int, place: int, roi: Tensor | None, count: int
) -> _Axis:
    known = node.array(2)
    size = x.dims[axis]
    region = _roi(roi, place, count)
    if known is not None and region is None:
        scale = float(known.reshape(-1)[place])
        return _Axis(axis, size, _scaled(size, scale), scale)
    scalar = tensors.scalar_at(node.tensor(2), [place])
    scalar = scalars.convert(scalar, node.tensor(2).element, F32)
    if region is None:
        return _Axis(axis, size, _runtime_size(size, scalar), scalar)
    extent = arith.mulf(_to_float(index.value(size)), arith.subf(region[1], region[0]))
    exact = math.floor(arith.mulf(extent, scalar))
    out = arith.index_cast(ir.IndexType.get(), arith.fptosi(I64.type, exact))
    return _Axis(axis, size, out, scalar, region)


def _from_size(node: Node, x: Tensor, axes: Sequence[int], place: int, roi: Tensor | None) -> _Axis:
    sizes = node.items(3)
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    axis = axes[place]
    size, out = x.dims[axis], sizes[place]
    region = _roi(roi, place, len(axes))
    if policy != "stretch":
        return _keep_ratio(node, x, axes, place, policy == "not_larger")
    if isinstance(size, int) and isinstance(out, int):
        return _Axis(axis, size, out, out / size, region)
    ratio = arith.divf(_to_float(index.value(out)), _to_float(index.value(size)))
    return _Axis(axis, size, out, ratio, region)


def _keep_ratio(node: Node, x: Tensor, axes: Sequence[int], place: int, smallest: bool) -> _Axis:
    sizes = node.items(3)
    ratios = [
        arith.divf(_to_float(index.value(s)), _to_float(index.value(x.dims[a])))
        for s, a in zip(sizes, axes, strict=True)
    ]
    ratio = ratios[0]
    for other in ratios[1:]:
        ratio = (arith.minimumf if smallest else arith.maximumf)(ratio, other)
    size = x.dims[axes[place]]
    # Halves round up here (specification, keep_aspect_ratio_policy).
    exact = arith.mulf(ratio, _to_float(index.value(size)))
    near = math.floor(arith.addf(exact, number(0.5, F32)))
    out = arith.index_cast(ir.IndexType.get(), arith.fptosi(I64.type, near))
    return _Axis(axes[place], size, out, ratio)


def _resized(
    node: Node,
    x: Tensor,
    plan: Sequence[_Axis],
    coordinates: str | None = None,
    rounding: str | None = None,
) -> Tensor:
    mode = node.attr("mode", "nearest")
    coordinates = coordinates or node.attr("coordinate_transformation_mode", "half_pixel")
    rounding = rounding or node.attr("nearest_mode", "round_prefer_floor")
    element = x.element
    active = [p for p in plan if not _unchanged(p, coordinates)]
    if mode != "nearest" and active:
        x = (
            elementwise([x], F32, lambda v: scalars.convert(v, element, F32))
            if element != F32
            else x
        )
    for step in active:
        if mode == "nearest":
            x = _nearest(x, step, coordinates, rounding)
        elif mode in ("linear", "cubic"):
            x = _interpolated(node, x, step, coordinates, mode)
        else:
            node.unsupported(f"mode {mode!r} is unknown")
    if coordinates == "tf_crop_and_resize":
        x = _outside(node, x, active)
    if x.element != element:
        x = elementwise([x], element, lambda v: scalars.convert(v, F32, element))
    return x


def _unchanged(step: _Axis, coordinates: str) -> bool:
    if coordinates == "tf_crop_and_resize":
        return False
    return index.same(step.size, step.out) and step.scale == 1.0


def _coordinate(place: ir.Value, step: _Axis, mode: str) -> ir.Value:
    """Inside a body: where in the input an output position lies, as f32."""
    p, scale = _to_float(place), _constant(step.scale)
    half, one = number(0.5, F32), number(1.0, F32)
    size, out = (_to_float(index.value(d)) for d in (step.size, step.out))
    if mode == "asymmetric":
        return arith.divf(p, scale)
    if mode == "align_corners":
        # The length that the scale gives, before it is rounded to a number of elements.
        last = arith.subf(arith.mulf(scale, size), one)
        ratio = arith.divf(arith.subf(size, one), arith.maximumf(last, one))
        return arith.mulf(p, ratio)
    if mode == "tf_crop_and_resize" and step.roi is not None:
        low, high = step.roi
        last = arith.subf(size, one)
        span = arith.mulf(arith.subf(high, low), last)
        gaps = arith.subf(out, one)
        many = scalars.compare("gt", out, one, F32)
        inner = arith.addf(
            arith.mulf(low, last), arith.mulf(p, arith.divf(span, arith.maximumf(gaps, one)))
        )
        middle = arith.mulf(arith.mulf(half, arith.addf(low, high)), last)
        return arith.select(many, inner, middle)
    centred = arith.subf(arith.divf(arith.addf(p, half), scale), half)
    if mode == "pytorch_half_pixel":
        return arith.select(scalars.compare("gt", out, one, F32), centred, number(0.0, F32))
    if mode == "half_pixel_symmetric":
        exact = arith.mulf(scale, size)
        adjust = arith.divf(out, exact)
        centre = arith.mulf(size, half)
        offset = arith.mulf(centre, arith.subf(one, adjust))
        return arith.addf(offset, centred)
    return centred


def _clamped(position: ir.Value, size: Dim) -> ir.Value:
    last = arith.subi(index.value(size), arith.constant(ir.IndexType.get(), 1))
    return arith.maxsi(arith.minsi(position, last), arith.constant(ir.IndexType.get(), 0))


def _to_index(v: ir.Value) -> ir.Value:
    return arith.index_cast(ir.IndexType.get(), arith.fptosi(I64.type, v))


def _nearest(x: Tensor, step: _Axis, coordinates: str, rounding: str) -> Tensor:
    dims = list(x.dims)
    dims[step.axis] = step.out
    index.value(step.size), index.value(step.out)

    def body(*places: ir.Value) -> ir.Value:
        where = _coordinate(places[step.axis], step, coordinates)
        half = number(0.5, F32)
        if rounding == "floor":
            near = math.floor(where)
        elif rounding == "ceil":
            near = math.ceil(where)
        elif rounding == "round_prefer_ceil":
            near = math.floor(arith.addf(where, half))
        else:
            near = math.ceil(arith.subf(where, half))
        at = list(places)
        at[step.axis] = _clamped(_to_index(near), step.size)
        return tensor.extract(x.value, at)

    return computed(dims, [x.element], body)[0]


def _cubic(t: ir.Value, a: float) -> ir.Value:
    """Keys' kernel (1981) at distance ``t``."""
    one, two, zero = (number(n, F32) for n in (1.0, 2.0, 0.0))
    t = math.absf(t)

    def horner(*coefficients: float) -> ir.Value:
        result = number(coefficients[0], F32)
        for c in coefficients[1:]:
            result = arith.addf(arith.mulf(result, t), number(c, F32))
        return result

    inner = horner(a + 2, -(a + 3), 0, 1)
    outer = horner(a, -5 * a, 8 * a, -4 * a)
    beyond = arith.select(scalars.compare("lt", t, two, F32), outer, zero)
    return arith.select(scalars.compare("le", t, one, F32), inner, beyond)


def _linear(t: ir.Value) -> ir.Value:
    return arith.maximumf(arith.subf(number(1.0, F32), math.absf(t)), number(0.0, F32))


def _interpolated(node: Node, x: Tensor, step: _Axis, coordinates: str, mode: str) -> Tensor:
    """Weighted neighbours; with ``antialias`` the kernel is stretched when shrinking."""
    dims = list(x.dims)
    dims[step.axis] = step.out
    a = node.attr("cubic_coeff_a", -0.75)
    outside = bool(node.attr("exclude_outside", 0))
    shrink, first, taps = _taps(step, bool(node.attr("antialias", 0)), 1 if mode == "linear" else 2)
    index.value(step.size), index.value(step.out)

    def body(*places: ir.Value) -> ir.Value:
        where = _coordinate(places[step.axis], step, coordinates)
        base = math.floor(where)
        size = _to_float(index.value(step.size))

        def add(spot: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
            distance = arith.mulf(arith.subf(where, spot), _constant(shrink))
            weight = _linear(distance) if mode == "linear" else _cubic(distance, a)
            if outside:
                inside = arith.andi(
                    scalars.compare("ge", spot, number(0.0, F32), F32),
                    scalars.compare("lt", spot, size, F32),
                )
                weight = arith.select(inside, weight, number(0.0, F32))
            at = list(places)
            at[step.axis] = _clamped(_to_index(spot), step.size)
            value = arith.mulf(weight, tensor.extract(x.value, at))
            return [arith.addf(sums[0], value), arith.addf(sums[1], weight)]

        sums = [number(0.0, F32), number(0.0, F32)]
        if isinstance(taps, int):
            assert isinstance(first, int)
            for tap in range(first, first + taps):
                sums = add(arith.addf(base, number(float(tap), F32)), sums)
        else:

            def visit(tap: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
                place = arith.addi(tap, index.value(first))
                return add(arith.addf(base, _to_float(place)), sums)

            sums = for_loop(0, taps, sums, visit)
        # Otherwise the weights add up to 1.
        return arith.divf(*sums) if outside or shrink != 1.0 else sums[0]

    return computed(dims, [F32], body)[0]


def _taps(step: _Axis, antialias: bool, reach: int) -> tuple[float | ir.Value, Dim, Dim]:
    """Return how the kernel of width 2 ``reach`` is stretched (a factor for distances), and the
    first of its neighbours, counted from the one below the position, and their number."""
    if not antialias or (isinstance(step.scale, float) and step.scale >= 1.0):
        return 1.0, 1 - reach, 2 * reach
    if isinstance(step.scale, float):
        first = floor(-reach / step.scale) + 1
        return step.scale, first, 2 - 2 * first
    shrink = arith.minimumf(step.scale, number(1.0, F32))
    start = _to_index(math.floor(arith.divf(number(-float(reach), F32), shrink)))
    begin = index.add(start, 1)
    return shrink, begin, index.sub(2, index.mul(begin, 2))


def _outside(node: Node, x: Tensor, plan: Sequence[_Axis]) -> Tensor:
    """Put the extrapolation value where coordinates lie outside the input."""
    e: ElementType = x.element
    for step in plan:
        index.value(step.size), index.value(step.out)

    def body(v: ir.Value) -> ir.Value:
        for step in plan:
            where = _coordinate(loop_index(step.axis), step, "tf_crop_and_resize")
            last = arith.subf(_to_float(index.value(step.size)), number(1.0, F32))
            out = arith.ori(
                scalars.compare("lt", where, number(0.0, F32), F32),
                scalars.compare("gt", where, last, F32),
            )
            v = arith.select(out, number(node.attr("extrapolation_value", 0.0), e), v)
        return v

    return elementwise([x], e, body)
