"""The CUDA driver: devices, their streams, and the order of submissions.

Option of a device: ``timeout`` (seconds after which a submission counts as hung, default 600).
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from iree_backend_cuda import cu
from iree_backend_cuda.commands import Recording
from iree_backend_cuda.devices import PhysicalDevice, physical_devices
from iree_backend_cuda.executable import Function, load
from iree_backend_cuda.image import FORMAT, misfit
from iree_backend_cuda.memory import CudaAllocator, CudaBuffer, Heap, Staging
from iree_backend_cuda.sync import CudaSemaphore, Event, make_event
from iree_core import hal
from iree_core.errors import DeviceError
from iree_core.hal.kernels import KernelExecutable
from iree_core.hal.parts import PartedBuffer
from iree_core.hal.queue import QueueDevice, choose, device_options
from iree_core.hal.recording import RecordedCommands
from iree_core.vm.program import CommandList


class CudaDevice(QueueDevice):
    """One CUDA device: a stream for kernels and one for transfers.

    Attributes:
        physical: what it is.
        stream: the stream of kernels.
        capture_stream: a stream that only records graphs.
        heap, staging: its memory and the way there.
    """

    def __init__(self, physical: PhysicalDevice, timeout: float) -> None:
        """Open the device.

        Raises:
            DeviceError: it does not open.
        """
        if physical.unusable is not None:
            raise DeviceError(f"The device {physical.name} is unusable: {physical.unusable}.")
        super().__init__("cuda", FORMAT, f"{physical.name} (sm_{physical.arch})", timeout)
        self.api, self.physical = cu.api(), physical
        self._lock = threading.RLock()
        self._events: list[int] = []
        self._uploads: list[tuple[Event, CudaBuffer]] = []
        self._pending: deque[tuple[Event, tuple[Any, ...]]] = deque()
        context = ctypes.c_void_p()
        try:
            # The primary context is the one that torch and others use: they can share memory.
            self.api.DevicePrimaryCtxRetain(cu.pointer(context), physical.handle)
        except cu.CudaError as error:
            raise DeviceError(
                f"{self.description} does not open: {error.what}", hint=error.hint
            ) from error
        self._context = context.value
        self.stream = self.create_stream_handle()
        self.capture_stream = self.create_stream_handle()
        self.heap = Heap(self)
        self.staging = Staging(self)
        self.allocator = CudaAllocator(self.heap)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device's context that of this thread for a while."""
        self.guarded(self.api.CtxPushCurrent_v2, self._context)
        try:
            yield
        finally:
            before = ctypes.c_void_p()
            self.guarded(self.api.CtxPopCurrent_v2, cu.pointer(before))

    def guarded(self, function: Any, *arguments: Any) -> int:
        """Call a function of the API; a lost device stays lost."""
        try:
            return int(function(*arguments))
        except cu.CudaError as error:
            if error.fatal:
                lost = DeviceError(f"{self.description} is lost: {error.what}", hint=error.hint)
                raise self.fail(lost) from error
            raise

    # The device's methods.

    def accepts(self, format: str, target: str) -> str | None:
        """Return None if ``format`` is PTX that this device runs."""
        reason = super().accepts(format, target)
        return reason or (misfit(target, self.physical.arch) if target else None)

    def load(
        self, data: memoryview, entries: Sequence[tuple[str, int]]
    ) -> KernelExecutable[Function]:
        """Load every kernel."""
        return load(self, data, entries)

    def recording(
        self,
        commands: CommandList,
        executable: KernelExecutable[Function] | None,
        buffers: Sequence[PartedBuffer],
        params: Sequence[int],
    ) -> Recording:
        """Record ``commands`` for certain buffers and parameters."""
        return Recording(self, commands, executable, buffers, params)

    def create_semaphore(self, initial: int = 0) -> CudaSemaphore:
        """Return a timeline semaphore."""
        return CudaSemaphore(self, initial)

    def orders(self, semaphore: hal.Semaphore) -> bool:
        """Tell whether streams can wait for ``semaphore``: devices wait for each other's events."""
        return isinstance(semaphore, CudaSemaphore)

    def enqueue(
        self,
        commands: RecordedCommands[Recording],
        buffers: Sequence[Any],
        params: Sequence[int],
        waits: Sequence[tuple[CudaSemaphore, int]],
        signals: Sequence[tuple[CudaSemaphore, int]],
    ) -> None:
        """Hand the work to the stream, now or when the last of ``waits`` is on its way."""
        _Submission(self, commands, buffers, tuple(params), waits, signals).start()

    def execute(
        self,
        commands: RecordedCommands[Recording],
        buffers: Sequence[PartedBuffer],
        params: Sequence[int],
        waits: Sequence[Event],
        signals: Sequence[tuple[CudaSemaphore, int]],
    ) -> None:
        """Put work into the stream behind events of this device or others."""
        with self._lock, self.current():
            recording = commands.recording(buffers, params)
            for event in (*waits, *(event for event, _ in self._uploads)):
                if event.stream != self.stream:  # its own work is in order already
                    self.guarded(self.api.StreamWaitEvent, self.stream, event.handle, 0)
            recording.run(self.stream)
            done = Event(self)
            done.record(self.stream)
            held = (recording, commands, tuple(buffers), tuple(waits), tuple(self._uploads))
            self._uploads.clear()
            self._pending.append((done, held))
        for semaphore, value in signals:
            semaphore.promise(value, done)
        if not signals:
            self.collect()

    def order_after(self, event: Event, buffer: CudaBuffer) -> None:
        """Let later submissions wait for an upload, and keep its buffer meanwhile."""
        with self._lock:
            self._uploads.append((event, buffer))

    def collect(self) -> None:
        """Let go of what finished submissions used."""
        finished = []
        with self._lock:
            while self._pending and (self.error is not None or self._pending[0][0].reached()):
                finished.append(self._pending.popleft())

    # Objects of the API.

    def create_stream_handle(self) -> int:
        """Return a fresh CUstream, which lives as long as the device."""
        made = ctypes.c_void_p()
        with self.current():
            self.guarded(self.api.StreamCreate, cu.pointer(made), cu.STREAM_NON_BLOCKING)
        assert made.value is not None
        return made.value

    def take_event(self) -> int:
        """Return an event that nobody uses."""
        try:
            return self._events.pop()  # without a lock: transfers ask for events inside of theirs
        except IndexError:
            with self.current():
                return make_event(self)

    def give_back_event(self, handle: int) -> None:
        """Keep an event for the next to ask."""
        self._events.append(handle)


