"""Loaded kernels: the driver compiles the PTX of every entry point when the module is loaded."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from iree_backend_cuda import cu
from iree_backend_cuda.image import Entry, parse_image
from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal import Executable

if TYPE_CHECKING:
    from iree_backend_cuda.driver import CudaDevice

_LOG_BYTES = 4096
_MOST_SHARED = 1 << 20


class Function:
    """One entry point as the device runs it.

    Attributes:
        entry: its description.
        handle: the CUfunction.
        shared: bytes of shared memory that a launch asks for.
    """

    def __init__(self, device: CudaDevice, entry: Entry) -> None:
        """Compile and load it.

        Raises:
            ModuleFileError: it is for another kind of device.
            DeviceError: the driver refuses it.
        """
        _check(device, entry)
        self.entry = entry
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        log = ctypes.create_string_buffer(_LOG_BYTES)
        options = (ctypes.c_int32 * 2)(cu.JIT_ERROR_LOG_BUFFER, cu.JIT_ERROR_LOG_BUFFER_SIZE)
        values = (ctypes.c_void_p * 2)(cu.pointer(log), _LOG_BYTES)
        code = ctypes.create_string_buffer(bytes(entry.code))
        api = device.api
        with device.current():
            try:
                device.guarded(
                    api.ModuleLoadDataEx, cu.pointer(module), cu.pointer(code), 2,
                    cu.pointer(options), cu.pointer(values),
                )  # fmt: skip
            except cu.CudaError as error:
                said = log.value.decode(errors="replace").strip().partition("\n")[0]
                raise DeviceError(
                    f"{device.description} does not take kernel {entry.name}: {error.what}"
                    + (f" {said}" if said else ""),
                    hint=error.hint,
                ) from error
            assert module.value is not None
            weakref.finalize(self, _unload, device, module.value).atexit = False
            name = ctypes.create_string_buffer(entry.name.encode())
            device.guarded(
                api.ModuleGetFunction, cu.pointer(function), module.value, cu.pointer(name)
            )
            self.shared = _shared(entry)
            if self.shared:
                device.guarded(
                    api.FuncSetAttribute,
                    function.value,
                    cu.FUNCTION_MAX_DYNAMIC_SHARED,
                    self.shared,
                )
        self.handle = function.value


def _shared(entry: Entry) -> int:
    found = entry.details.get("shared", 0)
    if not isinstance(found, int) or not 0 <= found <= _MOST_SHARED:
        raise ModuleFileError(f"The module asks for {found!r} bytes of shared memory.")
    return found


def _unload(device: CudaDevice, module: int) -> None:
    if device.error is None:
        with device.current():
            device.guarded(device.api.ModuleUnload, module)


def _check(device: CudaDevice, entry: Entry) -> None:
    for need in entry.needs:
        arch = need.removeprefix("sm_")
        if need == arch or not arch.isdecimal():
            raise ModuleFileError(f"The module needs {need}, which the CUDA driver does not know.")
        if int(arch) > device.physical.arch:
            raise ModuleFileError(
                f"The module is for {need} and later devices; {device.description} is older.",
                hint=f"Compile it with --target cuda:sm_{device.physical.arch}.",
            )


class CudaExecutable(Executable):
    """All kernels of a module.

    Attributes:
        functions: one for each entry point.
    """

    def __init__(
        self, device: CudaDevice, data: memoryview, entries: Sequence[tuple[str, int]]
    ) -> None:
        """Load every kernel.

        Raises:
            ModuleFileError: the image is damaged, or needs what the device lacks.
        """
        kernels = parse_image(data)
        if any(not 0 <= number < len(kernels) for _, number in entries):
            raise ModuleFileError("The module names a kernel that is not in its image.")
        self.entries = tuple(name for name, _ in entries)
        made: dict[int, Function] = {}
        for _, number in entries:
            if number not in made:
                made[number] = Function(device, kernels[number])
        self.functions = [made[number] for _, number in entries]
