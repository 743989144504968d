"""Operators on floats."""

from __future__ import annotations

import numpy as np
from tests.tflite.builder import T
from tests.tflite.cases import add, c

_X = T("f32", (2, 3, 5), -3, 3)
_Y = T("f32")
_IMAGE = T("f32", (2, 7, 6, 4))
_FUSED = {"none": 0, "relu": 1, "relu_n1": 2, "relu6": 3}


def _weights(*shape: int) -> T:
    rng = np.random.default_rng(7)
    return c(rng.uniform(-1, 1, shape), "f32")


def register() -> None:
    """Register all cases of this file."""
    _elementwise()
    _shapes()
    _windows()
    _matrices()
    _reductions()
    _normalizations()
    _resizing()
    _selection()
    _recurrent()


def _elementwise() -> None:
    for op in (
        "ABS", "NEG", "EXP", "SIN", "COS", "CEIL", "FLOOR", "ROUND", "SQUARE", "LOGISTIC", "TANH",
        "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "ELU", "HARD_SWISH", "SIGN", "ZEROS_LIKE",
    ):  # fmt: skip
        add(f"{op} f32", op, [_X], [_Y], optimized=op in ("CEIL", "ROUND", "ELU"))
    for op in ("LOG", "SQRT", "RSQRT"):
        add(f"{op} f32", op, [T("f32", (2, 3, 5), 0.1, 3)], [_Y])
    add("LEAKY_RELU f32", "LEAKY_RELU", [_X], [_Y], "LeakyReluOptions", alpha=0.3)
    for exact in (True, False):
        name = "GELU f32" if exact else "GELU f32 tanh"
        add(name, "GELU", [_X], [_Y], "GeluOptions", approximate=not exact)
    add("PRELU f32", "PRELU", [_X, _weights(1, 1, 5)], [_Y])
    for op in ("ADD", "SUB", "MUL", "DIV"):
        options = f"{op.title()}Options"
        for fused, number in _FUSED.items():
            add(
                f"{op} f32 {fused}", op, [_X, T("f32", (3, 5), 1, 2)], [_Y], options,
                fusedActivationFunction=number,
            )  # fmt: skip
    for op in (
        "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD", "ATAN2",
    ):  # fmt: skip
        add(f"{op} f32", op, [_X, T("f32", (2, 3, 5), 0.5, 2)], [_Y])
    add("POW f32", "POW", [T("f32", (2, 3, 5), 0.1, 3), _X], [_Y])
    for op in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"):
        add(f"{op} f32", op, [_X, T("f32", (1, 5))], [T("i1")])
    add("ADD_N f32", "ADD_N", [_X, _X, _X], [_Y])
    add("CAST f32 i32", "CAST", [_X], [T("i32")])
    add("CAST f32 i1", "CAST", [_X], [T("i1")])
    add("CAST i32 f32", "CAST", [T("i32", (4, 3), -99, 99)], [_Y])
    for source, target in ((T("f32", (3, 4), -9, 9), "i32"), (T("i16", (3, 4), -99, 99), "ui16")):
        add(f"BITCAST {source.kind} {target}", "BITCAST", [source], [T(target)])
    add("BITCAST f32 ui8", "BITCAST", [_X], [T("ui8")])
    add("BITCAST i16 f32", "BITCAST", [T("i16", (5, 2), 0, 9999)], [_Y])
    add("DEQUANTIZE f16", "DEQUANTIZE", [T("f16", (3, 4))], [_Y])
    add(
        "ADD f32 dynamic", "ADD", [T("f32", (1, 4), signature=(-1, 4)), _weights(4)], [_Y],
        "AddOptions", sizes=[(5, 4)],
    )  # fmt: skip