class _Submission:
    """Work that goes to the stream when everything it waits for is on its way."""

    def __init__(
        self,
        device: CudaDevice,
        commands: RecordedCommands[Recording],
        buffers: Sequence[PartedBuffer],
        params: tuple[int, ...],
        waits: Sequence[tuple[CudaSemaphore, int]],
        signals: Sequence[tuple[CudaSemaphore, int]],
    ) -> None:
        self._device, self._commands, self._buffers = device, commands, buffers
        self._params, self._waits, self._signals = params, waits, signals
        self._lock = threading.Lock()
        self._outstanding = len(waits) + 1

    def start(self) -> None:
        """Ask every wait to report, then go if all have.

        Raises:
            DeviceError: the work went to the device at once, and was refused.
        """
        for semaphore, value in self._waits:
            semaphore.on_promised(value, self._reached)
        failure = self._count()
        if failure is not None:
            raise failure

    def _reached(self) -> None:
        failure = self._count()
        if failure is not None:
            for semaphore, _ in self._signals:
                semaphore.fail(failure)

    def _count(self) -> DeviceError | None:
        with self._lock:
            self._outstanding -= 1
            if self._outstanding:
                return None
        try:
            events = [semaphore.event(value) for semaphore, value in self._waits]
            waits = [event for event in events if event is not None]
            self._device.execute(self._commands, self._buffers, self._params, waits, self._signals)
        except DeviceError as error:
            return error
        return None


class CudaDriver(hal.Driver):
    """Opens the devices of the system's CUDA driver."""

    name = "cuda"
    formats = (FORMAT,)
    rank = 2

    def query_devices(self) -> list[hal.DeviceInfo]:
        """Return all devices, saying of unusable ones why they are.

        Raises:
            DeviceError: there is no driver or no device.
        """
        return [
            hal.DeviceInfo(str(number), device.description)
            for number, device in enumerate(physical_devices())
        ]

    def create_device(self, path: str = "", options: Mapping[str, str] | None = None) -> CudaDevice:
        """Open a device by its number; the first usable one by default."""
        timeout, _ = device_options(self.name, options)
        return CudaDevice(choose(physical_devices(), path, "CUDA"), timeout)
