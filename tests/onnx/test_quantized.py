"""Quantised ONNX models: integer results are exact, dequantised ones within one step."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tests.onnx import corpus
from tests.onnx.isolation import isolated

Arrays = dict[str, NDArray]


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Import the compiler once, before the tests fork."""
    corpus.warm_up()


def model(
    nodes: Sequence[onnx.NodeProto], inputs: Arrays, constants: Arrays, output: np.dtype
) -> onnx.ModelProto:
    """Return a model whose result is ``y``."""
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(output))
    initializers = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    graph = helper.make_graph(
        nodes, "g", infos, [helper.make_tensor_value_info("y", kind, None)], initializers
    )
    opsets = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(built: onnx.ModelProto, inputs: Arrays) -> NDArray:
    """Compile and run a model in a process of its own; return its result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.npy"

        def work() -> None:
            loaded, _ = corpus.build(built, Path(folder))
            np.save(path, loaded.run(list(inputs.values()))[0])

        assert isolated(work) is None
        return np.asarray(np.load(path))


def integers(rng: np.random.Generator, dtype: type, shape: tuple[int, ...]) -> NDArray:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("a_type", [np.uint8, np.int8])
@pytest.mark.parametrize("b_type", [np.uint8, np.int8])
@pytest.mark.parametrize("zeros", [(0, 0), (3, 0), (7, 5), (9, 128)])
def test_matmul_integer(a_type: type, b_type: type, zeros: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    inputs = {"a": integers(rng, a_type, (2, 13, 70))}
    a_zero, b_zero = zeros[0], zeros[1] - 128 if b_type == np.int8 and zeros[1] == 128 else zeros[1]
    constants = {
        "b": integers(rng, b_type, (70, 50)),
        "az": np.array(a_zero, a_type),
        "bz": np.array(b_zero, b_type),
    }
    node = helper.make_node("MatMulInteger", ["a", "b", "az", "bz"], ["y"])
    found = run(model([node], inputs, constants, np.int32), inputs)
    wide = inputs["a"].astype(np.int64) - a_zero, constants["b"].astype(np.int64) - b_zero
    np.testing.assert_array_equal(found, wide[0] @ wide[1])


@pytest.mark.parametrize("zeros", [(0, 0), (200, 0), (11, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_conv_integer(zeros: tuple[int, int], stride: int) -> None:
    rng = np.random.default_rng(1)
    inputs = {"x": integers(rng, np.uint8, (1, 8, 11, 13))}
    constants = {
        "w": integers(rng, np.uint8, (40, 8, 3, 3)),
        "xz": np.array(zeros[0], np.uint8),
        "wz": np.array(zeros[1], np.uint8),
    }
    node = helper.make_node(
        "ConvInteger", ["x", "w", "xz", "wz"], ["y"], pads=[1, 1, 1, 1], strides=[stride] * 2
    )
    found = run(model([node], inputs, constants, np.int32), inputs)
    centred = [inputs["x"].astype(np.float64), constants["w"].astype(np.float64)]
    floats = {"x": centred[0] - zeros[0]}
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], strides=[stride] * 2)
    exact = model([conv], floats, {"w": centred[1] - zeros[1]}, np.float64)
    (expected,) = ReferenceEvaluator(exact).run(None, floats)
    np.testing.assert_array_equal(found, expected)


def quantize(name: str, scale: str, zero: str) -> list[onnx.NodeProto]:
    """Return nodes that quantise ``name`` and dequantise it again, as ``name + 'd'``."""
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [name + "q"]),
        helper.make_node("DequantizeLinear", [name + "q", scale, zero], [name + "d"]),
    ]


@pytest.mark.parametrize("x_zero", [0, 7, 128])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_convolution_between_quantisations(x_zero: int, per_channel: bool, size: int) -> None:
    """The pattern of quantised networks: the sum is exact, one rounding at the end."""
    rng = np.random.default_rng(2)
    inputs = {"x": rng.standard_normal((1, 16, 14, 14)).astype(np.float32)}
    shape = (48,) if per_channel else ()
    constants = {
        "xs": np.array(0.02, np.float32),
        "xz": np.array(x_zero, np.uint8),
        "w": integers(rng, np.int8, (48, 16, size, size)),
        "ws": rng.uniform(0.001, 0.01, shape).astype(np.float32),
        "wz": np.zeros(shape, np.int8),
        "b": rng.standard_normal(48).astype(np.float32),
        "rs": np.array(0.05, np.float32),
        "rz": np.array(120, np.uint8),
    }
    nodes = [
        *quantize("x", "xs", "xz"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "b"], ["r"], pads=[size // 2] * 4),
        helper.make_node("QuantizeLinear", ["r", "rs", "rz"], ["y"]),
    ]
    built = model(nodes, inputs, constants, np.uint8)
    found = run(built, inputs)
    (expected,) = ReferenceEvaluator(built).run(None, inputs)
    steps = np.abs(found.astype(int) - expected.astype(int))
    # Where the exact value lies half-way between two steps, float32 rounding decides.
    assert steps.max() <= 1
    assert (steps > 0).mean() < 0.002


def test_qlinear_matmul() -> None:
    rng = np.random.default_rng(3)
    inputs = {"a": integers(rng, np.uint8, (9, 64))}
    constants = {
        "as": np.array(0.01, np.float32),
        "az": np.array(100, np.uint8),
        "b": integers(rng, np.int8, (64, 40)),
        "bs": np.array(0.02, np.float32),
        "bz": np.array(0, np.int8),
        "ys": np.array(0.25, np.float32),
        "yz": np.array(128, np.uint8),
    }
    names = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    found = run(
        model([helper.make_node("QLinearMatMul", names, ["y"])], inputs, constants, np.uint8),
        inputs,
    )
    total = (inputs["a"].astype(np.int64) - 100) @ constants["b"].astype(np.int64)
    exact = total * (np.float64(np.float32(0.01)) * np.float32(0.02) / 0.25)
    expected = np.clip(np.rint(exact) + 128, 0, 255)
    distance = np.abs(exact - np.floor(exact) - 0.5)
    assert (found == expected)[distance > 1e-4].all()


def test_dynamic_quantisation() -> None:
    """The zero point is computed at run time."""
    rng = np.random.default_rng(4)
    inputs = {"x": (rng.standard_normal((1, 20, 64)) + 0.5).astype(np.float32)}
    constants = {
        "w": integers(rng, np.int8, (64, 96)),
        "wz": np.array(0, np.int8),
        "ws": np.array(0.01, np.float32),
    }
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["k"]),
        helper.make_node("Mul", ["f", "k"], ["y"]),
    ]
    built = model(nodes, inputs, constants, np.float32)
    found = run(built, inputs)
    (expected,) = ReferenceEvaluator(built).run(None, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
