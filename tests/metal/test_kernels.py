"""Kernels of every schedule and element type, executed on the CPU, against numpy."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from tests.gpu.dispatches import SOFTMAX, elementwise, matmul_text
from tests.metal.harness import compile_dispatch, run_compiled, run_dispatch, source_of

from iree_backend_metal.backend import MetalBackend
from iree_core.codegen.gpu import GpuKernel
from iree_core.errors import CompileError, UsageError
from iree_core.expr import const, scalar

RNG = np.random.default_rng(0)


def unary(name: str, kind: str = "f32") -> str:
    return elementwise(f"%r = {name} %a : {kind}", [kind], kind)


@pytest.mark.parametrize("count", [1, 63, 64, 1000])
def test_one_kernel_serves_every_size(count: int) -> None:
    x, y = RNG.standard_normal((2, count), np.float32)
    text = elementwise("%r = arith.addf %a, %b : f32", ["f32", "f32"], "f32")
    (result,), _ = run_dispatch(text, [x, y], [count], [((count,), np.float32)])
    np.testing.assert_array_equal(result, x + y)


FUNCTIONS: dict[str, tuple[Callable, float, float]] = {
    "math.exp": (np.exp, -87, 88), "math.log": (np.log, 1e-30, 1e30),
    "math.tanh": (np.tanh, -10, 10), "math.sin": (np.sin, -1e4, 1e4),
    "math.sqrt": (np.sqrt, 0, 1e30), "math.floor": (np.floor, -9, 9),
    "math.roundeven": (np.round, -9, 9), "math.expm1": (np.expm1, -9, 9),
    "math.log1p": (np.log1p, -0.9, 9), "math.cbrt": (np.cbrt, -9, 9),
}  # fmt: skip


def test_functions() -> None:
    """A function is MSL's own, or an expansion where MSL has none."""
    for name, (function, low, high) in FUNCTIONS.items():
        x = np.linspace(low, high, 2001).astype(np.float32)
        (result,), _ = run_dispatch(unary(name), [x], [x.size], [(x.shape, np.float32)])
        expected = function(x.astype(np.float64))
        np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-7, err_msg=name)


def test_functions_are_metals_own_where_it_has_them() -> None:
    _, compiled = compile_dispatch(unary("math.tanh"))
    assert "precise::tanh(" in source_of(compiled)


def test_powers() -> None:
    x = RNG.uniform(0.1, 4, 500).astype(np.float32)
    y = RNG.uniform(-4, 4, 500).astype(np.float32)
    text = elementwise("%r = math.powf %a, %b : f32", ["f32", "f32"], "f32")
    (result,), _ = run_dispatch(text, [x, y], [500], [((500,), np.float32)])
    np.testing.assert_allclose(result, np.power(x.astype(np.float64), y), rtol=2e-6)


def test_extremes_of_nan() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)
    y = np.zeros(5, np.float32)
    for name, expected in {
        "maximumf": [np.inf, 0, np.nan, 0, 0], "maxnumf": [np.inf, 0, 0, 0, 0],
        "minimumf": [0, -np.inf, np.nan, 0, 0], "minnumf": [0, -np.inf, 0, 0, 0],
    }.items():  # fmt: skip
        for a, b in ((x, y), (y, x)):
            text = elementwise(f"%r = arith.{name} %a, %b : f32", ["f32", "f32"], "f32")
            (result,), _ = run_dispatch(text, [a, b], [5], [((5,), np.float32)])
            np.testing.assert_array_equal(result, np.array(expected, np.float32))


PREDICATES = "oeq ogt oge olt ole one ord ueq ugt uge ult ule une uno".split()


def test_comparisons_of_floats() -> None:
    x = np.array([1, 2, 2, np.nan, np.nan, np.inf], np.float32)
    y = np.array([2, 1, 2, 2, np.nan, np.inf], np.float32)
    unordered = np.isnan(x) | np.isnan(y)
    plain = {"eq": x == y, "gt": x > y, "ge": x >= y, "lt": x < y, "le": x <= y, "ne": x != y}
    for name in PREDICATES:
        if name in ("ord", "uno"):
            expected = unordered == (name == "uno")
        else:
            expected = np.where(unordered, name[0] == "u", plain[name[1:]])
        text = elementwise(f"%r = arith.cmpf {name}, %a, %b : f32", ["f32", "f32"], "i1")
        (result,), _ = run_dispatch(text, [x, y], [6], [((6,), np.uint8)])
        np.testing.assert_array_equal(result, expected, err_msg=name)


