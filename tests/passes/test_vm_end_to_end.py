"""Loops, growing tensors and state on the CPU backend: what scheduling plans is what runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import iree_core as iree

# Appends x to itself k times, doubles it k times, and counts the calls in @acc.
MODEL = """
ml_program.global private mutable @acc(dense<0.0> : tensor<4xf32>) : tensor<4xf32>
func.func @main(%x: tensor<?x4xf32> {iree.dims = ["n"]}, %k: tensor<i64>)
    -> (tensor<?x4xf32>, tensor<4xf32>, tensor<?x4xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %one = arith.constant dense<1.0> : tensor<4xf32>
  %kv = tensor.extract %k[] : tensor<i64>
  %ki = arith.index_cast %kv : i64 to index
  %g = scf.for %i = %c0 to %ki step %c1 iter_args(%a = %x) -> (tensor<?x4xf32>) {
    %c = tensor.concat dim(0) %a, %x
        : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    scf.yield %c : tensor<?x4xf32>
  }
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %r:2 = scf.while (%i = %c0, %b = %x)
      : (index, tensor<?x4xf32>) -> (index, tensor<?x4xf32>) {
    %m = arith.cmpi slt, %i, %ki : index
    scf.condition(%m) %i, %b : index, tensor<?x4xf32>
  } do {
  ^bb0(%i: index, %b: tensor<?x4xf32>):
    %j = arith.addi %i, %c1 : index
    %e = tensor.empty(%n) : tensor<?x4xf32>
    %d = linalg.add ins(%b, %b : tensor<?x4xf32>, tensor<?x4xf32>)
        outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
    scf.yield %j, %d : index, tensor<?x4xf32>
  }
  %s = ml_program.global_load @acc : tensor<4xf32>
  %se = tensor.empty() : tensor<4xf32>
  %t = linalg.add ins(%s, %one : tensor<4xf32>, tensor<4xf32>)
      outs(%se : tensor<4xf32>) -> tensor<4xf32>
  ml_program.global_store @acc = %t : tensor<4xf32>
  return %g, %t, %r#1 : tensor<?x4xf32>, tensor<4xf32>, tensor<?x4xf32>
}
"""


def test_loops_and_state(tmp_path: Path) -> None:
    path = tmp_path / "loops.mlir"
    path.write_text(MODEL)
    module = iree.load(iree.compile(path, target="llvm-cpu"))
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    for calls, k in enumerate((0, 1, 3), start=1):
        grown, state, doubled = module.main(x, np.array(k, np.int64))
        np.testing.assert_array_equal(grown, np.concatenate([x] * (k + 1)))
        np.testing.assert_array_equal(state, np.full(4, calls, np.float32))
        np.testing.assert_array_equal(doubled, x * 2**k)
