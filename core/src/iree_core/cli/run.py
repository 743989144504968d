"""``iree run`` and ``iree benchmark``: a function of a model or module file, with given inputs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from iree_core.cli.options import compile_arguments, compile_options, pairs, run_options
from iree_core.cli.values import describe, mismatch, parse_value, random_value, write_output
from iree_core.errors import InvocationError, UsageError
from iree_core.modulefile.flatbuffer import IDENTIFIER

if TYPE_CHECKING:
    from iree_core.runtime_api import LoadedModule

_SEED = 0


@click.command("run", short_help="Run a function of a model or module file.")
@click.argument("model", type=click.Path(path_type=Path))
@run_options
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="@FILE",
    help="Where to write a result; once per result [printed].",
)
@click.option(
    "--expected_output",
    "expected",
    multiple=True,
    metavar="VALUE",
    help="What a result must be, like --input; exit code 1 if it is not.",
)
@compile_options
def run_command(
    model: Path, outputs: tuple[str, ...], expected: tuple[str, ...], **options: Any
) -> int:
    """Run a function of MODEL, which is a module file or a model that is compiled first.

    Compiled models are kept in a cache, by content.
    """
    function, inputs = prepare(model, options)
    results = [np.asarray(result) for result in as_tuple(function(*inputs))]
    if len(outputs) > len(results) or len(expected) > len(results):
        raise UsageError(f"{function.name} has {len(results)} results.")
    for position, (kind, result) in enumerate(zip(function.outputs, results, strict=True)):
        if position < len(outputs):
            write_output(outputs[position], result)
        else:
            print(f"{kind.name or f'result {position}'}: {describe(result)}")
    return _compare(function, results, expected)


@click.command("benchmark", short_help="Measure how long a function takes.")
@click.argument("model", type=click.Path(path_type=Path))
@run_options
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=2.0, help="To measure for.  [default: 2]"
)
@compile_options
def benchmark_command(model: Path, seconds: float, **options: Any) -> None:
    """Measure how long a function of MODEL takes, with the inputs already on the device."""
    function, inputs = prepare(model, options)
    times = measure(lambda: function(*inputs), seconds)
    print(f"{model.name} {function.name}: {latency(times)}")


def prepare(model: Path, options: dict[str, Any]) -> tuple[Any, list[NDArray]]:
    """Take the options of ``run_options`` and ``compile_options``; return a function and inputs.

    Raises:
        IreeError: of the kind that fits, if the model or the inputs are not as they should.
    """
    compiling = compile_arguments(options)
    _, function, inputs = prepare_module(model, compiling, options)
    return function, inputs


def prepare_module(
    model: Path, compiling: dict[str, Any], options: dict[str, Any]
) -> tuple[LoadedModule, Any, list[NDArray]]:
    """Take the options of ``run_options``; return the module, a function of it, and inputs.

    Raises:
        IreeError: of the kind that fits, if the model or the inputs are not as they should.
    """
    texts, dims = options.pop("inputs"), options.pop("dims")
    name = options.pop("function")
    values = [parse_value(text) for text in texts]
    path = module_path(model, compiling)
    from iree_core.runtime_api import load

    module = load(path, device=options.pop("device"), threads=options.pop("threads"))
    if len(module.file.variants) > 1:
        device, variant = module.device, module.variant
        print(
            f"iree: note: runs on {device.name} ({device.description}), of the variants "
            f"{', '.join(v.backend for v in module.file.variants)} that for {variant.backend}",
            file=sys.stderr,
        )
    function = getattr(module, name) if name else next(iter(module.functions.values()))
    return module, function, _complete(function, values, _sizes(dims))


def module_path(model: Path, compiling: dict[str, Any]) -> Path:
    """Return the module file for ``model``: itself, or the cached result of compiling it.

    Raises:
        UsageError: there is no such file.
        CompileError: compiling failed.
    """
    if is_module(model):
        return model
    from iree_core.cache import cached_module
    from iree_core.cli.compile import compile_shown

    path, summary = cached_module(model, compiling, compile_shown)
    print(f"iree: {model.name}: {summary}", file=sys.stderr)
    return path


def is_module(path: Path) -> bool:
    """Tell whether ``path`` is a module file, or is called like one.

    Raises:
        UsageError: there is no such file.
    """
    if path.is_dir():  # some frontends read folders; nobody calls those like a module
        return path.suffix == ".vmfb"
    try:
        with path.open("rb") as file:
            return path.suffix == ".vmfb" or file.read(12)[8:] == IDENTIFIER
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error


def _complete(function: Any, values: list[NDArray], dims: dict[str, int]) -> list[NDArray]:
    """Add random inputs where none are given, and say so."""
    kinds = function.inputs
    if len(values) > len(kinds):
        raise InvocationError(
            f"{function.name} takes {len(kinds)} inputs, {len(values)} are given."
        )
    dims = {
        name: size
        for kind, value in zip(kinds, values, strict=False)
        for name, size in zip(kind.shape, value.shape, strict=False)
        if isinstance(name, str)
    } | dims
    generator = np.random.default_rng(_SEED)
    missing = kinds[len(values) :]
    made = [random_value(kind, dims, generator) for kind in missing]
    for kind, array in zip(missing, made, strict=True):
        shape = "x".join([*map(str, array.shape), kind.dtype])
        print(f"iree: note: random input {kind.name}: {shape}", file=sys.stderr)
    return [*values, *made]


def _sizes(texts: tuple[str, ...]) -> dict[str, int]:
    try:
        return {name: int(size) for name, size in pairs(texts, "--dim").items()}
    except ValueError as error:
        raise UsageError(f"--dim: {error}.") from error


def _compare(function: Any, results: list[NDArray], expected: tuple[str, ...]) -> int:
    code = 0
    for position, text in enumerate(expected):
        difference = mismatch(results[position], parse_value(text))
        if difference is not None:
            name = function.outputs[position].name or f"result {position}"
            print(f"iree: {name} is not as expected: {difference}.", file=sys.stderr)
            code = 1
    if expected and not code:
        print(f"{len(expected)} of {len(results)} results are as expected.")
    return code


def as_tuple(results: Any) -> tuple[Any, ...]:
    """Return what a function returned as a tuple."""
    return results if isinstance(results, tuple) else (results,)


def measure(call: Callable[[], Any], seconds: float) -> list[float]:
    """Return the seconds each call took, three at least, after one that is not counted."""
    _finish(call())
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        _finish(call())
        times.append(time.perf_counter() - started)
    return times


def _finish(results: Any) -> None:
    """Wait until results are there."""
    for result in as_tuple(results):
        np.asarray(result)


def latency(times: list[float]) -> str:
    """Return a line on the distribution of ``times``, in suitable units."""
    least, median, worst = (float(np.percentile(times, p)) for p in (0, 50, 95))
    scale, unit = (1e3, "ms") if median >= 1e-3 else (1e6, "us")
    return (
        f"median {median * scale:.3g} {unit}, least {least * scale:.3g} {unit}, "
        f"95 % below {worst * scale:.3g} {unit}, {len(times)} calls"
    )
