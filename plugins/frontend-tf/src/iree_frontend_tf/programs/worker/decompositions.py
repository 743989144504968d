"""Operations of TensorFlow written with simpler ones; ``decomposing`` puts them in their place.

A rule takes the operands, arrays where they are constants, then attributes by name and
``results``, what is known of the results' types. Where the method is not obvious, it is that of
TensorFlow's kernel of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from . import gradients, sampling


@dataclass(frozen=True)
class Rule:
    """How to write an operation.

    Attributes:
        function: the rule.
        always: also where all sizes are static, because TensorFlow's passes have no lowering.
        unless: tells by the constant operands that the operation is simple enough as it is.
    """

    function: Callable[..., Any]
    always: bool = False
    unless: Callable[[Sequence[np.ndarray | None]], bool] = lambda _: False


RULES: dict[str, Rule] = {}


def _rule(*names: str, always: bool = False) -> Callable[[Callable], Callable]:
    def register(function: Callable) -> Callable:
        RULES.update({name: Rule(function, always) for name in names})
        return function

    return register


def sizes(x: Any) -> list[Any]:
    """Return the sizes of ``x``, numbers where they are static."""
    shape = tf.shape(x)
    return [shape[n] if size is None else size for n, size in enumerate(x.shape)]


@_rule("Roll")
def _roll(x: Any, shift: Any, axis: Any, **_: Any) -> Any:
    shifts, axes = (tf.reshape(value, [-1]) for value in (shift, axis))
    known = np.reshape(axis, [-1])
    for n in range(axes.shape[0]):
        place = int(known[n]) % len(x.shape)
        size = tf.cast(tf.shape(x)[place], shifts.dtype)
        # The last `back` come first.
        back = tf.math.floormod(shifts[n], tf.maximum(size, 1))
        places = tf.math.floormod(tf.range(size) - back, tf.maximum(size, 1))
        x = tf.gather(x, places, axis=place)
    return x


@_rule("EuclideanNorm", always=True)
def _euclidean_norm(x: Any, axis: Any, *, keep_dims: bool = False, **_: Any) -> Any:
    if x.dtype.is_complex:
        x = tf.complex(tf.abs(x), tf.zeros_like(tf.abs(x)))
    return tf.sqrt(tf.reduce_sum(x * x, axis, keep_dims))


@_rule("Cross")
def _cross(a: Any, b: Any, **_: Any) -> Any:
    (a0, a1, a2), (b0, b1, b2) = tf.unstack(a, axis=-1), tf.unstack(b, axis=-1)
    return tf.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], -1)


@_rule("ShapeN")
def _shape_n(*operands: Any, results: Any, **_: Any) -> Any:
    return [tf.shape(x, out_type=results[0].dtype) for x in operands]


@_rule("BroadcastArgs")
def _broadcast_args(a: Any, b: Any, **_: Any) -> Any:
    rank = max(a.shape[0], b.shape[0])
    a, b = (tf.pad(s, [[rank - s.shape[0], 0]], constant_values=1) for s in (a, b))
    return tf.where(tf.equal(a, 1), b, a)


@_rule("ParallelConcat", always=True)
def _parallel_concat(*operands: Any, **_: Any) -> Any:
    return tf.concat(operands, 0)


@_rule("Bucketize")
def _bucketize(x: Any, *, boundaries: Any, **_: Any) -> Any:
    known = tf.constant(boundaries, x.dtype)
    return tf.reduce_sum(tf.cast(x[..., None] >= known, tf.int32), -1)


def _counted(strict: bool) -> Callable[..., Any]:
    def rule(ordered: Any, values: Any, *, results: Any, **_: Any) -> Any:
        before = ordered[:, None, :] < values[:, :, None]
        if not strict:
            before |= tf.equal(ordered[:, None, :], values[:, :, None])
        return tf.reduce_sum(tf.cast(before, results[0].dtype), -1)

    return rule


RULES["LowerBound"] = Rule(_counted(True))
RULES["UpperBound"] = Rule(_counted(False))


@_rule("InTopKV2")
def _in_top_k(predictions: Any, targets: Any, k: Any, **_: Any) -> Any:
    chosen = tf.gather(predictions, targets[:, None], batch_dims=1)
    higher = tf.reduce_sum(tf.cast(predictions > chosen, tf.int32), 1)
    inside = (targets >= 0) & (targets < tf.cast(tf.shape(predictions)[1], targets.dtype))
    return (higher < tf.cast(k, tf.int32)) & inside & tf.math.is_finite(chosen[:, 0])


@_rule("UniqueWithCounts", always=True)
def _unique_with_counts(x: Any, *, results: Any, **_: Any) -> Any:
    y, places = tf.unique(x, results[1].dtype)
    same = tf.equal(places[None, :], tf.range(tf.size(y), dtype=places.dtype)[:, None])
    return y, places, tf.reduce_sum(tf.cast(same, results[2].dtype), 1)


@_rule("DynamicPartition", always=True)
def _dynamic_partition(x: Any, partitions: Any, *, results: Any, **_: Any) -> Any:
    rank = len(partitions.shape)
    rest = sizes(x)[rank:]
    rows, numbers = tf.reshape(x, [-1, *rest]), tf.reshape(partitions, [-1])
    return [tf.gather(rows, tf.where(tf.equal(numbers, n))[:, 0]) for n in range(len(results))]


@_rule("DynamicStitch", "ParallelDynamicStitch")
def _dynamic_stitch(*operands: Any, **_: Any) -> Any:
    count = len(operands) // 2
    places, parts = operands[:count], operands[count:]
    rest = sizes(parts[0])[len(places[0].shape) :]
    rows = tf.concat([tf.reshape(part, [-1, *rest]) for part in parts], 0)
    if all(isinstance(place, np.ndarray) for place in places):
        flat = np.concatenate([place.reshape(-1) for place in places])
        source = np.zeros(flat.max(initial=-1) + 1, np.int32)
        source[flat] = np.arange(flat.size)
        return tf.gather(rows, source)
    flat = tf.concat([tf.reshape(place, [-1]) for place in places], 0)
    zeros = tf.zeros([tf.reduce_max(flat) + 1, *rest], rows.dtype)
    return tf.tensor_scatter_nd_update(zeros, flat[:, None], rows)


def _segments(kind: str) -> Callable[..., Any]:
    def rule(x: Any, numbers: Any, **_: Any) -> Any:
        numbers = tf.convert_to_tensor(numbers)
        inside = tf.equal(numbers[None, :], tf.range(numbers[-1] + 1)[:, None])
        rank = len(x.shape)
        inside = tf.reshape(inside, [*tf.unstack(tf.shape(inside)), *[1] * (rank - 1)])
        reduce, empty = {
            "Sum": (tf.reduce_sum, 0), "Mean": (tf.reduce_sum, 0), "Prod": (tf.reduce_prod, 1),
            "Max": (tf.reduce_max, x.dtype.min), "Min": (tf.reduce_min, x.dtype.max),
        }[kind]  # fmt: skip
        found = reduce(tf.where(inside, x[None], tf.cast(empty, x.dtype)), 1)
        many = tf.reduce_sum(tf.cast(inside, x.dtype), 1)
        if kind == "Mean":
            return found / tf.maximum(many, 1)
        return tf.where(many > 0, found, 0) if kind in ("Max", "Min") else found

    return rule


for _kind in ("Sum", "Mean", "Max", "Min", "Prod"):
    RULES[f"Segment{_kind}"] = Rule(_segments(_kind), always=True)


@_rule("DenseBincount", "Bincount", always=True)
def _bincount(x: Any, size: Any, weights: Any, *, binary_output: bool = False, **a: Any) -> Any:
    dtype = a["results"][0].dtype
    hits = tf.equal(x[..., None], tf.range(tf.cast(size, x.dtype), dtype=x.dtype))
    if binary_output:
        return tf.cast(tf.reduce_any(hits, -2), dtype)
    if 0 in weights.shape:
        return tf.reduce_sum(tf.cast(hits, dtype), -2)
    return tf.reduce_sum(tf.where(hits, weights[..., None], tf.cast(0, dtype)), -2)


@_rule("HistogramFixedWidth", always=True)
def _histogram(x: Any, limits: Any, count: Any, *, results: Any, **_: Any) -> Any:
    low, high = limits[0], limits[1]
    bins = tf.cast(count, x.dtype)
    place = tf.floor((tf.reshape(x, [-1]) - low) / (high - low) * bins)
    place = tf.cast(tf.clip_by_value(place, 0, bins - 1), tf.int32)
    hits = tf.equal(place[:, None], tf.range(count))
    return tf.reduce_sum(tf.cast(hits, results[0].dtype), 0)


def _range(start: Any, limit: Any, step: Any, **_: Any) -> Any:
    start, limit, step = (tf.convert_to_tensor(v) for v in (start, limit, step))
    if start.dtype.is_floating:
        count = tf.cast(tf.math.ceil((limit - start) / step), tf.int32)
    else:
        count = tf.cast(-tf.math.floordiv(start - limit, step), tf.int32)
    return start + step * tf.cast(tf.range(tf.maximum(count, 0)), start.dtype)


def _counts(operands: Sequence[np.ndarray | None]) -> bool:
    """Tell whether a range counts from 0 in steps of 1."""
    start, _, step = operands
    return start is not None and step is not None and start == 0 and step == 1


RULES["Range"] = Rule(_range, unless=_counts)


@_rule("Ndtri")
def _ndtri(x: Any, **_: Any) -> Any:
    return tf.math.erfinv(2 * x - 1) * tf.cast(np.sqrt(2.0), x.dtype)


@_rule("DepthToSpace")
def _depth_to_space(x: Any, *, block_size: int, **_: Any) -> Any:
    n, h, w, c = sizes(x)
    parts = tf.reshape(x, [n, h, w, block_size, block_size, c // block_size**2])
    moved = tf.transpose(parts, [0, 1, 3, 2, 4, 5])
    return tf.reshape(moved, [n, h * block_size, w * block_size, c // block_size**2])


@_rule("SpaceToDepth")
def _space_to_depth(x: Any, *, block_size: int, **_: Any) -> Any:
    n, h, w, c = sizes(x)
    parts = tf.reshape(x, [n, h // block_size, block_size, w // block_size, block_size, c])
    moved = tf.transpose(parts, [0, 1, 3, 2, 4, 5])
    return tf.reshape(moved, [n, h // block_size, w // block_size, c * block_size**2])


@_rule("ExtractImagePatches")
def _patches(x: Any, *, ksizes: Any, strides: Any, rates: Any, padding: str, **_: Any) -> Any:
    image = sizes(x)[1:3]
    pads, counts = [[0, 0]], []
    for axis in (1, 2):
        extent = (ksizes[axis] - 1) * rates[axis] + 1
        if padding == "SAME":
            count = -(-image[axis - 1] // strides[axis])
            missing = tf.maximum((count - 1) * strides[axis] + extent - image[axis - 1], 0)
            pads.append([missing // 2, missing - missing // 2])
        else:
            count = (image[axis - 1] - extent) // strides[axis] + 1
            pads.append([0, 0])
        counts.append(count)
    padded = tf.pad(x, [*pads, [0, 0]])
    parts = []
    for row in range(ksizes[1]):
        for column in range(ksizes[2]):
            top, left = row * rates[1], column * rates[2]
            rows = top + (counts[0] - 1) * strides[1] + 1
            columns = left + (counts[1] - 1) * strides[2] + 1
            parts.append(padded[:, top : rows : strides[1], left : columns : strides[2]])
    return tf.concat(parts, -1)


@_rule("AdjustContrastv2")
def _adjust_contrast(x: Any, factor: Any, **_: Any) -> Any:
    mean = tf.reduce_mean(x, [-3, -2], keepdims=True)
    return (x - mean) * tf.cast(factor, x.dtype) + mean


@_rule("RGBToHSV")
def _to_hsv(x: Any, **_: Any) -> Any:
    red, green, blue = tf.unstack(x, axis=-1)
    value = tf.reduce_max(x, -1)
    spread = value - tf.reduce_min(x, -1)
    saturation = tf.where(value > 0, spread / value, 0)
    turn = 1 / (6 * spread)
    hue = tf.where(
        tf.equal(red, value),
        turn * (green - blue),
        tf.where(
            tf.equal(green, value),
            turn * (blue - red) + 2 / 6,
            turn * (red - green) + 4 / 6,
        ),
    )
    hue = tf.where(spread > 0, hue, 0)
    return tf.stack([tf.where(hue < 0, hue + 1, hue), saturation, value], -1)


@_rule("HSVToRGB")
def _to_rgb(x: Any, **_: Any) -> Any:
    hue, saturation, value = tf.unstack(x, axis=-1)
    angle = hue * 6
    parts = [tf.abs(angle - 3) - 1, 2 - tf.abs(angle - 2), 2 - tf.abs(angle - 4)]
    bright = [(1 - saturation) + saturation * tf.clip_by_value(p, 0, 1) for p in parts]
    return tf.stack([value * part for part in bright], -1)


@_rule("AdjustHue")
def _adjust_hue(x: Any, delta: Any, **_: Any) -> Any:
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(x), axis=-1)
    hue = tf.math.floormod(hue + tf.cast(delta, x.dtype), 1)
    return tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], -1))


@_rule("AdjustSaturation")
def _adjust_saturation(x: Any, scale: Any, **_: Any) -> Any:
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(x), axis=-1)
    saturation = tf.clip_by_value(saturation * tf.cast(scale, x.dtype), 0, 1)
    return tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], -1))


@_rule("Diag")
def _diag(x: Any, **_: Any) -> Any:
    shape = sizes(x)
    return tf.reshape(tf.linalg.diag(tf.reshape(x, [-1])), [*shape, *shape])


@_rule("TridiagonalMatMul")
def _tridiagonal_product(upper: Any, middle: Any, lower: Any, x: Any, **_: Any) -> Any:
    upper, middle, lower = (
        tf.linalg.matrix_transpose(d) if d.shape[-2] == 1 else d for d in (upper, middle, lower)
    )
    zero = tf.zeros_like(x[..., :1, :])
    below, above = tf.concat([x[..., 1:, :], zero], -2), tf.concat([zero, x[..., :-1, :]], -2)
    return upper * below + middle * x + lower * above


@_rule("FakeQuantWithMinMaxVarsPerChannel")
def _fake_quant(x: Any, low: Any, high: Any, *, num_bits: int = 8, **a: Any) -> Any:
    first = 1.0 if a.get("narrow_range") else 0.0
    last = 2.0**num_bits - 1
    scale = (high - low) / (last - first)
    zero = tf.clip_by_value(tf.floor(first - low / scale + 0.5), first, last)
    start, end = (first - zero) * scale, (last - zero) * scale
    steps = tf.floor((tf.clip_by_value(x, start, end) - start) / scale + 0.5)
    return steps * scale + start


@_rule("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
def _quantize(x: Any, low: Any, high: Any, bits: Any = None, **a: Any) -> Any:
    count = int(bits) if bits is not None else a.get("num_bits", 8)
    signed, given = a.get("signed_input", True), a.get("range_given", False)
    if not given:
        low, high = tf.reduce_min(x), tf.reduce_max(x)
    least = -(2.0 ** (count - 1)) + float(a.get("narrow_range", False)) if signed else 0.0
    most = 2.0 ** (count - 1) - 1 if signed else 2.0**count - 1
    largest = tf.constant(x.dtype.max, x.dtype)
    by_low = tf.where(least * low > 0, least / low, largest)
    by_high = tf.where(most * high > 0, most / high, largest)
    scale = tf.minimum(by_low, by_high)
    kept = tf.clip_by_value(x, least / scale, most / scale) if given else x
    up = a.get("round_mode", "HALF_TO_EVEN") == "HALF_UP"
    steps = tf.floor(kept * scale + 0.5) if up else tf.round(kept * scale)
    return steps / scale


def _over(transform: Callable[[Any], Any], x: Any, axis: int) -> Any:
    """Apply a transform of the last axis to another one, counted from the end."""
    order = list(range(len(x.shape)))
    order[axis], order[-1] = order[-1], order[axis]
    return tf.transpose(transform(tf.transpose(x, order)), order)


@_rule("FFT2D")
def _fft2d(x: Any, **_: Any) -> Any:
    return _over(tf.signal.fft, tf.signal.fft(x), -2)


@_rule("IFFT2D")
def _ifft2d(x: Any, **_: Any) -> Any:
    return _over(tf.signal.ifft, tf.signal.ifft(x), -2)


@_rule("FFT3D")
def _fft3d(x: Any, **_: Any) -> Any:
    return _over(tf.signal.fft, _fft2d(x), -3)


@_rule("IFFT3D")
def _ifft3d(x: Any, **_: Any) -> Any:
    return _over(tf.signal.ifft, _ifft2d(x), -3)


for _table in (sampling.RULES, gradients.RULES):
    RULES.update({name: Rule(*found) for name, found in _table.items()})
