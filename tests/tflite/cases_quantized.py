"""Operators on scaled integers, and floats with integer weights."""

from __future__ import annotations

import numpy as np
from tests.tflite.builder import T
from tests.tflite.cases import add, c, q


def _integers(kind: str, *shape: int, scale: object, zero: object = 0, axis: int = 0) -> T:
    rng = np.random.default_rng(5)
    bound = {"i8": 127, "i32": 2000, "i64": 20000, "ui8": 255}[kind]
    low = 0 if kind == "ui8" else -bound
    data = rng.integers(low, bound + 1, shape)
    return c(data, kind, scale=scale, zero=zero, axis=axis)


def register() -> None:
    """Register all cases of this file."""
    for kind in ("i8", "ui8", "i16"):
        _elementwise(kind)
        _filters(kind)
        _others(kind)
        _moved(kind)
    _hybrid()
    _conversions()


def _elementwise(kind: str) -> None:
    x = q(kind, 3, 40, scale=0.04 if kind != "i16" else 0.0002)
    y = q(kind, 3, 40, scale=0.03 if kind != "i16" else 0.00017)
    out = q(kind, scale=0.07 if kind != "i16" else 0.0005, zero=None if kind != "i16" else 0)
    for op in ("ADD", "SUB", "MUL"):
        options = f"{op.title()}Options"
        extra = {"potScaleInt16": False} if op != "MUL" else {}
        for fused in (0, 1, 3):
            add(
                f"{op} {kind} {fused}", op, [x, y], [out], options,
                fusedActivationFunction=fused, **extra,
            )  # fmt: skip
    for op in ("EQUAL", "LESS", "GREATER_EQUAL") if kind != "i16" else ():
        add(f"{op} {kind}", op, [x, y], [T("i1")])
    add(f"MAXIMUM {kind}", "MAXIMUM", [x, x], [x])
    add(f"RELU {kind}", "RELU", [x], [out])
    add(f"RELU6 {kind}", "RELU6", [x], [out])
    add(f"LEAKY_RELU {kind}", "LEAKY_RELU", [x], [out], "LeakyReluOptions", alpha=0.3)
    if kind != "i16":
        add(f"PRELU {kind}", "PRELU", [x, _integers(kind, 1, 40, scale=0.01, zero=5)], [out])
        for op in ("HARD_SWISH", "RELU_N1_TO_1"):
            add(f"{op} {kind}", op, [x], [out])
        zero = -128 if kind == "i8" else 0
        add(f"LOGISTIC {kind}", "LOGISTIC", [x], [q(kind, scale=1 / 256, zero=zero)])
        middle = 0 if kind == "i8" else 128
        add(f"TANH {kind}", "TANH", [x], [q(kind, scale=1 / 128, zero=middle)])
    else:
        for op in ("LOGISTIC", "TANH"):
            for name, scale in (("", 0.0003), (" power of two", 1 / 4096)):
                source = q(kind, 3, 400, scale=scale)
                add(f"{op} {kind}{name}", op, [source], [q(kind, scale=1 / 32768)])
    if kind != "ui8":
        add(f"ABS {kind}", "ABS", [x], [out])
        for op in ("EXP", "LOG", "GELU"):
            if op == "GELU" and kind == "i16":
                continue
            source = q(kind, 3, 40, scale=0.01 if kind == "i8" else 0.00003)
            options = "GeluOptions" if op == "GELU" else ""
            add(f"{op} {kind}", op, [source], [out], options)
    if kind == "i8":
        add(f"ELU {kind}", "ELU", [x], [out], optimized=True)
        positive = T("i8", (3, 40), 0, 127, scale=0.1, zero=-1)
        add(f"RSQRT {kind}", "RSQRT", [positive], [out])
        add(f"SQUARED_DIFFERENCE {kind}", "SQUARED_DIFFERENCE", [x, y], [out])


