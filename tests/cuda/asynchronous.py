"""Instructions whose effect comes later: copies to shared memory, and barriers that count them.

The stand-in is as late as the ISA allows: what a copy writes is filled with a pattern when it is
issued, and arrives when the thread waits for it, so that reading too early, or overwriting what
is still read, gives wrong results. Bulk copies arrive when nobody can go on otherwise, the last
one first. Source: PTX ISA 8.x, "Data Movement: Asynchronous copy" and "mbarrier".
"""

from __future__ import annotations

import struct
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
    """What ``cp.async`` has under way; of bulk copies the barrier, the places and the data."""

    def __init__(self, threads: int) -> None:
        self.group = np.zeros(threads, np.int64)
        self.pending: list[_Copy] = []
        self.bulk: list[tuple[tuple[int, int], NDArray[np.int64], NDArray[np.uint8]]] = []

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
    elif modifiers[1:3] == ("bulk", "tensor"):
        bulk(t, modifiers, o)
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


def bulk(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Execute ``cp.async.bulk.tensor`` from global to shared memory, for every active thread.

    What is outside of the tensor becomes zeros, and counts as copied. Source: PTX ISA,
    "cp.async.bulk.tensor", and "Tensors", for the swizzling of 128-byte lines.
    """
    _, _, _, rank, *kind = modifiers
    if kind != ["shared::cluster", "global", "mbarrier::complete_tx::bytes"]:
        raise ValueError("a form of cp.async.bulk.tensor that is not known")
    name, at = o[1].strip("[]").split(",", 1)
    coordinates = [c.strip() for c in at.strip(" {}").split(",")]
    if len(coordinates) != int(rank[0]):
        raise ValueError("coordinates of another rank")
    targets, barriers = t.addresses(o[0]), t.addresses(o[2])
    maps = np.broadcast_to(t.get(name.strip(), "u64"), t.active.shape)
    places = [np.broadcast_to(t.get(c, "s32"), t.active.shape) for c in coordinates]
    for n, thread in enumerate(t.active):
        box = tensor_box(t, int(maps[n]), [int(p[n]) for p in places])
        target = int(targets[n]) - t.shared_base
        if target % 128 or target + box.size > t.program.shared_bytes:
            raise ValueError("a bulk copy to where it cannot go")
        block = int(t.block[thread])
        start = block * t.program.shared_bytes
        lines = target + np.arange(box.size)
        t.shared[start + target : start + target + box.size] = _PATTERN
        key = (block, int(barriers[n]) - t.shared_base)
        t.barriers.get(key).copies += 1
        t.copies.bulk.append((key, start + swizzled(lines), box))


def swizzled(offset: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where bytes go in the 128-byte swizzle: 16-byte groups exchanged in 8 lines."""
    return offset ^ (offset >> 7 & 7) << 4


def tensor_box(t: Any, address: int, at: list[int]) -> NDArray[np.uint8]:
    """Return the bytes of the box at ``at`` of the tensor that a map describes."""
    parameter = t.parameter_at(address)
    tensor = read_map(parameter)
    if len(tensor.sizes) != len(at):
        raise ValueError("a tensor map of another rank")
    nbytes = tensor.element
    if tensor.box[0] * nbytes != 128:
        raise ValueError("boxes with lines of other than 128 bytes are not known")
    outer = np.indices(tensor.box[:0:-1]).reshape(len(at) - 1, -1)[::-1]
    line = at[0] + np.arange(tensor.box[0])
    inside = ((line >= 0) & (line < tensor.sizes[0]))[None, :]
    offset = line[None, :] * nbytes
    for where, first, size, stride in zip(
        outer, at[1:], tensor.sizes[1:], tensor.strides, strict=True
    ):
        place = (first + where)[:, None]
        inside = inside & (place >= 0) & (place < size)
        offset = offset + place * stride
    data = np.zeros((*inside.shape, nbytes), np.uint8)
    addresses = (tensor.address + offset[inside]).astype(np.uint64)
    if len(addresses):
        t.memory.check(addresses, nbytes)
        flat = (addresses.astype(np.int64) - t.global_base)[:, None] + np.arange(nbytes)
        data[inside] = t.memory.bytes[flat]
    return data.reshape(-1)


@dataclass(frozen=True)
class TensorMap:
    """What the stand-in puts into the 128 bytes of a tensor map."""

    address: int
    element: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]

    def pack(self) -> bytes:
        """Return the bytes."""
        rank = len(self.sizes)
        data = struct.pack("<8sQHH", _MAGIC, self.address, self.element, rank)
        data += struct.pack(f"<{rank}Q{rank - 1}Q", *self.sizes, *self.strides)
        return (data + struct.pack(f"<{rank}H", *self.box)).ljust(128, b"\0")


