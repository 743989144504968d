"""Blocks of host memory that are used again."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from iree_core.errors import DeviceError
from iree_core.hal.host import HostAllocator
from iree_core.hal.recycling import BlockPool

MB = 1 << 20


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_a_block_is_used_again_when_nothing_shows_it() -> None:
    pool = BlockPool()
    first = pool.allocate(3 * MB)
    at, view = address(first), first[100:200].view(np.float32)
    del first
    assert address(pool.allocate(3 * MB)) != at
    view[:] = 1
    del view
    again = pool.allocate(3 * MB + 1000)
    assert again.nbytes == 3 * MB + 1000 and again.flags.writeable


def test_growing_tensors_find_the_blocks_of_smaller_ones() -> None:
    pool = BlockPool()
    addresses = set()
    for step in range(20):
        block = pool.allocate(3 * MB + 3072 * step)
        addresses.add(address(block))
        del block
    assert len(addresses) <= 2


def test_idle_memory_is_limited() -> None:
    pool = BlockPool(most_idle=2 * MB)
    blocks = [pool.allocate(MB) for _ in range(4)]
    blocks.clear()
    assert pool.idle_bytes == 2 * MB
    kept = pool.allocate(MB)
    assert pool.idle_bytes == MB
    del kept
    assert pool.idle_bytes == 2 * MB


def test_blocks_in_cycles_come_back() -> None:
    pool = BlockPool()
    cycle: list[object] = [pool.allocate(MB)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert pool.idle_bytes == MB


def test_buffers_stay_aligned_and_apart() -> None:
    allocator = HostAllocator()
    buffers = [allocator.allocate(MB + n) for n in range(8)]
    assert all(buffer.address % 64 == 0 for buffer in buffers)
    for number, buffer in enumerate(buffers):
        buffer.data[:] = number
    assert all((buffer.data == number).all() for number, buffer in enumerate(buffers))


def test_too_much_memory_is_refused() -> None:
    with pytest.raises(DeviceError, match="Out of memory"):
        HostAllocator().allocate(1 << 60)
