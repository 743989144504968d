"""The Vulkan driver: devices, their queue, and timeline semaphores.

Options of a device: ``timeout`` (seconds after which a submission counts as hung, default 600)
and ``staging=1`` (copy to and from device memory even where the host could map it).
"""

from __future__ import annotations

import atexit
import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from iree_backend_vulkan import vk
from iree_backend_vulkan.commands import Recording, submit_info
from iree_backend_vulkan.executable import Pipeline, load
from iree_backend_vulkan.image import FORMAT
from iree_backend_vulkan.instance import PhysicalDevice, feature_chain, physical_devices
from iree_backend_vulkan.memory import Heap, VulkanBuffer
from iree_backend_vulkan.transfers import Transfers
from iree_core import hal
from iree_core.errors import DeviceError
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedAllocator, PartedBuffer
from iree_core.hal.queue import QueueDevice, QueueSemaphore, choose, device_options
from iree_core.hal.recording import RecordedCommands
from iree_core.vm.program import CommandList

_MOST_QUEUES = 2


class VulkanSemaphore(QueueSemaphore):
    """A timeline semaphore of a Vulkan device."""

    device: VulkanDevice

    def __init__(self, device: VulkanDevice, initial: int) -> None:
        super().__init__(device)
        kind = vk.SemaphoreTypeCreateInfo(
            sType=vk.SEMAPHORE_TYPE_CREATE_INFO,
            semaphoreType=vk.SEMAPHORE_TIMELINE,
            initialValue=initial,
        )
        info = vk.SemaphoreCreateInfo(sType=vk.SEMAPHORE_CREATE_INFO, pNext=vk.pointer(kind))
        made = ctypes.c_uint64()
        device.api.CreateSemaphore(device.handle, vk.pointer(info), None, vk.pointer(made))
        self.handle = made.value
        weakref.finalize(self, device.destroy_semaphore, self.handle).atexit = False

    def payload(self) -> int:
        """Return the current payload."""
        value = ctypes.c_uint64()
        self.device.api.GetSemaphoreCounterValue(self.device.handle, self.handle, vk.pointer(value))
        return value.value

    def set_payload(self, value: int) -> None:
        """Raise the payload from the host."""
        info = vk.SemaphoreSignalInfo(
            sType=vk.SEMAPHORE_SIGNAL_INFO, semaphore=self.handle, value=value
        )
        self.device.api.SignalSemaphore(self.device.handle, vk.pointer(info))

    def wait_for(self, value: int, seconds: float) -> bool:
        """Block until the payload reaches ``value``; the GIL is released meanwhile."""
        handles, values = (ctypes.c_uint64 * 1)(self.handle), (ctypes.c_uint64 * 1)(value)
        info = vk.SemaphoreWaitInfo(
            sType=vk.SEMAPHORE_WAIT_INFO,
            semaphoreCount=1,
            pSemaphores=vk.pointer(handles),
            pValues=vk.pointer(values),
        )
        wait, device = self.device.api.WaitSemaphores, self.device.handle
        return self.device.guarded(wait, device, vk.pointer(info), int(seconds * 1e9)) == vk.SUCCESS


