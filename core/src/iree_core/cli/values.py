"""The notation of ``--input``, ``--output`` and ``--expected_output``, as in iree-run-module.

``2x3xf32=1 2 3 4 5 6``, brackets and commas as you like; one number fills the tensor, none is
zeros. ``2x3xf32=@file`` reads ``.npy`` or raw bytes, ``@file.npy`` an array of whatever type it
has, and ``f32=3`` is a tensor of rank 0.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iree_core import dtypes
from iree_core.errors import IreeError, UsageError
from iree_core.output_files import complete_file
from iree_core.vm.program import TensorType

_TYPE = re.compile(r"^(?P<dims>(?:\d+x)*)(?P<dtype>[a-z][A-Za-z0-9]*(?:<\w+>)?)$")
_NUMPY_MAGIC = b"\x93NUMPY"


def parse_value(text: str) -> NDArray:
    """Return the array that ``text`` denotes.

    Raises:
        UsageError: the text is malformed, the file missing, or the count of elements wrong.
    """
    if text.startswith("@"):
        return _read_numpy(Path(text[1:]))
    kind, _, values = text.partition("=")
    shape, dtype = _parse_type(kind, text)
    if values.startswith("@"):
        return _read_file(Path(values[1:]), shape, dtype)
    return _parse_elements(values, shape, dtype, text)


def random_value(kind: TensorType, dims: dict[str, int], generator: np.random.Generator) -> NDArray:
    """Return random data of type ``kind``; dimensions that ``dims`` lacks have size 1.

    Floats are normal, integers 0 or 1 (so that they are valid indices of anything not empty).
    """
    shape = tuple(d if isinstance(d, int) else dims.get(d, 1) for d in kind.shape)
    dtype = dtypes.to_numpy(kind.dtype)
    if math.prod(shape) * max(dtype.itemsize, 8) > sys.maxsize:
        raise UsageError(f"A random input of {list(shape)} elements does not fit into any memory.")
    if dtype.kind in "biu" or kind.dtype.lstrip("u").startswith("i"):
        return generator.integers(0, 2, shape).astype(dtype)
    values = generator.standard_normal(shape)
    if dtype.kind == "c":
        values = values + 1j * generator.standard_normal(shape)
    return values.astype(dtype)


def write_output(text: str, array: NDArray) -> None:
    """Write ``array`` where ``--output=text`` says: ``@file.npy``, or ``@file`` for raw bytes.

    Raises:
        UsageError: another notation.
        CompileError: the file cannot be written.
    """
    if not text.startswith("@"):
        raise UsageError(f"--output={text} is not of the form @FILE.npy.")
    path = Path(text[1:])
    with complete_file(path) as partial, partial.open("wb") as file:
        if path.suffix == ".npy":
            np.save(file, array, allow_pickle=False)
        else:
            file.write(np.ascontiguousarray(array).tobytes())


def describe(array: NDArray) -> str:
    """Return ``2x3xf32=[...]``, long arrays cut short."""
    kind = "x".join([*(str(d) for d in array.shape), dtypes.from_numpy(array.dtype) or "?"])
    return f"{kind}={np.array2string(array, threshold=32, edgeitems=3, precision=6)}"


def mismatch(actual: NDArray, expected: NDArray, tolerance: float = 1e-4) -> str | None:
    """Return None if ``actual`` is what was expected, else what differs.

    Integers must be equal; for floats the largest difference over the largest expected
    magnitude must be at most ``tolerance``.
    """
    if actual.shape != expected.shape:
        return f"the shape is {list(actual.shape)}, not {list(expected.shape)}"
    if actual.dtype != expected.dtype:
        return f"the dtype is {actual.dtype}, not {expected.dtype}"
    if actual.dtype.kind in "biu":
        wrong = int(np.count_nonzero(actual != expected))
        return f"{wrong} of {actual.size} elements differ" if wrong else None
    wide = np.complex128 if actual.dtype.kind == "c" else np.float64
    left, right = actual.astype(wide), expected.astype(wide)
    if not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return "infinities or NaNs are elsewhere"
    finite = np.isfinite(right)
    scale = float(np.max(np.abs(right), where=finite, initial=0.0)) or 1.0
    error = float(np.max(np.abs(left - right), where=finite, initial=0.0)) / scale
    return f"the relative error is {error:.2e}" if error > tolerance else None


def _parse_type(kind: str, text: str) -> tuple[tuple[int, ...], np.dtype]:
    match = _TYPE.match(kind.strip())
    if match is None:
        raise UsageError(
            f"--input={text} is no tensor.",
            hint="Write 2x3xf32=1 2 3 4 5 6, 2x3xf32=@file.npy or @file.npy.",
        )
    shape = tuple(int(d) for d in match["dims"].split("x") if d)
    try:
        return shape, dtypes.to_numpy(match["dtype"])
    except (KeyError, ValueError, IreeError) as error:
        raise UsageError(f"--input={text}: there is no type {match['dtype']!r}.") from error


def _parse_elements(values: str, shape: tuple[int, ...], dtype: np.dtype, text: str) -> NDArray:
    words = re.sub(r"[\[\],]", " ", values).split()
    count = math.prod(shape)
    if count * dtype.itemsize > sys.maxsize:
        raise UsageError(f"--input={text} does not fit into any memory.")
    if not words:
        return np.zeros(shape, dtype)
    if len(words) not in (1, count):
        raise UsageError(f"--input={text} has {len(words)} elements and not {count}.")
    try:
        if dtype.kind == "b":
            flat = np.array([word in ("1", "true", "True") for word in words])
        elif dtype.kind in "iu":
            flat = np.array([int(word, 0) for word in words]).astype(dtype)
        elif dtype.kind == "c":
            flat = np.array([complex(word) for word in words], dtype)
        else:
            flat = np.array([float(word) for word in words]).astype(dtype)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--input={text}: {error}.") from error
    return np.broadcast_to(flat, count).reshape(shape).copy()


def _read_file(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    data = _read(path)
    if data.startswith(_NUMPY_MAGIC):
        array = _read_numpy(path)
        if array.shape != shape or array.dtype != dtype:
            raise UsageError(
                f"{path} holds {array.dtype}{list(array.shape)} and not {dtype}{list(shape)}."
            )
        return array
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise UsageError(f"{path} has {len(data)} bytes and not {needed}.")
    return np.frombuffer(data, dtype).reshape(shape)


def _read_numpy(path: Path) -> NDArray:
    _read(path, 1)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UsageError(f"{path} is no .npy file: {error}.") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _read(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
