"""Names of a package that are loaded when they are first used, so that importing it is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    namespace: dict[str, Any], homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        namespace: the package's ``globals()``; what is loaded is kept there, where it also hides
            a module of the same name.
        homes: the module that defines each name.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        found = getattr(import_module(homes[name]), name)
        namespace[name] = found
        return found

    def list_names() -> list[str]:
        return sorted({*namespace, *homes})

    return get, list_names
