"""Kernels of the driver's own: copies and fills that Metal's blit commands do not do.

On macOS those take multiples of four bytes, and fill with one byte.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from iree_backend_metal.executable import compile_kernel

if TYPE_CHECKING:
    from iree_backend_metal.driver import MetalDevice

_COPY = """#include <metal_stdlib>
using namespace metal;

[[kernel, max_total_threads_per_threadgroup(256)]]
void copy_bytes(
    device uchar const* source [[buffer(0)]],
    device uchar* target [[buffer(1)]],
    constant ulong* sizes [[buffer(2)]],
    uint group_id [[threadgroup_position_in_grid]],
    uint local_id [[thread_position_in_threadgroup]],
    uint groups [[threadgroups_per_grid]]
) {
    const ulong start = sizes[0], place = sizes[1], length = sizes[2];
    for (ulong i = ulong(group_id) * 256 + local_id; i < length; i += ulong(groups) * 256) {
        target[place + i] = source[start + i];
    }
}
"""
_FILL = """#include <metal_stdlib>
using namespace metal;

[[kernel, max_total_threads_per_threadgroup(256)]]
void fill_bytes(
    device uchar* target [[buffer(0)]],
    constant ulong* sizes [[buffer(1)]],
    uint group_id [[threadgroup_position_in_grid]],
    uint local_id [[thread_position_in_threadgroup]],
    uint groups [[threadgroups_per_grid]]
) {
    const ulong place = sizes[0], length = sizes[1], pattern = sizes[2];
    for (ulong i = ulong(group_id) * 256 + local_id; i < length; i += ulong(groups) * 256) {
        target[place + i] = uchar(pattern >> (i % 8 * 8));
    }
}
"""


class Utilities:
    """The kernels, compiled when they are first needed."""

    THREADS = 256
    MOST_GROUPS = 4096

    def __init__(self, device: MetalDevice) -> None:
        self._device = device

    @cached_property
    def copy(self) -> Any:
        """``target[place + i] = source[start + i]``; sizes: start, place, length."""
        return compile_kernel(self._device, _COPY, "copy_bytes")

    @cached_property
    def fill(self) -> Any:
        """``target[place + i] = pattern[i % 8]``; sizes: place, length, pattern."""
        return compile_kernel(self._device, _FILL, "fill_bytes")
