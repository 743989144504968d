"""Makes TensorFlow models, inputs and TensorFlow's results; run as a program of its own.

``python -m tests.tf.models FOLDER NAME...``: TensorFlow and our compiler do not share a process.
Every model is a folder or file ``NAME`` beside ``NAME.npz`` with the calls to make in order:
``0.main.in.0``, ``0.main.out.0`` and so on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

L = keras.layers
RNG = np.random.default_rng(0)
Call = tuple[str, list[Any]]


def floats(*shape: int) -> np.ndarray:
    """Return numbers between -1 and 1."""
    return (RNG.random(shape) * 2 - 1).astype(np.float32)


class Stateful(tf.Module):
    """Variables that survive calls, control flow, several functions, a large constant."""

    def __init__(self) -> None:
        self.count = tf.Variable(0, name="count")
        self.scale = tf.Variable(floats(4, 300), name="scale")
        self.table = floats(300, 8)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def __call__(self, x):
        self.count.assign_add(1)
        y = tf.nn.tanh(x @ self.scale) @ self.table
        if tf.reduce_sum(x) > 0:
            y = y * tf.cast(self.count, tf.float32)
        else:
            self.count.assign(100)
            y = tf.nn.softmax(y)
        return {"y": y, "count": self.count.read_value()}

    @tf.function(input_signature=[])
    def reset(self):
        self.count.assign(0)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def power(self, n):
        result = tf.constant(1)
        for _ in tf.range(n):
            result *= 2
        return result


class Operations(tf.Module):
    """Operations with dynamic sizes that TensorFlow's own lowering leaves."""

    @tf.function(input_signature=[tf.TensorSpec([None, 8])])
    def slices(self, x):
        return x[1:, ::2], x[:, -1], x[..., None, 1:3], x[:-1, 0]

    @tf.function(input_signature=[tf.TensorSpec([None, 8])])
    def parts(self, x):
        return tf.stack(tf.unstack(x, axis=1), 0), tf.split(x, [3, 5], axis=1)

    @tf.function(input_signature=[tf.TensorSpec([None, 8]), tf.TensorSpec([None], tf.int32)])
    def selections(self, x, i):
        best = tf.math.top_k(x, 3)[0], tf.argmax(x, 1)
        return tf.gather(x, i), tf.one_hot(i, 5), tf.cumsum(x, 1), *best

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 3])])
    def images(self, x):
        resized = tf.image.resize(x, [9, 5])
        pooled = tf.nn.avg_pool2d(x, 3, 2, "SAME")
        return resized, pooled, tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 8]), tf.TensorSpec([None, 8, 4])])
    def products(self, x, y):
        tf.print("shown by TensorFlow only:", tf.shape(x))
        tf.debugging.assert_less(x, 10.0)
        return tf.matmul(x, y), tf.einsum("bij,bjk->bki", x, y)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def loops(self, x):
        mapped = tf.map_fn(lambda row: row * 2 + 1, x)
        switched = tf.switch_case(tf.shape(x)[0] % 2, [lambda: x + 1, lambda: -x])
        return mapped, switched


class Unsupported(tf.Module):
    """Operations that have no lowering, in a layer of Keras too."""

    def __init__(self) -> None:
        self.roots = keras.layers.Lambda(tf.linalg.sqrtm, name="my_roots")

    @tf.function(input_signature=[tf.TensorSpec([None, 8]), tf.TensorSpec([4, 4])])
    def __call__(self, x, y):
        with tf.name_scope("shift"):
            x = tf.math.igamma(x, x, name="twice")
        return x, self.roots(y)


class Training(tf.Module):
    """A whole training step: batch normalisation, Adam, a loss of labels."""

    def __init__(self) -> None:
        self.model = keras.Sequential(
            [L.Input((8,)), L.Dense(16, activation="relu"), L.BatchNormalization(), L.Dense(3)]
        )
        self.optimizer = keras.optimizers.Adam(1e-2)
        self.optimizer.build(self.model.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec([16, 8]), tf.TensorSpec([16], tf.int32)])
    def step(self, x, y):
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        variables = self.model.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss


def recurrent() -> keras.Model:
    """Two recurrent layers over embedded tokens, padding masked, read in both directions."""
    inputs = L.Input((None,), dtype="int32", name="tokens")
    x = L.Embedding(50, 8, mask_zero=True)(inputs)
    x = L.Bidirectional(L.LSTM(8, return_sequences=True))(x)
    return keras.Model(inputs, L.Dense(4)(L.GRU(8)(x)))


