"""Cases of the most used operators with random shapes, attributes and quantization, by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.tflite.builder import TYPES, T, single
from tests.tflite.cases import c, q
from tests.tflite.harness import Case

KINDS = ("f32", "i8", "i16")
_SAME, _VALID = 0, 1

Drawn = tuple[str, Sequence[T], T, str, dict[str, Any]]
"""Operator, inputs, output, name of the options, and their fields."""


class Random:
    """What cases are drawn from."""

    def __init__(self, seed: Sequence[int]) -> None:
        self.rng = np.random.default_rng(seed)

    def number(self, low: int, high: int) -> int:
        """Return an integer between both, inclusive."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, *choices: Any) -> Any:
        """Return one of ``choices``."""
        return choices[self.number(0, len(choices) - 1)]

    def shape(self, rank: int, low: int = 1, high: int = 9) -> tuple[int, ...]:
        """Return sizes."""
        return tuple(self.number(low, high) for _ in range(rank))

    def tensor(self, kind: str, shape: Sequence[int] = (), *, spread: float = 3.0) -> T:
        """Return a tensor of values up to about ``spread``, with a scale for integers."""
        if kind == "f32":
            return T("f32", tuple(shape), -spread, spread)
        steps = {"i8": 128, "i16": 32768, "ui8": 128}[kind]
        scale = spread / steps * float(self.rng.uniform(0.5, 1.5))
        zero = {"i8": self.number(-20, 20), "i16": 0, "ui8": self.number(100, 150)}[kind]
        return q(kind, *shape, scale=scale, zero=zero)

    def weights(self, kind: str, shape: Sequence[int], axis: int | None) -> T:
        """Return constant weights: floats, or 8 bits per channel along ``axis``."""
        if kind == "f32":
            return c(self.rng.uniform(-1, 1, shape), "f32")
        if kind == "ui8":
            data, scale = self.rng.integers(0, 256, shape), self.rng.uniform(0.002, 0.02)
            return c(data, "ui8", scale=scale, zero=self.number(110, 140))
        data = self.rng.integers(-127, 128, shape)
        count = 1 if axis is None else shape[axis]
        scales = self.rng.uniform(0.002, 0.02, count)
        return c(data, "i8", scale=scales if axis is not None else scales[0], axis=axis or 0)

    def bias(self, kind: str, x: T, w: T, count: int, wide: str = "") -> T:
        """Return a bias, for operands of 16 bits of one of two types where ``wide`` is none."""
        if kind == "f32":
            return c(self.rng.uniform(-1, 1, count), "f32")
        wide = "i32" if kind in ("i8", "ui8") else wide or self.pick("i32", "i64")
        data = self.rng.integers(-3000, 3000, count)
        return c(data, wide, scale=np.multiply(x.scale, w.scale))

    def window(self) -> dict[str, int]:
        """Return padding and strides."""
        return {
            "padding": self.pick(_SAME, _VALID), "strideH": self.number(1, 3),
            "strideW": self.number(1, 3),
        }  # fmt: skip


def draw(family: str, kind: str, seed: int) -> Case:
    """Return the case of one seed; equal seeds give equal cases.

    Odd seeds leave the first dimension of the inputs open.
    """
    r = Random([seed, sum(f"{family} {kind}".encode())])
    op, inputs, output, options, fields = FAMILIES[family](r, kind)
    if seed % 2:
        inputs = [t if t is None or t.data is not None else _opened(t) for t in inputs]
    given = [t for t in inputs if t is not None and t.data is None]
    arrays: list[NDArray] = [t.random(r.rng) for t in given]
    optimized = fields.pop("optimized", False)
    model = single(op, inputs, [output], options, **fields)
    return Case(f"{family} {kind} {seed}", model, [arrays], 1e-5, 1e-5, 0, optimized)


def _opened(t: T) -> T:
    return replace(t, signature=(-1, *t.shape[1:]))


