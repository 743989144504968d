"""Reads the parts of an ELF relocatable object that a linker needs.

64-bit little-endian objects as LLVM writes them (System V ABI, chapter 4, and the processor
supplements for the relocation types). Not a general ELF library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_core.errors import CompileError

MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}

SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_MERGE, SHF_STRINGS = 1, 2, 4, 16, 32
_SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS = 2, 4, 8
_SHN_UNDEF, _SHN_ABS, _SHN_COMMON = 0, 0xFFF1, 0xFFF2

_Header = tuple[int, ...]
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")


@dataclass(frozen=True)
class Symbol:
    """A name: defined at ``value`` bytes into section ``section``, or undefined (None)."""

    name: str
    section: int | None
    value: int


@dataclass(frozen=True)
class Relocation:
    """Patch the section at ``offset`` with the address of ``symbol`` plus ``addend``."""

    offset: int
    kind: int
    symbol: Symbol
    addend: int


@dataclass(frozen=True)
class Section:
    """A piece of the program image.

    Attributes:
        index: its number in the object.
        entry_size: bytes per entry where equal entries may be merged, else 0.
    """

    index: int
    name: str
    flags: int
    align: int
    entry_size: int
    data: bytes
    relocations: tuple[Relocation, ...]

    @property
    def executable(self) -> bool:
        """Whether it holds instructions."""
        return bool(self.flags & SHF_EXECINSTR)

    @property
    def writable(self) -> bool:
        """Whether the program may write to it."""
        return bool(self.flags & SHF_WRITE)


@dataclass(frozen=True)
class ObjectFile:
    """A parsed object: the sections that occupy memory, by number, and the defined names."""

    arch: str
    sections: dict[int, Section]
    symbols: dict[str, Symbol]


def parse_object(data: bytes) -> ObjectFile:
    """Parse a relocatable object.

    Raises:
        CompileError: not an object of a supported processor.
    """
    header = _HEADER.unpack_from(data)
    ident, kind, machine = header[0], header[1], header[2]
    if ident[:6] != b"\x7fELF\x02\x01" or kind != 1 or machine not in MACHINES:
        raise CompileError(
            "The object code is not a 64-bit little-endian ELF object of a supported processor "
            f"({', '.join(MACHINES.values())})."
        )
    table, count, names = header[6], header[12], header[13]
    headers = [_SECTION.unpack_from(data, table + i * _SECTION.size) for i in range(count)]

    def content(header: _Header) -> bytes:
        start, size = header[4], header[5]
        return bytes(size) if header[1] == _SHT_NOBITS else data[start : start + size]

    strings = content(headers[names])
    symbols = _symbols(headers, content)
    relocations = {h[7]: _relocations(content(h), symbols) for h in headers if h[1] == _SHT_RELA}
    sections = {
        index: Section(
            index=index,
            name=_string(strings, h[0]),
            flags=h[2],
            align=max(1, h[8]),
            # Of strings, which end in zero, the size is one character's. LLVM takes tables of
            # integers that happen to end so for strings.
            entry_size=h[9] if h[2] & (SHF_MERGE | SHF_STRINGS) == SHF_MERGE else 0,
            data=content(h),
            relocations=relocations.get(index, ()),
        )
        for index, h in enumerate(headers)
        if h[2] & SHF_ALLOC and h[5]
    }
    defined = {s.name: s for s in symbols if s.section is not None and s.name}
    return ObjectFile(MACHINES[machine], sections, defined)


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def _symbols(headers: Sequence[_Header], content: Callable[[_Header], bytes]) -> list[Symbol]:
    for header in headers:
        if header[1] == _SHT_SYMTAB:
            strings, table = content(headers[header[6]]), content(header)
            return [_symbol(strings, *fields) for fields in _SYMBOL.iter_unpack(table)]
    return []


def _symbol(
    strings: bytes, name: int, info: int, _other: int, section: int, value: int, _size: int
) -> Symbol:
    text = _string(strings, name)
    if section in (_SHN_ABS, _SHN_COMMON):
        if info & 15 == 4:  # the name of the source file
            return Symbol("", None, 0)
        raise CompileError(f"The object code defines {text} outside of any section.")
    return Symbol(text, None if section == _SHN_UNDEF else section, value)


def _relocations(table: bytes, symbols: list[Symbol]) -> tuple[Relocation, ...]:
    return tuple(
        Relocation(offset, info & 0xFFFFFFFF, symbols[info >> 32], addend)
        for offset, info, addend in _RELA.iter_unpack(table)
    )
