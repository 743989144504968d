"""Device memory: shared buffers, which the host maps, and private ones, reached by copies.

Where host and GPU share their memory, as on Apple silicon, buffers are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_core.hal import heap
from iree_core.hal.parts import MappedBuffer, Piece

if TYPE_CHECKING:
    from iree_backend_metal.driver import MetalDevice

_MOST_IDLE = 512 << 20


@dataclass
class Memory(heap.Memory):
    """An MTLBuffer.

    Attributes:
        buffer: the object.
        host: its bytes where the host maps them.
    """

    buffer: Any
    host: NDArray[np.uint8] | None = None


class Heap(heap.Heap[Memory]):
    """The memory of one device."""

    device: MetalDevice

    def __init__(self, device: MetalDevice, private: bool) -> None:
        """Use private memory for tensors if asked to."""
        super().__init__(device, mapped=not private, most_idle=_MOST_IDLE)
        self.most = int(device.handle.maxBufferLength())

    def create(self, capacity: int, mapped: bool) -> Memory | None:
        """Return fresh memory; None if there is not that much."""
        metal = self.device.metal
        mode = metal.MTLResourceStorageModeShared if mapped else metal.MTLResourceStorageModePrivate
        buffer = self.device.handle.newBufferWithLength_options_(capacity, mode)
        if buffer is None:
            return None
        made = Memory(capacity, mapped, buffer)
        if mapped:
            made.host = np.frombuffer(buffer.contents().as_buffer(capacity), np.uint8)
        return made

    def destroy(self, memory: Memory) -> None:
        """Let go of memory: Objective-C counts references."""


class MetalBuffer(MappedBuffer[Memory]):
    """A buffer of a Metal device."""

    __slots__ = ()

    heap: Heap

    def mapped(self, piece: Piece[Memory]) -> NDArray[np.uint8] | None:
        """Return the bytes themselves where the host maps them."""
        if piece.memory.host is None:
            return None
        whole = np.asarray(_Holder(self, piece.memory.host))
        return whole[piece.offset : piece.offset + piece.nbytes]

    def transfer(self, piece: Piece[Memory], data: NDArray[np.uint8], *, write: bool) -> None:
        """Copy between the host and memory that it does not map."""
        transfers = self.heap.device.transfers
        if write:
            transfers.upload(piece.memory, piece.offset, data, self)
        else:
            transfers.download(piece.memory, piece.offset, data)


class _Holder:
    """Exports memory through numpy's array interface and keeps its owner alive."""

    def __init__(self, owner: MetalBuffer, host: NDArray[np.uint8]) -> None:
        self._owner = owner
        self.__array_interface__ = host.__array_interface__
