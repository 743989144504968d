"""Sizes that a model takes for granted are checked in every call, before memory is reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import iree_core
from iree_core.errors import InvocationError
from iree_core.runtime_api import LoadedModule

SOURCE = """
func.func @cast(%x: tensor<?x4xf32>) -> tensor<3x4xf32> {
  %c = tensor.cast %x : tensor<?x4xf32> to tensor<3x4xf32>
  %e = tensor.empty() : tensor<3x4xf32>
  %y = linalg.exp ins(%c : tensor<3x4xf32>) outs(%e : tensor<3x4xf32>) -> tensor<3x4xf32>
  return %y : tensor<3x4xf32>
}
func.func @cast_of_result(%x: tensor<?x4xf32>) -> tensor<3x4xf32> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %e = tensor.empty(%n) : tensor<?x4xf32>
  %y = linalg.exp ins(%x : tensor<?x4xf32>) outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = tensor.cast %y : tensor<?x4xf32> to tensor<3x4xf32>
  return %c : tensor<3x4xf32>
}
func.func @product(%x: tensor<2x?xf32>) -> tensor<2x5xf32> {
  %w = stablehlo.constant dense<1.0> : tensor<3x5xf32>
  %y = stablehlo.dot %x, %w : (tensor<2x?xf32>, tensor<3x5xf32>) -> tensor<2x5xf32>
  return %y : tensor<2x5xf32>
}
func.func @reshape(%x: tensor<?xf32>, %shape: tensor<2xi64>) -> tensor<?x?xf32> {
  %r = tensor.reshape %x(%shape) : (tensor<?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  %y = stablehlo.exponential %r : tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}
func.func @rows_that_are_found(%n: tensor<i64>, %y: tensor<?xf32>) -> tensor<?xf32> {
  %i = tensor.extract %n[] : tensor<i64>
  %size = arith.index_cast %i : i64 to index
  %zero = arith.constant 1.0 : f32
  %e = tensor.empty(%size) : tensor<?xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.add ins(%f, %y : tensor<?xf32>, tensor<?xf32>) outs(%e : tensor<?xf32>)
      -> tensor<?xf32>
  return %s : tensor<?xf32>
}
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> LoadedModule:
    path = tmp_path_factory.mktemp("sizes") / "model.mlir"
    path.write_text(SOURCE)
    return iree_core.load(iree_core.compile(path), "local-sync")


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)


def shape(*sizes: int) -> NDArray[np.int64]:
    return np.array(sizes, np.int64)


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("cast", [ones(3, 4)], (3, 4)),
        ("cast_of_result", [ones(3, 4)], (3, 4)),
        ("product", [ones(2, 3)], (2, 5)),
        ("reshape", [ones(12), shape(4, 3)], (4, 3)),
        ("reshape", [ones(0), shape(0, 3)], (0, 3)),
        ("rows_that_are_found", [np.array(4), ones(4)], (4,)),
    ],
)
def test_sizes_that_are_right_are_taken(
    name: str, arguments: list[NDArray], result: tuple[int, ...], module: LoadedModule
) -> None:
    assert np.asarray(module[name](*arguments)).shape == result


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cast", [ones(1, 4)], "A size is not 3"),
        ("cast", [ones(5, 4)], "A size is not 3"),
        ("cast_of_result", [ones(1, 4)], "A size is not 3"),
        ("product", [ones(2, 2)], "A size is not 3"),
        ("product", [ones(2, 1000)], "A size is not 3"),
        ("reshape", [ones(12), shape(4000, 3000)], "Two sizes differ"),
        ("reshape", [ones(12), shape(-4, -3)], "negative|Two sizes differ"),
        ("rows_that_are_found", [np.array(4000), ones(4)], "Two sizes differ"),
    ],
)
def test_sizes_that_are_wrong_are_refused(
    name: str, arguments: list[NDArray], message: str, module: LoadedModule
) -> None:
    with pytest.raises(InvocationError, match=message):
        module[name](*arguments)


def test_sizes_that_numpy_does_not_broadcast_are_refused(tmp_path: Path) -> None:
    """The slow way of broadcasting reads where the larger operand has elements."""
    import onnx

    kinds = [onnx.helper.make_tensor_value_info(n, 1, [n + "0", n + "1"]) for n in "xyz"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "y"], ["z"], "sum")], "g", kinds[:2], kinds[2:]
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), tmp_path / "add.onnx")
    main = iree_core.load(iree_core.compile(tmp_path / "add.onnx"), "local-sync").main
    for x, y in (((3, 4), (3, 4)), ((1, 4), (3, 1)), ((3, 4), (1, 1)), ((1, 1), (2, 5))):
        assert np.asarray(main(ones(*x), ones(*y))).tolist() == (ones(*x) + ones(*y)).tolist()
    for x, y in (((3, 4), (2, 4)), ((3, 4), (3, 5)), ((3, 2), (1, 9))):
        with pytest.raises(InvocationError, match="Two sizes differ and neither is 1, at"):
            main(ones(*x), ones(*y))
