"""Command lists as Vulkan command buffers, recorded once for the buffers they meet.

A recording belongs to certain buffers and parameters. Calls that come with the same ones again,
as they do when a program runs in a loop, replay it; a few recordings are kept.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from iree_backend_vulkan import vk
from iree_backend_vulkan.executable import Pipeline, VulkanExecutable
from iree_backend_vulkan.memory import VulkanBuffer
from iree_core.errors import DeviceError, ModuleFileError
from iree_core.hal import CommandBuffer
from iree_core.hal.commands import check_commands
from iree_core.vm.program import Binding, CommandList, Copy, Dispatch, Fill, Operand

if TYPE_CHECKING:
    from iree_backend_vulkan.driver import VulkanDevice

_KEPT = 4
_LARGEST_INDEX = (1 << 31) - 1
_STAGES = vk.PIPELINE_STAGE_COMPUTE | vk.PIPELINE_STAGE_TRANSFER
_READS = vk.ACCESS_SHADER_READ | vk.ACCESS_TRANSFER_READ
_WRITES = vk.ACCESS_SHADER_WRITE | vk.ACCESS_TRANSFER_WRITE


class VulkanCommandBuffer(CommandBuffer):
    """A command list with its recordings."""

    def __init__(
        self, device: VulkanDevice, commands: CommandList, executable: VulkanExecutable | None
    ) -> None:
        """Check ``commands``.

        Raises:
            ModuleFileError: they refer to what does not exist.
        """
        self.slots, self.params = commands.slots, commands.params
        self._device, self._commands, self._executable = device, commands, executable
        self._recordings: OrderedDict[tuple, Recording] = OrderedDict()
        pipelines = executable.pipelines if executable else []
        check_commands(commands, [pipeline.entry for pipeline in pipelines])

    def recording(self, buffers: Sequence[VulkanBuffer], params: Sequence[int]) -> Recording:
        """Return the recording for these operands.

        Raises:
            DeviceError: a tensor is too large, or out of memory.
        """
        key = (*(buffer.memory.serial for buffer in buffers), *params)
        found = self._recordings.get(key)
        if found is None:
            pipelines = self._executable.pipelines if self._executable else []
            found = Recording(self._device, self._commands, pipelines, buffers, params)
            self._recordings[key] = found
            if len(self._recordings) > _KEPT:
                self._recordings.popitem(last=False)
        else:
            self._recordings.move_to_end(key)
        return found


class Recording:
    """A command list recorded for certain buffers and parameters.

    Attributes:
        handle: the VkCommandBuffer.
    """

    def __init__(
        self,
        device: VulkanDevice,
        commands: CommandList,
        pipelines: Sequence[Pipeline],
        buffers: Sequence[VulkanBuffer],
        params: Sequence[int],
    ) -> None:
        """Record everything; raises DeviceError like :meth:`VulkanCommandBuffer.recording`."""
        self._device, self._api = device, device.api
        self._pipelines, self._buffers, self._params = pipelines, buffers, params
        self._owned: list[VulkanBuffer] = []
        self._scratch = self._scratch_buffer(commands)
        dispatches = [c for c in commands.commands if isinstance(c, Dispatch)]
        self._sets = iter(self._descriptor_sets(dispatches))
        self.handle = device.allocate_command_buffer()
        weakref.finalize(self, device.free_command_buffer, self.handle, self._pool)
        begin = vk.CommandBufferBeginInfo(
            sType=vk.COMMAND_BUFFER_BEGIN_INFO, flags=vk.COMMAND_BUFFER_SIMULTANEOUS_USE
        )
        self._api.BeginCommandBuffer(self.handle, vk.pointer(begin))
        for number, command in enumerate(commands.commands):
            if number:
                self._barrier(_STAGES, _READS | _WRITES)
            if isinstance(command, Dispatch):
                self._dispatch(command)
            elif isinstance(command, Copy):
                self._copy(command)
            else:
                self._fill(command)
        self._barrier(vk.PIPELINE_STAGE_HOST, vk.ACCESS_HOST_READ)
        self._api.EndCommandBuffer(self.handle)
        del self._buffers

    def _number(self, operand: Operand) -> int:
        kind, number = operand
        return self._params[number] if kind == "param" else number

    def _place(self, binding: Binding, length: int) -> tuple[VulkanBuffer, int]:
        buffer, offset = self._buffers[binding.slot], self._number(binding.offset)
        if offset < 0 or length < 0 or offset + length > buffer.nbytes:
            raise DeviceError(
                f"A command uses {length} bytes at offset {offset} of a buffer of "
                f"{buffer.nbytes} bytes."
            )
        return buffer, offset

    def _scratch_buffer(self, commands: CommandList) -> VulkanBuffer | None:
        """Return private memory for the most demanding dispatch; they run one by one."""
        sizes = [self._number(c.scratch) for c in commands.commands if isinstance(c, Dispatch)]
        most = max(sizes, default=0)
        return self._temporary(most) if most else None

    def _temporary(self, nbytes: int) -> VulkanBuffer:
        made = VulkanBuffer(self._device, nbytes)
        self._owned.append(made)
        return made

    def _descriptor_sets(self, dispatches: Sequence[Dispatch]) -> list[int]:
        self._pool = 0
        if not dispatches:
            return []
        api, device = self._api, self._device.handle
        layouts = (ctypes.c_uint64 * len(dispatches))()
        count = 1
        for number, dispatch in enumerate(dispatches):
            pipeline = self._pipelines[dispatch.entry]
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
        return list(sets)

    def _update_set(self, target: int, places: Sequence[tuple[VulkanBuffer, int, int]]) -> None:
        """Let a descriptor set point to buffers at offsets, before a command binds it."""
        count = len(places)
        infos = (vk.DescriptorBufferInfo * max(1, count))()
        for number, (buffer, offset, length) in enumerate(places):
            infos[number] = vk.DescriptorBufferInfo(buffer.memory.buffer, offset, max(4, length))
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

    def _dispatch(self, command: Dispatch) -> None:
        pipeline, target = self._pipelines[command.entry], next(self._sets)
        entry, api = pipeline.entry, self._api
        scalars = [self._number(operand) for operand in command.scalars]
        grid = self._number(command.grid)
        most = max((abs(number) for number in (*scalars, grid)), default=0)
        if most > _LARGEST_INDEX:
            raise DeviceError(f"A tensor dimension or grid of {most} is too large for a shader.")
        if grid <= 0:
            return
        copies_out, places = [], []
        for number, (binding, size) in enumerate(
            zip(command.bindings, entry.bindings, strict=True)
        ):
            length = size.evaluate(scalars)
            buffer, offset = self._bindable(binding, length)
            if buffer is not self._buffers[binding.slot] and (
                number >= len(entry.bindings) - entry.results
            ):
                copies_out.append((buffer, binding, length))
            places.append((buffer, offset, length))
        if entry.scratch:
            scratch = self._scratch
            if scratch is None:
                raise ModuleFileError("A shader uses private memory that its dispatch has not.")
            places.append((scratch, 0, scratch.nbytes))
        self._update_set(target, places)
        handle = self.handle
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
        api.CmdDispatch(handle, *self._groups(-(-grid // entry.workgroup)), 1)
        for buffer, binding, length in copies_out:
            self._barrier(_STAGES, _READS | _WRITES)
            whole, offset = self._place(binding, length)
            self._copy_bytes(buffer, 0, whole, offset, length)

    def _groups(self, count: int) -> tuple[int, int]:
        """Return workgroups in two dimensions; surplus ones do nothing."""
        limits = self._device.physical.limits.maxComputeWorkGroupCount
        width = min(count, limits[0])
        height = -(-count // width)
        if height > limits[1]:
            raise DeviceError(f"A dispatch of {count} workgroups is too large for the device.")
        return width, height

    def _bindable(self, binding: Binding, length: int) -> tuple[VulkanBuffer, int]:
        """Return a tensor's place where a descriptor can point, as a copy if need be."""
        buffer, offset = self._place(binding, length)
        limits = self._device.physical.limits
        if length > limits.maxStorageBufferRange:
            raise DeviceError(
                f"A tensor of {length} bytes is larger than what a shader on "
                f"{self._device.description} can address, {limits.maxStorageBufferRange} bytes.",
                hint="Use a smaller batch, or a device with a larger maxStorageBufferRange.",
            )
        if offset % limits.minStorageBufferOffsetAlignment == 0:
            return buffer, offset
        copy = self._temporary(max(4, length))
        self._copy_bytes(buffer, offset, copy, 0, length)
        self._barrier(_STAGES, _READS | _WRITES)
        return copy, 0

    def _copy(self, command: Copy) -> None:
        length = self._number(command.length)
        source, source_offset = self._place(command.source, length)
        target, target_offset = self._place(command.target, length)
        self._copy_bytes(source, source_offset, target, target_offset, length)

    def _copy_bytes(
        self, source: VulkanBuffer, start: int, target: VulkanBuffer, place: int, length: int
    ) -> None:
        if length:
            region = vk.BufferCopy(start, place, length)
            self._api.CmdCopyBuffer(
                self.handle, source.memory.buffer, target.memory.buffer, 1, vk.pointer(region)
            )

    def _fill(self, command: Fill) -> None:
        length = self._number(command.length)
        target, offset = self._place(command.target, length)
        pattern = command.pattern * max(1, 4 // len(command.pattern))
        if len(pattern) == 8 and pattern[:4] == pattern[4:]:
            pattern = pattern[:4]
        if length and offset % 4 == 0 and length % 4 == 0 and len(pattern) == 4:
            number = int.from_bytes(pattern, "little")
            self._api.CmdFillBuffer(self.handle, target.memory.buffer, offset, length, number)
            return
        data = np.frombuffer(pattern * (-(-length // len(pattern))), np.uint8)[:length]
        source = self._temporary(max(4, length))
        source.write(0, data)
        self._copy_bytes(source, 0, target, offset, length)


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
