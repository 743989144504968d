"""Hook implementations of the TensorFlow frontend. Imports nothing heavy: ``iree plugins``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from iree_core.interfaces import Frontend


@hookimpl
def iree_frontend() -> Frontend:
    """Return the frontend."""
    from iree_frontend_tf.programs.frontend import TensorflowFrontend

    return TensorflowFrontend()