def _filters(kind: str) -> None:
    """Images of ``kind``, 8-bit filters, biases of 32 bits (64 for 16-bit images)."""
    scale = 0.05 if kind != "i16" else 0.0003
    image = q(kind, 2, 7, 6, 4, scale=scale)
    out = q(kind, scale=0.9 if kind != "i16" else 0.006)
    weights, wide = ("ui8" if kind == "ui8" else "i8"), ("i64" if kind == "i16" else "i32")
    zero = 100 if kind == "ui8" else 0
    per_channel = [0.011, 0.021, 0.009, 0.03, 0.017]
    for name, scales in (("", 0.02), (" per channel", per_channel)):
        if name and kind == "ui8":
            continue
        # 8-bit signed convolutions are declared per channel, also with equal scales.
        w = _integers(weights, 5, 3, 2, 4, scale=scales, zero=zero)
        b = _integers(wide, 5, scale=1.0)
        biased = c(b.data, wide, scale=np.multiply(scale, scales))
        for padding in (0, 1):
            add(
                f"CONV_2D {kind}{name} {padding}", "CONV_2D", [image, w, biased], [out],
                "Conv2DOptions", padding=padding, strideH=2, strideW=1,
                fusedActivationFunction=3 if padding else 0,
            )  # fmt: skip
        if kind == "i16" and name == "":
            continue
        shape = [2, 14, 6, 5]
        if kind != "ui8":
            add(
                f"TRANSPOSE_CONV {kind}{name}", "TRANSPOSE_CONV",
                [c(shape), w, image, biased], [out],
                "TransposeConvOptions", padding=0, strideH=2, strideW=1,
            )  # fmt: skip
    channels = np.linspace(0.01, 0.03, 8)
    d = _integers(weights, 1, 3, 2, 8, scale=0.02 if kind == "ui8" else channels, zero=zero, axis=3)
    db = c(_integers(wide, 8, scale=1.0).data, wide, scale=np.multiply(scale, d.scale))
    add(
        f"DEPTHWISE_CONV_2D {kind}", "DEPTHWISE_CONV_2D", [image, d, db], [out],
        "DepthwiseConv2DOptions", padding=0, strideH=1, strideW=2, depthMultiplier=2,
    )  # fmt: skip
    rows = q(kind, 3, 16, scale=scale)
    w = _integers(weights, 5, 16, scale=0.02, zero=zero)
    b = c(_integers(wide, 5, scale=1.0).data, wide, scale=0.02 * scale)
    add(
        f"FULLY_CONNECTED {kind}", "FULLY_CONNECTED", [rows, w, b], [out],
        "FullyConnectedOptions", fusedActivationFunction=1,
    )  # fmt: skip
    if kind == "i8":
        w = _integers(weights, 5, 16, scale=per_channel)
        b = c(b.data, wide, scale=np.multiply(scale, per_channel))
        inputs = [rows, w, b]
        add(
            "FULLY_CONNECTED i8 per channel",
            "FULLY_CONNECTED",
            inputs,
            [out],
            "FullyConnectedOptions",
        )
    if kind != "ui8":
        a, m = q(kind, 2, 3, 8, scale=scale), q(kind, 2, 8, 5, scale=0.04)
        add(f"BATCH_MATMUL {kind}", "BATCH_MATMUL", [a, m], [out], "BatchMatMulOptions")


