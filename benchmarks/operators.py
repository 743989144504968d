"""Single operators and small models of the comparison, as functions that make an ONNX model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, ...]


def _weights(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return (rng.standard_normal(shape, np.float32) / np.sqrt(shape[0])).astype(np.float32)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    weights: Mapping[str, np.ndarray] | None = None,
    outputs: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a model; inputs named ``ids`` are int64, others float32, like the result ``y``."""
    kinds = {n: TensorProto.INT64 if n == "ids" else TensorProto.FLOAT for n in inputs}
    results = outputs or {"y": TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes, "workload",
        [helper.make_tensor_value_info(n, kinds[n], shape) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(n, kind, None) for n, kind in results.items()],
        [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def _single(op: str, shape: Shape, weights: Mapping[str, np.ndarray], **attributes: object):
    node = helper.make_node(op, ["x", *weights], ["y"], **attributes)
    return _model([node], {"x": shape}, weights)


def _product(size: int) -> onnx.ModelProto:
    """Return a product of two square matrices, both of them inputs."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return _model([node], {"x": (size, size), "w": (size, size)})


def _add() -> onnx.ModelProto:
    return _model([helper.make_node("Add", ["x", "x"], ["y"])], {"x": (4,)})


def _mlp(*widths: int) -> onnx.ModelProto:
    nodes, weights, value = [], {}, "x"
    for layer, (a, b) in enumerate(itertools.pairwise(widths)):
        weights[f"w{layer}"] = _weights(a, b)
        weights[f"b{layer}"] = _weights(b)
        last = layer == len(widths) - 2
        out = "y" if last else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [out]))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{layer}"]))
            value = f"r{layer}"
    return _model(nodes, {"x": (1, widths[0])}, weights)


def _lstm(steps: int, size: int) -> onnx.ModelProto:
    weights = {
        "w": _weights(1, 4 * size, size) / np.float32(size**0.5),
        "r": _weights(1, 4 * size, size) / np.float32(size**0.5),
        "b": _weights(1, 8 * size),
    }
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=size)
    return _model([node], {"x": (steps, 1, size)}, weights)


def _chain(*shape: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["x", "z"], ["p"]),
        helper.make_node("Sigmoid", ["p"], ["g"]),
        helper.make_node("Mul", ["g", "p"], ["s"]),
        helper.make_node("Add", ["s", "x"], ["y"]),
    ]
    return _model(nodes, {"x": shape, "z": shape})


def _gather(rows: int, width: int, count: int) -> onnx.ModelProto:
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    return _model([node], {"ids": (count,)}, {"table": _weights(rows, width)})


def _top(count: int, *shape: int) -> onnx.ModelProto:
    node = helper.make_node("TopK", ["x", "k"], ["y", "places"], axis=-1)
    results = {"y": TensorProto.FLOAT, "places": TensorProto.INT64}
    return _model([node], {"x": shape}, {"k": np.array([count])}, results)


BASIC: dict[str, Callable[[], onnx.ModelProto]] = {
    "add": _add,
    "mlp": lambda: _mlp(784, 512, 512, 10),
    "matmul-1024": lambda: _single("MatMul", (1024, 1024), {"w": _weights(1024, 1024)}),
    "matvec-4096": lambda: _single("MatMul", (1, 4096), {"w": _weights(4096, 4096)}),
}
OPERATORS: dict[str, Callable[[], onnx.ModelProto]] = {
    "matmul-512": lambda: _product(512),
    "softmax": lambda: _single("Softmax", (1024, 1000), {}, axis=-1),
    "layer-norm": lambda: _single(
        "LayerNormalization", (1024, 768), {"g": _weights(768), "b": _weights(768)}, axis=-1
    ),
    "elementwise": lambda: _chain(2048, 2048),
    "sum-rows": lambda: _single("ReduceSum", (4096, 2048), {"axes": np.array([1])}, keepdims=0),
    "sum-columns": lambda: _single("ReduceSum", (4096, 2048), {"axes": np.array([0])}, keepdims=0),
    "transposition": lambda: _single("Transpose", (2048, 2048), {}, perm=[1, 0]),
    "transposition-4d": lambda: _single("Transpose", (8, 512, 12, 64), {}, perm=[0, 2, 1, 3]),
    "gather": lambda: _gather(30000, 768, 512),
    "top-10": lambda: _top(10, 64, 10000),
    "sort": lambda: _top(10000, 64, 10000),
    "lstm": lambda: _lstm(64, 512),
}
