"""Memory of a device that is kept for reuse: what drivers of devices with own memory share.

Freed allocations wait for the next of their size, because allocating is slow in most drivers
and because a command list is replayed as recorded where it meets the same memory again. A driver
adds how memory is made and destroyed.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from iree_core.errors import DeviceError

_LEAST = 256
_NO_LIMIT = 1 << 62
_serial = itertools.count()


@dataclass
class Memory:
    """One allocation; drivers add handles.

    Attributes:
        capacity: its size in bytes.
        mapped: whether the host sees it.
        serial: never given to another one.
    """

    capacity: int
    mapped: bool
    serial: int = field(default_factory=lambda: next(_serial), init=False)


M = TypeVar("M", bound=Memory)


class Heap(ABC, Generic[M]):
    """Allocates and keeps the memory of one device.

    Attributes:
        mapped: whether the memory of tensors is such that the host sees.
        most: bytes of the largest allocation.
    """

    def __init__(self, device: Any, *, mapped: bool, most_idle: int) -> None:
        """Start without memory.

        Args:
            device: has ``description`` and ``collect()``, which lets go of what finished work used.
            mapped: whether the memory of tensors is such that the host sees.
            most_idle: bytes to keep for reuse at most.
        """
        self.device, self.mapped, self.most = device, mapped, _NO_LIMIT
        self._most_idle, self._idle_bytes = most_idle, 0
        self._idle: dict[tuple[int, bool], list[tuple[int, M]]] = {}
        # Buffers are given back by finalizers, which may run inside any allocation.
        self._lock = threading.RLock()

    @abstractmethod
    def create(self, capacity: int, mapped: bool) -> M | None:
        """Return fresh memory; None if there is not that much."""

    @abstractmethod
    def destroy(self, memory: M) -> None:
        """Free memory that nothing uses."""

    def total(self, mapped: bool) -> int:
        """Return how many bytes the device has of a kind of memory, as far as is known."""
        return _NO_LIMIT

    def take(self, nbytes: int, mapped: bool) -> M:
        """Return memory of at least ``nbytes``, idle or fresh.

        Raises:
            DeviceError: the device has not that much, or no allocation may be so large.
        """
        capacity = min(_rounded(nbytes), max(self.most, nbytes))
        with self._lock:
            idle = self._idle.get((capacity, mapped))
            if idle:
                self._idle_bytes -= capacity
                # The oldest, so that a call that repeats another finds the same memory.
                return heapq.heappop(idle)[1]
        if capacity > self.most:
            raise DeviceError(
                f"An allocation of {nbytes} bytes is larger than what {self.device.description} "
                f"allows, {self.most} bytes.",
                hint="Use a smaller batch, or a device that allows larger ones.",
            )
        made = self.create(capacity, mapped)
        if made is None:
            self.trim()
            made = self.create(capacity, mapped)
        if made is None:
            raise self.out_of_memory(nbytes)
        return made

    def out_of_memory(self, nbytes: int) -> DeviceError:
        """Return the error for ``nbytes`` that cannot be had."""
        return DeviceError(
            f"Out of memory on {self.device.description}: {nbytes} bytes cannot be allocated.",
            hint="Use a smaller batch, or a device with more memory.",
        )

    def give_back(self, memory: M) -> None:
        """Keep memory that nothing uses any more for the next to ask."""
        with self._lock:
            if self._idle_bytes + memory.capacity <= self._most_idle:
                idle = self._idle.setdefault((memory.capacity, memory.mapped), [])
                heapq.heappush(idle, (memory.serial, memory))
                self._idle_bytes += memory.capacity
                return
        self.destroy(memory)

    def trim(self) -> None:
        """Free all idle memory."""
        self.device.collect()
        with self._lock:
            idle, self._idle, self._idle_bytes = self._idle, {}, 0
        for memories in idle.values():
            for _, memory in memories:
                self.destroy(memory)


def _rounded(nbytes: int) -> int:
    """Return the capacity for a size: few enough distinct ones that idle memory is reused."""
    size = max(nbytes, _LEAST)
    step = max(_LEAST, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step