def _others(kind: str) -> None:
    x = q(kind, 2, 7, 6, 4)
    out = q(kind, scale=0.08)
    for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for padding in (0, 1):
            add(
                f"{op} {kind} {padding}", op, [x], [q(kind)], "Pool2DOptions",
                padding=padding, strideH=2, strideW=1, filterHeight=3, filterWidth=2,
            )  # fmt: skip
    for op in ("SUM", "MEAN") if kind != "ui8" else ("MEAN",):
        big = q(kind, scale=2.0) if op == "SUM" else out
        add(
            f"{op} {kind}",
            op,
            [x, c([1, 2])],
            [big],
            "ReducerOptions",
            keepDims=True,
            optimized=op == "SUM",
        )
    add(f"REDUCE_MAX {kind}", "REDUCE_MAX", [x, c([1])], [q(kind)], "ReducerOptions")
    if kind != "i16":
        add(f"ARG_MAX {kind}", "ARG_MAX", [x, c(3)], [T("i32")], "ArgMaxOptions", outputType=2)
    rows = q(kind, 3, 30, scale=0.1 if kind != "i16" else 0.0005)
    softmax = {"i8": (1 / 256, -128), "ui8": (1 / 256, 0), "i16": (1 / 32768, 0)}[kind]
    target = q(kind, scale=softmax[0], zero=softmax[1])
    add(f"SOFTMAX {kind}", "SOFTMAX", [rows], [target], "SoftmaxOptions", beta=1.0)
    if kind != "i16":
        unit = q(kind, scale=1 / 128, zero=128 if kind == "ui8" else 0)
        for width in (1, 30):
            data = q(kind, 4, width)
            add(f"L2_NORMALIZATION {kind} {width}", "L2_NORMALIZATION", [data], [unit],
                "L2NormOptions")  # fmt: skip
    if kind == "i8":
        features = _integers("i8", 8, 3, scale=0.01)
        times = c(np.arange(-24, 24).reshape(8, 6) * 700, "i16", scale=1e-4, zero=0)
        state = T("i16", (2, 48), variable=True, scale=0.0005, zero=0)
        offset = c(np.arange(4) * 999, "i32", scale=5e-8)
        add("SVDF i8", "SVDF", [q(kind, 2, 3), features, times, offset, state],
            [q(kind, scale=0.01, zero=-128)], "SVDFOptions", rank=2, fusedActivationFunction=1,
            calls=4)  # fmt: skip
        for scale in (0.02, 0.1, 0.6):
            data = q(kind, 9, 30, scale=scale)
            logs = q(kind, scale=16 / 256, zero=127)
            add(f"LOG_SOFTMAX {kind} {scale}", "LOG_SOFTMAX", [data], [logs], "LogSoftmaxOptions")
    if kind != "ui8":
        data = q(kind, 3, 5, 4, scale=0.015 if kind == "i8" else 0.00006)
        for name, axes in (("", [1]), (" all", [0, 1, 2]), (" outer", [0, 2])):
            product = q(kind, scale=0.02 if kind == "i8" else 0.0001)
            add(f"REDUCE_PROD {kind}{name}", "REDUCE_PROD", [data, c(axes)], [product],
                "ReducerOptions")  # fmt: skip
    pads = c([[0, 0], [1, 2], [0, 1], [0, 0]])
    add(f"PAD {kind}", "PAD", [x, pads], [q(kind)])
    add(f"CONCATENATION {kind}", "CONCATENATION", [x, x], [q(kind)], "ConcatenationOptions", axis=3)
    add(f"TRANSPOSE {kind}", "TRANSPOSE", [x, c([0, 3, 1, 2])], [q(kind)])
    add(
        f"RESIZE_BILINEAR {kind}", "RESIZE_BILINEAR", [x, c([13, 4])], [q(kind)],
        "ResizeBilinearOptions", halfPixelCenters=True,
    )  # fmt: skip
    add(
        f"RESHAPE {kind}", "RESHAPE", [x, c([2, -1])], [q(kind)], "ReshapeOptions", newShape=[2, -1]
    )


