"""Kernels of every schedule and element type against numpy, executed from their PTX."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from tests.cuda.harness import compile_dispatch, run_dispatch
from tests.gpu.dispatches import SOFTMAX, elementwise, matmul_text

from iree_backend_cuda.driver import CudaDevice
from iree_core.errors import UsageError

RNG = np.random.default_rng(0)


def unary(name: str, kind: str = "f32") -> str:
    return elementwise(f"%r = {name} %a : {kind}", [kind], kind)


@pytest.mark.parametrize("count", [1, 127, 128, 1000])
def test_one_binary_serves_every_size(on: CudaDevice, count: int) -> None:
    x, y = RNG.standard_normal((2, count), np.float32)
    text = elementwise("%r = arith.addf %a, %b : f32", ["f32", "f32"], "f32")
    (result,), _ = run_dispatch(text, [x, y], [count], [((count,), np.float32)], on=on)
    np.testing.assert_array_equal(result, x + y)


FUNCTIONS: dict[str, tuple[Callable, float, float]] = {
    "math.exp": (np.exp, -87, 88), "math.log": (np.log, 1e-30, 1e30),
    "math.tanh": (np.tanh, -10, 10), "math.sin": (np.sin, -1e5, 1e5),
    "math.cos": (np.cos, -1e4, 1e4), "math.sqrt": (np.sqrt, 0, 1e30),
    "math.floor": (np.floor, -9, 9), "math.absf": (np.abs, -9, 9),
    "math.roundeven": (np.round, -9, 9), "math.atan": (np.arctan, -50, 50),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(on: CudaDevice, name: str) -> None:
    function, low, high = FUNCTIONS[name]
    x = np.linspace(low, high, 4001).astype(np.float32)
    (result,), _ = run_dispatch(unary(name), [x], [x.size], [(x.shape, np.float32)], on=on)
    np.testing.assert_allclose(result, function(x.astype(np.float64)), rtol=1e-6, atol=2e-7)


def test_infinities_and_nans(on: CudaDevice) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)
    y = np.zeros(5, np.float32)
    for name, expected in {
        "math.exp": [np.inf, 0, np.nan, 1, 1], "math.sin": [np.nan, np.nan, np.nan, 0, 0],
        "math.log": [np.inf, np.nan, np.nan, -np.inf, -np.inf],
    }.items():  # fmt: skip
        (result,), _ = run_dispatch(unary(name), [x], [5], [((5,), np.float32)], on=on)
        np.testing.assert_array_equal(result, np.array(expected, np.float32))
    for name, expected in {
        "maximumf": [np.inf, 0, np.nan, 0, 0], "maxnumf": [np.inf, 0, 0, 0, 0],
    }.items():  # fmt: skip
        text = elementwise(f"%r = arith.{name} %a, %b : f32", ["f32", "f32"], "f32")
        (result,), _ = run_dispatch(text, [x, y], [5], [((5,), np.float32)], on=on)
        np.testing.assert_array_equal(result, np.array(expected, np.float32))


@pytest.mark.parametrize("width", [8, 16, 32, 64])
@pytest.mark.parametrize("op", "addi muli divsi divui remsi shrsi shrui maxsi minui".split())
def test_integers_wrap_and_extend(on: CudaDevice, width: int, op: str) -> None:
    signed, unsigned = np.dtype(f"i{width // 8}"), np.dtype(f"u{width // 8}")
    info = np.iinfo(signed)
    x = RNG.integers(info.min, info.max, 500, signed, endpoint=True)
    y = RNG.integers(1, width if op.startswith("sh") else info.max, 500, signed)
    a, b = (x.view(unsigned), y.view(unsigned)) if "u" in op[-2:] else (x, y)
    with np.errstate(over="ignore"):
        expected = {
            "addi": lambda: x + y, "muli": lambda: x * y, "divui": lambda: a // b,
            "divsi": lambda: np.trunc(x.astype(np.longdouble) / y).astype(signed),
            "remsi": lambda: np.fmod(x, y), "shrsi": lambda: x >> y, "shrui": lambda: a >> b,
            "maxsi": lambda: np.maximum(x, y), "minui": lambda: np.minimum(a, b),
        }[op]()  # fmt: skip
    kind = f"i{width}"
    text = elementwise(f"%r = arith.{op} %a, %b : {kind}", [kind, kind], kind)
    (result,), _ = run_dispatch(text, [x, y], [500], [((500,), signed)], on=on)
    np.testing.assert_array_equal(result, expected.view(signed))


NARROW = {
    "f16": "float16", "bf16": "bfloat16", "f8E4M3FN": "float8_e4m3fn", "f8E5M2": "float8_e5m2",
}  # fmt: skip


@pytest.mark.parametrize("kind", NARROW)
def test_small_floats_round_to_nearest_even(on: CudaDevice, kind: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, NARROW[kind], None) or NARROW[kind])
    x, y = ((RNG.standard_normal(3000) * 3).astype(dtype) for _ in range(2))
    text = elementwise(f"%r = arith.mulf %a, %b : {kind}", [kind, kind], kind)
    (result,), _ = run_dispatch(text, [x, y], [3000], [((3000,), dtype)], on=on)
    expected = (x.astype(np.float32) * y.astype(np.float32)).astype(dtype)
    np.testing.assert_array_equal(result.astype(np.float32), expected.astype(np.float32))


def test_booleans_and_casts(on: CudaDevice) -> None:
    x = RNG.standard_normal(100, np.float32)
    text = elementwise(
        "%z = arith.constant 0.0 : f32\n%r = arith.cmpf ogt, %a, %z : f32", ["f32"], "i1"
    )
    (result,), _ = run_dispatch(text, [x], [100], [((100,), np.uint8)], on=on)
    np.testing.assert_array_equal(result, x > 0)
    text = elementwise("%r = arith.sitofp %a : i8 to f64", ["i8"], "f64")
    y = RNG.integers(-128, 127, 100, np.int8)
    (result,), _ = run_dispatch(text, [y], [100], [((100,), np.float64)], on=on)
    np.testing.assert_array_equal(result, y.astype(np.float64))


def test_the_remainder_of_floats_is_exact(on: CudaDevice) -> None:
    x = (RNG.standard_normal(300) * 1e9).astype(np.float32)
    y = RNG.standard_normal(300, np.float32)
    text = elementwise("%r = arith.remf %a, %b : f32", ["f32", "f32"], "f32")
    (result,), _ = run_dispatch(text, [x, y], [300], [((300,), np.float32)], on=on)
    np.testing.assert_array_equal(result, np.fmod(x, y))


@pytest.mark.parametrize("dynamic", ["", "m", "n", "mn"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("m,n,k", [(1, 16, 8), (7, 5, 3), (37, 24, 10), (3, 130, 65)])
def test_matmul_with_residual(
    on: CudaDevice, dynamic: str, in_place: bool, m: int, n: int, k: int
) -> None:
    x, w = RNG.standard_normal((m, k), np.float32), RNG.standard_normal((k, n), np.float32)
    r = RNG.standard_normal((m, n), np.float32)
    text = matmul_text(None if "m" in dynamic else m, None if "n" in dynamic else n, k, in_place)
    scalars = [size for name, size in (("m", m), ("n", n)) if name in dynamic]
    place = 2 if in_place else None
    (result,), compiled = run_dispatch(
        text, [x, w, r], scalars, [((m, n), np.float32)], on=on, in_place=place
    )
    np.testing.assert_allclose(result, x @ w + r, rtol=1e-5, atol=1e-5)
    assert compiled.kernel.schedule.endswith("contraction")


@pytest.mark.parametrize(
    "m,n,strategy", [(1, 1, "auto"), (37, 301, "auto"), (130, 7, "auto"), (9, 11, "general")]
)
def test_softmax(on: CudaDevice, m: int, n: int, strategy: str) -> None:
    x = RNG.standard_normal((m, n), np.float32) * 5
    (result,), compiled = run_dispatch(
        SOFTMAX, [x], [m, n], [((m, n), np.float32)], strategy=strategy, on=on
    )
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(result, e / e.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)
    assert compiled.kernel.schedule == ("rows" if strategy == "auto" else "general")


def test_unknown_targets_name_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no device class 'sm_42'") as found:
        compile_dispatch(unary("math.absf"), "sm_42")
    assert "sm_80" in str(found.value)


def row_sums(kind: str, add: str, rows: int, length: int) -> str:
    """Return a dispatch that adds up the rows of a matrix."""
    zero = "0.0" if kind.startswith(("f", "b")) else "0"
    return f"""
    func.func private @d(%x: tensor<{rows}x{length}x{kind}>) -> tensor<{rows}x{kind}>
        attributes {{flow.dispatch}} {{
      %z = arith.constant {zero} : {kind}
      %e = tensor.empty() : tensor<{rows}x{kind}>
      %f = linalg.fill ins(%z : {kind}) outs(%e : tensor<{rows}x{kind}>) -> tensor<{rows}x{kind}>
      %o = linalg.generic {{indexing_maps = [affine_map<(i,j)->(i,j)>, affine_map<(i,j)->(i)>],
          iterator_types = ["parallel", "reduction"]}}
          ins(%x : tensor<{rows}x{length}x{kind}>) outs(%f : tensor<{rows}x{kind}>) {{
        ^bb0(%a: {kind}, %b: {kind}):
          %0 = {add} %a, %b : {kind}
          linalg.yield %0 : {kind} }} -> tensor<{rows}x{kind}>
      return %o : tensor<{rows}x{kind}>
    }}"""


@pytest.mark.parametrize("kind", ["f32", "f64", "f16", "i64", "i8"])
def test_warps_share_long_rows(on: CudaDevice, kind: str) -> None:
    dtype = np.dtype({"f": "float", "i": "int"}[kind[0]] + kind[1:])
    x = RNG.integers(-3, 4, (5, 100)).astype(dtype)
    text = row_sums(kind, "arith.addf" if kind[0] == "f" else "arith.addi", 5, 100)
    (result,), compiled = run_dispatch(text, [x], [], [((5,), dtype)], on=on)
    np.testing.assert_array_equal(result, x.sum(1, dtype=dtype))
    assert b"shfl.sync.bfly" in dict(compiled.listings)["ptx"]
