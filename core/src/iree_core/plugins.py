"""Finds plugins by their entry points, and loads only what was asked for.

A plugin is described by its metadata alone until it is chosen: its requirement on ``iree-core``
is checked before anything of it is imported, and whatever it raises stays with it. The hooks are
in :mod:`iree_core.hookspecs`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pluggy

from iree_core import __version__, hookspecs
from iree_core.errors import IreeError, PluginError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from iree_core.hal import Driver
    from iree_core.interfaces import Backend, Frontend

Role = Literal["frontend", "backend", "driver", "plugin"]
GROUPS: dict[Role, str] = {
    "frontend": "iree.frontends",
    "backend": "iree.backends",
    "driver": "iree.drivers",
    "plugin": "iree.plugins",
}
_CORE = "iree-core"
_T = TypeVar("_T")


@dataclass
class PluginInfo:
    """One entry point and what became of it.

    Attributes:
        role, name: what it is, and what users type.
        distribution, version: the installed package it comes from.
        state: ``available`` (not imported yet), ``loaded``, ``refused`` (made for another
            version of the core) or ``broken`` (it raised an exception).
        cause: why it was refused or broken, one sentence and what to do about it.
        traceback: of what it raised.
    """

    role: Role
    name: str
    distribution: str
    version: str
    state: Literal["available", "loaded", "refused", "broken"] = "available"
    cause: str = ""
    traceback: str = ""
    entry_point: metadata.EntryPoint | None = None


class Plugins:
    """The plugins installed in this environment, each loaded at most once."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("iree")
        self._manager.add_hookspecs(hookspecs)
        self._objects: dict[tuple[Role, str], Any] = {}
        self._infos: dict[tuple[Role, str], PluginInfo] = {}
        for info in _scan():
            self._infos.setdefault((info.role, info.name), info)

    def infos(self, role: Role | None = None) -> list[PluginInfo]:
        """Return what is installed, as far as it is known without importing more."""
        return [info for info in self._infos.values() if role in (None, info.role)]

    def names(self, role: Role) -> list[str]:
        """Return the names users can type for a role, whether the plugins work or not."""
        return sorted(info.name for info in self.infos(role))

    def frontend(self, name: str) -> Frontend:
        """Return a frontend by name.

        Raises:
            UsageError: there is none of that name.
            PluginError: it is broken or was made for another version of the core.
        """
        return self._get("frontend", name, "iree_frontend")

    def backend(self, name: str) -> Backend:
        """Return a backend by name. Raises like :meth:`frontend`."""
        return self._get("backend", name, "iree_backend")

    def driver(self, name: str) -> Driver:
        """Return a driver by name. Raises like :meth:`frontend`."""
        return self._get("driver", name, "iree_driver")

    def working(
        self, role: Role, get: Callable[[str], _T], names: Sequence[str] | None = None
    ) -> Iterator[_T]:
        """Yield ``get(name)`` for every name of a role, passing over those that do not work.

        ``names`` gives another order than the alphabet's, or fewer of them.

        The cause stays in :meth:`infos`; the caller says so where nothing else would do.
        """
        for name in self.names(role) if names is None else names:
            try:
                found = get(name)
            except PluginError:
                continue
            yield found

    def recognises(self, name: str, path: Path) -> bool:
        """Tell whether a frontend takes ``path`` for a model of its kind.

        One that fails at that is marked broken and does not.

        Raises:
            PluginError: it does not work.
        """
        frontend = self.frontend(name)
        if path.is_dir() and not frontend.reads_folders:
            return False
        return bool(self._attempt(self._infos["frontend", name], lambda: frontend.matches(path)))

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """Call a hook of the plugins in ``iree.plugins`` and the chosen backends.

        A plugin that raises is marked broken and not called again; the results of the others
        are returned.

        Raises:
            IreeError: a plugin raised it on purpose.
        """
        results = []
        self.listens(hook)
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            info = self._owner(implementation.plugin)
            if info.state != "loaded":
                continue
            values = [arguments[name] for name in implementation.argnames]
            value = self._attempt(info, partial(implementation.function, *values))
            if value is not None:
                results.append(value)
        return results

    def listens(self, hook: str) -> bool:
        """Tell whether any plugin implements ``hook``, after loading those of ``iree.plugins``."""
        for info in self.infos("plugin"):
            if info.state == "available":
                self._attempt(info, partial(self._register, info))
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    def check(self, info: PluginInfo) -> PluginInfo:
        """Try whether a plugin loads, for listings; its ``info`` says how it went."""
        if info.state == "available":
            if info.role == "plugin":
                self._attempt(info, lambda: self._register(info))
            else:
                with suppress(PluginError):  # the state and cause in info are the answer
                    self._get(info.role, info.name, f"iree_{info.role}")
        return info

    def _get(self, role: Role, name: str, hook: str) -> Any:
        info = self._infos.get((role, name))
        if info is None:
            known = ", ".join(self.names(role)) or "none is installed"
            raise UsageError(
                f"There is no {role} {name!r}.",
                hint=f"Known: {known}. `pip install iree-{role}-{name}` may add it.",
            )
        if info.state == "available":
            self._objects[role, name] = self._attempt(info, lambda: self._make(info, hook))
        if info.state != "loaded":
            raise PluginError(
                f"The {role} {name!r} of {info.distribution} {info.version} is {info.state}: "
                f"{info.cause}",
                hint="" if info.state == "refused" else "`iree plugins -v` shows the traceback.",
            )
        return self._objects[role, name]

    def _make(self, info: PluginInfo, hook: str) -> Any:
        plugin = self._register(info)
        implementation = getattr(plugin, hook, None)
        caller = getattr(self._manager.hook, hook)
        if implementation is None or all(i.plugin is not plugin for i in caller.get_hookimpls()):
            raise PluginError(f"it does not implement the hook {hook}, which its group demands.")
        others = [p for p in self._manager.get_plugins() if p is not plugin]
        made = self._manager.subset_hook_caller(hook, others)(name=info.name)
        if made is None:
            raise PluginError(f"its hook {hook} returned None.")
        return made

    def _register(self, info: PluginInfo) -> Any:
        assert info.entry_point is not None
        plugin = info.entry_point.load()
        if not self._manager.is_registered(plugin):
            self._manager.register(plugin, name=f"{info.role}:{info.name}")
        return plugin

    def _owner(self, plugin: Any) -> PluginInfo:
        role, _, name = (self._manager.get_name(plugin) or "").partition(":")
        return self._infos[role, name]  # type: ignore[index]

    def _attempt(self, info: PluginInfo, action: Callable[[], _T]) -> _T | None:
        """Run code of a plugin; a failure marks the plugin broken and gives None."""
        try:
            if info.state == "available":
                _check_requirement(info)
            result = action()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            if info.state == "loaded" and isinstance(error, IreeError):
                raise
            if info.state != "refused":
                info.state, info.cause = "broken", _summary(error)
                info.traceback = traceback.format_exc()
            return None
        info.state = "loaded"
        return result


