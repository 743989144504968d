"""Memory of a CUDA device: allocations that are kept for reuse, and transfers through staging.

Transfers have a stream of their own, so that they overlap with kernels. An upload returns when
the host's data has been read; work that is submitted later waits for it on the device.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_backend_cuda import cu
from iree_backend_cuda.sync import Event
from iree_core.errors import DeviceError, InvocationError
from iree_core.hal import Allocator, Buffer, dlpack
from iree_core.hal.host import address_of

if TYPE_CHECKING:
    from iree_backend_cuda.driver import CudaDevice

_LEAST = 256
_MOST_IDLE = 1 << 30
_STAGE_BYTES = 4 << 20
DLPACK_CUDA = 2  # kDLCUDA


@dataclass(frozen=True)
class Memory:
    """One allocation: its device address and its size in bytes."""

    address: int
    capacity: int


class Heap:
    """Allocates and keeps the memory of one device."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._idle: dict[int, list[Memory]] = {}
        self._idle_bytes = 0
        # Buffers are given back by finalizers, which may run inside any allocation.
        self._lock = threading.RLock()

    def take(self, nbytes: int) -> Memory:
        """Return memory of at least ``nbytes``, idle or fresh.

        Raises:
            DeviceError: the device has not that much.
        """
        capacity = _rounded(nbytes)
        with self._lock:
            idle = self._idle.get(capacity)
            if idle:
                self._idle_bytes -= capacity
                return idle.pop()
        try:
            return self._create(capacity)
        except cu.CudaError as error:
            if error.result != cu.OUT_OF_MEMORY:
                raise
        self.trim()
        try:
            return self._create(capacity)
        except cu.CudaError as error:
            raise DeviceError(
                f"Out of memory on {self._device.description}: {nbytes} bytes cannot be allocated.",
                hint="Use a smaller batch, or a device with more memory.",
            ) from error

    def give_back(self, memory: Memory) -> None:
        """Keep memory that nothing uses any more for the next to ask."""
        with self._lock:
            if self._idle_bytes + memory.capacity <= _MOST_IDLE:
                self._idle.setdefault(memory.capacity, []).append(memory)
                self._idle_bytes += memory.capacity
                return
        self._destroy(memory)

    def trim(self) -> None:
        """Free all idle memory."""
        self._device.collect()
        with self._lock:
            idle, self._idle, self._idle_bytes = self._idle, {}, 0
        for memories in idle.values():
            for memory in memories:
                self._destroy(memory)

    def _create(self, capacity: int) -> Memory:
        address = ctypes.c_uint64()
        with self._device.current():
            self._device.guarded(self._device.api.MemAlloc_v2, cu.pointer(address), capacity)
        return Memory(address.value, capacity)

    def _destroy(self, memory: Memory) -> None:
        if self._device.error is None:
            with self._device.current():
                self._device.guarded(self._device.api.MemFree_v2, memory.address)


