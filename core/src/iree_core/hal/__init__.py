"""The hardware abstraction layer: drivers, devices, memory and the order of work."""

from iree_core.hal.buffer import Buffer, BufferView, Region
from iree_core.hal.device import (
    Allocator,
    CommandBuffer,
    Device,
    DeviceInfo,
    Driver,
    Executable,
    Stream,
)
from iree_core.hal.sync import Fence, Semaphore, Timepoint

__all__ = [
    "Allocator",
    "Buffer",
    "BufferView",
    "CommandBuffer",
    "Device",
    "DeviceInfo",
    "Driver",
    "Executable",
    "Fence",
    "Region",
    "Semaphore",
    "Stream",
    "Timepoint",
]
