"""Operations with 64-bit types on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.linear_algebra import check_eig, rebuild_eigh, rebuild_full_svd
from tests.jax.cases.registry import add, array, positive, short


def register() -> None:
    """Register the cases."""
    d, n, z = "float64", "int64", "complex128"
    for name in "sin exp tanh erf cbrt erfc expm1 atan logistic".split():
        add(f"lax.{name}/f64", getattr(lax, name), array((4, 7), d), x64=True)
    for name in "log log1p sqrt rsqrt lgamma digamma erf_inv acos".split():
        add(f"lax.{name}/f64", getattr(lax, name), array((4, 7), d, low=0.1, high=0.9), x64=True)
    for name in "add mul max min div rem".split():
        for dtype in (d, n):
            add(f"lax.{name}/{short(dtype)}", getattr(lax, name), array((4, 7), dtype, 1),
                array((4, 7), dtype, 2, low=1, high=9), x64=True)  # fmt: skip
    for name in "exp log sqrt sin tanh abs".split():
        add(f"lax.{name}/c128", getattr(lax, name), array((4, 7), z), x64=True)
    add("jnp.matmul/f64", jnp.matmul, array((4, 5), d), array((5, 6), d), x64=True)
    add("jnp.sort/f64", jnp.sort, array((20,), d), x64=True)
    add("jnp.cumsum/i64", jnp.cumsum, array((20,), n), x64=True)
    add("linalg.solve/f64", jnp.linalg.solve, array((5, 5), d), array((5, 2), d), x64=True,
        tolerance=1e-8)  # fmt: skip
    add("linalg.eigh/f64", rebuild_eigh, positive(5, d), x64=True)
    add("linalg.svd/f64", rebuild_full_svd, array((5, 3), d), x64=True)
    add("linalg.cholesky/c128", jnp.linalg.cholesky, positive(5, z), x64=True)
    add("linalg.eig/f64", check_eig, array((5, 5), d), x64=True, tolerance=1e-8)
    add("jnp.fft.fft/c128", jnp.fft.fft, array((3, 8), z), x64=True)
    add("jax.random.normal/f64", lambda k: jax.random.normal(k, (5,), jnp.float64),
        np.array([0, 1], np.uint32), x64=True)  # fmt: skip
    add("jax.random.bits/u64", lambda k: jax.random.bits(k, (5,), jnp.uint64),
        np.array([0, 1], np.uint32), x64=True)  # fmt: skip
    add("lax.scan/f64", lambda x: lax.scan(lambda c, x: (c + x, c * x), jnp.float64(0), x),
        array((6,), d), x64=True)  # fmt: skip
