"""Sampling of images: GridSample, AffineGrid, RoiAlign, DeformConv, Col2Im."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import I64, ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import for_loop
from iree_core.lowering.structured import computed, contract
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.conv import add_bias
from iree_frontend_onnx.ops.elementwise import number
from iree_frontend_onnx.registry import Node, lowering


def _at(i: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), i)


def _float(place: ir.Value, e: ElementType) -> ir.Value:
    return arith.sitofp(e.type, arith.index_cast(I64.type, place))


def _position(v: ir.Value) -> ir.Value:
    return arith.index_cast(ir.IndexType.get(), arith.fptosi(I64.type, v))


def _inside(place: ir.Value, size: Dim) -> tuple[ir.Value, ir.Value]:
    """Return whether ``place`` lies in the dimension, and it clamped into it."""
    zero, extent = _at(0), index.value(size)
    ok = arith.andi(
        arith.cmpi(arith.CmpIPredicate.sge, place, zero),
        arith.cmpi(arith.CmpIPredicate.slt, place, extent),
    )
    last = arith.subi(extent, _at(1))
    return ok, arith.maxsi(arith.minsi(place, last), zero)


def _reflected(place: ir.Value, size: Dim, aligned: bool) -> ir.Value:
    extent = index.value(size)
    if aligned:
        last = arith.subi(extent, _at(1))
        period = arith.maxsi(arith.muli(last, _at(2)), _at(1))
    else:
        period = arith.muli(extent, _at(2))
    rest = arith.remsi(place, period)
    negative = arith.cmpi(arith.CmpIPredicate.slt, rest, _at(0))
    rest = arith.select(negative, arith.addi(rest, period), rest)
    mirror = arith.subi(period, rest if aligned else arith.addi(rest, _at(1)))
    return arith.minsi(rest, mirror)


def _sample(
    x: Tensor,
    lead: Sequence[ir.Value],
    places: Sequence[ir.Value],
    padding: str,
    aligned: bool,
    wide: ElementType,
) -> ir.Value:
    """Inside a body: one element at integer positions, by the padding mode."""
    valid: ir.Value | None = None
    at = list(lead)
    for place, size in zip(places, x.dims[len(lead) :], strict=True):
        if padding == "reflection":
            place = _reflected(place, size, aligned)
        ok, clamped = _inside(place, size)
        valid = ok if valid is None else arith.andi(valid, ok)
        at.append(clamped)
    v = scalars.convert(tensor.extract(x.value, at), x.element, wide)
    if padding == "zeros" and valid is not None:
        return arith.select(valid, v, number(0.0, wide))
    return v


@lowering("GridSample", since=16)
def grid_sample(node: Node) -> Tensor:
    """Interpolation at positions in [-1, 1] from a grid."""
    x, grid = node.tensor(0), node.tensor(1)
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(
        node.attr("mode", "linear"), node.attr("mode", "linear")
    )
    padding, aligned = node.attr("padding_mode", "zeros"), bool(node.attr("align_corners", 0))
    spatial = x.rank - 2
    e, wide = x.element, x.element.accumulator
    for d in x.dims:
        index.value(d)

    def coordinate(n: ir.Value, places: Sequence[ir.Value], axis: int) -> ir.Value:
        g = tensor.extract(grid.value, [n, *places, _at(spatial - 1 - axis)])
        g = scalars.convert(g, grid.element, wide)
        size = _float(index.value(x.dims[2 + axis]), wide)
        one, half = number(1.0, wide), number(0.5, wide)
        if aligned:
            return arith.mulf(arith.mulf(arith.addf(g, one), half), arith.subf(size, one))
        return arith.mulf(arith.subf(arith.mulf(arith.addf(g, one), size), one), half)

    def body(n: ir.Value, c: ir.Value, *places: ir.Value) -> ir.Value:
        where = [coordinate(n, places, a) for a in range(spatial)]
        if mode == "nearest":
            at = [_position(math.roundeven(w)) for w in where]
            return scalars.convert(_sample(x, [n, c], at, padding, aligned, wide), wide, e)
        bases = [math.floor(w) for w in where]
        fractions = [arith.subf(w, b) for w, b in zip(where, bases, strict=True)]
        taps = range(2) if mode == "linear" else range(-1, 3)
        total = number(0.0, wide)
        for offsets in product(taps, repeat=spatial):
            weight: ir.Value | None = None
            at = []
            for offset, base, fraction in zip(offsets, bases, fractions, strict=True):
                factor = _weight(offset, fraction, mode, wide)
                weight = factor if weight is None else arith.mulf(weight, factor)
                at.append(arith.addi(_position(base), _at(offset)))
            v = _sample(x, [n, c], at, padding, aligned, wide)
            assert weight is not None
            total = arith.addf(total, arith.mulf(weight, v))
        return scalars.convert(total, wide, e)

    return computed([x.dims[0], x.dims[1], *grid.dims[1:-1]], [e], body)[0]


def _weight(offset: int, fraction: ir.Value, mode: str, wide: ElementType) -> ir.Value:
    if mode == "linear":
        return fraction if offset else arith.subf(number(1.0, wide), fraction)
    t = math.absf(arith.subf(fraction, number(float(offset), wide)))
    a = -0.75
    inner, outer = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    result: ir.Value | None = None
    for c in inner if offset in (0, 1) else outer:
        n = number(c, wide)
        result = n if result is None else arith.addf(arith.mulf(result, t), n)
    assert result is not None
    return result


@lowering("AffineGrid")
def affine_grid(node: Node) -> Tensor:
    """Positions of a regular grid moved by affine maps."""
    theta = node.tensor(0)
    size = node.items(1)
    aligned = bool(node.attr("align_corners", 0))
    spatial = len(size) - 2
    e = theta.element
    extents = [index.value(d) for d in size[2:]]

    def body(n: ir.Value, *places: ir.Value) -> ir.Value:
        out = places[-1]
        total = tensor.extract(theta.value, [n, out, _at(spatial)])
        for a in range(spatial):
            p, s = _float(places[a], e), _float(extents[a], e)
            one, two = number(1.0, e), number(2.0, e)
            if aligned:
                gaps = arith.maximumf(arith.subf(s, one), one)
                where = arith.subf(arith.divf(arith.mulf(p, two), gaps), one)
            else:
                where = arith.subf(arith.divf(arith.addf(arith.mulf(p, two), one), s), one)
            factor = tensor.extract(theta.value, [n, out, _at(spatial - 1 - a)])
            total = arith.addf(total, arith.mulf(factor, where))
        return total

    return computed([theta.dims[0], *size[2:], spatial], [e], body)[0]


def _bilinear(
    x: Tensor, lead: Sequence[ir.Value], y: ir.Value, c: ir.Value, padding: str, e: ElementType
) -> ir.Value:
    """Inside a body: the sample at a fractional position of the last two dimensions."""
    bases = [math.floor(v) for v in (y, c)]
    fractions = [arith.subf(v, b) for v, b in zip((y, c), bases, strict=True)]
    total = number(0.0, e)
    for offsets in product(range(2), repeat=2):
        at = [arith.addi(_position(b), _at(o)) for b, o in zip(bases, offsets, strict=True)]
        factors = [_weight(o, f, "linear", e) for o, f in zip(offsets, fractions, strict=True)]
        v = _sample(x, lead, at, padding, False, e)
        total = arith.addf(total, arith.mulf(arith.mulf(*factors), v))
    return total


@lowering("RoiAlign", since=10)
def roi_align(node: Node) -> Tensor:
    """Mean or maximum of samples in the bins of regions of interest."""
    x, rois, batches = (node.tensor(i) for i in range(3))
    e = x.element
    height, width = node.attr("output_height", 1), node.attr("output_width", 1)
    ratio, scale = node.attr("sampling_ratio", 0), node.attr("spatial_scale", 1.0)
    largest = node.attr("mode", "avg") == "max"
    usual = "half_pixel" if node.version >= 16 else "output_half_pixel"
    half = node.attr("coordinate_transformation_mode", usual) == "half_pixel"
    for d in x.dims:
        index.value(d)

    def body(r: ir.Value, c: ir.Value, oy: ir.Value, ox: ir.Value) -> ir.Value:
        batch = arith.index_cast(ir.IndexType.get(), tensor.extract(batches.value, [r]))
        shift = number(0.5 if half else 0.0, e)
        corners = [
            arith.subf(arith.mulf(tensor.extract(rois.value, [r, _at(i)]), number(scale, e)), shift)
            for i in range(4)
        ]
        starts, ends = [corners[1], corners[0]], [corners[3], corners[2]]
        lengths = [arith.subf(b, a) for a, b in zip(starts, ends, strict=True)]
        if not half:
            lengths = [arith.maximumf(v, number(1.0, e)) for v in lengths]
        bins = [
            arith.divf(v, number(float(n), e))
            for v, n in zip(lengths, (height, width), strict=True)
        ]
        counts = [_at(ratio) if ratio > 0 else _position(math.ceil(b)) for b in bins]
        counts = [arith.maxsi(n, _at(0)) for n in counts]
        places = [oy, ox]

        def spot(axis: int, i: ir.Value) -> ir.Value:
            begin = arith.addf(starts[axis], arith.mulf(_float(places[axis], e), bins[axis]))
            step = arith.divf(bins[axis], _float(counts[axis], e))
            return arith.addf(begin, arith.mulf(arith.addf(_float(i, e), number(0.5, e)), step))

        def sample(iy: ir.Value, ix: ir.Value, acc: ir.Value) -> ir.Value:
            v = _roi_sample(x, [batch, c], spot(0, iy), spot(1, ix), largest, e)
            return arith.maximumf(acc, v) if largest else arith.addf(acc, v)

        start = number(scalars.lowest(e) if largest else 0.0, e)
        (total,) = for_loop(
            _at(0), counts[0], [start],
            lambda iy, outer: for_loop(
                _at(0), counts[1], outer, lambda ix, acc: [sample(iy, ix, acc[0])]
            ),
        )  # fmt: skip
        if largest:
            return total
        number_of = arith.maxsi(arith.muli(*counts), _at(1))
        return arith.divf(total, _float(number_of, e))

    return computed([rois.dims[0], x.dims[1], height, width], [e], body)[0]


def _roi_sample(
    x: Tensor, lead: Sequence[ir.Value], y: ir.Value, c: ir.Value, largest: bool, e: ElementType
) -> ir.Value:
    """Positions up to one element outside count as the border, further ones as zero."""
    valid: ir.Value | None = None
    clamped = []
    for v, size in zip((y, c), x.dims[2:], strict=True):
        extent = _float(index.value(size), e)
        ok = arith.andi(
            scalars.compare("ge", v, number(-1.0, e), e), scalars.compare("le", v, extent, e)
        )
        valid = ok if valid is None else arith.andi(valid, ok)
        last = arith.subf(extent, number(1.0, e))
        clamped.append(arith.minimumf(arith.maximumf(v, number(0.0, e)), last))
    assert valid is not None
    if largest:
        v = _largest_corner(x, lead, clamped, e)
    else:
        v = _bilinear(x, lead, clamped[0], clamped[1], "border", e)
    return arith.select(valid, v, number(0.0, e))


def _largest_corner(
    x: Tensor, lead: Sequence[ir.Value], where: Sequence[ir.Value], e: ElementType
) -> ir.Value:
    """The largest weighted corner (what the ONNX reference calls maximum pooling here)."""
    bases = [math.floor(v) for v in where]
    fractions = [arith.subf(v, b) for v, b in zip(where, bases, strict=True)]
    best: ir.Value | None = None
    for offsets in product(range(2), repeat=2):
        at = [arith.addi(_position(b), _at(o)) for b, o in zip(bases, offsets, strict=True)]
        factors = [_weight(o, f, "linear", e) for o, f in zip(offsets, fractions, strict=True)]
        v = arith.mulf(arith.mulf(*factors), _sample(x, lead, at, "border", False, e))
        best = v if best is None else arith.maximumf(best, v)
    assert best is not None
    return best


@lowering("DeformConv")
def deform_conv(node: Node) -> Tensor:
    """Convolution whose taps are moved by offsets (and scaled by a mask): sampled, contracted."""
    x, w, offset = node.tensor(0), node.tensor(1), node.tensor(2)
    mask = node.optional(4)
    if x.rank != 4:
        node.unsupported("only two spatial dimensions are supported")
    e, wide = x.element, x.element.accumulator
    taps = w.dims[2:]
    if not all(isinstance(k, int) for k in (*taps, *x.dims[1:2])):
        node.unsupported("window and channel sizes must be static")
    strides, dilations = node.attr("strides", [1, 1]), node.attr("dilations", [1, 1])
    pads, groups = node.attr("pads", [0] * 4), node.attr("group", 1)
    per_offset = index.floordiv(x.dims[1], node.attr("offset_group", 1))
    out = offset.dims[2:]
    count = index.product(taps)
    sizes = [index.value(d) for d in (per_offset, *taps, count)]
    for d in x.dims:
        index.value(d)

    def body(
        n: ir.Value, c: ir.Value, ky: ir.Value, kx: ir.Value, oy: ir.Value, ox: ir.Value
    ) -> ir.Value:
        tap = arith.addi(arith.muli(ky, sizes[2]), kx)
        group = arith.divui(c, sizes[0])
        channel = arith.addi(arith.muli(group, sizes[3]), tap)
        where = []
        for axis, (o, k) in enumerate(((oy, ky), (ox, kx))):
            fixed = arith.addi(
                arith.muli(o, _at(strides[axis])), arith.muli(k, _at(dilations[axis]))
            )
            fixed = arith.subi(fixed, _at(pads[axis]))
            place = arith.addi(arith.muli(channel, _at(2)), _at(axis))
            moved = tensor.extract(offset.value, [n, place, oy, ox])
            where.append(
                arith.addf(_float(fixed, wide), scalars.convert(moved, offset.element, wide))
            )
        v = _bilinear(x, [n, c], where[0], where[1], "zeros", wide)
        if mask is not None:
            m = tensor.extract(mask.value, [n, channel, oy, ox])
            v = arith.mulf(v, scalars.convert(m, mask.element, wide))
        return scalars.convert(v, wide, e)

    sampled = computed([x.dims[0], x.dims[1], *taps, *out], [e], body)[0]
    per_group = w.dims[1]
    filters = index.floordiv(w.dims[0], groups)
    data = tensors.reshape(sampled, [x.dims[0], groups, per_group, *taps, *out])
    kernel = tensors.reshape(w, [groups, filters, *w.dims[1:]])
    made = contract(data, list("ngckljo"), kernel, list("gfckl"), list("ngfjo"))
    result = tensors.reshape(made, [x.dims[0], w.dims[0], *out])
    return add_bias(node, result, node.optional(3), e)


@lowering("Col2Im")
def col2im(node: Node) -> Tensor:
    """Columns of blocks summed back into an image: each pixel gathers the blocks that hold it."""
    x = node.tensor(0)
    image, block = node.items(1), node.items(2)
    spatial = len(image)
    strides = node.attr("strides", [1] * spatial)
    dilations = node.attr("dilations", [1] * spatial)
    pads = node.attr("pads", [0] * 2 * spatial)
    e = x.element
    counts = []
    for a in range(spatial):
        reach = index.add(index.mul(index.sub(block[a], 1), dilations[a]), 1)
        room = index.sub(index.add(image[a], pads[a] + pads[a + spatial]), reach)
        counts.append(index.value(index.add(index.floordiv(room, strides[a]), 1)))
    taps = [index.value(b) for b in block]
    per_channel = index.product(block)
    total_taps = index.value(per_channel)

    def body(n: ir.Value, c: ir.Value, *places: ir.Value) -> ir.Value:
        def level(
            axis: int, tap: ir.Value, column: ir.Value, ok: ir.Value, acc: ir.Value
        ) -> ir.Value:
            if axis == spatial:
                row = arith.addi(arith.muli(c, total_taps), tap)
                at = arith.select(ok, column, _at(0))
                v = tensor.extract(x.value, [n, row, at])
                return scalars.add(acc, arith.select(ok, v, number(0, e)), e)

            def each(k: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
                shifted = arith.subi(
                    arith.addi(places[axis], _at(pads[axis])), arith.muli(k, _at(dilations[axis]))
                )
                start = arith.divsi(shifted, _at(strides[axis]))
                exact = arith.cmpi(
                    arith.CmpIPredicate.eq, arith.muli(start, _at(strides[axis])), shifted
                )
                fits = arith.andi(exact, arith.cmpi(arith.CmpIPredicate.sge, shifted, _at(0)))
                fits = arith.andi(fits, arith.cmpi(arith.CmpIPredicate.slt, start, counts[axis]))
                deeper = arith.addi(arith.muli(tap, taps[axis]), k)
                further = arith.addi(arith.muli(column, counts[axis]), start)
                return [level(axis + 1, deeper, further, arith.andi(ok, fits), state[0])]

            return for_loop(_at(0), taps[axis], [acc], each)[0]

        true = arith.constant(ir.IntegerType.get_signless(1), 1)
        return level(0, _at(0), _at(0), true, number(0, e))

    channels = index.floordiv(x.dims[1], per_channel)
    return computed([x.dims[0], channels, *image], [e], body)[0]
