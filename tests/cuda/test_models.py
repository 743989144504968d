"""Operators and models compiled for CUDA: run on the stand-in, checked by NVIDIA's assembler."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from tests.cuda import fake
from tests.cuda.harness import compile_dispatch, stand_in
from tests.gpu.dispatches import SOFTMAX, elementwise, matmul_text
from tests.models import zoo
from tests.onnx import corpus, isolation

import iree_core
from iree_backend_cuda import assembler
from iree_backend_cuda.driver import CudaDevice
from iree_backend_cuda.image import Entry, parse_image
from iree_core.modulefile.reader import ModuleFile

ARCHES = ["sm_75", "sm_80", "sm_90"]
# One of each kind of dispatch: elementwise, rows, windows, gather, scatter, sort, scan, table.
QUICK = """
    test_add_bcast test_softmax_axis_1 test_layer_normalization_2d_axis1 test_maxpool_2d_pads
    test_Conv2d_depthwise_padded test_gather_elements_1 test_scatter_elements_with_axis
    test_top_k test_cumsum_1d_reverse_exclusive test_Conv1d test_resize_upsample_scales_linear
    test_cast_FLOAT_to_BFLOAT16 test_qlinearmatmul_2D_uint8_float32 test_nonzero_example
""".split()


def assemble(entry: Entry, arch: str) -> None:
    """Let ptxas compile a kernel; it must not complain, nor need registers that are not there."""
    assembler.assemble(bytes(entry.code).decode(), arch, strict=True)


def entries(path: Path) -> list[Entry]:
    """Return all kernels of a module file."""
    module = ModuleFile.open(path)
    (variant,) = module.variants
    return parse_image(module.image(variant))


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("strategy", ["auto", "general"])
def test_every_schedule_assembles(arch: str, strategy: str) -> None:
    functions = [
        elementwise(f"%r = math.{op} %a : {kind}", [kind], kind)
        for op, kind in (("exp", "f16"), ("exp", "bf16"), ("absf", "f8E4M3FN"), ("sin", "f32"))
    ]
    for text in (*functions, matmul_text(None, None, 33), SOFTMAX):
        _, compiled = compile_dispatch(text, arch, strategy)
        assemble(parse_image(compiled.binary)[0], arch)


@pytest.mark.parametrize("name", QUICK)
def test_operators(name: str, on: CudaDevice) -> None:
    (case,) = corpus.load([name])
    corpus.run(case, "cuda:sm_80", on)  # type: ignore[arg-type]
    assert not stand_in()[0].faults


def test_everything_is_ordered_by_streams_and_events() -> None:
    """Run on a device that does nothing before somebody waits for it, and then not more."""
    library, device = fake.open_device(arch=90)
    library.hold = library.lazy = True
    for case in corpus.load(["test_nonzero_example", "test_top_k", "test_softmax_axis_1"]):
        for _ in range(2):
            corpus.run(case, "cuda:sm_80", device)  # type: ignore[arg-type]
    test_a_dynamic_perceptron(device)
    assert not library.faults and library.count("GraphLaunch")


def test_a_dynamic_perceptron(on: CudaDevice) -> None:
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[N,8] x, float[8,32] w, float[32,4] v) => (float[N,4] y) {
      h = MatMul(x, w)
      r = Relu(h)
      o = MatMul(r, v)
      y = Softmax(o)
    }"""
    model = onnx.parser.parse_model(text)
    loaded = iree_core.load(iree_core.compile(model, frontend="onnx", target="cuda:sm_75"), on)
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal((8, 32), np.float32), rng.standard_normal((32, 4), np.float32)
    for n in (1, 5, 5, 5, 5, 33):
        x = rng.standard_normal((n, 8), np.float32)
        o = np.maximum(x @ w, 0) @ v
        e = np.exp(o - o.max(1, keepdims=True))
        found = np.asarray(loaded.main(x, w, v))
        np.testing.assert_allclose(found, e / e.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHES)
def test_operators_assemble(arch: str, tmp_path: Path) -> None:
    for case in corpus.load(QUICK):
        corpus.build(case.model, tmp_path, f"cuda:{arch}", stand_in()[1])  # type: ignore[arg-type]
        for entry in entries(tmp_path / "model.vmfb"):
            assemble(entry, arch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,dynamic,arch",
    [("mobilenetv2", False, "sm_75"), ("mobilenetv2", True, "sm_90")],
)
def test_models_assemble(name: str, dynamic: bool, arch: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    zoo.export(name, path, dynamic=dynamic)
    module = iree_core.compile(path, target=f"cuda:{arch}")
    for entry in entries(module.path):
        assemble(entry, arch)


@pytest.mark.slow
def test_a_decoder_assembles_and_runs(tmp_path: Path) -> None:
    """Four layers of Llama, 72 kernels: on the stand-in in about half a minute."""
    import onnxruntime

    path = tmp_path / "model.onnx"
    zoo.export("llama", path, dynamic=True)
    module = iree_core.compile(path, target="cuda:sm_80")
    for entry in entries(module.path):
        assemble(entry, "sm_80")
    inputs = zoo.ZOO["llama"].example({zoo.BATCH: 1, zoo.SEQ: 5})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, inputs)
    library, device = fake.open_device(arch=80)
    found = np.asarray(iree_core.load(module, device).main(*inputs.values()))
    assert not library.faults
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_the_corpus_runs_and_nothing_is_wrong() -> None:
    """Some tests that the CPU passes; the rest must be refused with a clear error."""
    names = (Path(corpus.__file__).parent / "passing.txt").read_text().split()
    known = set(corpus.names())
    wanted = [name for name in names if name in known][::80]

    def run(case: corpus.Case) -> None:
        library, device = fake.open_device(arch=90)  # in the child: a device is of one process
        corpus.run(case, "cuda:sm_80", device)  # type: ignore[arg-type]
        assert not library.faults

    ended = isolation.run_all(run, corpus.load(wanted))
    outcomes = {case.name: outcome for case, outcome in ended}
    counts = Counter(outcome.verdict for outcome in outcomes.values())
    bad = {n: o.message for n, o in outcomes.items() if o.verdict not in ("pass", "unsupported")}
    assert not bad, bad
    assert counts["pass"] >= 0.9 * len(outcomes), counts


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["mobilenetv2", "resnet50", "bert"])
def test_models(name: str, dynamic: bool, gpu: CudaDevice, tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "model.onnx"
    zoo.export(name, path, dynamic=dynamic)
    inputs = zoo.ZOO[name].example()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(None, inputs)
    loaded = iree_core.load(iree_core.compile(path, target="cuda"), gpu)
    results = loaded.main(*inputs.values())
    results = results if isinstance(results, (tuple, list)) else [results]
    for result, want in zip(results, expected, strict=True):
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(np.asarray(result), want, atol=1e-4 * scale)
