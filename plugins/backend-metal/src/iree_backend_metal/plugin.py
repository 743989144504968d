"""Entry point of the Metal plugin: the backend and the driver ``metal``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from iree_core.hal import Driver
    from iree_core.interfaces import Backend


@hookimpl
def iree_backend(name: str) -> Backend:
    """Return the code generator, as ``metal`` or by IREE's name; this imports the compiler."""
    from iree_backend_metal.backend import MetalBackend

    return MetalBackend(name)


@hookimpl
def iree_driver() -> Driver:
    """Return the driver ``metal``; this does not import the compiler."""
    from iree_backend_metal.driver import MetalDriver

    return MetalDriver()
