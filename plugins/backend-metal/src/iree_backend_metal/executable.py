"""Loaded kernels: one pipeline for each entry point, compiled when the module is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iree_backend_metal.features import FEATURES
from iree_backend_metal.image import Entry, parse_image
from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal.kernels import KernelExecutable

if TYPE_CHECKING:
    from iree_backend_metal.driver import MetalDevice


class Pipeline:
    """One entry point as the device runs it.

    Attributes:
        entry: its description.
        state: the MTLComputePipelineState.
    """

    def __init__(self, device: MetalDevice, entry: Entry) -> None:
        """Compile the kernel.

        Raises:
            ModuleFileError: it needs a feature or a size that the device has not.
            DeviceError: Metal's compiler refuses it.
        """
        lacking = [name for name in entry.needs if name not in device.family.features]
        if lacking:
            raise ModuleFileError(
                f"The module needs {', '.join(FEATURES.get(n, n) for n in lacking)}, which "
                f"{device.description} lacks.",
                hint="Compile it for a target without that feature.",
            )
        self.entry = entry
        self.state = compile_kernel(device, bytes(entry.code).decode(), entry.name)
        most = self.state.maxTotalThreadsPerThreadgroup()
        if entry.workgroup > most:
            raise ModuleFileError(
                f"A kernel of the module runs in threadgroups of {entry.workgroup}; "
                f"{device.description} runs it in {most} at most."
            )


def compile_kernel(device: MetalDevice, text: str, name: str) -> Any:
    """Return the MTLComputePipelineState of a kernel.

    Raises:
        DeviceError: Metal's compiler refuses it; the message is its own.
    """
    metal, handle = device.metal, device.handle
    options = metal.MTLCompileOptions.alloc().init()
    if options.respondsToSelector_("setMathMode:"):  # since macOS 15, in place of the other
        options.setMathMode_(metal.MTLMathModeSafe)
    else:
        options.setFastMathEnabled_(False)
    library, error = handle.newLibraryWithSource_options_error_(text, options, None)
    if library is None:
        raise DeviceError(f"Metal's compiler refuses kernel {name}: {_describe(error)}")
    function = library.newFunctionWithName_(name)
    if function is None:
        raise DeviceError(f"A Metal library has no kernel {name}.")
    state, error = handle.newComputePipelineStateWithFunction_error_(function, None)
    if state is None:
        raise DeviceError(f"Metal makes no pipeline of kernel {name}: {_describe(error)}")
    return state


def _describe(error: Any) -> str:
    return "no reason given" if error is None else str(error.localizedDescription())


def load(
    device: MetalDevice, data: memoryview, entries: Sequence[tuple[str, int]]
) -> KernelExecutable[Pipeline]:
    """Compile every kernel of an image.

    Raises:
        ModuleFileError: the image is damaged, or needs what the device lacks.
        DeviceError: Metal's compiler refuses a kernel.
    """
    return KernelExecutable(parse_image(data), entries, lambda _, entry: Pipeline(device, entry))
