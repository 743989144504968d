"""Products of warp groups, whose effect comes when they are waited for.

Until then the registers of the sums hold NaN and shared memory is not read, so that touching
either too early gives wrong results. Source: PTX ISA 8.x, "Asynchronous Warpgroup Level Matrix
Multiply-Accumulate Instructions": matrix descriptors, canonical layouts, fragments of D.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tests.cuda.asynchronous import swizzled

_THREAD = np.arange(128)
_LINE, _PAIR = _THREAD % 32 // 4 + _THREAD // 32 * 16, _THREAD % 4 * 2
_NAN = np.uint32(0x7FC00000)
_KINDS = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "tf32": np.float32}


@dataclass
class _Product:
    """Products of some warp groups that are under way."""

    groups: NDArray[np.int64]
    batch: NDArray[np.int64]
    sums: tuple[str, ...]
    columns: int
    depth: int
    kind: str
    descriptors: NDArray[np.uint64]
    turned: tuple[bool, bool]


class WarpGroups:
    """What ``wgmma`` has under way.

    Attributes:
        batch: of each warp group, the number of its current group of instructions.
        fenced: warp groups whose registers are ordered before the next instruction.
        sums: by names of registers, what they will hold: warp group, thread, register.
    """

    def __init__(self, threads: int) -> None:
        count = -(-threads // 128)
        self.batch = np.zeros(count, np.int64)
        self.fenced = np.zeros(count, bool)
        self.pending: list[_Product] = []
        self.sums: dict[tuple[str, ...], NDArray[np.float32]] = {}


def wgmma(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Execute a ``wgmma`` instruction; all threads of each warp group are active."""
    state: WarpGroups = t.warpgroups
    if t.count % 128 or (t.active.reshape(-1, 128)[:, 0] % 128).any():
        raise ValueError("not all threads of a warp group are here")
    groups = t.active.reshape(-1, 128)[:, 0] // 128
    if modifiers == ("fence", "sync", "aligned"):
        state.fenced[groups] = True
    elif modifiers == ("commit_group", "sync", "aligned"):
        state.batch[groups] += 1
    elif modifiers == ("wait_group", "sync", "aligned"):
        _finish(t, groups, int(o[0]))
    elif modifiers[0] == "mma_async":
        _issue(t, groups, modifiers, o)
    else:
        raise ValueError("a form of wgmma that is not known")


