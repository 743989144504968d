"""Instructions whose effect comes later: copies to shared memory.

The stand-in is as late as the ISA allows: what a copy writes is filled with a pattern when it is
issued, and arrives when the thread waits for it, so that reading too early, or overwriting what
is still read, gives wrong results. Source: PTX ISA 8.x, "Data Movement: Asynchronous copy".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PATTERN = 0xEE


@dataclass
class _Copy:
    """Copies of some threads that are under way.

    Attributes:
        threads: who issued them.
        groups: which of the thread's groups each belongs to.
        target: where its bytes go in the array of shared memory.
        data: what arrives, one row per copy.
    """

    threads: NDArray[np.int64]
    groups: NDArray[np.int64]
    target: NDArray[np.int64]
    data: NDArray[np.uint8]


class Copies:
    """What ``cp.async`` has under way."""

    def __init__(self, threads: int) -> None:
        self.group = np.zeros(threads, np.int64)
        self.pending: list[_Copy] = []

    def issue(self, t: Any, target: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        """Start copies of the active threads."""
        places = target[:, None] + np.arange(data.shape[1])
        t.shared[places] = _PATTERN
        self.pending.append(_Copy(t.active.copy(), self.group[t.active], target, data))

    def wait(self, t: Any, later: int) -> None:
        """Let all but the ``later`` last groups of the active threads arrive."""
        waiting = np.zeros(t.count, bool)
        waiting[t.active] = True
        kept = []
        for copy in self.pending:
            done = waiting[copy.threads] & (copy.groups < self.group[copy.threads] - later)
            places = copy.target[done][:, None] + np.arange(copy.data.shape[1])
            t.shared[places] = copy.data[done]
            if not done.all():
                rest = ~done
                kept.append(
                    _Copy(copy.threads[rest], copy.groups[rest], copy.target[rest], copy.data[rest])
                )
        self.pending = kept


def cp(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Execute ``cp.async`` and what orders it."""
    if modifiers[:1] != ("async",):
        raise ValueError("a form of cp that is not known")
    if modifiers[1:] == ("commit_group",):
        t.copies.group[t.active] += 1
    elif modifiers[1:] == ("wait_group",):
        t.copies.wait(t, int(o[0]))
    elif modifiers[1:] == ("wait_all",):
        t.copies.wait(t, -1)
    elif modifiers[1:] in (("cg", "shared", "global"), ("ca", "shared", "global")):
        _copy(t, modifiers[1], o)
    else:
        raise ValueError("a form of cp that is not known")


def _copy(t: Any, cache: str, o: tuple[str, ...]) -> None:
    size = int(o[2])
    if size != 16 and (cache == "cg" or size not in (4, 8)):
        raise ValueError(f"a copy of {size} bytes")
    source, target = t.addresses(o[1]), t.addresses(o[0])
    if (source % np.uint64(size)).any() or (target % np.uint64(size)).any():
        raise ValueError("a copy whose addresses are not aligned")
    given = np.broadcast_to(np.asarray(t.get(o[3], "u32") if len(o) > 3 else size), source.shape)
    if (given > size).any() or (given % 4).any():
        raise ValueError("a copy of more than its size, or of a part of a word")
    data = np.zeros((len(source), size), np.uint8)
    active = t.active
    for offset in range(0, size, 4):  # bytes beyond the given ones are not read
        some = given > offset
        t.active = active[some]
        whole, at = t.access("global", source[some] + np.uint64(offset), 4)
        data[some, offset : offset + 4] = whole[at].reshape(-1, 1).view(np.uint8)
    t.active = active
    _, first = t.access("shared", target, 4)
    t.access("shared", target + np.uint64(size - 4), 4)
    t.copies.issue(t, first * 4, data)
