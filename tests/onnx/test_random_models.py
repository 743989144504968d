"""Random small networks around products and convolutions against ONNX Runtime.

They vary what the passes and schedules decide on: batch dimensions, odd sizes, broadcast
operands, strides, epilogues, and sizes that are known at run time only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import iree_core

Shape = list[int]


@dataclass
class Network:
    """A chain of operators that grows at its end.

    Attributes:
        shape: of the last value.
    """

    rng: np.random.Generator
    shape: Shape
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    last: str = "x"

    def array(self, shape: Shape) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def weight(self, shape: Shape) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(self.array(shape), name))
        return name

    def add(self, operator: str, *operands: str, **attributes: object) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [self.last, *operands], [name], **attributes))
        self.last = name

    def maybe(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def choose(self, *options: int) -> int:
        return int(self.rng.choice(options))

    def finish(self) -> None:
        """Add any of: a factor per image, a residual, an activation."""
        if self.maybe():
            self.add("Mul", self.weight([self.shape[0], *(1 for _ in self.shape[1:])]))
        if self.maybe():
            self.inputs["z"] = self.array(self.shape)
            self.add("Add", "z")
        if self.maybe():
            self.add(str(self.rng.choice(["Relu", "Gelu", "Sigmoid"])))


def product(rng: np.random.Generator) -> Network:
    """A matrix product with any number of batch dimensions."""
    batch = [int(n) for n in rng.integers(1, 5, rng.integers(0, 4))]
    net = Network(rng, [])
    inner, outer = net.choose(3, 16, 48, 100, 300), net.choose(1, 10, 33, 64, 130, 1000)
    shape = [*batch, int(rng.integers(1, 50)), inner]
    net.inputs["x"] = net.array(shape)
    net.add("MatMul", net.weight([inner, outer]))
    net.shape = [*shape[:-1], outer]
    if net.maybe():
        net.add("Add", net.weight([outer]))
    net.finish()
    return net


def convolutions(rng: np.random.Generator) -> Network:
    """A convolution of one pixel, and behind it perhaps one of nine and another of one."""
    net = Network(rng, [])
    images, channels, outer = net.choose(1, 2, 3), net.choose(3, 8, 32), net.choose(1, 16, 24, 144)
    height, width = (int(n) for n in rng.integers(1, 15, 2))
    net.inputs["x"] = net.array([images, channels, height, width])
    stride = net.choose(1, 2)
    net.add("Conv", net.weight([outer, channels, 1, 1]), net.weight([outer]), strides=[stride] * 2)
    net.shape = [images, outer, -(-height // stride), -(-width // stride)]
    net.finish()
    if net.maybe():
        net.add("Conv", net.weight([16, outer, 3, 3]), pads=[1] * 4)
        net.add("Conv", net.weight([9, 16, 1, 1]))
    return net


def model_of(net: Network, free: int | None) -> onnx.ModelProto:
    """Return the model; dimension ``free`` of its inputs is known at run time only."""

    def declared(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
        dims: list[int | str] = list(array.shape)
        if free is not None:
            dims[free] = "N"
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    graph = helper.make_graph(
        net.nodes,
        "random",
        [declared(name, array) for name, array in net.inputs.items()],
        [helper.make_tensor_value_info(net.last, TensorProto.FLOAT, None)],
        net.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [product, convolutions])
def test_random_networks(kind: object, seed: int) -> None:
    assert callable(kind)
    rng = np.random.default_rng(seed)
    for _ in range(8):
        net = kind(rng)
        rank = net.inputs["x"].ndim
        free = int(rng.integers(0, rank - 1)) if kind is product and net.maybe() else None
        model = model_of(net, free)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        (expected,) = session.run(None, net.inputs)
        loaded = iree_core.load(iree_core.compile(model, frontend="onnx"))
        found = np.asarray(loaded.main(*net.inputs.values()))
        scale = max(1.0, float(np.abs(expected).max()))
        what = onnx.printer.to_text(model.graph)[:2000]
        np.testing.assert_allclose(found, expected, atol=1e-5 * scale, err_msg=what)
