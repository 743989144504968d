"""Instructions that the 32 threads of a warp execute together: matrices and shuffles.

Source: PTX ISA 8.x, sections "ldmatrix" and "Matrix Fragments for mma".
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

_LANE = np.arange(32)
_LINE, _PAIR = _LANE // 4, _LANE % 4  # the "groupID" and "threadID_in_group" of the ISA


def _registers(t: Any, operand: str) -> NDArray[np.uint32]:
    """Return the registers in braces as (warps, 32 threads, registers)."""
    if len(t.active) % 32 or (t.active.reshape(-1, 32)[:, 0] % 32).any():
        raise ValueError("not all threads of a warp are here")
    names = [part.strip() for part in operand.strip("{}").split(",")]
    values = [np.broadcast_to(t.get(name, "b32"), t.active.shape) for name in names]
    return np.stack(values, -1).reshape(-1, 32, len(names))


def _write(t: Any, operand: str, values: NDArray) -> None:
    names = [part.strip() for part in operand.strip("{}").split(",")]
    flat = values.reshape(-1, len(names))
    for number, name in enumerate(names):
        t.set(name, np.ascontiguousarray(flat[:, number]))


def mma(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Multiply the fragments of m16n8k16 (f16, bf16) or m16n8k8 (tf32)."""
    shape, kind = modifiers[2], modifiers[6]
    if modifiers[3:5] != ("row", "col") or modifiers[5] != "f32" or modifiers[8] != "f32":
        raise ValueError("a form of mma that is not known")
    a, b, c = (_registers(t, operand) for operand in o[1:4])
    sums = c.view(np.float32).astype(np.float64)
    warps = len(a)
    depth = {"m16n8k16": 16, "m16n8k8": 8}[shape]
    left, right = np.zeros((warps, 16, depth)), np.zeros((warps, depth, 8))
    if kind == "tf32":
        exact = [(r & np.uint32(0xFFFFE000)).view(np.float32) for r in (a, b)]
        for n, (row, column) in enumerate(((0, 0), (8, 0), (0, 4), (8, 4))):
            left[:, _LINE + row, _PAIR + column] = exact[0][..., n]
        for n, row in enumerate((0, 4)):
            right[:, _PAIR + row, _LINE] = exact[1][..., n]
    else:
        half = np.dtype(np.float16 if kind == "f16" else ml_dtypes.bfloat16)
        x, y = (np.ascontiguousarray(r).view(half).astype(np.float64) for r in (a, b))
        for n, (row, column) in enumerate(((0, 0), (8, 0), (0, 8), (8, 8))):
            for j in range(2):
                left[:, _LINE + row, 2 * _PAIR + column + j] = x[..., 2 * n + j]
        for n, row in enumerate((0, 8)):
            for j in range(2):
                right[:, 2 * _PAIR + row + j, _LINE] = y[..., 2 * n + j]
    product = left @ right
    result = np.stack(
        [product[:, _LINE + row, 2 * _PAIR + j] for row in (0, 8) for j in range(2)], -1
    )
    _write(t, o[0], (result + sums).astype(np.float32).view(np.uint32))


def ldmatrix(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Load four matrices of 8 lines of 16 bytes; lane 8 m + i has the address of line i of m."""
    if modifiers[:4] != ("sync", "aligned", "m8n8", "x4"):
        raise ValueError("a form of ldmatrix that is not known")
    addresses = t.addresses(o[1])
    if (addresses % np.uint64(16)).any():
        raise ValueError("a line of a matrix is not aligned to 16 bytes")
    columns = []
    for n in range(8):
        whole, at = t.access("shared", addresses + np.uint64(2 * n), 2)
        columns.append(whole[at])
    lines = np.stack(columns, -1).reshape(-1, 4, 8, 8)  # warp, matrix, line, element
    first, second = (_LINE, 2 * _PAIR), (_LINE, 2 * _PAIR + 1)
    if "trans" in modifiers:
        first, second = first[::-1], second[::-1]
    low, high = (lines[:, :, i, j].astype(np.uint32) for i, j in (first, second))
    _write(t, o[0], (low | high << np.uint32(16)).transpose(0, 2, 1))


def shfl(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Read a register of another thread of the warp."""
    targets = o[0].split("|")
    value = np.zeros(t.count, np.uint32)
    value[t.active] = t.get(o[1], "b32")
    by = np.broadcast_to(np.asarray(t.get(o[2], "u32")), t.active.shape).astype(np.int64)
    lane, first = t.active % 32, t.active // 32 * 32
    to = {"bfly": lane ^ by, "up": lane - by, "down": lane + by, "idx": by % 32}[modifiers[1]]
    inside = (to >= 0) & (to < 32)
    t.set(targets[0], value[first + np.where(inside, to, lane)])
    if len(targets) > 1:
        t.set(targets[1], inside)


def round_tf32(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Round f32 to 10 bits of mantissa, ties away from zero."""
    bits = np.asarray(t.get(o[1], "b32"))
    nan = np.isnan(bits.view(np.float32))
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    t.set(o[0], np.where(nan, np.uint32(0x7FFFFFFF), rounded))