def _spread(count: int) -> float:
    return float(np.sqrt(count)) * 0.8


def _conv(r: Random, kind: str) -> Drawn:
    groups = r.pick(1, 1, 1, 2, 3)
    depth, outputs = groups * r.number(1, 6), groups * r.number(1, 6)
    kernel = r.shape(2, 1, 4)
    dilations = r.pick((1, 1), (1, 1), (2, 1), (2, 3))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    x = r.tensor(kind, (r.number(1, 2), *(n + r.number(0, 7) for n in reach), depth))
    w = r.weights(kind, (outputs, *kernel, depth // groups), 0)
    fields = r.window() | {
        "dilationHFactor": dilations[0], "dilationWFactor": dilations[1],
        "fusedActivationFunction": r.number(0, 3),
    }  # fmt: skip
    y = r.tensor(kind, spread=_spread(kernel[0] * kernel[1] * depth))
    bias = r.bias(kind, x, w, outputs)
    return "CONV_2D", [x, w, bias], y, "Conv2DOptions", fields | _bias_type(bias)


def _depthwise(r: Random, kind: str) -> Drawn:
    depth, multiplier = r.number(1, 9), r.number(1, 3)
    kernel = r.shape(2, 1, 4)
    dilations = r.pick((1, 1), (1, 1), (2, 1), (2, 3))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    x = r.tensor(kind, (r.number(1, 2), *(n + r.number(0, 7) for n in reach), depth))
    w = r.weights(kind, (1, *kernel, depth * multiplier), 3)
    fields = r.window() | {
        "depthMultiplier": multiplier, "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1], "fusedActivationFunction": r.number(0, 3),
    }  # fmt: skip
    y = r.tensor(kind, spread=_spread(kernel[0] * kernel[1]))
    bias = r.bias(kind, x, w, depth * multiplier, "i64")
    return "DEPTHWISE_CONV_2D", [x, w, bias], y, "DepthwiseConv2DOptions", fields


def _bias_type(bias: T | None) -> dict[str, int]:
    """Return the field that tells kernels for 16 bits that sums have 32 bits."""
    return {"quantizedBiasType": TYPES["i32"]} if bias is not None and bias.kind == "i32" else {}


def _transpose_conv(r: Random, kind: str) -> Drawn:
    depth, outputs = r.number(1, 6), r.number(1, 6)
    kernel, image = r.shape(2, 1, 4), r.shape(2, 1, 7)
    fields = r.window()
    strides = fields["strideH"], fields["strideW"]
    same = fields["padding"] == _SAME
    sizes = [
        n * s if same else (n - 1) * s + max(k, s) + r.number(0, s - 1)
        for n, s, k in zip(image, strides, kernel, strict=True)
    ]
    if not same:
        # Only as many windows as the image has elements may fit.
        sizes = [(n - 1) * s + k for n, s, k in zip(image, strides, kernel, strict=True)]
    batch = r.number(1, 2)
    x = r.tensor(kind, (batch, *image, depth))
    w = r.weights(kind, (outputs, *kernel, depth), 0)
    y = r.tensor(kind, spread=_spread(kernel[0] * kernel[1] * depth))
    bias = r.bias(kind, x, w, outputs) if r.number(0, 2) else None
    inputs = [c([batch, *sizes, outputs]), w, x, *([bias] if bias is not None else [])]
    return "TRANSPOSE_CONV", inputs, y, "TransposeConvOptions", fields | _bias_type(bias)


def _fully_connected(r: Random, kind: str) -> Drawn:
    depth, outputs = r.number(1, 40), r.number(1, 20)
    x = r.tensor(kind, (*r.shape(r.number(1, 2), 1, 5), depth))
    w = r.weights(kind, (outputs, depth), None if kind != "i8" else r.pick(None, 0))
    y = r.tensor(kind, spread=_spread(depth))
    fields = {"keepNumDims": bool(r.number(0, 1)), "fusedActivationFunction": r.number(0, 3)}
    bias = r.bias(kind, x, w, outputs) if r.number(0, 2) else None
    return "FULLY_CONNECTED", [x, w, bias], y, "FullyConnectedOptions", fields | _bias_type(bias)


def _batch_matmul(r: Random, kind: str) -> Drawn:
    rows, depth, columns = r.number(1, 6), r.number(1, 20), r.number(1, 6)
    batch = r.shape(r.number(0, 2), 1, 3)
    other = tuple(1 if r.number(0, 3) == 0 else n for n in batch)
    turned = bool(r.number(0, 1)), bool(r.number(0, 1))
    shapes = ((rows, depth), (depth, columns))
    sides = [s[::-1] if t else s for s, t in zip(shapes, turned, strict=True)]
    pair = [r.tensor(kind, (*b, *s)) for b, s in zip((batch, other), sides, strict=True)]
    y = r.tensor(kind, spread=_spread(depth) * 3)
    fields = {"adjX": turned[0], "adjY": turned[1]}
    return "BATCH_MATMUL", pair, y, "BatchMatMulOptions", fields


def _pool(op: str) -> Callable[[Random, str], Drawn]:
    def build(r: Random, kind: str) -> Drawn:
        kernel = r.shape(2, 1, 4)
        x = r.tensor(kind, (r.number(1, 2), *(k + r.number(0, 6) for k in kernel), r.number(1, 9)))
        y = T(kind, scale=x.scale, zero=x.zero)
        fields = r.window() | {
            "filterHeight": kernel[0], "filterWidth": kernel[1],
            "fusedActivationFunction": r.number(0, 3),
        }  # fmt: skip
        return op, [x], y, "Pool2DOptions", fields

    return build


def _resize(op: str) -> Callable[[Random, str], Drawn]:
    def build(r: Random, kind: str) -> Drawn:
        x = r.tensor(kind, (r.number(1, 2), *r.shape(2, 1, 8), r.number(1, 5)))
        y = T(kind, scale=x.scale, zero=x.zero)
        half = bool(r.number(0, 1))
        aligned = not half and bool(r.number(0, 1))
        name = "ResizeBilinear" if "BILINEAR" in op else "ResizeNearestNeighbor"
        fields = {"alignCorners": aligned, "halfPixelCenters": half}
        return op, [x, c(list(r.shape(2, 1, 14)))], y, f"{name}Options", fields

    return build


def _pad(r: Random, kind: str) -> Drawn:
    rank = r.number(1, 4)
    x = r.tensor(kind, r.shape(rank, 2, 6))
    y = T(kind, scale=x.scale, zero=x.zero)
    op = r.pick("PAD", "PADV2", "MIRROR_PAD") if kind != "i16" else "PAD"
    amounts = c(r.rng.integers(0, 2 if op == "MIRROR_PAD" else 4, (rank, 2)))
    if op == "PADV2":
        number = 1.5 if kind == "f32" else 7
        filler = c(number, kind, **({} if kind == "f32" else {"scale": x.scale, "zero": x.zero}))
        return op, [x, amounts, filler], y, "", {}
    fields = {"mode": r.number(0, 1)} if op == "MIRROR_PAD" else {}
    return op, [x, amounts], y, "MirrorPadOptions" if fields else "", fields


def _strided_slice(r: Random, kind: str) -> Drawn:
    rank = r.number(1, 4)
    shape = r.shape(rank, 1, 8)
    x = r.tensor(kind, shape)
    strides = [r.pick(1, 1, 2, 3, -1, -2) for _ in shape]
    begin = [r.number(-n - 1, n + 1) for n in shape]
    end = [r.number(-n - 1, n + 1) for n in shape]
    shrink = sum(1 << i for i in range(rank) if r.number(0, 4) == 0)
    for i, n in enumerate(shape):
        if shrink >> i & 1:
            begin[i], strides[i] = r.number(-n, n - 1), 1
            end[i] = begin[i] + 1
    every = (1 << rank) - 1
    fields = {
        "beginMask": r.number(0, every) & ~shrink, "endMask": r.number(0, every) & ~shrink,
        "shrinkAxisMask": shrink,
    }  # fmt: skip
    y = T(kind, scale=x.scale, zero=x.zero)
    return "STRIDED_SLICE", [x, c(begin), c(end), c(strides)], y, "StridedSliceOptions", fields


def _reduce(op: str) -> Callable[[Random, str], Drawn]:
    def build(r: Random, kind: str) -> Drawn:
        rank = r.number(1, 4)
        x = r.tensor(kind, r.shape(rank, 1, 7))
        count = r.number(1, rank)
        axes = [int(a) - rank * r.number(0, 1) for a in r.rng.permutation(rank)[:count]]
        copies = op.startswith("REDUCE_M")
        y = T(kind, scale=x.scale, zero=x.zero) if copies else r.tensor(kind, spread=2.0)
        fields: dict[str, Any] = {"keepDims": bool(r.number(0, 1))}
        if op == "SUM" and kind != "f32":
            fields["optimized"] = True
        return op, [x, c(axes)], y, "ReducerOptions", fields

    return build


def _softmax(r: Random, kind: str) -> Drawn:
    x = r.tensor(kind, r.shape(r.number(1, 4), 1, 12), spread=r.pick(1.0, 8.0))
    target = {"i8": (1 / 256, -128), "i16": (1 / 32768, 0)}.get(kind)
    y = T("f32") if target is None else q(kind, scale=target[0], zero=target[1])
    return "SOFTMAX", [x], y, "SoftmaxOptions", {"beta": r.pick(1.0, 1.0, 0.5)}


def _binary(op: str) -> Callable[[Random, str], Drawn]:
    def build(r: Random, kind: str) -> Drawn:
        shape = r.shape(r.number(1, 4), 1, 6)
        other = [1 if r.number(0, 3) == 0 else n for n in shape][r.number(0, len(shape) - 1) :]
        pair = [r.tensor(kind, shape), r.tensor(kind, other)]
        if r.number(0, 1):
            pair.reverse()
        fields: dict[str, Any] = {"fusedActivationFunction": r.number(0, 3)}
        if op != "MUL":
            fields["potScaleInt16"] = False
        y = r.tensor(kind, spread=8.0 if op == "MUL" else 5.0)
        return op, pair, y, f"{op.title()}Options", fields

    return build


def _concatenation(r: Random, kind: str) -> Drawn:
    shape = list(r.shape(r.number(1, 4), 1, 5))
    axis = r.number(0, len(shape) - 1)
    first = r.tensor(kind, shape)
    parts = [first]
    for _ in range(r.number(1, 3)):
        part = [r.number(1, 5) if d == axis else n for d, n in enumerate(shape)]
        parts.append(
            T(kind, tuple(part), first.low, first.high, scale=first.scale, zero=first.zero)
        )
    y = T(kind, scale=first.scale, zero=first.zero)
    fields = {"axis": axis - len(shape) * r.number(0, 1)}
    return "CONCATENATION", parts, y, "ConcatenationOptions", fields


FAMILIES: dict[str, Callable[[Random, str], Drawn]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "RESIZE_BILINEAR": _resize("RESIZE_BILINEAR"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("RESIZE_NEAREST_NEIGHBOR"),
    "PAD": _pad,
    "STRIDED_SLICE": _strided_slice,
    "MEAN": _reduce("MEAN"),
    "SUM": _reduce("SUM"),
    "REDUCE_MAX": _reduce("REDUCE_MAX"),
    "REDUCE_MIN": _reduce("REDUCE_MIN"),
    "SOFTMAX": _softmax,
    "ADD": _binary("ADD"),
    "SUB": _binary("SUB"),
    "MUL": _binary("MUL"),
    "CONCATENATION": _concatenation,
}
