"""Which backends a compilation generates code with, and for which targets."""

from __future__ import annotations

from iree_core.compiler_service import CompileRequest
from iree_core.errors import UsageError
from iree_core.interfaces import Backend, Target
from iree_core.phases import PER_TARGET, SHARED
from iree_core.plugins import Plugins


def choose_targets(request: CompileRequest, plugins: Plugins) -> list[tuple[Backend, Target]]:
    """Return backend and resolved target of everything that is asked for, at least one.

    Raises:
        UsageError: no such backend, a target that is named twice, or several where only the IR of
            one can be read or printed.
    """
    specs = (request.target,) if isinstance(request.target, str | None) else request.target
    targets = [choose_target(spec, plugins) for spec in specs or (None,)]
    seen = [target for _, target in targets]
    twice = [target for number, target in enumerate(seen) if target in seen[:number]]
    if twice:
        raise UsageError(f"The target {twice[0].backend}:{twice[0].spec} is named twice.")
    options = request.options
    if len(targets) > 1 and options.compile_to is not None:
        raise UsageError("The IR of one target can be printed, not of several.")
    if len(targets) > 1 and options.from_phase not in (None, *SHARED, PER_TARGET):
        raise UsageError(f"IR from phase {options.from_phase} on is for one target.")
    return targets


def choose_target(spec: str | None, plugins: Plugins) -> tuple[Backend, Target]:
    """Return the backend and resolved target for ``NAME[:OPTIONS]``, or for the host.

    Raises:
        UsageError: no such backend, or no backend is installed.
    """
    if spec is None:
        # Names of processors end like this by convention; asking them first spares loading others.
        names = sorted(plugins.names("backend"), key=lambda name: not name.endswith("cpu"))
        candidates: list[Backend] = []
        for backend in plugins.working("backend", plugins.backend, names):
            if backend.default_for_host():
                return backend, backend.resolve("")
            candidates.append(backend)
        if not candidates:
            raise _no_backend(plugins)
        return candidates[0], candidates[0].resolve("")
    name, _, options = spec.partition(":")
    matching = [known for known in plugins.names("backend") if known.startswith(name)]
    backend = plugins.backend(matching[0] if len(matching) == 1 else name)
    return backend, backend.resolve(options)


def _no_backend(plugins: Plugins) -> UsageError:
    causes = [f"{info.name} is {info.state}: {info.cause}" for info in plugins.infos("backend")]
    return UsageError(
        "No backend to compile for is installed" + (f" that works; {causes[0]}" if causes else "."),
        hint="`pip install iree-backend-llvm` adds the CPU.",
    )
