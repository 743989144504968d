"""Factorisations and solvers; factors are multiplied out, so that signs and order do not matter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import C, F, add, array, positive, short


def register() -> None:
    """Register the cases."""
    linalg, scipy = jnp.linalg, jax.scipy.linalg
    for dtype in (F, C):
        label = short(dtype)
        for batch in ((), (3,)):
            spd, a = positive(5, dtype, batch), array((*batch, 5, 5), dtype, 12)
            tag = f"{label}/{'batch' if batch else 'one'}"
            b = array((*batch, 5, 2), dtype, 13)
            add(f"linalg.cholesky/{tag}", linalg.cholesky, spd)
            add(f"linalg.solve/{tag}", linalg.solve, a, b, tolerance=1e-3)
            add(f"linalg.inv/{tag}", linalg.inv, spd)
            add(f"linalg.det/{tag}", linalg.det, a, tolerance=1e-3)
            add(f"linalg.slogdet/{tag}", linalg.slogdet, a, tolerance=1e-3)
            add(f"linalg.eigh/{tag}", lambda x: (linalg.eigh(x)[0], rebuild_eigh(x)), spd,
                tolerance=1e-3)  # fmt: skip
            add(f"linalg.eigvalsh/{tag}", linalg.eigvalsh, spd)
            add(f"scipy.lu_factor/{tag}", scipy.lu_factor, a)
            add(f"linalg.eig/{tag}", check_eig, a, tolerance=1e-3)
            for m, n in ((5, 3), (3, 5), (4, 4)):
                r = array((*batch, m, n), dtype, 14)
                add(f"linalg.qr/{tag}/{m}x{n}", rebuild_qr, r)
                add(f"linalg.svd/{tag}/{m}x{n}", rebuild_svd, r)
                add(f"linalg.svd/full/{tag}/{m}x{n}", rebuild_full_svd, r)
                add(f"linalg.pinv/{tag}/{m}x{n}", linalg.pinv, r, tolerance=1e-3)
            for lower in (True, False):
                for trans in (0, 1, 2):
                    add(f"scipy.solve_triangular/{tag}/{'lower' if lower else 'upper'}/{trans}",
                        lambda a, b, lo=lower, t=trans: scipy.solve_triangular(
                            a, b, trans=t, lower=lo), spd, b)  # fmt: skip
        a, spd, b = array((5, 5), dtype, 12), positive(5, dtype), array((5, 2), dtype, 13)
        add(f"scipy.lu/{label}", scipy.lu, a)
        add(f"scipy.lu_solve/{label}", lambda a, b: scipy.lu_solve(scipy.lu_factor(a), b), spd, b)
        add(
            f"scipy.cho_solve/{label}", lambda a, b: scipy.cho_solve(scipy.cho_factor(a), b), spd, b
        )
        add(f"scipy.expm/{label}", lambda a: scipy.expm(a * 0.3), a, tolerance=1e-3)
        add(f"scipy.hessenberg/{label}", lambda a: jnp.abs(scipy.hessenberg(a)), a, tolerance=1e-3)
        add(f"scipy.schur/{label}", rebuild_schur, a, tolerance=1e-3)
        add(f"scipy.polar/{label}", scipy.polar, a, tolerance=1e-3)
        add(f"scipy.sqrtm/{label}", scipy.sqrtm, spd, tolerance=1e-3)
        add(f"linalg.eigvals/{label}", lambda x: jnp.sort(jnp.abs(linalg.eigvals(x))), a,
            tolerance=1e-3)  # fmt: skip
    a, spd = array((5, 5), F, 12), positive(5)
    for order in ("fro", "nuc", 1, 2, -2, np.inf):
        add(f"linalg.norm/{order}", lambda x, o=order: linalg.norm(x, o), a)
    add("linalg.matrix_power", lambda x: linalg.matrix_power(x, 5), a * 0.3)
    add("linalg.matrix_rank", linalg.matrix_rank, array((5, 2)) @ array((2, 5)))
    add("linalg.cond", linalg.cond, spd)
    add("linalg.lstsq", lambda a, b: linalg.lstsq(a, b)[0], array((7, 3)), array((7, 2)),
        tolerance=1e-3)  # fmt: skip
    add("linalg.multi_dot", lambda a: linalg.multi_dot([a, a, a]), a * 0.3)
    add("linalg.tensorsolve", linalg.tensorsolve, spd.reshape(5, 5), array((5,)))
    add("linalg.cholesky/indefinite", linalg.cholesky, -spd)
    add("linalg.svd/rank-deficient", rebuild_full_svd,
        array((5, 2)) @ array((2, 4), seed=1))  # fmt: skip
    add("linalg.svd/zero", rebuild_full_svd, np.zeros((4, 3), np.float32))
    add("linalg.eigh/repeated", rebuild_eigh, np.eye(5, dtype=np.float32) * 3)
    add("linalg.eigh/32", lambda x: (linalg.eigh(x)[0], rebuild_eigh(x)), positive(32),
        tolerance=1e-3)  # fmt: skip
    add("linalg.solve/singular", linalg.solve, np.zeros((3, 3), np.float32), array((3, 1)))
    add("lax.linalg.tridiagonal_solve", lax.linalg.tridiagonal_solve, array((6,), F, 1),
        array((6,), F, 2, low=4, high=6), array((6,), F, 3), array((6, 2), F, 4))  # fmt: skip
    for dtype in (F, C):
        spd_ = positive(6, dtype, (2,))
        for lower in (True, False):
            add(f"lax.linalg.tridiagonal/{short(dtype)}/{'lower' if lower else 'upper'}",
                lambda a, lo=lower: lax.linalg.tridiagonal(a, lower=lo), spd_)  # fmt: skip
        add(f"scipy.eigh_tridiagonal/reduced/{short(dtype)}",
            lambda a: jnp.sort(scipy.eigh_tridiagonal(*lax.linalg.tridiagonal(a)[1:3],
                                                      eigvals_only=True)), spd_[0])  # fmt: skip
    add("linalg.eig/real-and-pairs", _exactness_of_eig, array((7, 7), F, 15))
    add("linalg.eig/symmetric", _exactness_of_eig, positive(6))
    add("linalg.eig/identity", _exactness_of_eig, np.eye(4, dtype=np.float32))
    add("scipy.block_diag", scipy.block_diag, a, spd)
    add("scipy.toeplitz", scipy.toeplitz, array((5,)))
    add("scipy.qr_multiply", lambda a, c: jnp.abs(scipy.qr_multiply(a, c)[0]), array((5, 3)),
        array((4, 5)))  # fmt: skip
    add("scipy.qr/pivoting", lambda a: [jnp.abs(v) for v in scipy.qr(a, pivoting=True)],
        array((5, 3)))  # fmt: skip
    add("scipy.eigh_tridiagonal", lambda d, e: scipy.eigh_tridiagonal(d, e, eigvals_only=True),
        array((6,)), array((5,), seed=1))  # fmt: skip
    for name, function in {
        "cholesky": linalg.cholesky, "inv": linalg.inv, "det": linalg.det,
        "slogdet": lambda x: linalg.slogdet(x)[1], "eigvalsh": linalg.eigvalsh,
        "qr-r": lambda x: jnp.abs(linalg.qr(x)[1]), "svdvals": lambda x: linalg.svd(
            x, compute_uv=False), "solve": lambda x: linalg.solve(x, x[:, 0]),
        "norm": linalg.norm, "eigh": lambda x: jnp.abs(linalg.eigh(x)[1]),
    }.items():  # fmt: skip
        add(f"linalg.{name}/grad", jax.grad(lambda x, f=function: (f(x) * 0.1).sum()),
            spd + np.diag(np.arange(5.0, dtype=np.float32) * 3), tolerance=2e-3)  # fmt: skip


def adjoint(x: jax.Array) -> jax.Array:
    """Return the conjugate transpose of matrices."""
    return jnp.conj(x.swapaxes(-1, -2))


def rebuild_eigh(x: jax.Array) -> jax.Array:
    values, vectors = jnp.linalg.eigh(x)
    return (vectors * values[..., None, :]) @ adjoint(vectors)


def rebuild_qr(x: jax.Array) -> tuple[jax.Array, ...]:
    q, r = jnp.linalg.qr(x)
    return q @ r, adjoint(q) @ q, jnp.abs(r)


def rebuild_svd(x: jax.Array) -> tuple[jax.Array, ...]:
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return (u * s[..., None, :]) @ vt, s, adjoint(u) @ u


def rebuild_full_svd(x: jax.Array) -> tuple[jax.Array, ...]:
    u, s, vt = jnp.linalg.svd(x)
    k = s.shape[-1]
    whole = (u[..., :k] * s[..., None, :]) @ vt[..., :k, :]
    return whole, s, adjoint(u) @ u, vt @ adjoint(vt)


def check_eig(x: jax.Array) -> tuple[jax.Array, ...]:
    values, vectors = jnp.linalg.eig(x)
    left = x.astype(vectors.dtype) @ vectors - vectors * values[..., None, :]
    return jnp.abs(left), jnp.sort(jnp.abs(values))


def _exactness_of_eig(x: jax.Array) -> tuple[jax.Array, ...]:
    """Return how many eigenvalues and vectors are exactly real, or exact conjugates."""
    values, vectors = jnp.linalg.eig(x)
    pairs = values[:, None] == jnp.conj(values)[None, :]
    real = (jnp.imag(vectors) == 0).all(0)
    return (jnp.imag(values) == 0).sum(), pairs.any(1).sum(), real.sum(), *check_eig(x)


def rebuild_schur(x: jax.Array) -> tuple[jax.Array, ...]:
    t, z = jax.scipy.linalg.schur(x)
    return z @ t @ adjoint(z), jnp.tril(t, -2)
