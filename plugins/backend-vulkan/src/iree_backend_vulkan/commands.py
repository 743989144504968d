"""Command lists as Vulkan command buffers; :mod:`iree_core.hal.recording` keeps them for replay."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from iree_backend_vulkan import vk
from iree_backend_vulkan.executable import Pipeline
from iree_backend_vulkan.memory import Memory, VulkanBuffer
from iree_core.errors import DeviceError
from iree_core.hal.kernel_image import Entry
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedBuffer
from iree_core.hal.recording import Place, Recorder
from iree_core.vm.program import CommandList, Dispatch

if TYPE_CHECKING:
    from iree_backend_vulkan.driver import VulkanDevice

_STAGES = vk.PIPELINE_STAGE_COMPUTE | vk.PIPELINE_STAGE_TRANSFER
_READS = vk.ACCESS_SHADER_READ | vk.ACCESS_TRANSFER_READ
_WRITES = vk.ACCESS_SHADER_WRITE | vk.ACCESS_TRANSFER_WRITE


class Recording(Recorder[Memory, Pipeline]):
    """A command list recorded for certain buffers and parameters.

    Attributes:
        handle: the VkCommandBuffer.
    """

    def __init__(
        self,
        device: VulkanDevice,
        commands: CommandList,
        executable: KernelExecutable[Pipeline] | None,
        buffers: Sequence[PartedBuffer[Memory]],
        params: Sequence[int],
    ) -> None:
        """Record everything; raises what :meth:`Recorder.record` does."""
        super().__init__(device.description, executable, buffers, params)
        self._device, self._api = device, device.api
        self.alignment = device.physical.limits.minStorageBufferOffsetAlignment
        dispatches = [c for c in commands.commands if isinstance(c, Dispatch)]
        self._sets = self._descriptor_sets(dispatches)
        self.handle = device.allocate_command_buffer()
        weakref.finalize(self, device.free_command_buffer, self.handle, self._pool).atexit = False
        begin = vk.CommandBufferBeginInfo(
            sType=vk.COMMAND_BUFFER_BEGIN_INFO, flags=vk.COMMAND_BUFFER_SIMULTANEOUS_USE
        )
        self._api.BeginCommandBuffer(self.handle, vk.pointer(begin))
        self._is_first = True
        self.record(commands)
        self._barrier(vk.PIPELINE_STAGE_HOST, vk.ACCESS_HOST_READ)
        self._api.EndCommandBuffer(self.handle)

    def allocate(self, nbytes: int) -> VulkanBuffer:
        """Return fresh memory for this recording."""
        return VulkanBuffer(self._device.heap, nbytes)

    def check_tensor(self, entry: Entry, operand: int, nbytes: int) -> str | None:
        """Return why a descriptor cannot point to a tensor of that size; None if it can."""
        most = self._device.physical.limits.maxStorageBufferRange
        if nbytes > most:
            return f"a shader can address {most} bytes of one (maxStorageBufferRange)"
        return None

    def _descriptor_sets(self, dispatches: Sequence[Dispatch]) -> dict[int, list[int]]:
        """Return descriptor sets for every dispatch, by its entry point."""
        self._pool = 0
        if not dispatches:
            return {}
        api, device = self._api, self._device.handle
        layouts = (ctypes.c_uint64 * len(dispatches))()
        count = 1
        for number, dispatch in enumerate(dispatches):
            pipeline = self.kernels[dispatch.entry]
            layouts[number] = pipeline.set_layout
            count += len(pipeline.entry.bindings) + pipeline.entry.scratch
        size = vk.DescriptorPoolSize(type=vk.DESCRIPTOR_STORAGE_BUFFER, descriptorCount=count)
        info = vk.DescriptorPoolCreateInfo(
            sType=vk.DESCRIPTOR_POOL_CREATE_INFO,
            maxSets=len(dispatches),
            poolSizeCount=1,
            pPoolSizes=vk.pointer(size),
        )
        pool = ctypes.c_uint64()
        api.CreateDescriptorPool(device, vk.pointer(info), None, vk.pointer(pool))
        self._pool = pool.value
        allocate = vk.DescriptorSetAllocateInfo(
            sType=vk.DESCRIPTOR_SET_ALLOCATE_INFO,
            descriptorPool=pool,
            descriptorSetCount=len(dispatches),
            pSetLayouts=vk.pointer(layouts),
        )
        sets = (ctypes.c_uint64 * len(dispatches))()
        api.AllocateDescriptorSets(device, vk.pointer(allocate), vk.pointer(sets))
        found: dict[int, list[int]] = {}
        for dispatch, made in zip(dispatches, sets, strict=True):
            found.setdefault(dispatch.entry, []).append(made)
        return found

    def _update_set(self, target: int, places: Sequence[Place[Memory]]) -> None:
        """Let a descriptor set point to tensors, before a command binds it."""
        count = len(places)
        infos = (vk.DescriptorBufferInfo * max(1, count))()
        for number, place in enumerate(places):
            infos[number] = vk.DescriptorBufferInfo(
                place.memory.buffer, place.offset, max(4, place.nbytes)
            )
        write = vk.WriteDescriptorSet(
            sType=vk.WRITE_DESCRIPTOR_SET,
            dstSet=target,
            descriptorCount=1,
            descriptorType=vk.DESCRIPTOR_STORAGE_BUFFER,
        )
        size = ctypes.sizeof(vk.DescriptorBufferInfo)
        writes = (vk.WriteDescriptorSet * max(1, count))(*[write] * count)
        for number in range(count):
            writes[number].dstBinding = number
            writes[number].pBufferInfo = ctypes.addressof(infos) + number * size
        if count:
            self._api.UpdateDescriptorSets(self._device.handle, count, vk.pointer(writes), 0, None)

    def _barrier(self, stages: int, access: int) -> None:
        barrier = vk.MemoryBarrier(
            sType=vk.MEMORY_BARRIER, srcAccessMask=_WRITES, dstAccessMask=access
        )
        self._api.CmdPipelineBarrier(
            self.handle, _STAGES, stages, 0, 1, vk.pointer(barrier), 0, None, 0, None
        )

    def _after_the_others(self) -> None:
        """Let the next command see what those before it wrote."""
        if not self._is_first:
            self._barrier(_STAGES, _READS | _WRITES)
        self._is_first = False

    def dispatch(
        self, number: int, places: Sequence[Place[Memory]], scalars: Sequence[int], grid: int
    ) -> None:
        """Record a dispatch."""
        self._check_loops(number, scalars)
        self._after_the_others()
        pipeline, target = self.kernels[number], self._sets[number].pop()
        api, handle = self._api, self.handle
        self._update_set(target, places)
        api.CmdBindPipeline(handle, vk.BIND_COMPUTE, pipeline.handle)
        sets = (ctypes.c_uint64 * 1)(target)
        api.CmdBindDescriptorSets(
            handle, vk.BIND_COMPUTE, pipeline.layout, 0, 1, vk.pointer(sets), 0, None
        )
        if scalars:
            words = (ctypes.c_uint32 * len(scalars))(*scalars)
            api.CmdPushConstants(
                handle, pipeline.layout, vk.STAGE_COMPUTE, 0, 4 * len(scalars), vk.pointer(words)
            )
        api.CmdDispatch(handle, *self._groups(-(-grid // pipeline.entry.workgroup)), 1)

    def _check_loops(self, number: int, scalars: Sequence[int]) -> None:
        """Raise a DeviceError if the device may end a loop before it is done."""
        most, bound = self._device.physical.most_iterations, self.kernels[number].iterations
        if most is None:
            return
        count = None if bound is None else bound.evaluate(scalars)
        if count is None or count > most:
            loops = f"up to {count}" if count is not None else "an unknown number of"
            raise DeviceError(
                f"A dispatch has loops of {loops} iterations, of which "
                f"{self._device.description} runs {most} and skips the rest.",
                hint="Mesa's llvmpipe limits the loops of a shader; other devices do not.",
            )

    def _groups(self, count: int) -> tuple[int, int]:
        """Return workgroups in two dimensions; surplus ones do nothing."""
        limits = self._device.physical.limits.maxComputeWorkGroupCount
        width = min(count, limits[0])
        height = -(-count // width)
        if height > limits[1]:
            raise DeviceError(f"A dispatch of {count} workgroups is too large for the device.")
        return width, height

    def copy(self, source: Place[Memory], target: Place[Memory]) -> None:
        """Record a copy."""
        self._after_the_others()
        region = vk.BufferCopy(source.offset, target.offset, source.nbytes)
        self._api.CmdCopyBuffer(
            self.handle, source.memory.buffer, target.memory.buffer, 1, vk.pointer(region)
        )

    def fill(self, target: Place[Memory], pattern: bytes) -> None:
        """Record a fill, or a copy of repeated bytes where Vulkan has no such fill."""
        word = pattern * (4 // len(pattern)) if len(pattern) <= 4 else b""
        if word and target.offset % 4 == 0 and target.nbytes % 4 == 0:
            self._after_the_others()
            number = int.from_bytes(word, "little")
            self._api.CmdFillBuffer(
                self.handle, target.memory.buffer, target.offset, target.nbytes, number
            )
            return
        data = np.frombuffer(pattern * (-(-target.nbytes // len(pattern))), np.uint8)
        source = self.allocate(target.nbytes)
        source.write(0, data[: target.nbytes])
        self.owned.append(source)
        self.copy(Place(source.memory, 0, target.nbytes), target)


def submit_info(
    handle: int, waits: Sequence[tuple[int, int]], signals: Sequence[tuple[int, int]]
) -> tuple[Any, list[Any]]:
    """Return the structure of one submission and what must outlive its use.

    Args:
        handle: the command buffer.
        waits, signals: semaphores with the values they reach.
    """
    handles = (ctypes.c_void_p * 1)(handle)
    kept: list[Any] = [handles]

    def array(kind: Any, numbers: Sequence[int]) -> int:
        made = (kind * max(1, len(numbers)))(*numbers)
        kept.append(made)
        return ctypes.addressof(made)

    timeline = vk.TimelineSemaphoreSubmitInfo(
        sType=vk.TIMELINE_SEMAPHORE_SUBMIT_INFO,
        waitSemaphoreValueCount=len(waits),
        pWaitSemaphoreValues=array(ctypes.c_uint64, [value for _, value in waits]),
        signalSemaphoreValueCount=len(signals),
        pSignalSemaphoreValues=array(ctypes.c_uint64, [value for _, value in signals]),
    )
    kept.append(timeline)
    info = vk.SubmitInfo(
        sType=vk.SUBMIT_INFO,
        pNext=vk.pointer(timeline),
        waitSemaphoreCount=len(waits),
        pWaitSemaphores=array(ctypes.c_uint64, [semaphore for semaphore, _ in waits]),
        pWaitDstStageMask=array(ctypes.c_uint32, [vk.PIPELINE_STAGE_ALL] * len(waits)),
        commandBufferCount=1,
        pCommandBuffers=vk.pointer(handles),
        signalSemaphoreCount=len(signals),
        pSignalSemaphores=array(ctypes.c_uint64, [semaphore for semaphore, _ in signals]),
    )
    return info, kept
