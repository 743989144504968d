"""The models of the comparison as ONNX files: the zoo's networks, an MLP and two matmuls."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ZOO = Path(__file__).resolve().parent.parent / "tests" / "models" / "zoo.py"
NETWORKS = ("mobilenetv2", "resnet50", "bert", "gpt2", "vit")
SMALL = ("add", "mlp", "matmul-1024", "matvec-4096")
ALL = (*SMALL, *NETWORKS)


def model_path(name: str, folder: Path) -> Path:
    """Return the ONNX file of a workload, writing it first where it does not exist."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if name in NETWORKS:
            subprocess.run([sys.executable, str(ZOO), name, str(path)], check=True)
        else:
            onnx.save(_small(name), path)
    return path


def example_inputs(path: Path) -> dict[str, np.ndarray]:
    """Return random inputs for an ONNX file with static shapes, the same on every call."""
    rng = np.random.default_rng(0)
    graph = onnx.load(path, load_external_data=False).graph
    arrays: dict[str, np.ndarray] = {}
    for value in graph.input:
        kind = value.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        if kind.elem_type == TensorProto.INT64:
            mask = "mask" in value.name
            arrays[value.name] = np.ones(shape, np.int64) if mask else rng.integers(0, 1000, shape)
        else:
            arrays[value.name] = rng.standard_normal(shape, np.float32)
    return arrays


def _small(name: str) -> onnx.ModelProto:
    if name == "add":
        return _model([helper.make_node("Add", ["x", "x"], ["y"])], (4,), (4,), {})
    if name == "mlp":
        return _mlp((784, 512, 512, 10))
    rows, size = {"matmul-1024": (1024, 1024), "matvec-4096": (1, 4096)}[name]
    weights = {"w": _weights(size, size)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return _model([node], (rows, size), (rows, size), weights)


def _mlp(widths: tuple[int, ...]) -> onnx.ModelProto:
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
    return _model(nodes, (1, widths[0]), (1, widths[-1]), weights)


def _weights(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return (rng.standard_normal(shape, np.float32) / np.sqrt(shape[0])).astype(np.float32)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    weights: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "workload",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
