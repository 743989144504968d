"""Given a dispatch without reductions over rows, this comes out, compared with numpy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from tests.codegen.harness import run_dispatch

ID2 = "affine_map<(i, j) -> (i, j)>"


def dims(*positions: int) -> str:
    return f"{{flow.dims = array<i64: {', '.join(map(str, positions))}>}}"


@pytest.mark.parametrize("shape", [(3, 5), (7, 16), (2, 33), (1, 1), (4, 1000)])
def test_bias_and_relu_with_dynamic_sizes(shape: tuple[int, int]) -> None:
    text = f"""
    func.func @f(%x: tensor<?x?xf32> {dims(2, 3)}, %b: tensor<?xf32> {dims(3)}, %m: index,
                 %n: index) -> (tensor<?x?xf32> {dims(2, 3)}) attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %e = tensor.empty(%m, %n) : tensor<?x?xf32>
      %r = linalg.generic {{indexing_maps = [{ID2}, affine_map<(i, j) -> (j)>, {ID2}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%x, %b : tensor<?x?xf32>, tensor<?xf32>) outs(%e : tensor<?x?xf32>) {{
        ^bb0(%a: f32, %c: f32, %o: f32):
          %s = arith.addf %a, %c : f32
          %y = arith.maximumf %s, %zero : f32
          linalg.yield %y : f32 }} -> tensor<?x?xf32>
      return %r : tensor<?x?xf32>
    }}"""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    b = rng.standard_normal(shape[1], np.float32)
    (y,), _ = run_dispatch(text, [x, b], shape, [(shape, np.float32)])
    np.testing.assert_array_equal(y, np.maximum(x + b, 0))


def test_transposed_and_sliced_producers_are_read_in_place() -> None:
    text = f"""
    func.func @f(%x: tensor<20x9xf32>) -> tensor<4x20xf32> attributes {{flow.dispatch}} {{
      %s = tensor.extract_slice %x[0, 1][20, 4][1, 2] : tensor<20x9xf32> to tensor<20x4xf32>
      %e = tensor.empty() : tensor<4x20xf32>
      %r = linalg.generic {{indexing_maps = [affine_map<(i, j) -> (j, i)>, {ID2}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%s : tensor<20x4xf32>) outs(%e : tensor<4x20xf32>) {{
        ^bb0(%a: f32, %o: f32):
          linalg.yield %a : f32 }} -> tensor<4x20xf32>
      return %r : tensor<4x20xf32>
    }}"""
    x = np.arange(180, dtype=np.float32).reshape(20, 9)
    (y,), _ = run_dispatch(text, [x], [], [((4, 20), np.float32)])
    np.testing.assert_array_equal(y, x[:, 1:9:2].T)


def test_a_slice_that_keeps_its_first_unit_dimension_drops_the_last() -> None:
    text = f"""
    func.func @f(%x: tensor<3x20x4xf32>) -> tensor<1x20xf32> attributes {{flow.dispatch}} {{
      %s = tensor.extract_slice %x[2, 0, 1][1, 20, 1][1, 1, 1]
          : tensor<3x20x4xf32> to tensor<1x20xf32>
      %e = tensor.empty() : tensor<1x20xf32>
      %r = linalg.generic {{indexing_maps = [{ID2}, {ID2}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%s : tensor<1x20xf32>) outs(%e : tensor<1x20xf32>) {{
        ^bb0(%a: f32, %o: f32):
          linalg.yield %a : f32 }} -> tensor<1x20xf32>
      return %r : tensor<1x20xf32>
    }}"""
    x = np.arange(240, dtype=np.float32).reshape(3, 20, 4)
    (y,), _ = run_dispatch(text, [x], [], [((1, 20), np.float32)])
    np.testing.assert_array_equal(y, x[2:, :, 1])


@pytest.mark.parametrize("inner", [3, 16, 37])
def test_padding_reads_nothing_outside(inner: int) -> None:
    padded = inner + 3
    text = f"""
    func.func @f(%x: tensor<4x{inner}xf32>) -> tensor<7x{padded}xf32>
        attributes {{flow.dispatch}} {{
      %c = arith.constant 9.0 : f32
      %r = tensor.pad %x low[2, 1] high[1, 2] {{
        ^bb0(%i: index, %j: index):
          tensor.yield %c : f32 }} : tensor<4x{inner}xf32> to tensor<7x{padded}xf32>
      return %r : tensor<7x{padded}xf32>
    }}"""
    x = np.arange(4 * inner, dtype=np.float32).reshape(4, inner)
    (y,), _ = run_dispatch(text, [x], [], [((7, padded), np.float32)])
    np.testing.assert_array_equal(y, np.pad(x, ((2, 1), (1, 2)), constant_values=9))


@pytest.mark.parametrize("axis", [0, 1])
def test_concatenation(axis: int) -> None:
    shapes = [(3, 10), (3, 21)] if axis else [(3, 10), (5, 10)]
    total = (3, 31) if axis else (8, 10)
    kinds = [f"tensor<{a}x{b}xf32>" for a, b in [*shapes, total]]
    text = f"""
    func.func @f(%x: {kinds[0]}, %y: {kinds[1]}) -> {kinds[2]} attributes {{flow.dispatch}} {{
      %r = tensor.concat dim({axis}) %x, %y : ({kinds[0]}, {kinds[1]}) -> {kinds[2]}
      return %r : {kinds[2]}
    }}"""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s, np.float32) for s in shapes)
    (z,), _ = run_dispatch(text, [x, y], [], [(total, np.float32)])
    np.testing.assert_array_equal(z, np.concatenate([x, y], axis))


def test_inserted_slice() -> None:
    text = """
    func.func @f(%x: tensor<2x5xf32>, %y: tensor<6x20xf32>) -> tensor<6x20xf32>
        attributes {flow.dispatch} {
      %r = tensor.insert_slice %x into %y[3, 4][2, 5][1, 1]
          : tensor<2x5xf32> into tensor<6x20xf32>
      return %r : tensor<6x20xf32>
    }"""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 5), np.float32), rng.standard_normal((6, 20), np.float32)
    (z,), _ = run_dispatch(text, [x, y], [], [((6, 20), np.float32)])
    expected = y.copy()
    expected[3:5, 4:9] = x
    np.testing.assert_array_equal(z, expected)


def test_reshapes_between_elementwise_code() -> None:
    text = """
    func.func @f(%x: tensor<4x6x5xf32>) -> tensor<24x5xf32> attributes {flow.dispatch} {
      %c = tensor.collapse_shape %x [[0, 1], [2]] : tensor<4x6x5xf32> into tensor<24x5xf32>
      %f = tensor.collapse_shape %c [[0, 1]] : tensor<24x5xf32> into tensor<120xf32>
      %g = tensor.expand_shape %f [[0, 1]] output_shape [24, 5]
          : tensor<120xf32> into tensor<24x5xf32>
      %e = tensor.empty() : tensor<24x5xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>,
          affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
          iterator_types = ["parallel", "parallel"]}
          ins(%g, %c : tensor<24x5xf32>, tensor<24x5xf32>) outs(%e : tensor<24x5xf32>) {
        ^bb0(%a: f32, %b: f32, %o: f32):
          %s = arith.addf %a, %b : f32
          linalg.yield %s : f32 } -> tensor<24x5xf32>
      return %r : tensor<24x5xf32>
    }"""
    x = np.arange(120, dtype=np.float32).reshape(4, 6, 5)
    (y,), _ = run_dispatch(text, [x], [], [((24, 5), np.float32)])
    np.testing.assert_array_equal(y, 2 * x.reshape(24, 5))


def test_gather_by_computed_index() -> None:
    text = f"""
    func.func @f(%table: tensor<50x24xf32>, %ids: tensor<7xi64>) -> tensor<7x24xf32>
        attributes {{flow.dispatch}} {{
      %e = tensor.empty() : tensor<7x24xf32>
      %r = linalg.generic {{indexing_maps = [affine_map<(i, j) -> (i)>, {ID2}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%ids : tensor<7xi64>) outs(%e : tensor<7x24xf32>) {{
        ^bb0(%id: i64, %o: f32):
          %row = arith.index_cast %id : i64 to index
          %col = linalg.index 1 : index
          %v = tensor.extract %table[%row, %col] : tensor<50x24xf32>
          linalg.yield %v : f32 }} -> tensor<7x24xf32>
      return %r : tensor<7x24xf32>
    }}"""
    rng = np.random.default_rng(0)
    table, ids = rng.standard_normal((50, 24), np.float32), rng.integers(0, 50, 7)
    (y,), kernel = run_dispatch(text, [table, ids], [], [((7, 24), np.float32)])
    np.testing.assert_array_equal(y, table[ids])
    assert "vector.gather" not in kernel.module  # rows are contiguous: plain loads


def test_booleans_are_bytes() -> None:
    text = f"""
    func.func @f(%x: tensor<3x20xf32>, %y: tensor<3x20xi1>) -> tensor<3x20xi1>
        attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %e = tensor.empty() : tensor<3x20xi1>
      %r = linalg.generic {{indexing_maps = [{ID2}, {ID2}, {ID2}],
          iterator_types = ["parallel", "parallel"]}}
          ins(%x, %y : tensor<3x20xf32>, tensor<3x20xi1>) outs(%e : tensor<3x20xi1>) {{
        ^bb0(%a: f32, %b: i1, %o: i1):
          %p = arith.cmpf ogt, %a, %zero : f32
          %q = arith.andi %p, %b : i1
          linalg.yield %q : i1 }} -> tensor<3x20xi1>
      return %r : tensor<3x20xi1>
    }}"""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 20), np.float32), rng.random((3, 20)) < 0.5
    (z,), _ = run_dispatch(text, [x, y], [], [((3, 20), np.bool_)])
    np.testing.assert_array_equal(z, (x > 0) & y)


@pytest.mark.parametrize(("kind", "dtype"), [("i8", np.int8), ("i32", np.int32), ("i64", np.int64)])
def test_division_does_not_trap_on_inactive_lanes(kind: str, dtype: type) -> None:
    text = f"""
    func.func @f(%x: tensor<21x{kind}>, %y: tensor<21x{kind}>) -> tensor<21x{kind}>
        attributes {{flow.dispatch}} {{
      %e = tensor.empty() : tensor<21x{kind}>
      %r = linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>,
          affine_map<(i) -> (i)>], iterator_types = ["parallel"]}}
          ins(%x, %y : tensor<21x{kind}>, tensor<21x{kind}>) outs(%e : tensor<21x{kind}>) {{
        ^bb0(%a: {kind}, %b: {kind}, %o: {kind}):
          %q = arith.divsi %a, %b : {kind}
          linalg.yield %q : {kind} }} -> tensor<21x{kind}>
      return %r : tensor<21x{kind}>
    }}"""
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 100, 21).astype(dtype), rng.integers(1, 9, 21).astype(dtype)
    (z,), _ = run_dispatch(text, [x, y], [], [((21,), dtype)])
    np.testing.assert_array_equal(z, x // y)


def test_table_of_constants() -> None:
    text = """
    func.func @f(%x: tensor<5x4xf32>) -> tensor<5x4xf32> attributes {flow.dispatch} {
      %t = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
      %e = tensor.empty() : tensor<5x4xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>,
          affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>],
          iterator_types = ["parallel", "parallel"]}
          ins(%x, %t : tensor<5x4xf32>, tensor<4xf32>) outs(%e : tensor<5x4xf32>) {
        ^bb0(%a: f32, %b: f32, %o: f32):
          %s = arith.mulf %a, %b : f32
          linalg.yield %s : f32 } -> tensor<5x4xf32>
      return %r : tensor<5x4xf32>
    }"""
    x = np.ones((5, 4), np.float32)
    (y,), _ = run_dispatch(text, [x], [], [((5, 4), np.float32)])
    np.testing.assert_array_equal(y, x * [1, 2, 3, 4])


@pytest.mark.parametrize("channels", [3, 16, 40])
def test_pooling_window_with_lanes_over_channels(channels: int) -> None:
    text = f"""
    func.func @f(%x: tensor<1x9x9x{channels}xf32>) -> tensor<1x4x4x{channels}xf32>
        attributes {{flow.dispatch}} {{
      %low = arith.constant 0xFF800000 : f32
      %w = tensor.empty() : tensor<3x3xf32>
      %e = tensor.empty() : tensor<1x4x4x{channels}xf32>
      %i = linalg.fill ins(%low : f32) outs(%e : tensor<1x4x4x{channels}xf32>)
          -> tensor<1x4x4x{channels}xf32>
      %r = linalg.generic {{indexing_maps = [
          affine_map<(n, h, w, c, kh, kw) -> (n, h * 2 + kh, w * 2 + kw, c)>,
          affine_map<(n, h, w, c, kh, kw) -> (kh, kw)>,
          affine_map<(n, h, w, c, kh, kw) -> (n, h, w, c)>], iterator_types = ["parallel",
          "parallel", "parallel", "parallel", "reduction", "reduction"]}}
          ins(%x, %w : tensor<1x9x9x{channels}xf32>, tensor<3x3xf32>)
          outs(%i : tensor<1x4x4x{channels}xf32>) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %m = arith.maximumf %a, %o : f32
          linalg.yield %m : f32 }} -> tensor<1x4x4x{channels}xf32>
      return %r : tensor<1x4x4x{channels}xf32>
    }}"""
    x = np.random.default_rng(0).standard_normal((1, 9, 9, channels), np.float32)
    (y,), _ = run_dispatch(text, [x], [], [((1, 4, 4, channels), np.float32)])
    windows = [x[:, i : i + 8 : 2, j : j + 8 : 2][:, :4, :4] for i in range(3) for j in range(3)]
    np.testing.assert_array_equal(y, np.max(windows, axis=0))


def test_floats_of_four_bits_take_a_byte_each() -> None:
    text = """
    func.func @f(%x: tensor<20xf4E2M1FN>) -> (tensor<20xf32>, tensor<20xf4E2M1FN>)
        attributes {flow.dispatch} {
      %e = tensor.empty() : tensor<20xf32>
      %g = tensor.empty() : tensor<20xf4E2M1FN>
      %r:2 = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>,
          affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
          ins(%x : tensor<20xf4E2M1FN>) outs(%e, %g : tensor<20xf32>, tensor<20xf4E2M1FN>) {
        ^bb0(%a: f4E2M1FN, %o: f32, %p: f4E2M1FN):
          %w = arith.extf %a : f4E2M1FN to f32
          linalg.yield %w, %a : f32, f4E2M1FN } -> (tensor<20xf32>, tensor<20xf4E2M1FN>)
      return %r#0, %r#1 : tensor<20xf32>, tensor<20xf4E2M1FN>
    }"""
    bits = (np.arange(20) % 16).astype(np.uint8)
    results = [((20,), np.float32), ((20,), np.uint8)]
    (wide, same), _ = run_dispatch(text, [bits], [], results)
    np.testing.assert_array_equal(wide, bits.view(ml_dtypes.float4_e2m1fn).astype(np.float32))
    np.testing.assert_array_equal(same, bits)