def _shapes() -> None:
    add("RESHAPE f32", "RESHAPE", [_X, c([5, -1])], [_Y], "ReshapeOptions", newShape=[5, -1])
    add("SQUEEZE f32", "SQUEEZE", [T("f32", (1, 3, 1, 2))], [_Y], "SqueezeOptions", squeezeDims=[2])
    add("EXPAND_DIMS f32", "EXPAND_DIMS", [_X, c(1)], [_Y])
    add("TRANSPOSE f32", "TRANSPOSE", [_X, c([2, 0, 1])], [_Y])
    add("SHAPE f32", "SHAPE", [_X], [T("i32")], "ShapeOptions", outType=2)
    add("RANK f32", "RANK", [_X], [T("i32")])
    pack = {"axis": 1, "valuesCount": 2}
    add("PACK f32", "PACK", [_X, _X], [_Y], "PackOptions", **pack)
    add("UNPACK f32", "UNPACK", [_X], [_Y] * 3, "UnpackOptions", axis=1, num=3)
    add("CONCATENATION f32", "CONCATENATION", [_X, _X], [_Y], "ConcatenationOptions", axis=-1)
    add("TILE f32", "TILE", [_X, c([2, 1, 3])], [_Y])
    add("BROADCAST_TO f32", "BROADCAST_TO", [T("f32", (3, 1)), c([2, 3, 4])], [_Y], version=2)
    add("SLICE f32", "SLICE", [_X, c([0, 1, 2]), c([-1, 2, 3])], [_Y])
    for name, begin, end, strides, masks in (
        ("", [0, 1, 1], [2, 3, 5], [1, 1, 2], {}),
        (" masks", [0, 1, 1], [1, 2, 4], [1, 1, 1], {"beginMask": 1, "endMask": 4}),
        (" shrink", [1, 0, 0], [2, 3, 5], [1, 1, 1], {"shrinkAxisMask": 1}),
        (" negative", [1, -1, 4], [2, -4, 0], [1, -1, -2], {}),
        (" ellipsis", [0, 1], [0, 3], [1, 1], {"ellipsisMask": 1}),
        (" newaxis", [0, 0, 1], [0, 2, 3], [1, 1, 1], {"newAxisMask": 1}),
    ):
        add(
            f"STRIDED_SLICE f32{name}", "STRIDED_SLICE", [_X, c(begin), c(end), c(strides)], [_Y],
            "StridedSliceOptions", **masks,
        )  # fmt: skip
    add("SPLIT f32", "SPLIT", [c(1), T("f32", (2, 6, 3))], [_Y] * 3, "SplitOptions", numSplits=3)
    add(
        "SPLIT_V f32", "SPLIT_V", [T("f32", (2, 6, 3)), c([1, -1, 2]), c(1)], [_Y] * 3,
        "SplitVOptions", numSplits=3,
    )  # fmt: skip
    add("PAD f32", "PAD", [_X, c([[0, 1], [2, 0], [1, 1]])], [_Y])
    add("PADV2 f32", "PADV2", [_X, c([[0, 1], [2, 0], [1, 1]]), c(2.5, "f32")], [_Y])
    for mode, number in (("reflect", 0), ("symmetric", 1)):
        add(
            f"MIRROR_PAD f32 {mode}", "MIRROR_PAD", [_X, c([[0, 1], [2, 1], [1, 3]])], [_Y],
            "MirrorPadOptions", mode=number,
        )  # fmt: skip
    add("REVERSE_V2 f32", "REVERSE_V2", [_X, c([1])], [_Y])
    add(
        "REVERSE_SEQUENCE f32", "REVERSE_SEQUENCE", [_X, c([2, 3])], [_Y],
        "ReverseSequenceOptions", seqDim=1, batchDim=0,
    )  # fmt: skip
    depth = T("f32", (2, 4, 6, 3))
    add("SPACE_TO_DEPTH f32", "SPACE_TO_DEPTH", [depth], [_Y], "SpaceToDepthOptions", blockSize=2)
    wide = T("f32", (2, 2, 3, 12))
    add("DEPTH_TO_SPACE f32", "DEPTH_TO_SPACE", [wide], [_Y], "DepthToSpaceOptions", blockSize=2)
    blocks = [depth, c([2, 3]), c([[1, 1], [0, 3]])]
    add("SPACE_TO_BATCH_ND f32", "SPACE_TO_BATCH_ND", blocks, [_Y])
    batches = [T("f32", (6, 2, 3, 2)), c([2, 3]), c([[1, 0], [0, 2]])]
    add("BATCH_TO_SPACE_ND f32", "BATCH_TO_SPACE_ND", batches, [_Y])
    add(
        "DYNAMIC_UPDATE_SLICE f32", "DYNAMIC_UPDATE_SLICE",
        [_X, T("f32", (1, 2, 3)), T("i32", (3,), 0, 3)], [_Y],
    )  # fmt: skip
    add("DILATE f32", "DILATE", [T("f32", (2, 3)), c([2, 3]), c(0.5, "f32")], [_Y])


