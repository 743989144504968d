"""Runs the end-to-end suite of torch-mlir, from a copy of its repository, through the compiler.

    python -m tests.torch.suite FOLDER [--dynamic] [--update] [NAME ...]

FOLDER is a checkout of https://github.com/llvm/torch-mlir; nothing of it is kept here. Every
program is exported, compiled, run and compared with eager PyTorch in a process of its own, with
a time limit, to the suite's own tolerance. With ``--dynamic`` the sizes that a program's author
left open are symbolic for ``torch.export``; it makes constants of those that the program needs to
know. ``--update`` adds what passes to ``suite_passes.txt`` or ``suite_passes_dynamic.txt``, from
which nothing is ever taken away.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import inspect
import sys
import tempfile
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tests.onnx import isolation
from torch.utils import _pytree as pytree

PASSES = Path(__file__).with_name("suite_passes.txt")
DYNAMIC_PASSES = Path(__file__).with_name("suite_passes_dynamic.txt")
FOLDER = "TORCH_MLIR"
"""The environment variable that names the checkout for ``make corpora``."""
PYTHON = "projects/pt1/python"
RTOL, ATOL = 1e-3, 1e-7
OUT_OF_REACH = "not runnable: "
"""What starts the message of a program that PyTorch itself cannot run or export here."""


class NotRunnable(Exception):
    """PyTorch, as it is installed here, cannot run or export the program."""


@dataclass
class Call:
    """One call of a program: arguments as they were, and what PyTorch returned."""

    arguments: tuple[Any, ...]
    expected: Any


class Recorder:
    """Stands for a module in the suite's invokers, and notes how it is called."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self.calls: list[Call] = []

    def forward(self, *args: Any) -> Any:
        """Call the module."""
        given = copy.deepcopy(args)
        result = self._module(*args)
        self.calls.append(Call(given, copy.deepcopy(result)))
        return result

    __call__ = forward


class _Missing(types.ModuleType):
    """Stands for a package that is not installed: every use of it raises."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotRunnable(f"{self.__name__} is not installed")


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let the suite import packages that are not installed and that few programs need."""
    packages = ("torchvision", "torchvision.models", "torchvision.ops", "multiprocess")
    missing = [p for p in packages if importlib.util.find_spec(p.partition(".")[0]) is None]
    sys.modules.update({p: _Missing(p) for p in missing})
    for package in missing:
        parent, _, child = package.rpartition(".")
        if parent:
            vars(sys.modules[parent])[child] = sys.modules[package]
    if "multiprocess" in missing:
        # Only the suite's own runner starts such processes.
        vars(sys.modules["multiprocess"])["set_start_method"] = lambda _: None
    yield
    for package in missing:
        del sys.modules[package]


def load(folder: Path) -> dict[str, Any]:
    """Return the tests of a checkout by name.

    Raises:
        SystemExit: the folder is no checkout of torch-mlir.
    """
    python = folder if (folder / "torch_mlir_e2e_test").is_dir() else folder / PYTHON
    if not (python / "torch_mlir_e2e_test").is_dir():
        raise SystemExit(f"{folder} has no {PYTHON}/torch_mlir_e2e_test.")
    sys.path.append(str(python))
    warnings.simplefilter("ignore")
    with _stand_ins():
        importlib.import_module("torch_mlir_e2e_test.test_suite").register_all_tests()
    registry = importlib.import_module("torch_mlir_e2e_test.registry")
    return {test.unique_name: test for test in registry.GLOBAL_TEST_REGISTRY}


def run(test: Any, dynamic: bool) -> str:
    """Compile and run a program; return ``static`` or ``dynamic``, whichever it was at last.

    Raises:
        AssertionError: a result differs from PyTorch's.
        NotRunnable: PyTorch itself cannot run or export it.
        Exception: whatever else goes wrong.
    """
    module, calls = _recorded(test)
    if dynamic and not any(_leaves_open(module, call.arguments) for call in calls):
        raise NotRunnable("its author left no size open")
    kind = "static"
    for call in calls:
        exported = _exported(copy.deepcopy(module), call.arguments, dynamic)
        function, open_sizes = compiled(exported)
        compare(function(*copy.deepcopy(call.arguments)), call.expected)
        kind = "dynamic" if open_sizes else kind
    return kind


def _recorded(test: Any) -> tuple[torch.nn.Module, list[Call]]:
    framework = importlib.import_module("torch_mlir_e2e_test.framework")
    try:
        module = test.program_factory()
        recorder = Recorder(copy.deepcopy(module))
        test.program_invoker(recorder, framework.TestUtils())
    except Exception as error:
        raise NotRunnable(f"eager PyTorch: {_line(error)}") from error
    return module, recorder.calls


def _exported(
    module: torch.nn.Module, args: tuple[Any, ...], dynamic: bool
) -> torch.export.ExportedProgram:
    shapes = _open_sizes(module, args) if dynamic else None
    from iree_frontend_torch.traceable import trace

    errors = []
    for strict in (False, True):
        try:
            return trace(module, copy.deepcopy(args), dynamic_shapes=shapes, strict=strict)
        except Exception as error:
            errors.append(_line(error))
    raise NotRunnable(f"torch.export: {errors[0]}")


