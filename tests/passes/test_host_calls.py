"""Programs that call functions of Python, from MLIR to results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import iree_core as iree
from iree_core.errors import InvocationError, UsageError

# A sum of what the host returns for each of the n first rows.
MODEL = """
func.func @main(
    %x: tensor<?x4xf32> {iree.name = "x", iree.dims = ["rows"]}, %n: tensor<i64> {iree.name = "n"}
) -> (tensor<4xf32> {iree.name = "total"}, tensor<2xi8> {iree.name = "bytes", iree.dtype = "ui8"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %scalar = tensor.extract %n[] : tensor<i64>
  %count = arith.index_cast %scalar : i64 to index
  %e = tensor.empty() : tensor<4xf32>
  %start = linalg.fill ins(%zero : f32) outs(%e : tensor<4xf32>) -> tensor<4xf32>
  %total = scf.for %i = %c0 to %count step %c1 iter_args(%sum = %start) -> tensor<4xf32> {
    %number = arith.index_cast %i : index to i64
    %place = tensor.from_elements %number : tensor<i64>
    %row_f = "flow.host_function"() {callee = "row", dtypes = ["f32", "i64", "f32"]}
        : () -> ((tensor<?x4xf32>, tensor<i64>) -> tensor<4xf32>)
    %row = func.call_indirect %row_f(%x, %place)
        : (tensor<?x4xf32>, tensor<i64>) -> tensor<4xf32>
    %s = linalg.add ins(%sum, %row : tensor<4xf32>, tensor<4xf32>)
        outs(%e : tensor<4xf32>) -> tensor<4xf32>
    scf.yield %s : tensor<4xf32>
  }
  %bytes_f = "flow.host_function"() {callee = "bytes", dtypes = ["ui8"]}
      : () -> (() -> tensor<2xi8>)
  %bytes = func.call_indirect %bytes_f() : () -> tensor<2xi8>
  %seen_f = "flow.host_function"() {callee = "seen", dtypes = ["f32"]}
      : () -> ((tensor<4xf32>) -> ())
  func.call_indirect %seen_f(%total) : (tensor<4xf32>) -> ()
  return %total, %bytes : tensor<4xf32>, tensor<2xi8>
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("host") / "model.mlir"
    path.write_text(MODEL)
    return iree.compile(path, target="llvm-cpu")


def test_operands_results_loops_and_order(compiled: Any) -> None:
    seen: list[Any] = []

    def row(x: np.ndarray, place: np.ndarray) -> np.ndarray:
        seen.append(int(place))
        return x[place] * 2

    functions = {
        "row": row,
        "bytes": lambda: np.array([1, 255], np.uint8),
        "seen": lambda total: seen.append(total.copy()),
    }
    module = iree.load(compiled, host_functions=functions)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    total, found = module.main(x, np.array(2))
    np.testing.assert_array_equal(total, 2 * (x[0] + x[1]))
    np.testing.assert_array_equal(found, np.array([1, 255], np.uint8))
    assert seen[:2] == [0, 1]
    np.testing.assert_array_equal(seen[2], total)


def test_missing_functions_are_named(compiled: Any) -> None:
    with pytest.raises(UsageError, match="not given: bytes, seen"):
        iree.load(compiled, host_functions={"row": lambda x, place: x[place]})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.zeros(4, np.float64), r"float64\[4\] as result 0 instead of float32\[4\]"),
        (np.zeros(3, np.float32), r"float32\[3\] as result 0"),
        ((), "0 arrays instead of 1"),
    ],
)
def test_results_of_other_types_are_refused(compiled: Any, found: Any, message: str) -> None:
    functions = {"row": lambda x, place: found, "bytes": lambda: None, "seen": lambda total: None}
    module = iree.load(compiled, host_functions=functions)
    with pytest.raises(InvocationError, match=message):
        module.main(np.zeros((1, 4), np.float32), np.array(1))


def test_what_a_host_function_raises_reaches_the_caller(compiled: Any) -> None:
    def fails(x: np.ndarray, place: np.ndarray) -> np.ndarray:
        raise KeyError("mine")

    functions = {"row": fails, "bytes": lambda: None, "seen": lambda total: None}
    module = iree.load(compiled, host_functions=functions)
    with pytest.raises(KeyError, match="mine"):
        module.main(np.zeros((1, 4), np.float32), np.array(1))
