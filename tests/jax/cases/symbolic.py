"""One program for all sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.linear_algebra import (
    rebuild_eigh,
    rebuild_full_svd,
    rebuild_qr,
    rebuild_svd,
)
from tests.jax.cases.registry import F, add, array, positive


def register() -> None:
    """Register the cases."""

    def dynamic(name: str, function: Callable[..., Any], *pairs: tuple[Any, str | None]) -> None:
        arguments, dims = zip(*pairs, strict=True)
        add(f"symbolic/{name}", function, *arguments, dims=dims)

    x, w, t = array((5, 8)), array((8, 6), seed=1), array((10, 4))
    dynamic("mlp", lambda x, w: jax.nn.relu(x @ w), (x, "b, 8"), (w, None))
    dynamic("both", lambda a, b: a @ b, (array((3, 5)), "m, k"), (array((5, 4)), "k, n"))
    dynamic("softmax", lambda x: jax.nn.softmax(x, 1), (x, "b, s"))
    dynamic("layer-norm", jax.nn.standardize, (x, "b, s"))
    dynamic("attention", lambda q: jax.nn.dot_product_attention(q, q, q),
            (array((2, 5, 2, 4)), "b, s, 2, 4"))  # fmt: skip
    dynamic("causal", lambda q: jax.nn.dot_product_attention(q, q, q, is_causal=True),
            (array((2, 5, 2, 4)), "b, s, 2, 4"))  # fmt: skip
    dynamic("conv", lambda x, w: lax.conv_general_dilated(
        x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (array((3, 8, 8, 3)), "b, 8, 8, 3"), (array((3, 3, 3, 4), seed=1), None))  # fmt: skip
    dynamic("conv-spatial", lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (array((3, 8, 9, 3)), "b, h, w, 3"), (array((1, 1, 3, 4), seed=1), None))  # fmt: skip
    dynamic("conv-depthwise", lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4),
        (array((3, 8, 8, 4)), "b, 8, 8, 4"), (array((3, 3, 1, 4), seed=1), None))  # fmt: skip
    dynamic("max-pool", lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
        (array((3, 8, 8, 3)), "b, 8, 8, 3"))  # fmt: skip
    dynamic("max-pool-spatial", lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
        (array((3, 8, 9, 3)), "b, h, w, 3"))  # fmt: skip
    dynamic("reshape", lambda x: x.reshape(-1), (x, "b, s"))
    dynamic("split-heads", lambda x: x.reshape(x.shape[0], 2, 4), (x, "b, 8"))
    dynamic("concatenate", lambda x: jnp.concatenate([x, x * 2], 1), (x, "b, s"))
    dynamic("pad", lambda x: jnp.pad(x, ((0, 0), (1, 2))), (x, "b, s"))
    dynamic("slice", lambda x: x[:, 1:], (x, "b, s"))
    dynamic("reverse", lambda x: x[::-1], (x, "b, s"))
    dynamic("arange", lambda x: jnp.arange(x.shape[0]), (x, "b, s"))
    dynamic("size", lambda x: x * x.shape[0], (x, "b, s"))
    dynamic("mean", lambda x: x.mean(0), (x, "b, s"))
    dynamic("cumsum", lambda x: jnp.cumsum(x, 1), (x, "b, s"))
    dynamic("sort", lambda x: jnp.sort(x, 1), (x, "b, s"))
    dynamic("argmax", lambda x: jnp.argmax(x, 1), (x, "b, s"))
    dynamic("top_k", lambda x: lax.top_k(x, 2), (x, "b, 8"))
    dynamic("gather", lambda t, i: t[i], (t, None), (np.array([1, 5, 3], np.int32), "n"))
    dynamic("gather-dynamic-table", lambda t, i: t[i], (t, "r, 4"),
            (np.array([1, 5, 3], np.int32), "n"))  # fmt: skip
    dynamic("scatter", lambda t, i: t.at[i].add(1.0), (t, "r, 4"),
            (np.array([1, 5, 3], np.int32), "n"))  # fmt: skip
    dynamic("dynamic-slice", lambda t: lax.dynamic_slice(t, (1, 0), (2, t.shape[1])), (t, "10, c"))
    dynamic("scan", lambda xs: lax.scan(lambda c, x: (c + x, c * 2), xs[0], xs), (x, "n, 8"))
    dynamic("where", lambda x: jnp.where(x > 0, x, 0), (x, "b, s"))
    dynamic("broadcast", lambda x, y: x[:, None] + y, (array((5,)), "a"), (array((4,)), "b"))
    dynamic("transpose", lambda x: x.T, (x, "b, s"))
    dynamic("einsum", lambda a: jnp.einsum("bij,bkj->bik", a, a), (array((2, 3, 4)), "b, s, 4"))
    dynamic("repeat", lambda x: jnp.repeat(x, 2, 0), (x, "b, s"))
    dynamic("tile", lambda x: jnp.tile(x, (2, 1)), (x, "b, s"))
    dynamic("one-hot", lambda i: jax.nn.one_hot(i, 6), (np.array([1, 5, 3], np.int32), "n"))
    dynamic("grad", jax.grad(lambda w, x: (jax.nn.gelu(x @ w) ** 2).sum()), (w, None), (x, "b, 8"))
    dynamic("expressions", lambda x, y: x[:, : y.shape[0]] + y, (array((3, 8)), "b, 2*s"),
            (array((4,)), "s"))  # fmt: skip
    dynamic("eye", lambda x: x @ jnp.eye(x.shape[1]), (x, "b, s"))
    dynamic("tril", jnp.tril, (x, "b, s"))
    dynamic("norm", lambda x: jnp.linalg.norm(x, axis=1), (x, "b, s"))
    dynamic("cholesky", jnp.linalg.cholesky, (positive(4, F, (3,)), "b, 4, 4"))
    dynamic("fft", lambda x: jnp.abs(jnp.fft.fft(x)), (x, "b, 8"))
    dynamic("random", lambda x: x + jax.random.normal(jax.random.key(0), x.shape), (x, "b, s"))
    dynamic("logsumexp", lambda x: jax.nn.logsumexp(x, 1), (x, "b, s"))
    dynamic("while", lambda x: lax.fori_loop(0, x.shape[0], lambda i, v: v + 1.0, x), (x, "b, s"))
    _windows(dynamic)
    _linear_algebra(dynamic)
    _loops_and_indices(dynamic)


def _windows(dynamic: Callable[..., None]) -> None:
    image = array((2, 8, 6))
    for name, function in {
        "max": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2), (1, 2, 2), "VALID"),
        "sum": lambda x: lax.reduce_window(
            x, 0.0, lax.add, (1, 3, 3), (1, 2, 1), ((0, 0), (1, 1), (1, 0))
        ),
        "dilated": lambda x: lax.reduce_window(
            x, 0.0, lax.add, (1, 3, 3), (1, 2, 1), ((0, 0), (1, 1), (1, 0)),
            base_dilation=(1, 2, 1), window_dilation=(1, 1, 2),
        ),
        "two": lambda x: lax.reduce_window(
            (x, x * 2), (0.0, -jnp.inf),
            lambda a, b: (a[0] + b[0], jnp.maximum(a[1], b[1])), (1, 2, 2), (1, 1, 1), "VALID",
        ),
    }.items():  # fmt: skip
        dynamic(f"window/{name}", function, (image, "b, h, w"))
        if name in ("max", "sum"):
            dynamic(f"window/{name}/batch", function, (image, "b, 8, 6"))
            gradient = jax.grad(lambda x, f=function: (f(x) ** 2).sum())
            dynamic(f"window/{name}/grad", gradient, (image, "b, h, w"))


def _linear_algebra(dynamic: Callable[..., None]) -> None:
    spd = positive(5)
    for m, n in ((5, 3), (3, 5), (4, 4)):
        a = array((m, n))
        dynamic(f"svd/{m}x{n}", rebuild_svd, (a, "m, n"))
        dynamic(f"svd/full/{m}x{n}", rebuild_full_svd, (a, "m, n"))
        dynamic(f"svdvals/{m}x{n}", lambda x: jnp.linalg.svd(x, compute_uv=False), (a, "m, n"))
    for name, function in {
        "cholesky": jnp.linalg.cholesky,
        "solve": lambda x: jnp.linalg.solve(x, x[:, :2]),
        "det": jnp.linalg.det,
        "eigvalsh": jnp.linalg.eigvalsh,
    }.items():
        dynamic(f"linalg.{name}", function, (spd, "n, n"))
    batch = positive(4, F, (3,))
    for name, function in {
        "inv": jnp.linalg.inv,
        "qr": rebuild_qr,
        "slogdet": jnp.linalg.slogdet,
        "eigh": rebuild_eigh,
    }.items():
        dynamic(f"linalg.{name}/batch", function, (batch, "b, 4, 4"))


def _loops_and_indices(dynamic: Callable[..., None]) -> None:
    x = array((5, 4))
    for name, function in {
        "map": lambda x: lax.map(lambda t: jnp.sin(t).sum(), x),
        "branches": jax.vmap(lambda t: lax.cond(t[0] > 0, jnp.sin, jnp.cos, t)),
        "last": lambda x: lax.dynamic_slice_in_dim(x, x.shape[0] - 1, 1),
        "set-last": lambda x: lax.dynamic_update_slice_in_dim(
            x, jnp.ones((1, 4)), x.shape[0] - 1, 0
        ),
        "set": lambda x: x.at[0].set(5.0).at[:, 1].add(2.0),
        "roll": lambda x: jnp.roll(x, 1, 0),
        "every-second": lambda x: x[::2],
        "argsort": lambda x: jnp.argsort(x, axis=0),
        "cumprod": lambda x: jnp.cumprod(x, 0),
        "cumlogsumexp": lambda x: lax.cumlogsumexp(x, 0),
        "segments": lambda x: jax.ops.segment_sum(x, jnp.arange(x.shape[0]) % 3, num_segments=3),
        "interpolate": lambda x: jnp.interp(x[:, 0], jnp.linspace(-2, 2, 5), jnp.arange(5.0)),
        "histogram": lambda x: jnp.histogram(x[:, 0], 4, (-2.0, 2.0))[0],
        "quantile": lambda x: jnp.quantile(x, 0.3, axis=1),
        "variance": lambda x: (x.var(0), x.std(), x.max()),
    }.items():
        dynamic(f"rows/{name}", function, (x, "b, 4"))
