"""Writes module files: metadata, code, and weights streamed one by one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from iree_core import __version__
from iree_core.interfaces import Executable
from iree_core.modulefile.data import ALIGNMENT, FORMAT_VERSION, DataSection
from iree_core.modulefile.flatbuffer import IDENTIFIER, Field, put_table, put_tables
from iree_core.output_files import complete_file
from iree_core.vm import bytecode
from iree_core.vm.program import Program, TensorType

if TYPE_CHECKING:
    from flatbuffers import Builder


@dataclass(frozen=True)
class VariantSource:
    """A module compiled for one target.

    Attributes:
        backend: name of the backend.
        target: the target's spec.
        program: its host program.
        executable: its dispatches; None if there is none.
        uses: offsets of the data that the program uses; None for all of it.
    """

    backend: str
    target: str
    program: Program
    executable: Executable | None
    uses: frozenset[int] | None = None


def write_module(
    path: Path,
    variants: Sequence[VariantSource],
    data: DataSection,
    *,
    name: str = "module",
    versions: Mapping[str, str] | None = None,
    ir: bytes = b"",
) -> int:
    """Write a module file and return its size in bytes.

    The file appears under its name when it is complete; one that was there before stays until
    then. At most one parameter is in memory at a time.

    Args:
        path: where to.
        variants: one per target, the first being the reference for reflection.
        data: the read-only data all programs share.
        name: the module's name.
        versions: what it was made with, e.g. plugins; ``iree-core`` is added.
        ir: portable MLIR of the model as :mod:`iree_core.modulefile.embedded` compresses it.

    Raises:
        CompileError: the file cannot be written.
    """
    layout = _Layout(variants, data.size, ir)
    versions = {"iree-core": __version__, **(versions or {})}
    header = _build(name, variants, data, layout, versions)
    with complete_file(path) as partial, partial.open("wb") as file:
        for part in _parts(header, layout, data):
            file.write(part)
        return file.tell()


class _Layout:
    """Where executables and IR are, after the constants."""

    def __init__(self, variants: Sequence[VariantSource], constants: int, ir: bytes) -> None:
        self.parts: list[tuple[int, bytes]] = []
        self.end = constants
        self.ranges = {
            id(variant): self._place(variant.executable.data if variant.executable else b"")
            for variant in variants
        }
        self.ir = self._place(ir)

    def _place(self, data: bytes) -> tuple[int, int]:
        for offset, other in self.parts:
            if other == data:
                return offset, len(data)
        offset = _aligned(self.end)
        self.parts.append((offset, data))
        self.end = offset + len(data)
        return offset, len(data)


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


def _parts(header: bytes, layout: _Layout, data: DataSection) -> Iterator[bytes | memoryview]:
    """Yield the whole file in order."""
    yield header
    position = 0
    segments: Iterable[tuple[int, bytes | memoryview]] = (
        (segment.offset, array.data) for segment, array in data.read()
    )
    for source in (segments, layout.parts):
        for offset, content in source:
            yield bytes(offset - position)
            yield content
            position = offset + len(content)
    yield bytes(layout.end - position)


def _build(
    name: str,
    variants: Sequence[VariantSource],
    data: DataSection,
    layout: _Layout,
    versions: Mapping[str, str],
) -> bytes:
    """Return everything before the data, padded to its start."""
    import flatbuffers

    b = flatbuffers.Builder(4096)
    functions = [f for f in variants[0].program.functions if f.public] if variants else []
    signatures = [
        put_table(b, _string(b, f.name), _tensors(b, f.inputs), _tensors(b, f.outputs))
        for f in functions
    ]
    parts = [part for part in data.segments if part.key]
    offsets = [part.offset for part in parts]
    variant_tables = [_put_variant(b, v, layout.ranges[id(v)], offsets) for v in variants]
    parameters = [
        put_table(b, _string(b, part.key), ("range", (part.offset, part.nbytes))) for part in parts
    ]
    version_tables = [put_table(b, _string(b, k), _string(b, v)) for k, v in versions.items()]
    root = put_table(
        b,
        ("u32", FORMAT_VERSION),
        _string(b, name),
        ("ref", put_tables(b, signatures)),
        ("ref", put_tables(b, variant_tables)),
        ("ref", put_tables(b, parameters)),
        ("u64", data.size),
        ("u64", layout.end),
        ("ref", put_tables(b, version_tables)),
        ("range", layout.ir),
    )
    b.FinishSizePrefixed(root, file_identifier=IDENTIFIER)
    buffer = bytes(b.Output())
    buffer += zlib.crc32(memoryview(buffer)[4:]).to_bytes(4, "little")
    return buffer.ljust(_aligned(len(buffer)), b"\0")


def _string(b: Builder, text: str) -> Field:
    return ("ref", b.CreateString(text))


def _tensors(b: Builder, types: Sequence[TensorType]) -> Field:
    tables = []
    for type_ in types:
        shape = [
            put_table(b, ("i64", 0), _string(b, dim))
            if isinstance(dim, str)
            else put_table(b, ("i64", dim))
            for dim in type_.shape
        ]
        vector: Field = ("ref", put_tables(b, shape))
        tables.append(put_table(b, _string(b, type_.name), _string(b, type_.dtype), vector))
    return ("ref", put_tables(b, tables))


def _put_variant(
    b: Builder, variant: VariantSource, image: tuple[int, int], parameters: Sequence[int]
) -> int:
    executable: Field = ("ref", 0)
    if variant.executable is not None:
        source = variant.executable
        entries = [
            put_table(b, _string(b, name), ("u64", offset)) for name, offset in source.entries
        ]
        executable = (
            "ref",
            put_table(
                b,
                _string(b, source.format),
                _string(b, source.target),
                ("range", image),
                ("u32", zlib.crc32(source.data)),
                ("ref", put_tables(b, entries)),
            ),
        )
    program: Field = ("ref", b.CreateByteVector(bytecode.encode(variant.program)))
    backend, target = _string(b, variant.backend), _string(b, variant.target)
    uses: Field = ("ref", 0)
    if variant.uses is not None:
        bits = np.array([offset in variant.uses for offset in parameters], np.bool_)
        uses = ("ref", b.CreateByteVector(np.packbits(bits, bitorder="little").tobytes()))
    return put_table(b, backend, target, executable, program, uses)
