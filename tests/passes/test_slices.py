"""Slices: checked when the program runs where their range is not known while compiling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import iree_core as iree
from iree_core.errors import InvocationError
from iree_core.ir import make_context
from iree_core.passes.input.load import parse_module
from iree_core.passes.scheduling.ranges import Ranges
from iree_core.passes.scheduling.shapes import NamedDim
from iree_core.passes.scheduling.sizes import Symbols, fixed
from iree_core.runtime_api import LoadedModule

MODEL = """
func.func @take(%x: tensor<?x4xf32>, %k: tensor<i64>) -> tensor<2x4xf32> {
  %kv = tensor.extract %k[] : tensor<i64>
  %i = arith.index_cast %kv : i64 to index
  %s = tensor.extract_slice %x[%i, 0] [2, 4] [1, 1] : tensor<?x4xf32> to tensor<2x4xf32>
  return %s : tensor<2x4xf32>
}
func.func @put(%x: tensor<?x4xf32>, %y: tensor<2x4xf32>, %k: tensor<i64>) -> tensor<?x4xf32> {
  %kv = tensor.extract %k[] : tensor<i64>
  %i = arith.index_cast %kv : i64 to index
  %s = tensor.insert_slice %y into %x[%i, 0] [2, 4] [1, 1] : tensor<2x4xf32> into tensor<?x4xf32>
  return %s : tensor<?x4xf32>
}
func.func @clamped(%x: tensor<7x4xf32>, %k: tensor<i64>) -> tensor<2x4xf32> {
  %c0 = arith.constant 0 : index
  %c5 = arith.constant 5 : index
  %kv = tensor.extract %k[] : tensor<i64>
  %i = arith.index_cast %kv : i64 to index
  %low = arith.maxsi %i, %c0 : index
  %start = arith.minsi %low, %c5 : index
  %s = tensor.extract_slice %x[%start, 0] [2, 4] [1, 1] : tensor<7x4xf32> to tensor<2x4xf32>
  return %s : tensor<2x4xf32>
}
func.func @rows(%x: tensor<?x4xf32>) -> tensor<1x4xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant dense<0.0> : tensor<1x4xf32>
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %sum = scf.for %i = %c0 to %n step %c1 iter_args(%a = %zero) -> (tensor<1x4xf32>) {
    %s = tensor.extract_slice %x[%i, 0] [1, 4] [1, 1] : tensor<?x4xf32> to tensor<1x4xf32>
    %e = tensor.empty() : tensor<1x4xf32>
    %d = linalg.add ins(%a, %s : tensor<1x4xf32>, tensor<1x4xf32>)
        outs(%e : tensor<1x4xf32>) -> tensor<1x4xf32>
    scf.yield %d : tensor<1x4xf32>
  }
  return %sum : tensor<1x4xf32>
}
"""
X = np.arange(28, dtype=np.float32).reshape(7, 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slices") / "slices.mlir"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="module")
def module(path: Path) -> LoadedModule:
    return iree.load(iree.compile(path, target="llvm-cpu"), "local-sync")


def test_slices_inside_are_taken(module: LoadedModule) -> None:
    for k in (0, 3, 5):
        number = np.array(k, np.int64)
        np.testing.assert_array_equal(module.take(X, number), X[k : k + 2])
        expected = X.copy()
        expected[k : k + 2] = -1
        np.testing.assert_array_equal(
            module.put(X, np.full((2, 4), -1, np.float32), number), expected
        )
    for k, start in ((-9, 0), (2, 2), (99, 5)):
        np.testing.assert_array_equal(
            module.clamped(X, np.array(k, np.int64)), X[start : start + 2]
        )
    np.testing.assert_array_equal(module.rows(X), X.sum(0, keepdims=True))


@pytest.mark.parametrize(
    "k, message", [(-1, "starts before"), (6, "past the end"), (7, "past the")]
)
def test_slices_outside_are_errors(module: LoadedModule, k: int, message: str) -> None:
    number = np.array(k, np.int64)
    with pytest.raises(InvocationError, match=message):
        module.take(X, number)
    with pytest.raises(InvocationError, match=message):
        module.put(X, np.zeros((2, 4), np.float32), number)


def test_what_is_known_is_not_checked(path: Path) -> None:
    lowered = iree.compile(path, compile_to="scheduling", target="llvm-cpu")
    text, checked = lowered.path.read_bytes(), {}
    with make_context() as context:
        for op in parse_module(text, context, "the module").body.operations:
            body = str(op)
            checked[op.name.value] = body.count("hal.check")
    assert {name: checked[name] for name in ("take", "put", "clamped", "rows")} == {
        "take": 2, "put": 2, "clamped": 0, "rows": 0
    }  # fmt: skip


def test_what_is_known_of_sizes() -> None:
    symbols = Symbols()
    n, m = symbols.atom(NamedDim("n")), symbols.atom(NamedDim("m"))
    known = Ranges(symbols).is_natural
    least, most = symbols.apply("arith.minsi", n, m), symbols.apply("arith.maxsi", n, m)
    for natural in (fixed(0), n * m + 3, n - least, most - n, most - least, n * 2 - least - least):
        assert known(natural), natural
    for unknown in (fixed(-1), n - m, n - 1, least - n, n - most, m * n - n):
        assert not known(unknown), unknown
    quotient = symbols.apply("arith.ceildivsi", n, fixed(4))
    assert known(quotient) and not known(quotient - 1)
