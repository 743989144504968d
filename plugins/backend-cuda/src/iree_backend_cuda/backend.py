"""The backend ``cuda``: dispatches to PTX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

from iree_backend_cuda.assembler import assemble
from iree_backend_cuda.image import FORMAT, MOST_SCALARS, Entry, pack_image, parse_image
from iree_backend_cuda.kernel import CudaKernel
from iree_backend_cuda.lower import lower_kernel
from iree_backend_cuda.shared_memory import build_shared_contraction
from iree_backend_cuda.target import parse_target
from iree_backend_cuda.tensor_cores import build_tensor_contraction
from iree_backend_cuda.warpgroups import build_warpgroup_contraction
from iree_core.codegen import NotScheduled
from iree_core.codegen.gpu import GpuKernel, Schedule, build_gpu_kernel
from iree_core.codegen.kernel import CompiledDispatch
from iree_core.errors import CompileError, UsageError
from iree_core.expr import const
from iree_core.interfaces import Backend, Executable, Target
from iree_core.ir import Context, make_context


class CudaBackend(Backend):
    """Code generation for NVIDIA GPUs of compute capability 7.5 and later."""

    name = "cuda"

    def resolve(self, options: str) -> Target:
        """Return the target that ``options`` names; see :mod:`iree_backend_cuda.target`."""
        return Target(self.name, parse_target(options).spec, attention=True)

    def compile(self, dispatch: str, target: Target, *, strategy: str = "auto") -> CompiledDispatch:
        """Compile one dispatch to PTX.

        Raises:
            CompileError: something in the dispatch has no form on a GPU.
            UsageError: an unknown strategy.
        """
        if strategy not in ("auto", "general"):
            raise UsageError(f"Unknown strategy {strategy!r}; there are auto and general.")
        cuda = parse_target(target.spec)
        model, context = cuda.device_class.model, _context()
        own: list[tuple[str, Schedule]] = [
            ("shared memory", partial(build_shared_contraction, target=cuda))
        ]
        if cuda.tensor_cores:
            own.insert(0, ("tensor cores", partial(build_tensor_contraction, target=cuda)))
        if cuda.warpgroups:
            own.insert(0, ("warp groups", partial(build_warpgroup_contraction, target=cuda)))
        try:
            general = strategy == "general"
            kernel = build_gpu_kernel(dispatch, model, context, general=general, own=own)
        except NotScheduled as reason:
            raise CompileError(f"No GPU schedule takes the dispatch: {reason}.") from None
        return self.compile_kernel(kernel, target)

    def compile_kernel(self, kernel: GpuKernel, target: Target) -> CompiledDispatch:
        """Compile a scheduled kernel to PTX, and to a cubin if the target asks for it.

        Raises:
            CompileError: like :meth:`compile`.
        """
        cuda = parse_target(target.spec)
        if kernel.scalars > MOST_SCALARS:
            raise CompileError(
                f"The dispatch has {kernel.scalars} run-time sizes; a kernel takes {MOST_SCALARS}."
            )
        ptx = lower_kernel(kernel, _context(), cuda)
        code, listings = ptx.encode(), [("ptx", ptx.encode())]
        details = kernel.details if isinstance(kernel, CudaKernel) else {}
        if cuda.cubin:
            cubin = assemble(ptx, cuda.name)
            code, details = code + cubin, {**details, "ptx": len(code)}
            listings.append(("cubin", cubin))
        entry = Entry(
            kernel.name,
            code,
            kernel.workgroup,
            kernel.scalars,
            kernel.results,
            kernel.scratch != const(0),
            kernel.sizes,
            (cuda.name,),
            details=details,
        )
        return CompiledDispatch(kernel, pack_image([entry]), kernel.name, tuple(listings))

    def link(self, dispatches: Sequence[CompiledDispatch], target: Target) -> Executable:
        """Join kernels into one image."""
        entries = [parse_image(dispatch.binary)[0] for dispatch in dispatches]
        names = tuple((dispatch.entry, number) for number, dispatch in enumerate(dispatches))
        return Executable(FORMAT, target.spec, pack_image(entries), names)


@cache
def _context() -> Context:
    """Return the context of this process; loading the dialects takes about 10 ms."""
    return make_context()
