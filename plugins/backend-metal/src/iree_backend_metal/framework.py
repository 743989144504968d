"""Where the driver gets Apple's Metal framework from: PyObjC, on macOS.

The only module that imports it, so that what is called can be seen, and replaced in tests.
Names are those of the Objective-C API with colons as underscores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from iree_core.errors import DeviceError


@dataclass(frozen=True)
class Framework:
    """Apple's framework.

    Attributes:
        metal: the module ``Metal``: its functions, classes and constants.
        autorelease_pool: makes the context in which temporary objects are freed at the end.
    """

    metal: Any
    autorelease_pool: Callable[[], AbstractContextManager[Any]]


def load() -> Framework:
    """Return the framework of this machine.

    Raises:
        DeviceError: this is no Mac, or the bindings are not installed.
    """
    if sys.platform != "darwin":
        raise DeviceError(f"Metal exists on macOS only; this system is {sys.platform}.")
    try:
        import Metal
        import objc
    except ImportError as error:
        raise DeviceError(
            f"The Python bindings of Metal cannot be imported: {error}.",
            hint="pip install pyobjc-framework-Metal",
        ) from error
    return Framework(Metal, objc.autorelease_pool)
