"""Whole modules for Metal, through the driver on the stand-in, against ONNX and ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from tests.metal.harness import device
from tests.models import zoo
from tests.onnx import corpus, isolation

import iree_core

# One of each kind of dispatch: elementwise, rows, windows, gather, scatter, sort, scan, table.
QUICK = """
    test_add_bcast test_softmax_axis_1 test_layer_normalization_2d_axis1 test_maxpool_2d_pads
    test_Conv2d_depthwise_padded test_gather_elements_1 test_scatter_elements_with_axis
    test_top_k test_cumsum_2d_int32 test_Conv1d test_resize_upsample_scales_linear
    test_cast_FLOAT_to_BFLOAT16 test_qlinearmatmul_2D_uint8_float32 test_nonzero_example
""".split()


@pytest.mark.parametrize("name", QUICK)
def test_operators(name: str) -> None:
    (case,) = corpus.load([name])
    corpus.run(case, "metal", device())


@pytest.mark.corpus
def test_most_of_the_corpus_passes_and_nothing_is_wrong() -> None:
    """Every tenth test that the CPU passes; the rest must be refused with a clear error."""
    names = (Path(corpus.__file__).parent / "passing.txt").read_text().split()
    known = set(corpus.names())
    wanted = [name for name in names if name in known][::10]

    def run(case: corpus.Case) -> None:
        corpus.run(case, "metal", device())

    outcomes = {case.name: outcome for case, outcome in isolation.run_all(run, corpus.load(wanted))}
    counts = Counter(outcome.verdict for outcome in outcomes.values())
    bad = {n: o.message for n, o in outcomes.items() if o.verdict not in ("pass", "unsupported")}
    assert not bad, bad
    assert counts["pass"] >= 0.9 * len(outcomes), counts


PERCEPTRON = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,8] x, float[8,32] w, float[32,4] v) => (float[N,4] y) {
  h = MatMul(x, w)
  r = Relu(h)
  o = MatMul(r, v)
  y = Softmax(o)
}"""

CONVOLUTIONS = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3,20,20] x, float[16,3,3,3] a, float[16] b, float[16,1,3,3] d, float[24,16,1,1] e,
   float[24] f, float[24,10] w, float[10] c) => (float[N,10] y) {
  p = Conv <pads = [1,1,1,1], strides = [2,2]> (x, a, b)
  q = Relu(p)
  r = Conv <pads = [1,1,1,1], group = 16> (q, d)
  s = HardSwish(r)
  t = Conv(s, e, f)
  m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (t)
  n = GlobalAveragePool(m)
  o = Flatten(n)
  l = Gemm(o, w, c)
  y = LogSoftmax(l)
}"""

TRANSFORMER = """<ir_version: 10, opset_import: ["" : 21]>
g (int64[N,S] ids, float[50,32] table, float[32] scale, float[32] shift, float[32,96] qkv,
   float[32,32] proj, float[32,64] up, float[64,32] down)
  => (float[N,S,32] y) {
  shape = Constant <value_ints = [0, 0, 3, 4, 8]> ()
  back = Constant <value_ints = [0, 0, 32]> ()
  root = Constant <value_float = 0.35355338> ()
  x = Gather(table, ids)
  n = LayerNormalization(x, scale, shift)
  all = MatMul(n, qkv)
  parts = Reshape(all, shape)
  heads = Transpose <perm = [2, 0, 3, 1, 4]> (parts)
  q1, k1, v1 = Split <axis = 0, num_outputs = 3> (heads)
  zero = Constant <value_ints = [0]> ()
  q = Squeeze(q1, zero)
  k = Squeeze(k1, zero)
  v = Squeeze(v1, zero)
  kt = Transpose <perm = [0, 1, 3, 2]> (k)
  scores = MatMul(q, kt)
  scaled = Mul(scores, root)
  weights = Softmax(scaled)
  mixed = MatMul(weights, v)
  rows = Transpose <perm = [0, 2, 1, 3]> (mixed)
  flat = Reshape(rows, back)
  o = MatMul(flat, proj)
  res = Add(x, o)
  n2 = LayerNormalization(res, scale, shift)
  u = MatMul(n2, up)
  g1 = Gelu(u)
  d = MatMul(g1, down)
  y = Add(res, d)
}"""

SMALL = {
    "perceptron": (PERCEPTRON, ({"N": 1}, {"N": 33})),
    "convolutions": (CONVOLUTIONS, ({"N": 1}, {"N": 3})),
    "transformer": (TRANSFORMER, ({"N": 1, "S": 5}, {"N": 2, "S": 40})),
}


def inputs_of(model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Return random inputs of a model for sizes of its dynamic dimensions."""
    rng = np.random.default_rng(0)
    found = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [d.dim_value or sizes[d.dim_param] for d in kind.shape.dim]
        if kind.elem_type == onnx.TensorProto.INT64:
            found[value.name] = rng.integers(0, 50, shape)
        else:
            found[value.name] = rng.standard_normal(shape, np.float32) * 0.3
    return found


def check(loaded: Any, model: onnx.ModelProto | str, inputs: dict) -> None:
    """Compare a call with ONNX Runtime."""
    source = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    results = loaded.main(*inputs.values())
    results = results if isinstance(results, (tuple, list)) else [results]
    for result, want in zip(results, session.run(None, inputs), strict=True):
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(np.asarray(result), want, atol=2e-5 * scale)


@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
@pytest.mark.parametrize("name", SMALL)
def test_small_models(name: str, private: bool) -> None:
    text, sizes = SMALL[name]
    model = onnx.parser.parse_model(text)
    module = iree_core.compile(model, frontend="onnx", target="metal")
    loaded = iree_core.load(module, device(private))
    for each in sizes:
        check(loaded, model, inputs_of(model, each))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv2", pytest.param("bert", marks=pytest.mark.corpus)])
def test_models(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    zoo.export(name, path, dynamic=name == "bert")
    loaded = iree_core.load(iree_core.compile(path, target="metal"), device())
    sizes = {zoo.BATCH: 1, zoo.SEQ: 16} if name == "bert" else None
    check(loaded, str(path), zoo.ZOO[name].example(sizes))