def _leaves_open(module: torch.nn.Module, args: tuple[Any, ...]) -> bool:
    return any(pytree.tree_leaves(_open_sizes(module, args), is_leaf=lambda x: bool(x)))


def _open_sizes(module: torch.nn.Module, args: tuple[Any, ...]) -> Any:
    """Return ``dynamic_shapes`` for the sizes that the annotations of ``forward`` leave open."""
    given = getattr(module.forward, "_torch_mlir_arg_annotations", [None])[1:]

    def sizes(value: Any, annotation: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return pytree.tree_map(lambda _: None, value)
        wanted = annotation[0] if annotation is not None else [-1] * value.dim()
        return {
            axis: torch.export.Dim.AUTO
            for axis, size in enumerate(wanted or [])
            if size == -1 and axis < value.dim()
        }

    padded = [*given, *[None] * (len(args) - len(given))]
    shapes = tuple(sizes(v, a) for v, a in zip(args, padded, strict=True))
    parameters = list(inspect.signature(module.forward).parameters.values())
    variadic = bool(parameters) and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
    return (shapes,) if variadic else shapes


def compiled(exported: torch.export.ExportedProgram) -> tuple[Callable[..., Any], bool]:
    """Compile in this process, which may die; tell also whether any size is left open."""
    import iree_core as iree
    from iree_core.compile_worker import compile_model
    from iree_core.compiler_service import CompileRequest
    from iree_core.passes.state import CompileOptions
    from iree_frontend_torch import bundle, exporting, importer
    from iree_frontend_torch.program import decompose, from_decomposed

    decomposed = decompose(exported)
    calling = exporting.Calling(decomposed)
    program = from_decomposed(decomposed)
    imported, weights = importer.import_program(program, exporting.context())
    folder = Path(tempfile.mkdtemp())
    with bundle.written(imported, weights.arrays) as path:
        options = CompileOptions(threads=1, fallback="allow")
        compile_model(
            CompileRequest(path, "torch", {}, "llvm-cpu", options, folder / "m.vmfb", folder),
            lambda _: None,
        )
    loaded = iree.load(folder / "m.vmfb", device="local-sync")
    open_sizes = any(
        not isinstance(size, int)
        for node in program.module.graph.nodes
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor)
        for size in node.meta["val"].shape
    )
    return lambda *args: calling.call(loaded.main, args, {}), open_sizes


def compare(found: Any, expected: Any) -> None:
    """Check structure, types, shapes and numbers.

    Raises:
        AssertionError: something differs.
    """
    left, right = pytree.tree_leaves(found), pytree.tree_leaves(expected)
    assert len(left) == len(right), f"{len(left)} results for {len(right)}"
    for value, wanted in zip(left, right, strict=True):
        if isinstance(wanted, torch.Tensor):
            torch.testing.assert_close(value, wanted, rtol=RTOL, atol=ATOL, equal_nan=True)
        elif isinstance(wanted, float):
            assert abs(value - wanted) <= RTOL * abs(wanted), f"{value} for {wanted}"
        else:
            assert value == wanted, f"{value} for {wanted}"


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def prepare() -> None:
    """Import and run once what every child needs."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    from tests.torch import opinfo

    opinfo.prepare()
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.randn(1, 2),))
    compiled(exported)[0](torch.randn(1, 2))


def run_all(
    tests: dict[str, Any], names: list[str], dynamic: bool, jobs: int = 1
) -> Iterator[tuple[str, str, float, Any]]:
    """Yield name, answer (``pass`` or why not), processor seconds and kind of each program."""

    def one(name: str) -> str:
        try:
            return run(tests[name], dynamic)
        except NotRunnable as error:
            return f"{OUT_OF_REACH}{error}"

    for name, outcome in isolation.run_all(one, names, jobs):
        answer = "pass" if outcome.verdict == "pass" else f"{outcome.verdict}: {outcome.message}"
        if str(outcome.value).startswith(OUT_OF_REACH):
            answer = str(outcome.value)
        yield name, answer, outcome.seconds, outcome.value


def recorded(dynamic: bool) -> list[str]:
    """Return the programs that are known to pass."""
    path = DYNAMIC_PASSES if dynamic else PASSES
    return path.read_text().split() if path.exists() else []


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--dynamic", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_intermixed_args()
    tests = load(options.folder)
    prepare()
    counts: Counter[str] = Counter()
    passed = []
    names = options.names or sorted(tests)
    for name, answer, seconds, kind in run_all(tests, names, options.dynamic, options.jobs):
        reachable = not answer.startswith(OUT_OF_REACH)
        counts["pass" if answer == "pass" else "fail" if reachable else "not runnable"] += 1
        counts["open"] += answer == "pass" and kind == "dynamic"
        print(f"{name}\t{seconds:.2f}\t{answer}", flush=True)
        if answer == "pass":
            passed.append(name)
            if options.update:
                path = DYNAMIC_PASSES if options.dynamic else PASSES
                path.write_text("\n".join(sorted({*recorded(options.dynamic), *passed})) + "\n")
    total = counts["pass"] + counts["fail"]
    print(f"{counts['pass']} of {total} pass ({100 * counts['pass'] / max(total, 1):.1f} %), "
          f"{counts['open']} of them with a size left open; PyTorch cannot run or export "
          f"{counts['not runnable']} here", file=sys.stderr)  # fmt: skip


if __name__ == "__main__":
    main()
