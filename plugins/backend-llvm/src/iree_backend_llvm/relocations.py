"""Patches the addresses in machine code: relocation types of x86-64, AArch64 and RISC-V.

After the processor supplements of the System V ABI: x86-64 psABI 4.4, "ELF for the Arm 64-bit
Architecture" 5.7, RISC-V ELF psABI 8. All positions count from the start of a blob that is
loaded at a page boundary; only references whose value does not depend on where that is can be
resolved, the others are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from iree_core.errors import CompileError

_PAGE_MASK = ~0xFFF


@dataclass(frozen=True)
class Patch:
    """One place to patch.

    Attributes:
        place: position of the bytes to patch.
        target: position of the symbol.
        addend: added to the target.
        name: the symbol, for messages.
        slot: the symbol is imported: ``target`` is its stub; this is its slot, else None.
        low: for the second half of a RISC-V pair, what the first half refers to.
    """

    place: int
    target: int
    addend: int
    name: str
    slot: int | None = None
    low: Patch | None = None

    @property
    def distance(self) -> int:
        """Return target plus addend, relative to the place."""
        return self.target + self.addend - self.place


def fits(value: int, bits: int) -> bool:
    """Whether ``value`` is a signed number of that many bits."""
    return -(1 << (bits - 1)) <= value < 1 << (bits - 1)


def _signed(blob: bytearray, patch: Patch, value: int, size: int) -> None:
    _check(patch, value, 8 * size)
    blob[patch.place : patch.place + size] = value.to_bytes(size, "little", signed=True)


def _check(patch: Patch, value: int, bits: int) -> None:
    if not fits(value, bits):
        raise CompileError(f"The reference to {patch.name} at {patch.place:#x} is out of reach.")


def _word(blob: bytearray, place: int) -> int:
    return struct.unpack_from("<I", blob, place)[0]


def _set_word(blob: bytearray, place: int, clear: int, bits: int) -> None:
    struct.pack_into("<I", blob, place, _word(blob, place) & ~clear | bits)


# x86-64


def _x86_pc32(blob: bytearray, patch: Patch) -> None:
    _signed(blob, patch, patch.distance, 4)


def _x86_pc64(blob: bytearray, patch: Patch) -> None:
    _signed(blob, patch, patch.distance, 8)


def _x86_got(blob: bytearray, patch: Patch) -> None:
    """The address of an import is read from its slot; for others ``mov`` becomes ``lea``."""
    if patch.slot is not None:
        _signed(blob, patch, patch.slot + patch.addend - patch.place, 4)
        return
    if blob[patch.place - 2] != 0x8B:
        raise CompileError(f"The reference to {patch.name} needs an address table.")
    blob[patch.place - 2] = 0x8D
    _signed(blob, patch, patch.distance, 4)


# AArch64


def _a64_branch(width: int, shift: int) -> Callable[[bytearray, Patch], None]:
    def patch_branch(blob: bytearray, patch: Patch) -> None:
        _check(patch, patch.distance, width + 2)
        mask = (1 << width) - 1
        _set_word(blob, patch.place, mask << shift, (patch.distance >> 2 & mask) << shift)

    return patch_branch


def _a64_page(blob: bytearray, patch: Patch) -> None:
    _a64_set_page(blob, patch, patch.target + patch.addend)


def _a64_got_page(blob: bytearray, patch: Patch) -> None:
    if patch.slot is None:
        raise CompileError(f"The reference to {patch.name} needs an address table.")
    _a64_set_page(blob, patch, patch.slot + patch.addend)


def _a64_set_page(blob: bytearray, patch: Patch, target: int) -> None:
    pages = ((target & _PAGE_MASK) - (patch.place & _PAGE_MASK)) >> 12
    _check(patch, pages, 21)
    _set_word(blob, patch.place, 0x60FFFFE0, (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)


def _a64_low(scale: int) -> Callable[[bytearray, Patch], None]:
    def patch_low(blob: bytearray, patch: Patch) -> None:
        low = patch.target + patch.addend & 0xFFF
        if low % (1 << scale):
            raise CompileError(f"The reference to {patch.name} is not aligned.")
        _set_word(blob, patch.place, 0xFFF << 10, low >> scale << 10)

    return patch_low


def _a64_got_low(blob: bytearray, patch: Patch) -> None:
    if patch.slot is None:
        raise CompileError(f"The reference to {patch.name} needs an address table.")
    _set_word(blob, patch.place, 0xFFF << 10, (patch.slot + patch.addend & 0xFFF) >> 3 << 10)


# RISC-V


def split_riscv(distance: int) -> tuple[int, int]:
    """Return the upper 20 and the signed lower 12 bits of a 32-bit distance."""
    return (distance + 0x800) >> 12, (distance + 0x800 & 0xFFF) - 0x800


def _rv_high(blob: bytearray, patch: Patch) -> None:
    _check(patch, patch.distance + 0x800, 32)
    _set_word(blob, patch.place, 0xFFFFF000, (split_riscv(patch.distance)[0] & 0xFFFFF) << 12)


def _rv_got_high(blob: bytearray, patch: Patch) -> None:
    if patch.slot is None:
        raise CompileError(f"The reference to {patch.name} needs an address table.")
    distance = patch.slot + patch.addend - patch.place
    _set_word(blob, patch.place, 0xFFFFF000, (split_riscv(distance)[0] & 0xFFFFF) << 12)


def _rv_low(patch: Patch) -> int:
    if patch.low is None:
        raise CompileError(f"The reference at {patch.place:#x} lacks its first half.")
    first = patch.low
    return split_riscv(first.distance if first.slot is None else first.slot - first.place)[1]


def _rv_low_load(blob: bytearray, patch: Patch) -> None:
    _set_word(blob, patch.place, 0xFFF << 20, (_rv_low(patch) & 0xFFF) << 20)


def _rv_low_store(blob: bytearray, patch: Patch) -> None:
    low = _rv_low(patch)
    _set_word(blob, patch.place, 0xFE000F80, (low >> 5 & 0x7F) << 25 | (low & 0x1F) << 7)


def _rv_call(blob: bytearray, patch: Patch) -> None:
    _rv_high(blob, patch)
    low = split_riscv(patch.distance)[1]
    _set_word(blob, patch.place + 4, 0xFFF << 20, (low & 0xFFF) << 20)


def _rv_branch(blob: bytearray, patch: Patch) -> None:
    d = patch.distance
    _check(patch, d, 13)
    bits = (d >> 12 & 1) << 31 | (d >> 5 & 0x3F) << 25 | (d >> 1 & 0xF) << 8 | (d >> 11 & 1) << 7
    _set_word(blob, patch.place, 0xFE000F80, bits)


def _rv_jump(blob: bytearray, patch: Patch) -> None:
    d = patch.distance
    _check(patch, d, 21)
    bits = (d >> 20 & 1) << 31 | (d >> 1 & 0x3FF) << 21
    bits |= (d >> 11 & 1) << 20 | (d >> 12 & 0xFF) << 12
    _set_word(blob, patch.place, 0xFFFFF000, bits)


def _rv_short_branch(blob: bytearray, patch: Patch) -> None:
    d = patch.distance
    _check(patch, d, 9)
    bits = (d >> 8 & 1) << 12 | (d >> 3 & 3) << 10 | (d >> 6 & 3) << 5
    _set_half(blob, patch.place, 0x1C7C, bits | (d >> 1 & 3) << 3 | (d >> 5 & 1) << 2)


def _rv_short_jump(blob: bytearray, patch: Patch) -> None:
    d = patch.distance
    _check(patch, d, 12)
    # Bits 11 4 9:8 10 6 7 3:1 5 of the distance, from bit 12 of the instruction down.
    order = (11, 4, 9, 8, 10, 6, 7, 3, 2, 1, 5)
    bits = sum((d >> bit & 1) << (12 - place) for place, bit in enumerate(order))
    _set_half(blob, patch.place, 0x1FFC, bits)


def _set_half(blob: bytearray, place: int, clear: int, bits: int) -> None:
    (half,) = struct.unpack_from("<H", blob, place)
    struct.pack_into("<H", blob, place, half & ~clear | bits)


def _rv_sum(size: int, sign: int) -> Callable[[bytearray, Patch], None]:
    def patch_sum(blob: bytearray, patch: Patch) -> None:
        place = slice(patch.place, patch.place + size)
        value = int.from_bytes(blob[place], "little") + sign * (patch.target + patch.addend)
        blob[place] = (value % (1 << 8 * size)).to_bytes(size, "little")

    return patch_sum


def _rv_set(size: int) -> Callable[[bytearray, Patch], None]:
    def patch_set(blob: bytearray, patch: Patch) -> None:
        value = (patch.target + patch.addend) % (1 << 8 * size)
        blob[patch.place : patch.place + size] = value.to_bytes(size, "little")

    return patch_set


def _nothing(blob: bytearray, patch: Patch) -> None:
    """A hint for linkers that shorten code."""


# RISC-V pairs: the symbol of the second half is the place of the first.
RISCV_HIGH = frozenset({20, 23})
RISCV_LOW = frozenset({24, 25})

APPLY: dict[str, dict[int, Callable[[bytearray, Patch], None]]] = {
    "x86_64": {
        2: _x86_pc32,  # R_X86_64_PC32
        4: _x86_pc32,  # R_X86_64_PLT32
        9: _x86_got,  # R_X86_64_GOTPCREL
        24: _x86_pc64,  # R_X86_64_PC64
        41: _x86_got,  # R_X86_64_GOTPCRELX
        42: _x86_got,  # R_X86_64_REX_GOTPCRELX
    },
    "aarch64": {
        260: lambda blob, patch: _signed(blob, patch, patch.distance, 8),  # PREL64
        261: lambda blob, patch: _signed(blob, patch, patch.distance, 4),  # PREL32
        275: _a64_page,  # ADR_PREL_PG_HI21
        277: _a64_low(0),  # ADD_ABS_LO12_NC
        278: _a64_low(0),  # LDST8_ABS_LO12_NC
        279: _a64_branch(14, 5),  # TSTBR14
        280: _a64_branch(19, 5),  # CONDBR19
        282: _a64_branch(26, 0),  # JUMP26
        283: _a64_branch(26, 0),  # CALL26
        284: _a64_low(1),  # LDST16_ABS_LO12_NC
        285: _a64_low(2),  # LDST32_ABS_LO12_NC
        286: _a64_low(3),  # LDST64_ABS_LO12_NC
        299: _a64_low(4),  # LDST128_ABS_LO12_NC
        311: _a64_got_page,  # ADR_GOT_PAGE
        312: _a64_got_low,  # LD64_GOT_LO12_NC
    },
    "riscv64": {
        16: _rv_branch,  # R_RISCV_BRANCH
        17: _rv_jump,  # R_RISCV_JAL
        18: _rv_call,  # R_RISCV_CALL
        19: _rv_call,  # R_RISCV_CALL_PLT
        20: _rv_got_high,  # R_RISCV_GOT_HI20
        23: _rv_high,  # R_RISCV_PCREL_HI20
        24: _rv_low_load,  # R_RISCV_PCREL_LO12_I
        25: _rv_low_store,  # R_RISCV_PCREL_LO12_S
        33: _rv_sum(1, 1), 34: _rv_sum(2, 1), 35: _rv_sum(4, 1), 36: _rv_sum(8, 1),  # ADD
        37: _rv_sum(1, -1), 38: _rv_sum(2, -1), 39: _rv_sum(4, -1), 40: _rv_sum(8, -1),  # SUB
        43: _nothing,  # R_RISCV_ALIGN: the padding is there already
        44: _rv_short_branch,  # R_RISCV_RVC_BRANCH
        45: _rv_short_jump,  # R_RISCV_RVC_JUMP
        51: _nothing,  # R_RISCV_RELAX
        54: _rv_set(1), 55: _rv_set(2), 56: _rv_set(4),  # SET
        57: lambda blob, patch: _signed(blob, patch, patch.distance, 4),  # R_RISCV_32_PCREL
    },
}  # fmt: skip
