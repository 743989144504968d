"""Whole models on a Vulkan device against ONNX Runtime and the ONNX backend corpus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest
from tests.models import zoo
from tests.onnx import corpus, isolation
from tests.vulkan.harness import device

import iree_core
from iree_backend_vulkan.driver import VulkanDriver
from iree_core.errors import DeviceError
from iree_core.hal import Stream
from iree_core.hal.recording import Recorder

# One of each kind of dispatch: elementwise, rows, windows, gather, scatter, sort, scan, table.
QUICK = """
    test_add_bcast test_softmax_axis_1 test_layer_normalization_2d_axis1 test_maxpool_2d_pads
    test_Conv2d_depthwise_padded test_gather_elements_1 test_scatter_elements_with_axis
    test_top_k test_cumsum_1d_reverse_exclusive test_Conv1d test_resize_upsample_scales_linear
    test_cast_FLOAT_to_BFLOAT16 test_qlinearmatmul_2D_uint8_float32 test_nonzero_example
""".split()


@pytest.mark.parametrize("name", QUICK)
def test_operators(name: str) -> None:
    device()
    (case,) = corpus.load([name])
    corpus.run(case, "vulkan:full", "vulkan")


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(4))
def test_most_of_the_corpus_passes_and_nothing_is_wrong(shard: int) -> None:
    """Every tenth test that the CPU passes; the rest must be refused with a clear error."""
    names = (Path(corpus.__file__).parent / "passing.txt").read_text().split()
    known = set(corpus.names())
    wanted = [name for name in names if name in known][shard * 10 :: 40]

    def run(case: corpus.Case) -> None:
        corpus.run(case, "vulkan:full", "vulkan")

    ended = isolation.run_all(run, corpus.load(wanted))
    outcomes = {case.name: outcome for case, outcome in ended}
    counts = Counter(outcome.verdict for outcome in outcomes.values())
    bad = {n: o.message for n, o in outcomes.items() if o.verdict not in ("pass", "unsupported")}
    assert not bad, bad
    assert counts["pass"] >= 0.9 * len(outcomes), counts


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["mobilenetv2", "resnet50", "bert"])
def test_models(name: str, dynamic: bool, tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "model.onnx"
    zoo.export(name, path, dynamic=dynamic)
    inputs = zoo.ZOO[name].example()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(None, inputs)
    loaded = iree_core.load(iree_core.compile(path, target="vulkan"), device())
    results = loaded.main(*inputs.values())
    results = results if isinstance(results, (tuple, list)) else [results]
    for result, want in zip(results, expected, strict=True):
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(np.asarray(result), want, atol=1e-4 * scale)


def test_a_dynamic_perceptron() -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[N,8] x, float[8,32] w, float[32,4] v) => (float[N,4] y) {
      h = MatMul(x, w)
      r = Relu(h)
      o = MatMul(r, v)
      y = Softmax(o)
    }"""
    model = onnx.parser.parse_model(text)
    loaded = iree_core.load(iree_core.compile(model, frontend="onnx", target="vulkan"), device())
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal((8, 32), np.float32), rng.standard_normal((32, 4), np.float32)
    for n in (1, 5, 33):
        x = rng.standard_normal((n, 8), np.float32)
        o = np.maximum(x @ w, 0) @ v
        e = np.exp(o - o.max(1, keepdims=True))
        np.testing.assert_allclose(
            np.asarray(loaded.main(x, w, v)), e / e.sum(1, keepdims=True), atol=1e-5
        )


PERCEPTRON = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,32] x) => (float[N,16] y) {
  h = MatMul(x, w)
  r = Relu(h)
  o = MatMul(r, v)
  t = Softmax(o)
  y = Add(t, b)
}"""


def _perceptron() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = {"w": (32, 64), "v": (64, 16), "b": (16,)}
    weights = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    model = onnx.parser.parse_model(PERCEPTRON)
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    model.graph.initializer.extend(tensors)
    return model, weights


@pytest.mark.parametrize("staging", ["0", "1"], ids=["mapped", "staged"])
@pytest.mark.parametrize("most", [9216, 8192])
def test_a_model_larger_than_an_allocation(
    most: int, staging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights do not fit into one allocation, and with 8192 bytes activations cross its end."""
    on = VulkanDriver().create_device("", {"staging": staging})
    monkeypatch.setattr(on.heap, "most", most)
    model, weights = _perceptron()
    module = iree_core.compile(model, frontend="onnx", target="vulkan")
    x = np.random.default_rng(1).standard_normal((28, 32), np.float32)
    loaded = iree_core.load(module, on)
    assert len(loaded._instance.constants.parts) > 1
    o = np.maximum(x @ weights["w"], 0) @ weights["v"]
    e = np.exp(o - o.max(1, keepdims=True))
    for _ in range(2):
        expected = e / e.sum(1, keepdims=True) + weights["b"]
        np.testing.assert_allclose(np.asarray(loaded.main(x)), expected, atol=1e-5)


