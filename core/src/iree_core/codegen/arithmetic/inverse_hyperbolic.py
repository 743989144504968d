"""Inverse hyperbolic functions, of any precision, from the log1p of that precision."""

from __future__ import annotations

import math
from collections.abc import Callable

from iree_core.codegen.arithmetic.numeric import Num, select

Log1p = Callable[[Num], Num]
# Squares of larger numbers lose what is added to them, or overflow.
_LARGE = 1e10


def asinh(x: Num, log1p: Log1p) -> Num:
    """Inverse hyperbolic sine"""
    a = abs(x)
    large = a > _LARGE
    square = a * a
    argument = select(large, a, a + square / ((square + 1.0).sqrt() + 1.0))
    return _log1p_large(argument, large, log1p).copysign(x)


def acosh(x: Num, log1p: Log1p) -> Num:
    """Inverse hyperbolic cosine"""
    large = x > _LARGE
    t = x - 1.0
    argument = select(large, x, t + t.times_plus(t, t + t).sqrt())
    return select(x < 1.0, x.like(math.nan), _log1p_large(argument, large, log1p))


def atanh(x: Num, log1p: Log1p) -> Num:
    """Inverse hyperbolic tangent"""
    a = abs(x)
    return (log1p((a + a) / (1.0 - a)) * 0.5).copysign(x)


def _log1p_large(argument: Num, is_large: Num, log1p: Log1p) -> Num:
    """Return log1p(argument), plus log 2 where ``is_large``."""
    result = log1p(argument)
    return select(is_large, result + math.log(2.0), result)
