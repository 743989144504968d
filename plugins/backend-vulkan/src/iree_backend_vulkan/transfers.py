"""Copies to and from memory that the host does not map, by a second queue where there is one."""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_backend_vulkan import vk
from iree_backend_vulkan.commands import submit_info
from iree_backend_vulkan.memory import Memory
from iree_core.hal import transfers

if TYPE_CHECKING:
    from threading import RLock

    from iree_backend_vulkan.driver import VulkanDevice, VulkanSemaphore

_STAGES = vk.PIPELINE_STAGE_HOST | vk.PIPELINE_STAGE_COMPUTE | vk.PIPELINE_STAGE_TRANSFER
_ACCESSES = (
    vk.ACCESS_HOST_READ
    | vk.ACCESS_SHADER_READ
    | vk.ACCESS_SHADER_WRITE
    | vk.ACCESS_TRANSFER_READ
    | vk.ACCESS_TRANSFER_WRITE
)


class Transfers(transfers.Transfers[Memory]):
    """The transfers of one device."""

    semaphore: VulkanSemaphore

    def __init__(self, device: VulkanDevice, queue: int, lock: RLock) -> None:
        super().__init__(device.heap, device.create_semaphore(), lock)
        self._device, self._queue = device, queue

    def host_bytes(self, memory: Memory) -> NDArray[np.uint8]:
        """Return the bytes of memory that the host maps."""
        area = (ctypes.c_uint8 * memory.capacity).from_address(memory.address)
        return np.ctypeslib.as_array(area)

    def submit(
        self, source: tuple[Memory, int], target: tuple[Memory, int], nbytes: int, value: int
    ) -> Any:
        """Record and submit a copy."""
        device, api = self._device, self._device.api
        recorded = _Recorded(device)
        begin = vk.CommandBufferBeginInfo(sType=vk.COMMAND_BUFFER_BEGIN_INFO)
        api.BeginCommandBuffer(recorded.handle, vk.pointer(begin))
        region = vk.BufferCopy(source[1], target[1], nbytes)
        api.CmdCopyBuffer(
            recorded.handle, source[0].buffer, target[0].buffer, 1, vk.pointer(region)
        )
        barrier = vk.MemoryBarrier(
            sType=vk.MEMORY_BARRIER,
            srcAccessMask=vk.ACCESS_TRANSFER_WRITE,
            dstAccessMask=_ACCESSES,
        )
        api.CmdPipelineBarrier(
            recorded.handle, vk.PIPELINE_STAGE_TRANSFER, _STAGES, 0, 1, vk.pointer(barrier),
            0, None, 0, None,
        )  # fmt: skip
        api.EndCommandBuffer(recorded.handle)
        info, kept = submit_info(recorded.handle, [], [(self.semaphore.handle, value)])
        device.guarded(api.QueueSubmit, self._queue, 1, vk.pointer(info), 0)
        return recorded, kept


class _Recorded:
    """A command buffer that is freed with its last reference."""

    def __init__(self, device: VulkanDevice) -> None:
        self.handle = device.allocate_command_buffer()
        weakref.finalize(self, device.free_command_buffer, self.handle, 0).atexit = False
