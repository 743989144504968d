"""The process in which a compilation runs; :mod:`iree_core.compiler_service` starts it.

It takes one request from a pipe, sends progress as it goes, and answers with a report or an
error. It may die of MLIR or LLVM; the process that asked lives on.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from iree_core.compiler_service import CompileReport, CompileRequest
from iree_core.errors import CompileError, IreeError, UsageError
from iree_core.interfaces import Backend, Target
from iree_core.ir import ir
from iree_core.model_input import choose_frontend, import_model
from iree_core.modulefile.writer import VariantSource, write_module
from iree_core.parameter_files import save_safetensors
from iree_core.passes import portable
from iree_core.passes.manager import PassEvent, PassManager
from iree_core.passes.state import CompilationState, Note, Progress
from iree_core.phases import PHASES, SHARED, selected
from iree_core.plugins import Plugins, Role, installed
from iree_core.target_choice import choose_targets
from iree_core.vm.program import Dispatch

_NO_WORK = ("tensor.cast", "tensor.dim", "tensor.empty")


def main(descriptor: int) -> None:
    """Serve one request on the pipe with that file descriptor."""
    pipe = Connection(descriptor)
    answer: CompileReport | IreeError
    request: CompileRequest = pipe.recv()
    try:
        answer = compile_model(request, pipe.send)
    except IreeError as error:
        answer = error
    except MemoryError:
        answer = CompileError("Memory ran out while compiling.", hint="Try --threads=1.")
    except Exception as error:
        traceback.print_exc()
        answer = CompileError(
            f"The compiler failed in an unforeseen way, {type(error).__name__}: {error}.",
            hint=f"This is a defect; the traceback is in {request.workdir}/log.txt.",
        )
    pipe.send(answer)


def compile_model(request: CompileRequest, progress: Callable[[Progress], None]) -> CompileReport:
    """Compile and write ``request.output``; return what happened.

    Raises:
        IreeError: of the kind that fits, if anything goes wrong that was foreseen.
    """
    started = time.perf_counter()
    plugins = installed()
    shared, apart = _phases(request)
    targets = choose_targets(request, plugins)
    frontend = choose_frontend(request, plugins)
    model = import_model(request, frontend, plugins, progress)
    imported = time.perf_counter()
    state = CompilationState(
        parameters=model.parameters,
        target=targets[0][1],
        backend=targets[0][0],
        options=request.options,
        progress=progress,
        reproducer_dir=request.workdir,
    )
    state.report.extend(model.notes)
    state.timings["import"] = imported - started
    operations = run_phases(model.module, state, shared, plugins)
    copies = [portable.copy_of(model.module) for _ in targets[1:]]
    states = [state, *(_state_of(number, state, *t) for number, t in enumerate(targets[1:], 2))]
    variants: list[VariantSource] = []
    for lowered, module in zip(states, [model.module, *copies], strict=True):
        state.constants.begin_program()
        counted = run_phases(module, lowered, apart, plugins)
        operations = operations if shared else counted
        if request.options.compile_to is None:
            variants.append(_variant(lowered))
    _note_plugins_left_out(state, plugins)
    progress(Progress("write"))
    started_writing = time.perf_counter()
    if variants:
        used: set[tuple[Role, str | None]] = {("frontend", frontend)}
        used |= {("backend", backend.name) for backend, _ in targets}
        _write_module(request, state, variants, _versions(plugins, used))
    else:
        request.output.write_text(_to_text(model.module, state))
        if request.save_parameters is not None:
            save_safetensors(request.save_parameters, state.parameters)
    finished = time.perf_counter()
    state.timings["write"] = finished - started_writing
    return _report(states, request, operations, finished - started)


def _state_of(
    number: int, first: CompilationState, backend: Backend, target: Target
) -> CompilationState:
    """Return the state for a further target: weights and read-only data are shared."""
    options = first.options
    if options.dump_dir is not None:
        options = replace(options, dump_dir=options.dump_dir / f"{number}-{backend.name}")
    made = CompilationState(
        first.parameters,
        target,
        backend,
        options,
        first.progress,
        reproducer_dir=first.reproducer_dir,
    )
    made.constants = first.constants
    return made


def _phases(request: CompileRequest) -> tuple[list[str], list[str]]:
    """Return the phases to run once, and those to run for each target.

    A module file has the first ones behind it.

    Raises:
        UsageError: an unknown phase, or one that the input cannot start from.
    """
    options = request.options
    if not portable.is_module_file(request.model):
        phases = selected(options.from_phase, options.compile_to)
        return [p for p in phases if p in SHARED], [p for p in phases if p not in SHARED]
    if options.from_phase is not None:
        raise UsageError(
            f"The IR in a module file is lowered from phase {portable.LOWERED_FROM} on.",
            hint="Leave --from-phase out.",
        )
    behind = list(PHASES).index(portable.LOWERED_FROM)
    return [], selected(None, options.compile_to)[behind:]


def run_phases(
    module: ir.Module, state: CompilationState, phases: list[str], plugins: Plugins
) -> int:
    """Run the phases with what plugins add; return the operations after the first of them."""

    def observe(event: PassEvent) -> None:
        plugins.call("iree_observe_pass", event=event)

    operations = 0
    for number, phase in enumerate(phases):
        state.phase = phase
        state.progress(Progress(phase))
        passes = PHASES[phase](state)
        plugins.call("iree_register_passes", phase=phase, passes=passes)
        plugins.call("iree_configure_pipeline", target=state.target, phase=phase, passes=passes)
        PassManager(passes, observe).run(module, state)
        if number == 0:
            operations = _count_operations(module)
        if phase == portable.TAKEN_AFTER and state.options.embed_ir != "off":
            state.portable_ir = portable.take(module)
    return operations


def _note_plugins_left_out(state: CompilationState, plugins: Plugins) -> None:
    for info in plugins.infos():
        # Of frontends, those that failed when they were asked; others are not loaded.
        if info.state == "broken" or (info.role == "plugin" and info.state == "refused"):
            state.note(f"plugin {info.name} was left out", why=info.cause)


def _count_operations(module: ir.Module) -> int:
    """Return how many operations compute tensors, those inside an operation's body not counted."""
    count = 0

    def visit(op: ir.Operation) -> ir.WalkResult:
        nonlocal count
        name = op.operation.name
        if name.startswith(("linalg.", "tensor.")) and name not in _NO_WORK:
            count += 1
            return ir.WalkResult.SKIP
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return count