def _windows() -> None:
    for padding, number in (("same", 0), ("valid", 1)):
        for stride in (1, 2):
            add(
                f"CONV_2D f32 {padding} {stride}", "CONV_2D",
                [_IMAGE, _weights(5, 3, 2, 4), _weights(5)], [_Y], "Conv2DOptions",
                padding=number, strideH=stride, strideW=stride, fusedActivationFunction=1,
            )  # fmt: skip
            for multiplier in (1, 2):
                add(
                    f"DEPTHWISE_CONV_2D f32 {padding} {stride} {multiplier}", "DEPTHWISE_CONV_2D",
                    [_IMAGE, _weights(1, 3, 2, 4 * multiplier), _weights(4 * multiplier)], [_Y],
                    "DepthwiseConv2DOptions", padding=number, strideH=stride, strideW=stride,
                    depthMultiplier=multiplier, fusedActivationFunction=3,
                )  # fmt: skip
            out = [2, 7, 6, 5] if number == 0 else [2, 6 * stride + 3, 5 * stride + 2, 5]
            if number == 0 and stride == 2:
                out = [2, 14, 12, 5]
            add(
                f"TRANSPOSE_CONV f32 {padding} {stride}", "TRANSPOSE_CONV",
                [c(out), _weights(5, 3, 2, 4), _IMAGE], [_Y],
                "TransposeConvOptions", padding=number, strideH=stride, strideW=stride,
            )  # fmt: skip
            for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
                add(
                    f"{op} f32 {padding} {stride}", op, [_IMAGE], [_Y], "Pool2DOptions",
                    padding=number, strideH=stride, strideW=stride, filterHeight=3, filterWidth=2,
                )  # fmt: skip
    add(
        "CONV_2D f32 dilated", "CONV_2D", [_IMAGE, _weights(5, 3, 2, 4), _weights(5)], [_Y],
        "Conv2DOptions", strideH=1, strideW=1, dilationHFactor=2, dilationWFactor=2,
    )  # fmt: skip
    add(
        "CONV_2D f32 groups", "CONV_2D", [_IMAGE, _weights(6, 3, 2, 2), _weights(6)], [_Y],
        "Conv2DOptions", strideH=1, strideW=1,
    )  # fmt: skip
    add(
        "CONV_2D f32 dynamic", "CONV_2D",
        [T("f32", (1, 7, 6, 4), signature=(-1, -1, 6, 4)), _weights(5, 3, 2, 4), _weights(5)],
        [_Y], "Conv2DOptions", strideH=2, strideW=1, sizes=[(3, 9, 6, 4)],
    )  # fmt: skip
    volume = T("f32", (1, 4, 5, 6, 3))
    add(
        "CONV_3D f32", "CONV_3D", [volume, _weights(2, 3, 2, 3, 4), _weights(4)], [_Y],
        "Conv3DOptions", strideD=1, strideH=2, strideW=1,
    )  # fmt: skip
    for name, padding, sizes in (("same", 0, [1, 4, 10, 6, 4]), ("valid", 1, [1, 5, 11, 7, 4])):
        add(
            f"CONV_3D_TRANSPOSE f32 {name}", "CONV_3D_TRANSPOSE",
            [c(sizes), _weights(2, 3, 2, 4, 3), volume], [_Y], "Conv3DOptions",
            padding=padding, strideD=1, strideH=2, strideW=1,
        )  # fmt: skip


def _matrices() -> None:
    options = "FullyConnectedOptions"
    inputs = [T("f32", (2, 3, 8)), _weights(5, 8), _weights(5)]
    add("FULLY_CONNECTED f32", "FULLY_CONNECTED", inputs, [_Y], options)
    add("FULLY_CONNECTED f32 keep", "FULLY_CONNECTED", inputs, [_Y], options, keepNumDims=True)
    add("FULLY_CONNECTED f32 no bias", "FULLY_CONNECTED", [*inputs[:2], None], [_Y], options)
    for adjoint in (False, True):
        x = T("f32", (2, 1, 5, 3) if adjoint else (2, 1, 3, 5))
        y = T("f32", (4, 6, 5) if adjoint else (4, 5, 6))
        add(
            f"BATCH_MATMUL f32{' adjoint' if adjoint else ''}", "BATCH_MATMUL", [x, y], [_Y],
            "BatchMatMulOptions", adjX=adjoint, adjY=adjoint,
        )  # fmt: skip
    table = _weights(6, 3)
    add("EMBEDDING_LOOKUP f32", "EMBEDDING_LOOKUP", [T("i32", (4,), 0, 5), table], [_Y])


