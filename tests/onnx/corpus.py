"""The official ONNX backend tests: what they are, and one of them through the whole compiler.

A test is compiled as users do (frontend, all phases, the CPU backend, module file), loaded and
called on a device; its results are compared by the corpus's own function at its own tolerances.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.runner import Runner

import iree_core
from iree_core.compile_worker import compile_model
from iree_core.compiler_service import CompileReport, CompileRequest
from iree_core.passes.state import CompileOptions
from iree_frontend_onnx.backend import IreeRep

KINDS = ("node", "real", "simple", "pytorch-operator", "pytorch-converted")
_BERNOULLI, _DROPOUT = "test_bernoulli", "test_training_dropout"
_DATA = Path(loader.DATA_DIR)

DataSet = tuple[list[Any], list[Any]]


@dataclass(frozen=True)
class Case:
    """One test: a model, inputs with the outputs expected, and the tolerances."""

    name: str
    model: onnx.ModelProto
    data: Sequence[DataSet]
    rtol: float
    atol: float


@cache
def _all() -> dict[str, loader.TestCase]:
    found: dict[str, loader.TestCase] = {}
    for kind in KINDS:
        for case in loader.load_model_tests(kind=kind):
            assert found.setdefault(case.name, case) is case or case.kind != "node", case.name
    return found


def names() -> list[str]:
    """Return the names of all tests."""
    return list(_all())


def load(wanted: Iterable[str]) -> Iterator[Case]:
    """Yield the tests called ``wanted``."""
    for name in wanted:
        case = _all()[name]
        model, data = _read(case)
        yield Case(name, model, data, case.rtol, case.atol)


def _read(case: loader.TestCase) -> tuple[onnx.ModelProto, list[DataSet]]:
    if case.model is not None:
        sets = [tuple([_value(x) for x in part] for part in pair) for pair in case.data_sets]
        return case.model, sets
    if case.model_dir is None:
        return _read_light(case)
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set*")):
        inputs = _files(data, "input", [i.type for i in model.graph.input])
        outputs = _files(data, "output", [o.type for o in model.graph.output])
        sets.append((inputs, outputs))
    return model, sets


def _read_light(case: loader.TestCase) -> tuple[onnx.ModelProto, list[DataSet]]:
    """Read a model of the zoo whose weights are replaced by constants."""
    path = _DATA / "light" / Path(case.url).name
    model = onnx.load(path)
    constants = {t.name for t in model.graph.initializer}
    inputs = [
        Runner.generate_dummy_data(given, name=case.model_name)
        for given in model.graph.input
        if given.name not in constants
    ]
    outputs = [
        _file(path.with_name(f"{path.stem}_output_{place}.pb"), output.type)
        for place, output in enumerate(model.graph.output)
    ]
    return model, [(inputs, outputs)]


def _files(folder: Path, kind: str, types: Sequence[onnx.TypeProto]) -> list[Any]:
    count = len([*folder.glob(f"{kind}_*.pb")])
    return [_file(folder / f"{kind}_{place}.pb", types[place]) for place in range(count)]


def _file(path: Path, kind: onnx.TypeProto) -> Any:
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _value(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def with_dynamic_sizes(case: Case) -> Case:
    """Return the test with every size of its inputs free.

    Integer vectors stay as they are: as shapes and axes they decide ranks.
    """
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for given in model.graph.input:
        kind = given.type.tensor_type
        if kind.elem_type == onnx.TensorProto.INT64 and len(kind.shape.dim) == 1:
            continue
        for axis, dim in enumerate(kind.shape.dim):
            dim.dim_param = f"{given.name}_{axis}"
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    del model.graph.value_info[:]
    return replace(case, model=model)


def run(case: Case, target: str = "llvm-cpu", device: str = "local-sync") -> CompileReport:
    """Compile, load, call and compare one test; return how the compilation went.

    Raises:
        IreeError: it is not supported, or the compiler or runtime failed.
        AssertionError: an output differs.
    """
    with tempfile.TemporaryDirectory() as folder:
        loaded, report = build(case.model, Path(folder), target, device)
        for inputs, expected in case.data:
            compare(case, inputs, list(loaded.run(inputs)), expected)
    return report


def build(
    model: onnx.ModelProto, folder: Path, target: str = "llvm-cpu", device: str = "local-sync"
) -> tuple[IreeRep, CompileReport]:
    """Compile ``model`` in this process, with files in ``folder``, and load it.

    Raises:
        IreeError: it is not supported, or the compiler failed.
    """
    source, output = folder / "model.onnx", folder / "model.vmfb"
    source.write_bytes(model.SerializeToString())
    options = CompileOptions(threads=1, dispatch_timeout=30.0)
    request = CompileRequest(source, None, {}, target, options, output, folder)
    # What iree_core.compile runs in a process of its own; tests have one already.
    report = compile_model(request, lambda _: None)
    return IreeRep(iree_core.load(output, device), model), report


@cache
def warm_up() -> None:
    """Import everything that a compilation imports, so that forked children need not."""
    graph = onnx.parser.parse_graph("g (float[2] x) => (float[2] y) { y=Neg(x) }")
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])
    with tempfile.TemporaryDirectory() as folder:
        loaded, _ = build(model, Path(folder))
        loaded.run([np.ones(2, np.float32)])


def compare(case: Case, inputs: list[Any], outputs: list[Any], expected: list[Any]) -> None:
    """Check ``outputs`` at the tolerances of ``case``.

    Raises:
        AssertionError: they differ.
    """
    if case.name.startswith(_BERNOULLI):
        _check_bernoulli(outputs[0], expected[0])
    elif case.name.startswith(_DROPOUT):
        _check_dropout(inputs, outputs, expected)
    else:
        Runner.assert_similar_outputs(expected, outputs, case.rtol, case.atol)


def _check_bernoulli(output: NDArray, expected: NDArray) -> None:
    """Random by definition: the type, and that every element is 0 or 1, can be checked."""
    assert (output.shape, output.dtype) == (expected.shape, expected.dtype)
    assert set(np.unique(output.astype(np.float64))) <= {0.0, 1.0}


def _check_dropout(inputs: list[Any], outputs: list[Any], expected: list[Any]) -> None:
    """Random by definition: what is kept is scaled, the rest is 0, and the mask tells which."""
    x = inputs[0]
    ratio = float(inputs[1]) if len(inputs) > 1 else 0.5
    for output, want in zip(outputs, expected, strict=True):
        assert (output.shape, output.dtype) == (want.shape, want.dtype)
    scale = 1.0 / (1.0 - ratio) if ratio < 1 else 0.0
    kept = outputs[1] if len(outputs) > 1 else outputs[0] != 0
    np.testing.assert_allclose(outputs[0], np.where(kept, x * scale, 0), rtol=1e-3, atol=1e-7)
    if ratio == 0:
        Runner.assert_similar_outputs(expected, outputs, 1e-3, 1e-7)
