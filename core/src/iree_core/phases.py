"""The compiler's table of contents: the phases in order, and the passes of each.

Every phase is a package below ``iree_core.passes`` whose ``passes(state)`` returns its list of
passes. They are imported when a compilation reaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from iree_core.errors import UsageError

if TYPE_CHECKING:
    from iree_core.passes.manager import Pass
    from iree_core.passes.state import CompilationState


def _of(package: str) -> Callable[[CompilationState], list[Pass]]:
    def passes(state: CompilationState) -> list[Pass]:
        return import_module(f"iree_core.passes.{package}").passes(state)

    return passes


PHASES: Mapping[str, Callable[[CompilationState], list[Pass]]] = {
    "input": _of("input"),  # any input dialect -> linalg on tensors
    "abi": _of("abi"),  # public functions get their declared signature
    "global-optimization": _of("globalopt"),  # whole-model rewrites, packing of weights
    "dispatch-creation": _of("dispatch"),  # linalg -> fused, outlined dispatches
    "scheduling": _of("scheduling"),  # tensors -> buffers in one arena
    "executables": _of("executables"),  # each dispatch -> the target's binary
    "vm": _of("vm"),  # host functions -> the runtime's program
}

# Of several targets: phases that run once, and the first that runs for each of them.
SHARED = ("input", "abi")
PER_TARGET = "global-optimization"

# A phase may be started from printed IR as long as everything it needs is in the IR.
RESTARTABLE = ("input", "abi", "global-optimization", "dispatch-creation", "scheduling")


def selected(from_phase: str | None, compile_to: str | None) -> list[str]:
    """Return the names of the phases to run, both ends included.

    Raises:
        UsageError: an unknown phase, one that cannot be started from IR, or an empty range.
    """
    names = list(PHASES)
    for name in (from_phase, compile_to):
        if name is not None and name not in PHASES:
            raise UsageError(f"There is no phase {name!r}.", hint=f"Phases: {', '.join(names)}.")
    if from_phase is not None and from_phase not in RESTARTABLE:
        raise UsageError(
            f"Phase {from_phase!r} cannot start from IR.", hint=f"Use {', '.join(RESTARTABLE)}."
        )
    first = names.index(from_phase) if from_phase else 0
    last = names.index(compile_to) if compile_to else len(names) - 1
    if last < first:
        raise UsageError(f"Phase {compile_to!r} comes before {from_phase!r}.")
    return names[first : last + 1]


def restart_hint(folder: Path | None) -> str:
    """Return how to run a failed phase again, given the folder where its input was kept."""
    for path in folder.glob("*.mlirbc") if folder is not None else ():
        return (
            f"The IR before phase {path.stem} is in {path}; "
            f"`iree compile --from-phase={path.stem} {path} -o out.vmfb` runs it again."
        )
    return "Run again with --dump-dir=DIR to see the IR after every pass."