def _versions(plugins: Plugins, used: set[tuple[Role, str | None]]) -> dict[str, str]:
    """Return distributions and versions of the chosen plugins and of those that add hooks."""
    return {
        info.distribution: info.version
        for info in plugins.infos()
        if info.state == "loaded" and (info.role == "plugin" or (info.role, info.name) in used)
    }


def _variant(state: CompilationState) -> VariantSource:
    """Return the program that was just compiled, with what it uses of the read-only data."""
    if state.program is None:
        raise CompileError("The phase vm left no program; a plugin may have replaced its passes.")
    return VariantSource(
        state.target.backend,
        state.target.spec,
        state.program,
        state.executable,
        frozenset(part.offset for part in state.constants.used),
    )


def _write_module(
    request: CompileRequest,
    state: CompilationState,
    variants: list[VariantSource],
    versions: dict[str, str],
) -> None:
    code = sum(len(variant.executable.data) for variant in variants if variant.executable)
    embedded = _embedded_ir(state, code)
    write_module(request.output, variants, state.constants, versions=versions, ir=embedded)


def _embedded_ir(state: CompilationState, code: int) -> bytes:
    """Return the IR to write into the module file, empty if none is wanted or it is large.

    Args:
        state: of the first target.
        code: bytes of all executables.

    Raises:
        CompileError: it was asked for and cannot be had.
    """
    from iree_core.modulefile.embedded import compress, is_small

    taken, wanted = state.portable_ir, state.options.embed_ir == "on"
    if taken is None:
        if wanted:
            raise CompileError(
                f"The IR cannot be embedded: phase {portable.TAKEN_AFTER} did not run.",
                hint="Leave --from-phase out.",
            )
        return b""
    missing = taken.keys - {part.key for part in state.constants.segments}
    if missing:
        if wanted:
            raise CompileError(
                f"The IR cannot be embedded: the program does not use {sorted(missing)[0]!r}."
            )
        return b""
    content = compress(taken.bytecode)
    return content if wanted or is_small(len(content), state.constants.size + code) else b""


def _to_text(module: ir.Module, state: CompilationState) -> str:
    text = module.operation.get_asm()
    for compiled in state.kernels:
        text += f"\n// ----- kernel {compiled.kernel.name}\n{compiled.kernel.module}"
    return text


def _count_dispatches(state: CompilationState) -> int:
    if state.program is None:
        return len(state.entries)
    return sum(
        isinstance(command, Dispatch)
        for commands in state.program.command_lists
        for command in commands.commands
    )


def _report(
    states: list[CompilationState], request: CompileRequest, operations: int, seconds: float
) -> CompileReport:
    """Return what happened, summed over the targets."""
    timings: Counter[str] = Counter()
    dispatch_seconds: Counter[str] = Counter()
    for state in states:
        timings.update(state.timings)
        dispatch_seconds.update(state.dispatch_seconds)
    return CompileReport(
        targets=tuple(f"{state.target.backend}:{state.target.spec}" for state in states),
        operations=operations,
        dispatches=sum(map(_count_dispatches, states)),
        kernels=sum(len(state.kernels) for state in states),
        reused=sum(state.reused for state in states),
        fallbacks=_named_by_target(states, lambda state: state.fallbacks),
        notes=_named_by_target(states, lambda state: state.report),
        seconds=seconds,
        timings=dict(timings),
        dispatch_seconds=dict(dispatch_seconds),
        tunable=states[0].tunable,
        peak_bytes=_peak_bytes(),
        nbytes=request.output.stat().st_size,
    )


def _named_by_target(
    states: list[CompilationState], notes: Callable[[CompilationState], list[Note]]
) -> list[Note]:
    """Return the notes of all targets; those of further ones say which."""
    found = list(notes(states[0]))
    for state in states[1:]:
        found += [replace(n, what=f"{state.target.backend}: {n.what}") for n in notes(state)]
    return found


def _peak_bytes() -> tuple[int, int]:
    """Return the resident memory of this process at its largest, and of its largest child."""
    of = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    own, child = (resource.getrusage(who).ru_maxrss * unit for who in of)
    return own, child


if __name__ == "__main__":
    main(int(sys.argv[1]))
