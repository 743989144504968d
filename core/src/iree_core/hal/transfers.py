"""Copies between the host and memory that it does not see, through memory that both see.

An upload returns when the host's data has been read; what is submitted later waits for it on the
device, by a timeline semaphore. Large transfers go in pieces: while the device copies one, the
host fills or empties the next. A driver adds how one copy is submitted, best to a queue beside
that of the kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from iree_core.hal.heap import Heap, M
from iree_core.hal.sync import Semaphore

PIECE_BYTES = 16 << 20
_MOST_UNFINISHED_BYTES = 4 * PIECE_BYTES


@dataclass(frozen=True)
class _Copy(Generic[M]):
    """A copy on its way: when it is done, the memory it takes, and what must live until then."""

    value: int
    between: M
    kept: Any


class Transfers(ABC, Generic[M]):
    """The transfers of one device.

    Attributes:
        semaphore: its timeline has a point for every copy.
        uploaded: the point after which every upload so far is done.
        alignment: of the ends of a copy.
    """

    alignment = 1

    def __init__(self, heap: Heap[M], semaphore: Semaphore, lock: RLock) -> None:
        """Start with nothing on its way; ``lock`` guards submissions."""
        self.heap, self.semaphore, self.uploaded = heap, semaphore, 0
        self._lock, self._value, self._done = lock, 0, 0
        self._unfinished: deque[_Copy[M]] = deque()

    @abstractmethod
    def submit(self, source: tuple[M, int], target: tuple[M, int], nbytes: int, value: int) -> Any:
        """Start a copy between places in memory that signals ``value`` of the semaphore.

        Called with the lock held. Returns what has to live until the copy is done.
        """

    @abstractmethod
    def host_bytes(self, memory: M) -> NDArray[np.uint8]:
        """Return the bytes of memory that the host sees."""

    def outstanding(self) -> int | None:
        """Return the point that later work has to wait for, None if there is nothing to."""
        return self.uploaded if self.uploaded > self._done else None

    def upload(self, memory: M, offset: int, data: NDArray[np.uint8], keep: Any) -> None:
        """Copy ``data`` to ``offset`` of ``memory``, which ``keep`` holds."""
        self.settle()
        flying: deque[_Copy[M]] = deque()
        for start, stop, inside in self._pieces(offset, data.nbytes):
            if len(flying) > 1:
                self._land(flying.popleft())
            between = self.heap.take(stop - start, True)
            if inside != slice(start, stop):  # what is around it has to stay
                self._wait(self._start(between, memory, start, stop, None, write=False).value)
            part = data[inside.start - offset : inside.stop - offset]
            self.host_bytes(between)[inside.start - start : inside.stop - start] = part
            flying.append(self._start(between, memory, start, stop, keep, write=True))
        with self._lock:
            self._unfinished += flying

    def download(self, memory: M, offset: int, target: NDArray[np.uint8]) -> None:
        """Copy from ``offset`` of ``memory``, all work on it being complete."""
        before: tuple[_Copy[M], NDArray[np.uint8], int] | None = None
        for start, stop, inside in self._pieces(offset, target.nbytes):
            between = self.heap.take(stop - start, True)
            copy = self._start(between, memory, start, stop, None, write=False)
            if before is not None:
                self._empty(*before)
            part = target[inside.start - offset : inside.stop - offset]
            before = copy, part, inside.start - start
        if before is not None:
            self._empty(*before)

    def settle(self) -> None:
        """Let go of what finished uploads used; wait for some if many are unfinished."""
        with self._lock:
            if not self._unfinished:
                return
            self._done = max(self._done, self.semaphore.query())
            while self._unfinished and self._unfinished[0].value <= self._done:
                self.heap.give_back(self._unfinished.popleft().between)
            total = sum(copy.between.capacity for copy in self._unfinished)
            oldest = self._unfinished.popleft() if total > _MOST_UNFINISHED_BYTES else None
        if oldest is not None:
            self._land(oldest)

    def _pieces(self, offset: int, nbytes: int) -> list[tuple[int, int, slice]]:
        """Return aligned ranges of memory, and which part of each is meant."""
        end, step = offset + nbytes, self.alignment
        first, last = offset // step * step, -(-end // step) * step
        found = []
        for start in range(first, last, PIECE_BYTES):
            stop = min(start + PIECE_BYTES, last)
            found.append((start, stop, slice(max(start, offset), min(stop, end))))
        return found

    def _start(
        self, between: M, memory: M, start: int, stop: int, keep: Any, *, write: bool
    ) -> _Copy[M]:
        with self._lock:
            self._value += 1
            ends = (between, 0), (memory, start)
            source, target = ends if write else ends[::-1]
            kept = self.submit(source, target, stop - start, self._value)
            if write:
                self.uploaded = self._value
            return _Copy(self._value, between, (kept, keep))

    def _empty(self, copy: _Copy[M], target: NDArray[np.uint8], start: int) -> None:
        self._wait(copy.value)
        target[:] = self.host_bytes(copy.between)[start : start + target.nbytes]
        self.heap.give_back(copy.between)

    def _land(self, copy: _Copy[M]) -> None:
        self._wait(copy.value)
        self.heap.give_back(copy.between)

    def _wait(self, value: int) -> None:
        self.semaphore.wait(value)
        self._done = max(self._done, value)
