"""Entry point of the CUDA plugin: the backend and the driver ``cuda``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from iree_core.hal import Driver
    from iree_core.interfaces import Backend


@hookimpl
def iree_backend() -> Backend:
    """Return the code generator ``cuda``; this imports the compiler."""
    from iree_backend_cuda.backend import CudaBackend

    return CudaBackend()


@hookimpl
def iree_driver() -> Driver:
    """Return the driver ``cuda``; this does not import the compiler."""
    from iree_backend_cuda.driver import CudaDriver

    return CudaDriver()
