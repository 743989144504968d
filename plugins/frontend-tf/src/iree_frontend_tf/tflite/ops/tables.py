"""Functions of one scaled integer, tabulated at import for all 256 or 65536 stored values."""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import numpy as np
from numpy.typing import NDArray

from iree_core.ir import arith, ir, tensor
from iree_core.lowering.element import I8, I16, ElementType
from iree_core.lowering.structured import elementwise
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite import fixed_point as fp
from iree_frontend_tf.tflite.registry import Node

F32 = np.float32


def lookup(node: Node) -> Tensor:
    """Return the operator's function of input 0, read from a table."""
    x = node.tensor(0)
    stored = _all_values(x.element)
    low, high = fp.limits(node.element())
    with np.errstate(all="ignore"):
        made = np.clip(_tabulate(node, stored), low, high).astype(node.element().numpy)
    return read(x, node.constant(made, node.element()), -int(stored[0]))


def read(x: Tensor, table: Tensor, offset: int) -> Tensor:
    """Return ``table[x + offset]`` for every element of ``x``."""
    kind = ir.IndexType.get()

    def body(v: ir.Value) -> ir.Value:
        cast = arith.index_castui if x.element.is_unsigned else arith.index_cast
        place = cast(kind, v)
        if offset:
            place = arith.addi(place, arith.constant(kind, offset))
        return tensor.extract(table.value, [place])

    return elementwise([x], table.element, body)


def _all_values(element: ElementType) -> NDArray[np.int64]:
    low, high = fp.limits(element)
    return np.arange(low, high + 1, dtype=np.int64)


def _tabulate(node: Node, stored: NDArray[np.int64]) -> NDArray:
    if node.op in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"):
        return _relu(node, stored)
    if node.op == "HARD_SWISH":
        return _hard_swish(node, stored)
    if node.op == "ABS":
        return _abs(node, stored)
    if node.op == "NEG":
        return node.scale(node.input(0))[1] + node.scale(node.output())[1] - stored
    if node.op == "RSQRT" and node.element() == I8:
        return _rsqrt(node, stored)
    if node.op in ("TANH", "LOGISTIC") and node.element() == I16:
        return _sigmoidal(node, stored)
    function = _real_function(node)
    if node.element() == I16:
        return _interpolated(node, function, stored)
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    inverse = F32(1) / so
    real = (si * (stored - zi).astype(F32)).astype(F32)
    return _round(function(real).astype(F32) * inverse) + zo


def _round(x: NDArray) -> NDArray:
    return np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x)


def _real_function(node: Node) -> Callable[[NDArray], NDArray]:
    so, zo = node.scale(node.output())
    low, high = fp.limits(node.element())

    def log(x: NDArray) -> NDArray:
        return np.where(x <= 0, F32(low - zo) * so, np.log(np.maximum(x, 1e-45)))

    def rsqrt(x: NDArray) -> NDArray:
        return np.where(x <= 0, F32(high) * so, 1 / np.sqrt(np.maximum(x, 1e-45)))

    table: dict[str, Callable[[NDArray], NDArray]] = {
        "TANH": np.tanh,
        "LOGISTIC": lambda x: F32(1) / (F32(1) + np.exp(-x)),
        "EXP": np.exp,
        "LOG": log,
        "RSQRT": rsqrt,
        "ELU": lambda x: np.where(x < 0, np.expm1(x), x),
        "GELU": lambda x: _gelu(x, node.option("Approximate", False)),
    }
    if node.op not in table:
        node.unsupported("it is not supported on quantized integers")
    return table[node.op]


def _gelu(x: NDArray, approximate: bool) -> NDArray:
    from math import erf

    if approximate:
        inner = F32(np.sqrt(2 / np.pi)) * (x + F32(0.044715) * x * x * x)
        return F32(0.5) * x * (F32(1) + np.tanh(inner))
    curve = np.array([erf(v * np.sqrt(0.5)) for v in x.astype(np.float64)], F32)
    return x * F32(0.5) * (F32(1) + curve)


def _interpolated(
    node: Node, function: Callable[[NDArray], NDArray], stored: NDArray[np.int64]
) -> NDArray:
    """16-bit values: 513 points of the function, straight lines in between (``LUTPopulate``)."""
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    return interpolate(sample(function, si, zi, so, zo), stored)


