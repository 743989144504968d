"""Device memory: buffers that the host maps where the device allows it, else reaches by copies."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_backend_vulkan import vk
from iree_core.errors import DeviceError
from iree_core.hal import heap
from iree_core.hal.parts import MappedBuffer, Piece

if TYPE_CHECKING:
    from iree_backend_vulkan.driver import VulkanDevice

_MOST_IDLE = 512 << 20
_USAGE = vk.USAGE_STORAGE | vk.USAGE_TRANSFER_SRC | vk.USAGE_TRANSFER_DST


@dataclass
class Memory(heap.Memory):
    """A VkBuffer with memory of its own.

    Attributes:
        buffer, memory: the handles.
        address: where the host sees it; 0 where it does not.
    """

    buffer: int
    memory: int
    address: int = 0


class Heap(heap.Heap[Memory]):
    """The memory of one device; a ``mapped`` one is seen by the host."""

    device: VulkanDevice

    def __init__(self, device: VulkanDevice, staged: bool) -> None:
        """Choose memory types; ``staged`` asks for memory that the host does not map."""
        self._types = device.physical.memory
        visible = vk.MEMORY_HOST_VISIBLE | vk.MEMORY_HOST_COHERENT
        local = vk.MEMORY_DEVICE_LOCAL
        shared = self._find(visible | local)
        # Without resizable windows only a small part of a card's memory can be mapped.
        mapped = not staged and shared is not None and self._is_large(shared)
        self._flags = {True: visible | (local if mapped else 0), False: local}
        super().__init__(device, mapped=mapped, most_idle=_MOST_IDLE)
        self.most = device.physical.largest_allocation

    def total(self, mapped: bool) -> int:
        """Return the size of the Vulkan heap that the memory comes from."""
        number = self._find(self._flags[mapped])
        return 0 if number is None else self._heap_of(number)

    def _find(self, flags: int, allowed: int = 0xFFFFFFFF) -> int | None:
        for number in range(self._types.memoryTypeCount):
            has = self._types.memoryTypes[number].propertyFlags & flags == flags
            if has and allowed >> number & 1:
                return number
        return None

    def _heap_of(self, number: int) -> int:
        return int(self._types.memoryHeaps[self._types.memoryTypes[number].heapIndex].size)

    def _is_large(self, number: int) -> bool:
        heaps = self._types.memoryHeaps
        largest = max(
            heaps[n].size for n in range(self._types.memoryHeapCount) if heaps[n].flags & 1
        )
        return self._heap_of(number) * 2 >= largest

    def create(self, capacity: int, mapped: bool) -> Memory | None:
        """Return fresh memory; None if the device or the host has not that much."""
        try:
            return self._create(capacity, mapped)
        except vk.VulkanError as error:
            if error.result not in (vk.OUT_OF_DEVICE_MEMORY, vk.OUT_OF_HOST_MEMORY):
                raise
            return None

    def _create(self, capacity: int, mapped: bool) -> Memory:
        api, device = self.device.api, self.device.handle
        info = vk.BufferCreateInfo(sType=vk.BUFFER_CREATE_INFO, size=capacity, usage=_USAGE)
        buffer, memory = ctypes.c_uint64(), ctypes.c_uint64()
        api.CreateBuffer(device, vk.pointer(info), None, vk.pointer(buffer))
        needed = vk.MemoryRequirements()
        api.GetBufferMemoryRequirements(device, buffer, vk.pointer(needed))
        number = self._find(self._flags[mapped], needed.memoryTypeBits)
        allocation = vk.MemoryAllocateInfo(
            sType=vk.MEMORY_ALLOCATE_INFO, allocationSize=needed.size, memoryTypeIndex=number or 0
        )
        try:
            if number is None:
                raise DeviceError(f"{self.device.description} has no memory for buffers.")
            api.AllocateMemory(device, vk.pointer(allocation), None, vk.pointer(memory))
        except DeviceError:
            api.DestroyBuffer(device, buffer, None)
            raise
        made = Memory(capacity, mapped, buffer.value, memory.value)
        try:
            api.BindBufferMemory(device, buffer, memory, 0)
            if mapped:
                address = ctypes.c_void_p()
                api.MapMemory(device, memory, 0, vk.WHOLE_SIZE, 0, vk.pointer(address))
                made.address = address.value or 0
        except DeviceError:
            self.destroy(made)
            raise
        return made

    def destroy(self, memory: Memory) -> None:
        """Free memory that nothing uses."""
        self.device.api.DestroyBuffer(self.device.handle, memory.buffer, None)
        self.device.api.FreeMemory(self.device.handle, memory.memory, None)


class VulkanBuffer(MappedBuffer[Memory]):
    """A buffer of a Vulkan device."""

    __slots__ = ()

    heap: Heap

    def mapped(self, piece: Piece[Memory]) -> NDArray[np.uint8] | None:
        """Return the bytes themselves where the host maps them."""
        if not piece.memory.address:
            return None
        area: Any = (ctypes.c_uint8 * piece.memory.capacity).from_address(piece.memory.address)
        area._owner = self  # the array keeps the buffer alive
        return np.ctypeslib.as_array(area)[piece.offset : piece.offset + piece.nbytes]

    def transfer(self, piece: Piece[Memory], data: NDArray[np.uint8], *, write: bool) -> None:
        """Copy between the host and memory that it does not map."""
        transfers = self.heap.device.transfers
        if write:
            transfers.upload(piece.memory, piece.offset, data, self)
        else:
            transfers.download(piece.memory, piece.offset, data)
