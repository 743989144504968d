"""Reads module files: maps them into memory and validates what will be indexed.

Nothing here trusts the file: one that is truncated, damaged, hostile or of another kind gives a
ModuleFileError that says so. Weights are not read, only mapped.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from iree_core import dtypes
from iree_core.errors import ModuleFileError
from iree_core.modulefile.data import ALIGNMENT, FORMAT_VERSION
from iree_core.modulefile.embedded import decompress
from iree_core.modulefile.flatbuffer import IDENTIFIER, Cursor, Table, damaged
from iree_core.modulefile.foreign import describe
from iree_core.vm import bytecode, verify
from iree_core.vm.program import Program, TensorType

_T = TypeVar("_T")


@dataclass(frozen=True)
class Signature:
    """A public function: what it takes and returns."""

    name: str
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]


@dataclass(frozen=True)
class ExecutableInfo:
    """The code of a variant: its range of the data is checked, its content is not yet."""

    format: str
    target: str
    offset: int
    nbytes: int
    crc32: int
    entries: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Variant:
    """The module for one target.

    Attributes:
        backend, target: whom and what it was compiled for.
        executable: its code, None if it needs none.
        bytecode: its host program.
        uses: a bit for each parameter of the module; empty where it uses all of them.
    """

    backend: str
    target: str
    executable: ExecutableInfo | None
    bytecode: memoryview
    uses: memoryview


@dataclass(frozen=True)
class Parameter:
    """A weight of the model and its range of the data."""

    key: str
    offset: int
    nbytes: int


class ModuleFile:
    """An open module file.

    Attributes:
        origin: where it came from, for messages.
        variants: one per target.
        source: kept alive with it, e.g. the owner of a temporary file.
    """

    source: object = None

    def __init__(self, content: memoryview | mmap.mmap, origin: str) -> None:
        """Validate the metadata.

        Raises:
            ModuleFileError: ``content`` is no module file this version reads.
        """
        self.origin = origin
        view = memoryview(content)
        self._located(lambda: self._parse(view))

    @staticmethod
    def open(path: Path | str) -> ModuleFile:
        """Map the file at ``path``.

        Raises:
            ModuleFileError: it is not there, or no module file this version reads.
        """
        try:
            with open(path, "rb", buffering=0) as file:
                if not os.fstat(file.fileno()).st_size:
                    raise ModuleFileError("The file is empty.", where=str(path))
                return ModuleFile(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), str(path))
        except OSError as error:
            raise ModuleFileError(
                f"The module file cannot be opened: {error.strerror}.", where=str(path)
            ) from error

    @staticmethod
    def from_bytes(data: bytes | bytearray | memoryview) -> ModuleFile:
        """Read a module file from memory, which has to stay unchanged meanwhile.

        Raises:
            ModuleFileError: it is no module file this version reads.
        """
        return ModuleFile(memoryview(data).cast("B"), "memory")

    # What only reflection needs is read when it is asked for.

    @cached_property
    def name(self) -> str:
        """The module's name."""
        return self._located(lambda: self._root.string(1))

    @cached_property
    def functions(self) -> tuple[Signature, ...]:
        """Reflection of the public functions."""
        return self._located(lambda: self._root.tables(2, _signature))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weights inside."""
        make = _parameter_within(self._constants_size)
        return self._located(lambda: self._root.tables(4, make))

    def parameters_of(self, variant: Variant) -> tuple[Parameter, ...]:
        """Return the weights that a variant uses.

        Raises:
            ModuleFileError: the list is damaged.
        """
        parameters = self.parameters
        if not len(variant.uses):
            return parameters
        bits = np.unpackbits(np.frombuffer(variant.uses, np.uint8), bitorder="little")
        if bits.size < len(parameters):
            raise ModuleFileError(
                "The module file is damaged: a list of weights is cut short.", where=self.origin
            )
        return tuple(p for p, used in zip(parameters, bits, strict=False) if used)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Name and version of what made it."""
        return self._located(lambda: _versions(self._root))

    def _located(self, read: Callable[[], _T]) -> _T:
        """Return what ``read`` returns; its errors say where the module came from."""
        try:
            return read()
        except ModuleFileError as error:
            raise ModuleFileError(error.what, where=self.origin, hint=error.hint) from None

    @cached_property
    def constants(self) -> NDArray[np.uint8]:
        """The read-only data of the programs, mapped and aligned to 64 bytes."""
        data = np.frombuffer(self._data[: self._constants_size], np.uint8)
        if data.size and data.ctypes.data % ALIGNMENT:  # a bytes object may start anywhere
            aligned = np.empty(data.size + ALIGNMENT, np.uint8)
            start = -aligned.ctypes.data % ALIGNMENT
            aligned = aligned[start : start + data.size]
            aligned[:] = data
            aligned.flags.writeable = False
            return aligned
        return data

    @property
    def ir_nbytes(self) -> int:
        """Bytes that the embedded IR takes in the file; 0 if there is none."""
        return len(self._ir)

    def ir(self) -> bytes:
        """Return the embedded IR, MLIR bytecode; nothing reads it before.

        Its weights are :attr:`parameters`; :mod:`iree_core.passes.portable` lowers it again.

        Raises:
            ModuleFileError: none was embedded, or it is damaged.
        """
        if not self._ir:
            raise ModuleFileError(
                "The module holds no copy of its IR.",
                where=self.origin,
                hint="Compile the model it was made from, or with --embed-ir=on next time.",
            )
        return self._located(lambda: decompress(self._ir))

    def read(self, parameter: Parameter) -> memoryview:
        """Return the bytes of one of :attr:`parameters`."""
        return self._data[parameter.offset : parameter.offset + parameter.nbytes]

    def image(self, variant: Variant) -> memoryview:
        """Return a variant's executable image.

        Raises:
            ModuleFileError: its checksum is wrong.
        """
        assert variant.executable is not None
        start = variant.executable.offset
        image = self._data[start : start + variant.executable.nbytes]
        if zlib.crc32(image) != variant.executable.crc32:
            raise ModuleFileError(
                "The module file is damaged: the checksum of its code is wrong.",
                where=self.origin,
                hint="Copy the file or compile the model again.",
            )
        return image

    def program(self, variant: Variant) -> Program:
        """Return a variant's host program, decoded and verified.

        Raises:
            ModuleFileError: it is damaged.
        """
        entries = len(variant.executable.entries) if variant.executable else 0

        def read() -> Program:
            program = bytecode.decode(variant.bytecode)
            verify.verify(program, entries=entries, data_size=self._constants_size)
            return program

        return self._located(read)

    def _parse(self, view: memoryview) -> None:
        if len(view) < 16 or bytes(view[8:12]) != IDENTIFIER:
            raise describe(view)
        size = int.from_bytes(view[:4], "little")
        data_at = -(-(4 + size + 4) // ALIGNMENT) * ALIGNMENT
        if 4 + size + 4 > len(view) or size < 12:
            raise _truncated(4 + size + 4, len(view))
        buffer = view[4 : 4 + size]
        root = Cursor(buffer).root()
        _check_version(root)
        if zlib.crc32(buffer) != int.from_bytes(view[4 + size : 8 + size], "little"):
            raise damaged("the checksum of its metadata is wrong")
        self._constants_size, data_size = root.u64(5), root.u64(6)
        if data_at + data_size > max(len(view), data_at):
            raise _truncated(data_at + data_size, len(view))
        if self._constants_size > data_size:
            raise damaged("its constants reach past the end of its data")
        self._data = view[data_at : data_at + data_size]
        self._root = root
        self.variants = root.tables(3, lambda table: _variant(table, data_size))
        start, length = _within(root.range(8), data_size)
        self._ir = self._data[start : start + length]


def _truncated(expected: int, found: int) -> ModuleFileError:
    return ModuleFileError(
        f"The module file is truncated: it should have {expected} bytes and has {found}.",
        hint="Copy or download the file again.",
    )


def _check_version(root: Table) -> None:
    version = root.u32(0)
    if version == FORMAT_VERSION:
        return
    made_with = _versions(root)
    maker = f"iree-core {made_with['iree-core']}" if "iree-core" in made_with else "another version"
    cure = (
        "Run `pip install --upgrade iree-core iree-backend-llvm`."
        if version > FORMAT_VERSION
        else "Compile the model again with the installed version."
    )
    raise ModuleFileError(
        f"The module file has format version {version} (made by {maker}), this runtime reads "
        f"version {FORMAT_VERSION}.",
        hint=cure,
    )


def _versions(root: Table) -> dict[str, str]:
    return dict(root.tables(7, lambda table: (table.string(0), table.string(1))))


def _within(place: tuple[int, int], size: int) -> tuple[int, int]:
    if place[0] + place[1] > size:
        raise damaged("a range reaches past the end of its data")
    return place


def _signature(table: Table) -> Signature:
    return Signature(table.string(0), table.tables(1, _tensor), table.tables(2, _tensor))


def _tensor(table: Table) -> TensorType:
    type_ = TensorType(table.string(1), table.tables(2, _dimension), table.string(0))
    if not dtypes.is_known(type_.dtype):
        raise ModuleFileError(
            f"The module has a tensor of element type {type_.dtype!r}, which is unknown here.",
            hint="Upgrade iree-core, or compile the model again.",
        )
    return type_


def _dimension(table: Table) -> int | str:
    symbol, size = table.string(1), table.i64(0)
    if not symbol and size < 0:
        raise damaged("a dimension is negative")
    return symbol or size


def _variant(table: Table, data_size: int) -> Variant:
    executable = table.table(2)
    info = None if executable is None else _executable(executable, data_size)
    return Variant(table.string(0), table.string(1), info, table.blob(3), table.blob(4))


def _executable(table: Table, data_size: int) -> ExecutableInfo:
    offset, nbytes = _within(table.range(2), data_size)
    entries = table.tables(4, lambda entry: (entry.string(0), entry.u64(1)))
    return ExecutableInfo(table.string(0), table.string(1), offset, nbytes, table.u32(3), entries)


def _parameter_within(size: int) -> Callable[[Table], Parameter]:
    return lambda table: Parameter(table.string(0), *_within(table.range(1), size))