def sample(
    function: Callable[[NDArray], NDArray],
    si: np.floating,
    zi: int,
    so: np.floating,
    zo: int,
    kind: type = np.float32,
) -> NDArray[np.int64]:
    """Return the 513 points that stand for a function of 16-bit values.

    Each is moved by half the error in the middle of the segment that it starts, as in
    ``LUTPopulateInt16``; computed in ``kind``.
    """
    low, high = kind(si * kind(-32768 - zi)), kind(si * kind(32767 - zi))
    out_low, out_high = kind(so * kind(-32768 - zo)), kind(so * kind(32767 - zo))
    step = kind((high - low) / kind(512))
    half = kind(step / kind(2))
    inverse = kind(kind(65536) / (out_high - out_low))
    points = (low + np.arange(512).astype(kind) * step).astype(kind)
    here = _round(function(points).astype(kind) * inverse)
    middle: NDArray = function((points + half).astype(kind)).astype(kind)
    following: NDArray = function((points + step).astype(kind)).astype(kind)
    between = _round((following * inverse + _round(function(points) * inverse)) / 2)
    error = between - _round(middle * inverse)
    moved = np.clip(here - _round(error / 2), -32768, 32767)
    last = np.clip(_round(function(np.array([high], kind)).astype(kind) * inverse), -32768, 32767)
    return np.concatenate([moved, last]).astype(np.int64)


