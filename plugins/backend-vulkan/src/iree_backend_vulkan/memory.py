"""Device memory: buffers that the host maps where the device allows it, else reaches by copies.

Freed buffers are kept for the next of their size, because allocation is slow in most drivers
and because a command list can be replayed as recorded when it meets the same buffers again.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_backend_vulkan import vk
from iree_core.errors import DeviceError
from iree_core.hal import Allocator, Buffer

if TYPE_CHECKING:
    from iree_backend_vulkan.driver import VulkanDevice

_LEAST = 256
_MOST_IDLE = 512 << 20
_USAGE = vk.USAGE_STORAGE | vk.USAGE_TRANSFER_SRC | vk.USAGE_TRANSFER_DST
_serial = itertools.count()


@dataclass
class Memory:
    """A VkBuffer with memory of its own.

    Attributes:
        buffer, memory: the handles.
        capacity: its size in bytes.
        address: where the host sees it; 0 where it does not.
        serial: never given to another one.
    """

    buffer: int
    memory: int
    capacity: int
    address: int
    serial: int


class Heap:
    """Allocates and keeps the memory of one device."""

    def __init__(self, device: VulkanDevice, staged: bool) -> None:
        """Choose memory types; ``staged`` asks for memory that the host does not map."""
        self._device = device
        self._idle: dict[tuple[int, bool], list[Memory]] = {}
        self._idle_bytes = 0
        self._lock = threading.Lock()
        self._types = device.physical.memory
        visible = vk.MEMORY_HOST_VISIBLE | vk.MEMORY_HOST_COHERENT
        local = vk.MEMORY_DEVICE_LOCAL
        shared = self._find(visible | local)
        # Without resizable windows only a small part of a card's memory can be mapped.
        self.mapped = not staged and shared is not None and self._is_large(shared)
        self._flags = {True: visible | (local if self.mapped else 0), False: local}

    def _find(self, flags: int, allowed: int = 0xFFFFFFFF) -> int | None:
        for number in range(self._types.memoryTypeCount):
            has = self._types.memoryTypes[number].propertyFlags & flags == flags
            if has and allowed >> number & 1:
                return number
        return None

    def _is_large(self, number: int) -> bool:
        heaps = self._types.memoryHeaps
        largest = max(
            heaps[n].size for n in range(self._types.memoryHeapCount) if heaps[n].flags & 1
        )
        return heaps[self._types.memoryTypes[number].heapIndex].size * 2 >= largest

    def take(self, nbytes: int, visible: bool) -> Memory:
        """Return memory of at least ``nbytes``, idle or fresh.

        Raises:
            DeviceError: the device has not that much.
        """
        capacity = _rounded(nbytes)
        with self._lock:
            idle = self._idle.get((capacity, visible))
            if idle:
                self._idle_bytes -= capacity
                return idle.pop()
        try:
            return self._create(capacity, visible)
        except vk.VulkanError as error:
            if error.result not in (vk.OUT_OF_DEVICE_MEMORY, vk.OUT_OF_HOST_MEMORY):
                raise
        self.trim()
        try:
            return self._create(capacity, visible)
        except vk.VulkanError as error:
            raise DeviceError(
                f"Out of memory on {self._device.description}: {nbytes} bytes cannot be allocated.",
                hint="Use a smaller batch, or a device with more memory.",
            ) from error

    def give_back(self, memory: Memory, visible: bool) -> None:
        """Keep memory that nothing uses any more for the next to ask."""
        with self._lock:
            if self._idle_bytes + memory.capacity <= _MOST_IDLE and not self._device.closed:
                self._idle.setdefault((memory.capacity, visible), []).append(memory)
                self._idle_bytes += memory.capacity
                return
        self._destroy(memory)

    def trim(self) -> None:
        """Free all idle memory."""
        self._device.collect()
        with self._lock:
            idle, self._idle, self._idle_bytes = self._idle, {}, 0
        for memories in idle.values():
            for memory in memories:
                self._destroy(memory)

    def _create(self, capacity: int, visible: bool) -> Memory:
        api, device = self._device.api, self._device.handle
        info = vk.BufferCreateInfo(sType=vk.BUFFER_CREATE_INFO, size=capacity, usage=_USAGE)
        buffer, memory = ctypes.c_uint64(), ctypes.c_uint64()
        api.CreateBuffer(device, vk.pointer(info), None, vk.pointer(buffer))
        needed = vk.MemoryRequirements()
        api.GetBufferMemoryRequirements(device, buffer, vk.pointer(needed))
        number = self._find(self._flags[visible], needed.memoryTypeBits)
        allocation = vk.MemoryAllocateInfo(
            sType=vk.MEMORY_ALLOCATE_INFO, allocationSize=needed.size, memoryTypeIndex=number or 0
        )
        try:
            if number is None:
                raise DeviceError(f"{self._device.description} has no memory for buffers.")
            api.AllocateMemory(device, vk.pointer(allocation), None, vk.pointer(memory))
        except DeviceError:
            api.DestroyBuffer(device, buffer, None)
            raise
        made = Memory(buffer.value, memory.value, capacity, 0, next(_serial))
        try:
            api.BindBufferMemory(device, buffer, memory, 0)
            if visible:
                address = ctypes.c_void_p()
                api.MapMemory(device, memory, 0, vk.WHOLE_SIZE, 0, vk.pointer(address))
                made.address = address.value or 0
        except DeviceError:
            self._destroy(made)
            raise
        return made

    def _destroy(self, memory: Memory) -> None:
        self._device.api.DestroyBuffer(self._device.handle, memory.buffer, None)
        self._device.api.FreeMemory(self._device.handle, memory.memory, None)


def _rounded(nbytes: int) -> int:
    """Return the capacity for a size: few enough distinct ones that idle memory is reused."""
    size = max(nbytes, _LEAST)
    step = max(_LEAST, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


class VulkanBuffer(Buffer):
    """A buffer of a Vulkan device.

    Attributes:
        memory: where its bytes are.
    """

    __slots__ = ("__weakref__", "_heap", "memory")

    def __init__(self, device: VulkanDevice, nbytes: int, *, exclusive: bool = True) -> None:
        self._heap = device.heap
        self.nbytes, self.exclusive = nbytes, exclusive
        self.memory = device.heap.take(nbytes, device.heap.mapped)
        weakref.finalize(self, device.heap.give_back, self.memory, device.heap.mapped)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.nbytes:
            raise DeviceError(
                f"{length} bytes at offset {offset} reach past the end of a buffer of "
                f"{self.nbytes} bytes."
            )

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a copy of a range."""
        found = self.map(offset, length)
        if found is not None:
            return found.copy()
        result = np.empty(length, np.uint8)
        self._heap._device.transfer(self, offset, result, write=False)
        return result

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Overwrite a range."""
        target = self.map(offset, data.nbytes)
        if target is not None:
            target[:] = data
        else:
            self._heap._device.transfer(self, offset, data, write=True)

    def map(self, offset: int, length: int) -> NDArray[np.uint8] | None:
        """Return the range itself where the host maps the memory."""
        self._check(offset, length)
        if not self.memory.address:
            return None
        area: Any = (ctypes.c_uint8 * self.nbytes).from_address(self.memory.address)
        area._owner = self  # the array keeps the buffer alive
        return np.ctypeslib.as_array(area)[offset : offset + length]


class VulkanAllocator(Allocator):
    """Allocates on one Vulkan device."""

    def __init__(self, device: VulkanDevice) -> None:
        self._device = device

    def allocate(self, nbytes: int) -> VulkanBuffer:
        """Return a fresh buffer."""
        if nbytes < 0:
            raise DeviceError(f"A buffer of {nbytes} bytes was asked for.")
        return VulkanBuffer(self._device, nbytes)

    def import_host(self, data: NDArray[np.uint8]) -> VulkanBuffer:
        """Return a buffer with a copy of ``data``."""
        buffer = VulkanBuffer(self._device, data.nbytes, exclusive=False)
        buffer.write(0, data)
        return buffer

    def owns(self, buffer: Buffer) -> bool:
        """Tell whether ``buffer`` is memory of this device."""
        return isinstance(buffer, VulkanBuffer) and buffer._heap is self._device.heap
