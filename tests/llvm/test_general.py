"""The schedule of last resort: dispatches no other schedule takes still come out right."""

from __future__ import annotations

import numpy as np
import pytest
from tests.llvm.llvm_kernels import run_general

from iree_core.errors import CompileError
from iree_core.layout import PackedLayout

MATMUL = """
func.func private @mm(%x: tensor<?x24xf32> {{flow.dims = array<i64: 2>}},
    %w: tensor<{weight}>, %n: index)
    -> (tensor<?x40xf32> {{flow.dims = array<i64: 2>}}) attributes {{flow.dispatch}} {{
  %z = arith.constant 0.0 : f32
  %e = tensor.empty(%n) : tensor<?x40xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<?x40xf32>) -> tensor<?x40xf32>
  %m = linalg.generic {{indexing_maps = [affine_map<(m, n, k) -> (m, k)>,
      affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>],
      iterator_types = ["parallel", "parallel", "reduction"]}}
      ins(%x, %w : tensor<?x24xf32>, tensor<{weight}>) outs(%f : tensor<?x40xf32>) {{
    ^bb0(%a: f32, %b: f32, %c: f32):
      %p = arith.mulf %a, %b : f32
      %q = arith.addf %c, %p : f32
      linalg.yield %q : f32
  }} -> tensor<?x40xf32>
  %r = linalg.generic {{indexing_maps = [affine_map<(m, n) -> (m, n)>,
      affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]}}
      ins(%m : tensor<?x40xf32>) outs(%e : tensor<?x40xf32>) {{
    ^bb0(%a: f32, %b: f32):
      %p = arith.maximumf %a, %z : f32
      linalg.yield %p : f32
  }} -> tensor<?x40xf32>
  return %r : tensor<?x40xf32>
}}"""


@pytest.mark.parametrize("layout", [None, PackedLayout((0,), 1, 16), PackedLayout((1,), 0, 7)])
def test_packed_weight_and_dynamic_size(layout: PackedLayout | None) -> None:
    encoding = f", {layout.to_attribute_text()}" if layout else ""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((7, 24), (24, 40)))
    found = np.zeros((7, 40), np.float32)
    stored = layout.pack(w) if layout else w
    kernel = run_general(MATMUL.format(weight=f"24x40xf32{encoding}"), [x, stored, found], [7])
    np.testing.assert_allclose(found, np.maximum(x @ w, 0), rtol=1e-5, atol=1e-5)
    assert kernel.schedule == "general"
    assert kernel.scratch.evaluate([7]) % 64 == 0


def test_packed_result_is_padded_with_zeros() -> None:
    layout = PackedLayout((1,), 0, 4)
    kind = f"tensor<6x3xi8, {layout.to_attribute_text()}>"
    text = f"""
    func.func private @pack(%x: tensor<6x3xi8>) -> {kind} attributes {{flow.dispatch}} {{
      %e = tensor.empty() : {kind}
      %r = linalg.generic {{indexing_maps = [affine_map<(i, j) -> (i, j)>,
          affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}}
          ins(%x : tensor<6x3xi8>) outs(%e : {kind}) {{
        ^bb0(%a: i8, %b: i8):
          linalg.yield %a : i8
      }} -> {kind}
      return %r : {kind}
    }}"""
    x = np.arange(1, 19, dtype=np.int8).reshape(6, 3)
    found = np.full((2, 3, 4), -1, np.int8)
    run_general(text, [x, found])
    np.testing.assert_array_equal(found, layout.pack(x))


def test_narrow_types_take_a_byte_each() -> None:
    text = """
    func.func private @narrow(%c: tensor<10xi1>, %x: tensor<10xi4>, %h: tensor<10xf16>,
        %e: tensor<10xf8E4M3FN>)
        -> (tensor<10xi1>, tensor<10xi4>, tensor<10xf16>, tensor<10xf8E4M3FN>)
        attributes {flow.dispatch} {
      %t = arith.constant dense<true> : tensor<10xi1>
      %n = arith.xori %c, %t : tensor<10xi1>
      %y = arith.addi %x, %x : tensor<10xi4>
      %k = arith.addf %h, %h : tensor<10xf16>
      %q = arith.addf %e, %e : tensor<10xf8E4M3FN>
      return %n, %y, %k, %q : tensor<10xi1>, tensor<10xi4>, tensor<10xf16>, tensor<10xf8E4M3FN>
    }"""
    import ml_dtypes

    rng = np.random.default_rng(0)
    c, x = rng.integers(0, 2, 10).astype(np.uint8), rng.integers(0, 16, 10).astype(np.uint8)
    h = rng.standard_normal(10).astype(np.float16)
    e = rng.standard_normal(10).astype(ml_dtypes.float8_e4m3fn)
    found = [np.zeros_like(a) for a in (c, x, h, e)]
    run_general(text, [c, x, h, e, *found])
    np.testing.assert_array_equal(found[0], 1 - c)
    np.testing.assert_array_equal(found[1], 2 * x % 16)
    np.testing.assert_array_equal(found[2], h + h)
    np.testing.assert_array_equal(found[3], e + e)


