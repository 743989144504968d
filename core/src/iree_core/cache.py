"""Compiled modules kept by content, so that ``iree run model.onnx`` compiles once.

A key covers all that decides the result: the model's bytes (and those of files beside it that it
refers to), the target and this machine, the options, the versions of the core and the plugins.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iree_core import __version__
from iree_core.errors import UsageError
from iree_core.plugins import installed

if TYPE_CHECKING:
    from iree_core.compiler_service import CompiledModule
    from iree_core.plugins import PluginInfo

_CHUNK = 1 << 20
_DEFAULT_LIMIT = 8 << 30


def user_folder(kind: str) -> Path:
    """Return the folder where this user's things of a kind are cached.

    ``$XDG_CACHE_HOME/iree/modules`` for ``modules``.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "iree" / kind


def default_folder() -> Path:
    """Return the folder for cached modules."""
    return user_folder("modules")


@dataclass(frozen=True)
class ModuleCache:
    """A folder of module files named by key, the least recently used removed first.

    Attributes:
        folder: where they are.
        limit: bytes to keep at most; the newest file is kept in any case.
    """

    folder: Path
    limit: int = _DEFAULT_LIMIT

    def get(self, key: str, make: Callable[[Path], object]) -> tuple[Path, bool]:
        """Return the file for ``key`` and whether it was there; else ``make(path)`` writes it.

        Raises:
            OSError: the folder cannot be written.
            Exception: whatever ``make`` raises; nothing is kept then.
        """
        path = self.folder / f"{key}.vmfb"
        with suppress(OSError):
            os.utime(path)
            return path, True
        self.folder.mkdir(parents=True, exist_ok=True)
        make(path)
        self._trim(path)
        return path, False

    def _trim(self, newest: Path) -> None:
        entries = []
        for path in self.folder.glob("*.vmfb"):
            with suppress(OSError):  # another process may trim at the same time
                entries.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                path.with_suffix(".txt").unlink(missing_ok=True)
                total -= size


def cache_key(
    model: Path, target: str | Sequence[str] | None, options: Mapping[str, object]
) -> str:
    """Return the key of a compilation, a hexadecimal SHA-256.

    Files beside the model that belong to it (external weights) enter with name, size and time
    of change instead of their content.

    Raises:
        OSError: the model cannot be read.
    """
    return content_key({"model": _digest(model), "beside": _beside(model)}, target, options)


def content_key(
    content: Mapping[str, object],
    target: str | Sequence[str] | None,
    options: Mapping[str, object],
) -> str:
    """Return the key of a compilation of something that is no file, a hexadecimal SHA-256.

    Args:
        content: what identifies the model, e.g. digests; JSON can hold it.
        target, options: as for :func:`cache_key`.
    """
    facts = {
        **content,
        "target": target,
        "machine": _machine(),
        "options": {key: _option(value) for key, value in options.items()},
        **code_facts(installed().infos()),
    }
    return digest_of(facts)


def digest_of(facts: Mapping[str, object]) -> str:
    """Return a hexadecimal SHA-256 of facts that JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def code_facts(plugins: Iterable[PluginInfo]) -> dict[str, object]:
    """Return what tells one state of our code from another: the core and these plugins.

    Versions, and a digest of the source files: an editable install must not serve stale results.
    """
    plugins = list(plugins)
    packages = {"iree_core"} | {
        info.entry_point.module.partition(".")[0]
        for info in plugins
        if info.entry_point is not None
    }
    return {
        "core": __version__,
        "plugins": sorted(
            f"{info.role}:{info.name}={info.distribution} {info.version}" for info in plugins
        ),
        "sources": _sources(packages),
    }


def _option(value: object) -> str:
    """Return what tells an option's value from others: of a file, its content."""
    return _digest(value) if isinstance(value, Path) and value.is_file() else str(value)


def _digest(path: Path) -> str:
    """Return the digest of a file, or of all files in a folder with their names."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(f for f in path.rglob("*") if f.is_file()):
            digest.update(f"{file.relative_to(path)}\0{_digest(file)}\0".encode())
        return digest.hexdigest()
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _beside(model: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of the files whose names start like the model's or are weights."""
    suffixes = (".data", ".bin", ".safetensors", ".weights", ".irpa", ".gguf")
    return sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in model.resolve().parent.iterdir()
        if path.name != model.name and path.suffix in suffixes and path.is_file()
    )


def _machine() -> str:
    """Return what a default target depends on: the processor and its features."""
    facts = [platform.machine(), platform.system()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _sources(packages: Iterable[str]) -> str:
    """Return a digest of names, sizes and times of the packages' source files."""
    from importlib.util import find_spec

    digest = hashlib.sha256()
    for package in sorted(packages):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                stat = path.stat()
                digest.update(f"{path}{stat.st_size}{stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def cached_module(
    model: Path, options: Mapping[str, Any], compile: Callable[..., CompiledModule]
) -> tuple[Path, str]:
    """Return the compiled module of ``model`` from this user's cache, and its line of truth.

    Args:
        model: a model file.
        options: arguments for ``compile``.
        compile: called with the model, ``output`` and the options if there is none yet.

    Raises:
        UsageError: the model cannot be read, or the cache not be written.
        IreeError: whatever ``compile`` raises.
    """

    def make(path: Path) -> None:
        module = compile(model, output=path, **options)
        path.with_suffix(".txt").write_text(module.report.summary())

    try:
        key = cache_key(model, options.get("target"), options)
    except OSError as error:
        raise UsageError(f"Cannot read {model}: {error.strerror}.") from error
    try:
        path, found = ModuleCache(default_folder()).get(key, make)
        summary = path.with_suffix(".txt").read_text()
    except OSError as error:
        raise UsageError(
            f"The cache {default_folder()} cannot be used: {error.strerror}.",
            hint="Set XDG_CACHE_HOME to a folder that can be written.",
        ) from error
    return path, f"{summary}, from the cache" if found else summary
