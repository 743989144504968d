"""Compiling from Python: one call that runs the compiler in a process of its own.

MLIR and LLVM may abort, hang or be interrupted; the caller gets an exception, a module file
that is complete, and nothing half done. Nothing here imports the compiler.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iree_core.errors import CompileError, IreeError, UsageError
from iree_core.output_files import complete_file
from iree_core.passes.state import (
    CompileOptions,
    EmbedPolicy,
    FallbackPolicy,
    Note,
    Progress,
    Tunable,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# What the compiler does until it reports its first phase.
_LOADING = "start"
# File name of a model that was given as bytes, in the folder of its compilation.
_IN_MEMORY = "model-in-memory"


@dataclass(frozen=True)
class CompileRequest:
    """What the worker process is asked to do.

    Attributes:
        model: the file to compile.
        frontend: name of the frontend; None to find it from the file.
        frontend_options: options of that frontend.
        target: ``NAME[:OPTIONS]``, or several; None for the host.
        options: of the compiler.
        output: the file to write.
        workdir: a folder for reproducers.
        parameters: files with weights that the model names but does not hold.
        save_parameters: where to write the weights that printed IR names.
    """

    model: Path
    frontend: str | None
    frontend_options: Mapping[str, str]
    target: str | tuple[str, ...] | None
    options: CompileOptions
    output: Path
    workdir: Path
    parameters: tuple[Path, ...] = ()
    save_parameters: Path | None = None


@dataclass(frozen=True)
class CompileReport:
    """How a compilation went.

    Attributes:
        targets: the resolved targets, in the order of the module's variants.
        operations: operations of the model after the ``input`` phase.
        dispatches, kernels: dispatches called, and distinct ones compiled.
        reused: how many of the distinct ones an earlier compilation had made.
        fallbacks: dispatches off the fast path: which, where, why.
        notes: anything else the user should know.
        seconds: wall-clock time in the worker.
        timings: seconds by ``phase/pass``; also ``import`` and ``write``.
        dispatch_seconds: seconds that a child process took for each dispatch it compiled.
        tunable: with a tuning file, the dispatches whose block sizes can be chosen, by name.
        peak_bytes: memory of the worker at its largest, and of its largest child.
        nbytes: size of the module file.
    """

    targets: tuple[str, ...]
    operations: int
    dispatches: int
    kernels: int
    reused: int = 0
    fallbacks: list[Note] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    dispatch_seconds: dict[str, float] = field(default_factory=dict)
    tunable: dict[str, Tunable] = field(default_factory=dict)
    peak_bytes: tuple[int, int] = (0, 0)
    nbytes: int = 0

    def summary(self, *, name_fallbacks: bool = True) -> str:
        """Return the one line of truth."""
        fast = self.kernels - len(self.fallbacks)
        line = (
            f"{self.operations} ops in {self.dispatches} dispatches for "
            f"{self._names()}, {fast} of {self.kernels} kernels on the fast path"
        )
        if self.fallbacks and name_fallbacks:
            shown = "; ".join(str(note) for note in self.fallbacks[:3])
            more = len(self.fallbacks) - 3
            line += f" (not: {shown}{f'; and {more} more' if more > 0 else ''})"
        if self.reused:
            line += f", {self.reused} compiled before"
        return f"{line}, {self.seconds:.1f} s, {format_size(self.nbytes)}"

    def _names(self) -> str:
        return " and ".join(target.partition(":")[0] for target in self.targets)


def format_size(nbytes: int) -> str:
    """Return ``12.3 MB`` and the like."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= scale:
            return f"{nbytes / scale:.3g} {unit}"
    return f"{nbytes} B"


