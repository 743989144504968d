"""Diagonals of matrices, and images sampled at other places: rules of ``decompositions``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def _sizes(x: Any) -> list[Any]:
    shape = tf.shape(x)
    return [shape[n] if size is None else size for n, size in enumerate(x.shape)]


def _bands(k: Any) -> tuple[int, int]:
    """Return the lowest and the highest diagonal."""
    known = np.reshape(k, [-1])
    return int(known[0]), int(known[-1])


def _places(rows: Any, columns: Any, k: Any, align: str) -> tuple[Any, Any]:
    """Return where each entry [rows, columns] lies in the packed diagonals, and whether it does.

    The packed diagonals [count, longest] are laid out in a row, the highest first.
    """
    low, high = _bands(k)
    above, below = align.split("_") if align else ("RIGHT", "LEFT")
    i, j = tf.range(rows)[:, None], tf.range(columns)[None, :]
    d = j - i
    longest = _longest(rows, columns, low, high)
    length = tf.minimum(rows + tf.minimum(d, 0), columns - tf.maximum(d, 0))
    to_right = tf.where(d >= 0, above == "RIGHT", below == "RIGHT")
    start = tf.where(to_right, longest - length, 0)
    place = (high - d) * longest + start + tf.minimum(i, j)
    inside = (d >= low) & (d <= high)
    return tf.where(inside, place, 0), inside


def _longest(rows: Any, columns: Any, low: int, high: int) -> Any:
    return tf.minimum(rows + min(high, 0), columns + min(-low, 0))


def _packed(diagonal: Any, k: Any) -> Any:
    """Return diagonals [..., count * longest]."""
    low, high = _bands(k)
    if low == high:
        return diagonal
    *batch, count, longest = _sizes(diagonal)
    return tf.reshape(diagonal, [*batch, count * longest])


def diag(diagonal: Any, k: Any, rows: Any, columns: Any, padding: Any, **a: Any) -> Any:
    """``MatrixDiagV3``."""
    low, high = _bands(k)
    longest = _sizes(diagonal)[-1]
    known = all(isinstance(size, np.ndarray) for size in (rows, columns))
    if known and int(rows) < 0 and int(columns) < 0:
        rows = columns = longest + max(abs(low), abs(high)) if low * high >= 0 else longest
    elif known and int(rows) < 0:
        rows = longest - min(high, 0)
    elif known and int(columns) < 0:
        columns = longest + max(low, 0)
    places, inside = _places(rows, columns, k, a.get("align", ""))
    found = tf.gather(_packed(diagonal, k), places, axis=-1)
    return tf.where(inside, found, tf.cast(padding, found.dtype))


def set_diag(x: Any, diagonal: Any, k: Any, **a: Any) -> Any:
    """``MatrixSetDiagV3``."""
    rows, columns = _sizes(x)[-2:]
    places, inside = _places(rows, columns, k, a.get("align", ""))
    return tf.where(inside, tf.gather(_packed(diagonal, k), places, axis=-1), x)


def diag_part(x: Any, k: Any, padding: Any, **a: Any) -> Any:
    """``MatrixDiagPartV3``."""
    low, high = _bands(k)
    *batch, rows, columns = _sizes(x)
    longest = _longest(rows, columns, low, high)
    above, below = a.get("align", "RIGHT_LEFT").split("_")
    flat = tf.reshape(x, [*batch, rows * columns])
    parts = []
    for d in range(high, low - 1, -1):
        length = tf.minimum(rows + min(d, 0), columns - max(d, 0))
        right = (above if d >= 0 else below) == "RIGHT"
        at = tf.range(longest) - (longest - length if right else 0)
        inside = (at >= 0) & (at < length)
        place = (at + max(-d, 0)) * columns + at + max(d, 0)
        found = tf.gather(flat, tf.where(inside, place, 0), axis=-1)
        parts.append(tf.where(inside, found, tf.cast(padding, found.dtype)))
    return parts[0] if low == high else tf.stack(parts, -2)


def crop_and_resize(image: Any, boxes: Any, numbers: Any, size: Any, **a: Any) -> Any:
    """``CropAndResize``."""
    _, height, width, _ = _sizes(image)
    nearest = a.get("method", "bilinear") == "nearest"
    outside = tf.cast(a.get("extrapolation_value", 0.0), tf.float32)
    picked = tf.gather(tf.cast(image, tf.float32), numbers)

    def axis(low: Any, high: Any, count: Any, length: Any) -> tuple[Any, Any]:
        """Return the places [boxes, count], and whether they are inside."""
        last = tf.cast(length - 1, tf.float32)
        steps = tf.cast(tf.range(count), tf.float32)
        if int(count) > 1:
            place = low[:, None] * last + steps * ((high - low) * last / (count - 1))[:, None]
        else:
            place = 0.5 * (low + high)[:, None] * last + steps
        return place, (place >= 0) & (place <= last)

    y, y_inside = axis(boxes[:, 0], boxes[:, 2], size[0], height)
    x, x_inside = axis(boxes[:, 1], boxes[:, 3], size[1], width)

    def at(rows: Any, columns: Any) -> Any:
        rows = tf.cast(tf.clip_by_value(rows, 0, tf.cast(height - 1, tf.float32)), tf.int32)
        columns = tf.cast(tf.clip_by_value(columns, 0, tf.cast(width - 1, tf.float32)), tf.int32)
        found = tf.gather(picked, rows, axis=1, batch_dims=1)
        return tf.gather(found, columns, axis=2, batch_dims=1)

    if nearest:
        result = at(tf.floor(y + 0.5), tf.floor(x + 0.5))
    else:
        top, left = tf.floor(y), tf.floor(x)
        down, right = (y - top)[:, :, None, None], (x - left)[:, None, :, None]
        upper = at(top, left) * (1 - right) + at(top, left + 1) * right
        lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
        result = upper * (1 - down) + lower * down
    inside = y_inside[:, :, None, None] & x_inside[:, None, :, None]
    return tf.where(inside, result, outside)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Return Keys' cubic kernel (IEEE Trans. ASSP 29, 1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _lanczos(radius: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(np.abs(x) < radius, np.sinc(x) * np.sinc(x / radius), 0)


def _gaussian(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 1.5, np.exp(-(x**2) / (2 * 0.5**2)), 0)


_KERNELS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "lanczos1": (1, _lanczos(1)), "lanczos3": (3, _lanczos(3)), "lanczos5": (5, _lanczos(5)),
    "gaussian": (1.5, _gaussian), "box": (0.5, lambda x: np.where(np.abs(x) < 0.5, 1.0, 0.0)),
    "triangle": (1, lambda x: np.maximum(1 - np.abs(x), 0)),
    "keyscubic": (2, lambda x: _cubic(x, -0.5)),
    "mitchellcubic": (2, lambda x: _mitchell(np.abs(x))),
}  # fmt: skip


def _mitchell(x: np.ndarray) -> np.ndarray:
    near = (7 * x**3 - 12 * x**2 + 16 / 3) / 6
    far = (-7 / 3 * x**3 + 12 * x**2 - 20 * x + 32 / 3) / 6
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _apply(x: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """Multiply images with weights [out, in] of both axes."""
    x = tf.cast(x, tf.float32)
    x = tf.einsum("nhwc,oh->nowc", x, tf.constant(rows, tf.float32))
    return tf.einsum("nhwc,ow->nhoc", x, tf.constant(columns, tf.float32))


_STEPS = 1024  # the kernel is a table of as many entries between two pixels


def resize_bicubic(x: Any, size: Any, **a: Any) -> Any:
    """``ResizeBicubic``."""

    def weights(length: int, count: int) -> np.ndarray:
        half, corners = a.get("half_pixel_centers", False), a.get("align_corners", False)
        scale = (length - 1) / (count - 1) if corners and count > 1 else length / count
        place = (np.arange(count) + 0.5) * scale - 0.5 if half else np.arange(count) * scale
        first = np.floor(place).astype(int)
        part = np.rint((place - first) * _STEPS) / _STEPS
        found = np.zeros((count, length))
        for tap in range(-1, 3):
            weight = _cubic(part - tap, -0.5 if half else -0.75)
            at = first + tap
            if half:  # what lies outside does not count
                weight = np.where((at >= 0) & (at < length), weight, 0)
            np.add.at(found, (np.arange(count), np.clip(at, 0, length - 1)), weight)
        return found / found.sum(1, keepdims=True) if half else found

    return _apply(x, weights(x.shape[1], int(size[0])), weights(x.shape[2], int(size[1])))


def scale_and_translate(x: Any, size: Any, scale: Any, shift: Any, **a: Any) -> Any:
    """``ScaleAndTranslate``."""
    radius, kernel = _KERNELS[a.get("kernel_type", "lanczos3")]

    def weights(length: int, count: int, scale: float, shift: float) -> np.ndarray:
        inverse = 1 / scale
        wide = max(inverse, 1.0) if a.get("antialias", True) else 1.0
        place = (np.arange(count) + 0.5) * inverse - shift * inverse
        at = np.arange(length) + 0.5
        distance = (at[None, :] - place[:, None]) / wide
        found = np.where(np.abs(distance) <= radius + 1, kernel(distance), 0)
        total = found.sum(1, keepdims=True)
        found = np.divide(found, total, out=np.zeros_like(found), where=np.abs(total) > 1e-9)
        return np.where(((place < 0) | (place > length))[:, None], 0, found)

    parts = [
        weights(x.shape[n + 1], int(size[n]), float(scale[n]), float(shift[n])) for n in range(2)
    ]
    return _apply(x, *parts)


RULES: dict[str, tuple[Callable[..., Any], bool]] = {
    "CropAndResize": (crop_and_resize, True),
    "MatrixDiagPartV3": (diag_part, False),
    "MatrixDiagV3": (diag, False),
    "MatrixSetDiagV3": (set_diag, False),
    "ResizeBicubic": (resize_bicubic, True),
    "ScaleAndTranslate": (scale_and_translate, True),
}
