"""Entry point of the CPU plugin: the backend ``llvm-cpu``, the drivers ``local-sync/-task``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from iree_core.hal import Driver
    from iree_core.interfaces import Backend


@hookimpl
def iree_backend() -> Backend:
    """Return the code generator; this imports the compiler."""
    from iree_backend_llvm.backend import LlvmCpuBackend

    return LlvmCpuBackend()


@hookimpl
def iree_driver(name: str) -> Driver:
    """Return the driver ``local-sync`` or ``local-task``; this does not import the compiler."""
    from iree_backend_llvm.driver import LocalDriver

    return LocalDriver(name)
