"""Functions in double precision on Vulkan and CUDA, in units in the last place."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.cuda import harness as cuda
from tests.gpu.dispatches import elementwise, matmul_text
from tests.gpu.functions import RANGES, samples, worst_ulp
from tests.metal import harness as metal
from tests.vulkan import harness as vulkan

from iree_core.errors import CompileError

ULP = 3.0
RUNNERS = {"vulkan": (vulkan, 100), "cuda": (cuda, 12)}


def text(name: str, count: int = 1) -> str:
    operands = ", ".join("%a %b".split()[:count])
    return elementwise(f"%r = math.{name} {operands} : f64", ["f64"] * count, "f64")


def compute(on: ModuleType, name: str, *operands: NDArray) -> NDArray:
    size = operands[0].size
    results = [((size,), np.float64)]
    found, _ = on.run_dispatch(text(name, len(operands)), operands, [size], results)
    return found[0]


@pytest.mark.parametrize("on", RUNNERS)
@pytest.mark.parametrize("name", RANGES)
def test_functions(name: str, on: str) -> None:
    runner, count = RUNNERS[on]
    x = samples(name, count)
    error, where = worst_ulp(name, compute(runner, name, x), x)
    assert error < ULP, f"{error} at {where}"


@pytest.mark.parametrize("on", RUNNERS)
def test_powers(on: str) -> None:
    runner, count = RUNNERS[on]
    rng = np.random.default_rng(0)
    x = np.concatenate([10.0 ** rng.uniform(-30, 30, count), rng.uniform(0.7, 1.3, count)])
    y = rng.uniform(-700, 700, 2 * count) / np.abs(np.log(x))
    error, where = worst_ulp("powf", compute(runner, "powf", x, y), x, y)
    assert error < ULP, f"{error} at {where}"


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_large_angles_are_reduced_exactly(name: str) -> None:
    x = 10.0 ** np.random.default_rng(1).uniform(6, 308, 100)
    x[0] = 6381956970095103 * 2.0**797  # the double closest to a multiple of pi/2
    error, where = worst_ulp(name, compute(vulkan, name, x), x)
    assert error < ULP, f"{error} at {where}"


def test_angles_of_points() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 100)) * 10.0 ** rng.uniform(-10, 10, (2, 100))
    error, where = worst_ulp("atan2", compute(vulkan, "atan2", y, x), y, x)
    assert error < ULP, f"{error} at {where}"


def test_special_values() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0])
    for name in "exp exp2 expm1 log log2 log10 log1p sin cos tan atan tanh sinh cosh erf".split():
        with np.errstate(all="ignore"):
            if name == "erf":
                expected = np.array([1, -1, np.nan, 0.0, -0.0])
            else:
                expected = getattr(np, name.replace("atan", "arctan"))(x)
        found = compute(vulkan, name, x)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        zero = found == 0
        np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]), name)


def test_special_powers() -> None:
    values = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, 1e-310])
    x, y = (a.reshape(-1) for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = x**y
    np.testing.assert_allclose(compute(vulkan, "powf", x, y), expected, rtol=1e-15)


def test_remainders() -> None:
    x = np.array([7.5, -7.5, 1e17, np.inf, 5.0])
    y = np.array([2.0, 2.0, 3.0, 2.0, np.inf])
    source = elementwise("%r = arith.remf %a, %b : f64", ["f64", "f64"], "f64")
    (found,), _ = vulkan.run_dispatch(source, [x, y], [5], [((5,), np.float64)])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found, np.fmod(x, y))


@pytest.mark.parametrize("on", [vulkan, cuda, metal])
def test_remainders_of_vectors(on: ModuleType) -> None:
    """A product's tile computes several columns at a time; what follows it does, too."""
    rng = np.random.default_rng(3)
    x, w = (rng.integers(-9, 9, shape).astype(np.float32) for shape in ((8, 8), (8, 16)))
    y = rng.integers(1, 9, (8, 16)).astype(np.float32)
    source = matmul_text(8, 16, 8).replace("%0 = arith.addf %a, %b", "%0 = arith.remf %a, %b")
    (found,), _ = on.run_dispatch(source, [x, w, y], [], [((8, 16), np.float32)])
    np.testing.assert_array_equal(found, np.fmod(x @ w, y))


def test_metal_has_no_double_precision() -> None:
    with pytest.raises(CompileError, match="64-bit floats"):
        metal.compile_dispatch(text("exp"))
