"""Activations, attention, special functions, statistics and solvers of JAX's libraries."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.optimize
import numpy as np
from tests.jax.cases.registry import FLOATS, add, array, positive, short


def register() -> None:
    """Register the cases."""
    x = array((3, 8))
    for name in ("relu relu6 sigmoid softplus silu gelu elu selu celu leaky_relu log_sigmoid "
                 "hard_sigmoid hard_tanh hard_silu soft_sign mish squareplus glu sparse_plus "
                 "softmax log_softmax standardize logsumexp").split():  # fmt: skip
        function = getattr(jax.nn, name)
        for dtype in FLOATS:
            add(f"jax.nn.{name}/{short(dtype)}", function, array((3, 8), dtype))
        add(f"jax.nn.{name}/grad", jax.grad(lambda x, f=function: (f(x) ** 2).sum()), x)
    add("jax.nn.gelu/exact", lambda x: jax.nn.gelu(x, approximate=False), x)
    q = array((2, 5, 4, 8))
    add("jax.nn.dot_product_attention", lambda q: jax.nn.dot_product_attention(q, q, q), q)
    add("jax.nn.dot_product_attention/causal", lambda q: jax.nn.dot_product_attention(
        q, q, q, is_causal=True), q)  # fmt: skip
    add("jax.nn.dot_product_attention/window", lambda q: jax.nn.dot_product_attention(
        q, q, q, local_window_size=2), q)  # fmt: skip
    add("jax.nn.dot_product_attention/gqa", lambda q, k: jax.nn.dot_product_attention(q, k, k), q,
        array((2, 6, 2, 8), seed=1))  # fmt: skip
    add("jax.nn.dot_product_attention/grad", jax.grad(lambda q: (
        jax.nn.dot_product_attention(q, q, q) ** 2).sum()), q)  # fmt: skip
    for method in "nearest linear cubic lanczos3".split():
        add(f"jax.image.resize/{method}", lambda x, m=method: jax.image.resize(
            x, (1, 9, 4, 2), m), array((1, 5, 6, 2)))  # fmt: skip
    add("jax.scipy.ndimage.map_coordinates", lambda x: jax.scipy.ndimage.map_coordinates(
        x, [jnp.linspace(0, 3, 5), jnp.linspace(0, 6, 5)], order=1), array((4, 7)))  # fmt: skip
    special = jax.scipy.special
    for name in ("erf erfc erfinv expit gammaln digamma i0 i0e i1 i1e log_ndtr logit ndtr ndtri "
                 "entr expi zeta1 gamma factorial exp1 spence sici bernoulli").split():  # fmt: skip
        if name in ("zeta1", "bernoulli", "factorial", "sici") or not hasattr(special, name):
            continue
        add(f"scipy.special.{name}", getattr(special, name), array((4, 5), low=0.1, high=0.9))
    p, r = array((4, 5), low=0.5, high=3.0), array((4, 5), seed=1, low=0.5, high=3.0)
    for name in "gammainc gammaincc betaln xlogy xlog1py zeta kl_div rel_entr beta poch".split():
        add(f"scipy.special.{name}", getattr(special, name), p + (name == "zeta"), r)
    add("scipy.special.betainc", special.betainc, p, r, array((4, 5), low=0.1, high=0.9))
    add("scipy.special.polygamma", lambda x: special.polygamma(1, x), p)
    add("scipy.special.multigammaln", lambda x: special.multigammaln(x + 2, 2), p)
    add("scipy.special.bessel_jn", lambda x: special.bessel_jn(x, v=3), array((5,)))
    add("scipy.special.logsumexp", special.logsumexp, p)
    stats = jax.scipy.stats
    for name in "norm logistic laplace cauchy expon".split():
        for function in "logpdf pdf cdf".split():
            if hasattr(getattr(stats, name), function):
                add(f"scipy.stats.{name}.{function}", getattr(getattr(stats, name), function), x)
    add("scipy.stats.beta.logpdf", lambda x: stats.beta.logpdf(x, 2.0, 3.0),
        array((5,), low=0.1, high=0.9))  # fmt: skip
    add("scipy.stats.gamma.logpdf", lambda x: stats.gamma.logpdf(x, 2.0), p)
    add("scipy.integrate.trapezoid", jax.scipy.integrate.trapezoid, x)
    add("scipy.optimize.minimize", lambda x: jax.scipy.optimize.minimize(
        lambda v: ((v - 1.5) ** 2).sum(), x, method="BFGS").x, array((3,)), tolerance=1e-3)  # fmt: skip
    add("scipy.sparse.cg", lambda a, b: jax.scipy.sparse.linalg.cg(a, b)[0], positive(5),
        array((5,)), tolerance=1e-3)  # fmt: skip
    add("scipy.sparse.gmres", lambda a, b: jax.scipy.sparse.linalg.gmres(a, b)[0], positive(5),
        array((5,)), tolerance=1e-3)  # fmt: skip
    add(
        "scipy.cluster.vq", lambda a, b: jax.scipy.cluster.vq.vq(a, b), array((6, 3)), array((2, 3))
    )
    add("jax.nn.initializers", lambda k: jax.nn.initializers.glorot_normal()(k, (4, 5)),
        np.array([0, 7], np.uint32))  # fmt: skip
    add("jax.experimental.odeint", lambda y: _odeint(y), array((2,)), tolerance=1e-3)


def _odeint(y: jax.Array) -> jax.Array:
    from jax.experimental.ode import odeint

    return odeint(lambda y, t: -y * t, y, jnp.linspace(0.0, 1.0, 4))
