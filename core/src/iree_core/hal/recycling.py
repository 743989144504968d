"""Large blocks of host memory that are used again instead of being returned to the system.

Fresh pages cost more than the work on them: the system clears each at its first touch, which for
a result of some megabytes takes longer than copying it. A block goes back to the pool when the
last array that shows it is gone, whoever holds that.
"""

from __future__ import annotations

import threading
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

LEAST_BYTES = 128 * 1024
"""Smaller blocks the heap itself keeps at hand."""

_MOST_IDLE_BYTES = 256 * 1024 * 1024
_STEPS_PER_DOUBLING = 8


class BlockPool:
    """Hands out arrays over blocks and takes the blocks back, up to a number of idle bytes."""

    def __init__(self, most_idle: int = _MOST_IDLE_BYTES) -> None:
        self._idle: dict[int, list[NDArray[np.uint8]]] = defaultdict(list)
        self._idle_bytes = 0
        self._most_idle = most_idle
        # A block may come back while this thread is in here, from the garbage collector.
        self._lock = threading.RLock()

    def allocate(self, nbytes: int) -> NDArray[np.uint8]:
        """Return an array of ``nbytes`` undefined bytes.

        Raises:
            MemoryError: the system has not that much memory.
        """
        size = _rounded(nbytes)
        with self._lock:
            blocks = self._idle[size]
            memory = blocks.pop() if blocks else None
            if memory is not None:
                self._idle_bytes -= size
        if memory is None:
            memory = np.empty(size, np.uint8)
        return np.asarray(_Block(self, memory))[:nbytes]

    def take_back(self, memory: NDArray[np.uint8]) -> None:
        """Keep a block for later, if there is room."""
        with self._lock:
            if self._idle_bytes + memory.nbytes <= self._most_idle:
                self._idle[memory.nbytes].append(memory)
                self._idle_bytes += memory.nbytes

    @property
    def idle_bytes(self) -> int:
        """How much memory waits to be used again."""
        return self._idle_bytes


class _Block:
    """What the arrays over a block refer to; its end is that of the last of them."""

    __slots__ = ("__array_interface__", "_memory", "_pool")

    def __init__(self, pool: BlockPool, memory: NDArray[np.uint8]) -> None:
        self._pool, self._memory = pool, memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._pool.take_back(self._memory)


def _rounded(nbytes: int) -> int:
    """Return a size that requests a little larger share, so that growing tensors find blocks."""
    step = max(1, 1 << max(0, nbytes.bit_length() - 1)) // _STEPS_PER_DOUBLING or 1
    return -(-nbytes // step) * step