def _issue(t: Any, groups: NDArray, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    state: WarpGroups = t.warpgroups
    shape = re.fullmatch(r"m64n(\d+)k(\d+)", modifiers[3])
    kind = modifiers[5]
    if shape is None or modifiers[4] != "f32" or modifiers[6] != kind or kind not in _KINDS:
        raise ValueError("a form of wgmma that is not known")
    columns, depth = int(shape.group(1)), int(shape.group(2))
    bits = np.dtype(_KINDS[kind]).itemsize * 8
    if columns % 8 or not 8 <= columns <= 256 or depth * bits != 256 or o[4:6] != ("1", "1"):
        raise ValueError("a form of wgmma that does not exist")
    if not np.all(t.get(o[3], "pred")) or not state.fenced[groups].all():
        raise ValueError("sums that are not added to, or not ordered by a fence")
    turned = tuple(x == "1" for x in o[6:8]) if bits == 16 else (False, False)
    if len(o) != (8 if bits == 16 else 6):
        raise ValueError("operands that do not belong to the type")
    names = tuple(part.strip() for part in o[0].strip("{}").split(","))
    if len(names) != columns // 2:
        raise ValueError("another number of sums")
    values = [np.broadcast_to(t.get(x, "u64"), t.active.shape).reshape(-1, 128) for x in o[1:3]]
    if any((v != v[:, :1]).any() for v in values):
        raise ValueError("descriptors that differ within a warp group")
    _hold(t, groups, names)
    descriptors = np.stack([v[:, 0] for v in values], -1)
    state.pending.append(
        _Product(groups, state.batch[groups], names, columns, depth, kind, descriptors, turned)
    )


def _hold(t: Any, groups: NDArray, names: tuple[str, ...]) -> None:
    """Keep what the sums are where they are not under way, and let nobody read them."""
    state: WarpGroups = t.warpgroups
    held = state.sums.setdefault(names, np.zeros((len(state.batch), 128, len(names)), np.float32))
    busy = {int(g) for p in state.pending if p.sums == names for g in p.groups}
    fresh = np.array([g for g in groups if int(g) not in busy], np.int64)
    now = [np.broadcast_to(t.get(name, "f32"), t.active.shape) for name in names]
    stacked = np.stack(now, -1).reshape(-1, 128, len(names))
    held[fresh] = stacked[np.isin(groups, fresh)]
    for name in names:
        t.set(name, np.full(len(t.active), _NAN))


def _finish(t: Any, groups: NDArray, later: int) -> None:
    """Multiply all but the ``later`` last groups of instructions, in order."""
    state: WarpGroups = t.warpgroups
    kept = []
    for product in state.pending:
        done = np.isin(product.groups, groups) & (
            product.batch < state.batch[product.groups] - later
        )
        for number in np.nonzero(done)[0]:
            _multiply(t, product, number)
        if not done.all():
            rest = ~done
            product.groups, product.batch = product.groups[rest], product.batch[rest]
            product.descriptors = product.descriptors[rest]
            kept.append(product)
    state.pending = kept
    active = t.active
    for names, held in state.sums.items():
        busy = {int(g) for p in kept if p.sums == names for g in p.groups}
        free = np.array([g for g in groups if int(g) not in busy], np.int64)
        if not len(free):
            continue
        t.active = (free[:, None] * 128 + _THREAD).reshape(-1)
        for n, name in enumerate(names):
            t.set(name, np.ascontiguousarray(held[free, :, n]).reshape(-1).view(np.uint32))
        state.fenced[free] = False
    t.active = active


def _multiply(t: Any, product: _Product, number: int) -> None:
    group = int(product.groups[number])
    left, right = (
        _matrix(t, group, product, n, int(product.descriptors[number, n])) for n in range(2)
    )
    sums = left.astype(np.float64) @ right.astype(np.float64).T
    held = t.warpgroups.sums[product.sums][group]
    for column in range(0, product.columns, 8):
        for below in (0, 8):
            for n in range(2):
                where = sums[_LINE + below, _PAIR + column + n]
                held[:, column // 2 + below // 4 + n] += where.astype(np.float32)


def _matrix(t: Any, group: int, product: _Product, number: int, descriptor: int) -> NDArray:
    """Return an operand as rows (or columns) by steps of the reduction.

    Source: PTX ISA, "Strides" for leading and stride dimension, and "Shared Memory Matrix Layout".
    """
    if descriptor >> 62 != 1 or descriptor >> 49 & 7:
        raise ValueError("a matrix that is not in the 128-byte swizzle")
    start, leading, stride = ((descriptor >> n & 0x3FFF) << 4 for n in (0, 16, 32))
    lines = product.columns if number else 64
    element = np.dtype(_KINDS[product.kind])
    across, k = np.indices((lines, product.depth))
    if product.turned[number]:
        per = 128 // element.itemsize
        offset = across // per * leading + across % per * element.itemsize
        offset += k // 8 * stride + k % 8 * 128
    else:
        offset = across // 8 * stride + across % 8 * 128 + k * element.itemsize
    places = swizzled(start + offset)
    if places.max() + element.itemsize > t.program.shared_bytes:
        raise ValueError("a matrix outside of shared memory")
    block = group * 128 // t.program.threads
    flat = places[..., None] + np.arange(element.itemsize) + block * t.program.shared_bytes
    data = np.ascontiguousarray(t.shared[flat])
    if product.kind == "tf32":
        words = data.view(np.uint32)[..., 0] & np.uint32(0xFFFFE000)
        return words.view(np.float32)
    return data.view(element)[..., 0]
