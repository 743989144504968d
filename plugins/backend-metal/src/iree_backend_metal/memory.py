"""Device memory: shared buffers, which the host maps, and private ones, reached by copies.

Where host and GPU share their memory, as on Apple silicon, buffers are shared. Freed buffers are
kept for the next of their size, because a command list can be replayed as recorded when it meets
the same buffers again.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_core.errors import DeviceError
from iree_core.hal import Allocator, Buffer

if TYPE_CHECKING:
    from iree_backend_metal.driver import MetalDevice

_LEAST = 256
_MOST_IDLE = 512 << 20
_serial = itertools.count()


@dataclass
class Memory:
    """An MTLBuffer.

    Attributes:
        buffer: the object.
        capacity: its size in bytes.
        host: its bytes where the host maps them.
        serial: never given to another one.
    """

    buffer: Any
    capacity: int
    host: NDArray[np.uint8] | None
    serial: int


class Heap:
    """Allocates and keeps the memory of one device."""

    def __init__(self, device: MetalDevice, private: bool) -> None:
        """Use private memory for tensors if asked to."""
        self._device = device
        self.mapped = not private
        self._idle: dict[tuple[int, bool], list[Memory]] = {}
        self._idle_bytes = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int, mapped: bool) -> Memory:
        """Return memory of at least ``nbytes``, idle or fresh.

        Raises:
            DeviceError: the device has not that much, or no single buffer may be so large.
        """
        most = self._device.handle.maxBufferLength()
        capacity = min(_rounded(nbytes), max(most, nbytes))
        with self._lock:
            idle = self._idle.get((capacity, mapped))
            if idle:
                self._idle_bytes -= capacity
                return idle.pop()
        if capacity > most:
            raise DeviceError(
                f"A buffer of {nbytes} bytes is larger than what {self._device.description} "
                f"allows, {most} bytes.",
                hint="Use a smaller batch, or a device with more memory.",
            )
        made = self._create(capacity, mapped)
        if made is None:
            self.trim()
            made = self._create(capacity, mapped)
        if made is None:
            raise DeviceError(
                f"Out of memory on {self._device.description}: {nbytes} bytes cannot be allocated.",
                hint="Use a smaller batch, or a device with more memory.",
            )
        return made

    def _create(self, capacity: int, mapped: bool) -> Memory | None:
        metal = self._device.metal
        mode = metal.MTLResourceStorageModeShared if mapped else metal.MTLResourceStorageModePrivate
        buffer = self._device.handle.newBufferWithLength_options_(capacity, mode)
        if buffer is None:
            return None
        host = None
        if mapped:
            host = np.frombuffer(buffer.contents().as_buffer(capacity), np.uint8)
        return Memory(buffer, capacity, host, next(_serial))

    def give_back(self, memory: Memory) -> None:
        """Keep memory that nothing uses any more for the next to ask."""
        with self._lock:
            if self._idle_bytes + memory.capacity <= _MOST_IDLE:
                key = (memory.capacity, memory.host is not None)
                self._idle.setdefault(key, []).append(memory)
                self._idle_bytes += memory.capacity

    def trim(self) -> None:
        """Free all idle memory."""
        self._device.collect()
        with self._lock:
            self._idle, self._idle_bytes = {}, 0


def _rounded(nbytes: int) -> int:
    """Return the capacity for a size: few enough distinct ones that idle memory is reused."""
    size = max(nbytes, _LEAST)
    step = max(_LEAST, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


class MetalBuffer(Buffer):
    """A buffer of a Metal device.

    Attributes:
        memory: where its bytes are.
    """

    __slots__ = ("__weakref__", "_device", "memory")

    def __init__(self, device: MetalDevice, nbytes: int, *, exclusive: bool = True) -> None:
        self._device = device
        self.nbytes, self.exclusive = nbytes, exclusive
        self.memory = device.heap.take(nbytes, device.heap.mapped)
        weakref.finalize(self, device.heap.give_back, self.memory)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.nbytes:
            raise DeviceError(
                f"{length} bytes at offset {offset} reach past the end of a buffer of "
                f"{self.nbytes} bytes."
            )

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a copy of a range."""
        found = self.map(offset, length)
        if found is not None:
            return found.copy()
        result = np.empty(length, np.uint8)
        self._device.transfer(self, offset, result, write=False)
        return result

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Overwrite a range."""
        target = self.map(offset, data.nbytes)
        if target is not None:
            target[:] = data
        else:
            self._device.transfer(self, offset, data, write=True)

    def map(self, offset: int, length: int) -> NDArray[np.uint8] | None:
        """Return the range itself where the host maps the memory."""
        self._check(offset, length)
        host = self.memory.host
        if host is None:
            return None
        return np.asarray(_Holder(self, host))[offset : offset + length]

    def owned_by(self, device: MetalDevice) -> bool:
        """Tell whether the buffer is memory of ``device``."""
        return self._device is device


class _Holder:
    """Exports memory through numpy's array interface and keeps its owner alive."""

    def __init__(self, owner: MetalBuffer, host: NDArray[np.uint8]) -> None:
        self._owner = owner
        self.__array_interface__ = host.__array_interface__


class MetalAllocator(Allocator):
    """Allocates on one Metal device."""

    def __init__(self, device: MetalDevice) -> None:
        self._device = device

    def allocate(self, nbytes: int) -> MetalBuffer:
        """Return a fresh buffer."""
        if nbytes < 0:
            raise DeviceError(f"A buffer of {nbytes} bytes was asked for.")
        return MetalBuffer(self._device, nbytes)

    def import_host(self, data: NDArray[np.uint8]) -> MetalBuffer:
        """Return a buffer with a copy of ``data``."""
        buffer = MetalBuffer(self._device, data.nbytes, exclusive=False)
        buffer.write(0, data)
        return buffer

    def owns(self, buffer: Buffer) -> bool:
        """Tell whether ``buffer`` is memory of this device."""
        return isinstance(buffer, MetalBuffer) and buffer.owned_by(self._device)
