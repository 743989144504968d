"""Programs of JAX's libraries as cases: optax, flax, equinox, and the wider parts of JAX itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import jax.scipy.cluster.vq
import jax.scipy.interpolate
import jax.scipy.optimize
import jax.scipy.signal
import jax.scipy.sparse.linalg
import jax.scipy.stats
import numpy as np
import optax
from jax.experimental import sparse
from jax.experimental.ode import odeint
from tests.jax.cases.registry import Case, array, positive

_KEY = 7
_CASES: dict[str, Case] = {}


def names() -> list[str]:
    """Return the names of all cases."""
    return list(_cases())


def case(name: str) -> Case:
    """Return the case of that name."""
    return _cases()[name]


@cache
def _cases() -> dict[str, Case]:
    for subject in (_optimizers, _losses, _flax, _recurrent, _equinox, _signals, _solvers, _edges):
        subject()
    return _CASES


def _add(name: str, function: Callable[..., Any], *arguments: Any, tolerance: float = 1e-3) -> None:
    assert name not in _CASES, name
    _CASES[name] = Case(name, function, arguments, tolerance)


def _optimizers() -> None:
    params = {"w": array((6, 4)), "b": array((4,))}
    x, y = array((16, 6), seed=1), array((16, 4), seed=2)

    def loss(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return ((jnp.tanh(x @ p["w"] + p["b"]) - y) ** 2).mean()

    def training(optimizer: Any) -> Callable[..., Any]:
        def run(params: Any, x: jax.Array, y: jax.Array) -> Any:
            def step(_: jax.Array, state: Any) -> Any:
                params, moments = state
                value, grads = jax.value_and_grad(loss)(params, x, y)
                more = {"value": value} if by_value else {}
                updates, moments = optimizer.update(grads, moments, params, **more)
                return optax.apply_updates(params, updates), moments

            params, _ = jax.lax.fori_loop(0, 3, step, (params, optimizer.init(params)))
            return params, loss(params, x, y)

        by_value = optimizer is polyak
        return run

    polyak = optax.polyak_sgd()
    adam = optax.adam(1e-2)
    optimizers = {
        name: getattr(optax, name)(1e-2)
        for name in (
            "adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage "
            "lamb lars lion nadam nadamw novograd optimistic_gradient_descent radam rmsprop rprop "
            "sgd sign_sgd sm3 yogi"
        ).split()
    } | {
        "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.clip(0.05), adam),
        "masked": optax.masked(adam, {"w": True, "b": False}),
        "muon": optax.contrib.muon(1e-2),
        "multi_steps": optax.MultiSteps(adam, 2),
        "multi_transform": optax.multi_transform(
            {"a": adam, "b": optax.sgd(1e-2)}, {"w": "a", "b": "b"}
        ),
        "noisy_sgd": optax.noisy_sgd(1e-2, key=jax.random.key(_KEY)),
        "polyak_sgd": polyak,
        "schedule": optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 1, 3)),
    }
    for name, optimizer in optimizers.items():
        _add(f"optax.{name}", training(optimizer), params, x, y)


def _losses() -> None:
    logits, paddings = array((2, 6, 4)), np.zeros((2, 6), np.float32)
    labels = jnp.array([[1, 2, 1], [2, 2, 0]])  # constants of the program
    label_paddings = jnp.array([[0, 0, 0], [0, 0, 1.0]])

    def ctc(x: jax.Array) -> jax.Array:
        return optax.ctc_loss(x, jnp.zeros((2, 6)), labels, label_paddings)

    _add("optax.ctc_loss", ctc, logits)
    _add("optax.ctc_loss/grad", jax.grad(lambda x: ctc(x).sum()), logits)
    _add("optax.ctc_loss/arguments", optax.ctc_loss, logits, paddings, labels, label_paddings)
    x, y = array((5, 4)), array((5, 4), seed=1)
    for name in "cosine_distance huber_loss l2_loss log_cosh squared_error".split():
        _add(f"optax.{name}", getattr(optax, name), x, y)


def _model(name: str, module: nn.Module, *arguments: Any, tolerance: float = 1e-3) -> None:
    """Add a module's results and the gradient of a loss, from initial parameters of the key."""

    def apply(arguments: Any) -> Any:
        return module.apply(module.init(jax.random.key(_KEY), *arguments), *arguments)

    def gradient(arguments: Any) -> Any:
        variables = module.init(jax.random.key(_KEY), *arguments)

        def loss(params: Any) -> jax.Array:
            found = module.apply({**variables, "params": params}, *arguments)
            return sum((leaf**2).mean() for leaf in jax.tree.leaves(found))

        return jax.grad(loss)(variables["params"])

    _add(f"flax.{name}", apply, arguments, tolerance=tolerance)
    _add(f"flax.{name}/grad", gradient, arguments, tolerance=tolerance)


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + nn.Dense(x.shape[-1])(nn.gelu(nn.LayerNorm()(x))), None


