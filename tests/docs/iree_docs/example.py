"""Writes a small ONNX model (two dense layers, dynamic batch) and an input, x.npy, beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def main() -> None:
    """Write the model to the path given on the command line."""
    path = Path(sys.argv[1])
    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.standard_normal((16, 32), np.float32),
        "b0": rng.standard_normal(32, np.float32),
        "w1": rng.standard_normal((32, 4), np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    opset = helper.make_opsetid("", 20)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    np.save(path.parent / "x.npy", rng.standard_normal((3, 16), np.float32))


if __name__ == "__main__":
    main()
