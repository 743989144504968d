"""Weights outside the model file, and several functions in one module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import iree_core as iree
from iree_core.errors import ImportModelError


def test_onnx_external_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((64, 32), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 32])],
        [numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    x = rng.standard_normal((3, 64), np.float32)
    y = iree.load(iree.compile(path)).main(x)
    np.testing.assert_allclose(np.asarray(y), x @ w, rtol=1e-4, atol=1e-4)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ImportModelError, match=r"weights\.bin"):
        iree.compile(path)


FUNCTIONS = """
func.func @double(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = arith.addf %x, %x : tensor<4xf32>
  return %y : tensor<4xf32>
}
func.func @square(%x: tensor<?xf32>) -> tensor<?xf32> {
  %y = arith.mulf %x, %x : tensor<?xf32>
  return %y : tensor<?xf32>
}
func.func @weigh(%x: tensor<100xf32>) -> tensor<100xf32> {
  %w = "flow.parameter"() {key = "w"} : () -> tensor<100xf32>
  %y = arith.mulf %x, %w : tensor<100xf32>
  return %y : tensor<100xf32>
}
"""


def test_functions_and_weights_of_an_mlir_file(tmp_path: Path) -> None:
    from iree_core.parameter_files import save_safetensors
    from iree_core.params import ParameterStore

    path, weights = tmp_path / "three.mlir", tmp_path / "w.safetensors"
    path.write_text(FUNCTIONS)
    w = np.random.default_rng(0).standard_normal(100, np.float32)
    store = ParameterStore()
    store.add("w", w)
    save_safetensors(weights, store)
    module = iree.load(iree.compile(path, parameters=[weights]))
    x = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(np.asarray(module.double(x)), 2 * x)
    for length in (0, 1, 7):
        v = np.arange(length, dtype=np.float32)
        np.testing.assert_array_equal(np.asarray(module.square(v)), v * v)
    np.testing.assert_array_equal(np.asarray(module.weigh(w)), w * w)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "three.mlir"
    path.write_text(FUNCTIONS)
    with pytest.raises(ImportModelError, match="parameters that no file holds, the first 'w'"):
        iree.compile(path)