def _rounded(nbytes: int) -> int:
    """Return the capacity for a size: few enough distinct ones that idle memory is reused."""
    size = max(nbytes, _LEAST)
    step = max(_LEAST, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


class Staging:
    """Copies between the host and the device through two blocks of pinned memory in turn."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._lock = threading.Lock()
        self.stream = device.create_stream_handle()
        self._blocks: list[tuple[int, Event]] = []

    def _block(self, number: int) -> tuple[int, Event]:
        """Return block ``number`` modulo 2, when its last copy is done."""
        device = self._device
        if len(self._blocks) < 2:
            address = ctypes.c_void_p()
            flags = cu.HOST_ALLOC_PORTABLE
            device.guarded(device.api.MemHostAlloc, cu.pointer(address), _STAGE_BYTES, flags)
            self._blocks.append((address.value or 0, Event(device)))
        block = self._blocks[number % len(self._blocks)]
        device.guarded(device.api.EventSynchronize, block[1].handle)
        return block

    def upload(self, address: int, data: NDArray[np.uint8]) -> Event:
        """Start a copy to the device; ``data`` may change when this returns.

        Returns:
            The event after which the copy is complete.
        """
        device, done = self._device, Event(self._device)
        source = np.ascontiguousarray(data)
        with self._lock, device.current():
            for number, start in enumerate(range(0, source.nbytes, _STAGE_BYTES)):
                part = source[start : start + _STAGE_BYTES]
                block, event = self._block(number)
                ctypes.memmove(block, address_of(part), part.nbytes)
                device.guarded(
                    device.api.MemcpyHtoDAsync_v2, address + start, block, part.nbytes, self.stream
                )
                event.record(self.stream)
            done.record(self.stream)
        return done

    def download(self, address: int, target: NDArray[np.uint8]) -> None:
        """Copy to the host: while one block is emptied the other one fills."""
        device = self._device
        starts = range(0, target.nbytes, _STAGE_BYTES)
        parts = [target[start : start + _STAGE_BYTES] for start in starts]
        with self._lock, device.current():
            for number in range(len(parts) + 1):
                if number < len(parts):
                    block, event = self._block(number)
                    source = address + starts[number]
                    size = parts[number].nbytes
                    device.guarded(device.api.MemcpyDtoHAsync_v2, block, source, size, self.stream)
                    event.record(self.stream)
                if number:
                    block, event = self._blocks[(number - 1) % len(self._blocks)]
                    device.guarded(device.api.EventSynchronize, event.handle)
                    part = parts[number - 1]
                    ctypes.memmove(address_of(part), block, part.nbytes)


class CudaBuffer(Buffer):
    """A buffer of a CUDA device.

    Attributes:
        address: of its first byte.
    """

    __slots__ = ("__weakref__", "_device", "_owner", "address")

    def __init__(
        self,
        device: CudaDevice,
        nbytes: int,
        *,
        exclusive: bool = True,
        foreign: tuple[int, Any] | None = None,
    ) -> None:
        """Allocate, or refer to the memory of another library: its address and its owner."""
        self._device, self.nbytes, self.exclusive = device, nbytes, exclusive
        if foreign is not None:
            self.address, self._owner = foreign
            return
        memory = device.heap.take(nbytes)
        self.address, self._owner = memory.address, memory
        weakref.finalize(self, device.heap.give_back, memory).atexit = False

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.nbytes:
            raise DeviceError(
                f"{length} bytes at offset {offset} reach past the end of a buffer of "
                f"{self.nbytes} bytes."
            )

    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a copy of a range."""
        self._check(offset, length)
        result = np.empty(length, np.uint8)
        if length:
            self._device.staging.download(self.address + offset, result)
        return result

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Overwrite a range; work that is submitted later sees it."""
        self._check(offset, data.nbytes)
        if data.nbytes:
            done = self._device.staging.upload(self.address + offset, data)
            self._device.order_after(done, self)

    def dlpack_place(self) -> tuple[tuple[int, int], int] | None:
        """Return the DLPack device and the address."""
        return (DLPACK_CUDA, self._device.physical.handle), self.address


class CudaAllocator(Allocator):
    """Allocates on one CUDA device."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device

    def allocate(self, nbytes: int) -> CudaBuffer:
        """Return a fresh buffer."""
        if nbytes < 0:
            raise DeviceError(f"A buffer of {nbytes} bytes was asked for.")
        return CudaBuffer(self._device, nbytes)

    def import_host(self, data: NDArray[np.uint8]) -> CudaBuffer:
        """Return a buffer with a copy of ``data``."""
        buffer = CudaBuffer(self._device, data.nbytes, exclusive=False)
        buffer.write(0, data)
        return buffer

    def import_tensor(self, source: Any) -> tuple[CudaBuffer, str, tuple[int, ...]] | None:
        """Return the memory of a tensor of another library that is on this device."""
        place = tuple(int(part) for part in source.__dlpack_device__())
        if place != (DLPACK_CUDA, self._device.physical.handle):
            return None
        # The other library lets the stream wait for what it still has to do.
        tensor = dlpack.take(source, stream=self._device.stream)
        if not tensor.is_dense:
            raise InvocationError("The tensor is not contiguous.", hint="Copy it first.")
        foreign = (tensor.address, tensor)
        buffer = CudaBuffer(self._device, tensor.nbytes, exclusive=False, foreign=foreign)
        return buffer, tensor.dtype, tensor.shape

    def owns(self, buffer: Buffer) -> bool:
        """Tell whether ``buffer`` is memory of this device."""
        return isinstance(buffer, CudaBuffer) and buffer._device is self._device
