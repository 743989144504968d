"""StableHLO builtins: against LiteRT where it runs them, else against numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import NDArray
from tests.tflite.builder import DTYPES, Graph, T
from tests.tflite.cases import add, c

_X, _Y = T("f32", (2, 3, 5), -3, 3), T("f32", (2, 3, 5))
# What LiteRT has kernels for, and of these what its reference set lacks.
_IN_LITERT = frozenset((
    "ADD", "AND", "CASE", "COMPOSITE", "GATHER", "MAXIMUM", "MINIMUM", "MULTIPLY", "PAD",
    "REDUCE_WINDOW", "RNG_BIT_GENERATOR", "SCATTER", "SHIFT_LEFT",
))  # fmt: skip
_DEFAULT_SET_ONLY = frozenset(("AND", "CASE", "COMPOSITE", "SHIFT_LEFT"))

Expected = Callable[..., Any]


def register() -> None:
    """Register all cases of this file."""
    _elementwise()
    _shapes()
    _positions()
    _contractions()
    _regions()
    _generators()


def _add(
    name: str,
    op: str,
    inputs: Sequence[T],
    outputs: Sequence[T],
    expected: Expected | None,
    options: str = "",
    /,
    **fields: Any,
) -> None:
    """Add a case that is compared with LiteRT where that has the operator, else with
    ``expected``, which returns one array or several."""
    kinds = [DTYPES[t.kind] for t in outputs]

    def many(*arrays: NDArray) -> list[NDArray]:
        assert expected is not None
        made = expected(*arrays)
        made = made if isinstance(made, (list, tuple)) else [made]
        return [np.asarray(m).astype(k) for m, k in zip(made, kinds, strict=True)]

    add(
        f"STABLEHLO_{name}", f"STABLEHLO_{op}", inputs, outputs, options,
        expected=None if op in _IN_LITERT else many, optimized=op in _DEFAULT_SET_ONLY,
        **fields,
    )  # fmt: skip


def _elementwise() -> None:
    positive = T("f32", (2, 3, 5), 0.1, 3)
    for op, source, expected in (
        ("ABS", _X, np.abs), ("CBRT", _X, np.cbrt), ("COSINE", _X, np.cos),
        ("EXPONENTIAL", _X, np.exp), ("FLOOR", _X, np.floor), ("LOG", positive, np.log),
        ("LOGISTIC", _X, lambda x: 1 / (1 + np.exp(-x))), ("NEGATE", _X, np.negative),
        ("RSQRT", positive, lambda x: 1 / np.sqrt(x)), ("TANH", _X, np.tanh),
    ):  # fmt: skip
        _add(f"{op} f32", op, [source], [_Y], expected)
    for op, expected in (
        ("ADD", np.add), ("SUBTRACT", np.subtract), ("MULTIPLY", np.multiply),
        ("MAXIMUM", np.maximum), ("MINIMUM", np.minimum), ("DIVIDE", np.divide),
        ("REMAINDER", np.fmod),
    ):  # fmt: skip
        _add(f"{op} f32", op, [_X, positive], [_Y], expected)
        whole = [T("i32", (4, 3), -9, 9), T("i32", (4, 3), 1, 5)]
        exact = {"DIVIDE": lambda a, b: np.trunc(a / b)}.get(op, expected)
        _add(f"{op} i32", op, whole, [T("i32", (4, 3))], exact)
    unsigned = [T("ui8", (4, 3), 0, 255), T("ui8", (4, 3), 1, 255)]
    _add("DIVIDE ui8", "DIVIDE", unsigned, [T("ui8", (4, 3))], np.floor_divide)
    _add("MAXIMUM ui8", "MAXIMUM", unsigned, [T("ui8", (4, 3))], np.maximum)
    _add("POWER f32", "POWER", [positive, _X], [_Y], np.power)
    bits = [T("i32", (4, 3), 0, 99), T("i32", (4, 3), 0, 9)]
    for op, expected in (
        ("AND", np.bitwise_and), ("OR", np.bitwise_or), ("SHIFT_LEFT", np.left_shift),
    ):  # fmt: skip
        options = "StablehloShiftLeftOptions" if op == "SHIFT_LEFT" else ""
        _add(f"{op} i32", op, bits, [T("i32", (4, 3))], expected, options)
    flags = [T("i1", (4, 3)), T("i1", (4, 3))]
    _add("AND i1", "AND", flags, [T("i1", (4, 3))], np.logical_and)
    _add("OR i1", "OR", flags, [T("i1", (4, 3))], np.logical_or)
    _add(
        "CLAMP f32", "CLAMP", [T("f32", (), -1, 0), _X, T("f32", (), 0, 1)], [_Y],
        lambda low, x, high: np.clip(x, low, high),
    )  # fmt: skip
    _add("CONVERT f32 i32", "CONVERT", [T("f32", (4, 3), -9, 9)], [T("i32", (4, 3))], np.trunc)
    _add("CONVERT i8 f32", "CONVERT", [T("i8", (4, 3), -9, 9)], [T("f32", (4, 3))], lambda x: x)
    for number, (name, function) in enumerate((
        ("eq", np.equal), ("ne", np.not_equal), ("ge", np.greater_equal), ("gt", np.greater),
        ("le", np.less_equal), ("lt", np.less),
    )):  # fmt: skip
        sides = [T("i32", (4, 3), -2, 2), T("i32", (4, 3), -2, 2)]
        _add(
            f"COMPARE i32 {name}", "COMPARE", sides, [T("i1", (4, 3))], function,
            "StablehloCompareOptions", comparisonDirection=number, compareType=3,
        )  # fmt: skip
    _add(
        "COMPARE ui8 gt", "COMPARE", unsigned, [T("i1", (4, 3))], np.greater,
        "StablehloCompareOptions", comparisonDirection=3, compareType=4,
    )  # fmt: skip
    _add(
        "SELECT f32", "SELECT", [T("i1", (2, 3, 5)), _X, positive], [_Y], np.where
    )  # fmt: skip


def _shapes() -> None:
    _add("RESHAPE f32", "RESHAPE", [_X], [T("f32", (5, 6))], lambda x: x.reshape(5, 6))
    _add(
        "TRANSPOSE f32", "TRANSPOSE", [_X], [T("f32", (5, 2, 3))],
        lambda x: x.transpose(2, 0, 1), "StablehloTransposeOptions", permutation=[2, 0, 1],
    )  # fmt: skip
    _add(
        "BROADCAST_IN_DIM f32", "BROADCAST_IN_DIM", [T("f32", (3, 1))], [T("f32", (2, 3, 4))],
        lambda x: np.broadcast_to(x, (2, 3, 4)), "StablehloBroadcastInDimOptions",
        broadcastDimensions=[1, 2],
    )  # fmt: skip
    _add(
        "CONCATENATE f32", "CONCATENATE", [_X, _X], [T("f32", (2, 6, 5))],
        lambda a, b: np.concatenate([a, b], 1), "StablehloConcatenateOptions", dimension=1,
    )  # fmt: skip
    _add(
        "IOTA i32", "IOTA", [], [T("i32", (3, 4))],
        lambda: np.broadcast_to(np.arange(4), (3, 4)), "StablehloIotaOptions", iotaDimension=1,
    )  # fmt: skip
    _add(
        "SLICE f32", "SLICE", [_X], [T("f32", (1, 3, 2))], lambda x: x[1:2, 0:3, 1:5:2],
        "StablehloSliceOptions", startIndices=[1, 0, 1], limitIndices=[2, 3, 5],
        strides=[1, 1, 2],
    )  # fmt: skip
    _add(
        "PAD f32", "PAD", [T("f32", (3, 5)), T("f32", ())], [T("f32", (4, 8))], None,
        "StablehloPadOptions", edgePaddingLow=[1, -1], edgePaddingHigh=[0, 0],
        interiorPadding=[0, 1],
    )  # fmt: skip


def _positions() -> None:
    def cut(x: NDArray, *at: NDArray) -> NDArray:
        first = [min(max(int(a), 0), n - s) for a, n, s in zip(at, x.shape, (1, 2), strict=True)]
        return x[first[0] : first[0] + 1, first[1] : first[1] + 2]

    place = T("i32", (), 0, 4)
    _add(
        "DYNAMIC_SLICE f32", "DYNAMIC_SLICE", [T("f32", (3, 5)), place, place],
        [T("f32", (1, 2))], cut, "StablehloDynamicSliceOptions", sliceSizes=[1, 2],
    )  # fmt: skip

    def overwrite(x: NDArray, update: NDArray, at: NDArray) -> NDArray:
        made = x.copy()
        i, j = (min(max(int(a), 0), n - s) for a, n, s in zip(at, x.shape, (1, 2), strict=True))
        made[i : i + 1, j : j + 2] = update
        return made

    _add(
        "DYNAMIC_UPDATE_SLICE f32", "DYNAMIC_UPDATE_SLICE",
        [T("f32", (3, 5)), T("f32", (1, 2)), T("i32", (2,), 0, 4)], [T("f32", (3, 5))], overwrite,
    )  # fmt: skip
    _add(
        "GATHER f32", "GATHER", [T("f32", (4, 5)), T("i32", (3, 2), 0, 3)], [T("f32", (3, 2))],
        None, "StablehloGatherOptions", offsetDims=[1], collapsedSliceDims=[0],
        startIndexMap=[0, 1], indexVectorDim=1, sliceSizes=[1, 2],
    )  # fmt: skip


def _contractions() -> None:
    _add(
        "DOT_GENERAL f32", "DOT_GENERAL", [T("f32", (2, 3, 4)), T("f32", (2, 5, 4))],
        [T("f32", (2, 3, 5))], lambda a, b: np.einsum("bik,bjk->bij", a, b),
        "StablehloDotGeneralOptions", lhsBatchingDimensions=[0], rhsBatchingDimensions=[0],
        lhsContractingDimensions=[2], rhsContractingDimensions=[2],
    )  # fmt: skip

    def convolve(x: NDArray, w: NDArray) -> NDArray:
        padded = np.pad(x, ((0, 0), (1, 1), (0, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), (1, 2))
        return np.einsum("bhwcij,ijco->bhwo", windows[:, ::2], w)

    _add(
        "CONVOLUTION f32", "CONVOLUTION", [T("f32", (1, 7, 6, 3)), T("f32", (3, 2, 3, 4))],
        [T("f32", (1, 4, 6, 4))], convolve, "StablehloConvolutionOptions", windowStrides=[2, 1],
        padding=[1, 1, 0, 1], lhsDilation=[1, 1], rhsDilation=[1, 1],
        windowReversal=[False, False], inputBatchDimension=0, inputFeatureDimension=3,
        inputSpatialDimensions=[1, 2], kernelInputFeatureDimension=2,
        kernelOutputFeatureDimension=3, kernelSpatialDimensions=[0, 1], outputBatchDimension=0,
        outputFeatureDimension=3, outputSpatialDimensions=[1, 2], featureGroupCount=1,
        batchGroupCount=1,
    )  # fmt: skip


def _body(op: str, kind: str = "f32", result: str = "", options: str = "", **fields: Any) -> Any:
    """Return what fills a graph of two numbers and one operator."""

    def fill(graph: Graph) -> None:
        graph.made.inputs = [graph.tensor(name, T(kind)) for name in "ab"]
        graph.made.outputs = [graph.tensor("c", T(result or kind))]
        graph.op(op, graph.made.inputs, graph.made.outputs, options, **fields)

    return fill


def _regions() -> None:
    _add(
        "REDUCE f32", "REDUCE", [_X, T("f32", ())], [T("f32", (2, 5))],
        lambda x, first: np.maximum(x.max(1), first), "StablehloReduceOptions", dimensions=[1],
        bodySubgraphIndex=1, bodies=[_body("STABLEHLO_MAXIMUM")],
    )  # fmt: skip
    _add(
        "REDUCE f32 own body", "REDUCE", [_X, T("f32", ())], [T("f32", (3,))],
        lambda x, first: x.sum((0, 2)) + first, "StablehloReduceOptions", dimensions=[0, 2],
        bodySubgraphIndex=1, bodies=[_body("ADD", options="AddOptions")],
    )  # fmt: skip

    _add(
        "REDUCE_WINDOW f32", "REDUCE_WINDOW", [T("f32", (5, 6)), c(0.0, "f32")],
        [T("f32", (4, 3))], None, "StablehloReduceWindowOptions",
        windowDimensions=[2, 3], windowStrides=[1, 2], baseDilations=[1, 1],
        windowDilations=[1, 1], padding=[0, 0, 1, 0], bodySubgraphIndex=1,
        bodies=[_body("STABLEHLO_ADD")],
    )  # fmt: skip
    less = _body(
        "STABLEHLO_COMPARE", "i32", "i1", "StablehloCompareOptions", comparisonDirection=5,
        compareType=3,
    )  # fmt: skip
    _add(
        "SORT i32", "SORT", [T("i32", (3, 20), -9, 9)], [T("i32", (3, 20))],
        lambda x: np.sort(x, 1), "StablehloSortOptions", dimension=1, isStable=True,
        comparatorSubgraphIndex=1, bodies=[less],
    )  # fmt: skip
    for name in ("ADD", "MAXIMUM", "MULTIPLY"):
        _add(
            f"SCATTER f32 {name.lower()}", "SCATTER",
            [T("f32", (4, 5)), T("i32", (6, 1), 0, 3), T("f32", (6, 5))], [T("f32", (4, 5))],
            None, "StablehloScatterOptions", updateWindowDims=[1], insertedWindowDims=[0],
            scatterDimsToOperandDims=[0], indexVectorDim=1, updateComputationSubgraphIndex=1,
            bodies=[_body(f"STABLEHLO_{name}")],
        )  # fmt: skip
    _add(
        "CASE f32", "CASE", [T("i32", (), 0, 2), _X, _X], [_Y], None, "StablehloCaseOptions",
        branchSubgraphIndices=[1, 2, 3], calls=5,
        bodies=[_shaped(op) for op in ("ADD", "MAXIMUM", "MULTIPLY")],
    )  # fmt: skip
    _add(
        "COMPOSITE f32", "COMPOSITE", [_X, _X], [_Y], None, "StableHLOCompositeOptions",
        name="example.product", compositeAttributes=list(flexbuffers.Dumps({})),
        decompositionSubgraphIndex=1, bodies=[_shaped("MULTIPLY")],
    )  # fmt: skip
    _add(
        "WHILE f32", "WHILE", [T("i32", (), 0, 3), _X], [T("i32"), _Y],
        lambda i, x: (max(i, 5), x * 2.0 ** max(5 - i, 0)), "StablehloWhileOptions",
        condSubgraphIndex=1, bodySubgraphIndex=2, calls=2, bodies=[_goes_on, _doubles],
    )  # fmt: skip


def _goes_on(graph: Graph) -> None:
    graph.made.inputs = [graph.tensor("i", T("i32")), graph.tensor("x", _X)]
    graph.made.outputs = [graph.tensor("less", T("i1"))]
    graph.op("LESS", [0, graph.tensor("limit", c(5))], graph.made.outputs)


def _doubles(graph: Graph) -> None:
    graph.made.inputs = [graph.tensor("i", T("i32")), graph.tensor("x", _X)]
    graph.made.outputs = [graph.tensor("next", T("i32")), graph.tensor("twice", _Y)]
    graph.op("STABLEHLO_ADD", [0, graph.tensor("one", c(1))], graph.made.outputs[:1])
    graph.op("STABLEHLO_ADD", [1, 1], graph.made.outputs[1:])


def _shaped(op: str) -> Callable[[Graph], None]:
    """Return what fills a graph that works on two tensors."""

    def fill(graph: Graph) -> None:
        graph.made.inputs = [graph.tensor(name, _X) for name in "ab"]
        graph.made.outputs = [graph.tensor("c", _Y)]
        graph.op(f"STABLEHLO_{op}", graph.made.inputs, graph.made.outputs)

    return fill


def _generators() -> None:
    for length in (2, 3):
        for kind in ("ui32", "ui64", "i32"):
            _add(
                f"RNG_BIT_GENERATOR {kind} {length}", "RNG_BIT_GENERATOR",
                [T("ui64", (length,), 0, 2**62)], [T("ui64", (length,)), T(kind, (3, 3))], None,
                "StablehloRngBitGeneratorOptions", algorithm=1,
            )  # fmt: skip
