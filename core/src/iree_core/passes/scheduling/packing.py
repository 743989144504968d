"""Offsets in an arena for buffers with known lifetimes. Knows nothing of the IR.

Two buffers may overlap in memory if their lifetimes do not overlap in time. Static sizes are
placed by greedy best fit, largest first (Pisarchyk and Lee, "Efficient Memory Management for
Deep Neural Net Inference", 2020, "greedy by size"). Sizes known at run time are coloured:
buffers that share a slot never live at the same time, and a slot is as large as its largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Interval:
    """A buffer's lifetime, first and last position included, and its size (or an estimate)."""

    first: int
    last: int
    size: int

    def meets(self, other: Interval) -> bool:
        """Whether both are alive at the same time."""
        return self.first <= other.last and other.first <= self.last


def best_fit(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """Return an offset for each buffer, and the bytes they take together.

    Each buffer, largest first, goes into the tightest gap between those placed already that are
    alive at the same time. Offsets are multiples of :data:`ALIGNMENT`.
    """
    offsets = [0] * len(intervals)
    placed: list[int] = []
    total = 0
    for number in _largest_first(intervals):
        interval = intervals[number]
        size = _aligned(interval.size)
        busy = sorted(
            (offsets[i], offsets[i] + _aligned(intervals[i].size))
            for i in placed
            if intervals[i].meets(interval)
        )
        offsets[number] = _tightest_gap(busy, size)
        placed.append(number)
        total = max(total, offsets[number] + size)
    return offsets, total


def colour(intervals: Sequence[Interval]) -> list[int]:
    """Return a slot number for each buffer; buffers alive at the same time get different ones.

    Largest first, so that small buffers fill the slots of large ones that are free.
    """
    slots: list[list[Interval]] = []
    chosen = [0] * len(intervals)
    for number in _largest_first(intervals):
        interval = intervals[number]
        free = (
            slot
            for slot, members in enumerate(slots)
            if not any(member.meets(interval) for member in members)
        )
        slot = next(free, len(slots))
        if slot == len(slots):
            slots.append([])
        slots[slot].append(interval)
        chosen[number] = slot
    return chosen


def _largest_first(intervals: Sequence[Interval]) -> list[int]:
    return sorted(range(len(intervals)), key=lambda i: (-intervals[i].size, intervals[i].first, i))


def _tightest_gap(busy: Sequence[tuple[int, int]], size: int) -> int:
    best, best_room = None, 0
    end = 0
    for start, stop in busy:
        room = start - end
        if room >= size and (best is None or room < best_room):
            best, best_room = end, room
        end = max(end, stop)
    return end if best is None else best


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
