"""Reads files of ``jax.export`` (the bytes of ``Exported.serialize()``) without importing JAX.

They are FlatBuffers without a file identifier (schema: ``jax/_src/export/serialization.fbs``,
table ``Exported``); every offset is checked before it is followed.
"""

from __future__ import annotations

import struct

from iree_core.errors import ImportModelError
from iree_frontend_jax.program import Program, Value

_MODULE_MAGIC = b"ML\xefR"

# Field numbers of the tables that are read.
_FUNCTION_NAME, _IN_TREE, _IN_AVALS, _OUT_TREE, _OUT_AVALS = 1, 2, 3, 4, 5
_PLATFORMS, _ORDERED_EFFECTS = 9, 10
_MODULE, _KEPT = 13, 15
_UNIQUE_AVALS, _IN_AVAL_NUMBERS, _OUT_AVAL_NUMBERS = 19, 22, 23
_NODE_KIND, _NODE_CHILDREN, _NODE_KEYS = 0, 1, 2
_AVAL_SHAPE, _AVAL_DTYPE = 1, 2

_LEAF, _NONE, _TUPLE, _LIST, _DICT, _CUSTOM = range(6)
_MAX_DEPTH = 100

_DTYPES = (
    "i1", "i8", "i16", "i32", "i64", "ui8", "ui16", "ui32", "ui64", "f16", "f32", "f64",
    "complex<f32>", "complex<f64>", "bf16", "i4", "ui4", "f8E4M3B11FNUZ", "f8E4M3FN",
    "f8E4M3FNUZ", "f8E5M2", "f8E5M2FNUZ", "i1", "f8E4M3", "f8E3M4", "f8E8M0FNU", "f4E2M1FN",
)  # fmt: skip
# Keys of random number generators are words: dimensions that follow the array's own.
_KEYS = {27: ("2",), 28: ("4",), 29: ("4",)}