INTEGER_OPERATIONS: dict[str, Callable] = {
    "addi": np.add, "muli": np.multiply, "divui": np.floor_divide, "remsi": np.fmod,
    "divsi": lambda x, y: np.trunc(x.astype(np.longdouble) / y).astype(x.dtype),
    "shrsi": np.right_shift, "shrui": np.right_shift, "maxsi": np.maximum, "minui": np.minimum,
}  # fmt: skip


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_integers_wrap_and_extend(width: int) -> None:
    signed, kind = np.dtype(f"i{width // 8}"), f"i{width}"
    info = np.iinfo(signed)
    for op, function in INTEGER_OPERATIONS.items():
        x = RNG.integers(info.min, info.max, 500, signed, endpoint=True)
        y = RNG.integers(1, width if op.startswith("sh") else info.max, 500, signed)
        dtype = np.dtype(f"u{width // 8}") if "u" in op[-2:] else signed
        with np.errstate(over="ignore"):
            expected = function(x.view(dtype), y.view(dtype))
        text = elementwise(f"%r = arith.{op} %a, %b : {kind}", [kind, kind], kind)
        (result,), _ = run_dispatch(text, [x, y], [500], [((500,), dtype)])
        np.testing.assert_array_equal(result, expected, err_msg=op)


NARROW = {
    "f16": "float16", "bf16": "bfloat16", "f8E4M3FN": "float8_e4m3fn", "f8E5M2": "float8_e5m2",
}  # fmt: skip


@pytest.mark.parametrize("kind", NARROW)
def test_small_floats_round_to_nearest_even(kind: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, NARROW[kind], None) or NARROW[kind])
    x = (RNG.standard_normal(3000) * 3).astype(dtype)
    y = (RNG.standard_normal(3000) * 3).astype(dtype)
    text = elementwise(f"%r = arith.mulf %a, %b : {kind}", [kind, kind], kind)
    (result,), _ = run_dispatch(text, [x, y], [3000], [((3000,), dtype)])
    expected = (x.astype(np.float32) * y.astype(np.float32)).astype(dtype)
    np.testing.assert_array_equal(result.astype(np.float32), expected.astype(np.float32))


def test_booleans_and_casts() -> None:
    x = RNG.standard_normal(100, np.float32)
    text = elementwise(
        "%z = arith.constant 0.0 : f32\n%r = arith.cmpf ogt, %a, %z : f32", ["f32"], "i1"
    )
    (result,), _ = run_dispatch(text, [x], [100], [((100,), np.uint8)])
    np.testing.assert_array_equal(result, x > 0)
    y = RNG.integers(-128, 127, 100, np.int8)
    text = elementwise("%r = arith.sitofp %a : i8 to f32", ["i8"], "f32")
    (result,), _ = run_dispatch(text, [y], [100], [((100,), np.float32)])
    np.testing.assert_array_equal(result, y.astype(np.float32))
    text = elementwise("%r = arith.extsi %a : i8 to i64", ["i8"], "i64")
    (result,), _ = run_dispatch(text, [y], [100], [((100,), np.int64)])
    np.testing.assert_array_equal(result, y)


def test_the_remainder_of_floats_is_exact() -> None:
    x = (RNG.standard_normal(500) * 1e20).astype(np.float32)
    y = RNG.standard_normal(500, np.float32)
    text = elementwise("%r = arith.remf %a, %b : f32", ["f32", "f32"], "f32")
    (result,), _ = run_dispatch(text, [x, y], [500], [((500,), np.float32)])
    np.testing.assert_array_equal(result, np.fmod(x, y))


