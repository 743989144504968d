"""Operators that make tensors from nothing: constants, ranges, random numbers, windows."""

from __future__ import annotations

import math as pymath
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import BOOL, F32, F64, I32, I64, ElementType
from iree_core.lowering.extremum import arg_reduce
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import computed, elementwise, loop_index
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Constant, Value, array_constant
from iree_frontend_onnx.model import constant_from_proto
from iree_frontend_onnx.registry import Node, lowering


@lowering("Constant")
def constant(node: Node) -> Value:
    """A value in an attribute."""
    name = node.proto.output[0]
    if "value" in node.attributes:
        proto = node.attributes["value"].t
        made = constant_from_proto(proto, node.importer.pool.parameters, node.importer.folder)
        return Value(constant=Constant(name, made.shape, made.element, made.read, key=made.key))
    for attribute, dtype in (
        ("value_float", np.float32), ("value_floats", np.float32),
        ("value_int", np.int64), ("value_ints", np.int64),
    ):  # fmt: skip
        if attribute in node.attributes:
            return Value(constant=array_constant(np.array(node.attr(attribute), dtype), name=name))
    if "sparse_value" in node.attributes:
        from iree_frontend_onnx.importer import sparse_value

        return sparse_value(node.attr("sparse_value"))
    node.unsupported("constants of strings are not supported")


@lowering("ConstantOfShape")
def constant_of_shape(node: Node) -> Tensor | Value:
    """A tensor full of one number."""
    proto = node.attributes.get("value")
    array = onnx.numpy_helper.to_array(proto.t) if proto else np.zeros(1, np.float32)
    dims = node.items(0)
    from iree_core.lowering.element import from_numpy

    element = from_numpy(array.dtype)
    number = array.reshape(-1)[0].item()
    if len(dims) == 1 and isinstance(dims[0], int) and dims[0] <= 64 and element.is_integer:
        return Value(items=[int(number)] * dims[0], element=element)
    return tensors.fill(dims, element, number)


@lowering("Range")
def range_(node: Node) -> Tensor:
    """start, start + delta, ... before limit."""
    element = node.value(0).element
    if element.is_integer:
        start, limit, delta = (node.items(i)[0] for i in range(3))
        if not isinstance(delta, int):
            count = _count_by_sign(start, limit, delta)
        elif delta > 0:
            count = index.ceildiv(index.sub(limit, start), delta)
        else:
            count = index.ceildiv(index.sub(start, limit), -delta)
        if not (isinstance(start, int) and start == 0 and delta == 1):
            count = index.maximum(count, 0)
        first, step = index.value(start), index.value(delta)

        def at(place: ir.Value) -> ir.Value:
            number = arith.addi(first, arith.muli(place, step))
            return arith.index_cast(element.type, number)

        return computed([count], [element], at)[0]
    return _float_range(node, element)


def _count_by_sign(start: Dim, limit: Dim, delta: Dim) -> Dim:
    up = index.ceildiv(index.sub(limit, start), delta)
    return index.maximum(up, 0)


def _float_range(node: Node, element: ElementType) -> Tensor:
    wide = F64 if element.bits == 64 else F32
    parts = [
        scalars.convert(tensors.scalar_at(tensors.reshape(node.tensor(i), ()), []), element, wide)
        for i in range(3)
    ]
    start, limit, delta = parts
    steps = math.ceil(arith.divf(arith.subf(limit, start), delta))
    number = arith.index_cast(ir.IndexType.get(), scalars.convert(steps, wide, I64))
    count = index.maximum(number, 0)

    def at(place: ir.Value) -> ir.Value:
        offset = scalars.convert(arith.index_cast(I64.type, place), I64, wide)
        return scalars.convert(arith.addf(start, arith.mulf(offset, delta)), wide, element)

    return computed([count], [element], at)[0]


@lowering("EyeLike")
def eye_like(node: Node) -> Tensor:
    """Ones on the k-th diagonal."""
    x = node.value(0)
    element = node.element_attr("dtype", x.element)
    shift = node.attr("k", 0)

    def at(row: ir.Value, column: ir.Value) -> ir.Value:
        edge = arith.addi(row, arith.constant(ir.IndexType.get(), shift))
        hit = arith.cmpi(arith.CmpIPredicate.eq, column, edge)
        return arith.select(hit, scalars.constant(1, element), scalars.constant(0, element))

    return computed(x.dims, [element], at)[0]


