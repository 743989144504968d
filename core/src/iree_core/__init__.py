"""A machine-learning compiler and runtime on MLIR, small and made of plugins.

::

    import iree_core as iree

    module = iree.compile("resnet50.onnx", target="llvm-cpu")  # .save("resnet50.vmfb")
    resnet = iree.load(module)  # or a path; device="vulkan"; threads=2
    y = resnet.main(x)

Importing this package imports nothing else; every name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iree_core.lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from iree_core.compiler_service import CompiledModule as CompiledModule
    from iree_core.compiler_service import compile as compile
    from iree_core.hookspecs import hookimpl as hookimpl
    from iree_core.runtime_api import load as load

_HOMES = {
    "CompiledModule": "iree_core.compiler_service",
    "compile": "iree_core.compiler_service",
    "hookimpl": "iree_core.hookspecs",
    "load": "iree_core.runtime_api",
}

__all__ = ["CompiledModule", "__version__", "compile", "hookimpl", "load"]

__getattr__, __dir__ = lazy_names(globals(), _HOMES)
