"""The backend ``vulkan``: dispatches to SPIR-V shaders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from iree_backend_vulkan.features import FEATURES
from iree_backend_vulkan.image import (
    FORMAT,
    ITERATIONS,
    MOST_SCALARS,
    Entry,
    pack_image,
    parse_image,
)
from iree_backend_vulkan.lower import lower_kernel
from iree_backend_vulkan.target import parse_target
from iree_core.codegen import NotScheduled
from iree_core.codegen.gpu import GpuKernel, build_gpu_kernel
from iree_core.codegen.kernel import CompiledDispatch
from iree_core.errors import CompileError, UsageError
from iree_core.expr import const
from iree_core.interfaces import Backend, Executable, Target
from iree_core.ir import Context, make_context

# Columns of a packed panel: whole cache lines for the eight invocations that share a row.
PANEL = 64


class VulkanBackend(Backend):
    """Code generation for devices with Vulkan 1.1 and later."""

    def __init__(self, name: str) -> None:
        """Make the backend under one of its names."""
        self.name = name

    def resolve(self, options: str) -> Target:
        """Return the target that ``options`` names; see :mod:`iree_backend_vulkan.target`."""
        return Target(self.name, parse_target(options).spec, attention=True, panel=PANEL)

    def compile(self, dispatch: str, target: Target, *, strategy: str = "auto") -> CompiledDispatch:
        """Compile one dispatch to a SPIR-V module.

        Raises:
            CompileError: something in the dispatch has no form on a GPU, or needs a feature that
                the target lacks.
            UsageError: an unknown strategy.
        """
        if strategy not in ("auto", "general"):
            raise UsageError(f"Unknown strategy {strategy!r}; there are auto and general.")
        model = parse_target(target.spec).model
        try:
            kernel = build_gpu_kernel(dispatch, model, _context(), general=strategy == "general")
        except NotScheduled as reason:
            raise CompileError(f"No GPU schedule takes the dispatch: {reason}.") from None
        return self.compile_kernel(kernel, target)

    def compile_kernel(self, kernel: GpuKernel, target: Target) -> CompiledDispatch:
        """Compile a scheduled kernel to a SPIR-V module.

        Raises:
            CompileError: like :meth:`compile`.
        """
        shader = lower_kernel(kernel, _context())
        features = parse_target(target.spec).features
        for name, (capability, _) in FEATURES.items():
            if capability in shader.capabilities and name not in features:
                raise CompileError(
                    f"The dispatch needs {capability}, which the target {target.spec} lacks.",
                    hint=f"Add +{name} to the target if the devices it is for have it.",
                )
        scalars = kernel.scalars
        if scalars > MOST_SCALARS:
            raise CompileError(
                f"The dispatch has {scalars} run-time sizes; a shader takes {MOST_SCALARS}."
            )
        capabilities = tuple(sorted(shader.capabilities))
        entry = Entry(
            kernel.name,
            shader.binary,
            kernel.workgroup,
            scalars,
            kernel.results,
            kernel.scratch != const(0),
            kernel.sizes,
            capabilities,
            details={ITERATIONS: shader.iterations and shader.iterations.to_json()},
        )
        return CompiledDispatch(kernel, pack_image([entry]), kernel.name, (("spv", shader.binary),))

    def link(self, dispatches: Sequence[CompiledDispatch], target: Target) -> Executable:
        """Join shaders into one image."""
        entries = [parse_image(dispatch.binary)[0] for dispatch in dispatches]
        names = tuple((dispatch.entry, number) for number, dispatch in enumerate(dispatches))
        return Executable(FORMAT, target.spec, pack_image(entries), names)


@cache
def _context() -> Context:
    """Return the context of this process; loading the dialects takes about 10 ms."""
    return make_context()
