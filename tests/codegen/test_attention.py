"""Given softmax(scale * Q K^T + mask) V in one dispatch, this comes out, against float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codegen.harness import run_dispatch

from iree_core.codegen import CpuModel

NAN_TO_ZERO = """%nan = arith.cmpf uno, %p, %p : f32
          %r = arith.select %nan, %zero, %p : f32"""


@dataclass(frozen=True)
class Case:
    """One attention; queries, keys and values lie as [batch, length, heads, size]."""

    batch: int
    heads: int
    queries: int
    keys: int
    size: int
    columns: int
    mask: str = "none"  # none, added, boolean
    guarded: bool = False
    shared: int = 1  # heads that share keys and values
    dynamic: bool = False

    def text(self) -> str:
        sizes = [self.batch, self.heads, self.queries, self.keys]
        names = ["?" if self.dynamic else str(n) for n in sizes]
        names[1] = str(self.heads)
        b, h, q, k = names
        d, v, kv = self.size, self.columns, self.heads // self.shared
        qt, ot = f"tensor<{b}x{q}x{h}x{d}xf32>", f"tensor<{b}x{q}x{h}x{v}xf32>"
        kt, vt = f"tensor<{b}x{k}x{kv}x{d}xf32>", f"tensor<{b}x{k}x{kv}x{v}xf32>"
        kind = "i1" if self.mask == "boolean" else "f32"
        mt, st_ = f"tensor<{q}x{k}x{kind}>", f"tensor<{b}x{h}x{q}x{k}xf32>"
        rt = f"tensor<{b}x{h}x{q}xf32>"
        first = 4 if self.mask != "none" else 3
        nb, nq, nk = first, first + 1, first + 2

        def dims(*numbers: int) -> str:
            listed = ", ".join(str(n) for n in numbers)
            return f"{{flow.dims = array<i64: {listed}>}}" if self.dynamic else ""

        mask = f", %m: {mt} {dims(nq, nk)}" if self.mask != "none" else ""
        extra = ", %nb: index, %nq: index, %nk: index" if self.dynamic else ""
        full, rows, out = (
            ("%nb, %nq, %nk", "%nb, %nq", "%nb, %nq") if self.dynamic else ("", "", "")
        )
        parallel = ", ".join(['"parallel"'] * 4)
        score = {
            "none": "",
            "added": "%masked = arith.addf %scaled, %b : f32",
            "boolean": "%masked = arith.select %b, %scaled, %low : f32",
        }[self.mask]
        inputs = "%s, %m" if mask else "%s"
        kinds = f"{st_}, {mt}" if mask else st_
        mask_map = "#qk, " if mask else ""
        mask_argument = f"%b: {kind}, " if mask else ""
        keys, values = self._heads(kt, "k", b, h, k, d), self._heads(vt, "v", b, h, k, v)
        wide_k = f"tensor<{b}x{h}x{k}x{d}xf32>" if self.shared > 1 else kt
        wide_v = f"tensor<{b}x{h}x{k}x{v}xf32>" if self.shared > 1 else vt
        key_map = "(d0, d1, d3, d4)" if self.shared > 1 else "(d0, d3, d1, d4)"
        value_map = "(d0, d1, d4, d3)" if self.shared > 1 else "(d0, d4, d1, d3)"
        return f"""
    #id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
    #row = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>
    #qk = affine_map<(d0, d1, d2, d3) -> (d2, d3)>
    func.func @f(%q: {qt} {dims(nb, nq)}, %k: {kt} {dims(nb, nk)}, %v: {vt} {dims(nb, nk)}
        {mask}{extra}) -> ({ot} {dims(nb, nq)}) attributes {{flow.dispatch}} {{
      %zero = arith.constant 0.0 : f32
      %low = arith.constant 0xFF800000 : f32
      %scale = arith.constant {1 / np.sqrt(self.size):.8f} : f32
      {keys}
      {values}
      %se = tensor.empty({full}) : {st_}
      %sf = linalg.fill ins(%zero : f32) outs(%se : {st_}) -> {st_}
      %s = linalg.generic {{indexing_maps = [
          affine_map<(d0, d1, d2, d3, d4) -> (d0, d2, d1, d4)>,
          affine_map<(d0, d1, d2, d3, d4) -> {key_map}>,
          affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3)>],
          iterator_types = [{parallel}, "reduction"]}}
          ins(%q, %kw : {qt}, {wide_k}) outs(%sf : {st_}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %p = arith.mulf %a, %b : f32
          %n = arith.addf %o, %p : f32
          linalg.yield %n : f32 }} -> {st_}
      %t = linalg.generic {{indexing_maps = [#id, {mask_map}#id], iterator_types = [{parallel}]}}
          ins({inputs} : {kinds}) outs(%se : {st_}) {{
        ^bb0(%a: f32, {mask_argument}%o: f32):
          %scaled = arith.mulf %a, %scale : f32
          {score}
          linalg.yield {"%masked" if mask else "%scaled"} : f32 }} -> {st_}
      %re = tensor.empty({rows}) : {rt}
      %mf = linalg.fill ins(%low : f32) outs(%re : {rt}) -> {rt}
      %mx = linalg.generic {{indexing_maps = [#id, #row],
          iterator_types = ["parallel", "parallel", "parallel", "reduction"]}}
          ins(%t : {st_}) outs(%mf : {rt}) {{
        ^bb0(%a: f32, %o: f32):
          %n = arith.maximumf %a, %o : f32
          linalg.yield %n : f32 }} -> {rt}
      %e = linalg.generic {{indexing_maps = [#id, #row, #id], iterator_types = [{parallel}]}}
          ins(%t, %mx : {st_}, {rt}) outs(%se : {st_}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %x = arith.subf %a, %b : f32
          %n = math.exp %x : f32
          linalg.yield %n : f32 }} -> {st_}
      %lf = linalg.fill ins(%zero : f32) outs(%re : {rt}) -> {rt}
      %l = linalg.generic {{indexing_maps = [#id, #row],
          iterator_types = ["parallel", "parallel", "parallel", "reduction"]}}
          ins(%e : {st_}) outs(%lf : {rt}) {{
        ^bb0(%a: f32, %o: f32):
          %n = arith.addf %a, %o : f32
          linalg.yield %n : f32 }} -> {rt}
      %w = linalg.generic {{indexing_maps = [#id, #row, #id], iterator_types = [{parallel}]}}
          ins(%e, %l : {st_}, {rt}) outs(%se : {st_}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %p = arith.divf %a, %b : f32
          {NAN_TO_ZERO if self.guarded else ""}
          linalg.yield {"%r" if self.guarded else "%p"} : f32 }} -> {st_}
      %oe = tensor.empty({out}) : {ot}
      %of = linalg.fill ins(%zero : f32) outs(%oe : {ot}) -> {ot}
      %y = linalg.generic {{indexing_maps = [
          affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d4)>,
          affine_map<(d0, d1, d2, d3, d4) -> {value_map}>,
          affine_map<(d0, d1, d2, d3, d4) -> (d0, d2, d1, d3)>],
          iterator_types = [{parallel}, "reduction"]}}
          ins(%w, %vw : {st_}, {wide_v}) outs(%of : {ot}) {{
        ^bb0(%a: f32, %b: f32, %o: f32):
          %p = arith.mulf %a, %b : f32
          %n = arith.addf %o, %p : f32
          linalg.yield %n : f32 }} -> {ot}
      return %y : {ot} }}"""

    def _heads(self, kind: str, name: str, b: str, h: str, k: str, width: int) -> str:
        """Return operations that repeat heads of keys or values, as grouped queries do."""
        if self.shared == 1:
            return f"%{name}w = tensor.cast %{name} : {kind} to {kind}"
        groups = self.heads // self.shared
        wide = f"tensor<{b}x{groups}x{self.shared}x{k}x{width}xf32>"
        size = "%nb, %nk" if self.dynamic else ""
        return f"""%{name}e = tensor.empty({size}) : {wide}
      %{name}r = linalg.generic {{indexing_maps = [
          affine_map<(d0, d1, d2, d3, d4) -> (d0, d3, d1, d4)>,
          affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>],
          iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]}}
          ins(%{name} : {kind}) outs(%{name}e : {wide}) {{
        ^bb0(%a: f32, %o: f32):
          linalg.yield %a : f32 }} -> {wide}
      %{name}w = tensor.collapse_shape %{name}r [[0], [1, 2], [3], [4]]
          : {wide} into tensor<{b}x{h}x{k}x{width}xf32>"""

    def run(self, seed: int, target: CpuModel | None = None) -> None:
        rng = np.random.default_rng(seed)
        groups = self.heads // self.shared
        q = rng.standard_normal((self.batch, self.queries, self.heads, self.size), np.float32)
        k = rng.standard_normal((self.batch, self.keys, groups, self.size), np.float32)
        v = rng.standard_normal((self.batch, self.keys, groups, self.columns), np.float32)
        arrays = [q, k, v]
        keep = rng.random((self.queries, self.keys)) < 0.7
        if self.guarded:
            keep[self.queries // 2] = False
        else:
            keep[:, 0] = True
        if self.mask == "boolean":
            arrays.append(keep)
        if self.mask == "added":
            arrays.append(np.where(keep, 0, -np.inf).astype(np.float32))
        scalars = [self.batch, self.queries, self.keys] if self.dynamic else []
        shape = (self.batch, self.queries, self.heads, self.columns)
        found, kernel = run_dispatch(self.text(), arrays, scalars, [(shape, np.float32)], target)
        assert kernel.schedule == "attention"
        expected = self.reference(q, k, v, keep if self.mask != "none" else None)
        np.testing.assert_allclose(found[0], expected, rtol=3e-6, atol=3e-6)

    def reference(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray, keep: np.ndarray | None
    ) -> np.ndarray:
        k, v = (np.repeat(x.astype(np.float64), self.shared, axis=2) for x in (k, v))
        s = np.einsum("bqhd,bkhd->bhqk", q.astype(np.float64), k) / np.sqrt(self.size)
        if keep is not None:
            s = np.where(keep, s, -np.inf)
        with np.errstate(invalid="ignore"):
            e = np.exp(s - s.max(-1, keepdims=True))
            p = e / e.sum(-1, keepdims=True)
        if self.guarded:
            p = np.where(np.isnan(p), 0, p)
        return np.einsum("bhqk,bkhd->bqhd", p, v)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        {"batch": 1, "heads": 3, "queries": 128, "keys": 128, "size": 64, "columns": 64},
        {"batch": 2, "heads": 2, "queries": 13, "keys": 197, "size": 64, "columns": 64},
        {"batch": 1, "heads": 1, "queries": 300, "keys": 37, "size": 20, "columns": 40},
        {"batch": 1, "heads": 4, "queries": 33, "keys": 9, "size": 32, "columns": 16, "shared": 2},
    ],
)
def test_attention(case: dict[str, int], dynamic: bool) -> None:
    Case(**case, dynamic=dynamic).run(0)


@pytest.mark.parametrize("mask", ["none", "added", "boolean"])
@pytest.mark.parametrize("guarded", [False, True])
def test_masks(mask: str, guarded: bool) -> None:
    """A query without any key gives zeros where the model says so."""
    Case(1, 2, 24, 50, 16, 32, mask=mask, guarded=guarded and mask != "none").run(1)


@pytest.mark.parametrize("guarded", [False, True])
def test_a_query_that_is_not_a_number_affects_its_own_row_only(guarded: bool) -> None:
    case = Case(1, 1, 20, 33, 16, 16, mask="added", guarded=guarded)
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((1, n, 1, 16), np.float32) for n in (20, 33, 33))
    q[0, 7, 0, 3] = np.nan
    mask = np.zeros((20, 33), np.float32)
    shape = ((1, 20, 1, 16), np.float32)
    (found,), _ = run_dispatch(case.text(), [q, k, v, mask], [], [shape])
    expected = case.reference(q, k, v, np.ones((20, 33), bool))
    assert np.isnan(expected[0, 7]).all() != guarded
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=3e-6)


def test_narrow_registers() -> None:
    target = CpuModel(vector_bytes=16, vector_registers=16, masked=False)
    Case(1, 2, 21, 45, 24, 24, mask="added").run(2, target)


def test_blocks_of_queries_whose_scores_fit_a_small_cache() -> None:
    Case(1, 1, 150, 130, 16, 16, mask="added").run(3, CpuModel(l2_bytes=64 * 1024))


@settings(max_examples=10, deadline=None)
@given(
    batch=st.integers(1, 2),
    groups=st.integers(1, 3),
    queries=st.integers(8, 70),
    keys=st.integers(2, 70),
    size=st.integers(1, 40),
    columns=st.integers(2, 70),
    mask=st.sampled_from(["none", "added", "boolean"]),
    shared=st.integers(1, 2),
    dynamic=st.booleans(),
)
def test_random_shapes(
    batch: int, groups: int, queries: int, keys: int, size: int, columns: int, mask: str,
    shared: int, dynamic: bool,
) -> None:  # fmt: skip
    Case(
        batch, groups * shared, queries, keys, size, columns,
        mask=mask, guarded=mask != "none", shared=shared, dynamic=dynamic,
    ).run(4)  # fmt: skip