_MAGIC = b"tensor\0\0"


def read_map(data: bytes) -> TensorMap:
    """Return the tensor map in a parameter."""
    magic, address, element, rank = struct.unpack_from("<8sQHH", data)
    if magic != _MAGIC or len(data) != 128:
        raise ValueError("a parameter that is no tensor map")
    numbers = struct.unpack_from(f"<{2 * rank - 1}Q", data, 20)
    box = struct.unpack_from(f"<{rank}H", data, 20 + 8 * len(numbers))
    return TensorMap(address, element, numbers[:rank], numbers[rank:], box)


@dataclass
class Barrier:
    """An mbarrier: of its current phase, arrivals and bytes that are still to come."""

    arrivals: int
    pending: int
    bytes: int = 0
    phase: int = 0
    copies: int = 0

    def settle(self) -> None:
        """End the phase if everything has come."""
        if self.pending < 0:
            raise ValueError("more arrivals than a barrier expects")
        if self.pending == 0 and self.bytes == 0:
            self.phase += 1
            self.pending = self.arrivals


class Barriers:
    """The mbarriers of all blocks, by block and place in shared memory."""

    def __init__(self) -> None:
        self.made: dict[tuple[int, int], Barrier] = {}

    def get(self, key: tuple[int, int]) -> Barrier:
        """Return a barrier that has been initialised."""
        if key not in self.made:
            raise ValueError("a barrier that was not initialised")
        return self.made[key]

    def passed(self, key: tuple[int, int], parity: int) -> bool:
        """Whether the last phase of that parity is complete: the current one has the other."""
        return self.get(key).phase % 2 != parity


def _keys(t: Any, operand: str) -> list[tuple[int, int]]:
    addresses = t.addresses(operand)
    if (addresses % np.uint64(8)).any():
        raise ValueError("a barrier that is not aligned")
    offsets = addresses.astype(np.int64) - t.shared_base
    if (offsets < 0).any() or (offsets + 8 > t.program.shared_bytes).any():
        raise ValueError("a barrier outside of shared memory")
    return [(int(b), int(offset)) for b, offset in zip(t.block[t.active], offsets, strict=True)]


def mbarrier(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Initialise barriers, and arrive at them. Waiting is in :func:`await_phase`."""
    if modifiers == ("init", "shared::cta", "b64"):
        counts = np.broadcast_to(t.get(o[1], "u32"), t.active.shape)
        for key, count in zip(_keys(t, o[0]), counts, strict=True):
            t.barriers.made[key] = Barrier(int(count), int(count))
    elif modifiers in (
        ("arrive", "shared::cta", "b64"),
        ("arrive", "expect_tx", "shared::cta", "b64"),
    ):
        expected = np.broadcast_to(t.get(o[2], "u32") if len(o) > 2 else 0, t.active.shape)
        for key, nbytes in zip(_keys(t, o[1]), expected, strict=True):
            barrier = t.barriers.get(key)
            barrier.bytes += int(nbytes)
            barrier.pending -= 1
            barrier.settle()
    else:
        raise ValueError("a form of mbarrier that is not known")


def await_phase(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which active threads find the phase complete, for ``mbarrier.try_wait.parity``."""
    if modifiers != ("try_wait", "parity", "shared::cta", "b64"):
        raise ValueError("a form of mbarrier that is not known")
    parity = np.broadcast_to(t.get(o[2], "u32"), t.active.shape)
    keys = _keys(t, o[1])
    return np.array([t.barriers.passed(k, int(p)) for k, p in zip(keys, parity, strict=True)])


def deliver(t: Any) -> bool:
    """Let the bulk copy that was issued last arrive; False where none is under way."""
    if not t.copies.bulk:
        return False
    key, places, data = t.copies.bulk.pop()
    t.shared[places] = data
    barrier = t.barriers.get(key)
    barrier.copies -= 1
    barrier.bytes -= data.size
    if barrier.bytes < 0:
        raise ValueError("more bytes than a barrier expects")
    barrier.settle()
    return True