def _moved(kind: str) -> None:
    """Operators that leave integers as they are; input and output have one scale."""
    x, y = q(kind, 2, 4, 6, 3), q(kind)
    add(f"GATHER {kind}", "GATHER", [x, c([2, 0, 3])], [y], "GatherOptions", axis=1)
    add(f"GATHER_ND {kind}", "GATHER_ND", [x, c([[1, 2], [0, 3]])], [y])
    add(f"PACK {kind}", "PACK", [x, x], [y], "PackOptions", axis=1, valuesCount=2)
    add(f"UNPACK {kind}", "UNPACK", [x], [y] * 4, "UnpackOptions", axis=1, num=4)
    add(f"SPLIT {kind}", "SPLIT", [c(2), x], [y] * 3, "SplitOptions", numSplits=3)
    add(f"SLICE {kind}", "SLICE", [x, c([0, 1, 2, 0]), c([-1, 2, 3, 2])], [y])
    add(f"EXPAND_DIMS {kind}", "EXPAND_DIMS", [x, c(1)], [y])
    add(f"SELECT_V2 {kind}", "SELECT_V2", [T("i1", (2, 4, 6, 3)), x, x], [y])
    add(f"REVERSE_V2 {kind}", "REVERSE_V2", [x, c([1])], [y])
    # LiteRT's kernels of these two lack 16 bits.
    size = {"blockSize": 2}
    if kind != "i16":
        add(f"SPACE_TO_DEPTH {kind}", "SPACE_TO_DEPTH", [x], [y], "SpaceToDepthOptions", **size)
        deep = q(kind, 2, 2, 3, 12)
        add(f"DEPTH_TO_SPACE {kind}", "DEPTH_TO_SPACE", [deep], [y], "DepthToSpaceOptions", **size)
    blocks = [x, c([2, 3]), c([[1, 1], [0, 3]])]
    add(f"SPACE_TO_BATCH_ND {kind}", "SPACE_TO_BATCH_ND", blocks, [y])
    batches = [q(kind, 6, 2, 3, 2), c([2, 3]), c([[1, 0], [0, 2]])]
    add(f"BATCH_TO_SPACE_ND {kind}", "BATCH_TO_SPACE_ND", batches, [y])
    add(f"BROADCAST_TO {kind}", "BROADCAST_TO", [q(kind, 3, 1), c([2, 3, 4])], [y], version=2)
    add(f"TILE {kind}", "TILE", [x, c([1, 2, 1, 2])], [y])
    add(f"MINIMUM {kind}", "MINIMUM", [x, x], [y])
    add(f"REDUCE_MIN {kind}", "REDUCE_MIN", [x, c([1])], [y], "ReducerOptions")
    if kind != "i16":
        add(f"MIRROR_PAD {kind}", "MIRROR_PAD", [x, c([[0, 1], [2, 1], [1, 3], [0, 0]])], [y],
            "MirrorPadOptions", mode=0)  # fmt: skip
        filler = c(7, kind, scale=x.scale, zero=x.zero)
        add(f"PADV2 {kind}", "PADV2", [x, c([[0, 1], [2, 1], [1, 3], [0, 0]]), filler], [y])
        for op in ("NOT_EQUAL", "LESS_EQUAL", "GREATER"):
            add(f"{op} {kind}", op, [x, x], [T("i1")])
    add(f"FILL {kind}", "FILL", [c([2, 3]), q(kind)], [y])