def test_weights_too_large_for_the_device_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = _perceptron()
    module = iree_core.compile(model, frontend="onnx", target="vulkan")
    x = np.zeros((1, 32), np.float32)
    on = VulkanDriver().create_device()
    monkeypatch.setattr(on.heap, "most", 2112)
    with pytest.raises(DeviceError, match=r"The tensor 'w.*' of 8192 bytes, operand .* 2112"):
        iree_core.load(module, on).main(x)
    on = VulkanDriver().create_device()
    monkeypatch.setattr(on.physical.limits, "maxStorageBufferRange", 4096)
    with pytest.raises(DeviceError, match=r"'w.*' of 8192 bytes.*maxStorageBufferRange"):
        iree_core.load(module, on).main(x)


STATE = """
ml_program.global private mutable @cache(dense<0.0> : tensor<8x4xf32>) : tensor<8x4xf32>
func.func @main(%x: tensor<?x4xf32>) -> tensor<8x4xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  scf.for %i = %c0 to %n step %c1 {
    %s = ml_program.global_load @cache : tensor<8x4xf32>
    %r = tensor.extract_slice %x[%i, 0] [1, 4] [1, 1] : tensor<?x4xf32> to tensor<1x4xf32>
    %e = tensor.empty() : tensor<8x4xf32>
    %c = tensor.collapse_shape %r [[0, 1]] : tensor<1x4xf32> into tensor<4xf32>
    %b = linalg.broadcast ins(%c : tensor<4xf32>) outs(%e : tensor<8x4xf32>) dimensions = [0]
    %d = linalg.add ins(%s, %b : tensor<8x4xf32>, tensor<8x4xf32>)
        outs(%e : tensor<8x4xf32>) -> tensor<8x4xf32>
    ml_program.global_store @cache = %d : tensor<8x4xf32>
  }
  %y = ml_program.global_load @cache : tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}
func.func @put(%row: tensor<1x4xf32>, %k: tensor<i64>) -> tensor<8x4xf32> {
  %kv = tensor.extract %k[] : tensor<i64>
  %i = arith.index_cast %kv : i64 to index
  %s = ml_program.global_load @cache : tensor<8x4xf32>
  %r = tensor.insert_slice %row into %s[%i, 0] [1, 4] [1, 1] : tensor<1x4xf32> into tensor<8x4xf32>
  ml_program.global_store @cache = %r : tensor<8x4xf32>
  return %r : tensor<8x4xf32>
}
"""


def test_state_and_loops_stay_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop over state, and steps at positions that the caller gives, never wait."""
    waits: list[Stream] = []
    monkeypatch.setattr(Stream, "synchronize", lambda self: waits.append(self))
    path = tmp_path / "state.mlir"
    path.write_text(STATE)
    loaded = iree_core.load(iree_core.compile(path, target="vulkan"), device())
    waits.clear()
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    first, second = loaded.main(x), loaded.main(x)
    rows = [loaded.put(np.full((1, 4), k, np.float32), np.array(k, np.int64)) for k in range(4)]
    assert not waits
    expected = np.broadcast_to(x.sum(0), (8, 4))
    np.testing.assert_array_equal(np.asarray(first), expected)
    np.testing.assert_array_equal(np.asarray(second), 2 * expected)
    np.testing.assert_array_equal(np.asarray(rows[-1])[:4], np.arange(4)[:, None] * np.ones(4))
    np.testing.assert_array_equal(np.asarray(rows[-1])[4:], 2 * expected[4:])


def test_a_call_that_repeats_another_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.mlir"
    path.write_text(STATE)
    on = VulkanDriver().create_device()
    loaded = iree_core.load(iree_core.compile(path, target="vulkan"), on)
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    for _ in range(4):
        np.asarray(loaded.main(x))
    recorded: list[object] = []
    monkeypatch.setattr(Recorder, "record", lambda self, commands: recorded.append(commands))
    result = np.asarray(loaded.main(x))
    assert not recorded
    np.testing.assert_array_equal(result, 5 * np.broadcast_to(x.sum(0), (8, 4)))


@pytest.mark.parametrize("channels,device_class", [(24, "gpu"), (130, "gpu"), (72, "cpu")])
def test_packed_weights(channels: int, device_class: str) -> None:
    """A convolution, a depthwise one and a product, whose panels are narrow, even and padded."""
    import onnxruntime

    rng = np.random.default_rng(0)
    weights = {
        "c": rng.standard_normal((channels, 5, 3, 3), np.float32),
        "d": rng.standard_normal((channels, 1, 3, 3), np.float32),
        "m": rng.standard_normal((channels, channels + 3), np.float32),
    }
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[1,5,9,9] x, float[{channels},5,3,3] c, float[{channels},1,3,3] d,
       float[{channels},{channels + 3}] m) => (float[1,5,5,{channels + 3}] y) {{
      a = Conv <pads = [1, 1, 1, 1]> (x, c)
      b = Conv <pads = [1, 1, 1, 1], strides = [2, 2], group = {channels}> (a, d)
      t = Transpose <perm = [0, 2, 3, 1]> (b)
      y = MatMul(t, m)
    }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in weights.items())
    del model.graph.input[1:]
    x = rng.standard_normal((1, 5, 9, 9), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"x": x})
    target = f"vulkan:full,{device_class}"
    loaded = iree_core.load(iree_core.compile(model, frontend="onnx", target=target), device())
    np.testing.assert_allclose(
        np.asarray(loaded.main(x)), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )
