"""Resizing of images."""

from __future__ import annotations

from collections.abc import Callable

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars
from iree_core.lowering.element import F32, I32, I64, U8
from iree_core.lowering.index import Dim
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import computed
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.registry import Node, lowering


def _f32(dim: Dim) -> ir.Value:
    if isinstance(dim, int):
        return constant(dim, F32)
    return arith.sitofp(F32.type, arith.index_cast(I64.type, dim))


def _to_index(v: ir.Value) -> ir.Value:
    return arith.index_cast(ir.IndexType.get(), arith.fptosi(I32.type, v))


def _scale(node: Node, size: Dim, out: Dim) -> ir.Value:
    """Return source pixels per pixel of the result, as f32."""
    if node.option("AlignCorners", False) and not (isinstance(out, int) and out <= 1):
        return arith.divf(_f32(index.sub(size, 1)), _f32(index.sub(out, 1)))
    return arith.divf(_f32(size), _f32(out))


def _position(place: ir.Value) -> ir.Value:
    return arith.sitofp(F32.type, arith.index_cast(I64.type, place))


def _limited(place: ir.Value, size: ir.Value) -> ir.Value:
    kind = ir.IndexType.get()
    last = arith.subi(size, arith.constant(kind, 1))
    return arith.maxsi(arith.minsi(place, last), arith.constant(kind, 0))


@lowering("RESIZE_NEAREST_NEIGHBOR")
def nearest(node: Node) -> Tensor:
    """The source pixel next to each position."""
    x = node.tensor(0)
    out = node.items(1)
    scales = [_scale(node, s, o) for s, o in zip(x.dims[1:3], out, strict=True)]
    sizes = [index.value(d) for d in x.dims[1:3]]
    half = node.option("HalfPixelCenters", False)
    round_ = node.option("AlignCorners", False)

    def source(place: ir.Value, scale: ir.Value, size: ir.Value) -> ir.Value:
        position = _position(place)
        if half:
            position = arith.addf(position, constant(0.5, F32))
        scaled = arith.mulf(position, scale)
        near = math.round(scaled) if round_ else math.floor(scaled)
        return _limited(_to_index(near), size)

    def body(*at: ir.Value) -> ir.Value:
        places = [source(*a) for a in zip(at[1:3], scales, sizes, strict=True)]
        return tensor.extract(x.value, [at[0], *places, at[3]])

    return computed([x.dims[0], *out, x.dims[3]], [x.element], body)[0]


@lowering("RESIZE_BILINEAR")
def bilinear(node: Node) -> Tensor:
    """A mean of the four pixels around, by distance; integers in fixed point with 10 bits."""
    x = node.tensor(0)
    out = node.items(1)
    # The kernel for unsigned integers computes with floats.
    real = x.element.is_float or x.element == U8
    body = _real_body(node, x, out) if real else _integer_body(node, x, out)
    return computed([x.dims[0], *out, x.dims[3]], [x.element], body)[0]


