"""Compiled dispatches that outlive their compilation, one file each, named by what decides them.

A model compiled again, with other weights or after a change to one layer, finds most of its
dispatches here, and so does another model with layers of the same sizes. A key covers the text of
the dispatch without its own name, the schedule that was asked for, the target with its cost
model, and every version and source file that takes part. A file holds a digest, then facts in
JSON, the kernel's MLIR, the binary and listings, compressed; a damaged one counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from iree_core.cache import code_facts, digest_of, user_folder
from iree_core.codegen.kernel import CompiledDispatch, Kernel
from iree_core.expr import Expr
from iree_core.plugins import installed

if TYPE_CHECKING:
    from iree_core.interfaces import Target
    from iree_core.plugins import PluginInfo

_LIMIT = 1 << 30
# Compilers that decide the code; plugins and the core enter by their own versions and sources.
_COMPILERS = ("llvmlite", "torch-mlir")
_LEVEL = 1  # of zlib: 4 times smaller at 100 MB/s


@dataclass(frozen=True)
class KeptDispatches:
    """The dispatches compiled for one target that are kept in a folder.

    Attributes:
        target: what they are compiled for.
        folder: where they are; None for this user's cache, ``$XDG_CACHE_HOME/iree/dispatches``.
        limit: bytes to keep at most; the least recently used go first.
    """

    target: Target
    folder: Path | None = None
    limit: int = _LIMIT

    def find(self, text: str, strategy: str) -> CompiledDispatch | None:
        """Return what the dispatch was compiled to before, or None.

        Args:
            text: MLIR of the dispatch, with a name that does not depend on the model.
            strategy: the schedule that was asked for, as for ``Backend.compile``.
        """
        path = self._path(text, strategy)
        with suppress(OSError, ValueError, KeyError, zlib.error):
            dispatch = _decode(path.read_bytes())
            os.utime(path)
            return dispatch
        return None

    def keep(self, text: str, strategy: str, dispatch: CompiledDispatch) -> None:
        """Keep what ``Backend.compile`` returned.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self._path(text, strategy)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            partial.write_bytes(_encode(dispatch))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove the files that were used least recently until the rest is within the limit."""
        entries = []
        for path in self._folder.glob("*"):
            with suppress(OSError):  # another process may trim at the same time
                entries.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    @cached_property
    def usable(self) -> bool:
        """Tell whether what generates the code is known: the backend is an installed plugin."""
        return bool(self._backends)

    @property
    def _backends(self) -> list[PluginInfo]:
        return [info for info in installed().infos("backend") if info.name == self.target.backend]

    @cached_property
    def _folder(self) -> Path:
        return self.folder or user_folder("dispatches")

    @cached_property
    def _circumstances(self) -> str:
        """Return what is the same for all dispatches of a compilation, as a digest."""
        return digest_of(
            {
                "target": [self.target.backend, self.target.spec, _cost_model(self.target)],
                "compilers": {name: _version(name) for name in _COMPILERS},
                **code_facts(self._backends),
            }
        )

    def _path(self, text: str, strategy: str) -> Path:
        digest = hashlib.sha256("\0".join((self._circumstances, strategy, text)).encode())
        return self._folder / digest.hexdigest()


def _cost_model(target: Target) -> dict[str, object]:
    """Return the facts of the cost model in an order that does not change between processes."""
    facts = asdict(target.cpu) if target.cpu else {}
    return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in facts.items()}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _encode(dispatch: CompiledDispatch) -> bytes:
    kernel = dispatch.kernel
    parts = [kernel.module.encode(), dispatch.binary, *(data for _, data in dispatch.listings)]
    facts = {
        "name": kernel.name,
        "grid": kernel.grid.to_json(),
        "scratch": kernel.scratch.to_json(),
        "grain": kernel.grain,
        "schedule": kernel.schedule,
        "note": kernel.note,
        "choices": dict(kernel.choices),
        "entry": dispatch.entry,
        "suffixes": [suffix for suffix, _ in dispatch.listings],
        "sizes": [len(part) for part in parts],
    }
    data = zlib.compress(json.dumps(facts).encode() + b"\n" + b"".join(parts), _LEVEL)
    return hashlib.sha256(data).digest() + data


def _decode(content: bytes) -> CompiledDispatch:
    """Invert :func:`_encode`.

    Raises:
        ValueError: it is damaged.
    """
    digest, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("The digest does not match.")
    line, _, rest = zlib.decompress(data).partition(b"\n")
    facts = json.loads(line)
    parts, start = [], 0
    for size in facts["sizes"]:
        parts.append(rest[start : start + size])
        start += size
    kernel = Kernel(
        module=parts[0].decode(),
        name=facts["name"],
        grid=Expr.from_json(facts["grid"]),
        scratch=Expr.from_json(facts["scratch"]),
        grain=facts["grain"],
        schedule=facts["schedule"],
        note=facts["note"],
        choices=tuple(facts["choices"].items()),
    )
    listings = tuple(zip(facts["suffixes"], parts[2:], strict=True))
    return CompiledDispatch(kernel, parts[1], facts["entry"], listings)
