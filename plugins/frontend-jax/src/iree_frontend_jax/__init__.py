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

from typing import TYPE_CHECKING

from iree_core.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(globals(), _HOMES)
