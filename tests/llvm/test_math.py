"""Elementary functions on vectors, compared with float64: at most 4 units in the last place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.llvm.llvm_kernels import elementwise, run_text

RANGES = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2,
    "log10": np.log10, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "cbrt": np.cbrt, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "erfc": np.vectorize(math.erfc, otypes=[np.float64]),
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "roundeven": np.rint,
    "round": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
}  # fmt: skip
SPECIAL = np.array(
    [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-45, -1e-45, 1e-38, -1e-38, 3.4e38, -3.4e38, 0.5,
     -0.5, 2, 88.7, 89, 89.4, -103, -104, 127.99, 128, -126, -149, -150, 1e10, 1e5, -3, 3],
    np.float32,
)  # fmt: skip
# NaNs of either sign with payloads, which bit arithmetic must not turn into numbers.
NANS = np.array([0x7F800001, 0x7FC00001, 0xFFC001FF, 0x7FFFFFFF], np.uint32).view(np.float32)


def samples(seed: int = 0) -> NDArray:
    """Return numbers of every magnitude, ordinary and special, a multiple of 16 of them."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            rng.integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32),
            rng.uniform(-2, 2, 20000).astype(np.float32),
            rng.uniform(-100, 100, 20000).astype(np.float32),
            np.resize(np.concatenate([SPECIAL, NANS]), 64),
        ]
    )


def errors(found: NDArray, exact: NDArray) -> NDArray:
    """Return the errors in units of the last place of the nearest f32."""
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = exact.astype(np.float32)
        unit = np.spacing(np.abs(np.where(np.isfinite(nearest), nearest, 1)))
        difference = np.abs(found.astype(np.float64) - exact) / unit.astype(np.float64)
    same = (found == nearest) | (np.isnan(found) & np.isnan(nearest))
    return np.where(same, 0, np.where(np.isnan(difference), np.inf, difference))


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("lanes", [16, 1])
def test_function(name: str, lanes: int) -> None:
    x = samples()
    found = np.zeros_like(x)
    run_text(elementwise(f"math.{name}", lanes=lanes), [x, found], work=(0, len(x)))
    with np.errstate(all="ignore"):
        exact = RANGES[name](x.astype(np.float64))
    error = errors(found, exact)
    worst = int(np.argmax(error))
    assert error[worst] <= 4, f"{name}({x[worst]!r}) = {found[worst]!r}, not {exact[worst]!r}"
    zeros = exact == 0
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(exact[zeros]))


@pytest.mark.parametrize("name", ["exp", "log", "sin", "tanh", "erf", "erfc"])
def test_without_fused_multiply_add(name: str) -> None:
    x = samples()
    x = np.where(np.abs(x) > 1e4, np.float32(1.5), x) if name == "sin" else x
    found = np.zeros_like(x)
    text = elementwise(f"math.{name}", lanes=4)
    run_text(text, [x, found], work=(0, len(x)), target="x86_64,cpu=x86-64-v2")
    with np.errstate(all="ignore"):
        exact = RANGES[name](x.astype(np.float64))
    error = errors(found, exact)
    limit = 100 if name == "erfc" else 5
    assert error.max() <= limit, (x[np.argmax(error)], error.max())


@pytest.mark.parametrize(("name", "function"), [("powf", np.power), ("atan2", np.arctan2)])
def test_binary_function(name: str, function: np.ufunc) -> None:
    grid = np.concatenate([SPECIAL, NANS])
    pairs = [part.ravel() for part in np.meshgrid(grid, grid)]
    x = np.concatenate([pairs[0], samples(1)])
    y = np.concatenate([pairs[1], np.random.default_rng(2).permutation(samples(3))])
    x, y = (part[: len(part) // 16 * 16].copy() for part in (x, y))
    found = np.zeros_like(x)
    run_text(elementwise(f"math.{name}", 2), [x, y, found], work=(0, len(x)))
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64), y.astype(np.float64))
    error = errors(found, exact)
    worst = int(np.argmax(error))
    assert error[worst] <= 4, (x[worst], y[worst], found[worst], exact[worst])


@pytest.mark.parametrize("name", ["exp", "log", "sin", "tanh", "erf", "powf", "atan2", "log1p"])
def test_double_precision(name: str) -> None:
    operands = 2 if name in ("powf", "atan2") else 1
    x, y = np.random.default_rng(0).uniform(0.1, 20, (2, 64))
    found = np.zeros_like(x)
    text = elementwise(f"math.{name}", operands, lanes=8, kind="f64")
    run_text(text, [*(x, y)[:operands], found], work=(0, 64))
    function = {"powf": np.power, "atan2": np.arctan2}.get(name) or RANGES[name]
    np.testing.assert_allclose(found, function(*(x, y)[:operands]), rtol=1e-14)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, -1.0, 0.5])
def test_constant_exponents(exponent: float) -> None:
    x = np.random.default_rng(0).uniform(0, 10, 16).astype(np.float32)
    found = np.zeros_like(x)
    text = f"""
    func.func @kernel(%a: memref<?xf32>, %o: memref<?xf32>, %begin: index, %end: index) {{
      %c = arith.constant dense<{exponent}> : vector<4x4xf32>
      %v = vector.load %a[%begin] : memref<?xf32>, vector<16xf32>
      %m = vector.shape_cast %v : vector<16xf32> to vector<4x4xf32>
      %p = math.powf %m, %c : vector<4x4xf32>
      %r = vector.shape_cast %p : vector<4x4xf32> to vector<16xf32>
      vector.store %r, %o[%begin] : memref<?xf32>, vector<16xf32>
      return
    }}"""
    run_text(text, [x, found])
    np.testing.assert_allclose(found, x.astype(np.float64) ** exponent, rtol=2e-7)
