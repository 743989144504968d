"""Entry point of the Vulkan plugin: the backend and the driver ``vulkan``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from iree_core.hal import Driver
    from iree_core.interfaces import Backend


@hookimpl
def iree_backend(name: str) -> Backend:
    """Return the code generator, as ``vulkan`` or by IREE's name; this imports the compiler."""
    from iree_backend_vulkan.backend import VulkanBackend

    return VulkanBackend(name)


@hookimpl
def iree_driver() -> Driver:
    """Return the driver ``vulkan``; this does not import the compiler."""
    from iree_backend_vulkan.driver import VulkanDriver

    return VulkanDriver()
