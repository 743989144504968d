"""The backend ``metal``: dispatches to text of the Metal Shading Language."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from iree_backend_metal.features import FEATURES
from iree_backend_metal.image import (
    FORMAT,
    MOST_BUFFERS,
    MOST_SCALARS,
    Entry,
    pack_image,
    parse_image,
)
from iree_backend_metal.msl.arithmetic import NATIVE
from iree_backend_metal.msl.emit import ENTRY, emit_source
from iree_backend_metal.target import parse_target
from iree_core.codegen import NotScheduled
from iree_core.codegen.gpu import GpuKernel, build_gpu_kernel
from iree_core.codegen.gpu.prepare import prepare
from iree_core.codegen.kernel import CompiledDispatch
from iree_core.errors import CompileError, UsageError
from iree_core.expr import const
from iree_core.interfaces import Backend, Executable, Target
from iree_core.ir import Context, ir, make_context


class MetalBackend(Backend):
    """Code generation for devices with Metal 2.3 and later."""

    def __init__(self, name: str) -> None:
        """Make the backend under one of its names."""
        self.name = name

    def resolve(self, options: str) -> Target:
        """Return the target that ``options`` names; see :mod:`iree_backend_metal.target`."""
        return Target(self.name, parse_target(options).spec, attention=True)

    def compile(self, dispatch: str, target: Target, *, strategy: str = "auto") -> CompiledDispatch:
        """Compile one dispatch to MSL.

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
        """Compile a scheduled kernel to MSL.

        Raises:
            CompileError: like :meth:`compile`.
        """
        with _context(), ir.Location.unknown():
            _module, function = prepare(kernel, halves=True, native=NATIVE)
            source = emit_source(function, kernel.workgroup)
        for name in sorted(source.needs - parse_target(target.spec).features):
            raise CompileError(
                f"The dispatch needs {FEATURES[name]}, which the target {target.spec} lacks.",
                hint=f"Add +{name} to the target if the devices it is for have it.",
            )
        scratch = kernel.scratch != const(0)
        buffers = len(kernel.sizes) + scratch + bool(kernel.scalars)
        if buffers > MOST_BUFFERS or kernel.scalars > MOST_SCALARS:
            raise CompileError(
                f"The dispatch has {buffers} buffers and {kernel.scalars} run-time sizes; a Metal "
                f"kernel takes {MOST_BUFFERS} and {MOST_SCALARS}."
            )
        entry = Entry(
            ENTRY,
            source.text.encode(),
            kernel.workgroup,
            kernel.scalars,
            kernel.results,
            scratch,
            kernel.sizes,
            tuple(sorted(source.needs)),
            source.element_bytes[: len(kernel.sizes)],
        )
        return CompiledDispatch(
            kernel, pack_image([entry]), ENTRY, (("metal", source.text.encode()),)
        )

    def link(self, dispatches: Sequence[CompiledDispatch], target: Target) -> Executable:
        """Join kernels into one image."""
        entries = [parse_image(dispatch.binary)[0] for dispatch in dispatches]
        names = tuple((dispatch.entry, number) for number, dispatch in enumerate(dispatches))
        return Executable(FORMAT, target.spec, pack_image(entries), names)


@cache
def _context() -> Context:
    """Return the context of this process; loading the dialects takes about 10 ms."""
    return make_context()
