"""``iree doctor``: what is installed, what works, and how to repair what does not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import click

from iree_core import __version__
from iree_core.cache import default_folder
from iree_core.errors import DeviceError, IreeError
from iree_core.plugins import installed

_NONE = "none on this machine"


@dataclass(frozen=True)
class Finding:
    """One line: whether it is fine, what was looked at, what was found, what to do."""

    good: bool
    what: str
    found: str
    cure: str = ""


@click.command("doctor", short_help="Check the installation.")
def doctor_command() -> int:
    """Check the installation: packages, compiler, plugins, devices, cache. Exit code 1 if bad."""
    bad = 0
    for check in (_packages, _compiler, _plugins, _devices, _folders):
        for finding in check():
            print(f"{'ok ' if finding.good else 'BAD'}  {finding.what}: {finding.found}")
            if not finding.good:
                bad += 1
                if finding.cure:
                    print(f"     {finding.cure}")
    print(f"{bad} problem{'s' if bad != 1 else ''} found." if bad else "Everything works.")
    return 1 if bad else 0


def _packages() -> Iterator[Finding]:
    yield Finding(
        sys.version_info >= (3, 11), "python", f"{platform.python_version()} ({sys.executable})"
    )
    yield Finding(True, "iree-core", f"{__version__} ({Path(__file__).parents[1]})")


def _compiler() -> Iterator[Finding]:
    """Try the toolchain in a process of its own, as a compilation would."""
    from iree_core.compiler_service import compile

    versions = []
    for name in ("torch-mlir", "llvmlite"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Finding(
                True, "compiler", f"{name} is not installed; this machine runs modules only"
            )
            return
    source = b"func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> { return %x : tensor<4xf32> }"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.mlir"
        path.write_bytes(source)
        yield _try("compiler", lambda: _compiled(compile(path, compile_to="abi"), versions))


def _compiled(_: object, versions: list[str]) -> str:
    return ", ".join(versions)


def _plugins() -> Iterator[Finding]:
    infos = installed().infos()
    for info in infos:
        installed().check(info)
        yield Finding(
            info.state == "loaded",
            f"{info.role} {info.name}",
            f"{info.distribution} {info.version}, {info.state}",
            info.cause,
        )
    if not any(info.role == "driver" for info in infos):
        cure = "`pip install iree-backend-llvm` adds the CPU."
        yield Finding(False, "drivers", "none, so nothing can run", cure)


def _devices() -> Iterator[Finding]:
    """A machine need not have a device for every driver, but it needs one."""
    found = False
    for name in installed().names("driver"):
        finding = _try(f"devices of {name}", partial(_found, name))
        found |= finding.good and not finding.found.startswith(_NONE)
        yield finding
    if not found:
        yield Finding(False, "devices", "none of any driver, so nothing can run")


def _found(name: str) -> str:
    try:
        devices = installed().driver(name).query_devices()
    except DeviceError as error:
        return f"{_NONE}: {error}"
    return ", ".join(device.description for device in devices) or _NONE


def _folders() -> Iterator[Finding]:
    folder = default_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    size = sum(path.stat().st_size for path in folder.glob("*.vmfb")) if folder.exists() else 0
    free = shutil.disk_usage(existing).free
    yield Finding(
        os.access(existing, os.W_OK) and free > 1 << 28,
        "cache",
        f"{folder}, {size / 1e6:.0f} MB used, {free / 1e9:.1f} GB free",
        f"Make {existing} writable, free some space, or set XDG_CACHE_HOME.",
    )


def _try(what: str, action: Callable[[], str]) -> Finding:
    try:
        return Finding(True, what, action())
    except IreeError as error:
        return Finding(False, what, "does not work", str(error))
