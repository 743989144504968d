"""The backend ``llvm-cpu``: dispatches to machine code by way of LLVM, linked without a linker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from iree_backend_llvm.image import pack_image
from iree_backend_llvm.link import link
from iree_backend_llvm.lower import lower_kernel
from iree_backend_llvm.target import (
    cpu_model,
    has_half_conversions,
    has_scaling,
    image_features,
    parse_target,
)
from iree_core.codegen import NotScheduled, build_kernel, general, llvmir
from iree_core.codegen.kernel import CompiledDispatch, Kernel
from iree_core.errors import UsageError
from iree_core.interfaces import Backend, Executable, Target
from iree_core.ir import Context, make_context


class LlvmCpuBackend(Backend):
    """Code generation for the processors LLVM knows: x86-64, AArch64, RISC-V (64-bit)."""

    name = "llvm-cpu"

    def default_for_host(self) -> bool:
        """Return True: this backend is for the processor of the machine it runs on."""
        return True

    def resolve(self, options: str) -> Target:
        """Return the target that ``options`` names; see :mod:`iree_backend_llvm.target`."""
        target = parse_target(options)
        return Target(self.name, target.spec, cpu_model(target))

    def compile(self, dispatch: str, target: Target, *, strategy: str = "auto") -> CompiledDispatch:
        """Compile one dispatch to an object file.

        Raises:
            CompileError: LLVM or a lowering refuses it.
            UsageError: an unknown strategy.
        """
        if strategy not in ("auto", "general"):
            raise UsageError(f"Unknown strategy {strategy!r}; there are auto and general.")
        kernel = self._schedule(dispatch, target, strategy)
        return self.compile_kernel(kernel, target)

    def compile_kernel(self, kernel: Kernel, target: Target) -> CompiledDispatch:
        """Compile a scheduled kernel to an object file.

        Raises:
            CompileError: LLVM or a lowering refuses it.
        """
        cpu = parse_target(target.spec)
        text = self.lower(kernel, target)
        binary = llvmir.emit_object(
            text, cpu.machine(), abi=cpu.abi, vectorize=kernel.schedule == "general"
        )
        return CompiledDispatch(kernel, binary, kernel.name)

    def lower(self, kernel: Kernel, target: Target) -> str:
        """Return a kernel as LLVM IR.

        Raises:
            CompileError: a lowering refuses it.
        """
        cpu = parse_target(target.spec)
        halves, scales = has_half_conversions(cpu), has_scaling(cpu)
        return lower_kernel(kernel, _context(), cpu_model(cpu), halves=halves, scales=scales)

    def link(self, dispatches: Sequence[CompiledDispatch], target: Target) -> Executable:
        """Link object files into one image.

        Raises:
            CompileError: an object calls what the runtime does not provide.
        """
        cpu = parse_target(target.spec)
        linked = link([(d.binary, d.entry) for d in dispatches])
        image = pack_image(
            linked.code,
            arch=cpu.arch,
            features=image_features(cpu),
            imports=linked.imports,
            import_offset=linked.import_offset,
        )
        names = (dispatch.entry for dispatch in dispatches)
        return Executable(
            format=f"native-{cpu.arch}",
            target=target.spec,
            data=image,
            entries=tuple(zip(names, linked.entries, strict=True)),
        )

    def _schedule(self, dispatch: str, target: Target, strategy: str) -> Kernel:
        model = target.cpu or cpu_model(parse_target(target.spec))
        if strategy == "general":
            return general.build_general(dispatch, _context())
        try:
            return build_kernel(dispatch, model)
        except NotScheduled as reason:
            return replace(general.build_general(dispatch, _context()), note=str(reason))


@cache
def _context() -> Context:
    """Return the context of this process; loading the dialects takes about 10 ms."""
    return make_context()
