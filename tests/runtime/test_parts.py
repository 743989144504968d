"""Buffers in several allocations: where they are divided, and what is copied across borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from iree_core.errors import DeviceError
from iree_core.hal import Region, heap
from iree_core.hal.parts import PartedAllocator, PartedBuffer, Piece, divide


def test_a_buffer_is_divided_where_it_is_full() -> None:
    assert divide(1000, 1 << 20) == [(0, 1000)]
    assert divide(1000, 400) == [(0, 384), (384, 384), (768, 232)], "multiples of 64"
    assert divide(0, 400) == [(0, 0)]


def test_tensors_stay_whole_and_unused_bytes_are_left_out() -> None:
    first, second, third = Region("a", 0, 300), Region("b", 320, 100), Region("c", 448, 500)
    assert divide(948, 1 << 20, [third, first, second]) == [(0, 948)]
    assert divide(948, 512, [first, second, third]) == [(0, 420), (448, 500)]
    far = Region("d", 1 << 20, 64)
    assert divide(2 << 20, 1 << 20, [first, far]) == [(0, 300), (1 << 20, 64)]
    assert divide(2 << 20, 256, [Region("e", 64, 600)]) == [(64, 256), (320, 256), (576, 88)]
    assert divide(100, 256, []) == [(0, 0)]


@dataclass
class _Memory(heap.Memory):
    data: np.ndarray


class _Heap(heap.Heap[_Memory]):
    """Host memory, of which there is a little."""

    left = 1 << 16

    def create(self, capacity: int, mapped: bool) -> _Memory | None:
        if capacity > self.left:
            return None
        self.left -= capacity
        return _Memory(capacity, mapped, np.zeros(capacity, np.uint8))

    def destroy(self, memory: _Memory) -> None:
        self.left += memory.capacity


class _Buffer(PartedBuffer[_Memory]):
    def download(self, piece: Piece[_Memory], target: np.ndarray) -> None:
        target[:] = piece.memory.data[piece.offset : piece.offset + piece.nbytes]

    def upload(self, piece: Piece[_Memory], source: np.ndarray) -> None:
        piece.memory.data[piece.offset : piece.offset + piece.nbytes] = source


class _Device:
    description = "a toy"
    collected = 0

    def collect(self) -> None:
        self.collected += 1


@pytest.fixture
def allocator() -> PartedAllocator[_Memory]:
    made = _Heap(_Device(), mapped=True, most_idle=1 << 12)
    made.most = 512
    return PartedAllocator(made, _Buffer)


def test_ranges_across_borders(allocator: PartedAllocator[_Memory]) -> None:
    data = np.random.default_rng(0).integers(0, 256, 2000, np.uint8)
    buffer = allocator.import_host(data)
    assert len(buffer.parts) == 4 and allocator.owns(buffer)
    for start, length in ((0, 2000), (500, 30), (512, 512), (1999, 1), (2000, 0), (0, 0)):
        np.testing.assert_array_equal(buffer.read(start, length), data[start : start + length])
    data[300:1300] = 7
    buffer.write(300, data[300:1300])
    np.testing.assert_array_equal(buffer.read(0, 2000), data)
    with pytest.raises(DeviceError, match="past the end"):
        buffer.read(1999, 2)


def test_what_is_not_used_is_not_there(allocator: PartedAllocator[_Memory]) -> None:
    data = np.arange(1 << 20, dtype=np.uint32).view(np.uint8)
    regions = [Region("late", 3 << 20, 400), Region("early", 64, 400)]
    buffer = allocator.import_constants(data, regions)
    assert sum(part.nbytes for part in buffer.parts) == 800
    np.testing.assert_array_equal(buffer.read(3 << 20, 400), data[3 << 20 : (3 << 20) + 400])
    assert buffer.region_at(70).name == "early" and buffer.region_at(500) is None
    for start in (0, 400, 1 << 20):
        with pytest.raises(DeviceError, match="does not name"):
            buffer.read(start, 100)


def test_memory_is_used_again_and_trimmed(allocator: PartedAllocator[_Memory]) -> None:
    buffer = allocator.allocate(500)
    memory, key = buffer.memory, buffer.key
    del buffer
    again = allocator.allocate(500)
    assert again.memory is memory and again.key == key
    del again
    allocator.heap.left = 100
    smaller = allocator.allocate(200)  # none is idle in this size
    assert smaller.memory is not memory


def test_memory_runs_out(allocator: PartedAllocator[_Memory]) -> None:
    with pytest.raises(DeviceError, match="Out of memory on a toy"):
        allocator.allocate(1 << 17)
    assert allocator.heap.device.collected
    assert allocator.allocate(1 << 15).nbytes == 1 << 15, "what was taken in vain came back"
    with pytest.raises(DeviceError, match="larger than what a toy allows"):
        allocator.heap.take(513, True)