class VulkanDevice(QueueDevice):
    """One Vulkan device with one compute queue.

    Attributes:
        physical: what it is.
        handle: the VkDevice.
        heap: its memory.
        transfers: the way there where the host does not map it.
        closed: it is being destroyed.
    """

    def __init__(self, physical: PhysicalDevice, timeout: float, staged: bool) -> None:
        """Open the device.

        Raises:
            DeviceError: it lacks what the driver needs, or does not open.
        """
        if physical.unusable is not None:
            raise DeviceError(f"The device {physical.name} is unusable: {physical.unusable}.")
        super().__init__("vulkan", FORMAT, f"{physical.name} ({physical.kind})", timeout)
        self.api, self.physical = vk.api(), physical
        self.closed = False
        self._lock = threading.RLock()
        self._pending: deque[tuple[VulkanSemaphore, int, tuple[Any, ...]]] = deque()
        self.handle = self._create()
        self._queue, *others = self._queues()
        info = vk.CommandPoolCreateInfo(
            sType=vk.COMMAND_POOL_CREATE_INFO,
            flags=vk.COMMAND_POOL_RESET,
            queueFamilyIndex=physical.queue_family,
        )
        pool = ctypes.c_uint64()
        self.api.CreateCommandPool(self.handle, vk.pointer(info), None, vk.pointer(pool))
        self._pool = pool.value
        self.heap = Heap(self, staged)
        self.allocator = PartedAllocator(self.heap, VulkanBuffer)
        self.transfers = Transfers(self, others[0] if others else self._queue, self._lock)
        atexit.register(_finish, weakref.ref(self))

    def _queues(self) -> list[int]:
        """Return the queue for kernels, and one for transfers if the device has a second."""
        found = []
        for number in range(min(_MOST_QUEUES, self.physical.queues)):
            queue = ctypes.c_void_p()
            self.api.GetDeviceQueue(
                self.handle, self.physical.queue_family, number, vk.pointer(queue)
            )
            assert queue.value is not None
            found.append(queue.value)
        return found

    def _create(self) -> int:
        first, bytes16, bytes8, timeline = feature_chain()
        features = self.physical.features
        first.features.shaderInt64 = "int64" in features
        first.features.shaderFloat64 = "float64" in features
        bytes16.storageBuffer16BitAccess = "storage16" in features
        bytes8.storageBuffer8BitAccess = "storage8" in features
        timeline.timelineSemaphore = 1
        priorities = (ctypes.c_float * _MOST_QUEUES)(*[1.0] * _MOST_QUEUES)
        queue = vk.DeviceQueueCreateInfo(
            sType=vk.DEVICE_QUEUE_CREATE_INFO,
            queueFamilyIndex=self.physical.queue_family,
            queueCount=min(_MOST_QUEUES, self.physical.queues),
            pQueuePriorities=vk.pointer(priorities),
        )
        info = vk.DeviceCreateInfo(
            sType=vk.DEVICE_CREATE_INFO,
            pNext=vk.pointer(first),
            queueCreateInfoCount=1,
            pQueueCreateInfos=vk.pointer(queue),
        )
        handle = ctypes.c_void_p()
        try:
            self.api.CreateDevice(self.physical.handle, vk.pointer(info), None, vk.pointer(handle))
        except vk.VulkanError as error:
            raise DeviceError(
                f"{self.description} does not open: {error.what}", hint=error.hint
            ) from error
        assert handle.value is not None
        return handle.value

    def guarded(self, function: Any, *arguments: Any) -> int:
        """Call a function of the API; a lost device stays lost."""
        try:
            return int(function(*arguments))
        except vk.VulkanError as error:
            if error.result == vk.DEVICE_LOST:
                lost = DeviceError(f"{self.description} is lost: {error.what}", hint=error.hint)
                raise self.fail(lost) from error
            raise

    # The device's methods.

    def load(
        self, data: memoryview, entries: Sequence[tuple[str, int]]
    ) -> KernelExecutable[Pipeline]:
        """Create a pipeline for every entry point."""
        return load(self, data, entries)

    def recording(
        self,
        commands: CommandList,
        executable: KernelExecutable[Pipeline] | None,
        buffers: Sequence[PartedBuffer],
        params: Sequence[int],
    ) -> Recording:
        """Record ``commands`` for certain buffers and parameters."""
        return Recording(self, commands, executable, buffers, params)

    def create_semaphore(self, initial: int = 0) -> VulkanSemaphore:
        """Return a timeline semaphore."""
        return VulkanSemaphore(self, initial)

    def enqueue(
        self,
        commands: RecordedCommands[Recording],
        buffers: Sequence[Any],
        params: Sequence[int],
        waits: Sequence[tuple[VulkanSemaphore, int]],
        signals: Sequence[tuple[VulkanSemaphore, int]],
    ) -> None:
        """Hand the work to the queue and return."""
        before = [(semaphore.handle, value) for semaphore, value in waits if value]
        after = [(semaphore.handle, value) for semaphore, value in signals]
        with self._lock:
            recording = commands.recording(buffers, params)
            uploaded = self.transfers.outstanding()
            if uploaded is not None:
                before.append((self.transfers.semaphore.handle, uploaded))
            info, kept = submit_info(recording.handle, before, after)
            self.guarded(self.api.QueueSubmit, self._queue, 1, vk.pointer(info), 0)
            if signals:
                held = (recording, commands, tuple(buffers), kept, tuple(waits))
                self._pending.append((*signals[-1], held))
            else:
                self.guarded(self.api.DeviceWaitIdle, self.handle)

    def collect(self) -> None:
        """Let go of what finished submissions used."""
        with self._lock:
            while self._pending:
                semaphore, value, _ = self._pending[0]
                if self.error is None and semaphore.query() < value:
                    break
                self._pending.popleft()
        if self.error is None:
            self.transfers.settle()

    def finish(self) -> None:
        """Wait for all submissions.

        Raises:
            DeviceError: they fail or take too long.
        """
        while self._pending and self.error is None:
            semaphore, value, _ = self._pending[-1]
            semaphore.wait(value)
            self.collect()

    # Objects that recordings use.

    def allocate_command_buffer(self) -> int:
        """Return a fresh command buffer."""
        info = vk.CommandBufferAllocateInfo(
            sType=vk.COMMAND_BUFFER_ALLOCATE_INFO, commandPool=self._pool, commandBufferCount=1
        )
        made = ctypes.c_void_p()
        with self._lock:
            self.api.AllocateCommandBuffers(self.handle, vk.pointer(info), vk.pointer(made))
        assert made.value is not None
        return made.value

    def free_command_buffer(self, handle: int, descriptors: int) -> None:
        """Free a command buffer and the pool of its descriptor sets."""
        with self._lock:
            handles = (ctypes.c_void_p * 1)(handle)
            self.api.FreeCommandBuffers(self.handle, self._pool, 1, vk.pointer(handles))
            if descriptors:
                self.api.DestroyDescriptorPool(self.handle, descriptors, None)

    def destroy_semaphore(self, handle: int) -> None:
        """Destroy a semaphore that nothing waits for."""
        self.api.DestroySemaphore(self.handle, handle, None)


def _finish(device: weakref.ref[VulkanDevice]) -> None:
    """Let work end before the process does: a device may compute on threads of this process."""
    living = device()
    if living is not None and living.error is None:
        with suppress(DeviceError):  # nobody waits for the results, so nobody needs to know
            living.finish()


class VulkanDriver(hal.Driver):
    """Opens the devices of the system's Vulkan loader."""

    name = "vulkan"
    formats = (FORMAT,)
    rank = 1

    def query_devices(self) -> list[hal.DeviceInfo]:
        """Return all devices, saying of unusable ones why they are."""
        return [
            hal.DeviceInfo(str(number), device.description)
            for number, device in enumerate(physical_devices())
        ]

    def create_device(
        self, path: str = "", options: Mapping[str, str] | None = None
    ) -> VulkanDevice:
        """Open a device by its number; the first usable one by default."""
        timeout, (staged,) = device_options(self.name, options, "staging")
        return VulkanDevice(choose(physical_devices(), path, "Vulkan"), timeout, staged)
