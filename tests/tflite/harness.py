"""One model through the whole compiler and through LiteRT's reference kernels, compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

import iree_core
from iree_core.compile_worker import compile_model
from iree_core.compiler_service import CompileRequest
from iree_core.passes.state import CompileOptions


@dataclass(frozen=True)
class Case:
    """A model and the inputs of one or more calls, one after the other.

    Attributes:
        rtol, atol: of floats; integers must be equal.
        steps: by how much integers may differ where kernels compute with floats.
        optimized: compare with the kernels that users get by default, where the reference
            kernels lack the operator or differ from TensorFlow.
    """

    name: str
    model: bytes
    calls: Sequence[Sequence[NDArray]]
    rtol: float = 1e-5
    atol: float = 1e-6
    steps: int = 0
    optimized: bool = False
    expected: Callable[..., Sequence[NDArray]] | None = None


def run_reference(
    model: bytes, calls: Sequence[Sequence[NDArray]], *, optimized: bool = False
) -> list[list[NDArray]]:
    """Return the outputs of LiteRT's kernels."""
    kind = OpResolverType
    chosen = kind.BUILTIN_WITHOUT_DEFAULT_DELEGATES if optimized else kind.BUILTIN_REF
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=chosen)
    places = [d["index"] for d in interpreter.get_input_details()]
    results = []
    allocated = False
    for inputs in calls:
        shapes = [list(d["shape"]) for d in interpreter.get_input_details()]
        for place, array, shape in zip(places, inputs, shapes, strict=True):
            if list(array.shape) != shape:
                interpreter.resize_tensor_input(place, list(array.shape))
                allocated = False
        if not allocated:
            interpreter.allocate_tensors()
            allocated = True
        for place, array in zip(places, inputs, strict=True):
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        results.append(
            [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]
        )
    return results


def compile_bytes(model: bytes, folder: Path) -> Path:
    """Compile a model in this process and return the module file."""
    source, output = folder / "model.tflite", folder / "model.vmfb"
    source.write_bytes(model)
    options = CompileOptions(threads=1, dispatch_timeout=30.0)
    # What iree_core.compile runs in a process of its own; tests have one already.
    compile_model(
        CompileRequest(source, None, {}, "llvm-cpu", options, output, folder), lambda _: None
    )
    return output


def run_compiled(
    model: bytes, calls: Sequence[Sequence[NDArray]], function: str = "main"
) -> list[list[NDArray]]:
    """Return the outputs of the compiled module."""
    with tempfile.TemporaryDirectory() as name:
        module = iree_core.load(compile_bytes(model, Path(name)), "local-sync")
        results = []
        for inputs in calls:
            made = module[function](*inputs)
            many = made if isinstance(made, (tuple, list)) else [made]
            results.append([np.array(r) for r in many])
    return results


def check(case: Case) -> None:
    """Run and compare one case.

    Raises:
        IreeError: it is not supported, or the compiler or runtime failed.
        AssertionError: an output differs.
    """
    if case.expected is None:
        expected = run_reference(case.model, case.calls, optimized=case.optimized)
    else:
        expected = [[np.asarray(a) for a in case.expected(*inputs)] for inputs in case.calls]
    found = run_compiled(case.model, case.calls)
    for want, have in zip(expected, found, strict=True):
        compare(case, want, have)


def compare(case: Case, expected: Sequence[NDArray], found: Sequence[NDArray]) -> None:
    """Check types, shapes and contents.

    Raises:
        AssertionError: they differ.
    """
    assert len(expected) == len(found)
    for want, have in zip(expected, found, strict=True):
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        if want.dtype.kind in "fc":
            np.testing.assert_allclose(have, want, rtol=case.rtol, atol=case.atol)
        elif case.steps:
            difference = np.abs(have.astype(np.int64) - want.astype(np.int64))
            assert difference.max(initial=0) <= case.steps, f"differ by {difference.max()}"
        else:
            np.testing.assert_array_equal(have, want)