class _Table:
    """A table of a FlatBuffer, by field number."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        self._vtable = position - self._read("<i", position)
        self._size = self._read("<H", self._vtable)

    def _read(self, layout: str, position: int) -> int:
        if position < 0:
            raise ValueError("an offset points before the file")
        return struct.unpack_from(layout, self._data, position)[0]

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return None
        offset = self._read("<H", self._vtable + entry)
        return self._position + offset if offset else None

    def number(self, number: int, layout: str) -> int:
        """Return a scalar field, 0 where absent."""
        place = self._field(number)
        return 0 if place is None else self._read(layout, place)

    def _vector(self, number: int) -> tuple[int, int]:
        place = self._field(number)
        if place is None:
            return 0, 0
        start = place + self._read("<I", place)
        return start + 4, self._read("<I", start)

    def data(self, number: int) -> bytes:
        """Return a vector of bytes or a string."""
        start, length = self._vector(number)
        if start + length > len(self._data):
            raise ValueError("a vector reaches past the end of the file")
        return self._data[start : start + length]

    def numbers(self, number: int, layout: str) -> list[int]:
        """Return a vector of scalars."""
        start, length = self._vector(number)
        width = struct.calcsize(layout)
        self._fits(start, length * width)
        return [self._read(layout, start + n * width) for n in range(length)]

    def tables(self, number: int) -> list[_Table]:
        """Return a vector of tables."""
        return [_Table(self._data, place) for place in self._targets(number)]

    def strings(self, number: int) -> list[str]:
        """Return a vector of strings."""
        found = []
        for place in self._targets(number):
            length = self._read("<I", place)
            self._fits(place + 4, length)
            found.append(self._data[place + 4 : place + 4 + length].decode())
        return found

    def table(self, number: int) -> _Table | None:
        """Return a field that is a table."""
        place = self._field(number)
        return None if place is None else _Table(self._data, place + self._read("<I", place))

    def _targets(self, number: int) -> list[int]:
        start, length = self._vector(number)
        self._fits(start, length * 4)
        return [start + 4 * n + self._read("<I", start + 4 * n) for n in range(length)]

    def _fits(self, start: int, size: int) -> None:
        if start + size > len(self._data):
            raise ValueError("a vector reaches past the end of the file")


def is_exported(data: bytes) -> bool:
    """Tell whether ``data``, a whole file, is what ``Exported.serialize()`` returns."""
    try:
        root = _root(data)
        return root.data(_MODULE)[:4] == _MODULE_MAGIC and bool(root.strings(_PLATFORMS))
    except (struct.error, ValueError):
        return False


def _root(data: bytes) -> _Table:
    return _Table(data, struct.unpack_from("<I", data)[0])


def read_exported(data: bytes, name: str) -> Program:
    """Return the program in ``data``, the content of the file ``name``.

    Raises:
        ImportModelError: it is damaged, or has effects that cannot be compiled.
    """
    try:
        return _read(_root(data), name)
    except (struct.error, ValueError, IndexError) as error:
        raise ImportModelError(
            f"{name} is damaged: {error}.",
            hint="Write it again with jax.export.export(jax.jit(f))(*args).serialize().",
        ) from error


def _read(root: _Table, name: str) -> Program:
    if root.data(_MODULE)[:4] != _MODULE_MAGIC:
        raise ValueError("it holds no StableHLO module")
    if root.tables(_ORDERED_EFFECTS):
        raise ImportModelError(
            f"The program in {name} has ordered effects (callbacks, ordered printing).",
            hint="Take them out of the exported function.",
        )
    kinds = [_aval(t) for t in root.tables(_UNIQUE_AVALS)]
    inputs = _avals(root, kinds, _IN_AVAL_NUMBERS, _IN_AVALS)
    outputs = _avals(root, kinds, _OUT_AVAL_NUMBERS, _OUT_AVALS)
    return Program(
        root.data(_FUNCTION_NAME).decode(),
        root.data(_MODULE),
        _named(inputs, _paths(root.table(_IN_TREE), True)),
        _named(outputs, _paths(root.table(_OUT_TREE), False)),
        tuple(root.numbers(_KEPT, "<H")),
        tuple(root.strings(_PLATFORMS)),
    )


def _avals(root: _Table, unique: list[Value], numbers: int, direct: int) -> list[Value]:
    """Return types by number (since the schema shares them), or written in place."""
    found = root.numbers(numbers, "<I")
    if found:
        return [unique[n] for n in found]
    return [_aval(table) for table in root.tables(direct)]


def _aval(table: _Table) -> Value:
    code = table.number(_AVAL_DTYPE, "<b")
    dims = tuple(dim.replace(" ", "") for dim in table.strings(_AVAL_SHAPE))
    if code in _KEYS:
        return Value("", dims + _KEYS[code], "ui32")
    return Value("", dims, _DTYPES[code])


def _named(values: list[Value], names: list[str]) -> tuple[Value, ...]:
    if len(names) != len(values):
        raise ValueError(f"{len(names)} leaves but {len(values)} types")
    return tuple(Value(n, v.dims, v.dtype) for n, v in zip(names, values, strict=True))


def _paths(tree: _Table | None, arguments: bool) -> list[str]:
    """Return the path of every leaf; the trees of arguments are a pair of args and kwargs."""
    if tree is None:
        raise ValueError("it has no tree of arguments")
    found: list[str] = []
    _walk(tree, "" if arguments else "result", found, 0 if arguments else None, _MAX_DEPTH)
    return found


def _walk(tree: _Table, path: str, found: list[str], level: int | None, depth: int) -> None:
    """Collect paths; ``level`` counts the tuples around the arguments themselves."""
    if not depth:
        raise ValueError("a tree is nested too deeply")
    kind = tree.number(_NODE_KIND, "<b")
    if kind == _LEAF:
        found.append(path or "result")
        return
    keys = tree.strings(_NODE_KEYS)
    following = None if level is None or level else 1
    for place, child in enumerate(tree.tables(_NODE_CHILDREN)):
        if level == 0:
            name = ""
        elif level == 1:
            name = keys[place] if kind == _DICT else f"arg{place}"
        else:
            name = f"{path}['{keys[place]}']" if kind == _DICT else f"{path}[{place}]"
        _walk(child, name, found, following, depth - 1)