class CompiledModule:
    """A compiled module file, in a temporary folder until it is saved.

    Attributes:
        path: the file; it lives as long as this object, or for good where the caller named it.
        report: how the compilation went.
    """

    def __init__(self, path: Path, report: CompileReport, *, temporary: Path | None = None) -> None:
        self.path, self.report = path, report
        if temporary is not None:
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the module to ``path``, whole or not at all, and return the path.

        Raises:
            CompileError: the file cannot be written.
        """
        with complete_file(path) as partial:
            shutil.copyfile(self.path, partial)
        return Path(path)

    def __bytes__(self) -> bytes:
        return self.path.read_bytes()

    def __repr__(self) -> str:
        return f"<CompiledModule {self.report.summary(name_fallbacks=False)}>"


def compile(
    model: str | os.PathLike[str] | bytes | Any,
    *,
    output: str | os.PathLike[str] | None = None,
    frontend: str | None = None,
    frontend_options: Mapping[str, str] | None = None,
    parameters: Sequence[str | os.PathLike[str]] = (),
    target: str | Sequence[str] | None = None,
    opt_level: int = 3,
    fallback: FallbackPolicy = "warn",
    embed_ir: EmbedPolicy = "auto",
    reuse: bool = True,
    tuning: str | os.PathLike[str] | None = None,
    compile_to: str | None = None,
    from_phase: str | None = None,
    dump_dir: str | os.PathLike[str] | None = None,
    save_parameters: str | os.PathLike[str] | None = None,
    threads: int = 0,
    timeout: float = 3600.0,
    progress: Callable[[Progress], None] | None = None,
) -> CompiledModule:
    """Compile a model.

    Args:
        model: path of a model, ``.mlir`` or module file, the content of one, or an object with
            ``SerializeToString()`` such as an ``onnx.ModelProto``.
        output: where to write the module; None for a temporary file that the result owns.
        frontend: who reads the model; None to find out from the content.
        frontend_options: options of the frontend.
        parameters: safetensors files with the weights that an MLIR file names
            (``flow.parameter``).
        target: ``NAME[:OPTIONS]``, e.g. ``"llvm-cpu"``; None for this machine's processor.
            Several, in a list, make a module with a variant for each: loading it takes the first
            one that a device here runs.
        opt_level: 0 (compile fast) to 3 (run fast).
        fallback: what to do where a dispatch leaves the fast path: ``error``, ``warn`` (name it
            in the report) or ``allow`` (count it).
        embed_ir: whether the module carries a portable copy of its IR, from which it can be
            compiled again for another target: ``on``, ``off``, or ``auto`` (where it is small).
        reuse: take dispatches that an earlier compilation for the same target left in this user's
            cache (``$XDG_CACHE_HOME/iree/dispatches``), and leave the new ones there.
        tuning: a file of block sizes that :func:`iree_core.tuner.tune` measured.
        compile_to: stop after this phase; the result is then MLIR text.
        from_phase: start with this phase, for MLIR that an earlier run printed.
        dump_dir: write the IR after every pass into this folder.
        save_parameters: with ``compile_to``, a safetensors file for the weights the IR names.
        threads: processes that compile dispatches; 0 for one per processor.
        timeout: seconds until the compilation is given up.
        progress: called in this process as the compilation proceeds.

    Raises:
        UsageError: a wrong option, an unknown name, a missing file.
        PluginError: a plugin that is needed does not work.
        ImportModelError: the model cannot be read, or uses unsupported operators.
        CompileError: the compiler failed, died or took too long, or the output cannot be written.
    """
    if opt_level not in range(4):
        raise UsageError(f"Optimisation level {opt_level} is none of 0, 1, 2, 3.")
    if fallback not in ("error", "warn", "allow"):
        raise UsageError(f"Fallback policy {fallback!r} is none of error, warn, allow.")
    if embed_ir not in ("auto", "on", "off"):
        raise UsageError(f"Embedding of IR {embed_ir!r} is none of auto, on, off.")
    options = CompileOptions(
        opt_level=opt_level,
        compile_to=compile_to,
        from_phase=from_phase,
        dump_dir=Path(dump_dir).resolve() if dump_dir is not None else None,
        fallback=fallback,
        embed_ir=embed_ir,
        reuse=reuse,
        tuning=Path(tuning).resolve() if tuning is not None else None,
        threads=threads,
        timeout=timeout,
    )
    folder = Path(tempfile.mkdtemp(prefix="iree-compile-"))
    keep = False
    target_path = Path(output) if output is not None else folder / "module.vmfb"
    shown = {str(folder / _IN_MEMORY): "the model in memory"}
    try:
        with complete_file(target_path) as partial:
            shown[str(partial)] = str(target_path)
            request = CompileRequest(
                model=_as_file(model, folder),
                frontend=frontend,
                frontend_options=dict(frontend_options or {}),
                target=target if isinstance(target, str | None) else tuple(target),
                options=options,
                output=partial,
                workdir=folder,
                parameters=tuple(Path(path).resolve() for path in parameters),
                save_parameters=Path(save_parameters).resolve() if save_parameters else None,
            )
            report = _run_worker(request, progress or (lambda _: None))
        keep = output is None
        return CompiledModule(target_path, report, temporary=folder if keep else None)
    except IreeError as error:
        what, where = (_replace(text, shown) for text in (error.what, error.where))
        keep = str(folder) in f"{what} {where} {error.hint}"  # a reproducer
        raise type(error)(what or "", where=where, hint=error.hint) from None
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _replace(text: str | None, replacements: Mapping[str, str]) -> str | None:
    for old, shown in replacements.items():
        text = text.replace(old, shown) if text else text
    return text


def _as_file(model: Any, folder: Path) -> Path:
    if isinstance(model, (str, os.PathLike)):
        return Path(model).resolve()
    if hasattr(model, "SerializeToString"):
        model = model.SerializeToString()
    if not isinstance(model, (bytes, bytearray, memoryview)):
        raise UsageError(
            f"A {type(model).__name__} cannot be compiled.",
            hint="Give a path, the bytes of a model file, or an object with SerializeToString().",
        )
    path = folder / _IN_MEMORY
    path.write_bytes(model)
    return path


def _run_worker(request: CompileRequest, progress: Callable[[Progress], None]) -> CompileReport:
    from multiprocessing.connection import Pipe

    ours, theirs = Pipe()
    try:
        process = _start_worker(request, theirs.fileno())
    except OSError as error:
        raise CompileError(f"The compiler cannot be started: {error.strerror}.") from error
    theirs.close()
    last = Progress(_LOADING)

    def heard(event: Progress) -> None:
        nonlocal last
        last = event
        progress(event)

    try:
        ours.send(request)
        answer = _listen(ours, time.monotonic() + request.options.timeout, heard)
    except TimeoutError:
        raise _gave_up(f"took more than {request.options.timeout:g} s", last, request) from None
    except (EOFError, ConnectionError):
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
        _kill(process)
        raise _gave_up(_how_it_died(process, request), last, request) from None
    finally:
        _kill(process)
        ours.close()
    if isinstance(answer, IreeError):
        raise answer
    return answer


def _start_worker(request: CompileRequest, pipe: int) -> subprocess.Popen[bytes]:
    with (request.workdir / "log.txt").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "iree_core.compile_worker", str(pipe)],
            pass_fds=[pipe],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            start_new_session=True,
        )


def _listen(
    pipe: Connection, deadline: float, heard: Callable[[Progress], None]
) -> CompileReport | IreeError:
    while True:
        if not pipe.poll(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        message = pipe.recv()
        if not isinstance(message, Progress):
            return message
        heard(message)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the worker and every process it forked."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how_it_died(process: subprocess.Popen[bytes], request: CompileRequest) -> str:
    code = process.returncode
    log = (request.workdir / "log.txt").read_text(errors="replace").strip().splitlines()
    words = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        return f"{words}, as happens when memory runs out"
    return f"{words} ({log[-1].strip()})" if log else words


def _gave_up(how: str, last: Progress, request: CompileRequest) -> CompileError:
    from iree_core.phases import restart_hint

    step = f", {last.step}" if last.step else ""
    if last.phase == _LOADING:
        return CompileError(
            f"The compiler {how}, while its libraries were loaded.",
            hint="Most often memory is too little for them: it takes about half a gigabyte.",
        )
    return CompileError(
        f"The compiler {how}, in phase {last.phase}{step}.", hint=restart_hint(request.workdir)
    )
