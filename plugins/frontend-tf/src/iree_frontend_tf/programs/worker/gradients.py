"""Rules of ``decompositions`` for gradients and training, and which sizes gradients sum over."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Klambauer et al., Self-Normalizing Neural Networks, 2017.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_DEFINED = re.compile(r'^\s*(%\w+) = "tf\.(Shape|Const)"\((%?\w*)\).*$')
_SHAPE_OF = re.compile(r" : \(tensor<([^>]*)>\) -> ")
_VALUE = re.compile(r"value = dense<\[?([-\d, ]*)\]?> : tensor<(\d+)xi")
_AXES = re.compile(
    r'^(\s*)(%\w+), (%\w+) = "tf\.BroadcastGradientArgs"\((%\w+), (%\w+)\).* -> '
    r"\(tensor<[^>]*x(i\d+)>, (tensor<[^>]*>)\)$"
)


def with_known_axes(text: str) -> str:
    """Replace the axes that gradients of broadcasts are summed over by constants.

    Only sizes that are statically 1 expand; two dynamic ones that meet are equal.
    """
    shapes: dict[str, list[str]] = {}
    lines = []
    for line in text.splitlines():
        defined = _DEFINED.match(line)
        if defined is not None:
            sizes = _sizes(line, defined[2])
            if sizes is not None:
                shapes[defined[1]] = sizes
        match = _AXES.match(line)
        if match is None or match[4] not in shapes or match[5] not in shapes:
            lines.append(line)
            continue
        pair = shapes[match[4]], shapes[match[5]]
        for name, axes in zip((match[2], match[3]), _summed(*pair), strict=True):
            known, kind = f"tensor<{len(axes)}x{match[6]}>", match[7]
            value = f"{{value = dense<{axes if axes else ''}> : {known}}}"
            lines.append(f'{match[1]}{name}_known = "tf.Const"() <{value}> : () -> {known}')
            cast = f'"tf.Cast"({name}_known) <{{Truncate = false}}> : ({known}) -> {kind}'
            lines.append(f"{match[1]}{name} = {cast}")
    return "\n".join(lines)


def _sizes(line: str, kind: str) -> list[str] | None:
    if kind == "Shape":
        found = _SHAPE_OF.search(line)
        return None if found is None or "*" in found[1] else found[1].split("x")[:-1]
    value = _VALUE.search(line)
    if value is None:
        return None
    sizes = [size.strip() for size in value[1].split(",") if size.strip()]
    return sizes * int(value[2]) if len(sizes) == 1 else sizes


def _summed(a: list[str], b: list[str]) -> tuple[list[int], list[int]]:
    rank = max(len(a), len(b))
    wide = [["1"] * (rank - len(s)) + s for s in (a, b)]
    return (
        [n for n in range(rank) if wide[0][n] == "1" != wide[1][n]],
        [n for n in range(rank) if wide[1][n] == "1" != wide[0][n]],
    )


def elu_gradient(gradients: Any, outputs: Any, **_: Any) -> Any:
    """``EluGrad``."""
    return tf.where(outputs < 0, gradients * (outputs + 1), gradients)


def selu_gradient(gradients: Any, outputs: Any, **_: Any) -> Any:
    """``SeluGrad``."""
    scale = tf.cast(_SELU_SCALE, outputs.dtype)
    low = gradients * (outputs + tf.cast(_SELU_SCALE * _SELU_ALPHA, outputs.dtype))
    return tf.where(outputs < 0, low, gradients * scale)


def sparse_cross_entropy(logits: Any, labels: Any, **_: Any) -> Any:
    """``SparseSoftmaxCrossEntropyWithLogits``: the loss, and its gradient."""
    chosen = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    logarithms = tf.nn.log_softmax(logits)
    return -tf.reduce_sum(chosen * logarithms, -1), tf.exp(logarithms) - chosen


def strided_slice_gradient(
    shape: Any, begin: Any, end: Any, strides: Any, gradients: Any, **a: Any
) -> Any:
    """``StridedSliceGrad``: what is sliced is numbered, and the numbers say where it goes."""
    size = tf.reduce_prod(shape)
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    places = tf.raw_ops.StridedSlice(
        input=tf.reshape(tf.range(tf.cast(size, tf.int32)), shape),
        begin=begin, end=end, strides=strides, **{name: a.get(name, 0) for name in names},
    )  # fmt: skip
    flat = tf.reshape(places, [-1])[:, None]
    rows = tf.reshape(gradients, [-1])
    zeros = tf.zeros([tf.cast(size, tf.int32)], gradients.dtype)
    return tf.reshape(tf.tensor_scatter_nd_add(zeros, flat, rows), shape)


def _unsorted(kind: str) -> Callable[..., Any]:
    def rule(x: Any, numbers: Any, count: Any, **_: Any) -> Any:
        shape = tf.shape(x)
        rank = len(numbers.shape)
        rest = [shape[n] if x.shape[n] is None else x.shape[n] for n in range(rank, len(x.shape))]
        add, start = {
            "Sum": (tf.tensor_scatter_nd_add, 0),
            "Max": (tf.tensor_scatter_nd_max, x.dtype.min),
            "Min": (tf.tensor_scatter_nd_min, x.dtype.max),
        }[kind]
        into = tf.fill([tf.cast(count, tf.int32), *rest], tf.cast(start, x.dtype))
        return add(into, tf.reshape(numbers, [-1, 1]), tf.reshape(x, [-1, *rest]))

    return rule


def batch_norm(x: Any, scale: Any, offset: Any, mean: Any, variance: Any, **a: Any) -> Any:
    """``FusedBatchNorm`` and its versions: the result, mean, variance, and what is reserved."""
    first = a.get("data_format", "NHWC").startswith("NC")
    axes = [n for n in range(len(x.shape)) if n != (1 if first else len(x.shape) - 1)]
    wide = tf.cast(x, tf.float32)
    epsilon, blend = a.get("epsilon", 1e-4), a.get("exponential_avg_factor", 1.0)
    used = [mean, variance]
    shown = [mean, variance]
    if a.get("is_training", True):
        used = [tf.reduce_mean(wide, axes), tf.math.reduce_variance(wide, axes)]
        sizes = tf.gather(tf.shape(x), axes)
        count = tf.cast(tf.reduce_prod(sizes), tf.float32)
        unbiased = used[1] * count / tf.maximum(count - 1, 1)
        shown = [used[0], unbiased]
        if blend != 1.0:
            pairs = zip((mean, variance), shown, strict=True)
            shown = [old * (1 - blend) + now * blend for old, now in pairs]

    def spread(value: Any) -> Any:
        return tf.reshape(value, [-1 if n not in axes else 1 for n in range(len(x.shape))])

    factor = spread(tf.math.rsqrt(used[1] + epsilon) * scale)
    y = tf.cast((wide - spread(used[0])) * factor + spread(offset), x.dtype)
    reserved = [*used, tf.zeros([0], tf.float32)][: len(a["results"]) - 3]
    return [y, *shown, *reserved]


def batch_norm_gradient(
    gradients: Any, x: Any, scale: Any, mean: Any, variance: Any, *rest: Any, **a: Any
) -> Any:
    """``FusedBatchNormGrad`` and its versions."""
    first = a.get("data_format", "NHWC").startswith("NC")
    axes = [n for n in range(len(x.shape)) if n != (1 if first else len(x.shape) - 1)]

    def spread(value: Any) -> Any:
        return tf.reshape(value, [-1 if n not in axes else 1 for n in range(len(x.shape))])

    wide, centred = tf.cast(gradients, tf.float32), tf.cast(x, tf.float32) - spread(mean)
    inverse = tf.math.rsqrt(variance + a.get("epsilon", 1e-4))
    for_offset = tf.reduce_sum(wide, axes)
    for_scale = tf.reduce_sum(wide * centred, axes)
    for_x = wide
    if a.get("is_training", True):
        count = tf.cast(tf.reduce_prod(tf.gather(tf.shape(x), axes)), tf.float32)
        along = spread(for_scale * inverse * inverse / count)
        for_x = wide - spread(for_offset / count) - centred * along
    for_x = tf.cast(for_x * spread(scale * inverse), x.dtype)
    nothing = tf.zeros([0], tf.float32)
    return [for_x, for_scale * inverse, for_offset, nothing, nothing]


RULES: dict[str, tuple[Callable[..., Any], bool]] = {
    "EluGrad": (elu_gradient, False),
    **{f"FusedBatchNorm{version}": (batch_norm, True) for version in ("", "V2", "V3")},
    **{f"FusedBatchNormGrad{v}": (batch_norm_gradient, True) for v in ("", "V2", "V3")},
    "SeluGrad": (selu_gradient, False),
    "SparseSoftmaxCrossEntropyWithLogits": (sparse_cross_entropy, False),
    "StridedSliceGrad": (strided_slice_gradient, False),
    "UnsortedSegmentMax": (_unsorted("Max"), False),
    "UnsortedSegmentMin": (_unsorted("Min"), False),
    "UnsortedSegmentSum": (_unsorted("Sum"), False),
}