def interpolate(table: NDArray[np.int64], stored: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what ``LUTLookup`` reads from 513 points for 16-bit values."""
    place = 256 + (stored >> 7)
    base, slope = table[place], table[place + 1] - table[place]
    return base + ((slope * (stored & 127) + 64) >> 7)


def _relu(node: Node, stored: NDArray[np.int64]) -> NDArray:
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    low, high = fp.limits(node.element())
    bounds = {
        "RELU": (0.0, None), "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0),
    }[node.op]  # fmt: skip
    first = max(low, zo + fp.round_half_away(float(F32(bounds[0] or 0.0) / so)))
    last = (
        high
        if bounds[1] is None
        else min(high, zo + fp.round_half_away(float(F32(bounds[1]) / so)))
    )
    factor = fp.quantize_multiplier(float(F32(si) / F32(so)))
    return np.clip(zo + fp.multiply(stored - zi, factor), first, last)


def _abs(node: Node, stored: NDArray[np.int64]) -> NDArray:
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    value = np.abs(stored - zi)
    if si == so:
        return value + zo
    return fp.multiply(value, fp.quantize_multiplier(float(si / so))) + zo


def _rsqrt(node: Node, stored: NDArray[np.int64]) -> NDArray:
    """``GetInvSqrtQuantizedMultiplierExp`` per value, with 20 bits kept in between."""
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    significand, shift = fp.quantize_multiplier(1.0 / (float(np.sqrt(si)) * float(so)))
    made = []
    for value in (int(v) - zi for v in stored):
        # Negative values are an error in TFLite.
        if value <= 0:
            made.append(127)
            continue
        inverse, inverse_shift = inverse_square_root(value)
        data = fp.multiply(np.array([1]), (inverse, inverse_shift + 20))
        made.append(int(fp.multiply(data, (significand, shift - 20))[0]) + zo)
    return np.array(made)


def inverse_square_root(value: int) -> fp.Multiplier:
    """Return ``1 / sqrt(value)`` as multiplier and shift, by Newton's method in fixed point
    (``GetInvSqrtQuantizedMultiplierExp`` with a reversed shift)."""
    if value <= 1:
        return (1 << 31) - 1, 0
    right = 11
    while value >= 1 << 29:
        value //= 4
        right += 1
    left_bits = 32 - value.bit_length() - 1
    pairs = left_bits // 2 - 1
    right -= pairs
    value <<= 2 * pairs
    x = np.array([1 << 28], np.int64)  # one in a format with 3 integer bits
    half = fp.rounding_shift(np.array([value >> 1], np.int64), 1)
    half_three = (1 << 28) + (1 << 27)

    def rescale(v: NDArray, up: int) -> NDArray:
        return np.clip(v << up, -(1 << 31), (1 << 31) - 1)

    for _ in range(5):
        cube = rescale(fp.high_mul(fp.high_mul(x, x), x), 6)
        x = rescale(fp.wrap32(fp.high_mul(np.array([half_three]), x) - fp.high_mul(half, cube)), 3)
    half_sqrt2 = round((1 << 31) * 0.5**0.5)
    result = int(fp.high_mul(x, half_sqrt2)[0])
    if right < 0:
        result, right = result << -right, 0
    return result, -right


def _down_to_16(significand: int) -> int:
    if significand >= (1 << 31) - (1 << 15):
        return 32767
    return (significand + (1 << 15)) >> 16


def _high_mul_16(a: NDArray, b: int, *, rounding: bool) -> NDArray:
    product = a * b
    if not rounding:
        return np.where(product >= 0, product >> 15, -((-product) >> 15))
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(np.where(nudged >= 0, nudged >> 15, -((-nudged) >> 15)), 32767)


def _hard_swish(node: Node, stored: NDArray[np.int64]) -> NDArray:
    """``x * relu6(x + 3) / 6`` in 16 bits (reference kernel ``HardSwish``)."""
    (si, zi), (so, zo) = node.scale(node.input(0)), node.scale(node.output())
    fine = F32(F32(1.0 / 128.0) * si)
    out, out_shift = fp.quantize_multiplier(float(F32(fine / so)))
    reluish, reluish_shift = fp.quantize_multiplier(float(F32(fine / F32(3.0 / 32768.0))))
    value = (stored - zi) << 7
    scaled = _high_mul_16(value, _down_to_16(out), rounding=True)
    relu = value
    if reluish_shift > 0:
        relu = np.clip(relu << (reluish_shift - 1), -32768, 32767)
    relu = _high_mul_16(relu, _down_to_16(reluish), rounding=True)
    if reluish_shift > 0:
        relu = np.clip(relu << 1, -32768, 32767)
    if reluish_shift < 0:
        relu = fp.rounding_shift(relu, -reluish_shift)
    relu = (relu + (1 << 15)) >> 1
    product = np.where((relu * scaled) >= 0, (relu * scaled) >> 15, -((-(relu * scaled)) >> 15))
    return fp.rounding_shift(product, -out_shift) + zo


# tanh and logistic of 16-bit values ---------------------------------------------------------


# Which of the 256 points the kernels round up although the value is below the half: measured by
# running LiteRT's TANH on inputs that hit each point.
_ROUNDED_UP = 0x800000000000000000000000000000800011009020440005C0467BAEFA7BD110


def _sigmoid_points() -> NDArray[np.int64]:
    """256 points of the logistic function, 24 to the unit, in units of 2^-16."""
    places = np.arange(256)
    nearest = np.floor(65536.0 / (1.0 + np.exp(-places / 24.0)) + 0.5).astype(np.int64)
    return nearest + np.array([_ROUNDED_UP >> place & 1 for place in range(256)])


def _input_multiplier(node: Node) -> tuple[int, int]:
    scale = float(node.scale(node.input(0))[0])
    exponent = log2(scale)
    shift = 12 + round(exponent)
    allowed = (0, 1) if node.op == "TANH" else (0,)
    if abs(exponent - round(exponent)) < 1e-3 and shift in allowed:
        return 0, shift
    multiplier, shift = float(F32(scale)) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return int(multiplier), shift


def _sigmoidal(node: Node, stored: NDArray[np.int64]) -> NDArray:
    """``reference_integer_ops`` ``Tanh`` and ``Logistic``: a table of 256 points."""
    multiplier, shift = _input_multiplier(node)
    tanh = node.op == "TANH"
    if multiplier == 0:
        multiplier = 3 << shift
        shift = 0
    rounding = (1 << (shift - 1)) if shift > 0 else 0
    points = _sigmoid_points()
    value = (stored * multiplier + rounding) >> shift
    magnitude = np.abs(value)
    place = magnitude >> (8 if tanh else 9)
    part = magnitude & (255 if tanh else 511)
    inside = place < 255
    at = np.minimum(place, 254)
    a, b = points[at], points[at + 1]
    width = 8 if tanh else 9
    line = (a << width) + part * (b - a)
    if tanh:
        whole = np.where(inside, line, 0xFFFF << 8)
        result = np.where(
            value >= 0, whole - (1 << 23) + (1 << 7), -whole + (1 << 23) + (1 << 7) - 1
        )
        return result >> 8
    whole = np.where(inside, line, 0x7FFF << 10)
    result = np.where(value >= 0, whole + (1 << 9), (1 << 25) - whole + (1 << 9) - 1)
    return result >> 10
