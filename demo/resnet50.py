"""Compiles and runs the ResNet-50 that the onnx package ships; `make demo` calls this.

The package's model has constants for weights, so that it is small: it is checked against the
reference output beside it, in which every class is equally likely. The same network with random
weights is then checked against ONNX Runtime.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

import iree_core as iree
from iree_core.cache import cached_module
from iree_core.cli.compile import compile_shown
from iree_core.cli.run import latency, measure
from iree_core.compiler_service import format_size
from iree_core.errors import IreeError

TOLERANCE = 1e-4
FOLDER = Path(__file__).resolve().parents[1] / ".cache" / "demo"


def main() -> int:
    """Run both models; return 1 if a result is wrong."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    shipped = light / "light_resnet50.onnx"
    expected = numpy_helper.to_array(onnx.load_tensor(str(light / "light_resnet50_output_0.pb")))
    image = _ramp((1, 3, 224, 224))
    print("ResNet-50 as the onnx package ships it, against its reference output", flush=True)
    good = show(shipped, image, expected)

    print("\nThe same network with random weights, against ONNX Runtime", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    filled, reference = FOLDER / "resnet50.onnx", FOLDER / "resnet50-output.npy"
    if not reference.exists():
        model = with_random_weights(onnx.load(str(shipped)))
        onnx.save(model, str(filled))
        session = onnxruntime.InferenceSession(filled, providers=["CPUExecutionProvider"])
        np.save(reference, session.run(None, {model.graph.input[0].name: image})[0])
    return 0 if show(filled, image, np.load(reference)) and good else 1


def show(model: Path, image: NDArray, expected: NDArray) -> bool:
    """Compile and run a model, print what there is to know, and tell whether it was right."""
    path, truth = cached_module(model, {}, compile_shown)
    started = time.perf_counter()
    function: Any = next(iter(iree.load(path).functions.values()))
    loaded = time.perf_counter() - started
    result = np.asarray(function(image))
    error = float(np.max(np.abs(result - expected)) / np.max(np.abs(expected)))
    good = error <= TOLERANCE
    print(f"  compiled  {truth}")
    print(f"  module    {format_size(path.stat().st_size)}, loaded in {loaded * 1e3:.1f} ms")
    print(f"  latency   {latency(measure(lambda: function(image), 1.0))}")
    print(f"  result    {'right' if good else 'WRONG'}: relative error {error:.1e}")
    print(f"  classes   {top_classes(result.reshape(-1))}")
    return good


def top_classes(probabilities: NDArray) -> str:
    """Return the five most likely classes, or that all are equal."""
    if np.ptp(probabilities) < 1e-6:
        return f"all {probabilities.size} equal, {probabilities[0]:.2%}"
    best = np.argsort(-probabilities)[:5]
    return ", ".join(f"{number} ({probabilities[number]:.2%})" for number in best)


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with random weights in place of constants computed by nodes.

    Convolutions and the classifier are drawn as in He et al., 2015 (arXiv:1502.01852), so that
    activations keep their magnitude; the scales of normalisations are 0.5 and the rest neutral.
    """
    graph = model.graph
    generator = np.random.default_rng(50)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    roles = {
        name: position
        for node in graph.node
        if node.op_type == "BatchNormalization"
        for position, name in enumerate(node.input)
    }
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        name, shape = node.output[0], tuple(shapes[node.input[0]])
        if len(shape) > 1:
            fan_in = np.prod(shape[1:])
            array = generator.standard_normal(shape) * np.sqrt(2 / fan_in)
        else:  # inputs of BatchNormalization: scale, bias, mean, variance
            array = np.full(shape, {1: 0.5, 4: 1.0}.get(roles.get(name, 0), 0.0))
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    inputs = [i for i in graph.input if i.name in used and i.name not in shapes]
    for field, values in (
        (graph.node, kept),
        (graph.initializer, initializers),
        (graph.input, inputs),
    ):
        del field[:]
        field.extend(values)
    return model


def _ramp(shape: tuple[int, ...]) -> NDArray:
    """Return numbers from 0 to 1, the input that the shipped output belongs to."""
    size = int(np.prod(shape))
    return (np.arange(size).reshape(shape) / size).astype(np.float32)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except IreeError as error:
        sys.exit(f"demo: {error}")
