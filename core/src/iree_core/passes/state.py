"""What the passes of one compilation share, besides the IR: options, weights, target, results.

Nothing here imports MLIR, so that the process that asked for a compilation can hold options and
reports without the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from iree_core.codegen.kernel import CompiledDispatch
    from iree_core.interfaces import Backend, Executable, Target
    from iree_core.modulefile.data import DataSection
    from iree_core.params import ParameterStore
    from iree_core.passes.portable import PortableIr
    from iree_core.vm.program import Program

FallbackPolicy = Literal["error", "warn", "allow"]
EmbedPolicy = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class CompileOptions:
    """What the user asked for.

    Attributes:
        opt_level: 0 (compile fast) to 3 (run fast).
        compile_to: stop after this phase and return the IR; None for a whole module.
        from_phase: start with this phase, for IR that an earlier run printed.
        dump_dir: write the IR after every pass into this folder.
        fallback: what to do where a dispatch leaves the fast path: fail, name it, or count it.
        threads: processes that compile dispatches; 0 for one per processor.
        timeout: seconds the whole compilation may take.
        embed_ir: whether the module holds a portable copy of the IR; ``auto``: where it is small.
        reuse: take dispatches that an earlier compilation left in the user's cache.
        tuning: a file of measured block sizes; see :mod:`iree_core.tuning`.
        dispatch_timeout: seconds one dispatch may take before it is retried or given up.
    """

    opt_level: int = 3
    compile_to: str | None = None
    from_phase: str | None = None
    dump_dir: Path | None = None
    fallback: FallbackPolicy = "warn"
    threads: int = 0
    timeout: float = 3600.0
    embed_ir: EmbedPolicy = "auto"
    reuse: bool = True
    tuning: Path | None = None
    dispatch_timeout: float = 120.0


@dataclass(frozen=True)
class Progress:
    """Where a compilation is: the phase, the step in it, and how much of the step is done.

    ``total`` is 0 where the amount of work is not known.
    """

    phase: str
    step: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Note:
    """Something the user should know: what happened, where in the model, and why."""

    what: str
    where: str = ""
    why: str = ""

    def __str__(self) -> str:
        return (
            self.what
            + (f" at {self.where}" if self.where else "")
            + (f": {self.why}" if self.why else "")
        )


@dataclass(frozen=True)
class Tunable:
    """A dispatch whose block sizes a measured search may vary.

    Attributes:
        key: its name in tuning files.
        schedule: which schedule chose.
        choices: what it chose; see :mod:`iree_core.codegen.choices`.
    """

    key: str
    schedule: str
    choices: Mapping[str, int]


def _ignore(_: Progress) -> None:
    """Default progress callback."""


@dataclass
class CompilationState:
    """Passed to every pass along with the module.

    Attributes:
        parameters: the weights; passes derive further entries.
        target: what the module is compiled for.
        backend: who generates code for it.
        options: what the user asked for.
        progress: called as work proceeds.
        phase: name of the phase that is running; the pass manager's caller sets it.
        report: what the user should know at the end.
        fallbacks: the dispatches that left the fast path, where, and why.
        timings: seconds by ``phase/pass``; also ``import`` and ``write``.
        dispatch_seconds: time in a child process by dispatch, for those that were compiled.
        tuning_keys, tunable: with a tuning file, the key of every dispatch, and what can be chosen.
        reproducer_dir: where a failing pass leaves its input.
        constants: plan of the module's read-only data; filled by ``scheduling`` and ``vm``.
        kernels: compiled dispatches, in the order of the executable's entries.
        reused: how many of them an earlier compilation made.
        entries: position in ``kernels`` by symbol name of the dispatch; dispatches whose text
            is equal share one.
        executable: all kernels, linked; filled by ``executables``.
        program: the host program; filled by ``vm``.
        portable_ir: a copy of the IR, taken by :mod:`iree_core.passes.portable`.
    """

    parameters: ParameterStore
    target: Target
    backend: Backend
    options: CompileOptions = field(default_factory=CompileOptions)
    progress: Callable[[Progress], None] = _ignore
    phase: str = ""
    report: list[Note] = field(default_factory=list)
    fallbacks: list[Note] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    dispatch_seconds: dict[str, float] = field(default_factory=dict)
    tuning_keys: dict[str, str] = field(default_factory=dict)
    tunable: dict[str, Tunable] = field(default_factory=dict)
    reproducer_dir: Path | None = None
    constants: DataSection = field(init=False)
    kernels: list[CompiledDispatch] = field(default_factory=list)
    reused: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    executable: Executable | None = None
    program: Program | None = None
    portable_ir: PortableIr | None = None

    def __post_init__(self) -> None:
        from iree_core.modulefile.data import DataSection

        self.constants = DataSection(self.parameters)

    def note(self, what: str, where: str = "", why: str = "") -> None:
        """Record something that the user is told when the compilation ends."""
        self.report.append(Note(what, where, why))