def _reductions() -> None:
    for op in ("SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"):
        for keep in (False, True):
            add(
                f"{op} f32{' keep' if keep else ''}", op, [_X, c([0, -1])], [_Y],
                "ReducerOptions", keepDims=keep,
            )  # fmt: skip
    add("ARG_MAX f32", "ARG_MAX", [_X, c(-1)], [T("i32")], "ArgMaxOptions", outputType=2)
    add("ARG_MIN f32", "ARG_MIN", [_X, c(1)], [T("i64")], "ArgMinOptions", outputType=4)
    for exclusive, reverse in ((False, False), (True, True)):
        add(
            f"CUMSUM f32{' exclusive reverse' if exclusive else ''}", "CUMSUM", [_X, c(1)], [_Y],
            "CumsumOptions", exclusive=exclusive, reverse=reverse,
        )  # fmt: skip


def _normalizations() -> None:
    add("SOFTMAX f32", "SOFTMAX", [_X], [_Y], "SoftmaxOptions", beta=1.0)
    add("SOFTMAX f32 beta", "SOFTMAX", [_X], [_Y], "SoftmaxOptions", beta=0.5)
    add("LOG_SOFTMAX f32", "LOG_SOFTMAX", [_X], [_Y])
    add("L2_NORMALIZATION f32", "L2_NORMALIZATION", [_X], [_Y], "L2NormOptions")
    add(
        "LOCAL_RESPONSE_NORMALIZATION f32", "LOCAL_RESPONSE_NORMALIZATION", [_IMAGE], [_Y],
        "LocalResponseNormalizationOptions", radius=2, bias=1.0, alpha=0.3, beta=0.75,
        optimized=True,
    )  # fmt: skip
    add("RFFT2D f32", "RFFT2D", [T("f32", (2, 4, 8)), c([4, 8])], [T("c64")], atol=1e-4)
    for op in ("REAL", "IMAG", "COMPLEX_ABS"):
        add(f"{op} c64", op, [T("c64", (3, 4))], [_Y])


def _resizing() -> None:
    for align, half in ((False, False), (True, False), (False, True)):
        suffix = " align" if align else " half" if half else ""
        fields = {"alignCorners": align, "halfPixelCenters": half}
        for op, options in (
            ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
            ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
        ):
            for size in ([13, 4], [3, 9]):
                name = f"{op} f32 {size[0]}{suffix}"
                add(name, op, [_IMAGE, c(size)], [_Y], options, **fields)


def _selection() -> None:
    add("SELECT f32", "SELECT", [T("i1", (2,)), _X, _X], [_Y])
    add("SELECT_V2 f32", "SELECT_V2", [T("i1", (3, 1)), _X, T("f32", (5,))], [_Y])
    add("WHERE i1", "WHERE", [T("i1", (3, 4))], [T("i64")])
    add("TOPK_V2 f32", "TOPK_V2", [_X, c(3)], [_Y, T("i32")])
    add("UNIQUE f32", "UNIQUE", [c([1, 2, 1, 3, 2], "f32")], [_Y, T("i32")], "UniqueOptions")
    add("GATHER f32", "GATHER", [_X, T("i32", (2, 2), 0, 2)], [_Y], "GatherOptions", axis=1)
    add(
        "GATHER f32 batch", "GATHER", [_X, T("i32", (2, 4), 0, 2)], [_Y],
        "GatherOptions", axis=1, batchDims=1,
    )  # fmt: skip
    add("GATHER_ND f32", "GATHER_ND", [_X, T("i32", (4, 2), 0, 1)], [_Y])
    scattered = [T("i32", (4, 1), 0, 5), T("f32", (4, 3)), c([6, 3])]
    add("SCATTER_ND f32", "SCATTER_ND", scattered, [_Y])
    hot = [T("i32", (2, 3), 0, 4), c(5), c(2.0, "f32"), c(-1.0, "f32")]
    add("ONE_HOT f32", "ONE_HOT", hot, [_Y], "OneHotOptions", axis=-1)
    add("FILL f32", "FILL", [c([2, 3]), T("f32", ())], [_Y])
    add("RANGE f32", "RANGE", [c(1.0, "f32"), c(4.0, "f32"), c(0.5, "f32")], [_Y])
    add("RANGE f32 at run time", "RANGE", [T("f32", (), 0, 1), c(4.0, "f32"), c(0.5, "f32")], [_Y])
    add("MATRIX_DIAG f32", "MATRIX_DIAG", [T("f32", (2, 3))], [_Y])
    add("MATRIX_SET_DIAG f32", "MATRIX_SET_DIAG", [T("f32", (2, 3, 4)), T("f32", (2, 3))], [_Y])
    add("SEGMENT_SUM f32", "SEGMENT_SUM", [T("f32", (4, 3)), c([0, 0, 1, 2])], [_Y], optimized=True)
    for kind in ("SUM", "PROD", "MAX", "MIN"):
        op = f"UNSORTED_SEGMENT_{kind}"
        add(f"{op} f32", op, [T("f32", (4, 3)), c([2, 0, 2, 1]), c(4)], [_Y])
    sparse = [c([[0, 1], [2, 2]]), c([3, 4]), c([1.5, 2.5], "f32"), c(-1.0, "f32")]
    add("SPARSE_TO_DENSE f32", "SPARSE_TO_DENSE", sparse, [_Y], "SparseToDenseOptions")
    add(
        "BUCKETIZE f32", "BUCKETIZE", [_X], [T("i32")], "BucketizeOptions",
        boundaries=[-1.0, 0.5, 2.0],
    )  # fmt: skip


