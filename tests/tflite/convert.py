"""Converts a small CNN by TensorFlow's converter in every quantisation; a program of its own.

``python -m tests.tflite.convert FOLDER`` writes ``float.tflite``, ``float16.tflite`` and so on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

L = keras.layers
KINDS = ("float", "float16", "dynamic-range", "int8", "int16x8")


def network() -> keras.Model:
    """Return convolutions of all kinds, pooling, a residual and a classifier."""
    x = inputs = L.Input((16, 16, 3), batch_size=1)
    x = L.BatchNormalization()(L.Conv2D(32, 3, strides=2, padding="same")(x))
    x = L.ReLU(6.0)(x)
    y = L.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    y = L.Conv2D(32, 1)(y)
    x = L.AveragePooling2D(2)(L.Add()([x, y]))
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="tanh")(x)
    mean = L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Concatenate()([L.MaxPooling2D(2)(x), mean * x[:, ::2, ::2]])
    return keras.Model(inputs, L.Dense(10, activation="softmax")(L.Flatten()(x)))


def convert(concrete: Any, kind: str) -> bytes:
    """Return the model as a ``.tflite`` file of one kind."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if kind != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in ("int8", "int16x8"):
        rng = np.random.default_rng(1)
        converter.representative_dataset = lambda: (
            [(rng.random((1, 16, 16, 3)) * 2 - 1).astype(np.float32)] for _ in range(8)
        )
        operators = tf.lite.OpsSet
        eight = operators.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        wanted = operators.TFLITE_BUILTINS_INT8 if kind == "int8" else eight
        converter.target_spec.supported_ops = [wanted]
    return converter.convert()


def main() -> None:
    """Write all kinds into the folder given on the command line."""
    keras.utils.set_random_seed(0)
    model = network()
    call = tf.function(lambda x: model(x, training=False))
    traced = call.get_concrete_function(tf.TensorSpec([1, 16, 16, 3]))
    concrete = convert_variables_to_constants_v2(traced)
    for kind in KINDS:
        path = Path(sys.argv[1]) / f"{kind}.tflite"
        path.write_bytes(convert(concrete, kind))


if __name__ == "__main__":
    main()
