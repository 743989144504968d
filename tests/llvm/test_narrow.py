"""Floats narrower than 32 bits: every conversion and every arithmetic step rounds correctly."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.llvm.llvm_kernels import run_text

from iree_backend_llvm import backend

TYPES = {
    "bf16": ml_dtypes.bfloat16,
    "f16": np.float16,
    "f8E4M3FN": ml_dtypes.float8_e4m3fn,
    "f8E5M2": ml_dtypes.float8_e5m2,
    "f8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "f8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "f8E4M3B11FNUZ": ml_dtypes.float8_e4m3b11fnuz,
    "f8E4M3": ml_dtypes.float8_e4m3,
    "f8E3M4": ml_dtypes.float8_e3m4,
    "f8E8M0FNU": ml_dtypes.float8_e8m0fnu,
    "f4E2M1FN": ml_dtypes.float4_e2m1fn,
}
WIDE = {"f32": np.float32, "f64": np.float64}


def bits_of(kind: str) -> int:
    return 16 if kind in ("bf16", "f16") else int(kind[1])


def conversion(source: str, target: str, lanes: int) -> str:
    """Return a kernel from codes to codes (i8 or i16) or wide floats."""

    def vector(kind: str) -> str:
        return f"vector<{lanes}x{kind}>" if lanes > 1 else kind

    def memory(kind: str) -> str:
        return kind if kind in WIDE else f"i{max(8, bits_of(kind))}"

    def load() -> list[str]:
        kind, stored = source, memory(source)
        place = f"%a[%i] : memref<?x{stored}>"
        line = f"vector.load {place}, {vector(stored)}" if lanes > 1 else f"memref.load {place}"
        if kind in WIDE:
            return [f"%x = {line}"]
        bits = f"i{bits_of(kind)}"
        lines = [f"%s = {line}"]
        if bits != stored:
            lines.append(f"%b = arith.trunci %s : {vector(stored)} to {vector(bits)}")
        last = "%b" if bits != stored else "%s"
        return [*lines, f"%x = arith.bitcast {last} : {vector(bits)} to {vector(kind)}"]

    def store() -> list[str]:
        kind, stored = target, memory(target)
        lines, last = [], "%y"
        if kind not in WIDE:
            bits = f"i{bits_of(kind)}"
            lines.append(f"%p = arith.bitcast %y : {vector(kind)} to {vector(bits)}")
            last = "%p"
            if bits != stored:
                lines.append(f"%q = arith.extui %p : {vector(bits)} to {vector(stored)}")
                last = "%q"
        place = f"{last}, %o[%i] : memref<?x{stored}>"
        end = f"vector.store {place}, {vector(stored)}" if lanes > 1 else f"memref.store {place}"
        return [*lines, end]

    operation = "truncf" if source in WIDE else "extf"
    step = f"%y = arith.{operation} %x : {vector(source)} to {vector(target)}"
    body = "\n".join([*load(), step, *store()])
    return f"""
    func.func @kernel(%a: memref<?x{memory(source)}>, %o: memref<?x{memory(target)}>,
        %begin: index, %end: index) {{
      %step = arith.constant {lanes} : index
      scf.for %i = %begin to %end step %step {{
        {body}
      }}
      return
    }}"""


@pytest.fixture(params=[True, False], ids=["native f16", "expanded f16"])
def _halves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "has_half_conversions", lambda _: request.param)


def codes(kind: str) -> NDArray:
    return np.arange(1 << bits_of(kind)).astype(f"u{max(1, bits_of(kind) // 8)}")


@pytest.mark.usefixtures("_halves")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("wide", WIDE)
def test_extension(kind: str, wide: str) -> None:
    source = codes(kind)
    found = np.zeros(len(source), WIDE[wide])
    run_text(conversion(kind, wide, 16), [source, found], work=(0, len(source)))
    with np.errstate(invalid="ignore"):
        expected = source.view(TYPES[kind]).astype(WIDE[wide])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("_halves")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("lanes", [16, 1])
def test_truncation(kind: str, wide: str, lanes: int) -> None:
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        exact = codes(kind).view(TYPES[kind]).astype(np.float64)
        exact = exact[np.isfinite(exact)][:4096]
        around = [exact * f for f in (1, 1.5, 1.25, 1.0001, 0.9999, 1 + 2**-8, 1 + 2**-9, 0.5)]
        spread = rng.standard_normal(4096) * np.exp(rng.uniform(-40, 40, 4096))
        x = np.concatenate([*around, spread, [0.0, -0.0, np.inf, -np.inf]]).astype(WIDE[wide])
        # Powers of two below 2^-127 have no common rounding; the smallest one is code 0.
        x = x[np.abs(x) >= 2.0**-126] if kind == "f8E8M0FNU" else x
        x = np.resize(x, -(-len(x) // 16) * 16)
        expected = x.astype(TYPES[kind])
    found = np.zeros(len(x), codes(kind).dtype)
    run_text(conversion(wide, kind, lanes), [x, found], work=(0, len(x)))
    numbers = ~np.isnan(expected.astype(np.float32))
    np.testing.assert_array_equal(found[numbers], expected.view(found.dtype)[numbers])
    assert np.isnan(found.view(TYPES[kind])[~numbers].astype(np.float32)).all()


@pytest.mark.parametrize("kind", ["bf16", "f16"])
@pytest.mark.parametrize("lanes", [16, 8, 1])
def test_arithmetic_rounds_every_step(kind: str, lanes: int) -> None:
    dtype = np.dtype(TYPES[kind])
    shape = f"vector<{lanes}x{kind}>" if lanes > 1 else kind
    mask = f"vector<{lanes}xi1>" if lanes > 1 else "i1"
    whole = f"vector<{lanes}xi32>" if lanes > 1 else "i32"
    third = f"dense<0.3> : {shape}" if lanes > 1 else f"0.3 : {shape}"

    def access(name: str) -> str:
        place = f"{name}[%i] : memref<?x{kind}>"
        return f"vector.load {place}, {shape}" if lanes > 1 else f"memref.load {place}"

    store = f"%n, %o[%i] : memref<?x{kind}>"
    text = f"""
    func.func @kernel(%a: memref<?x{kind}>, %b: memref<?x{kind}>, %o: memref<?x{kind}>,
        %begin: index, %end: index) {{
      %step = arith.constant {lanes} : index
      %k = arith.constant {third}
      scf.for %i = %begin to %end step %step {{
        %x = {access("%a")}
        %y = {access("%b")}
        %p = arith.mulf %x, %y : {shape}
        %q = arith.addf %p, %k : {shape}
        %e = math.exp %q : {shape}
        %g = arith.cmpf ogt, %x, %y : {shape}
        %s = arith.select %g, %e, %q : {mask + ", " if lanes > 1 else ""}{shape}
        %j = arith.fptosi %s : {shape} to {whole}
        %u = arith.sitofp %j : {whole} to {shape}
        %m = arith.maximumf %u, %s : {shape}
        %ab = math.absf %m : {shape}
        %f = math.fma %ab, %x, %y : {shape}
        %n = arith.negf %f : {shape}
        {f"vector.store {store}, {shape}" if lanes > 1 else f"memref.store {store}"}
      }}
      return
    }}"""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(64).astype(dtype) for _ in range(2))
    found = np.zeros_like(x)
    run_text(text, [x, y, found], work=(0, 64))
    q = x * y + dtype.type(0.3)
    e = np.exp(q.astype(np.float32)).astype(dtype)
    s = np.where(x > y, e, q)
    m = np.maximum(s.astype(np.int32).astype(dtype), s)
    wide = np.abs(m).astype(np.float64) * x.astype(np.float64) + y.astype(np.float64)
    np.testing.assert_array_equal(found, -wide.astype(np.float32).astype(dtype))
