"""One program for all sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
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
