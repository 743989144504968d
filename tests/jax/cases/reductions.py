"""Reductions, running reductions and statistics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import FLOATS, C, F, I, add, array, short


def register() -> None:
    """Register the cases."""
    for dtype in (*FLOATS, I, "int8", "uint8", C):
        x = array((3, 5, 4), dtype, 1)
        for axis in (None, 0, (1, 2), -1):
            label = "all" if axis is None else str(axis).replace(" ", "")
            names = "sum prod mean".split() if dtype == C else "sum prod max min mean".split()
            for name in names:
                add(f"jnp.{name}/{short(dtype)}/{label}",
                    lambda x, name=name, axis=axis: getattr(jnp, name)(x, axis=axis), x,
                    tolerance=5e-2 if dtype == "bfloat16" else None)  # fmt: skip
    x = array((3, 5, 4), F, 2)
    for name in ("std var median ptp nansum nanmax nanmean argmax argmin any all "
                 "count_nonzero").split():  # fmt: skip
        add(f"jnp.{name}/f32", lambda x, name=name: getattr(jnp, name)(x, axis=1), x)
    add("jnp.quantile", lambda x: jnp.quantile(x, 0.3, axis=1), x)
    add("jnp.percentile", lambda x: jnp.percentile(x, 70.0), x)
    add("jnp.average", lambda x, w: jnp.average(x, axis=1, weights=w), x, array((5,), low=0.1))
    ties = np.array([[1, 3, 3, 0], [2, 2, 2, 2], [np.nan, 1, np.nan, 5]], np.float32)
    add("jnp.argmax/ties", lambda x: jnp.argmax(x, 1), ties)
    add("jnp.argmin/ties", lambda x: jnp.argmin(x, 1), ties)
    add("jnp.max/nan", lambda x: jnp.max(x, 1), ties)
    add("lax.reduce/custom", lambda x: lax.reduce(x, np.float32(1), lambda a, b: a * b + 0.0, (1,)),
        array((3, 4), low=0.5, high=1.5))  # fmt: skip
    add("lax.reduce/two", lambda x, y: lax.reduce(
        (x, y), (np.float32(0), np.int32(0)), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0,)),
        array((3, 4)), array((3, 4), I))  # fmt: skip
    for name in "and or xor".split():
        add(f"lax.reduce_{name}", lambda x, name=name: getattr(lax, f"reduce_{name}")(x, (1,)),
            array((3, 6), "bool"))  # fmt: skip
    add("jnp.sum/empty", jnp.sum, np.zeros((0, 3), np.float32))
    add("jnp.sum/keepdims", lambda x: jnp.sum(x, 1, keepdims=True), x)
    add("jax.nn.logsumexp", lambda x: jax.nn.logsumexp(x, 1), x)
    for name in "cumsum cumprod cummax cummin cumlogsumexp".split():
        for dtype in (F, "bfloat16", I):
            if dtype == I and name == "cumlogsumexp":
                continue
            for reverse in (False, True):
                add(f"lax.{name}/{short(dtype)}/{'reverse' if reverse else 'forward'}",
                    lambda x, name=name, reverse=reverse: getattr(lax, name)(
                        x, axis=1, reverse=reverse),
                    array((3, 9), dtype, low=-1.5, high=1.5),
                    tolerance=6e-2 if dtype == "bfloat16" else None)  # fmt: skip
    add("jnp.diff", lambda x: jnp.diff(x, axis=1), x)
    add("jnp.trapezoid", lambda x: jnp.trapezoid(x, axis=1), x)
    add("jnp.histogram", lambda x: jnp.histogram(x, 5, (-3, 3))[0], x)
    add("jnp.bincount", lambda x: jnp.bincount(x, length=6), array((20,), I, low=0, high=5))
    add("jnp.cov", jnp.cov, array((3, 10)))
    add("jnp.corrcoef", jnp.corrcoef, array((3, 10)))
    add("lax.associative_scan", lambda x: lax.associative_scan(jnp.add, x), array((9, 3)))
