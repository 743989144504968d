"""Sorts and selections, and Fourier transforms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import FLOATS, C, F, I, add, array, short


def register() -> None:
    """Register the cases."""
    _sorting()
    _fourier()


def _sorting() -> None:
    for dtype in (*FLOATS, I, "uint8", "bool", C):
        x = array((3, 17), dtype, 1, high=9)
        add(f"jnp.sort/{short(dtype)}", lambda x: jnp.sort(x, axis=1), x)
        add(f"jnp.argsort/{short(dtype)}", lambda x: jnp.argsort(x, axis=1), x)
    special = np.array([3, np.nan, -np.inf, np.inf, -0.0, 0.0, np.nan, 1], np.float32)
    add("jnp.sort/special", jnp.sort, special)
    add("jnp.argsort/special", jnp.argsort, special)
    add("jnp.sort/descending", lambda x: jnp.sort(x, descending=True), array((20,)))
    add("jnp.argsort/descending", lambda x: jnp.argsort(x, descending=True),
        array((40,), I, low=0, high=4))  # fmt: skip
    add("jnp.argsort/stable", lambda x: jnp.argsort(x, stable=True), array((99,), I, low=0, high=3))
    add("jnp.sort/axis0", lambda x: jnp.sort(x, axis=0), array((17, 3)))
    add("jnp.lexsort", lambda x, y: jnp.lexsort((x, y)), array((30,), I), array((30,), I, 1))
    add("lax.sort/keys", lambda x, y: lax.sort((x, y), num_keys=2), array((30,), I),
        array((30,), I, 1))  # fmt: skip
    add("lax.sort/payload", lambda x, y: lax.sort((x, y), num_keys=1), array((30,), I),
        array((30,), F, 1))  # fmt: skip
    add("jnp.partition", lambda x: jnp.sort(jnp.partition(x, 3)[:3]), array((20,)))
    for dtype in (F, I, "bfloat16"):
        add(f"lax.top_k/{short(dtype)}", lambda x: lax.top_k(x, 4), array((3, 20), dtype))
    add("lax.top_k/all", lambda x: lax.top_k(x, 20), array((3, 20)))
    add("lax.approx_max_k", lambda x: lax.approx_max_k(x, 3), array((2, 30)))
    add("lax.approx_min_k", lambda x: lax.approx_min_k(x, 3), array((2, 30)))
    add("jnp.sort/grad", jax.grad(lambda x: (jnp.sort(x) * jnp.arange(9.0)).sum()), array((9,)))
    add("jnp.unique/counts", lambda x: jnp.unique(x, size=6, return_counts=True,
        return_inverse=True), array((12,), I, low=0, high=5))  # fmt: skip
    add("jax.scipy.stats.rankdata", jax.scipy.stats.rankdata, array((12,), I))


def _fourier() -> None:
    for name in "fft ifft".split():
        for n in (8, 6, 7, 1):
            add(f"jnp.fft.{name}/{n}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, n), C))
    for n in (8, 9, 6, 7):
        add(f"jnp.fft.rfft/{n}", jnp.fft.rfft, array((3, n)))
        add(f"jnp.fft.irfft/{n}", lambda x, n=n: jnp.fft.irfft(x, n), array((3, n // 2 + 1), C))
    for name in "fft2 ifft2 fftn ifftn".split():
        add(f"jnp.fft.{name}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, 4, 6), C))
    for name in "rfft2 rfftn".split():
        add(f"jnp.fft.{name}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, 4, 6)))
    for name in "irfft2 irfftn".split():
        add(f"jnp.fft.{name}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, 4, 5), C))
    add("jnp.fft.hfft", jnp.fft.hfft, array((5,), C))
    add("jnp.fft.fftshift", jnp.fft.fftshift, array((3, 5)))
    add("jnp.fft.fft/axis0", lambda x: jnp.fft.fft(x, axis=0), array((8, 3), C))
    add("jnp.fft.rfft/grad", jax.grad(lambda x: (jnp.abs(jnp.fft.rfft(x)) ** 2).sum()),
        array((3, 8)))  # fmt: skip
    add("jax.scipy.fft.dct", jax.scipy.fft.dct, array((3, 8)))
    add("jax.scipy.fft.idct", jax.scipy.fft.idct, array((3, 8)))
    add("jax.scipy.signal.fftconvolve", jax.scipy.signal.fftconvolve, array((9,)), array((4,)))
    add("jax.scipy.signal.convolve2d", jax.scipy.signal.convolve2d, array((6, 6)), array((3, 3)))
    add("jax.scipy.signal.stft", lambda x: jax.scipy.signal.stft(x, nperseg=8)[2], array((32,)))