class _Stack(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        blocks = nn.scan(
            nn.remat(_Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        return blocks()(x, None)[0]


def _flax() -> None:
    image, rows = array((2, 8, 8, 3)), array((2, 5, 8))
    _model("Conv", nn.Conv(4, (3, 3), strides=2), image)
    _model("Conv/groups", nn.Conv(6, (3, 3), feature_group_count=3, kernel_dilation=2), image)
    _model("ConvTranspose", nn.ConvTranspose(4, (3, 3), strides=(2, 2)), array((2, 5, 5, 3)))
    _model("ConvLocal", nn.ConvLocal(4, (3,)), array((2, 8, 3)))
    _model("GroupNorm", nn.GroupNorm(num_groups=2), array((2, 5, 5, 4)))
    _model("InstanceNorm", nn.InstanceNorm(), array((2, 5, 5, 4)))
    _model("RMSNorm", nn.RMSNorm(), rows)
    _model("WeightNorm", nn.WeightNorm(nn.Dense(4)), rows)
    _model("Embed", nn.Embed(10, 4), np.array([[1, 2], [3, 9]], np.int32))
    _model("attention", nn.MultiHeadDotProductAttention(num_heads=2), rows)
    _model("DenseGeneral", nn.Sequential([nn.Dense(4), nn.tanh, nn.DenseGeneral((2, 3))]), rows)
    _model("scan-of-remat", _Stack(), rows)
    pool = nn.Sequential([lambda x: nn.avg_pool(x, (2, 2), (2, 2)), nn.Dense(2)])
    _model("avg_pool", pool, image)


def _recurrent() -> None:
    rows = array((2, 6, 3))
    for cell in (nn.LSTMCell, nn.OptimizedLSTMCell, nn.GRUCell, nn.MGUCell, nn.SimpleCell):
        _model(cell.__name__, nn.RNN(cell(5)), rows)
    _model("reverse", nn.RNN(nn.GRUCell(5), reverse=True), rows)
    both = nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(4)))
    _model("Bidirectional", both, rows)
    _model("ConvLSTMCell", nn.RNN(nn.ConvLSTMCell(4, (3, 3))), array((1, 3, 5, 5, 2)))


def _equinox() -> None:
    key = jax.random.key(_KEY)

    def model(name: str, module: Any, *arguments: Any) -> None:
        params, static = eqx.partition(module, eqx.is_array)
        _add(f"eqx.{name}", lambda p, a: eqx.combine(p, static)(*a), params, arguments)

    image, rows = array((3, 7, 7)), array((5, 8))
    model("MLP", eqx.nn.MLP(3, 2, 8, 2, key=key), array((3,)))
    model("Conv2d", eqx.nn.Conv2d(3, 4, 3, padding="SAME", key=key), image)
    model("ConvTranspose2d", eqx.nn.ConvTranspose2d(3, 4, 3, 2, padding=1, key=key), image)
    model("MultiheadAttention", eqx.nn.MultiheadAttention(2, 8, key=key), rows, rows, rows)
    model("LSTMCell", eqx.nn.LSTMCell(3, 4, key=key), array((3,)), (array((4,)), array((4,))))
    model("MaxPool2d", eqx.nn.MaxPool2d(3, 2, padding=1, use_ceil=True), image)
    model("AdaptiveAvgPool2d", eqx.nn.AdaptiveAvgPool2d(3), image)
    model("GroupNorm", eqx.nn.GroupNorm(2, 4), array((4, 5, 5)))
    model("RotaryPositionalEmbedding", eqx.nn.RotaryPositionalEmbedding(8), rows)
    loop = eqx.internal.while_loop
    _add("eqx.while_loop/grad", jax.grad(lambda x: loop(
        lambda c: c < 10, lambda c: c * 2, x, kind="checkpointed", max_steps=16)),
        np.float32(1.5))  # fmt: skip


def _signals() -> None:
    signal, x = jax.scipy.signal, array((64,))
    for name in "convolve correlate fftconvolve".split():
        _add(f"signal.{name}", getattr(signal, name), array((12,)), array((5,), seed=1))
    _add("signal.stft", lambda x: signal.stft(x, nperseg=16)[2], x)
    _add("signal.istft", lambda x: signal.istft(signal.stft(x, nperseg=16)[2], nperseg=16)[1], x)
    _add("signal.welch", lambda x: signal.welch(x, nperseg=16), x)
    _add("signal.detrend", signal.detrend, x)
    transforms = jax.scipy.fft
    _add("fft.dct", lambda x: (transforms.dct(x), transforms.idct(x), transforms.dctn(x)),
         array((4, 6)))  # fmt: skip
    for n in (1, 3, 17, 97, 100, 243):
        _add(f"fft.all/{n}", lambda x: (
            jnp.fft.fft(x), jnp.fft.ifft(x), jnp.fft.rfft(x.real), jnp.fft.irfft(x),
            jnp.fft.irfft(x, n=2 * x.shape[-1] - 1), jnp.fft.hfft(x), jnp.fft.ihfft(x.real)),
            array((2, n), "complex64"), tolerance=2e-3)  # fmt: skip


def _solvers() -> None:
    a, b = positive(4), array((4,), seed=1)
    iterative = jax.scipy.sparse.linalg
    for name in "cg bicgstab gmres".split():
        solve = getattr(iterative, name)
        _add(f"sparse.{name}", lambda a, b, f=solve: f(lambda v: a @ v, b)[0], a, b)
    _add("optimize.minimize", lambda x: jax.scipy.optimize.minimize(
        lambda v: ((v - 1) ** 2).sum(), x, method="BFGS").x, np.zeros(3, np.float32))  # fmt: skip
    _add("ode.odeint", lambda y: odeint(lambda y, t: -y, y, jnp.linspace(0.0, 1.0, 4)), b)
    _add("ode.odeint/grad", jax.grad(lambda y: odeint(
        lambda y, t: -y * t, y, jnp.linspace(0.0, 1.0, 4)).sum()), b)  # fmt: skip
    _add("sparse.BCOO", lambda x: sparse.BCOO.fromdense(x, nse=9) @ x, np.eye(3, dtype=np.float32))
    _add("cluster.vq", jax.scipy.cluster.vq.vq, array((6, 3)), array((4, 3), seed=1))
    _add("stats.gaussian_kde", lambda x: jax.scipy.stats.gaussian_kde(x).evaluate(
        jnp.linspace(-1, 1, 5)), array((20,)))  # fmt: skip
    _add("interpolate.grid", lambda x: jax.scipy.interpolate.RegularGridInterpolator(
        (jnp.arange(4.0), jnp.arange(5.0)), x)(jnp.array([[1.5, 2.5]])), array((4, 5)))  # fmt: skip


def _edges() -> None:
    linalg = jnp.linalg
    many = (linalg.eigvalsh, lambda a: linalg.svd(a, compute_uv=False), linalg.det, linalg.cholesky)
    for name, a in {
        "empty": np.zeros((2, 0, 0), np.float32),
        "one": np.full((2, 1, 1), 4, np.float32),
        "nan": np.full((3, 3), np.nan, np.float32),
    }.items():
        _add(f"linalg/{name}", lambda a: [f(a) for f in many], a)
    _add("mutable-reference", _counted, np.ones(4, np.float32))
    _add("precision", lambda x: jax.lax.reduce_precision(x, 5, 3), array((7,)))
    _add("hessian", jax.hessian(lambda x: (jnp.sin(x) * x).sum() ** 2), array((4,)))
    _add("cholesky_update", lambda a, w: jax.lax.linalg.cholesky_update(linalg.cholesky(a), w),
         positive(6), array((6,)))  # fmt: skip


def _counted(x: jax.Array) -> jax.Array:
    reference = jax.new_ref(x)

    def body(i: jax.Array, _: None) -> None:
        reference[i] = reference[i] + i

    jax.lax.fori_loop(0, 3, body, None)
    return reference[...]
