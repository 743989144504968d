"""Random numbers, which must be JAX's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import add


def register() -> None:
    """Register the cases."""
    key = np.array([3, 1234567], np.uint32)
    functions: dict[str, Callable[..., Any]] = {
        "uniform": lambda k: jax.random.uniform(k, (4, 5)),
        "uniform-range": lambda k: jax.random.uniform(k, (7,), minval=-2.0, maxval=5.0),
        "normal": lambda k: jax.random.normal(k, (4, 5)),
        "bits": lambda k: jax.random.bits(k, (9,)),
        "bits-u8": lambda k: jax.random.bits(k, (9,), jnp.uint8),
        "randint": lambda k: jax.random.randint(k, (9,), -5, 20),
        "bernoulli": lambda k: jax.random.bernoulli(k, 0.3, (20,)),
        "split": lambda k: jax.random.split(k, 3),
        "fold_in": lambda k: jax.random.fold_in(k, 42),
        "permutation": lambda k: jax.random.permutation(k, 12),
        "shuffle": lambda k: jax.random.permutation(k, jnp.arange(12.0).reshape(6, 2)),
        "choice": lambda k: jax.random.choice(k, 10, (5,)),
        "choice-no-replace": lambda k: jax.random.choice(k, 10, (5,), replace=False),
        "categorical": lambda k: jax.random.categorical(k, jnp.arange(6.0), shape=(8,)),
        "gumbel": lambda k: jax.random.gumbel(k, (5,)),
        "exponential": lambda k: jax.random.exponential(k, (5,)),
        "laplace": lambda k: jax.random.laplace(k, (5,)),
        "cauchy": lambda k: jax.random.cauchy(k, (5,)),
        "logistic": lambda k: jax.random.logistic(k, (5,)),
        "truncated_normal": lambda k: jax.random.truncated_normal(k, -1.0, 2.0, (5,)),
        "gamma": lambda k: jax.random.gamma(k, 2.5, (5,)),
        "beta": lambda k: jax.random.beta(k, 2.0, 3.0, (5,)),
        "dirichlet": lambda k: jax.random.dirichlet(k, jnp.ones(4), (3,)),
        "poisson": lambda k: jax.random.poisson(k, 4.0, (6,)),
        "rademacher": lambda k: jax.random.rademacher(k, (9,)),
        "t": lambda k: jax.random.t(k, 3.0, (4,)),
        "chisquare": lambda k: jax.random.chisquare(k, 3.0, (4,)),
        "multivariate_normal": lambda k: jax.random.multivariate_normal(
            k, jnp.zeros(3), jnp.eye(3) * 2, (2,)),
        "orthogonal": lambda k: jnp.abs(jax.random.orthogonal(k, 3)),
        "ball": lambda k: jax.random.ball(k, 3, shape=(4,)),
        "bf16": lambda k: jax.random.normal(k, (4,), jnp.bfloat16),
        "new-style": lambda k: jax.random.key_data(jax.random.split(jax.random.wrap_key_data(k))),
        "binomial": lambda k: jax.random.binomial(k, 10, 0.4, (5,)),
    }  # fmt: skip
    for name, function in functions.items():
        add(f"jax.random.{name}", function, key)
    wide = np.array([1, 2, 3, 4], np.uint32)
    for name in ("rbg", "unsafe_rbg"):
        add(f"jax.random.{name}", lambda k, n=name: jax.random.uniform(
            jax.random.wrap_key_data(k, impl=n), (3, 5)), wide)  # fmt: skip
    add("lax.rng_bit_generator/u32", lambda k: lax.rng_bit_generator(k, (3, 5)), wide)
    add("lax.rng_bit_generator/u8", lambda k: lax.rng_bit_generator(k, (7,), jnp.uint8), wide)
