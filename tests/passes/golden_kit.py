"""Runs the pass that a golden file names and writes down what became of the module.

A golden file is ``golden/PHASE/PASS[.CASE].mlir``: what the case shows, options of the pass, the
module before, and after the line ``// ----- after`` the module the pass made of it::

    // A transposition vanishes in the map of the contraction that reads it.
    // options: min_elements=2
    func.func @main ...
    // ----- after
    module { ... }
    // parameter ...

Parameters that the module names hold 0, 1, 2, ... A pass that refuses the module leaves its
message. What a pass leaves outside the module (parameters, kernels, the host program, notes) is
listed in comments behind it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import iree_core.passes
from iree_core.cli.inspect import listing
from iree_core.codegen.kernel import CompiledDispatch, CpuModel, Kernel
from iree_core.dtypes import to_numpy
from iree_core.errors import IreeError
from iree_core.expr import const
from iree_core.interfaces import Backend, Executable, Target
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.manager import MlirPipeline, Pass, PassManager
from iree_core.passes.state import CompilationState, CompileOptions
from iree_core.phases import PHASES

FOLDER = Path(__file__).parent / "golden"
_AFTER = "// ----- after\n"
# Parameters with at most this many elements are listed with their values.
_SHOWN = 32


class TextBackend(Backend):
    """Stands for a code generator: the text of a dispatch is its machine code."""

    name = "text"

    def resolve(self, options: str) -> Target:
        """Return a processor with AVX-512."""
        return Target(self.name, options, CpuModel())

    def compile(self, dispatch: str, target: Target, *, strategy: str = "auto") -> CompiledDispatch:
        """Return one work item; refuse what is marked as too hard for the schedule."""
        if "too.hard" in dispatch and strategy == "auto":
            raise ValueError("this is too hard")
        name = dispatch.partition("@")[2].partition("(")[0]
        return CompiledDispatch(Kernel("", name, const(1), const(0), 1, strategy), b"code", name)

    def link(self, dispatches: Sequence[CompiledDispatch], target: Target) -> Executable:
        """Join the binaries."""
        entries = tuple((d.entry, 4 * n) for n, d in enumerate(dispatches))
        return Executable("text", target.spec, b"".join(d.binary for d in dispatches), entries)


def make_state(opt_level: int = 3) -> CompilationState:
    """Return the state of a compilation for :class:`TextBackend`."""
    backend = TextBackend()
    options = CompileOptions(opt_level=opt_level, threads=1)
    return CompilationState(ParameterStore(), backend.resolve("avx512"), backend, options)


def known_passes() -> dict[tuple[str, str], Pass]:
    """Return every pass by phase and name: those of the phases' lists, and those they run.

    A pass that a list holds with options is the one of the list.
    """
    found: dict[tuple[str, str], Pass] = {}
    for phase, listed in PHASES.items():
        for level in (3, 0):
            for item in listed(make_state(level)):
                found.setdefault((phase, item.name), item)
    listed_types = {(phase, type(item)) for (phase, _), item in found.items()}
    for phase, kind in _pass_classes():
        if (phase, kind) not in listed_types:
            item = kind()
            found.setdefault((phase, item.name), item)
    return found


def _pass_classes() -> Iterator[tuple[str, type[Any]]]:
    """Yield phase and class of every pass below ``iree_core.passes``."""
    phase_of = {
        type(item).__module__.split(".")[2]: phase
        for phase, listed in PHASES.items()
        for item in listed(make_state())
        if not isinstance(item, MlirPipeline)
    }
    for info in pkgutil.walk_packages(iree_core.passes.__path__, "iree_core.passes."):
        phase = phase_of.get(info.name.split(".")[2])
        module = import_module(info.name)
        for _, kind in inspect.getmembers(module, dataclasses.is_dataclass):
            if phase and kind.__module__ == info.name and _runs_on_modules(kind):
                yield phase, kind


def _runs_on_modules(kind: type[Any]) -> bool:
    run = getattr(kind, "run", None)
    return run is not None and list(inspect.signature(run).parameters)[1:] == ["module", "state"]


@dataclass(frozen=True)
class Case:
    """One golden file, read."""

    path: Path
    before: str
    after: str

    @staticmethod
    def read(path: Path) -> Case:
        """Split the file at ``path``."""
        before, _, after = path.read_text().partition(_AFTER)
        return Case(path, before, after)

    @property
    def key(self) -> tuple[str, str]:
        """Phase and name of the pass."""
        return self.path.parent.name, self.path.name.partition(".")[0]

    def options(self) -> dict[str, Any]:
        """Return the options of the pass that the file gives."""
        lines = (line for line in self.before.splitlines() if line.startswith("// options:"))
        words = (word for line in lines for word in line.removeprefix("// options:").split())
        pairs = (word.partition("=") for word in words)
        return {name: ast.literal_eval(value) for name, _, value in pairs}

    def run(self) -> str:
        """Return the module after the pass, normalised, and what else the pass left."""
        item: Any = known_passes()[self.key]
        if self.options():
            item = dataclasses.replace(item, **self.options())
        context = make_context()
        with context, ir.Location.unknown():
            module = ir.Module.parse(self.before)
            state = make_state()
            state.phase = self.key[0]
            names = _add_parameters(module, state.parameters)
            if self.key[0] == "vm":
                _compile_dispatches(module, state)
            try:
                PassManager([item]).run(module, state)
            except IreeError as error:
                return f"// {type(error).__name__}: {error.what}\n"
            return _print(module) + "".join(f"// {line}\n" for line in _beside(state, names))

    def expected(self) -> str:
        """Return what the file expects, normalised like what :meth:`run` returns."""
        if not self.after.startswith(("module", "#")):
            return self.after
        comments = "".join(f"{x}\n" for x in self.after.splitlines() if x.startswith("//"))
        with make_context(), ir.Location.unknown():
            return _print(ir.Module.parse(self.after)) + comments

    def update(self) -> None:
        """Write what the pass does now into the file."""
        self.path.write_text(self.before + _AFTER + self.run())


def cases() -> list[Path]:
    """Return all golden files."""
    return sorted(FOLDER.glob("*/*.mlir"))


def _print(module: ir.Module) -> str:
    return module.operation.get_asm(enable_debug_info=False).rstrip() + "\n"


def _add_parameters(module: ir.Module, store: ParameterStore) -> set[str]:
    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.operation.name == "flow.parameter":
            key = ir.StringAttr(op.attributes["key"]).value
            kind = ir.RankedTensorType(op.results[0].type)
            if key not in store:
                dtype = to_numpy(str(kind.element_type))
                count = int(np.prod(kind.shape))
                store.add(key, np.arange(count).astype(dtype).reshape(kind.shape))
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return set(store)


def _compile_dispatches(module: ir.Module, state: CompilationState) -> None:
    PassManager(PHASES["executables"](state)).run(module, state)


def _beside(state: CompilationState, known: set[str]) -> Iterator[str]:
    """Describe what a pass left outside the module, a line each."""
    for key in state.parameters:
        if key not in known:
            array = state.parameters.read(key)
            shape = "x".join(str(size) for size in array.shape)
            values = f" = {array.tolist()}" if array.size <= _SHOWN else ""
            yield f"parameter {key}: {shape} {array.dtype}{values}"
    if state.phase == "executables":
        for name, number in state.entries.items():
            yield f"entry {name}: kernel {number}"
        for number, compiled in enumerate(state.kernels):
            yield f"kernel {number}: {compiled.kernel.schedule} schedule"
    for note in [*state.fallbacks, *state.report]:
        yield f"note: {note}"
    if state.program is not None and state.executable is not None:
        names = [name for name, _ in state.executable.entries]
        yield from (line for line in listing(state.program, names) if line)
