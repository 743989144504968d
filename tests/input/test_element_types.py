"""Every element type goes the whole way: from StableHLO through the compiler to arrays and back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import iree_core
from iree_core.runtime_api import LoadedModule

FLOATS = ["f64", "f32", "f16", "bf16"]
SMALL_FLOATS = [
    "f8E4M3FN",
    "f8E5M2",
    "f8E4M3FNUZ",
    "f8E5M2FNUZ",
    "f8E4M3B11FNUZ",
    "f8E4M3",
    "f8E3M4",
]
SIGNED, UNSIGNED = ["i64", "i32", "i16", "i8", "i4"], ["ui64", "ui32", "ui16", "ui8", "ui4"]
COMPLEX = ["complex<f32>", "complex<f64>"]
NUMPY = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16,
    "f8E4M3FN": ml_dtypes.float8_e4m3fn, "f8E5M2": ml_dtypes.float8_e5m2,
    "f8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "f8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "f8E4M3B11FNUZ": ml_dtypes.float8_e4m3b11fnuz, "f8E4M3": ml_dtypes.float8_e4m3,
    "f8E3M4": ml_dtypes.float8_e3m4,
    "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8, "i4": ml_dtypes.int4,
    "ui64": np.uint64, "ui32": np.uint32, "ui16": np.uint16, "ui8": np.uint8,
    "ui4": ml_dtypes.uint4, "i1": np.bool_,
    "complex<f32>": np.complex64, "complex<f64>": np.complex128,
}  # fmt: skip
# The sign decides the larger of two integers and the quotient.
OPERATIONS = {
    "add": [*FLOATS, *SMALL_FLOATS, *SIGNED, *UNSIGNED, *COMPLEX],
    "multiply": [*FLOATS, *SIGNED, *UNSIGNED, *COMPLEX],
    "maximum": [*FLOATS, *SMALL_FLOATS, *SIGNED, *UNSIGNED],
    "divide": [*FLOATS, "i32", "i8", "ui32", "ui8"],
    "xor": ["i1", "i8", "ui64"],
}
CASES = [(operation, kind) for operation, kinds in OPERATIONS.items() for kind in kinds]


def name_of(operation: str, kind: str) -> str:
    return f"{operation}_{kind.translate(str.maketrans('<>', '__'))}"


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> LoadedModule:
    texts = []
    for operation, kind in CASES:
        tensor = f"tensor<?x{kind}>"
        texts.append(f"""
func.func @{name_of(operation, kind)}(%x: {tensor}, %y: {tensor}) -> {tensor} {{
  %z = stablehlo.{operation} %x, %y : {tensor}
  return %z : {tensor}
}}""")
    path = tmp_path_factory.mktemp("types") / "model.mlir"
    path.write_text("\n".join(texts))
    return iree_core.load(iree_core.compile(path, opt_level=1), "local-sync")


def values(kind: str, seed: int) -> NDArray:
    """Return 70 values of a type, both signs and the extremes of integers included."""
    random = np.random.default_rng(seed)
    dtype = np.dtype(NUMPY[kind])
    if kind == "i1":
        return random.integers(0, 2, 70).astype(dtype)
    if kind in SIGNED or kind in UNSIGNED:
        info = ml_dtypes.iinfo(dtype)
        bits = random.integers(0, 1 << 64, 70, np.uint64)
        if info.bits < 8:
            numbers = (bits.view(np.int64) % 16 + info.min).astype(dtype)
        else:
            numbers = bits.astype(dtype)
        numbers[:2] = [info.min, info.max]
        return numbers
    if kind in COMPLEX:
        parts = random.standard_normal((2, 70))
        return (parts[0] + 1j * parts[1]).astype(dtype)
    return random.uniform(-4, 4, 70).astype(dtype)


def expected(operation: str, kind: str, x: NDArray, y: NDArray) -> NDArray:
    """Return what numpy computes; small types by way of wider ones."""
    dtype = x.dtype
    wide = kind in SMALL_FLOATS or kind in ("bf16", "f16", "i4", "ui4")
    if wide:
        wider = np.float32 if dtype.kind != "i" and "int" not in dtype.name else np.int32
        x, y = x.astype(wider), y.astype(wider)
    with np.errstate(all="ignore"):
        if operation == "divide" and (kind in SIGNED or kind in UNSIGNED):
            quotient = np.abs(x.astype(np.float64)) // np.abs(y.astype(np.float64))
            result = (quotient * np.sign(x.astype(float)) * np.sign(y.astype(float))).astype(dtype)
        else:
            functions = {
                "add": np.add, "multiply": np.multiply, "maximum": np.maximum,
                "divide": np.divide, "xor": np.not_equal if kind == "i1" else np.bitwise_xor,
            }  # fmt: skip
            result = functions[operation](x, y)
    if kind in ("i4", "ui4"):
        result = result % 16
        result = np.where((result > 7) & (kind == "i4"), result - 16, result)
    return result.astype(dtype)


@pytest.mark.parametrize(("operation", "kind"), CASES)
def test_results_are_numpys(operation: str, kind: str, module: LoadedModule) -> None:
    function = module[name_of(operation, kind)]
    assert [t.dtype for t in (*function.inputs, *function.outputs)] == [kind] * 3
    x, y = values(kind, 1), values(kind, 2)
    if operation == "divide":
        y[y == 0] = 1
        x[:2], y[:2] = 7, 3  # the least integer over -1 has no quotient
    result = np.asarray(function(x, y))
    want = expected(operation, kind, x, y)
    assert result.dtype == want.dtype
    if kind in FLOATS or kind in COMPLEX:
        tolerance = {"f16": 2e-3, "bf16": 2e-2, "f64": 1e-14, "complex<f64>": 1e-14}.get(kind, 1e-6)
        wide = np.complex128 if kind in COMPLEX else np.float64
        np.testing.assert_allclose(result.astype(wide), want.astype(wide), tolerance, tolerance)
    else:
        np.testing.assert_array_equal(result.view(np.uint8), want.view(np.uint8))