@lowering("OneHot")
def one_hot(node: Node) -> Tensor:
    """On where the position along the axis is the index, off elsewhere."""
    places, values = node.tensor(0), node.tensor(2)
    depth = _depth(node)
    axis = node.normalize_axis(node.attr("axis", -1), places.rank + 1)
    spread = tensors.expand_dims(places, [axis])
    dims = list(spread.dims)
    dims[axis] = depth
    size = index.value(depth)
    e = values.element

    def body(place: ir.Value) -> ir.Value:
        wide = scalars.convert(place, places.element, I64)
        extent = arith.index_cast(I64.type, size)
        negative = scalars.compare("lt", wide, scalars.constant(0, I64), I64)
        wide = arith.select(negative, arith.addi(wide, extent), wide)
        here = arith.index_cast(I64.type, loop_index(axis))
        on = tensors.scalar_at(values, [arith.constant(ir.IndexType.get(), 1)])
        off = tensors.scalar_at(values, [arith.constant(ir.IndexType.get(), 0)])
        return arith.select(scalars.compare("eq", wide, here, I64), on, off)

    return elementwise([spread], e, body, dims=dims)


def _depth(node: Node) -> Dim:
    known = node.array(1)
    if known is not None:
        return int(known.reshape(-1)[0])
    depth = node.tensor(1)
    if depth.element.is_integer:
        return node.items(1)[0]
    scalar = tensors.scalar_at(tensors.reshape(depth, ()), [])
    return arith.index_cast(ir.IndexType.get(), scalars.convert(scalar, depth.element, I64))


# Random numbers: counter-based, a hash of seed and position ---------------------------------


def _hash(place: ir.Value, seed: int) -> ir.Value:
    """Mix a 64-bit counter (splitmix64, Steele et al., OOPSLA 2014)."""
    z = arith.addi(
        arith.muli(place, scalars.constant(0x9E3779B97F4A7C15, I64)), scalars.constant(seed, I64)
    )
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        z = arith.xori(z, arith.shrui(z, scalars.constant(shift, I64)))
        if factor is not None:
            z = arith.muli(z, scalars.constant(factor, I64))
    return z


def seed_of(node: Node) -> int:
    """Return the node's seed; without one a number that its name gives."""
    import zlib

    seed = node.attr("seed")
    if seed is None:
        return zlib.crc32(node.proto.output[0].encode())
    return int(np.float32(seed).view(np.uint32))


def uniform(dims: list[Dim], seed: int, element: ElementType = F32) -> Tensor:
    """Return numbers uniform in [0, 1)."""
    extents = [index.value(d) for d in dims]

    def at(*places: ir.Value) -> ir.Value:
        flat = arith.constant(ir.IndexType.get(), 0)
        for place, extent in zip(places, extents, strict=True):
            flat = arith.addi(arith.muli(flat, extent), place)
        return unit_float(_hash(arith.index_cast(I64.type, flat), seed), element)

    return computed(dims, [element], at)[0]


def unit_float(bits: ir.Value, element: ElementType) -> ir.Value:
    """Inside a body: 64 random bits as a float in [0, 1)."""
    digits = 53 if element.bits == 64 else 24
    high = arith.shrui(bits, scalars.constant(64 - digits, I64))
    wide = element.accumulator
    number = arith.uitofp(wide.type, high)
    scaled = arith.mulf(number, scalars.constant(2.0**-digits, wide))
    return scalars.convert(scaled, wide, element)


def normal(dims: list[Dim], seed: int, element: ElementType = F32) -> Tensor:
    """Return standard normal numbers (Box and Muller, 1958)."""
    first, second = uniform(dims, seed, element), uniform(dims, seed ^ 0x5DEECE66D, element)
    wide = element.accumulator

    def body(u: ir.Value, v: ir.Value) -> ir.Value:
        u, v = scalars.convert(u, element, wide), scalars.convert(v, element, wide)
        away = arith.subf(scalars.constant(1.0, wide), u)
        radius = math.sqrt(arith.mulf(scalars.constant(-2.0, wide), math.log(away)))
        angle = math.cos(arith.mulf(scalars.constant(2 * pymath.pi, wide), v))
        return scalars.convert(arith.mulf(radius, angle), wide, element)

    return elementwise([first, second], element, body)


@lowering("RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike")
def random(node: Node) -> Tensor:
    """Uniform or normal numbers; the same seed gives the same numbers in every call."""
    like = node.value(0) if node.op.endswith("Like") else None
    dims = list(like.dims) if like is not None else list(node.attr("shape"))
    element = node.element_attr("dtype", like.element if like is not None else F32)
    if "Uniform" in node.op:
        low, high = node.attr("low", 0.0), node.attr("high", 1.0)
        made, scale, shift = uniform(dims, seed_of(node), element), high - low, low
    else:
        made = normal(dims, seed_of(node), element)
        scale, shift = node.attr("scale", 1.0), node.attr("mean", 0.0)
    e = element

    def body(v: ir.Value) -> ir.Value:
        scaled = scalars.mul(v, scalars.constant(scale, e), e)
        return scalars.add(scaled, scalars.constant(shift, e), e)

    return elementwise([made], e, body)


