"""BERT and ResNet in JAX, computed from the weights of the torch models: XLA's side of ``cuda.py``.

Layouts and operations are those of the torch models, so that XLA is free to choose its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

Weights = Mapping[str, Any]
_HEAD = 64


def _dense(w: Weights, name: str, x: Any) -> Any:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _layer_norm(w: Weights, name: str, x: Any) -> Any:
    wide = x.astype(jnp.float32)
    mean = wide.mean(-1, keepdims=True)
    scaled = (wide - mean) * lax.rsqrt(((wide - mean) ** 2).mean(-1, keepdims=True) + 1e-12)
    return scaled.astype(x.dtype) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _attention(w: Weights, name: str, x: Any, mask: Any) -> Any:
    batch, length, size = x.shape

    def heads(part: str) -> Any:
        y = _dense(w, f"{name}.self.{part}", x)
        return y.reshape(batch, length, size // _HEAD, _HEAD).transpose(0, 2, 1, 3)

    query, key, value = heads("query"), heads("key"), heads("value")
    scores = (query @ key.swapaxes(-1, -2)).astype(jnp.float32) / np.sqrt(_HEAD) + mask
    mixed = jax.nn.softmax(scores, -1).astype(x.dtype) @ value
    joined = mixed.transpose(0, 2, 1, 3).reshape(batch, length, size)
    return _layer_norm(w, f"{name}.output.LayerNorm", _dense(w, f"{name}.output.dense", joined) + x)


def bert(w: Weights, ids: Any, mask: Any) -> Any:
    """Return the last hidden state of ``transformers.BertModel``: (batch, length, size)."""
    name = "embeddings"
    x = w[f"{name}.word_embeddings.weight"][ids]
    x = x + w[f"{name}.position_embeddings.weight"][: ids.shape[1]]
    x = _layer_norm(w, f"{name}.LayerNorm", x + w[f"{name}.token_type_embeddings.weight"][0])
    hidden = jnp.where(mask[:, None, None, :] != 0, 0.0, -jnp.inf)
    for layer in range(_count(w, "encoder.layer.")):
        name = f"encoder.layer.{layer}"
        x = _attention(w, f"{name}.attention", x, hidden)
        y = jax.nn.gelu(_dense(w, f"{name}.intermediate.dense", x), approximate=False)
        x = _layer_norm(w, f"{name}.output.LayerNorm", _dense(w, f"{name}.output.dense", y) + x)
    return x


def _count(w: Weights, prefix: str) -> int:
    found = {key[len(prefix) :].partition(".")[0] for key in w if key.startswith(prefix)}
    return len(found)


def _convolve(w: Weights, name: str, x: Any, stride: int) -> Any:
    """Convolve, and normalise by the statistics of training."""
    kernel = w[f"{name}.convolution.weight"]
    pad = kernel.shape[-1] // 2
    y = lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    weight, bias, mean, variance = (
        w[f"{name}.normalization.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (y - mean) * (lax.rsqrt(variance + 1e-5) * weight) + bias


def _block(w: Weights, name: str, x: Any, stride: int) -> Any:
    y = jax.nn.relu(_convolve(w, f"{name}.layer.0", x, 1))
    y = jax.nn.relu(_convolve(w, f"{name}.layer.1", y, stride))
    y = _convolve(w, f"{name}.layer.2", y, 1)
    if f"{name}.shortcut.convolution.weight" in w:
        x = _convolve(w, f"{name}.shortcut", x, stride)
    return jax.nn.relu(y + x)


def resnet(w: Weights, x: Any) -> Any:
    """Return the logits of ``transformers.ResNetForImageClassification``: (batch, labels)."""
    x = jax.nn.relu(_convolve(w, "resnet.embedder.embedder", x, 2))
    window = (1, 1, 3, 3), (1, 1, 2, 2), ((0, 0), (0, 0), (1, 1), (1, 1))
    x = lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, *window)
    for stage in range(_count(w, "resnet.encoder.stages.")):
        name = f"resnet.encoder.stages.{stage}"
        for layer in range(_count(w, f"{name}.layers.")):
            x = _block(w, f"{name}.layers.{layer}", x, 2 if stage and not layer else 1)
    return _dense(w, "classifier.1", x.mean((2, 3)))


MODELS: dict[str, Callable[..., Any]] = {"bert": bert, "resnet50": resnet}


def compile_model(
    name: str, weights: Mapping[str, np.ndarray], inputs: Sequence[np.ndarray], platform: str
) -> Callable[[], Any]:
    """Return a call of a model on the first device of a platform (``gpu``, ``cpu``).

    Raises:
        RuntimeError: JAX has no such device.
    """
    device = jax.devices(platform)[0]
    placed = {key: jax.device_put(array, device) for key, array in weights.items()}
    arguments = [jax.device_put(array, device) for array in inputs]
    compiled = jax.jit(MODELS[name]).lower(placed, *arguments).compile()
    return lambda: compiled(placed, *arguments)
