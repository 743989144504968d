"""The Metal driver: devices, their queue, and timeline semaphores.

Options of a device: ``timeout`` (seconds after which work counts as hung, default 600) and
``private=1`` (tensors in private memory, which the host reaches by copies, even where it shares
its memory with the GPU).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iree_backend_metal import framework
from iree_backend_metal.commands import Recording
from iree_backend_metal.executable import Pipeline, load
from iree_backend_metal.features import FAMILIES, Family
from iree_backend_metal.image import FORMAT
from iree_backend_metal.memory import Heap, MetalBuffer
from iree_backend_metal.transfers import Transfers
from iree_backend_metal.utilities import Utilities
from iree_core import hal
from iree_core.errors import DeviceError
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedAllocator, PartedBuffer
from iree_core.hal.queue import QueueDevice, QueueSemaphore, choose, device_options
from iree_core.hal.recording import RecordedCommands
from iree_core.vm.program import CommandList


class MetalSemaphore(QueueSemaphore):
    """A timeline semaphore: an MTLSharedEvent, which host and GPU signal and wait for."""

    device: MetalDevice

    def __init__(self, device: MetalDevice, initial: int) -> None:
        super().__init__(device)
        self.event = device.handle.newSharedEvent()
        if self.event is None:
            raise DeviceError(f"{device.description} makes no shared event.")
        if initial:
            self.event.setSignaledValue_(initial)

    def payload(self) -> int:
        """Return the current payload."""
        return int(self.event.signaledValue())

    def set_payload(self, value: int) -> None:
        """Raise the payload from the host."""
        self.event.setSignaledValue_(value)

    def wait_for(self, value: int, seconds: float) -> bool:
        """Block until the payload reaches ``value``; PyObjC releases the GIL meanwhile."""
        reached = self.event.waitUntilSignaledValue_timeoutMS_(value, int(seconds * 1e3))
        self.device.collect()  # work that failed never signals
        return bool(reached) or self.event.signaledValue() >= value


class MetalDevice(QueueDevice):
    """One GPU with a command queue for kernels, and one for transfers.

    Attributes:
        handle: the MTLDevice.
        metal: the framework's module.
        family: what kind of GPU it is.
        heap: its memory.
        transfers: the way to private memory.
        utilities: kernels of the driver's own.
        pool: makes the context in which temporary objects are freed at the end.
    """

    def __init__(
        self, source: framework.Framework, handle: Any, timeout: float, private: bool
    ) -> None:
        """Open the device.

        Raises:
            DeviceError: it is of no family that is supported, or makes no queue.
        """
        family = family_of(handle)
        super().__init__("metal", FORMAT, str(handle.name()), timeout)
        if family is None:
            raise DeviceError(f"The device {self.description} is unusable: {UNSUPPORTED}.")
        self.metal, self.handle, self.family = source.metal, handle, family
        self.pool = source.autorelease_pool
        self._lock = threading.RLock()
        self._pending: list[tuple[Any, Any]] = []
        self._queue = handle.newCommandQueue()
        if self._queue is None:
            raise DeviceError(f"{self.description} makes no command queue.")
        self.heap = Heap(self, private or not handle.hasUnifiedMemory())
        self.allocator = PartedAllocator(self.heap, MetalBuffer)
        self.transfers = Transfers(self, self._lock)
        self.utilities = Utilities(self)

    def load(
        self, data: memoryview, entries: Sequence[tuple[str, int]]
    ) -> KernelExecutable[Pipeline]:
        """Compile a pipeline for every entry point."""
        with self.pool():
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

    def create_semaphore(self, initial: int = 0) -> MetalSemaphore:
        """Return a timeline semaphore."""
        return MetalSemaphore(self, initial)

    def orders(self, semaphore: hal.Semaphore) -> bool:
        """Tell whether the queue can wait for ``semaphore``: GPUs share events."""
        return isinstance(semaphore, MetalSemaphore)

    def enqueue(
        self,
        commands: RecordedCommands[Recording],
        buffers: Sequence[Any],
        params: Sequence[int],
        waits: Sequence[tuple[MetalSemaphore, int]],
        signals: Sequence[tuple[MetalSemaphore, int]],
    ) -> None:
        """Commit the work to the queue and return."""
        with self._lock, self.pool():
            self.collect()
            recording = commands.recording(buffers, params)
            work = self._queue.commandBuffer()
            for semaphore, value in waits:
                if value:
                    work.encodeWaitForEvent_value_(semaphore.event, value)
            uploaded = self.transfers.outstanding()
            if uploaded is not None:
                work.encodeWaitForEvent_value_(self.transfers.semaphore.event, uploaded)
            recording.encode(work)
            for semaphore, value in signals:
                work.encodeSignalEvent_value_(semaphore.event, value)
            self.commit(work, (recording, commands, tuple(buffers), tuple(waits), tuple(signals)))
        if not signals:
            self._finish(work)

    def commit(self, work: Any, kept: Any) -> None:
        """Commit an MTLCommandBuffer, and keep what it uses until it is complete."""
        with self._lock:
            work.commit()
            self._pending.append((work, kept))

    def collect(self) -> None:
        """Let go of what finished work used; work that failed fails the device."""
        with self._lock:
            self._pending = [item for item in self._pending if not self._is_over(item[0])]
        if self.error is None:
            self.transfers.settle()

    def _is_over(self, work: Any) -> bool:
        status = work.status()
        if status == self.metal.MTLCommandBufferStatusError:
            reason = work.error()
            text = "no reason given" if reason is None else reason.localizedDescription()
            self.fail(DeviceError(f"Work on {self.description} failed: {text}"))
            return True
        return bool(status == self.metal.MTLCommandBufferStatusCompleted)

    def _finish(self, work: Any) -> None:
        work.waitUntilCompleted()
        self.collect()
        if self.error is not None:
            raise self.error


UNSUPPORTED = "it is older than the families that this driver knows"


def family_of(handle: Any) -> Family | None:
    """Return the most able family that a device supports; None if it supports none."""
    supported = [f for f in FAMILIES.values() if handle.supportsFamily_(f.number)]
    return supported[-1] if supported else None


class MetalDriver(hal.Driver):
    """Opens the GPUs of a Mac."""

    name = "metal"
    formats = (FORMAT,)
    rank = 1

    def query_devices(self) -> list[hal.DeviceInfo]:
        """Return all GPUs, the system's preferred one first.

        Raises:
            DeviceError: why there are none.
        """
        found = []
        for number, handle in enumerate(_handles(framework.load())):
            family = family_of(handle)
            what = UNSUPPORTED if family is None else f"family {family.name}"
            memory = int(handle.recommendedMaxWorkingSetSize()) >> 20
            unified = "unified memory" if handle.hasUnifiedMemory() else "memory of its own"
            text = f"{handle.name()} ({what}; {memory} MiB, {unified})"
            found.append(hal.DeviceInfo(str(number), text))
        return found

    def create_device(
        self, path: str = "", options: Mapping[str, str] | None = None
    ) -> MetalDevice:
        """Open a device by its number; the system's preferred one by default."""
        timeout, (private,) = device_options(self.name, options, "private")
        source = framework.load()
        found = choose([_Found(handle) for handle in _handles(source)], path, "Metal")
        return MetalDevice(source, found.handle, timeout, private)


@dataclass(frozen=True)
class _Found:
    """A device of the machine."""

    handle: Any

    @property
    def name(self) -> str:
        return str(self.handle.name())

    @property
    def unusable(self) -> str | None:
        return UNSUPPORTED if family_of(self.handle) is None else None


def _handles(source: framework.Framework) -> list[Any]:
    """Return the MTLDevices, the preferred one first."""
    metal = source.metal
    preferred = metal.MTLCreateSystemDefaultDevice()
    if preferred is None:
        raise DeviceError("macOS offers no Metal device to this process.")
    identity = preferred.registryID()
    others = [h for h in metal.MTLCopyAllDevices() or () if h.registryID() != identity]
    return [preferred, *others]