def vision_transformer() -> keras.Model:
    """Two blocks of a vision transformer."""
    x = inputs = L.Input((32, 32, 3), name="image")
    x = L.Reshape((16, 64))(L.Conv2D(64, 8, 8)(x))
    x = x + L.Embedding(16, 64)(keras.ops.arange(16))
    for _ in range(2):
        y = L.LayerNormalization()(x)
        x = x + L.MultiHeadAttention(4, 16)(y, y)
        x = x + L.Dense(64)(L.Dense(128, activation="gelu")(L.LayerNormalization()(x)))
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling1D()(x)))


# Architectures of keras.applications, and the smallest images that each takes here.
APPLICATIONS = {
    "ConvNeXtTiny": 64, "DenseNet121": 64, "EfficientNetB0": 64, "EfficientNetV2B0": 64,
    "InceptionResNetV2": 80, "InceptionV3": 80, "MobileNet": 64, "MobileNetV2": 64,
    "MobileNetV3Large": 64, "MobileNetV3Small": 64, "NASNetMobile": 64, "ResNet50": 64,
    "ResNet50V2": 64, "VGG16": 64, "Xception": 80,
}  # fmt: skip


def _application(name: str) -> tuple[keras.Model, list[Call]]:
    make, size = getattr(keras.applications, name), APPLICATIONS[name]
    model = make(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation="softmax"
    )
    return model, [("main", [floats(n, size, size, 3)]) for n in (1, 2)]


def _training_calls() -> list[Call]:
    x, y = floats(16, 8), RNG.integers(0, 3, 16).astype(np.int32)
    # TensorFlow's name for the only function of a module.
    return [("serving_default", [x, y])] * 20


MODELS: dict[str, Callable[[], tuple[Any, list[Call]]]] = {
    "stateful": lambda: (
        Stateful(),
        [("main", [floats(n, 4) + s]) for n, s in ((3, 1), (2, 1), (3, -1), (5, 1))]
        + [("reset", []), ("main", [floats(1, 4) + 1]), ("power", [np.int32(5)])],
    ),
    "operations": lambda: (
        Operations(),
        [
            call
            for n in (3, 4)
            for call in (
                ("slices", [floats(n, 8)]),
                ("parts", [floats(n, 8)]),
                ("selections", [floats(n, 8), np.array([2, 0], np.int32)]),
                ("images", [floats(n, 6, 6, 3)]),
                ("products", [floats(n, 4, 8), floats(n, 8, 4)]),
                ("loops", [floats(n, 4)]),
            )
        ],
    ),
    "unsupported": lambda: (Unsupported(), []),
    "training": lambda: (Training(), _training_calls()),
    "recurrent.keras": lambda: (
        recurrent(),
        [("main", [RNG.integers(0, 50, s).astype(np.int32)]) for s in ((3, 7), (1, 4))],
    ),
    "vit.keras": lambda: (
        vision_transformer(),
        [("main", [floats(n, 32, 32, 3)]) for n in (1, 3)],
    ),
    **{f"{name}.keras": lambda name=name: _application(name) for name in APPLICATIONS},
}


def _run(model: Any, name: str, values: list[Any]) -> list[np.ndarray]:
    tensors = [tf.constant(value) for value in values]
    if isinstance(model, keras.Model):
        found = model(*tensors, training=False)
    else:
        names = {"main": "__call__", "serving_default": "step"}
        found = getattr(model, names.get(name, name))(*tensors)
    return [value.numpy() for value in tf.nest.flatten(found) if value is not None]


def make(folder: Path, name: str) -> None:
    """Write one model and its calls."""
    keras.utils.set_random_seed(0)
    model, calls = MODELS[name]()
    if isinstance(model, keras.Model):
        _spread(model)
        model.save(folder / name)
    else:
        tf.saved_model.save(model, str(folder / name))
    stored = {}
    for number, (function, values) in enumerate(calls):
        for place, value in enumerate(values):
            stored[f"{number}.{function}.in.{place}"] = value
        results = _run(model, function, values)
        for place, value in enumerate(results):
            stored[f"{number}.{function}.out.{place}"] = value
        if not values and not results:
            stored[f"{number}.{function}.call.0"] = np.zeros(0)
    np.savez(folder / f"{name}.npz", **stored)


def _spread(model: keras.Model) -> None:
    """Give every variable values that matter: biases and running means of a new model do not."""
    for weight in model.weights:
        if weight.dtype == "float32" and len(weight.shape) == 1:
            low = 0.5 if "variance" in weight.path or "gamma" in weight.path else -0.1
            weight.assign(RNG.random(weight.shape).astype(np.float32) * 0.2 + low)


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        make(Path(sys.argv[1]), wanted)
