"""The official ONNX backend tests, run on the importer and the reference executor."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test import loader
from tests.input.execute import execute

from iree_core.ir import ir, make_context
from iree_frontend_onnx.translate import import_proto

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
TIME_LIMIT = 60.0


@dataclass(frozen=True)
class Case:
    """One test: a model, its inputs and the outputs expected."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, NDArray]
    outputs: list[NDArray]
    rtol: float
    atol: float


def names() -> Iterator[str]:
    """Yield the names of all tests."""
    for kind in KINDS:
        for case in loader.load_model_tests(kind=kind):
            yield case.name


def load(wanted: set[str]) -> Iterator[Case]:
    """Yield the tests called ``wanted``."""
    for kind in KINDS:
        for case in loader.load_model_tests(kind=kind):
            if case.name in wanted:
                yield _read(case)


def _read(case: loader.TestCase) -> Case:
    if case.model is not None:
        model = case.model
        inputs, outputs = case.data_sets[0]
    else:
        model = onnx.load(Path(case.model_dir) / "model.onnx")
        data = Path(case.model_dir) / "test_data_set_0"
        inputs, outputs = ([*_arrays(data, kind)] for kind in ("input", "output"))
    constants = {t.name for t in model.graph.initializer}
    given = [i.name for i in model.graph.input]
    if len(inputs) < len(given):
        given = [name for name in given if name not in constants]
    feeds = {n: _array(x) for n, x in zip(given, inputs, strict=True)}
    return Case(case.name, model, feeds, [_array(x) for x in outputs], case.rtol, case.atol)


def _arrays(folder: Path, kind: str) -> Iterator[NDArray]:
    for place in range(len([*folder.glob(f"{kind}_*.pb")])):
        proto = onnx.TensorProto.FromString((folder / f"{kind}_{place}.pb").read_bytes())
        yield numpy_helper.to_array(proto)


def _array(value: object) -> NDArray:
    return (
        numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    )


def run(case: Case) -> None:
    """Import, run and compare one test.

    Raises:
        AssertionError: an output differs.
    """
    imported = import_proto(case.model, make_context())
    main = next(op for op in imported.module.body.operations if op.name.value == "main")
    order = [ir.StringAttr(a["iree.name"]).value for a in main.attributes["arg_attrs"]]
    inputs = [case.inputs[name] for name in order]
    results = execute(imported.module, inputs, imported.parameters)
    for result, expected in zip(results, case.outputs, strict=True):
        assert result.shape == expected.shape
        if "dropout" in case.name or "bernoulli" in case.name:
            continue  # Random by definition: only the shape can be checked.
        _compare(case, result, expected)


def _compare(case: Case, result: NDArray, expected: NDArray) -> None:
    if expected.dtype.kind in "fc":
        narrow = expected.dtype == np.float16
        rtol = max(case.rtol, 5e-3 if narrow else 1e-3)
        atol = max(case.atol, 2e-3 if narrow else 1e-6)
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=atol)
    elif expected.dtype.kind == "V" or expected.dtype.itemsize == 1:
        got, want = (a.view(expected.dtype).astype(np.float32) for a in (result, expected))
        one_off = 1.0 if "quantize" in case.name or "qlinear" in case.name else 0.0
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=max(1e-3, one_off))
    else:
        np.testing.assert_array_equal(result.view(expected.dtype), expected)


def isolated(function: Callable[[], None], limit: float = TIME_LIMIT) -> str | None:
    """Call ``function`` in a forked child; return None if it succeeds, else what went wrong."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        message = "the child could not report"
        try:
            function()
            message = ""
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        finally:
            with os.fdopen(write_end, "wb") as pipe:
                pickle.dump(message, pipe)
            os._exit(0)
    os.close(write_end)
    deadline, data = time.monotonic() + limit, b""
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return f"no result after {limit} s"
            part = pipe.read(1 << 16)
            if not part:
                break
            data += part
    os.waitpid(child, 0)
    return (pickle.loads(data) or None) if data else "the child died"
