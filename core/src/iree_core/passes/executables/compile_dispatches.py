"""Compiles every distinct dispatch function with the backend and links the results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from iree_core.codegen.kernel import CompiledDispatch
from iree_core.dialects import flow
from iree_core.errors import CompileError
from iree_core.interfaces import Executable
from iree_core.ir import func, ir
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.executables.kept import KeptDispatches
from iree_core.passes.executables.pool import Failure, ForkPool
from iree_core.passes.state import CompilationState, Note, Progress, Tunable

# How the note of a kernel begins whose first schedule failed: it is tried again the next time.
_AFTER_FAILURE = "general schedule, because "


@dataclass(frozen=True)
class DispatchJob:
    """One dispatch to compile.

    Attributes:
        name: its symbol.
        text: its MLIR.
        anonymous: the text without what does not matter, by which equal ones are found.
        where: where in the model it comes from.
        strategy: the schedule to ask for.
    """

    name: str
    text: str
    anonymous: str
    where: str
    strategy: str = "auto"


@dataclass(frozen=True)
class CompileDispatches:
    """Compile each dispatch once, in forked children, and link the binaries.

    Dispatches that an earlier compilation left in :mod:`iree_core.passes.executables.kept` are
    not compiled again, unless the options forbid that.

    Before, the module holds functions such as ::

        func.func private @main_dispatch_0(%x: tensor<4xf32>) -> tensor<4xf32>
            attributes {flow.dispatch} { ... }

    The IR is not changed; ``state.kernels``, ``state.entries`` and ``state.executable`` are
    filled. A dispatch that fails is compiled again with the general schedule.
    """

    name: ClassVar[str] = "compile-dispatches"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Fill the state's kernels, entries and executable.

        Raises:
            CompileError: a dispatch failed with every schedule, or left the fast path while the
                fallback policy is ``error``.
        """
        strategy = "auto" if state.options.opt_level > 0 else "general"
        jobs = _distinct_jobs(module, state, strategy)
        kernels = _compile_or_reuse(jobs, state)
        for job, kernel in zip(jobs, kernels, strict=True):
            if job.name in state.tuning_keys and kernel.kernel.choices:
                key, choices = state.tuning_keys[job.name], dict(kernel.kernel.choices)
                state.tunable[job.name] = Tunable(key, kernel.kernel.schedule, choices)
            if kernel.kernel.note and strategy == "auto":
                state.fallbacks.append(Note(job.name, job.where, kernel.kernel.note))
            if state.options.dump_dir is not None:
                _dump(job, kernel, state.options.dump_dir / "dispatches")
        _apply_policy(state)
        state.kernels = kernels
        state.executable = _named(state.backend.link(kernels, state.target), jobs)


def _named(executable: Executable, jobs: list[DispatchJob]) -> Executable:
    """Give the entry points the names of the dispatches, which users meet in listings."""
    offsets = (offset for _, offset in executable.entries)
    return replace(
        executable, entries=tuple((job.name, o) for job, o in zip(jobs, offsets, strict=True))
    )


def _distinct_jobs(module: ir.Module, state: CompilationState, strategy: str) -> list[DispatchJob]:
    """Return one job per distinct text and record which dispatch uses which."""
    jobs: list[DispatchJob] = []
    positions: dict[str, int] = {}
    for op in module.body.operations:
        if not isinstance(op, func.FuncOp) or flow.DISPATCH not in op.attributes:
            continue
        name = op.sym_name.value
        text = op.operation.get_asm(use_local_scope=True)
        job = DispatchJob(name, text, flow.anonymous_text(op.operation), _where(op), strategy)
        if job.anonymous not in positions:
            positions[job.anonymous] = len(jobs)
            jobs.append(job)
        state.entries[name] = positions[job.anonymous]
    return jobs


def _where(function: func.FuncOp) -> str:
    """Return where in the model a dispatch comes from: its own location or its operations'."""
    own = describe_location(function.location)
    if own:
        return own
    inner = (describe_location(op.location) for op in function.body.blocks[0].operations)
    return ", ".join(list(dict.fromkeys(place for place in inner if place))[:3])