def _recurrent() -> None:
    units, width, batch = 4, 3, 2
    w = [_weights(units, width)] * 4
    r = [_weights(units, units)] * 4
    b = [_weights(units)] * 4
    state = [T("f32", (batch, units), variable=True)] * 2
    for major in (False, True):
        shape = (5, batch, width) if major else (batch, 5, width)
        inputs = [T("f32", shape), *w, *r, None, None, None, *b, None, None, *state]
        add(
            f"UNIDIRECTIONAL_SEQUENCE_LSTM f32{' time major' if major else ''}",
            "UNIDIRECTIONAL_SEQUENCE_LSTM", [*inputs, None, None, None, None], [_Y],
            "UnidirectionalSequenceLSTMOptions", timeMajor=major, fusedActivationFunction=4,
            cellClip=0.0, calls=2,
        )  # fmt: skip
    direction = [*w, *r, None, None, None, *b, None, None]
    both = [T("f32", (batch, 5, width)), *direction, *direction, *state, *state, *[None] * 9]
    # Not with merged outputs: then LiteRT's kernel differs from itself from run to run.
    add(
        "BIDIRECTIONAL_SEQUENCE_LSTM f32", "BIDIRECTIONAL_SEQUENCE_LSTM", both, [_Y, _Y],
        "BidirectionalSequenceLSTMOptions", mergeOutputs=False, fusedActivationFunction=4,
        timeMajor=False, calls=2,
    )  # fmt: skip
    step = [T("f32", (batch, width)), *direction, *state]
    add("LSTM f32", "LSTM", step, [_Y], "LSTMOptions", fusedActivationFunction=4, calls=2)
    basic = [
        T("f32", (batch, width)), T("f32", (batch, units)), _weights(4 * units, width + units),
        _weights(4 * units), T("f32", (batch, units)),
    ]  # fmt: skip
    add(
        "LSTM f32 basic", "LSTM", basic, [_Y] * 4, "LSTMOptions", fusedActivationFunction=4,
        kernelType=1,
    )  # fmt: skip
    rnn = [w[0], r[0], b[0], state[0]]
    sequence = T("f32", (batch, 5, width))
    add(
        "BIDIRECTIONAL_SEQUENCE_RNN f32", "BIDIRECTIONAL_SEQUENCE_RNN",
        [sequence, *rnn, *rnn, *[None] * 3], [_Y, _Y], "BidirectionalSequenceRNNOptions",
        fusedActivationFunction=4, calls=2,
    )  # fmt: skip
    add(
        "UNIDIRECTIONAL_SEQUENCE_RNN f32", "UNIDIRECTIONAL_SEQUENCE_RNN",
        [T("f32", (batch, 5, width)), *rnn], [_Y], "SequenceRNNOptions",
        fusedActivationFunction=4, calls=2,
    )  # fmt: skip
    add(
        "RNN f32", "RNN", [T("f32", (batch, width)), *rnn], [_Y], "RNNOptions",
        fusedActivationFunction=1, calls=2,
    )  # fmt: skip
    add(
        "SVDF f32", "SVDF",
        [
            T("f32", (batch, width)), _weights(8, width), _weights(8, 6), _weights(4),
            T("f32", (batch, 48), variable=True),
        ],
        [_Y], "SVDFOptions", rank=2, calls=3,
    )  # fmt: skip
