"""Access to the tables of ``schema.fbs``, checked at every step.

The reader trusts nothing: every offset, length and string is checked against the buffer, and
the work is bounded by its size, so that hostile input costs no more than honest input. Source:
FlatBuffers binary format, https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from iree_core.errors import ModuleFileError

if TYPE_CHECKING:
    from flatbuffers import Builder

IDENTIFIER = b"IRMF"

_U16, _I32, _U32 = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I")
_I64, _U64, _RANGE = struct.Struct("<q"), struct.Struct("<Q"), struct.Struct("<QQ")
_T = TypeVar("_T")


def damaged(why: str) -> ModuleFileError:
    """Return the error for a file that is inconsistent."""
    return ModuleFileError(
        f"The module file is damaged: {why}.", hint="Copy the file or compile the model again."
    )


class Cursor:
    """A FlatBuffer being read, and how much reading it may still cause."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._budget = 16 * len(data)

    def unpack(self, form: struct.Struct, position: int) -> Any:
        """Return the values at ``position``; every read of a field goes through here."""
        self.spend(form.size)
        if position < 0:
            raise damaged("an offset points outside of it")
        try:
            values = form.unpack_from(self.data, position)
        except struct.error:
            raise damaged("an offset points outside of it") from None
        return values[0] if len(values) == 1 else values

    def spend(self, nbytes: int) -> None:
        """Count ``nbytes`` that are read."""
        self._budget -= nbytes
        if self._budget < 0:
            raise damaged("its tables refer to each other too often")

    def bytes(self, position: int, size: int) -> memoryview:
        """Return a range of the buffer."""
        if position < 0 or size < 0 or position + size > len(self.data):
            raise damaged("an offset points outside of it")
        return self.data[position : position + size]

    def root(self) -> Table:
        """Return the root table."""
        return Table(self, self.unpack(_U32, 0))


class Table:
    """One table; fields are named by their position in the schema."""

    def __init__(self, cursor: Cursor, position: int) -> None:
        self._cursor, self._position = cursor, position
        vtable = position - cursor.unpack(_I32, position)
        size = cursor.unpack(_U16, vtable)
        slots = cursor.bytes(vtable, size)[4 : size & ~1]
        cursor.spend(len(slots))
        self._offsets = struct.unpack(f"<{len(slots) // 2}H", slots)

    def _field(self, field: int) -> int | None:
        """Return the position of a field, None if it is absent."""
        if field >= len(self._offsets) or not self._offsets[field]:
            return None
        return self._position + self._offsets[field]

    def _target(self, field: int) -> int | None:
        at = self._field(field)
        return None if at is None else at + self._cursor.unpack(_U32, at)

    def _scalar(self, field: int, form: struct.Struct) -> int:
        at = self._field(field)
        return 0 if at is None else self._cursor.unpack(form, at)

    def u32(self, field: int) -> int:
        """Return an unsigned 32-bit number."""
        return self._scalar(field, _U32)

    def u64(self, field: int) -> int:
        """Return an unsigned 64-bit number."""
        return self._scalar(field, _U64)

    def i64(self, field: int) -> int:
        """Return a signed 64-bit number."""
        return self._scalar(field, _I64)

    def range(self, field: int) -> tuple[int, int]:
        """Return offset and size of a Range."""
        at = self._field(field)
        return (0, 0) if at is None else self._cursor.unpack(_RANGE, at)

    def blob(self, field: int) -> memoryview:
        """Return a vector of bytes."""
        at = self._target(field)
        if at is None:
            return memoryview(b"")
        return self._cursor.bytes(at + 4, self._cursor.unpack(_U32, at))

    def string(self, field: int) -> str:
        """Return a string."""
        view = self.blob(field)
        self._cursor.spend(len(view))
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError:
            raise damaged("a name is not text") from None

    def table(self, field: int) -> Table | None:
        """Return a table."""
        at = self._target(field)
        return None if at is None else Table(self._cursor, at)

    def tables(self, field: int, make: Callable[[Table], _T]) -> tuple[_T, ...]:
        """Return ``make`` of each table of a vector."""
        at = self._target(field)
        if at is None:
            return ()
        count = self._cursor.unpack(_U32, at)
        self._cursor.bytes(at + 4, 4 * count)
        elements = range(at + 4, at + 4 + 4 * count, 4)
        return tuple(
            make(Table(self._cursor, place + self._cursor.unpack(_U32, place)))
            for place in elements
        )


# A field for the builder: its type, and its value or the offset of what it refers to.
Field = tuple[str, Any]


def put_table(builder: Builder, *fields: Field) -> int:
    """Write a table with ``fields`` in schema order and return its offset.

    Types: ``u32``, ``u64``, ``i64``, ``range`` (a pair), ``ref`` (an offset, 0 for none).
    """
    builder.StartObject(len(fields))
    for slot, (kind, value) in enumerate(fields):
        if kind == "u32":
            builder.PrependUint32Slot(slot, value, 0)
        elif kind == "u64":
            builder.PrependUint64Slot(slot, value, 0)
        elif kind == "i64":
            builder.PrependInt64Slot(slot, value, 0)
        elif kind == "range":
            builder.Prep(8, 16)
            builder.PrependUint64(value[1])
            builder.PrependUint64(value[0])
            builder.PrependStructSlot(slot, builder.Offset(), 0)
        elif value:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return builder.EndObject()


def put_tables(builder: Builder, offsets: Sequence[int]) -> int:
    """Write a vector of tables that are written already and return its offset."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
