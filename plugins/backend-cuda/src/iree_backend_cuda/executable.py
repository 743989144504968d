"""Loaded kernels: machine code, or PTX that the driver compiles when the module is loaded."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from iree_backend_cuda import cu
from iree_backend_cuda.image import Entry, cubin_fits, misfit, parse_image
from iree_backend_cuda.launch import read_launch
from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal.kernels import KernelExecutable

if TYPE_CHECKING:
    from iree_backend_cuda.driver import CudaDevice

_LOG_BYTES = 4096


class Function:
    """One entry point as the device runs it.

    Attributes:
        entry: its description.
        handle: the CUfunction.
        launch: what a launch passes besides buffers and sizes.
    """

    def __init__(self, device: CudaDevice, entry: Entry) -> None:
        """Compile and load it.

        Raises:
            ModuleFileError: it is for another kind of device.
            DeviceError: the driver refuses it.
        """
        _check(device, entry)
        self.entry, self.launch = entry, read_launch(entry)
        function = ctypes.c_void_p()
        api = device.api
        with device.current():
            module = self._load(device)
            weakref.finalize(self, _unload, device, module).atexit = False
            name = ctypes.create_string_buffer(entry.name.encode())
            device.guarded(api.ModuleGetFunction, cu.pointer(function), module, cu.pointer(name))
            if self.launch.shared:
                attribute, nbytes = cu.FUNCTION_MAX_DYNAMIC_SHARED, self.launch.shared
                device.guarded(api.FuncSetAttribute, function.value, attribute, nbytes)
        self.handle = function.value

    def _load(self, device: CudaDevice) -> int:
        """Return the module of the machine code if it fits the device, else that of the PTX."""
        entry, launch = self.entry, self.launch
        if launch.cubin and all(cubin_fits(n, device.physical.arch) for n in entry.needs):
            try:
                return _load(device, launch.cubin, ctypes.create_string_buffer(1))
            except cu.CudaError as error:
                # Made by an assembler that is newer than the driver; PTX may be old enough.
                if error.result not in (cu.INVALID_IMAGE, cu.NO_BINARY):
                    raise
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return _load(device, launch.ptx, log)
        except cu.CudaError as error:
            said = log.value.decode(errors="replace").strip().partition("\n")[0]
            raise DeviceError(
                f"{device.description} does not take kernel {entry.name}: {error.what}"
                + (f" {said}" if said else ""),
                hint=error.hint,
            ) from error


def _load(device: CudaDevice, code: bytes, log: ctypes.Array[ctypes.c_char]) -> int:
    """Return the CUmodule of some code; what the driver says about it goes to ``log``."""
    module = ctypes.c_void_p()
    options = (ctypes.c_int32 * 2)(cu.JIT_ERROR_LOG_BUFFER, cu.JIT_ERROR_LOG_BUFFER_SIZE)
    values = (ctypes.c_void_p * 2)(cu.pointer(log), len(log))
    data = ctypes.create_string_buffer(code)
    device.guarded(
        device.api.ModuleLoadDataEx, cu.pointer(module), cu.pointer(data), 2,
        cu.pointer(options), cu.pointer(values),
    )  # fmt: skip
    assert module.value is not None
    return module.value


def _unload(device: CudaDevice, module: int) -> None:
    if device.error is None:
        with device.current():
            device.guarded(device.api.ModuleUnload, module)


def _check(device: CudaDevice, entry: Entry) -> None:
    for need in entry.needs:
        reason = misfit(need, device.physical.arch)
        if reason is not None:
            raise ModuleFileError(
                f"The module does not run on {device.description}: {reason}.",
                hint=f"Compile it with --target cuda:sm_{device.physical.arch}.",
            )


def load(
    device: CudaDevice, data: memoryview, entries: Sequence[tuple[str, int]]
) -> KernelExecutable[Function]:
    """Load every kernel of an image.

    Raises:
        ModuleFileError: the image is damaged, or needs what the device lacks.
        DeviceError: the driver refuses a kernel.
    """
    return KernelExecutable(parse_image(data), entries, lambda _, entry: Function(device, entry))
