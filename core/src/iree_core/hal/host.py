"""The parts of a device whose memory is the host's: a CPU driver adds how code is run.

Work runs in the thread that submits it, or, where a submission waits for semaphores that are
not signalled yet, in the thread that signals the last of them.
"""

from __future__ import annotations

import ctypes
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iree_core.errors import DeviceError
from iree_core.hal.buffer import Buffer
from iree_core.hal.device import Allocator, CommandBuffer, Device, Stream
from iree_core.hal.recycling import LEAST_BYTES, BlockPool
from iree_core.hal.sync import Fence, Semaphore, Timepoint

ALIGNMENT = 64
_Anything = ctypes.c_char * 0
_POOL = BlockPool()


class HostBuffer(Buffer):
    """Host memory, owned by a flat numpy array.

    Attributes:
        data: the memory, one byte per element.
        address: of its first byte.
    """

    __slots__ = ("address", "data")

    def __init__(self, data: NDArray[np.uint8], *, exclusive: bool) -> None:
        self.data = data
        self.address = address_of(data)
        self.nbytes = data.nbytes
        self.exclusive = exclusive

    def map(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return the range itself.

        Raises:
            DeviceError: it reaches past the end of the buffer.
        """
        if offset < 0 or length < 0 or offset + length > self.nbytes:
            raise DeviceError(
                f"{length} bytes at offset {offset} reach past the end of a buffer of "
                f"{self.nbytes} bytes."
            )
        return self.data[offset : offset + length]

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a copy of a range."""
        return self.map(offset, length).copy()

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Overwrite a range."""
        target = self.map(offset, data.nbytes)
        if not target.flags.writeable:
            raise DeviceError("The buffer is read-only.")
        target[:] = data


def address_of(data: NDArray) -> int:
    """Return the address of a contiguous array's first byte."""
    try:  # five times as fast as data.ctypes
        return ctypes.addressof(_Anything.from_buffer(data))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # read-only, or a type without a buffer format
        return data.ctypes.data


def aligned_empty(nbytes: int) -> NDArray[np.uint8]:
    """Return ``nbytes`` of undefined memory that starts on a 64-byte boundary.

    Raises:
        DeviceError: the machine has not that much memory.
    """
    size = nbytes + ALIGNMENT
    try:
        data = _POOL.allocate(size) if size >= LEAST_BYTES else np.empty(size, np.uint8)
    except (MemoryError, ValueError, OverflowError):
        raise DeviceError(
            f"Out of memory: {nbytes} bytes cannot be allocated.",
            hint="Use a smaller batch, or a machine with more memory.",
        ) from None
    start = -address_of(data) % ALIGNMENT
    return data[start : start + nbytes]


class HostAllocator(Allocator):
    """Allocates from the process's heap."""

    def allocate(self, nbytes: int) -> HostBuffer:
        """Return a fresh 64-byte aligned buffer."""
        if nbytes < 0:
            raise DeviceError(f"A buffer of {nbytes} bytes was asked for.")
        return HostBuffer(aligned_empty(nbytes), exclusive=True)

    def import_host(self, data: NDArray[np.uint8]) -> HostBuffer:
        """Return a buffer that refers to ``data``."""
        return HostBuffer(data, exclusive=False)


class HostSemaphore(Semaphore):
    """A timeline semaphore on a condition variable, with callbacks for waiting submissions."""

    def __init__(self, initial: int = 0) -> None:
        self._value = initial
        self._error: DeviceError | None = None
        self._changed = threading.Condition()
        self._callbacks: list[tuple[int, Callable[[DeviceError | None], None]]] = []

    def query(self) -> int:
        """Return the current payload."""
        if self._error is not None:
            raise self._error
        return self._value

    def signal(self, value: int) -> None:
        """Raise the payload and run what waited for it, in this thread."""
        with self._changed:
            if self._error is not None:
                return
            if value <= self._value:
                raise DeviceError(f"A semaphore at {self._value} cannot be signalled to {value}.")
            self._value = value
            ready = [callback for point, callback in self._callbacks if point <= value]
            self._callbacks = [entry for entry in self._callbacks if entry[0] > value]
            self._changed.notify_all()
        for callback in ready:
            callback(None)

    def fail(self, error: DeviceError) -> None:
        """Make every wait raise ``error``."""
        with self._changed:
            self._error = error
            failed, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for _, callback in failed:
            callback(error)

    def wait(self, value: int, timeout: float | None = None) -> bool:
        """Block until the payload reaches ``value``."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._value >= value, timeout)
            if self._error is not None:
                raise self._error
            return self._value >= value

    def on_reached(self, value: int, callback: Callable[[DeviceError | None], None]) -> None:
        """Call ``callback`` with None once ``value`` is reached, or with the semaphore's error.

        That happens in this thread if it is so already, else in the one that signals.
        """
        with self._changed:
            if self._error is None and self._value < value:
                self._callbacks.append((value, callback))
                return
        callback(self._error)


class HostCommandBuffer(CommandBuffer):
    """Recorded commands that run by one call of a C function.

    Attributes:
        function: ``int function(handle, void** buffers, int64_t* params)``, a ctypes function;
            anything but 0 is an error.
        handle: its first argument.
    """

    function: Callable[..., int]
    handle: Any

    @abstractmethod
    def run(self, buffers: Sequence[HostBuffer], params: Sequence[int]) -> None:
        """Execute in this thread and return when all is done.

        Raises:
            DeviceError: the wrong number of operands, or out of memory.
        """

    @abstractmethod
    def check(self, status: int) -> None:
        """Raise the DeviceError that ``status`` stands for, if it is not 0."""


class HostStream(Stream):
    """Submissions on a host device: each is complete when it returns."""

    def __init__(self) -> None:
        """Keep nothing: order is that of the calls."""

    def execute(
        self, commands: CommandBuffer, buffers: Sequence[Buffer], params: Sequence[int]
    ) -> None:
        """Run ``commands`` now."""
        commands.run(buffers, params)  # type: ignore[attr-defined]

    def wait_for(self, fence: Fence) -> None:
        """Wait for work elsewhere."""
        fence.wait()

    def fence(self) -> Fence | None:
        """Return None: nothing is outstanding."""
        return None

    def synchronize(self) -> None:
        """Return at once: nothing is outstanding."""


class HostDevice(Device):
    """A device that shares the host's memory and runs submissions on the host's threads."""

    def __init__(self) -> None:
        self.allocator = HostAllocator()

    def create_semaphore(self, initial: int = 0) -> HostSemaphore:
        """Return a semaphore that host threads signal."""
        return HostSemaphore(initial)

    def create_stream(self) -> Stream:
        """Return a stream whose submissions run in the caller's thread."""
        return HostStream()

    def submit(
        self,
        commands: CommandBuffer,
        buffers: Sequence[Buffer],
        params: Sequence[int],
        *,
        wait: Sequence[Timepoint] = (),
        signal: Sequence[Timepoint] = (),
    ) -> None:
        """Run now if ``wait`` is reached, else in the thread that signals the last of it."""
        if len(buffers) != commands.slots or len(params) != commands.params:
            raise DeviceError(
                f"The command buffer takes {commands.slots} buffers and {commands.params} "
                f"parameters, not {len(buffers)} and {len(params)}."
            )
        _Submission(commands, tuple(buffers), tuple(params), tuple(wait), tuple(signal)).start()


class _Submission:
    """Work that starts when the last of its waits is reached."""

    def __init__(
        self,
        commands: CommandBuffer,
        buffers: tuple[Buffer, ...],
        params: tuple[int, ...],
        wait: tuple[Timepoint, ...],
        signal: tuple[Timepoint, ...],
    ) -> None:
        self._commands, self._buffers, self._params = commands, buffers, params
        self._wait, self._signal = wait, signal
        self._lock = threading.Lock()
        self._outstanding = len(wait) + 1
        self._error: DeviceError | None = None

    def start(self) -> None:
        """Register with every wait, then run if none was outstanding."""
        for semaphore, value in self._wait:
            semaphore.on_reached(value, self._reached)  # type: ignore[attr-defined]
        self._reached(None)

    def _reached(self, error: DeviceError | None) -> None:
        with self._lock:
            self._outstanding -= 1
            self._error = self._error or error
            if self._outstanding:
                return
        try:
            if self._error is not None:
                raise self._error
            self._commands.run(self._buffers, self._params)  # type: ignore[attr-defined]
        except DeviceError as failure:
            for semaphore, _ in self._signal:
                semaphore.fail(failure)
        else:
            for semaphore, value in self._signal:
                semaphore.signal(value)