@lowering("Bernoulli")
def bernoulli(node: Node) -> Tensor:
    """One with the probability that the input gives, else zero."""
    x = node.tensor(0)
    element = node.element_attr("dtype", x.element)
    chance = uniform(list(x.dims), seed_of(node), x.element)

    def body(p: ir.Value, u: ir.Value) -> ir.Value:
        return scalars.convert(scalars.compare("lt", u, p, x.element), BOOL, element)

    return elementwise([x, chance], element, body)


@lowering("Multinomial")
def multinomial(node: Node) -> Tensor:
    """Samples of classes from unnormalised log-probabilities (Gumbel-max)."""
    from iree_core.lowering.structured import convert

    x = node.tensor(0)
    count = node.attr("sample_size", 1)
    element = node.element_attr("dtype", I32)
    batch, classes = x.dims
    noise = uniform([batch, count, classes], seed_of(node), x.element)
    logits = tensors.expand_dims(x, [1])

    def body(v: ir.Value, u: ir.Value) -> ir.Value:
        tiny = scalars.constant(1e-20, x.element)
        inner = arith.negf(math.log(arith.addf(u, tiny)))
        return arith.subf(v, math.log(arith.addf(inner, tiny)))

    scored = elementwise([logits, noise], x.element, body)
    return convert(tensors.squeeze(arg_reduce(scored, 2, largest=True), [2]), element)


@lowering("Dropout")
def dropout(node: Node) -> list[Tensor]:
    """The identity outside training; in training mode a random mask."""
    x = node.tensor(0)
    mask_element = x.element if node.version < 10 else BOOL
    training = node.array(2) if node.has(2) else np.array(False)
    if node.version < 7:
        training = np.array(not node.attr("is_test", 0))
    ratio = node.array(1) if node.has(1) else np.array(node.attr("ratio", 0.5))
    if (training is not None and not training) or (ratio is not None and ratio == 0):
        return [x, tensors.fill(x.dims, mask_element, 1)] if node.wants(1) else [x]
    chance = uniform(list(x.dims), seed_of(node))
    keep, scale = _dropping(node, training, ratio)
    e, factor = x.element, scalars.convert(scale, F32, x.element)

    def body(v: ir.Value, u: ir.Value) -> ir.Value:
        return arith.select(keep(u), scalars.mul(v, factor, e), scalars.constant(0, e))

    mask = elementwise(
        [chance], mask_element, lambda u: scalars.convert(keep(u), BOOL, mask_element)
    )
    return [elementwise([x, chance], e, body), mask]


def _dropping(
    node: Node, training: NDArray | None, ratio: NDArray | None
) -> tuple[Callable[[ir.Value], ir.Value], ir.Value]:
    """Return what is kept, by a number in [0, 1), and the factor (f32) for it.

    The mode and the ratio (None) may be numbers of the run; outside training the ratio is 0.
    """
    if ratio is None:
        given = node.tensor(1)
        limit = scalars.convert(_scalar(given), given.element, F32)
    else:
        limit = scalars.constant(float(ratio), F32)
    if training is None:
        limit = arith.select(_scalar(node.tensor(2)), limit, scalars.constant(0.0, F32))
    one = scalars.constant(1.0, F32)
    return lambda u: scalars.compare("ge", u, limit, F32), arith.divf(one, arith.subf(one, limit))


def _scalar(tensor: Tensor) -> ir.Value:
    return tensors.scalar_at(tensor, [0] * tensor.rank)


_WINDOWS = {
    "HannWindow": (0.5, 0.5, 0.0), "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}  # fmt: skip


@lowering(*_WINDOWS)
def window(node: Node) -> Tensor:
    """Cosine windows of a length from the input."""
    a0, a1, a2 = _WINDOWS[node.op]
    element = node.element_attr("output_datatype", F32)
    size = node.items(0)[0]
    span = index.value(size if node.attr("periodic", 1) else index.sub(size, 1))
    wide = element.accumulator

    def at(place: ir.Value) -> ir.Value:
        def number(v: ir.Value) -> ir.Value:
            return arith.sitofp(wide.type, arith.index_cast(I64.type, v))

        turn = scalars.constant(2 * pymath.pi, wide)
        angle = arith.divf(arith.mulf(number(place), turn), number(span))
        value = arith.subf(
            scalars.constant(a0, wide), arith.mulf(scalars.constant(a1, wide), math.cos(angle))
        )
        double = math.cos(arith.mulf(angle, scalars.constant(2.0, wide)))
        value = arith.addf(value, arith.mulf(scalars.constant(a2, wide), double))
        return scalars.convert(value, wide, element)

    return computed([size], [element], at)[0]
