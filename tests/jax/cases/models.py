"""Small networks and whole training steps, in plain JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import add

Params = Any


def _init(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        name: (generator.standard_normal(shape) / np.sqrt(max(shape[0], 1))).astype(np.float32)
        for name, shape in shapes.items()
    }


def mlp(p: Params, x: jax.Array) -> jax.Array:
    """Two layers."""
    return jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


MLP = {"w1": (16, 32), "b1": (32,), "w2": (32, 8), "b2": (8,)}


def cnn(p: Params, x: jax.Array) -> jax.Array:
    """Convolution, normalisation over the batch, pooling, a classifier."""
    numbers = ("NHWC", "HWIO", "NHWC")
    x = lax.conv_general_dilated(x, p["k1"], (1, 1), "SAME", dimension_numbers=numbers)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    x = jax.nn.relu((x - mean) * lax.rsqrt(variance + 1e-5) * p["scale"] + p["shift"])
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = lax.conv_general_dilated(x, p["k2"], (2, 2), "SAME", dimension_numbers=numbers)
    return jax.nn.relu(x).mean((1, 2)) @ p["w"] + p["b"]


CNN = {
    "k1": (3, 3, 3, 8), "scale": (8,), "shift": (8,), "k2": (3, 3, 8, 16), "w": (16, 8), "b": (8,),
}  # fmt: skip


def transformer(p: Params, ids: jax.Array) -> jax.Array:
    """One pre-norm block with causal attention over token embeddings."""
    x = p["embed"][ids] + p["position"][: ids.shape[1]]
    h = _norm(x) * p["g1"]
    q, k, v = ((h @ p[n]).reshape(*h.shape[:2], 4, 8) for n in ("wq", "wk", "wv"))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(8).astype(np.float32)
    mask = jnp.tril(jnp.ones((ids.shape[1], ids.shape[1]), bool))
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e9), axis=-1)
    x = x + jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape) @ p["wo"]
    x = x + jax.nn.gelu(_norm(x) * p["g2"] @ p["up"]) @ p["down"]
    return _norm(x) @ p["embed"].T


def _norm(x: jax.Array) -> jax.Array:
    return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)


TRANSFORMER = {
    "embed": (50, 32), "position": (16, 32), "g1": (32,), "wq": (32, 32), "wk": (32, 32),
    "wv": (32, 32), "wo": (32, 32), "g2": (32,), "up": (32, 64), "down": (64, 32),
}  # fmt: skip


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean negative log likelihood."""
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)
    return -picked.mean()


def sgd(forward: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Return a training step with plain gradient descent."""

    def step(p: Params, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Params]:
        loss, grads = jax.value_and_grad(lambda p: cross_entropy(forward(p, x), y))(p)
        return loss, jax.tree.map(lambda a, g: a - 0.1 * g, p, grads)

    return step


def adam(forward: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Return a training step with Adam (Kingma and Ba 2015)."""

    def step(p: Params, m: Params, v: Params, count: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        loss, grads = jax.value_and_grad(lambda p: cross_entropy(forward(p, x), y))(p)
        count = count + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)

        def update(a: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            mean, square = m / (1 - 0.9**count), v / (1 - 0.999**count)
            return a - 1e-3 * mean / (jnp.sqrt(square) + 1e-8)

        return loss, jax.tree.map(update, p, m, v), m, v, count

    return step


def register() -> None:
    """Register the networks, their training steps and one of them with a dynamic batch."""
    generator = np.random.default_rng(5)
    ids = generator.integers(0, 50, (3, 9)).astype(np.int32)
    labels = generator.integers(0, 8, (4,)).astype(np.int32)
    inputs = {
        "mlp": (mlp, MLP, generator.standard_normal((4, 16)).astype(np.float32), labels),
        "cnn": (cnn, CNN, generator.standard_normal((4, 12, 12, 3)).astype(np.float32), labels),
        "transformer": (transformer, TRANSFORMER, ids, np.roll(ids, -1, 1)),
    }
    for name, (forward, shapes, x, y) in inputs.items():
        p = _init(shapes)
        zeros = jax.tree.map(np.zeros_like, p)
        add(f"model/{name}", forward, p, x)
        add(f"model/{name}/sgd", sgd(forward), p, x, y)
        add(f"model/{name}/adam", adam(forward), p, zeros, zeros, np.float32(0), x, y)
    add(
        "model/transformer/vmap", jax.vmap(transformer, (None, 0)), _init(TRANSFORMER), ids[:, None]
    )
    add("model/transformer/remat", sgd(jax.checkpoint(transformer)), _init(TRANSFORMER), ids,
        np.roll(ids, -1, 1))  # fmt: skip
    add("model/mlp/dropout", _dropout, _init(MLP), inputs["mlp"][2], np.array([0, 3], np.uint32))
    add("model/rnn", _rnn, _init({"wx": (4, 8), "wh": (8, 8)}),
        generator.standard_normal((7, 2, 4)).astype(np.float32))  # fmt: skip


def _dropout(p: Params, x: jax.Array, key: jax.Array) -> jax.Array:
    keep = jax.random.bernoulli(key, 0.8, x.shape)
    return mlp(p, jnp.where(keep, x / 0.8, 0.0))


def _rnn(p: Params, xs: jax.Array) -> Any:
    def cell(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(x @ p["wx"] + h @ p["wh"])
        return h, h

    loss = jax.value_and_grad(lambda p: (lax.scan(
        lambda h, x: cell_with(p, h, x), jnp.zeros((xs.shape[1], 8)), xs)[1] ** 2).sum())  # fmt: skip

    def cell_with(p: Params, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(x @ p["wx"] + h @ p["wh"])
        return h, h

    return lax.scan(cell, jnp.zeros((xs.shape[1], 8)), xs), loss(p)