@pytest.mark.parametrize("dynamic", ["", "mn"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("m,n,k", [(1, 16, 8), (7, 5, 3), (37, 24, 10), (3, 130, 65)])
def test_matmul_with_residual(dynamic: str, in_place: bool, m: int, n: int, k: int) -> None:
    x, w = RNG.standard_normal((m, k), np.float32), RNG.standard_normal((k, n), np.float32)
    r = RNG.standard_normal((m, n), np.float32)
    text = matmul_text(None if "m" in dynamic else m, None if "n" in dynamic else n, k, in_place)
    scalars = [size for name, size in (("m", m), ("n", n)) if name in dynamic]
    (result,), _ = run_dispatch(
        text, [x, w, r], scalars, [((m, n), np.float32)], in_place=2 if in_place else None
    )
    np.testing.assert_allclose(result, x @ w + r, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("m,n,k", [(32, 64, 16), (37, 70, 65), (100, 16, 40)])
def test_matmul_by_simdgroup_matrices(m: int, n: int, k: int, kind: str) -> None:
    dtype = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}[kind]
    x, w, r = (
        RNG.standard_normal(shape, np.float32).astype(dtype) for shape in ((m, k), (k, n), (m, n))
    )
    expected = x.astype(np.float32) @ w.astype(np.float32) + r.astype(np.float32)
    tolerance = {"f32": 1e-5, "f16": 1e-3, "bf16": 1e-2}[kind]
    for dynamic in (False, True):
        for in_place in (None, 2):
            sizes = (None, None) if dynamic else (m, n)
            text = matmul_text(*sizes, k, in_place is not None).replace("f32", kind)
            scalars = [m, n] if dynamic else []
            (result,), compiled = run_dispatch(
                text, [x, w, r], scalars, [((m, n), np.dtype(dtype))], in_place=in_place
            )
            assert "simdgroup_multiply_accumulate" in source_of(compiled)
            np.testing.assert_allclose(
                result.astype(np.float32), expected, rtol=tolerance, atol=tolerance * k
            )


def test_matmul_without_simdgroup_matrices() -> None:
    _, compiled = compile_dispatch(matmul_text(64, 64, 64), "apple7,-simdgroup_matrix")
    assert compiled.kernel.schedule == "contraction"
    assert "simdgroup" not in source_of(compiled)


@pytest.mark.parametrize("strategy", ["auto", "general"])
@pytest.mark.parametrize("m,n", [(1, 1), (37, 301), (130, 7)])
def test_softmax(m: int, n: int, strategy: str) -> None:
    x = RNG.standard_normal((m, n), np.float32) * 5
    (result,), _ = run_dispatch(SOFTMAX, [x], [m, n], [((m, n), np.float32)], strategy=strategy)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(result, e / e.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)


REDUCTION = """
func.func private @d(%x: tensor<?x?x{kind}> {{flow.dims = array<i64: 1, 2>}}, %m: index, %n: index)
    -> (tensor<?x{kind}> {{flow.dims = array<i64: 1>}}) attributes {{flow.dispatch}} {{
  %start = arith.constant {start} : {kind}
  %e = tensor.empty(%m) : tensor<?x{kind}>
  %f = linalg.fill ins(%start : {kind}) outs(%e : tensor<?x{kind}>) -> tensor<?x{kind}>
  %o = linalg.generic {{indexing_maps = [affine_map<(i,j)->(i,j)>, affine_map<(i,j)->(i)>],
      iterator_types = ["parallel", "reduction"]}}
      ins(%x : tensor<?x?x{kind}>) outs(%f : tensor<?x{kind}>) {{
    ^bb0(%a: {kind}, %b: {kind}):
      %0 = arith.{op} %a, %b : {kind}
      linalg.yield %0 : {kind} }} -> tensor<?x{kind}>
  return %o : tensor<?x{kind}>
}}"""
REDUCTIONS = [
    ("f32", "addf", "1.0", np.float32, lambda x: 1 + x.sum(1)),
    ("f32", "maximumf", "-1.0", np.float32, lambda x: np.maximum(-1, x.max(1))),
    ("i32", "addi", "5", np.int32, lambda x: (5 + x.sum(1)).astype(np.int32)),
    ("i64", "addi", "5", np.int64, lambda x: 5 + x.sum(1)),
    ("i8", "maxsi", "-128", np.int8, lambda x: x.max(1)),
    ("f16", "maximumf", "-1.0", np.float16, lambda x: np.maximum(-1, x.max(1))),
    ("i64", "minui", "-1", np.uint64, lambda x: x.min(1)),
]


@pytest.mark.parametrize("kind,op,start,dtype,expected", REDUCTIONS)
def test_simdgroups_reduce_rows(
    kind: str, op: str, start: str, dtype: type, expected: Callable
) -> None:
    text = REDUCTION.format(kind=kind, op=op, start=start)
    _, compiled = compile_dispatch(text)
    assert compiled.kernel.schedule == "rows"
    assert ("simd_sum" if op.startswith("add") and kind[1:] == "32" else "shuffle_xor") in (
        source_of(compiled)
    )
    for m, n in ((1, 1), (3, 31), (5, 100)):
        if np.issubdtype(dtype, np.floating):
            x = RNG.standard_normal((m, n)).astype(dtype)
        else:
            x = RNG.integers(0, 100, (m, n)).astype(dtype)
        for options in ("", "mac2"):  # with and without simdgroups
            (found,), _ = run_dispatch(text, [x], [m, n], [((m,), dtype)], options=options)
            np.testing.assert_allclose(found, expected(x), rtol=1e-5, atol=1e-5)


def test_nan_is_the_largest_for_a_whole_simdgroup() -> None:
    x = RNG.standard_normal((2, 70), np.float32)
    x[1, 50] = np.nan
    text = REDUCTION.format(kind="f32", op="maximumf", start="0.0")
    (found,), _ = run_dispatch(text, [x], [2, 70], [((2,), np.float32)])
    np.testing.assert_array_equal(found, [x[0].max(), np.nan])


ATOMIC = """
func.func @kernel(%x: memref<?x{kind}>, %before: memref<?x{kind}>, %out: memref<?x{kind}>,
    %n: index, %group: index, %local: index) attributes {{kernel.may_alias = array<i64: 1, 2>}} {{
  %c0 = arith.constant 0 : index
  %c64 = arith.constant 64 : index
  %0 = arith.muli %group, %c64 : index
  %item = arith.addi %0, %local : index
  %inside = arith.cmpi slt, %item, %n : index
  scf.if %inside {{
    %v = memref.load %x[%item] : memref<?x{kind}>
    %r = memref.atomic_rmw {how} %v, %out[%c0] : ({kind}, memref<?x{kind}>) -> {kind}
  }}
  return
}}"""
ATOMICS = {
    "addf": ("f32", np.sum), "maximumf": ("f32", np.max), "addi": ("i32", np.sum),
    "maxs": ("i32", np.max), "minu": ("i32", lambda x: np.min(x.view(np.uint32))),
    "ori": ("i32", np.bitwise_or.reduce), "muli": ("i32", lambda x: np.prod(x, dtype=np.int32)),
}  # fmt: skip


@pytest.mark.parametrize("how", ATOMICS)
def test_atomics(how: str) -> None:
    kind, function = ATOMICS[how]
    four = scalar(0) * 4
    module = ATOMIC.format(kind=kind, how=how)
    kernel = GpuKernel(
        module, "kernel", scalar(0), const(0), 1, "elementwise", workgroup=64, scalars=1,
        results=1, sizes=(four, const(4), const(4)),
    )  # fmt: skip
    backend = MetalBackend("metal")
    compiled = backend.compile_kernel(kernel, backend.resolve(""))
    dtype = np.float32 if kind == "f32" else np.int32
    x = RNG.integers(-50, 50, 100).astype(dtype)
    (found,) = run_compiled(compiled, [x, x[:1]], [100], [((1,), dtype)], in_place=1)
    assert found[0] == np.array(function(np.append(x, x[0]))).astype(dtype)


def test_atomics_of_other_types_are_refused() -> None:
    module = ATOMIC.format(kind="i64", how="addi")
    kernel = GpuKernel(module, "kernel", scalar(0), const(0), 1, "elementwise", scalars=1)
    backend = MetalBackend("metal")
    with pytest.raises(CompileError, match="no atomic operations on i64"):
        backend.compile_kernel(kernel, backend.resolve(""))


def test_doubles_are_refused() -> None:
    with pytest.raises(CompileError, match="no 64-bit floats"):
        compile_dispatch(elementwise("%r = arith.addf %a, %a : f64", ["f64"], "f64"))


def test_targets() -> None:
    backend, _ = compile_dispatch(unary("math.absf"))
    assert backend.resolve("").spec == "apple7"
    assert backend.resolve("apple8,-simdgroup_matrix").spec == "apple8,-simdgroup_matrix"
    assert backend.resolve("mac2,+simdgroups").spec == "mac2,+simdgroups"
    for wrong in ("apple99", "apple8,+color", "apple8,simdgroups"):
        with pytest.raises(UsageError, match=r"Families: .*apple8"):
            backend.resolve(wrong)