def test_loops_padding_and_concatenation() -> None:
    text = """
    func.func private @misc(%x: tensor<?x4xf32> {flow.dims = array<i64: 1>}, %n: index)
        -> (tensor<?x8xf32> {flow.dims = array<i64: 1>}) attributes {flow.dispatch} {
      %z = arith.constant 2.0 : f32
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c4 = arith.constant 4 : index
      %p = tensor.pad %x low[0, 1] high[0, -1] {
        ^bb0(%i: index, %j: index):
          tensor.yield %z : f32
      } : tensor<?x4xf32> to tensor<?x4xf32>
      %s = scf.for %i = %c1 to %c4 step %c1 iter_args(%t = %p) -> tensor<?x4xf32> {
        %v = tensor.extract %t[%c0, %i] : tensor<?x4xf32>
        %u = tensor.extract %t[%c0, %c0] : tensor<?x4xf32>
        %g = arith.cmpf ogt, %v, %u : f32
        %r = scf.if %g -> tensor<?x4xf32> {
          %q = tensor.insert %v into %t[%c0, %c0] : tensor<?x4xf32>
          scf.yield %q : tensor<?x4xf32>
        } else {
          scf.yield %t : tensor<?x4xf32>
        }
        scf.yield %r : tensor<?x4xf32>
      }
      %k = tensor.concat dim(1) %x, %s
        : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
      return %k : tensor<?x8xf32>
    }"""
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    found = np.zeros((3, 8), np.float32)
    run_general(text, [x, found], [3])
    shifted = np.concatenate([np.full((3, 1), 2, np.float32), x[:, :3]], 1)
    shifted[0, 0] = shifted[0].max()
    np.testing.assert_array_equal(found, np.concatenate([x, shifted], 1))


def test_result_in_place_of_an_operand() -> None:
    text = """
    #id = affine_map<(i) -> (i)>
    func.func private @twice(%x: tensor<?xf32> {flow.dims = array<i64: 1>}, %n: index)
        -> (tensor<?xf32> {flow.dims = array<i64: 1>})
        attributes {flow.dispatch, flow.in_place = array<i64: 0>} {
      %e = tensor.empty(%n) : tensor<?xf32>
      %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
          ins(%x : tensor<?xf32>) outs(%e : tensor<?xf32>) {
        ^bb0(%p: f32, %q: f32):
          %s = arith.mulf %p, %p : f32
          linalg.yield %s : f32
      } -> tensor<?xf32>
      %b = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
          ins(%x : tensor<?xf32>) outs(%a : tensor<?xf32>) {
        ^bb0(%p: f32, %q: f32):
          %s = arith.addf %p, %q : f32
          linalg.yield %s : f32
      } -> tensor<?xf32>
      return %b : tensor<?xf32>
    }"""
    x = np.arange(10, dtype=np.float32)
    expected = x * x + x
    run_general(text, [x, x], [10])
    np.testing.assert_array_equal(x, expected)


def test_complex_numbers() -> None:
    text = """
    func.func private @square(%x: tensor<5xcomplex<f32>>) -> tensor<5xcomplex<f32>>
        attributes {flow.dispatch} {
      %e = tensor.empty() : tensor<5xcomplex<f32>>
      %r = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
          iterator_types = ["parallel"]}
          ins(%x : tensor<5xcomplex<f32>>) outs(%e : tensor<5xcomplex<f32>>) {
        ^bb0(%a: complex<f32>, %b: complex<f32>):
          %p = complex.mul %a, %a : complex<f32>
          %q = complex.exp %p : complex<f32>
          linalg.yield %q : complex<f32>
      } -> tensor<5xcomplex<f32>>
      return %r : tensor<5xcomplex<f32>>
    }"""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(5) + 1j * rng.standard_normal(5)).astype(np.complex64)
    found = np.zeros_like(x)
    run_general(text, [x, found])
    np.testing.assert_allclose(found, np.exp(x * x), rtol=1e-5)


def test_temporary_of_a_size_known_only_inside() -> None:
    text = """
    func.func private @inner(%x: tensor<8xi64>) -> tensor<1xi64> attributes {flow.dispatch} {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %zero = arith.constant 0 : i64
      %v = tensor.extract %x[%c0] : tensor<8xi64>
      %n = arith.index_cast %v : i64 to index
      %e = tensor.empty(%n) : tensor<?xi64>
      %t = scf.for %i = %c0 to %n step %c1 iter_args(%a = %e) -> tensor<?xi64> {
        %w = tensor.extract %x[%i] : tensor<8xi64>
        %b = tensor.insert %w into %a[%i] : tensor<?xi64>
        scf.yield %b : tensor<?xi64>
      }
      %s = scf.for %i = %c0 to %n step %c1 iter_args(%sum = %zero) -> i64 {
        %w = tensor.extract %t[%i] : tensor<?xi64>
        %m = arith.addi %sum, %w : i64
        scf.yield %m : i64
      }
      %r = tensor.from_elements %s : tensor<1xi64>
      return %r : tensor<1xi64>
    }"""
    x = np.array([5, 1, 2, 3, 4, 100, 100, 100])
    found = np.zeros(1, np.int64)
    run_general(text, [x, found])
    assert found[0] == 15


def test_what_upstream_refuses_is_named() -> None:
    text = """
    func.func private @odd(%x: tensor<4xf32>) -> tensor<4xf32> attributes {flow.dispatch} {
      %r = "test.unknown"(%x) : (tensor<4xf32>) -> tensor<4xf32>
      return %r : tensor<4xf32>
    }"""
    with pytest.raises((CompileError, Exception), match=r"test\.unknown|unregistered"):
        run_general(text, [np.zeros(4, np.float32)] * 2)
