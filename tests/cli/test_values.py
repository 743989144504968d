"""The notation of --input and --output, as a user types it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iree_core.cli.values import describe, mismatch, parse_value, random_value, write_output
from iree_core.errors import CompileError, UsageError
from iree_core.vm.program import TensorType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2x3xf32=1 2 3 4 5 6", np.array([[1, 2, 3], [4, 5, 6]], np.float32)),
        ("2x3xf32=[[1,2,3],[4,5,6]]", np.array([[1, 2, 3], [4, 5, 6]], np.float32)),
        ("2x2xi32=7", np.full((2, 2), 7, np.int32)),
        ("3xf64", np.zeros(3, np.float64)),
        ("f32=3.5", np.array(3.5, np.float32)),
        ("2xui8=255 0x10", np.array([255, 16], np.uint8)),
        ("3xi1=1 0 true", np.array([True, False, True])),
        ("2xf32=nan -inf", np.array([np.nan, -np.inf], np.float32)),
        ("2xcomplex<f32>=1+2j 3", np.array([1 + 2j, 3], np.complex64)),
        ("0x4xf32=", np.zeros((0, 4), np.float32)),
    ],
)
def test_values(text: str, expected: np.ndarray) -> None:
    value = parse_value(text)
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def test_files(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    array.tofile(tmp_path / "x.bin")
    for text in (f"@{tmp_path}/x.npy", f"2x3xf32=@{tmp_path}/x.npy", f"2x3xf32=@{tmp_path}/x.bin"):
        np.testing.assert_array_equal(parse_value(text), array)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "there is no type .nonsense."),
        ("2x?xf32=1", "is no tensor"),
        ("2x3xq99=1", "is no tensor|no type 'q99'"),
        ("2x3xf32=1 2", "has 2 elements and not 6"),
        ("2xi32=1 x", "invalid literal"),
        ("@/no/such.npy", "Cannot read /no/such.npy: No such file"),
    ],
)
def test_malformed_values_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_value(text)


def test_files_of_the_wrong_kind(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"not numpy")
    np.save(tmp_path / "y.npy", np.zeros(4, np.float64))
    with pytest.raises(UsageError, match=r"is no \.npy file"):
        parse_value(f"@{tmp_path}/x.npy")
    with pytest.raises(UsageError, match="has 9 bytes and not 24"):
        parse_value(f"2x3xf32=@{tmp_path}/x.npy")
    with pytest.raises(UsageError, match=r"holds float64\[4\] and not float32\[4\]"):
        parse_value(f"4xf32=@{tmp_path}/y.npy")


def test_random_values_follow_the_signature() -> None:
    generator = np.random.default_rng(0)
    ids = random_value(TensorType("i64", ("batch", 8), "ids"), {"batch": 3}, generator)
    assert ids.shape == (3, 8) and ids.dtype == np.int64 and set(ids.ravel()) <= {0, 1}
    image = random_value(TensorType("f32", ("n", 2), "x"), {}, generator)
    assert image.shape == (1, 2) and image.dtype == np.float32


def test_outputs_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    array = np.arange(4, dtype=np.int16)
    write_output(f"@{tmp_path}/y.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), array)
    write_output(f"@{tmp_path}/y.bin", array)
    assert (tmp_path / "y.bin").read_bytes() == array.tobytes()
    with pytest.raises(CompileError, match="No such file"):
        write_output(f"@{tmp_path}/no/y.npy", array)
    with pytest.raises(UsageError, match="not of the form"):
        write_output("y.npy", array)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y.bin", "y.npy"]


def test_mismatches_are_described() -> None:
    one = np.ones(4, np.float32)
    assert mismatch(one, one) is None
    assert mismatch(one * (1 + 1e-6), one) is None
    assert mismatch(one * 2, one) == "the relative error is 1.00e+00"
    assert "shape" in (mismatch(one[:2], one) or "")
    assert "dtype" in (mismatch(one.astype(np.float64), one) or "")
    assert "NaNs" in (mismatch(one * np.float32("nan"), one) or "")
    assert mismatch(np.array([1, 2]), np.array([1, 3])) == "1 of 2 elements differ"


def test_values_are_printed_like_they_are_typed() -> None:
    assert describe(np.array([[1, 2]], np.int32)) == "1x2xi32=[[1 2]]"
