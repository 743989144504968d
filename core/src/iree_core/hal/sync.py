"""Ordering of work: timeline semaphores and fences.

Both are abstract in the sense of the HAL: a device provides semaphores of its own kind, a fence
is a set of points on any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.errors import DeviceError


class Semaphore(ABC):
    """A timeline semaphore: a 64-bit payload that only grows."""

    @abstractmethod
    def query(self) -> int:
        """Return the current payload.

        Raises:
            DeviceError: the semaphore was failed.
        """

    @abstractmethod
    def signal(self, value: int) -> None:
        """Raise the payload to ``value`` from the host.

        Raises:
            DeviceError: ``value`` is not larger than the payload.
        """

    @abstractmethod
    def fail(self, error: DeviceError) -> None:
        """Make this and every later wait raise ``error``."""

    @abstractmethod
    def wait(self, value: int, timeout: float | None = None) -> bool:
        """Block until the payload reaches ``value``; return False after ``timeout`` seconds.

        Raises:
            DeviceError: the work that was to signal the semaphore failed.
        """


Timepoint = tuple[Semaphore, int]


@dataclass(frozen=True)
class Fence:
    """A set of timepoints that are reached together."""

    timepoints: tuple[Timepoint, ...] = ()

    @staticmethod
    def join(fences: Sequence[Fence]) -> Fence:
        """Return the fence that is reached when all of ``fences`` are."""
        latest: dict[Semaphore, int] = {}
        for fence in fences:
            for semaphore, value in fence.timepoints:
                latest[semaphore] = max(value, latest.get(semaphore, value))
        return Fence(tuple(latest.items()))

    def wait(self, timeout: float | None = None) -> bool:
        """Block until every timepoint is reached; False if one takes over ``timeout`` seconds."""
        return all(semaphore.wait(value, timeout) for semaphore, value in self.timepoints)

    def signal(self) -> None:
        """Signal every timepoint from the host."""
        for semaphore, value in self.timepoints:
            semaphore.signal(value)
