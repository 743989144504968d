"""Loops, branches and transformations of whole functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import I, add, array


def register() -> None:
    """Register the cases."""
    xs, c = array((6, 3)), array((3,), seed=1)
    add("lax.scan", lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs), xs, c)
    add(
        "lax.scan/reverse",
        lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs, reverse=True),
        xs,
        c,
    )
    add(
        "lax.scan/unrolled",
        lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs, unroll=2),
        xs,
        c,
    )
    add("lax.scan/no-xs", lambda c: lax.scan(lambda c, _: (c * 1.1, c), c, None, length=4), c)
    add(
        "lax.scan/grad",
        jax.grad(
            lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs)[1].sum(), (0, 1)
        ),
        xs,
        c,
    )
    add("lax.scan/int", lambda xs: lax.scan(lambda c, x: (c + x, c), jnp.int32(0), xs),
        array((6,), I))  # fmt: skip
    add("lax.while_loop", lambda x: lax.while_loop(lambda v: v < 100.0, lambda v: v * 2 + 1, x),
        np.float32(0.5))  # fmt: skip
    add(
        "lax.while_loop/tuple",
        lambda x: lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * 1.5), (0, x)),
        c,
    )
    add("lax.while_loop/none", lambda x: lax.while_loop(lambda v: v < 0.0, lambda v: v + 1, x),
        np.float32(0.5))  # fmt: skip
    add("lax.fori_loop", lambda x: lax.fori_loop(0, 5, lambda i, v: v + jnp.sin(v) * i, x), c)
    add("lax.fori_loop/traced", lambda n, x: lax.fori_loop(0, n, lambda i, v: v + i, x),
        np.int32(4), c)  # fmt: skip
    for flag in (True, False):
        add(f"lax.cond/{flag}", lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x), np.bool_(flag), c)
    for choice in (-1, 0, 1, 2, 7):
        add(f"lax.switch/{choice}", lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.tanh], x),
            np.int32(choice), c)  # fmt: skip
    add(
        "lax.cond/nested",
        lambda p, x: lax.cond(p, lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.exp, x), jnp.cos, x),
        np.bool_(True),
        c,
    )
    add("lax.cond/grad", jax.grad(lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x).sum()), c)
    add(
        "lax.while_loop/batched",
        jax.vmap(lambda x: lax.while_loop(lambda v: v < 10.0, lambda v: v * 2 + 1, x)),
        np.array([0.5, 3.0, 20.0], np.float32),
    )
    add("lax.cond/batched", jax.vmap(lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x)),
        np.array([True, False, True]), c)  # fmt: skip
    add("lax.map", lambda xs: lax.map(lambda x: x @ x, xs), xs)
    add("lax.map/batched", lambda xs: lax.map(lambda x: x * 2, xs, batch_size=4), xs)
    add("jax.checkpoint", jax.grad(lambda x: jax.checkpoint(
        lambda y: jnp.sin(jnp.sin(y)))(x).sum()), c)  # fmt: skip
    add("lax.optimization_barrier", lambda x: lax.optimization_barrier(x) * 2, c)
    add("jax.custom_vjp", jax.grad(lambda x: jax.nn.relu(x).sum()), c)
    add("jax.hessian", jax.hessian(lambda x: (jnp.sin(x) * x[0]).sum()), c)
    add("jax.jacfwd", jax.jacfwd(lambda x: jnp.outer(x, x)), c)
    add("jax.jacrev", jax.jacrev(lambda x: jnp.cumsum(x) ** 2), c)
    add("jax.vmap/matmul", jax.vmap(jnp.matmul, (0, None)), array((3, 2, 4)), array((4, 5)))
    add("jax.linearize", lambda x: jax.linearize(jnp.sin, x)[1](x), c)
    add("lax.custom_root", lambda x: lax.custom_root(
        lambda y: y**2 - x, jnp.float32(1.0), lambda f, y: lax.fori_loop(
            0, 12, lambda _, v: v - f(v) / (2 * v), y), lambda g, y: y / g(jnp.float32(1.0))),
        np.float32(2.0))  # fmt: skip
