"""Given reductions over common rows, this comes out, compared with numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from tests.codegen.harness import run_dispatch

PAR = '["parallel", "parallel"]'
RED = '["parallel", "reduction"]'
ID = "affine_map<(i, j) -> (i, j)>"
ROW = "affine_map<(i, j) -> (i)>"
SQUARES = "%q = arith.mulf %v, %v : f32\n          %new = arith.addf %q, %acc : f32"
COLUMN = "affine_map<(i, j) -> (j)>"


def reduce(name: str, source: str, init: str, body: str, rows: str, full: str) -> str:
    return f"""
      %{name} = linalg.generic {{indexing_maps = [{ID}, {ROW}], iterator_types = {RED}}}
          ins({source} : {full}) outs({init} : {rows}) {{
        ^bb0(%v: f32, %acc: f32):
          {body}
          linalg.yield %new : f32 }} -> {rows}"""


def layer_norm(rows: str, columns: int, dynamic: bool) -> str:
    full, row = f"tensor<{rows}x{columns}xf32>", f"tensor<{rows}xf32>"
    dims = "{flow.dims = array<i64: 3>}" if dynamic else ""
    size = "%n" if dynamic else ""
    argument = ", %n: index" if dynamic else ""
    count = float(columns)
    return f"""
    func.func @f(%x: {full} {dims}, %g: tensor<{columns}xf32>, %b: tensor<{columns}xf32>
                 {argument}) -> ({full} {dims}) attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %count = arith.constant {count} : f32
      %eps = arith.constant 1.0e-5 : f32
      %re = tensor.empty({size}) : {row}
      %init = linalg.fill ins(%zero : f32) outs(%re : {row}) -> {row}
      {reduce("sum", "%x", "%init", "%new = arith.addf %v, %acc : f32", row, full)}
      %mean = linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
          iterator_types = ["parallel"]}} ins(%sum : {row}) outs(%re : {row}) {{
        ^bb0(%s: f32, %o: f32):
          %m = arith.divf %s, %count : f32
          linalg.yield %m : f32 }} -> {row}
      %fe = tensor.empty({size}) : {full}
      %d = linalg.generic {{indexing_maps = [{ID}, {ROW}, {ID}], iterator_types = {PAR}}}
          ins(%x, %mean : {full}, {row}) outs(%fe : {full}) {{
        ^bb0(%a: f32, %m: f32, %o: f32):
          %y = arith.subf %a, %m : f32
          linalg.yield %y : f32 }} -> {full}
      {reduce("square", "%d", "%init", SQUARES, row, full)}
      %r = linalg.generic {{indexing_maps = [{ID}, {ROW}, {COLUMN}, {COLUMN}, {ID}],
          iterator_types = {PAR}}} ins(%d, %square, %g, %b
          : {full}, {row}, tensor<{columns}xf32>, tensor<{columns}xf32>) outs(%fe : {full}) {{
        ^bb0(%a: f32, %s: f32, %gain: f32, %shift: f32, %o: f32):
          %var = arith.divf %s, %count : f32
          %safe = arith.addf %var, %eps : f32
          %scale = math.rsqrt %safe : f32
          %y0 = arith.mulf %a, %scale : f32
          %y1 = arith.mulf %y0, %gain : f32
          %y2 = arith.addf %y1, %shift : f32
          linalg.yield %y2 : f32 }} -> {full}
      return %r : {full}
    }}"""


@pytest.mark.parametrize("columns", [1, 13, 64, 197, 768])
@pytest.mark.parametrize("dynamic", [False, True])
def test_layer_norm(columns: int, dynamic: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((11, columns), np.float32)
    g, b = rng.standard_normal((2, columns), np.float32)
    text = layer_norm("?" if dynamic else "11", columns, dynamic)
    scalars = [11] if dynamic else []
    (y,), kernel = run_dispatch(text, [x, g, b], scalars, [(x.shape, np.float32)])
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * g + b
    assert kernel.schedule == "rows"
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


def softmax(
    kind: str, full: str, row: str, wide: str, narrow: str, types: str, empties: str
) -> str:
    return f"""
    func.func @f(%x: {full}{kind} {{
      %low = arith.constant 0xFF800000 : f32
      %zero = arith.constant 0.0 : f32
      {empties}
      %m0 = linalg.fill ins(%low : f32) outs(%re : {row}) -> {row}
      %m = linalg.generic {{indexing_maps = [{wide}, {narrow}], iterator_types = {types}}}
          ins(%x : {full}) outs(%m0 : {row}) {{
        ^bb0(%a: f32, %acc: f32):
          %n0 = arith.maximumf %a, %acc : f32
          linalg.yield %n0 : f32 }} -> {row}
      %e = linalg.generic {{indexing_maps = [{wide}, {narrow}, {wide}], iterator_types = {PAR}}}
          ins(%x, %m : {full}, {row}) outs(%fe : {full}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %d = arith.subf %a, %b : f32
          %ex = math.exp %d : f32
          linalg.yield %ex : f32 }} -> {full}
      %s0 = linalg.fill ins(%zero : f32) outs(%re : {row}) -> {row}
      %s = linalg.generic {{indexing_maps = [{wide}, {narrow}], iterator_types = {types}}}
          ins(%e : {full}) outs(%s0 : {row}) {{
        ^bb0(%a: f32, %acc: f32):
          %n0 = arith.addf %a, %acc : f32
          linalg.yield %n0 : f32 }} -> {row}
      %r = linalg.generic {{indexing_maps = [{wide}, {narrow}, {wide}], iterator_types = {PAR}}}
          ins(%e, %s : {full}, {row}) outs(%fe : {full}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %q = arith.divf %a, %b : f32
          linalg.yield %q : f32 }} -> {full}
      return %r : {full}
    }}"""


@pytest.mark.parametrize(("rows", "columns"), [(5, 7), (3, 128), (1, 1000), (33, 17)])
@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_over_either_axis(rows: int, columns: int, axis: int) -> None:
    length = rows if axis == 1 else columns
    full, row = f"tensor<{rows}x{columns}xf32>", f"tensor<{length}xf32>"
    types = RED if axis == 1 else '["reduction", "parallel"]'
    empties = f"%re = tensor.empty() : {row}\n      %fe = tensor.empty() : {full}"
    head = f") -> {full} attributes {{flow.dispatch}}"
    text = softmax(head, full, row, ID, ROW if axis == 1 else COLUMN, types, empties)
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32) * 3
    (y,), kernel = run_dispatch(text, [x], [], [(x.shape, np.float32)])
    wide = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    assert kernel.schedule == "rows"
    np.testing.assert_allclose(y, wide / wide.sum(axis, keepdims=True), rtol=1e-5, atol=1e-7)


def test_softmax_with_dynamic_row_length() -> None:
    full, row = "tensor<4x?xf32>", "tensor<4xf32>"
    dims = "{flow.dims = array<i64: 1>}"
    empties = f"%re = tensor.empty() : {row}\n      %fe = tensor.empty(%n) : {full}"
    head = f" {dims}, %n: index) -> ({full} {dims}) attributes {{flow.dispatch}}"
    text = softmax(head, full, row, ID, ROW, RED, empties)
    for length in (1, 15, 16, 100):
        x = np.random.default_rng(0).standard_normal((4, length), np.float32)
        (y,), _ = run_dispatch(text, [x], [length], [(x.shape, np.float32)])
        wide = np.exp(x.astype(np.float64))
        np.testing.assert_allclose(y, wide / wide.sum(-1, keepdims=True), rtol=1e-5, atol=1e-7)


def test_mean_that_keeps_its_dimensions() -> None:
    full, kept = "tensor<2x40x7x7xf32>", "tensor<2x40x1x1xf32>"
    text = f"""
    func.func @f(%x: {full}) -> {kept} attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %count = arith.constant 49.0 : f32
      %e = tensor.empty() : {kept}
      %i = linalg.fill ins(%zero : f32) outs(%e : {kept}) -> {kept}
      %s = linalg.generic {{indexing_maps = [affine_map<(n, c, h, w) -> (n, c, h, w)>,
          affine_map<(n, c, h, w) -> (n, c, 0, 0)>],
          iterator_types = ["parallel", "parallel", "reduction", "reduction"]}}
          ins(%x : {full}) outs(%i : {kept}) {{
        ^bb0(%a: f32, %acc: f32):
          %t = arith.addf %a, %acc : f32
          linalg.yield %t : f32 }} -> {kept}
      %r = linalg.generic {{indexing_maps = [affine_map<(n, c, h, w) -> (n, c, h, w)>,
          affine_map<(n, c, h, w) -> (n, c, h, w)>],
          iterator_types = ["parallel", "parallel", "parallel", "parallel"]}}
          ins(%s : {kept}) outs(%e : {kept}) {{
        ^bb0(%a: f32, %o: f32):
          %q = arith.divf %a, %count : f32
          linalg.yield %q : f32 }} -> {kept}
      return %r : {kept}
    }}"""
    x = np.random.default_rng(0).standard_normal((2, 40, 7, 7), np.float32)
    (y,), kernel = run_dispatch(text, [x], [], [((2, 40, 1, 1), np.float32)])
    assert kernel.schedule == "rows"
    np.testing.assert_allclose(y, x.mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-6)


def test_maximum_of_everything() -> None:
    text = """
    func.func @f(%x: tensor<5x70xf32>) -> tensor<f32> attributes {flow.dispatch} {
      %least = arith.constant 0xFF800000 : f32
      %e = tensor.empty() : tensor<f32>
      %i = linalg.fill ins(%least : f32) outs(%e : tensor<f32>) -> tensor<f32>
      %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> ()>],
          iterator_types = ["reduction", "reduction"]}
          ins(%x : tensor<5x70xf32>) outs(%i : tensor<f32>) {
        ^bb0(%a: f32, %acc: f32):
          %t = arith.maximumf %acc, %a : f32
          linalg.yield %t : f32 } -> tensor<f32>
      return %r : tensor<f32>
    }"""
    x = np.random.default_rng(0).standard_normal((5, 70), np.float32)
    (y,), kernel = run_dispatch(text, [x], [], [((), np.float32)])
    assert kernel.schedule == "rows"
    assert y == x.max()


def test_sum_that_is_stored_beside_its_normalisation() -> None:
    """The residual stream of a transformer: ``x + y`` and ``softmax``-like statistics of it."""
    full, row = "tensor<9x37xf32>", "tensor<9xf32>"
    text = f"""
    func.func @f(%x: {full}, %y: {full}) -> ({full}, {full}) attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %fe = tensor.empty() : {full}
      %re = tensor.empty() : {row}
      %init = linalg.fill ins(%zero : f32) outs(%re : {row}) -> {row}
      %s = linalg.generic {{indexing_maps = [{ID}, {ID}, {ID}], iterator_types = {PAR}}}
          ins(%x, %y : {full}, {full}) outs(%fe : {full}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %z = arith.addf %a, %b : f32
          linalg.yield %z : f32 }} -> {full}
      {reduce("sum", "%s", "%init", "%new = arith.addf %v, %acc : f32", row, full)}
      %r = linalg.generic {{indexing_maps = [{ID}, {ROW}, {ID}], iterator_types = {PAR}}}
          ins(%s, %sum : {full}, {row}) outs(%fe : {full}) {{
        ^bb0(%a: f32, %t: f32, %o: f32):
          %z = arith.subf %a, %t : f32
          linalg.yield %z : f32 }} -> {full}
      return %s, %r : {full}, {full}
    }}"""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 9, 37)).astype(np.float32)
    shape = ((9, 37), np.float32)
    (s, r), kernel = run_dispatch(text, [x, y], [], [shape, shape])
    wide = x.astype(np.float64) + y
    assert kernel.schedule == "rows"
    np.testing.assert_allclose(s, wide, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(r, wide - wide.sum(-1, keepdims=True), rtol=1e-5, atol=1e-5)
