"""Reading a ``.onnx`` file without its weights: they are left where they lie in the file.

Parsing a whole ModelProto copies every weight into memory. This module walks the protobuf wire
format (field numbers of onnx.proto) just far enough to leave large ``raw_data`` out, and
declares each such tensor as external data in the very same file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_RAW_DATA = 9
_LENGTH_DELIMITED = 2
_MINIMUM = 4096
"""Smaller tensors are parsed like everything else."""

Buffer = mmap.mmap | bytes


def read_without_weights(path: Path) -> bytes:
    """Return the bytes of a ModelProto equal to the file's, its large weights declared as
    external data of the same file.

    Raises:
        ValueError: the file is no well-formed protobuf message.
    """
    if not path.stat().st_size:
        raise ValueError("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        parts = []
        for number, wire, start, begin, end in _fields(buffer, 0, len(buffer)):
            if number == _MODEL_GRAPH and wire == _LENGTH_DELIMITED:
                parts.append(_field(number, _graph(buffer, begin, end, path.name)))
            else:
                parts.append(buffer[start:end])
        return b"".join(parts)


def _graph(buffer: Buffer, begin: int, end: int, name: str) -> bytes:
    parts = []
    for number, wire, start, inner, stop in _fields(buffer, begin, end):
        large = stop - inner >= _MINIMUM
        if number == _GRAPH_INITIALIZER and wire == _LENGTH_DELIMITED and large:
            parts.append(_field(number, _tensor(buffer, inner, stop, name)))
        else:
            parts.append(buffer[start:stop])
    return b"".join(parts)


def _tensor(buffer: Buffer, begin: int, end: int, name: str) -> bytes:
    rest, place = [], None
    for number, wire, start, inner, stop in _fields(buffer, begin, end):
        if number == _TENSOR_RAW_DATA and wire == _LENGTH_DELIMITED:
            place = (inner, stop - inner)
        else:
            rest.append(buffer[start:stop])
    if place is None:
        return buffer[begin:end]
    proto = onnx.TensorProto.FromString(b"".join(rest))
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", place[0]), ("length", place[1])):
        proto.external_data.add(key=key, value=str(value))
    return proto.SerializeToString()


def _fields(buffer: Buffer, begin: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (field number, wire type, start, start of the contents, end) of a message's fields."""
    at = begin
    while at < end:
        start = at
        key, at = _varint(buffer, at, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            inner = at
            _, at = _varint(buffer, at, end)
        elif wire == _LENGTH_DELIMITED:
            length, inner = _varint(buffer, at, end)
            at = inner + length
        elif wire in (1, 5):
            inner = at
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"byte {start} has wire type {wire}, which protobuf does not use")
        if at > end or number == 0:
            raise ValueError(f"the field at byte {start} reaches past the end of its message")
        yield number, wire, start, inner, at


def _varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    result = shift = 0
    while at < end and shift < 64:
        byte = buffer[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
    raise ValueError(f"the number at byte {at} does not end")


def _field(number: int, contents: bytes) -> bytes:
    length, prefix = len(contents), bytearray([number << 3 | _LENGTH_DELIMITED])
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + contents