@lru_cache(maxsize=1)
def installed() -> Plugins:
    """Return the plugins of this environment; the metadata is read once per process."""
    return Plugins()


def _scan() -> Iterator[PluginInfo]:
    """Yield every entry point of our groups, reading only metadata."""
    roles = {group: role for role, group in GROUPS.items()}
    seen: set[str] = set()
    for distribution in metadata.distributions():
        # Parsing the metadata of every installed package would cost more than all the rest.
        if "[iree." not in (distribution.read_text("entry_points.txt") or ""):
            continue
        try:
            name, version = distribution.name, distribution.version
            if name in seen:
                continue  # the first on sys.path hides the others
            seen.add(name)
            points = [point for point in distribution.entry_points if point.group in roles]
        except Exception as error:
            where = str(getattr(distribution, "_path", "unknown"))
            cause = f"its metadata cannot be read ({_summary(error)}). Install it again."
            yield PluginInfo("plugin", where, where, "?", "broken", cause)
            continue
        for point in points:
            yield PluginInfo(roles[point.group], point.name, name, version, entry_point=point)


def _check_requirement(info: PluginInfo) -> None:
    """Mark ``info`` refused and raise if its range of ``iree-core`` excludes this one."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    assert info.entry_point is not None and info.entry_point.dist is not None
    for text in info.entry_point.dist.requires or ():
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) != _CORE or (
            requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            info.state = "refused"
            info.cause = (
                f"it requires iree-core{requirement.specifier}, but iree-core {__version__} is "
                f"installed. Run `pip install --upgrade {info.distribution}` to get one that "
                f"fits, or `pip install '{_CORE}{requirement.specifier}'` to keep this one."
            )
            raise PluginError(info.cause)


def _summary(error: BaseException) -> str:
    if isinstance(error, IreeError):
        return str(error)
    summary = _first_line(error)
    root = error
    while (deeper := root.__cause__ or root.__context__) is not None:
        root = deeper
    return f"{summary}." if root is error else f"{summary} ({_first_line(root)})."


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".")
