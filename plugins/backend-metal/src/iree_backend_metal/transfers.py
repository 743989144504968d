"""Copies to and from private memory, on a command queue of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_backend_metal.memory import Memory
from iree_core.errors import DeviceError
from iree_core.hal import transfers

if TYPE_CHECKING:
    from threading import RLock

    from iree_backend_metal.driver import MetalDevice, MetalSemaphore


class Transfers(transfers.Transfers[Memory]):
    """The transfers of one device."""

    # The blit commands of macOS take multiples of four bytes.
    alignment = 4
    semaphore: MetalSemaphore

    def __init__(self, device: MetalDevice, lock: RLock) -> None:
        """Make a queue.

        Raises:
            DeviceError: the device makes none.
        """
        super().__init__(device.heap, device.create_semaphore(), lock)
        self._device = device
        self._queue = device.handle.newCommandQueue()
        if self._queue is None:
            raise DeviceError(f"{device.description} makes no second command queue.")

    def host_bytes(self, memory: Memory) -> NDArray[np.uint8]:
        """Return the bytes of shared memory."""
        assert memory.host is not None
        return memory.host

    def submit(
        self, source: tuple[Memory, int], target: tuple[Memory, int], nbytes: int, value: int
    ) -> Any:
        """Encode and commit a copy."""
        device = self._device
        if device.error is not None:
            raise device.error
        with device.pool():
            work = self._queue.commandBuffer()
            encoder = work.blitCommandEncoder()
            encoder.copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size_(
                source[0].buffer, source[1], target[0].buffer, target[1], nbytes
            )
            encoder.endEncoding()
            work.encodeSignalEvent_value_(self.semaphore.event, value)
            device.commit(work, (source, target, self.semaphore))
        return work
