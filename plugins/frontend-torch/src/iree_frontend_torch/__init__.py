"""PyTorch programs for iree: ``export`` modules, read ``.pt2`` files, be a torch.compile backend.

::

    import iree_frontend_torch

    program = iree_frontend_torch.export(model, example)
    program.save("model.vmfb")
    y = program(x)

    fast = torch.compile(model, backend="iree")

Importing this package imports nothing else; every name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.lazy import lazy_names

if TYPE_CHECKING:
    from iree_frontend_torch.exporting import CompiledProgram as CompiledProgram
    from iree_frontend_torch.exporting import export as export
    from iree_frontend_torch.files import save as save
    from iree_frontend_torch.training import training_step as training_step

_HOMES = {
    "CompiledProgram": "iree_frontend_torch.exporting",
    "export": "iree_frontend_torch.exporting",
    "save": "iree_frontend_torch.files",
    "training_step": "iree_frontend_torch.training",
}

__all__ = ["CompiledProgram", "export", "save", "training_step"]

__getattr__, __dir__ = lazy_names(globals(), _HOMES)