def _hybrid() -> None:
    """Floats with 8-bit weights: scaled as the program runs."""
    rng = np.random.default_rng(3)
    bias = c(rng.uniform(-1, 1, 5), "f32")
    rows = T("f32", (3, 16))
    w = _integers("i8", 5, 16, scale=0.02)
    for asymmetric in (False, True):
        add(
            f"FULLY_CONNECTED hybrid{' asymmetric' if asymmetric else ''}", "FULLY_CONNECTED",
            [rows, w, bias], [T("f32")], "FullyConnectedOptions",
            asymmetricQuantizeInputs=asymmetric, rtol=1e-4, atol=1e-4,
        )  # fmt: skip
    image = T("f32", (2, 7, 6, 4))
    scales = [0.011, 0.021, 0.009, 0.03, 0.017]
    w = _integers("i8", 5, 3, 2, 4, scale=scales)
    add(
        "CONV_2D hybrid", "CONV_2D", [image, w, bias], [T("f32")], "Conv2DOptions",
        strideH=1, strideW=1, rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    d = _integers("i8", 1, 3, 2, 4, scale=scales[:4], axis=3)
    add(
        "DEPTHWISE_CONV_2D hybrid", "DEPTHWISE_CONV_2D",
        [image, d, c(rng.uniform(-1, 1, 4), "f32")], [T("f32")], "DepthwiseConv2DOptions",
        strideH=1, strideW=1, depthMultiplier=1, rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    loose = {"rtol": 1e-4, "atol": 1e-4}
    for name, turned, asymmetric in (("", False, False), (" turned", True, True)):
        y = _integers("i8", 2, *((5, 8) if turned else (8, 5)), scale=0.02)
        x = T("f32", (2, 8, 3) if turned else (2, 3, 8))
        add(
            f"BATCH_MATMUL hybrid{name}", "BATCH_MATMUL", [x, y], [T("f32")], "BatchMatMulOptions",
            adjX=turned, adjY=turned, asymmetricQuantizeInputs=asymmetric, **loose,
        )  # fmt: skip
    _hybrid_recurrent(loose)


def _hybrid_recurrent(loose: dict[str, float]) -> None:
    units, width, batch = 4, 3, 2
    w, r = _integers("i8", units, width, scale=0.01), _integers("i8", units, units, scale=0.01)
    b = c(np.linspace(-1, 1, units), "f32")
    state = T("f32", (batch, units), variable=True)
    sequence = T("f32", (batch, 5, width))
    inputs = [sequence, *[w] * 4, *[r] * 4, None, None, None, *[b] * 4, None, None, state, state]
    for asymmetric in (False, True):
        suffix = " asymmetric" if asymmetric else ""
        add(
            f"UNIDIRECTIONAL_SEQUENCE_LSTM hybrid{suffix}", "UNIDIRECTIONAL_SEQUENCE_LSTM",
            [*inputs, None, None, None, None], [T("f32")], "UnidirectionalSequenceLSTMOptions",
            fusedActivationFunction=4, asymmetricQuantizeInputs=asymmetric, **loose,
        )  # fmt: skip
    add(
        "UNIDIRECTIONAL_SEQUENCE_RNN hybrid", "UNIDIRECTIONAL_SEQUENCE_RNN",
        [sequence, w, r, b, state], [T("f32")], "SequenceRNNOptions", fusedActivationFunction=4,
        **loose,
    )  # fmt: skip
    add(
        "SVDF hybrid", "SVDF",
        [
            T("f32", (batch, width)), _integers("i8", 8, width, scale=0.01),
            _integers("i8", 8, 6, scale=0.01), b,
            T("f32", (batch, 48), variable=True),
        ],
        [T("f32")], "SVDFOptions", rank=2, **loose,
    )  # fmt: skip


def _conversions() -> None:
    for kind in ("i8", "ui8", "i16"):
        x = T("f32", (3, 40), -5, 5)
        add(f"QUANTIZE f32 {kind}", "QUANTIZE", [x], [q(kind)])
        add(f"DEQUANTIZE {kind}", "DEQUANTIZE", [q(kind, 3, 40)], [T("f32")])
    add("QUANTIZE i8 ui8", "QUANTIZE", [q("i8", 3, 40)], [q("ui8", zero=131)])
    add("QUANTIZE i16 i8", "QUANTIZE", [q("i16", 3, 40, scale=0.001)], [q("i8", scale=0.2)])
    add("QUANTIZE i8 i8", "QUANTIZE", [q("i8", 3, 40)], [q("i8", scale=0.11)])
    add(
        "FAKE_QUANT f32", "FAKE_QUANT", [T("f32", (3, 40), -3, 3)], [T("f32")],
        "FakeQuantOptions", min=-1.0, max=2.0, numBits=8,
    )  # fmt: skip
