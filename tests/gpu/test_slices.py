"""Scans, sorts and scatters whose slices are independent, on many invocations, against numpy."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.cuda import harness as cuda
from tests.metal import harness as metal
from tests.vulkan import harness as vulkan

from iree_core.codegen.gpu import build_gpu_kernel
from iree_core.codegen.gpu.kernel import GpuModel
from iree_core.ir import make_context

RUNNERS = {"vulkan": vulkan, "cuda": cuda, "metal": metal}
CONSTANTS = "\n".join(f"%c{n} = arith.constant {n} : index" for n in range(4))


def shape(sizes: tuple[int | str, ...], kind: str = "f32") -> str:
    return "x".join(["?" if isinstance(n, str) else str(n) for n in sizes] + [kind])


def cumulative_sum(sizes: tuple[int, int, int], axis: int, dynamic: bool = False) -> str:
    """Running sums along one of three dimensions; with ``dynamic`` the first size is known late."""
    named = ("%n", *sizes[1:]) if dynamic else sizes
    kind = f"tensor<{shape(named)}>"
    dims = "{flow.dims = array<i64: 1>}" if dynamic else ""
    outer = [named[d] for d in range(3) if d != axis]
    at = ["%i", "%j"]
    at.insert(axis, "%k")
    place = ", ".join(at)
    length = "%n" if axis == 0 and dynamic else "%length"
    return f"""
    func.func private @d(%x: {kind} {dims}{", %n: index" if dynamic else ""})
        -> ({kind} {dims}) attributes {{flow.dispatch}} {{
      {CONSTANTS}
      %length = arith.constant {sizes[axis]} : index
      %zero = arith.constant 0.0 : f32
      %r = scf.execute_region -> {kind} no_inline {{
        %e = tensor.empty({"%n" if dynamic else ""}) : {kind}
        %y = scf.forall (%i, %j) in ({outer[0]}, {outer[1]}) shared_outs(%o = %e) -> ({kind}) {{
          %s:2 = scf.for %k = %c0 to {length} step %c1 iter_args(%sum = %zero, %w = %o)
              -> (f32, {kind}) {{
            %a = tensor.extract %x[{place}] : {kind}
            %t = arith.addf %sum, %a : f32
            %v = tensor.insert %t into %w[{place}] : {kind}
            scf.yield %t, %v : f32, {kind}
          }}
          {inserted(kind, named, axis)}
        }}
        scf.yield %y : {kind}
      }} {{flow.atomic}}
      return %r : {kind} }}"""


def inserted(kind: str, sizes: tuple[int | str, ...], axis: int) -> str:
    offsets, extents = ["%i", "%j"], ["1", "1"]
    offsets.insert(axis, "0")
    extents.insert(axis, str(sizes[axis]))
    part = shape((sizes[axis],))
    slice_ = f"[{', '.join(offsets)}] [{', '.join(extents)}] [1, 1, 1]"
    return f"""%p = tensor.extract_slice %s#1{slice_} : {kind} to tensor<{part}>
          scf.forall.in_parallel {{
            tensor.parallel_insert_slice %p into %o{slice_} : tensor<{part}> into {kind}
          }}"""


def scatter(rows: int, updates: int, width: int, combine: str = "", in_place: bool = False) -> str:
    """Rows of updates written to, or combined with, the rows that the indices choose."""
    data, index = f"tensor<{rows}x{width}xf32>", f"tensor<{updates}xi32>"
    place = ", flow.in_place = array<i64: 0>" if in_place else ""
    value = "%u"
    before = ""
    if combine:
        value = "%v"
        before = f"""%old = tensor.extract %b[%i, %j] : {data}
            %v = {combine} %old, %u : f32"""
    return f"""
    func.func private @d(%x: {data}, %at: {index}, %y: tensor<{updates}x{width}xf32>) -> {data}
        attributes {{flow.dispatch{place}}} {{
      {CONSTANTS}
      %n = arith.constant {updates} : index
      %w = arith.constant {width} : index
      %r = scf.execute_region -> {data} no_inline {{
        %o = scf.for %k = %c0 to %n step %c1 iter_args(%a = %x) -> ({data}) {{
          %p = scf.for %j = %c0 to %w step %c1 iter_args(%b = %a) -> ({data}) {{
            %raw = tensor.extract %at[%k] : {index}
            %i = arith.index_cast %raw : i32 to index
            %u = tensor.extract %y[%k, %j] : tensor<{updates}x{width}xf32>
            {before}
            %q = tensor.insert {value} into %b[%i, %j] : {data}
            scf.yield %q : {data}
          }}
          scf.yield %p : {data}
        }}
        scf.yield %o : {data}
      }} {{flow.atomic}}
      return %r : {data} }}"""


def kernel(text: str, **model: int):
    return build_gpu_kernel(text, GpuModel(**model), make_context())


def check_sum(on: ModuleType, x: NDArray, axis: int, dynamic: bool) -> None:
    text = cumulative_sum(x.shape, axis, dynamic)
    scalars = [x.shape[0]] if dynamic else []
    (found,), compiled = on.run_dispatch(text, [x], scalars, [(x.shape, np.float32)])
    assert compiled.kernel.schedule == "slices"
    expected = np.cumsum(x.astype(np.float64), axis)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "on,axis,dynamic",
    [("vulkan", 0, True), ("vulkan", 1, False), ("vulkan", 2, True), ("metal", 1, True),
     ("cuda", 1, True)],
)  # fmt: skip
def test_running_sums_along_any_dimension(on: str, axis: int, dynamic: bool) -> None:
    x = np.random.default_rng(0).standard_normal((5, 7, 30), np.float32)
    check_sum(RUNNERS[on], x, axis, dynamic)


def test_every_position_of_the_other_dimensions_has_an_invocation() -> None:
    assert kernel(cumulative_sum((5, 7, 30), 1)).grid.evaluate([]) == 150
    assert kernel(cumulative_sum((5, 7, 30), 1, dynamic=True)).grid.evaluate([9]) == 270


@pytest.mark.parametrize(
    "on,combine,in_place",
    [("vulkan", "", True), ("vulkan", "arith.addf", False), ("vulkan", "arith.addf", True),
     ("metal", "arith.maximumf", True), ("cuda", "arith.addf", True)],
)  # fmt: skip
def test_scatter_of_rows_with_equal_indices(on: str, combine: str, in_place: bool) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 70), np.float32)
    at = np.array([3, 0, 3, 5, 3, 0, 1, 3], np.int32)
    y = rng.standard_normal((8, 70), np.float32)
    text = scatter(6, 8, 70, combine, in_place)
    shapes = [(x.shape, np.float32)]
    (found,), compiled = RUNNERS[on].run_dispatch(
        text, [x.copy(), at, y], [], shapes, in_place=0 if in_place else None
    )
    assert compiled.kernel.schedule == "slices"
    assert compiled.kernel.grid.evaluate([]) == 70
    expected = x.astype(np.float64)
    for row, index in enumerate(at):
        old = expected[index]
        new = {"": y[row], "arith.addf": old + y[row], "arith.maximumf": np.maximum(old, y[row])}
        expected[index] = new[combine]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_turns_that_depend_on_each_other_stay_together() -> None:
    """Indices choose the only dimension: two updates may meet."""
    found = kernel(scatter(6, 8, 1))
    assert found.schedule == "general"
    assert "slices:" in found.note


SORT_ROWS = """
func.func private @d(%x: tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32> attributes {{flow.dispatch}} {{
  {constants}
  %n = arith.constant {n} : index
  %last = arith.constant {last} : index
  %r = scf.execute_region -> tensor<{m}x{n}xf32> no_inline {{
    %e = tensor.empty() : tensor<{m}x{n}xf32>
    %y = scf.forall (%i) in ({m}) shared_outs(%o = %e) -> (tensor<{m}x{n}xf32>) {{
      %row = tensor.extract_slice %x[%i, 0] [1, {n}] [1, 1]
          : tensor<{m}x{n}xf32> to tensor<{n}xf32>
      %empty = tensor.empty() : tensor<{n}xf32>
      %copy = linalg.copy ins(%row : tensor<{n}xf32>) outs(%empty : tensor<{n}xf32>)
          -> tensor<{n}xf32>
      %s = scf.for %a = %c0 to %n step %c1 iter_args(%t = %copy) -> (tensor<{n}xf32>) {{
        %u = scf.for %b = %c0 to %last step %c1 iter_args(%v = %t) -> (tensor<{n}xf32>) {{
          %next = arith.addi %b, %c1 : index
          %p = tensor.extract %v[%b] : tensor<{n}xf32>
          %q = tensor.extract %v[%next] : tensor<{n}xf32>
          %low = arith.minimumf %p, %q : f32
          %high = arith.maximumf %p, %q : f32
          %w = tensor.insert %low into %v[%b] : tensor<{n}xf32>
          %z = tensor.insert %high into %w[%next] : tensor<{n}xf32>
          scf.yield %z : tensor<{n}xf32>
        }}
        scf.yield %u : tensor<{n}xf32>
      }}
      scf.forall.in_parallel {{
        tensor.parallel_insert_slice %s into %o[%i, 0] [1, {n}] [1, 1]
            : tensor<{n}xf32> into tensor<{m}x{n}xf32>
      }}
    }}
    scf.yield %y : tensor<{m}x{n}xf32>
  }} {{flow.atomic}}
  return %r : tensor<{m}x{n}xf32>
}}"""


@pytest.mark.parametrize("on,rows", [("vulkan", 5000), ("metal", 3), ("cuda", 3)])
def test_rows_are_sorted_in_memory_of_their_own(on: str, rows: int) -> None:
    """More rows than invocations with private memory: each sorts several, one by one."""
    x = np.random.default_rng(2).standard_normal((rows, 9), np.float32)
    text = SORT_ROWS.format(m=rows, n=9, last=8, constants=CONSTANTS)
    (found,), compiled = RUNNERS[on].run_dispatch(text, [x], [], [(x.shape, np.float32)])
    assert compiled.kernel.schedule == "slices"
    assert compiled.kernel.grid.evaluate([]) == min(rows, 4096)
    np.testing.assert_array_equal(found, np.sort(x, 1))


def test_private_memory_is_bounded() -> None:
    found = kernel(SORT_ROWS.format(m=5000, n=100000, last=99999, constants=CONSTANTS))
    assert found.schedule == "slices"
    assert found.grid.evaluate([]) < 4096
    assert found.scratch.evaluate([]) < 5000 * 100000 * 4 + (65 << 20)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 70)),
    axis=st.integers(0, 2),
    dynamic=st.booleans(),
)
def test_random_shapes(sizes: tuple[int, int, int], axis: int, dynamic: bool) -> None:
    x = np.random.default_rng(3).standard_normal(sizes, np.float32)
    text = cumulative_sum(sizes, axis, dynamic)
    scalars = [sizes[0]] if dynamic else []
    (found,), _ = vulkan.run_dispatch(text, [x], scalars, [(sizes, np.float32)])
    expected = np.cumsum(x.astype(np.float64), axis)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
