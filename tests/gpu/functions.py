"""Functions in double precision: where to try them, and correctly rounded results."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
from numpy.typing import NDArray

_WIDE = (-745.0, 709.0)
RANGES: dict[str, tuple[float, float]] = {
    "exp": _WIDE, "exp2": (-1074, 1023), "expm1": (-40, 700), "log": (1e-300, 1e300),
    "log2": (1e-300, 1e300), "log10": (1e-300, 1e300), "log1p": (-0.99, 1e6),
    "sin": (-1e6, 1e6), "cos": (-1e6, 1e6), "tan": (-1e6, 1e6), "asin": (-1, 1),
    "acos": (-1, 1), "atan": (-1e3, 1e3), "sinh": (-700, 700), "cosh": (-700, 700),
    "tanh": (-20, 20), "asinh": (-1e9, 1e9), "acosh": (1, 1e9), "atanh": (-0.999, 0.999),
    "erf": (-6, 6), "erfc": (-6, 26), "cbrt": (-1e300, 1e300),
}  # fmt: skip
_EXACT: dict[str, Callable] = {
    **{n: getattr(mpmath, n) for n in
       "exp expm1 log log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
       "erf erfc atan2".split()},
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "powf": lambda x, y: mpmath.mpf(x) ** y,
}  # fmt: skip


def samples(name: str, count: int, seed: int = 0) -> NDArray[np.float64]:
    """Return arguments over the range of a function, half of them small in magnitude."""
    low, high = RANGES[name]
    rng = np.random.default_rng(seed)
    even = rng.uniform(low, high, count // 2)
    exponents = rng.uniform(-20, np.log10(max(abs(low), high)), count - count // 2)
    small = 10.0**exponents * rng.choice([-1.0, 1.0], count - count // 2)
    small = small if low < 0 else np.abs(small)
    small = small + 1 if low == 1 else small
    return np.concatenate([even, np.clip(small, low, high)])


def worst_ulp(name: str, result: NDArray, *operands: NDArray) -> tuple[float, tuple]:
    """Return the largest error in units in the last place, and the operands where it is."""
    mpmath.mp.prec = 1300 if name in ("sin", "cos", "tan") else 200
    worst: tuple[float, tuple] = (0.0, ())
    for found, *at in zip(result, *operands, strict=True):
        exact = _EXACT[name](*(mpmath.mpf(float(a)) for a in at))
        nearest = float(exact)
        if not np.isfinite(nearest) or not np.isfinite(found):
            error = 0.0 if nearest == found else np.inf
        else:
            error = float(abs(mpmath.mpf(float(found)) - exact) / np.spacing(abs(nearest)))
        worst = max(worst, (error, tuple(float(a) for a in at)))
    return worst
