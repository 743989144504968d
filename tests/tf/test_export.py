"""``iree_frontend_tf.export`` in the user's process, which has TensorFlow and no MLIR of ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"], os.environ["KERAS_BACKEND"] = "3", "tensorflow"
import sys
import keras, numpy as np, tensorflow as tf
import iree_frontend_tf
from iree_core.errors import InvocationError, UnsupportedOperatorError

model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(4, activation="gelu")])
compiled = iree_frontend_tf.export(model)
for n in (1, 3):
    x = np.random.rand(n, 8).astype(np.float32)
    y = compiled(x)
    assert isinstance(y, tf.Tensor)
    np.testing.assert_allclose(y, model(x), atol=1e-6)
try:
    compiled(x, x)
except InvocationError as error:
    print("structure:", error)

@tf.function
def both(x, scale):
    return {"sum": x["a"] + x["b"], "scaled": (x["a"] * scale, x["b"])}

spec = {name: tf.TensorSpec([None, 2]) for name in "ab"}
compiled = iree_frontend_tf.export(both, spec, scale=tf.TensorSpec([]))
given = {"a": np.ones((3, 2), np.float32), "b": np.full((3, 2), 2, np.float32)}
found, wanted = compiled(given, scale=3.0), both(given, scale=3.0)
tf.nest.map_structure(np.testing.assert_array_equal, found, wanted)
try:
    compiled({**given, "b": np.ones((2, 2), np.float32)}, scale=1.0)
except Exception as error:
    print("sizes:", type(error).__name__)

def calls_python(x):
    return tf.numpy_function(np.sin, [x], tf.float32, name="home/made")
try:
    iree_frontend_tf.export(calls_python, tf.TensorSpec([4]))
except UnsupportedOperatorError as error:
    print("unsupported:", error)
assert not [name for name in sys.modules if name.startswith(("torch_mlir", "llvmlite"))]
"""


@pytest.mark.slow
def test_objects_of_the_users_program() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    structure, sizes, unsupported = done.stdout.splitlines()
    assert structure == "structure: 'main' takes 1 arguments here, not 2."
    assert sizes == "sizes: InvocationError"
    assert "PyFunc (home/made)" in unsupported
