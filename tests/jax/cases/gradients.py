"""Derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from tests.jax.cases.registry import add, array


def register() -> None:
    """Register the cases."""
    x, p = array((3, 4)), array((3, 4), low=0.2, high=0.9)
    for name in ("abs cos cosh erf erfc exp expm1 logistic sin sinh square tan tanh cbrt asinh "
                 "atan").split():  # fmt: skip
        add(f"grad/lax.{name}", jax.grad(lambda x, n=name: (getattr(lax, n)(x) ** 2).sum()), x)
    for name in ("log log1p rsqrt sqrt lgamma acos asin atanh erf_inv digamma").split():
        add(f"grad/lax.{name}", jax.grad(lambda x, n=name: (getattr(lax, n)(x) ** 2).sum()), p)
    for name in "add mul sub div max min pow atan2 rem".split():
        add(f"grad/lax.{name}", jax.grad(lambda x, y, n=name: (
            getattr(lax, n)(x, y) ** 2).sum(), (0, 1)), p, array((3, 4), seed=3, low=0.2))  # fmt: skip
    for name in "sum prod max min mean std var".split():
        add(f"grad/jnp.{name}", jax.grad(lambda x, n=name: (
            getattr(jnp, n)(x, axis=1) ** 2).sum()), x)  # fmt: skip
    for name in "cumsum cumprod cummax cumlogsumexp".split():
        add(f"grad/lax.{name}", jax.grad(lambda x, n=name: (
            getattr(lax, n)(x, axis=1) ** 2).sum()), p)  # fmt: skip
    for name in "i0 i0e i1e gammaln ndtr log_ndtr expit".split():
        add(f"grad/special.{name}", jax.grad(lambda x, n=name: getattr(
            jax.scipy.special, n)(x).sum()), p)  # fmt: skip
    add("grad/matmul", jax.grad(lambda a, b: ((a @ b) ** 2).sum(), (0, 1)), x, array((4, 5)))
    add("grad/einsum", jax.grad(lambda a, b: (jnp.einsum("bij,bjk->bik", a, b) ** 2).sum(), (0, 1)),
        array((2, 3, 4)), array((2, 4, 5)))  # fmt: skip
    add("grad/complex", jax.grad(lambda x: jnp.abs(jnp.exp(x * 1j) * x).sum()), x)
    add("grad/gammainc", jax.grad(lambda x: jax.scipy.special.gammainc(2.0, x).sum()), p)
    add("grad/top_k", jax.grad(lambda x: (lax.top_k(x, 2)[0] ** 2).sum()), x)
    add("grad/pad", jax.grad(lambda x: (lax.pad(x, 0.0, ((1, -1, 1), (0, 2, 0))) ** 2).sum()), x)
    add("grad/interp", jax.grad(lambda x: jnp.interp(x, jnp.arange(4.0), jnp.arange(4.0) ** 2).sum()),
        p)  # fmt: skip
    add("hvp", lambda x, v: jax.jvp(jax.grad(lambda x: (jnp.tanh(x) ** 3).sum()), (x,), (v,)), x, p)
