"""JAX programs for iree: a look-alike of ``jax.jit``, ``export``, and files of ``jax.export``.

::

    import iree_frontend_jax

    @iree_frontend_jax.jit
    def step(params, x): ...

    program = iree_frontend_jax.export(step)(params, x)
    program.save("step.vmfb")

Importing this package imports nothing else; every name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iree_frontend_jax.exporting import CompiledProgram as CompiledProgram
    from iree_frontend_jax.exporting import export as export
    from iree_frontend_jax.jit import jit as jit

_HOMES = {
    "CompiledProgram": "iree_frontend_jax.exporting",
    "export": "iree_frontend_jax.exporting",
    "jit": "iree_frontend_jax.jit",
}

__all__ = ["CompiledProgram", "export", "jit"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # The function hides the module of the same name, which importing it made an attribute.
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
