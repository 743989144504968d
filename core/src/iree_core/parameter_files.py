"""External parameter files: registers their tensors in a parameter store without reading them."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np

from iree_core.errors import ImportModelError, UsageError
from iree_core.output_files import complete_file
from iree_core.params import ParameterStore

# dtype names of the safetensors format, as numpy (or ml_dtypes) names.
_SAFETENSORS_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16",
    "F32": "float32", "F64": "float64", "C64": "complex64", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
_MAX_HEADER = 100 * 1024 * 1024


def load_safetensors(path: Path, store: ParameterStore, prefix: str = "") -> list[str]:
    """Register every tensor of a ``.safetensors`` file, memory-mapped, and return the keys.

    The format: a little-endian 64-bit header size, a JSON header, the data
    (https://github.com/huggingface/safetensors#format).

    Args:
        prefix: put before each tensor's name to make its key.

    Raises:
        UsageError: the file cannot be opened.
        ImportModelError: the file is damaged, or has a dtype that is not supported.
    """
    path = Path(path)
    header, start = _read_header(path)
    keys = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, offset = _check_entry(path, name, entry)
        try:
            key = store.add_file_range(prefix + name, path, start + offset, shape, dtype)
        except ValueError as error:
            raise ImportModelError(f"{path} is truncated: {error}.") from error
        keys.append(key)
    return keys


def _read_header(path: Path) -> tuple[dict, int]:
    """Return the JSON header and where the data begins."""
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1
            text = file.read(size) if 0 < size <= _MAX_HEADER else b""
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        if len(text) != size:
            raise ValueError("the header is cut off")
        header = json.loads(text)
        if not isinstance(header, dict):
            raise ValueError("the header is no JSON object")
    except ValueError as error:
        raise ImportModelError(f"{path} is no safetensors file: {error}.") from error
    return header, 8 + size


def _check_entry(path: Path, name: str, entry: dict) -> tuple[np.dtype, tuple[int, ...], int]:
    """Return dtype, shape and offset into the data of one header entry."""
    try:
        shape = tuple(int(n) for n in entry["shape"])
        begin, end = (int(n) for n in entry["data_offsets"])
        kind = str(entry["dtype"])
    except (KeyError, TypeError, ValueError) as error:
        raise ImportModelError(f"{path}: the entry of tensor {name!r} is damaged.") from error
    if kind not in _SAFETENSORS_DTYPES:
        raise ImportModelError(
            f"{path}: tensor {name!r} has dtype {kind}, which is not supported.",
            hint=f"Supported: {', '.join(_SAFETENSORS_DTYPES)}.",
        )
    dtype = _dtype(_SAFETENSORS_DTYPES[kind])
    if min(shape, default=0) < 0 or begin < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise ImportModelError(
            f"{path}: tensor {name!r} of shape {list(shape)} and dtype {kind} cannot be the "
            f"{end - begin} bytes at {begin}."
        )
    return dtype, shape, begin


def _dtype(name: str) -> np.dtype:
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name, name))


def save_safetensors(path: Path, store: ParameterStore) -> None:
    """Write every tensor of ``store``, one after the other, and replace ``path`` when done.

    Raises:
        CompileError: the file cannot be written.
        UsageError: a dtype has no name in the format.
    """
    names = {name: code for code, name in _SAFETENSORS_DTYPES.items()}
    header: dict[str, object] = {}
    offset = 0
    for key in store:
        dtype = str(store.dtype(key))
        if dtype not in names:
            raise UsageError(f"The safetensors format has no dtype {dtype} (parameter {key!r}).")
        end = offset + store.nbytes(key)
        header[key] = {
            "dtype": names[dtype],
            "shape": list(store.shape(key)),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with complete_file(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for key in store:
            file.write(np.ascontiguousarray(store.read(key)).data)