def _real_body(node: Node, x: Tensor, out: list[Dim]) -> Callable[..., ir.Value]:
    scales = [_scale(node, s, o) for s, o in zip(x.dims[1:3], out, strict=True)]
    sizes = [index.value(d) for d in x.dims[1:3]]
    half = node.option("HalfPixelCenters", False)

    def around(
        place: ir.Value, scale: ir.Value, size: ir.Value
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        position = _position(place)
        if half:
            centred = arith.mulf(arith.addf(position, constant(0.5, F32)), scale)
            scaled = arith.subf(centred, constant(0.5, F32))
        else:
            scaled = arith.mulf(position, scale)
        below = math.floor(scaled)
        above = math.ceil(scaled)
        low = arith.maximumf(below, constant(0, F32))
        part = arith.subf(scaled, low)
        return _limited(_to_index(low), size), _limited(_to_index(above), size), part

    def body(*at: ir.Value) -> ir.Value:
        (y0, y1, dy), (x0, x1, dx) = (around(*a) for a in zip(at[1:3], scales, sizes, strict=True))
        one = constant(1, F32)

        def pixel(row: ir.Value, column: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
            value = tensor.extract(x.value, [at[0], row, column, at[3]])
            wide = scalars.convert(value, x.element, F32)
            return arith.mulf(arith.mulf(wide, a), b)

        rest_y, rest_x = arith.subf(one, dy), arith.subf(one, dx)
        total = pixel(y0, x0, rest_y, rest_x)
        for term in (
            pixel(y1, x0, dy, rest_x), pixel(y0, x1, rest_y, dx), pixel(y1, x1, dy, dx)
        ):  # fmt: skip
            total = arith.addf(total, term)
        if x.element == U8:
            whole = arith.fptosi(I32.type, arith.addf(total, constant(0.5, F32)))
            return arith.trunci(U8.type, whole)
        return scalars.convert(total, F32, x.element)

    return body


def _integer_body(node: Node, x: Tensor, out: list[Dim]) -> Callable[..., ir.Value]:
    """``ResizeBilinearInteger``: positions in units of 2^-10, results rounded."""
    half = bool(node.option("HalfPixelCenters", False))
    align = bool(node.option("AlignCorners", False))
    steps = [_integer_step(s, o, align) for s, o in zip(x.dims[1:3], out, strict=True)]
    sizes = [index.value(d) for d in x.dims[1:3]]
    unit = 1 << 10

    def around(
        place: ir.Value, step: ir.Value, size: ir.Value
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        scaled = arith.muli(arith.index_cast(I32.type, place), step)
        if half:
            scaled = arith.subi(
                arith.addi(scaled, arith.divsi(step, constant(2, I32))), constant(unit // 2, I32)
            )
        zero = constant(0, I32)
        low = arith.maxsi(arith.divsi(scaled, constant(unit, I32)), zero)
        high = arith.divsi(arith.addi(scaled, constant(unit - 1, I32)), constant(unit, I32))
        part = arith.subi(scaled, arith.muli(low, constant(unit, I32)))
        kind = ir.IndexType.get()
        return (
            _limited(arith.index_cast(kind, low), size),
            _limited(arith.index_cast(kind, high), size),
            part,
        )

    def body(*at: ir.Value) -> ir.Value:
        (y0, y1, dy), (x0, x1, dx) = (around(*a) for a in zip(at[1:3], steps, sizes, strict=True))

        def pixel(row: ir.Value, column: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
            value = tensor.extract(x.value, [at[0], row, column, at[3]])
            wide = scalars.convert(value, x.element, I64)
            weight = arith.muli(arith.extsi(I64.type, a), arith.extsi(I64.type, b))
            return arith.muli(wide, weight)

        whole = constant(unit, I32)
        rest_y, rest_x = arith.subi(whole, dy), arith.subi(whole, dx)
        total = pixel(y0, x0, rest_y, rest_x)
        for term in (
            pixel(y1, x0, dy, rest_x), pixel(y0, x1, rest_y, dx), pixel(y1, x1, dy, dx)
        ):  # fmt: skip
            total = arith.addi(total, term)
        positive = arith.cmpi(arith.CmpIPredicate.sgt, total, constant(0, I64))
        nudge = arith.select(
            positive, constant(unit * unit // 2, I64), constant(-unit * unit // 2, I64)
        )
        made = arith.divsi(arith.addi(total, nudge), constant(unit * unit, I64))
        return scalars.convert(made, I64, x.element)

    return body


def _integer_step(size: Dim, out: Dim, align: bool) -> ir.Value:
    def i32(dim: Dim) -> ir.Value:
        return constant(dim, I32) if isinstance(dim, int) else arith.index_cast(I32.type, dim)

    half = arith.divsi(i32(out), constant(2, I32))
    top = arith.addi(arith.muli(i32(size), constant(1 << 10, I32)), half)
    step = arith.divsi(top, i32(out))
    if align and not (isinstance(out, int) and out <= 1):
        last, count = i32(index.sub(size, 1)), i32(index.sub(out, 1))
        half = arith.divsi(count, constant(2, I32))
        step = arith.divsi(arith.addi(arith.muli(last, constant(1 << 10, I32)), half), count)
    return step
