"""Given a result that reads its operand across rows, tiles are transposed in registers."""

from __future__ import annotations

import numpy as np
import pytest
from tests.codegen.harness import run_dispatch


@pytest.mark.parametrize("shape", [(1, 16, 32), (2, 37, 49), (3, 20, 1000), (1, 64, 17)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_swapped_dimensions_with_bias(shape: tuple[int, int, int], dynamic: bool) -> None:
    n, c, p = shape
    a, b = ("?", "?") if dynamic else (c, p)
    dims = "{flow.dims = array<i64: 2, 3>}" if dynamic else ""
    turned = "{flow.dims = array<i64: 3, 2>}" if dynamic else ""
    scalars = ", %c: index, %p: index" if dynamic else ""
    sizes = "%p, %c" if dynamic else ""
    source, target = f"tensor<{n}x{a}x{b}xf32>", f"tensor<{n}x{b}x{a}xf32>"
    bias = f"tensor<{a}xf32>"
    bias_dims = "{flow.dims = array<i64: 2>}" if dynamic else ""
    text = f"""
    func.func @f(%x: {source} {dims}, %b: {bias} {bias_dims}{scalars}) -> ({target} {turned})
        attributes {{flow.dispatch}} {{
      %e = tensor.empty({sizes}) : {target}
      %r = linalg.generic {{indexing_maps = [affine_map<(i, j, k) -> (i, k, j)>,
          affine_map<(i, j, k) -> (k)>, affine_map<(i, j, k) -> (i, j, k)>],
          iterator_types = ["parallel", "parallel", "parallel"]}}
          ins(%x, %b : {source}, {bias}) outs(%e : {target}) {{
        ^bb0(%v: f32, %w: f32, %o: f32):
          %s = arith.addf %v, %w : f32
          linalg.yield %s : f32 }} -> {target}
      return %r : {target}
    }}"""
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal(shape, np.float32), rng.standard_normal(c, np.float32)
    values = [c, p] if dynamic else []
    (y,), kernel = run_dispatch(text, [x, b], values, [((n, p, c), np.float32)])
    assert kernel.schedule == "transposition"
    np.testing.assert_array_equal(y, (x + b[:, None]).transpose(0, 2, 1))
