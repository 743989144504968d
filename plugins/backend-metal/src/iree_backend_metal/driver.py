"""The Metal driver: devices, their queue, and timeline semaphores.

Options of a device: ``timeout`` (seconds after which work counts as hung, default 600) and
``private=1`` (tensors in private memory, which the host reaches by copies, even where it shares
its memory with the GPU).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iree_backend_metal import framework
from iree_backend_metal.commands import Recording
from iree_backend_metal.executable import Pipeline, load
from iree_backend_metal.features import FAMILIES, Family
from iree_backend_metal.image import FORMAT
from iree_backend_metal.memory import Heap, Memory, MetalBuffer
from iree_backend_metal.utilities import Utilities
from iree_core import hal
from iree_core.errors import DeviceError
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedAllocator, Piece
from iree_core.hal.queue import QueueDevice, QueueSemaphore, choose, device_options
from iree_core.hal.recording import RecordedCommands
from iree_core.vm.program import CommandList

_STAGING_BYTES = 32 << 20


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
    """One GPU with one command queue.

    Attributes:
        handle: the MTLDevice.
        metal: the framework's module.
        family: what kind of GPU it is.
        heap: its memory.
        utilities: kernels of the driver's own.
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
        self._pool = source.autorelease_pool
        self._lock = threading.RLock()
        self._pending: deque[tuple[Any, tuple[Any, ...]]] = deque()
        self._queue = handle.newCommandQueue()
        if self._queue is None:
            raise DeviceError(f"{self.description} makes no command queue.")
        self.heap = Heap(self, private or not handle.hasUnifiedMemory())
        self.allocator = PartedAllocator(self.heap, MetalBuffer)
        self.utilities = Utilities(self)

    def load(
        self, data: memoryview, entries: Sequence[tuple[str, int]]
    ) -> KernelExecutable[Pipeline]:
        """Compile a pipeline for every entry point."""
        with self._pool():
            return load(self, data, entries)

    def record(
        self, commands: CommandList, executable: hal.Executable | None
    ) -> RecordedCommands[Recording]:
        """Check ``commands``; they are recorded when their first operands are known."""
        assert executable is None or isinstance(executable, KernelExecutable)
        return RecordedCommands(
            commands, executable, partial(Recording, self, commands, executable)
        )

    def create_semaphore(self, initial: int = 0) -> MetalSemaphore:
        """Return a timeline semaphore."""
        return MetalSemaphore(self, initial)

    def submit(
        self,
        commands: hal.CommandBuffer,
        buffers: Sequence[hal.Buffer],
        params: Sequence[int],
        *,
        wait: Sequence[hal.Timepoint] = (),
        signal: Sequence[hal.Timepoint] = (),
    ) -> None:
        """Commit the work to the queue and return."""
        own = self.own_operands(commands, buffers, params)
        assert isinstance(commands, RecordedCommands)
        signals = [(s, value) for s, value in signal if isinstance(s, MetalSemaphore)]
        if len(signals) != len(signal):
            raise DeviceError("A submission signals a semaphore of another device.")
        with self._lock, self._pool():
            self.collect()
            recording = commands.recording(own, params)
            work = self._queue.commandBuffer()
            for semaphore, value in self._events(wait):
                work.encodeWaitForEvent_value_(semaphore.event, value)
            recording.encode(work)
            for semaphore, value in signals:
                work.encodeSignalEvent_value_(semaphore.event, value)
            work.commit()
            self._pending.append((work, (recording, commands, own, tuple(wait), tuple(signal))))
        if not signal:
            self._finish(work)

    def _events(self, wait: Sequence[hal.Timepoint]) -> list[tuple[MetalSemaphore, int]]:
        """Return what the queue waits for; semaphores of other kinds the host waits for."""
        found = []
        for semaphore, value in wait:
            if isinstance(semaphore, MetalSemaphore):
                semaphore.check()
                if value:
                    found.append((semaphore, value))
            else:
                semaphore.wait(value)
        return found

    def collect(self) -> None:
        """Let go of what finished work used; work that failed fails the device."""
        with self._lock:
            while self._pending:
                work, _ = self._pending[0]
                status = work.status()
                if status == self.metal.MTLCommandBufferStatusError:
                    reason = work.error()
                    text = "no reason given" if reason is None else reason.localizedDescription()
                    self.fail(DeviceError(f"Work on {self.description} failed: {text}"))
                elif status != self.metal.MTLCommandBufferStatusCompleted:
                    return
                self._pending.popleft()

    def _finish(self, work: Any) -> None:
        work.waitUntilCompleted()
        self.collect()
        if self.error is not None:
            raise self.error

    def transfer(self, piece: Piece[Memory], data: NDArray[np.uint8], *, write: bool) -> None:
        """Copy between the host and memory that it does not map, in pieces.

        Pieces start and end at multiples of four bytes, as blit commands must; the bytes around
        the range are read first where they do not.
        """
        offset, end = piece.offset, piece.offset + data.nbytes
        first, last = offset // 4 * 4, -(-end // 4) * 4
        for start in range(first, last, _STAGING_BYTES):
            stop = min(start + _STAGING_BYTES, last)
            inside = slice(max(start, offset), min(stop, end))
            part = data[inside.start - offset : inside.stop - offset]
            self._transfer_piece(piece.memory, start, stop, inside, part, write=write)

    def _transfer_piece(
        self,
        memory: Memory,
        start: int,
        stop: int,
        inside: slice,
        part: NDArray[np.uint8],
        *,
        write: bool,
    ) -> None:
        between = self.heap.take(stop - start, True)
        try:
            assert between.host is not None
            host = between.host[inside.start - start : inside.stop - start]
            staging, target = (between.buffer, 0), (memory.buffer, start)
            if not write or (inside.start, inside.stop) != (start, stop):
                self._copy_now(target, staging, stop - start)
            if write:
                host[:] = part
                self._copy_now(staging, target, stop - start)
            else:
                part[:] = host
        finally:
            self.heap.give_back(between)

    def _copy_now(self, source: tuple[Any, int], target: tuple[Any, int], length: int) -> None:
        if self.error is not None:
            raise self.error
        with self._lock, self._pool():
            work = self._queue.commandBuffer()
            encoder = work.blitCommandEncoder()
            encoder.copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size_(
                *source, *target, length
            )
            encoder.endEncoding()
            work.commit()
            self._pending.append((work, (source, target)))
        self._finish(work)


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
