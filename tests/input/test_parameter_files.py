"""Reading of external parameter files, whole and damaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from iree_core.errors import ImportModelError, UsageError
from iree_core.parameter_files import load_safetensors, save_safetensors
from iree_core.params import ParameterStore


def write(path: Path, header: dict, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture
def arrays() -> dict[str, NDArray]:
    return {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([1, -2, 3], ml_dtypes.bfloat16),
        "s": np.array(7, np.int64),
    }


@pytest.fixture
def file(tmp_path: Path, arrays: dict[str, NDArray]) -> Path:
    names = {"float32": "F32", "bfloat16": "BF16", "int64": "I64"}
    header: dict = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        end = len(data) + array.nbytes
        header[name] = {
            "dtype": names[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), end],
        }
        data += array.tobytes()
    return write(tmp_path / "x.safetensors", header, data)


def test_tensors_are_mapped(file: Path, arrays: dict[str, NDArray]) -> None:
    store = ParameterStore()
    assert load_safetensors(file, store, "m.") == ["m.w", "m.b", "m.s"]
    for name, array in arrays.items():
        found = store.read(f"m.{name}")
        assert not found.flags.owndata
        np.testing.assert_array_equal(found, array)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read"):
        load_safetensors(tmp_path / "none", ParameterStore())


@pytest.mark.parametrize("length", [0, 5, 20, 150, -2])
def test_truncated_file(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ImportModelError, match=r"no safetensors file|truncated"):
        load_safetensors(file, ParameterStore())


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": [1]},
        [],
    ],
)
def test_damaged_entry_names_the_tensor(tmp_path: Path, entry: object) -> None:
    path = write(tmp_path / "x.safetensors", {"layer.w": entry}, b"\0" * 4)
    with pytest.raises(ImportModelError, match=r"layer\.w"):
        load_safetensors(path, ParameterStore())


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    store = ParameterStore()
    rng = np.random.default_rng(0)
    store.add("weights", rng.standard_normal((3, 5), np.float32))
    store.derive("ids", (4,), np.int64, lambda: np.arange(4))
    save_safetensors(tmp_path / "all.safetensors", store)
    found = ParameterStore()
    assert load_safetensors(tmp_path / "all.safetensors", found) == ["weights", "ids"]
    for key in store:
        np.testing.assert_array_equal(found.read(key), store.read(key))