def _compile_or_reuse(jobs: list[DispatchJob], state: CompilationState) -> list[CompiledDispatch]:
    """Return every job's binary: one that an earlier compilation kept, or a new one."""
    kept = KeptDispatches(state.target)
    if not (state.options.reuse and kept.usable):
        return _compile(jobs, state)
    found = [kept.find(job.anonymous, job.strategy) for job in jobs]
    missing = [job for job, dispatch in zip(jobs, found, strict=True) if dispatch is None]
    state.reused = len(jobs) - len(missing)
    if not missing:
        return [dispatch for dispatch in found if dispatch is not None]
    compiled = _compile(missing, state)
    try:
        for job, dispatch in zip(missing, compiled, strict=True):
            if not dispatch.kernel.note.startswith(_AFTER_FAILURE):
                kept.keep(job.anonymous, job.strategy, dispatch)
        kept.trim()
    except OSError as error:
        state.note("compiled dispatches could not be kept for later", why=str(error.strerror))
    new = iter(compiled)
    return [next(new) if dispatch is None else dispatch for dispatch in found]


def _compile(jobs: list[DispatchJob], state: CompilationState) -> list[CompiledDispatch]:
    outcomes = _run(jobs, state, "dispatches")
    failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Failure)]
    if failed and jobs[0].strategy == "auto":
        retries = [replace(jobs[i], strategy="general") for i in failed]
        for i, second in zip(failed, _run(retries, state, "general schedule"), strict=True):
            first = outcomes[i]
            assert isinstance(first, Failure)
            outcomes[i] = second
            if not isinstance(second, Failure):
                kernel = replace(second.kernel, note=f"{_AFTER_FAILURE}{first.reason}")
                outcomes[i] = replace(second, kernel=kernel)
    compiled = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, Failure):
            raise _give_up(job, outcome, state)
        compiled.append(outcome)
    return compiled


def _run(
    jobs: list[DispatchJob], state: CompilationState, step: str
) -> list[CompiledDispatch | Failure]:
    backend, target = state.backend, state.target

    def work(job: DispatchJob) -> tuple[CompiledDispatch, float]:
        started = time.perf_counter()
        reason = backend.supports(job.text, target)
        if reason is not None:
            raise CompileError(f"target {target.backend} does not support it: {reason}")
        compiled = backend.compile(job.text, target, strategy=job.strategy)
        return compiled, time.perf_counter() - started

    # The longest first, so that no processor idles at the end.
    order = sorted(range(len(jobs)), key=lambda i: -len(jobs[i].text))
    size = min(state.options.threads or os.cpu_count() or 1, max(1, len(jobs)))
    pool: ForkPool[DispatchJob, tuple[CompiledDispatch, float]] = ForkPool(
        work, size, state.options.dispatch_timeout
    )
    count = _counter(state, step, len(jobs))
    outcomes: dict[int, CompiledDispatch | Failure] = {}
    for i, outcome in zip(order, pool.run([jobs[i] for i in order], count), strict=True):
        if isinstance(outcome, Failure):
            outcomes[i] = outcome
        else:
            outcomes[i], state.dispatch_seconds[jobs[i].name] = outcome
    return [outcomes[i] for i in range(len(jobs))]


def _counter(state: CompilationState, step: str, total: int) -> Callable[[int, object], None]:
    done = 0

    def count(_: int, __: object) -> None:
        nonlocal done
        done += 1
        state.progress(Progress(state.phase, step, done, total))

    return count


def _give_up(job: DispatchJob, failure: Failure, state: CompilationState) -> CompileError:
    hint = None
    if state.reproducer_dir is not None:
        path = state.reproducer_dir / f"{job.name}.mlir"
        path.write_text(job.text)
        hint = f"The dispatch is in {path}."
    return CompileError(
        f"Dispatch {job.name} cannot be compiled for {state.target.backend}, not even with the "
        f"general schedule: {failure.reason.rstrip('.')}.",
        where=job.where or None,
        hint=hint,
    )


def _apply_policy(state: CompilationState) -> None:
    if state.options.fallback == "error" and state.fallbacks:
        first, *others = state.fallbacks
        more = f" and {len(others)} more" if others else ""
        raise CompileError(
            f"Dispatch {first.what}{more} left the fast path: {first.why.rstrip('.')}.",
            where=first.where or None,
            hint="--fallback=warn accepts that.",
        )


def _dump(job: DispatchJob, kernel: CompiledDispatch, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{job.name}.mlir").write_text(job.text)
    (folder / f"{job.name}.kernel.mlir").write_text(kernel.kernel.module)
    for suffix, content in kernel.listings:
        (folder / f"{job.name}.{suffix}").write_bytes(content)
