"""The GPUs that the CUDA driver knows, with what the HAL driver needs to know of them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from iree_backend_cuda import cu
from iree_core.errors import DeviceError

OLDEST_ARCH = 75


@dataclass(frozen=True)
class PhysicalDevice:
    """One device.

    Attributes:
        handle: the CUdevice.
        name: the card's name.
        arch: ten times its compute capability.
        processors: how many multiprocessors it has.
        memory: bytes of its memory.
        unusable: why the driver cannot use it, None if it can.
    """

    handle: int
    name: str
    arch: int
    processors: int
    memory: int
    unusable: str | None

    @property
    def description(self) -> str:
        """What ``iree devices`` shows."""
        text = (
            f"{self.name} (sm_{self.arch}, {self.processors} multiprocessors, "
            f"{self.memory / (1 << 30):.0f} GiB)"
        )
        if self.unusable is not None:
            return f"{text}: unusable, {self.unusable}"
        return f"{text}, features {', '.join(features(self.arch))}"


def features(arch: int) -> list[str]:
    """Return what matters to compiled code of a compute capability."""
    return ["f16", "tensor-f16", *(["bf16", "tensor-bf16", "tensor-tf32"] if arch >= 80 else [])]


def physical_devices() -> list[PhysicalDevice]:
    """Return the devices of the machine in the driver's order, unusable ones included.

    Raises:
        DeviceError: there is no driver, it is too old, or it finds no device.
    """
    api = cu.api()
    try:
        api.Init(0)
    except cu.CudaError as error:
        if error.result == cu.NO_DEVICE:
            raise DeviceError(
                "The CUDA driver finds no device.",
                hint="CUDA_VISIBLE_DEVICES may hide it; containers need access to it.",
            ) from None
        raise DeviceError(f"The CUDA driver does not start: {error.what}") from None
    version = ctypes.c_int32()
    api.DriverGetVersion(cu.pointer(version))
    if version.value < cu.OLDEST:
        found = f"{version.value // 1000}.{version.value % 1000 // 10}"
        raise DeviceError(
            f"The CUDA driver is for CUDA {found}.", hint="Install one for CUDA 11.4 or later."
        )
    count = ctypes.c_int32()
    api.DeviceGetCount(cu.pointer(count))
    return [_describe(api, number) for number in range(count.value)]


def _describe(api: cu.Api, number: int) -> PhysicalDevice:
    handle, memory = ctypes.c_int32(), ctypes.c_size_t()
    api.DeviceGet(cu.pointer(handle), number)
    name = ctypes.create_string_buffer(256)
    api.DeviceGetName(cu.pointer(name), 256, handle.value)
    api.DeviceTotalMem_v2(cu.pointer(memory), handle.value)

    def attribute(which: int) -> int:
        value = ctypes.c_int32()
        api.DeviceGetAttribute(cu.pointer(value), which, handle.value)
        return value.value

    arch = 10 * attribute(cu.COMPUTE_MAJOR) + attribute(cu.COMPUTE_MINOR)
    unusable = None
    if arch < OLDEST_ARCH:
        unusable = f"its compute capability {arch / 10} is below {OLDEST_ARCH / 10}"
    elif attribute(cu.COMPUTE_MODE) == cu.COMPUTE_MODE_PROHIBITED:
        unusable = "its compute mode is set to prohibited"
    return PhysicalDevice(
        handle.value,
        name.value.decode(errors="replace"),
        arch,
        attribute(cu.MULTIPROCESSOR_COUNT),
        memory.value,
        unusable,
    )


def probe() -> int | None:
    """Return ten times the compute capability of the first usable device, None without one."""
    try:
        devices = physical_devices()
    except DeviceError:
        return None
    return next((device.arch for device in devices if device.unusable is None), None)
