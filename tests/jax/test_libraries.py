"""Models and training steps of flax, equinox and optax: what ``jax.jit`` gives comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import iree_frontend_jax

Step = Callable[..., tuple[Any, jax.Array]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def losses(step: Step, state: Any, batches: list[Any]) -> tuple[Any, list[float]]:
    """Run a training step on each batch in turn."""
    found = []
    for batch in batches:
        state, loss = step(state, *batch)
        found.append(float(loss))
    return state, found


def follows_jax(step: Step, state: Any, batches: list[Any]) -> None:
    """Check losses within 1e-4 and what was learnt within 1e-3, and that something was."""
    ours, found = losses(iree_frontend_jax.jit(step), state, batches)
    theirs, wanted = losses(jax.jit(step), state, batches)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert found[-1] < found[0]
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert (a.dtype, a.shape, a.weak_type) == (b.dtype, b.shape, b.weak_type)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def images(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return batches of small images of two kinds: bright above or below."""
    generator = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        labels = generator.integers(0, 2, 8).astype(np.int32)
        x = generator.standard_normal((8, 8, 8, 3)).astype(np.float32)
        x[labels == 1, :4] += 1
        batches.append((x, labels))
    return batches


class Network(nn.Module):
    """Convolutions with batch normalisation and dropout."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(8, (3, 3), use_bias=False)(x)  # a bias would have no gradient but rounding
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (3, 3), strides=(2, 2))(x))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(2)(x)


def test_flax_network_trains_with_adamw() -> None:
    model, batches = Network(), images(1) * 10
    variables = model.init(jax.random.key(0), batches[0][0], train=False)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-3, 2, 10)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))

    def step(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        params, statistics, moments, key = state
        key, dropout = jax.random.split(key)

        def objective(p: Any) -> Any:
            logits, changed = model.apply(
                {"params": p, "batch_stats": statistics},
                x,
                train=True,
                rngs={"dropout": dropout},
                mutable=["batch_stats"],
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
            return loss, changed["batch_stats"]

        (loss, statistics), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), statistics, moments, key), loss

    params = variables["params"]
    state = (params, variables["batch_stats"], optimizer.init(params), jax.random.key(1))
    follows_jax(step, state, batches)
    predict = iree_frontend_jax.jit(lambda v, x: model.apply(v, x, train=False))
    x = batches[0][0]
    np.testing.assert_allclose(
        predict(variables, x), model.apply(variables, x, train=False), rtol=1e-4, atol=1e-5
    )


class Block(nnx.Module):
    """A transformer block over token embeddings."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(32, 16, rngs=rngs)
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(16, 32, rngs=rngs)
        self.down = nnx.Linear(32, 16, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed(ids)
        x = x + self.attention(self.norm(x), mask=nnx.make_causal_mask(ids))
        x = x + self.down(nnx.gelu(self.up(x)))
        return self.embed.attend(x)


@pytest.mark.slow
def test_flax_nnx_transformer_trains_with_nadam() -> None:
    graph, params, rest = nnx.split(Block(nnx.Rngs(0)), nnx.Param, ...)
    optimizer = optax.nadam(1e-2)

    def step(state: Any, ids: jax.Array) -> tuple[Any, jax.Array]:
        params, moments = state

        def objective(p: Any) -> jax.Array:
            logits = nnx.merge(graph, p, rest)(ids)[:, :-1]
            return optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:]).mean()

        loss, grads = jax.value_and_grad(objective)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    ids = np.arange(24, dtype=np.int32).reshape(3, 8) % 5
    follows_jax(step, (params, optimizer.init(params)), [(ids,)] * 8)


class Tagger(eqx.Module):
    """A recurrent cell scanned over a sequence."""

    cell: eqx.nn.GRUCell
    norm: eqx.nn.LayerNorm
    head: eqx.nn.MLP

    def __init__(self, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(3, 8, key=first)
        self.norm = eqx.nn.LayerNorm(8)
        self.head = eqx.nn.MLP(8, 1, 16, 1, activation=jnp.tanh, key=second)

    def __call__(self, xs: jax.Array) -> jax.Array:
        h, _ = jax.lax.scan(lambda h, x: (self.cell(x, h), None), jnp.zeros(8), xs)
        return self.head(self.norm(h))[0]


def test_equinox_recurrent_network_trains_with_sgd() -> None:
    params, static = eqx.partition(Tagger(jax.random.key(3)), eqx.is_inexact_array)
    optimizer = optax.sgd(0.1, momentum=0.9, nesterov=True)

    def step(state: Any, xs: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        params, moments = state

        def objective(p: Any) -> jax.Array:
            return ((jax.vmap(eqx.combine(p, static))(xs) - y) ** 2).mean()

        loss, grads = jax.value_and_grad(objective)(params)
        updates, moments = optimizer.update(grads, moments)
        return (eqx.apply_updates(params, updates), moments), loss

    xs = np.random.default_rng(1).standard_normal((6, 5, 3)).astype(np.float32)
    follows_jax(step, (params, optimizer.init(params)), [(xs, xs.sum((1, 2)))] * 10)


def test_random_numbers_are_those_of_jax() -> None:
    def draw(key: jax.Array) -> Any:
        keys = jax.random.split(key, 5)
        return (
            jax.random.normal(keys[0], (3, 4)),
            jax.random.randint(keys[1], (7,), -3, 9),
            jax.random.permutation(keys[2], 11),
            jax.random.categorical(keys[3], jnp.zeros((4, 6))),
            jax.random.fold_in(keys[4], 5),
        )

    for implementation in ("threefry2x32", "rbg"):
        key = jax.random.key(42, impl=implementation)
        found, wanted = iree_frontend_jax.jit(draw)(key), jax.jit(draw)(key)
        for a, b in zip(found, wanted, strict=True):
            if jax.dtypes.issubdtype(b.dtype, jax.dtypes.prng_key):
                assert a.dtype == b.dtype
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            if b.dtype == jnp.float32:
                np.testing.assert_allclose(a, b, rtol=1e-6)
            else:
                np.testing.assert_array_equal(a, b)
