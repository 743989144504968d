"""Kernels of every schedule and element type on a Vulkan device, against numpy."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from tests.gpu.dispatches import SOFTMAX, elementwise, matmul_text
from tests.vulkan.harness import compile_dispatch, device, run_dispatch

from iree_core.errors import CompileError

RNG = np.random.default_rng(0)


def unary(name: str, kind: str = "f32") -> str:
    return elementwise(f"%r = {name} %a : {kind}", [kind], kind)


@pytest.mark.parametrize("count", [1, 63, 64, 1000])
def test_one_binary_serves_every_size(count: int) -> None:
    x, y = RNG.standard_normal((2, count), np.float32)
    text = elementwise("%r = arith.addf %a, %b : f32", ["f32", "f32"], "f32")
    (result,), _ = run_dispatch(text, [x, y], [count], [((count,), np.float32)])
    np.testing.assert_array_equal(result, x + y)


FUNCTIONS: dict[str, tuple[Callable, float, float]] = {
    "math.exp": (np.exp, -87, 88), "math.log": (np.log, 1e-30, 1e30),
    "math.tanh": (np.tanh, -10, 10), "math.sin": (np.sin, -1e4, 1e4),
    "math.cos": (np.cos, -1e4, 1e4), "math.sqrt": (np.sqrt, 0, 1e30),
    "math.floor": (np.floor, -9, 9), "math.absf": (np.abs, -9, 9),
    "math.roundeven": (np.round, -9, 9), "math.atan": (np.arctan, -50, 50),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    function, low, high = FUNCTIONS[name]
    x = np.linspace(low, high, 4001).astype(np.float32)
    (result,), _ = run_dispatch(unary(name), [x], [x.size], [(x.shape, np.float32)])
    np.testing.assert_allclose(result, function(x.astype(np.float64)), rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("name", ["math.sin", "math.cos", "math.tan"])
def test_large_angles_are_reduced_exactly(name: str) -> None:
    x = (np.logspace(4.5, 38, 500) * RNG.choice([-1, 1], 500)).astype(np.float32)
    (result,), _ = run_dispatch(unary(name), [x], [x.size], [(x.shape, np.float32)])
    wide = x.astype(np.float64)  # numpy reduces doubles exactly
    expected = getattr(np, name[5:])(wide)
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-7)


def test_infinities_and_nans() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)
    for name, expected in {
        "math.exp": [np.inf, 0, np.nan, 1, 1],
        "math.sin": [np.nan, np.nan, np.nan, 0, 0],
        "math.log": [np.inf, np.nan, np.nan, -np.inf, -np.inf],
    }.items():
        (result,), _ = run_dispatch(unary(name), [x], [5], [((5,), np.float32)])
        np.testing.assert_array_equal(result, np.array(expected, np.float32))
    y = np.zeros(5, np.float32)
    for name, expected in {
        "maximumf": [np.inf, 0, np.nan, 0, 0], "maxnumf": [np.inf, 0, 0, 0, 0],
    }.items():  # fmt: skip
        text = elementwise(f"%r = arith.{name} %a, %b : f32", ["f32", "f32"], "f32")
        (result,), _ = run_dispatch(text, [x, y], [5], [((5,), np.float32)])
        np.testing.assert_array_equal(result, np.array(expected, np.float32))


INTEGER_OPERATIONS = "addi muli divsi divui remsi shrsi shrui maxsi minui".split()


@pytest.mark.parametrize("width", [8, 16, 32, 64])
@pytest.mark.parametrize("op", INTEGER_OPERATIONS)
def test_integers_wrap_and_extend(width: int, op: str) -> None:
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
    (result,), _ = run_dispatch(text, [x, y], [500], [((500,), signed)])
    np.testing.assert_array_equal(result, expected.view(signed))


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
    text = elementwise("%r = arith.sitofp %a : i8 to f64", ["i8"], "f64")
    y = RNG.integers(-128, 127, 100, np.int8)
    (result,), _ = run_dispatch(text, [y], [100], [((100,), np.float64)])
    np.testing.assert_array_equal(result, y.astype(np.float64))


def test_the_remainder_of_floats_is_exact() -> None:
    x = (RNG.standard_normal(500) * 1e20).astype(np.float32)
    y = RNG.standard_normal(500, np.float32)
    text = elementwise("%r = arith.remf %a, %b : f32", ["f32", "f32"], "f32")
    (result,), _ = run_dispatch(text, [x, y], [500], [((500,), np.float32)])
    np.testing.assert_array_equal(result, np.fmod(x, y))


@pytest.mark.parametrize("dynamic", ["", "m", "n", "mn"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("m,n,k", [(1, 16, 8), (7, 5, 3), (37, 24, 10), (64, 96, 32), (3, 130, 65)])
def test_matmul_with_residual(dynamic: str, in_place: bool, m: int, n: int, k: int) -> None:
    x, w = RNG.standard_normal((m, k), np.float32), RNG.standard_normal((k, n), np.float32)
    r = RNG.standard_normal((m, n), np.float32)
    text = matmul_text(None if "m" in dynamic else m, None if "n" in dynamic else n, k, in_place)
    scalars = [size for name, size in (("m", m), ("n", n)) if name in dynamic]
    (result,), _ = run_dispatch(
        text, [x, w, r], scalars, [((m, n), np.float32)], in_place=2 if in_place else None
    )
    np.testing.assert_allclose(result, x @ w + r, rtol=1e-5, atol=1e-5)


def test_the_matmul_is_tiled() -> None:
    _, compiled = compile_dispatch(matmul_text(64, 64, 64))
    assert compiled.kernel.schedule == "contraction"


@pytest.mark.parametrize("strategy", ["auto", "general"])
@pytest.mark.parametrize("m,n", [(1, 1), (37, 301), (130, 7)])
def test_softmax(m: int, n: int, strategy: str) -> None:
    x = RNG.standard_normal((m, n), np.float32) * 5
    (result,), compiled = run_dispatch(
        SOFTMAX, [x], [m, n], [((m, n), np.float32)], strategy=strategy
    )
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(result, e / e.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)
    assert compiled.kernel.schedule == ("rows" if strategy == "auto" else "general")


def test_what_a_target_lacks_is_named() -> None:
    text = elementwise("%r = arith.addi %a, %a : i64", ["i64"], "i64")
    with pytest.raises(CompileError, match=r"Int64.*\+int64"):
        compile_dispatch(text, "minimal")


def test_what_has_no_form_is_named() -> None:
    with pytest.raises(CompileError, match=r"math\.ctpop on 64 bits"):
        compile_dispatch(unary("math.ctpop", "i64"))


def test_staged_memory_gives_the_same() -> None:
    x = RNG.standard_normal(1000, np.float32)
    on = device(staging="1")
    assert not on.heap.mapped
    (result,), _ = run_dispatch(unary("math.absf"), [x], [1000], [((1000,), np.float32)], on=on)
    np.testing.assert_array_equal(result, np.abs(x))
