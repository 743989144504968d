"""Runs a list of passes: verifies, times, reports, dumps, and explains a failure.

Not for choosing passes; :mod:`iree_core.phases` does that.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol, runtime_checkable

from iree_core.errors import CompileError, IreeError
from iree_core.ir import ir, run_pipeline
from iree_core.passes.diagnostics import first_diagnostic
from iree_core.passes.state import CompilationState, Progress
from iree_core.phases import RESTARTABLE, restart_hint

# Dense constants with more elements than this are cut short in dumps.
_DUMP_ELEMENTS = 32


@runtime_checkable
class Pass(Protocol):
    """One transformation of the module: a frozen dataclass with a name and typed options."""

    @property
    def name(self) -> str:
        """The name under which it is timed, dumped and blamed."""

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Transform ``module`` in place.

        Raises:
            IreeError: with what, where and a hint, if the model is at fault.
            Exception: anything else is reported as a failure of this pass.
        """


@dataclass(frozen=True)
class MlirPipeline:
    """Upstream passes, in MLIR's textual form: ``builtin.module(canonicalize,cse)``."""

    name: str
    pipeline: str

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Run the pipeline; the pass manager verifies its result."""
        run_pipeline(module, self.pipeline, verify=False)


@dataclass(frozen=True)
class PassEvent:
    """A pass has run: its phase and name, the seconds it took, and the module after it."""

    phase: str
    name: str
    seconds: float
    module: ir.Module


@dataclass(frozen=True)
class PassManager:
    """Runs ``passes`` in order.

    Attributes:
        passes: what to run.
        observe: called after each pass.
    """

    passes: Sequence[Pass]
    observe: Callable[[PassEvent], None] | None = None

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Run every pass on ``module`` in place.

        Raises:
            CompileError: naming the pass that failed or left invalid IR, where in the model, the
                first diagnostic, and the file with the IR that this phase started from.
        """
        _keep(module, state)
        for number, item in enumerate(self.passes):
            state.progress(Progress(state.phase, item.name, number, len(self.passes)))
            started = time.perf_counter()
            try:
                with module.context, ir.Location.unknown():
                    item.run(module, state)
                    module.operation.verify()
            except IreeError:
                raise
            except Exception as error:
                raise _explain(item, error, state) from error
            seconds = time.perf_counter() - started
            key = f"{state.phase}/{item.name}"
            state.timings[key] = state.timings.get(key, 0.0) + seconds
            if state.options.dump_dir is not None:
                _dump(module, state.options.dump_dir, state.phase, item.name)
            if self.observe is not None:
                self.observe(PassEvent(state.phase, item.name, seconds, module))


def _explain(item: Pass, error: Exception, state: CompilationState) -> CompileError:
    message, where = first_diagnostic(error)
    hint = restart_hint(state.reproducer_dir)
    if state.reproducer_dir is not None:
        lines = traceback.format_exception(error)
        (state.reproducer_dir / "traceback.txt").write_text("".join(lines))
    return CompileError(
        f"Pass {item.name} of phase {state.phase} failed: {message.rstrip('.')}.",
        where=where or None,
        hint=hint,
    )


def _keep(module: ir.Module, state: CompilationState) -> None:
    """Write what the phase starts from, so that it is there even if the process dies."""
    if state.reproducer_dir is None or state.phase not in RESTARTABLE:
        return
    for older in state.reproducer_dir.glob("*.mlirbc"):
        older.unlink()
    content = BytesIO()
    module.operation.write_bytecode(content)
    try:
        (state.reproducer_dir / f"{state.phase}.mlirbc").write_bytes(content.getvalue())
    except OSError as error:
        raise CompileError(
            f"The compiler cannot write its temporary files: {error.strerror}.",
            hint="Set TMPDIR to a folder with space left.",
        ) from error


def _dump(module: ir.Module, folder: Path, phase: str, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.mlir")))
    label = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{phase}.{name}")
    text = module.operation.get_asm(
        large_elements_limit=_DUMP_ELEMENTS,
        large_resource_limit=_DUMP_ELEMENTS,
        enable_debug_info=False,
    )
    (folder / f"{number:03d}.{label}.mlir").write_text(text)
