"""The Vulkan instance and the physical devices with what the driver needs to know of them."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from iree_backend_vulkan import vk
from iree_backend_vulkan.features import FEATURES
from iree_core.errors import DeviceError

# Tensors lie at multiples of this in their buffer (iree_core.hal, iree_core.layout).
TENSOR_ALIGNMENT = 64
# LP_MAX_TGSI_LOOP_ITERATIONS of Mesa's llvmpipe, shared between all loops of a shader.
_MESA_LOOP_LIMIT = 65535


@dataclass(frozen=True)
class PhysicalDevice:
    """One device of the instance.

    Attributes:
        handle: the VkPhysicalDevice.
        name: the device's name.
        kind: what it is, e.g. ``discrete GPU``.
        version: of the API, major, minor and patch.
        limits: the structure of limits.
        features: names of the optional features it has.
        queue_family: the queue family to compute with.
        queues: how many queues it has.
        memory: its memory types and heaps.
        largest_allocation: bytes of the largest allocation (maxMemoryAllocationSize).
        most_iterations: how many iterations of all loops together the device runs of one
            invocation before it ends them unasked; None where it does not.
        unusable: why the driver cannot use it, None if it can.
    """

    handle: int
    name: str
    kind: str
    version: tuple[int, int, int]
    limits: Any
    features: frozenset[str]
    queue_family: int
    queues: int
    memory: Any
    largest_allocation: int
    most_iterations: int | None
    unusable: str | None

    @property
    def description(self) -> str:
        """What ``iree devices`` shows."""
        version = ".".join(map(str, self.version))
        text = f"{self.name} ({self.kind}, Vulkan {version})"
        if self.unusable is not None:
            return f"{text}: unusable, {self.unusable}"
        return f"{text}, features {', '.join(sorted(self.features)) or 'none'}"


@cache
def _instance(process: int) -> int:
    """Return the instance of a process; one made before a fork is of no use in the child."""
    api = vk.api()
    version = ctypes.c_uint32()
    api.EnumerateInstanceVersion(vk.pointer(version))
    if version.value < vk.API_1_2:
        raise DeviceError(
            "The Vulkan loader is older than Vulkan 1.2.", hint="Install a newer loader."
        )
    application = vk.ApplicationInfo(
        sType=vk.APPLICATION_INFO, pApplicationName=b"iree", pEngineName=b"iree",
        apiVersion=vk.API_1_2,
    )  # fmt: skip
    info = vk.InstanceCreateInfo(
        sType=vk.INSTANCE_CREATE_INFO, pApplicationInfo=vk.pointer(application)
    )
    handle = ctypes.c_void_p()
    try:
        api.CreateInstance(vk.pointer(info), None, vk.pointer(handle))
    except vk.VulkanError as error:
        raise DeviceError(
            f"The Vulkan loader finds no driver ({error.what.rstrip('.')}).",
            hint="On Debian and Ubuntu, `apt-get install mesa-vulkan-drivers` installs drivers; "
            "VK_DRIVER_FILES names their description files.",
        ) from None
    assert handle.value is not None
    return handle.value


def physical_devices() -> list[PhysicalDevice]:
    """Return the devices of the machine in the loader's order, unusable ones included.

    Raises:
        DeviceError: there is no loader or no driver.
    """
    api, instance = vk.api(), _instance(os.getpid())
    count = ctypes.c_uint32()
    api.EnumeratePhysicalDevices(instance, vk.pointer(count), None)
    handles = (ctypes.c_void_p * max(1, count.value))()
    if count.value:
        api.EnumeratePhysicalDevices(instance, vk.pointer(count), vk.pointer(handles))
    return [_describe(handle) for handle in handles[: count.value] if handle is not None]


def _describe(handle: int) -> PhysicalDevice:
    api = vk.api()
    properties = vk.PhysicalDeviceProperties()
    api.GetPhysicalDeviceProperties(handle, vk.pointer(properties))
    number = properties.apiVersion
    version = (number >> 22 & 0x7F, number >> 12 & 0x3FF, number & 0xFFF)
    memory = vk.MemoryProperties()
    api.GetPhysicalDeviceMemoryProperties(handle, vk.pointer(memory))
    kind = vk.DEVICE_TYPES[properties.deviceType] if 0 <= properties.deviceType < 5 else "other"
    reasons = []
    if version < (1, 2, 0):
        reasons.append("it lacks Vulkan 1.2")
    features, timeline = _features(handle) if not reasons else (frozenset[str](), True)
    if not timeline:
        reasons.append("it lacks the feature timelineSemaphore")
    family = _queue_family(handle)
    if family is None:
        reasons.append("it has no queue for compute work")
    alignment = properties.limits.minStorageBufferOffsetAlignment
    if alignment > TENSOR_ALIGNMENT:
        reasons.append(f"its minStorageBufferOffsetAlignment is {alignment}, not at most 64")
    return PhysicalDevice(
        handle,
        properties.deviceName.decode(errors="replace"),
        kind,
        version,
        properties.limits,
        features,
        *(family or (0, 0)),
        memory,
        _largest_allocation(handle) if version >= (1, 2, 0) else 0,
        _MESA_LOOP_LIMIT if version >= (1, 2, 0) and _is_llvmpipe(handle) else None,
        " and ".join(reasons) or None,
    )


def _largest_allocation(handle: int) -> int:
    limits = vk.PropertiesMaintenance3(sType=vk.PROPERTIES_MAINTENANCE_3)
    both = vk.PhysicalDeviceProperties2(
        sType=vk.PHYSICAL_DEVICE_PROPERTIES_2, pNext=vk.pointer(limits)
    )
    vk.api().GetPhysicalDeviceProperties2(handle, vk.pointer(both))
    return int(limits.maxMemoryAllocationSize)


def _is_llvmpipe(handle: int) -> bool:
    driver = vk.PropertiesDriver(sType=vk.PROPERTIES_DRIVER)
    both = vk.PhysicalDeviceProperties2(
        sType=vk.PHYSICAL_DEVICE_PROPERTIES_2, pNext=vk.pointer(driver)
    )
    vk.api().GetPhysicalDeviceProperties2(handle, vk.pointer(both))
    return bool(driver.driverID == vk.DRIVER_MESA_LLVMPIPE)


def feature_chain() -> tuple[Any, Any, Any, Any]:
    """Return the linked feature structures: features, 16-bit, 8-bit, timeline semaphores."""
    timeline = vk.FeaturesTimelineSemaphore(sType=vk.FEATURES_TIMELINE_SEMAPHORE)
    bytes8 = vk.Features8BitStorage(sType=vk.FEATURES_8BIT_STORAGE, pNext=vk.pointer(timeline))
    bytes16 = vk.Features16BitStorage(sType=vk.FEATURES_16BIT_STORAGE, pNext=vk.pointer(bytes8))
    first = vk.PhysicalDeviceFeatures2(
        sType=vk.PHYSICAL_DEVICE_FEATURES_2, pNext=vk.pointer(bytes16)
    )
    return first, bytes16, bytes8, timeline


def _features(handle: int) -> tuple[frozenset[str], bool]:
    first, bytes16, bytes8, timeline = feature_chain()
    vk.api().GetPhysicalDeviceFeatures2(handle, vk.pointer(first))
    found = set()
    for name, (_, member) in FEATURES.items():
        holder = next(s for s in (first.features, bytes16, bytes8) if hasattr(s, member))
        if getattr(holder, member):
            found.add(name)
    return frozenset(found), bool(timeline.timelineSemaphore)


def _queue_family(handle: int) -> tuple[int, int] | None:
    """Return number and size of a queue family that computes."""
    api = vk.api()
    count = ctypes.c_uint32()
    api.GetPhysicalDeviceQueueFamilyProperties(handle, vk.pointer(count), None)
    families = (vk.QueueFamilyProperties * max(1, count.value))()
    api.GetPhysicalDeviceQueueFamilyProperties(handle, vk.pointer(count), vk.pointer(families))
    for number in range(count.value):
        if families[number].queueFlags & vk.QUEUE_COMPUTE:
            return number, int(families[number].queueCount)
    return None
