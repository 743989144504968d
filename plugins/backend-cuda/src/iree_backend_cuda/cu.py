"""The CUDA driver API through ctypes: the functions used, their constants and their errors.

Source: NVIDIA, CUDA Driver API reference, version 11.4 (the oldest driver with all of them).
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import c_char_p, c_int32, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

from iree_core.errors import DeviceError

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE = 0, 1, 2, 100
INVALID_IMAGE, NO_BINARY = 200, 209
INVALID_PTX, UNSUPPORTED_PTX, NOT_READY = 218, 222, 600
# After these the context, and with it the device in this process, is of no use any more.
_STICKY = frozenset({214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719})

STREAM_NON_BLOCKING = 1
EVENT_DISABLE_TIMING = 2
CAPTURE_RELAXED = 2
HOST_ALLOC_PORTABLE = 1
FUNCTION_MAX_DYNAMIC_SHARED = 8
JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BUFFER_SIZE = 5, 6
# Attributes of a device.
MULTIPROCESSOR_COUNT, COMPUTE_MODE, COMPUTE_MAJOR, COMPUTE_MINOR = 16, 20, 75, 76
COMPUTE_MODE_PROHIBITED = 2
OLDEST = 11040

# Arguments: P a pointer or a handle, D a device pointer, Z a size, i and I integers of 32 bits,
# L one of 64, B and H of 8 and 16.
_KINDS = {
    "P": c_void_p, "D": c_uint64, "Z": c_size_t, "i": c_int32, "I": c_uint32, "L": c_uint64,
    "B": c_uint8, "H": c_uint16,
}  # fmt: skip
FUNCTIONS = {
    "Init": "I", "DriverGetVersion": "P", "DeviceGetCount": "P", "DeviceGet": "Pi",
    "DeviceGetName": "Pii", "DeviceGetAttribute": "Pii", "DeviceTotalMem_v2": "Pi",
    "DevicePrimaryCtxRetain": "Pi", "DevicePrimaryCtxRelease_v2": "i",
    "CtxPushCurrent_v2": "P", "CtxPopCurrent_v2": "P", "MemAlloc_v2": "PZ", "MemFree_v2": "D",
    "MemHostAlloc": "PZI", "MemFreeHost": "P", "MemcpyHtoDAsync_v2": "DPZP",
    "MemcpyDtoHAsync_v2": "PDZP", "MemcpyDtoDAsync_v2": "DDZP", "MemsetD8Async": "DBZP",
    "MemsetD16Async": "DHZP", "MemsetD32Async": "DIZP", "MemsetD2D32Async": "DZIZZP",
    "ModuleLoadDataEx": "PPIPP", "ModuleGetFunction": "PPP", "ModuleUnload": "P",
    "FuncSetAttribute": "Pii",
    "StreamCreate": "PI", "StreamDestroy_v2": "P", "StreamSynchronize": "P",
    "StreamWaitEvent": "PPI", "StreamBeginCapture_v2": "Pi", "StreamEndCapture": "PP",
    "EventCreate": "PI", "EventRecord": "PP", "EventQuery": "P", "EventSynchronize": "P",
    "EventDestroy_v2": "P", "LaunchKernel": "PIIIIIIIPPP", "GraphInstantiateWithFlags": "PPL",
    "GraphLaunch": "PP", "GraphExecDestroy": "P", "GraphDestroy": "P", "GetErrorName": "iP",
    "GetErrorString": "iP",
}  # fmt: skip
# Functions of later drivers, which need not be there, and the version of CUDA that has them.
LATER = {"TensorMapEncodeTiled": ("PiIDPPPPiiii", "12.0")}


class CudaError(DeviceError):
    """A call of the API failed.

    Attributes:
        result: the CUresult.
    """

    result = 0

    @property
    def fatal(self) -> bool:
        """Whether the device can do nothing more in this process."""
        return self.result in _STICKY


class Api:
    """The functions of libcuda as methods; a result other than success raises CudaError."""

    def __init__(self, library: Any) -> None:
        self._text: dict[str, Any] = {}
        for name, kinds in FUNCTIONS.items():
            function = getattr(library, "cu" + name)
            function.restype = c_int32
            function.argtypes = [_KINDS[kind] for kind in kinds]
            if name.startswith("GetError"):
                self._text[name] = function
            else:
                setattr(self, name, self._checked(name, function))

        for name, (kinds, version) in LATER.items():
            function = getattr(library, "cu" + name, None)
            if function is None:
                setattr(self, name, _missing(name, version))
                continue
            function.restype = c_int32
            function.argtypes = [_KINDS[kind] for kind in kinds]
            setattr(self, name, self._checked(name, function))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"The driver does not use cu{name}.")

    def _checked(self, name: str, function: Any) -> Any:
        def call(*arguments: Any) -> int:
            result = function(*arguments)
            if result not in (SUCCESS, NOT_READY):
                raise self._error(name, result)
            return int(result)

        return call

    def _error(self, name: str, result: int) -> CudaError:
        error = CudaError(f"cu{name} failed: {self._say(result)}.", hint=_hint(result))
        error.result = result
        return error

    def _say(self, result: int) -> str:
        parts = []
        for function in ("GetErrorName", "GetErrorString"):
            text = c_char_p()
            if self._text[function](result, ctypes.addressof(text)) == SUCCESS and text.value:
                parts.append(text.value.decode(errors="replace"))
        return ", ".join(parts) or f"error {result}"


def _missing(name: str, version: str) -> Any:
    def call(*_: Any) -> int:
        raise DeviceError(
            f"The CUDA driver has no cu{name}.", hint=f"Install one for CUDA {version} or later."
        )

    return call


def _hint(result: int) -> str | None:
    if result == OUT_OF_MEMORY:
        return "Use a smaller batch, or a device with more memory."
    if result == UNSUPPORTED_PTX:
        return "Install a newer driver, or compile for an older device class."
    if result in _STICKY:
        return "The device can be used again by another process."
    return None


@cache
def api() -> Api:
    """Return the functions of the system's CUDA driver.

    Raises:
        DeviceError: there is none, or one that is too old.
    """
    library = _load()
    try:
        return Api(library)
    except AttributeError as error:
        raise DeviceError(
            f"The CUDA driver is too old: {error}.", hint="Install one for CUDA 11.4 or later."
        ) from None


def _load() -> Any:
    names = {"win32": ["nvcuda.dll"], "linux": ["libcuda.so.1", "libcuda.so"]}
    tried = names.get(sys.platform, [])
    for name in tried:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise DeviceError(
        "There is no CUDA driver on this machine"
        + (f" ({tried[0]} does not load)." if tried else f": none exists for {sys.platform}."),
        hint="NVIDIA's display driver brings it; the CUDA toolkit is not needed.",
    )


def pointer(value: Any) -> int:
    """Return the address of a structure or an array, which must be kept alive."""
    return ctypes.addressof(value)
