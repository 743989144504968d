"""The linker: object files of many dispatches become one position-independent blob.

The blob is the code of every dispatch, then their read-only data with equal constants stored
once, then one stub per imported function that jumps through its slot in the import area (see
image.py). Nothing is left to resolve when the blob is loaded but the slots.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from iree_backend_llvm import elf
from iree_backend_llvm.image import CODE_ALIGNMENT, IMPORTS, import_offset_for
from iree_backend_llvm.relocations import APPLY, RISCV_HIGH, RISCV_LOW, Patch, split_riscv
from iree_core.errors import CompileError

_STUB_SIZE = 16
_SLOT_SIZE = 8


@dataclass(frozen=True)
class Linked:
    """A linked blob.

    Attributes:
        arch: the architecture, as in image.py.
        code: the blob.
        entries: the position of each entry point asked for.
        imports: imported functions in slot order.
        import_offset: position of the first slot.
    """

    arch: str
    code: bytes
    entries: tuple[int, ...]
    imports: tuple[str, ...]
    import_offset: int


@dataclass
class _Layout:
    """Where everything is in the blob under construction."""

    blob: bytearray = field(default_factory=bytearray)
    # (object number, section number) -> position, for sections kept whole
    sections: dict[tuple[int, int], int] = field(default_factory=dict)
    # (object number, section number) -> entry size, position of every entry, where merged
    entries: dict[tuple[int, int], tuple[int, list[int]]] = field(default_factory=dict)
    constants: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def append(self, data: bytes, align: int) -> int:
        """Put ``data`` at the next multiple of ``align`` and return its position."""
        self.blob.extend(bytes(-len(self.blob) % align))
        position = len(self.blob)
        self.blob.extend(data)
        return position

    def constant(self, data: bytes, align: int) -> int:
        """Like :meth:`append`, but store equal data once."""
        key = (align, data)
        if key not in self.constants:
            self.constants[key] = self.append(data, align)
        return self.constants[key]


def link(objects: Sequence[tuple[bytes, str]]) -> Linked:
    """Link objects; of each, one entry point is visible outside.

    Args:
        objects: content of each object file and the name of its entry point.

    Raises:
        CompileError: an object has writable data, refers to an unknown function, or holds an
            absolute address.
    """
    parsed = [elf.parse_object(data) for data, _ in objects]
    architectures = {obj.arch for obj in parsed}
    if len(architectures) > 1:
        raise CompileError(f"Objects of several processors: {', '.join(sorted(architectures))}.")
    arch = architectures.pop() if architectures else "x86_64"
    layout = _Layout()
    _place_code(layout, parsed)
    _place_constants(layout, parsed)
    imports = _imports(parsed)
    stubs = {n: layout.append(bytes(_STUB_SIZE), _STUB_SIZE) for n in imports}
    first_slot = import_offset_for(len(layout.blob))
    slots = {name: first_slot + _SLOT_SIZE * i for i, name in enumerate(imports)}
    for name in imports:
        _write_stub(arch, layout.blob, stubs[name], slots[name])
    for number, obj in enumerate(parsed):
        _relocate(layout, number, obj, stubs, slots)
    entries = []
    for number, (_, name) in enumerate(objects):
        if name not in parsed[number].symbols:
            raise CompileError(f"The object code does not define {name}.")
        entries.append(_position(layout, number, parsed[number].symbols[name]))
    return Linked(arch, bytes(layout.blob), tuple(entries), tuple(imports), first_slot)


def _place_code(layout: _Layout, objects: Sequence[elf.ObjectFile]) -> None:
    for number, obj in enumerate(objects):
        for index, section in obj.sections.items():
            if section.writable:
                raise CompileError(f"The object code has writable data ({section.name}).")
            if section.executable:
                align = max(section.align, CODE_ALIGNMENT)
                layout.sections[number, index] = layout.append(section.data, align)


def _place_constants(layout: _Layout, objects: Sequence[elf.ObjectFile]) -> None:
    """Place read-only data, the most aligned first so that little is lost to padding."""
    every = [
        (number, index, section)
        for number, obj in enumerate(objects)
        for index, section in obj.sections.items()
        if not section.executable
    ]
    for number, index, section in sorted(every, key=lambda item: -item[2].align):
        key, size = (number, index), section.entry_size
        if section.relocations:
            layout.sections[key] = layout.append(section.data, section.align)
        elif size and len(section.data) % size == 0 and _named_only(objects[number], index):
            parts = [section.data[i : i + size] for i in range(0, len(section.data), size)]
            align = max(section.align, size & -size)
            layout.entries[key] = (size, [layout.constant(part, align) for part in parts])
        else:
            layout.sections[key] = layout.constant(section.data, section.align)


def _named_only(obj: elf.ObjectFile, index: int) -> bool:
    """Whether all references to a section name an entry, so that entries may be moved."""
    return all(
        relocation.symbol.name
        for section in obj.sections.values()
        for relocation in section.relocations
        if relocation.symbol.section == index
    )


def _imports(objects: Sequence[elf.ObjectFile]) -> list[str]:
    names = {
        relocation.symbol.name
        for obj in objects
        for section in obj.sections.values()
        for relocation in section.relocations
        if relocation.symbol.section is None and relocation.symbol.name
    }
    unknown = sorted(names - IMPORTS)
    if unknown:
        raise CompileError(
            f"The compiled code calls {', '.join(unknown)}, which the runtime does not provide."
        )
    return sorted(names)


def _position(layout: _Layout, number: int, symbol: elf.Symbol) -> int:
    """Return where a defined symbol is in the blob."""
    if symbol.section is None:
        return 0  # the null symbol of relocations that are only hints
    key = (number, symbol.section)
    if key in layout.sections:
        return layout.sections[key] + symbol.value
    if key not in layout.entries:
        raise CompileError(f"The code refers to {symbol.name}, which is not part of the program.")
    size, places = layout.entries[key]
    return places[symbol.value // size] + symbol.value % size


def _relocate(
    layout: _Layout,
    number: int,
    obj: elf.ObjectFile,
    stubs: dict[str, int],
    slots: dict[str, int],
) -> None:
    for index, section in obj.sections.items():
        start = layout.sections.get((number, index), 0)
        firsts: dict[int, Patch] = {}
        patches: list[tuple[int, Patch]] = []
        for relocation in section.relocations:
            symbol = relocation.symbol
            imported = symbol.name in stubs
            patch = Patch(
                place=start + relocation.offset,
                target=stubs[symbol.name] if imported else _position(layout, number, symbol),
                addend=relocation.addend,
                name=symbol.name or section.name,
                slot=slots.get(symbol.name),
            )
            if obj.arch == "riscv64" and relocation.kind in RISCV_HIGH:
                firsts[patch.place] = patch
            patches.append((relocation.kind, patch))
        for kind, patch in patches:
            if obj.arch == "riscv64" and kind in RISCV_LOW:
                patch = replace(patch, low=firsts.get(patch.target))
            _apply(layout.blob, obj.arch, kind, patch)


def _apply(blob: bytearray, arch: str, kind: int, patch: Patch) -> None:
    function = APPLY[arch].get(kind)
    if function is None:
        raise CompileError(
            f"The reference to {patch.name} (relocation {kind} of {arch}) depends on where the "
            "code is loaded."
        )
    function(blob, patch)


def _write_stub(arch: str, blob: bytearray, stub: int, slot: int) -> None:
    """Write a jump through ``slot``; it uses the registers that the ABI leaves to linkers."""
    if arch == "x86_64":  # jmp *slot(%rip)
        code = b"\xff\x25" + struct.pack("<i", slot - (stub + 6))
    elif arch == "aarch64":  # adrp x16, slot; ldr x16, [x16, low(slot)]; br x16
        pages = (slot >> 12) - (stub >> 12)
        adrp = 0x90000010 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
        code = struct.pack("<III", adrp, 0xF9400210 | (slot & 0xFFF) >> 3 << 10, 0xD61F0200)
    else:  # auipc t3, high; ld t3, low(t3); jr t3
        high, low = split_riscv(slot - stub)
        code = struct.pack(
            "<III", 0xE17 | (high & 0xFFFFF) << 12, 0xE3E03 | (low & 0xFFF) << 20, 0xE0067
        )
    blob[stub : stub + len(code)] = code
