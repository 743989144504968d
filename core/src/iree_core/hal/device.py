"""Drivers, devices and what a device makes: the classes a driver plugin implements.

The least a driver does: make a :class:`Device` that allocates buffers, loads executables of one
format, records command lists and runs them in the order of semaphores.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_core.hal.buffer import Buffer, Region
from iree_core.hal.sync import Fence, Semaphore, Timepoint

if TYPE_CHECKING:
    from iree_core.vm.program import CommandList


class Allocator(ABC):
    """Makes buffers on one device."""

    @abstractmethod
    def allocate(self, nbytes: int) -> Buffer:
        """Return a fresh buffer with undefined content, aligned to 64 bytes at least.

        Raises:
            DeviceError: the device has not that much memory.
        """

    @abstractmethod
    def import_host(self, data: NDArray[np.uint8]) -> Buffer:
        """Return a buffer with the content of flat ``data``.

        Where the device can address host memory, the buffer refers to ``data``, keeps it alive
        and must not be written by the host meanwhile; else it is a copy.
        """

    def import_constants(self, data: NDArray[np.uint8], regions: Sequence[Region]) -> Buffer:
        """Return a buffer like :meth:`import_host`, for reading ``regions`` of ``data`` only.

        Where it is a copy, the rest need not be in it.
        """
        return self.import_host(data)

    def import_tensor(self, source: Any) -> tuple[Buffer, str, tuple[int, ...]] | None:
        """Return the memory of another library's tensor, its element type and shape.

        Args:
            source: an object with ``__dlpack__``.

        Returns:
            None if the tensor is not in memory that only this device can address.

        Raises:
            InvocationError: it is, but is not dense or has a type without a name here.
        """
        return None

    def owns(self, buffer: Buffer) -> bool:
        """Tell whether ``buffer`` can be bound on this device as it is."""
        return False


class Executable(ABC):
    """Loaded code with numbered entry points."""

    entries: tuple[str, ...]


class CommandBuffer(ABC):
    """A recorded command list, replayable any number of times with other operands."""

    slots: int
    params: int


class Device(ABC):
    """One device and its queue.

    Attributes:
        name: what the user typed to get it (``local-task``).
        description: for people: the processor's or card's name.
        allocator: makes its buffers.
    """

    name: str
    description: str
    allocator: Allocator

    @abstractmethod
    def accepts(self, format: str, target: str) -> str | None:
        """Return None if an executable of ``format`` for ``target`` runs here, else why not."""

    @abstractmethod
    def load_executable(
        self, data: memoryview, entries: Sequence[tuple[str, int]], *, format: str
    ) -> Executable:
        """Load an image; ``entries`` are names and offsets, in dispatch order.

        Raises:
            ModuleFileError: the image is damaged or needs what this device lacks.
            DeviceError: the device cannot map it.
        """

    @abstractmethod
    def record(self, commands: CommandList, executable: Executable | None) -> CommandBuffer:
        """Record ``commands`` once.

        Raises:
            ModuleFileError: an entry, slot or parameter that does not exist.
        """

    @abstractmethod
    def create_semaphore(self, initial: int = 0) -> Semaphore:
        """Return a timeline semaphore for this device's queue."""

    @abstractmethod
    def submit(
        self,
        commands: CommandBuffer,
        buffers: Sequence[Buffer],
        params: Sequence[int],
        *,
        wait: Sequence[Timepoint] = (),
        signal: Sequence[Timepoint] = (),
    ) -> None:
        """Run ``commands`` once all of ``wait`` is reached, then signal ``signal``.

        Returns at once or when the work is done, as the device likes; the operands are read
        before it returns and the buffers kept alive until the work is done. Work that fails
        fails the semaphores of ``signal``.

        Raises:
            DeviceError: the wrong number of buffers or parameters, or the device is lost.
        """

    def create_stream(self) -> Stream:
        """Return a sequence of submissions that run one after the other."""
        return Stream(self)


class Stream:
    """Submissions in program order, chained by one timeline semaphore."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._semaphore = device.create_semaphore()
        self._value = 0
        self._ahead: list[Timepoint] = []
        self._lock = threading.Lock()

    def execute(
        self, commands: CommandBuffer, buffers: Sequence[Buffer], params: Sequence[int]
    ) -> None:
        """Submit ``commands`` after everything submitted before.

        Raises:
            DeviceError: the submission was refused.
        """
        with self._lock:
            before = (self._semaphore, self._value)
            after = (self._semaphore, self._value + 1)
            wait = [before, *self._ahead]
            self._device.submit(commands, buffers, params, wait=wait, signal=[after])
            self._value += 1
            self._ahead.clear()

    def wait_for(self, fence: Fence) -> None:
        """Let what is submitted next run after ``fence``, which may be of another stream."""
        with self._lock:
            self._ahead += [point for point in fence.timepoints if point[0] is not self._semaphore]

    def fence(self) -> Fence | None:
        """Return the fence of everything submitted so far; None if all of it is complete."""
        return Fence(((self._semaphore, self._value),)) if self._value else None

    def synchronize(self) -> None:
        """Block until everything submitted so far is complete.

        Raises:
            DeviceError: some of it failed.
        """
        with self._lock:
            points = [(self._semaphore, self._value), *self._ahead]
        for semaphore, value in points:
            semaphore.wait(value)


@dataclass(frozen=True)
class DeviceInfo:
    """One device a driver can open."""

    path: str
    description: str


class Driver(ABC):
    """Opens the devices of one kind.

    Attributes:
        name: the entry point's name (``local-task``).
        formats: formats of the executables its devices load (``native-x86_64``).
        rank: where several drivers can run a module and the user named none, the highest wins.
    """

    name: str
    formats: Sequence[str]
    rank: int = 0

    @abstractmethod
    def query_devices(self) -> list[DeviceInfo]:
        """Return what can be opened on this machine, best first; empty if nothing can."""

    @abstractmethod
    def create_device(self, path: str = "", options: Mapping[str, str] | None = None) -> Device:
        """Open the device at ``path`` (``""`` for the default one).

        Raises:
            UsageError: an unknown option.
            DeviceError: there is no such device, or it does not open.
        """
