"""Memory of a CUDA device, and transfers through staging.

Transfers have a stream of their own, so that they overlap with kernels. An upload returns when
the host's data has been read; work that is submitted later waits for it on the device.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_backend_cuda import cu
from iree_backend_cuda.sync import Event
from iree_core.errors import InvocationError
from iree_core.hal import Region, dlpack, heap
from iree_core.hal.host import address_of
from iree_core.hal.parts import Part, PartedAllocator, PartedBuffer, Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iree_backend_cuda.driver import CudaDevice

_MOST_IDLE = 1 << 30
_STAGE_BYTES = 4 << 20
DLPACK_CUDA = 2  # kDLCUDA


@dataclass
class Memory(heap.Memory):
    """One allocation.

    Attributes:
        address: on the device.
        owner: whose memory it is, where it is another library's.
    """

    address: int
    owner: Any = None


class Heap(heap.Heap[Memory]):
    """The memory of one device."""

    device: CudaDevice

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device, mapped=False, most_idle=_MOST_IDLE)

    def create(self, capacity: int, mapped: bool) -> Memory | None:
        """Return fresh memory; None if there is not that much."""
        address = ctypes.c_uint64()
        try:
            with self.device.current():
                self.device.guarded(self.device.api.MemAlloc_v2, cu.pointer(address), capacity)
        except cu.CudaError as error:
            if error.result != cu.OUT_OF_MEMORY:
                raise
            return None
        return Memory(capacity, mapped, address.value)

    def destroy(self, memory: Memory) -> None:
        """Free memory that nothing uses."""
        if self.device.error is None:
            with self.device.current():
                self.device.guarded(self.device.api.MemFree_v2, memory.address)


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


class CudaBuffer(PartedBuffer[Memory]):
    """A buffer of a CUDA device."""

    __slots__ = ()

    heap: Heap

    def __init__(
        self,
        heap: Heap,
        nbytes: int,
        *,
        exclusive: bool = True,
        regions: Sequence[Region] | None = None,
        foreign: Memory | None = None,
    ) -> None:
        """Allocate, or refer to the memory of another library."""
        if foreign is None:
            super().__init__(heap, nbytes, exclusive=exclusive, regions=regions)
        else:
            self.heap, self.nbytes, self.exclusive = heap, nbytes, exclusive
            self.parts, self.regions = [Part(0, nbytes, foreign)], []
            self.read_only = False
        # Kernels see addresses only, so memory that is allocated anew at one is the same.
        self.key = (nbytes, *(part.memory.address for part in self.parts))

    @property
    def address(self) -> int:
        """The address of its first byte."""
        return self.memory.address

    def download(self, piece: Piece[Memory], target: NDArray[np.uint8]) -> None:
        """Copy from the device to ``target``."""
        self.heap.device.staging.download(piece.memory.address + piece.offset, target)

    def upload(self, piece: Piece[Memory], source: NDArray[np.uint8]) -> None:
        """Copy ``source`` to the device; work that is submitted later sees it."""
        device = self.heap.device
        done = device.staging.upload(piece.memory.address + piece.offset, source)
        device.order_after(done, self)

    def dlpack_place(self) -> tuple[tuple[int, int], int] | None:
        """Return the DLPack device and the address."""
        if len(self.parts) > 1:
            return None
        return (DLPACK_CUDA, self.heap.device.physical.handle), self.address


class CudaAllocator(PartedAllocator[Memory]):
    """Allocates on one CUDA device."""

    heap: Heap

    def __init__(self, heap: Heap) -> None:
        super().__init__(heap, CudaBuffer)

    def import_tensor(self, source: Any) -> tuple[CudaBuffer, str, tuple[int, ...]] | None:
        """Return the memory of a tensor of another library that is on this device."""
        device = self.heap.device
        place = tuple(int(part) for part in source.__dlpack_device__())
        if place != (DLPACK_CUDA, device.physical.handle):
            return None
        # The other library lets the stream wait for what it still has to do.
        tensor = dlpack.take(source, stream=device.stream)
        if not tensor.is_dense:
            raise InvocationError("The tensor is not contiguous.", hint="Copy it first.")
        foreign = Memory(tensor.nbytes, False, tensor.address, tensor)
        buffer = CudaBuffer(self.heap, tensor.nbytes, exclusive=False, foreign=foreign)
        return buffer, tensor.dtype, tensor.shape
