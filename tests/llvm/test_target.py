"""Targets: what --target llvm-cpu:... accepts, and what is known of the processor."""

from __future__ import annotations

import re

import pytest
from tests.llvm.llvm_kernels import BACKEND, elementwise, make_kernel

from iree_backend_llvm.lower import lower_kernel
from iree_backend_llvm.target import (
    cpu_model,
    has_half_conversions,
    host_target,
    image_features,
    parse_target,
)
from iree_core.codegen import llvmir
from iree_core.errors import UsageError
from iree_core.ir import make_context


def test_default_is_the_host_and_its_spec_reads_back() -> None:
    target = BACKEND.resolve("")
    assert BACKEND.resolve(target.spec) == target
    assert target.backend == "llvm-cpu"
    assert target.cpu is not None and target.cpu.l1_bytes > 0
    assert parse_target("cpu=host") == host_target()


@pytest.mark.parametrize(
    ("text", "spec", "vector_bytes", "fma", "masked"),
    [
        ("x86_64,cpu=x86-64", "x86_64-unknown-linux-gnu,cpu=x86-64", 16, False, False),
        ("amd64", "x86_64-unknown-linux-gnu,cpu=x86-64-v3", 32, True, False),
        ("x86_64,cpu=znver4", "x86_64-unknown-linux-gnu,cpu=znver4", 64, True, True),
        ("aarch64-linux-gnu", "aarch64-unknown-linux-gnu,cpu=generic", 16, True, False),
        ("riscv64,features=+v,+zvl256b",
         "riscv64-unknown-linux-gnu,cpu=generic-rv64,features=+a,+c,+d,+f,+m,+v,+zvl256b",
         32, True, True),
    ],
)  # fmt: skip
def test_models(text: str, spec: str, vector_bytes: int, fma: bool, masked: bool) -> None:
    target = parse_target(text)
    assert target.spec == spec
    assert parse_target(spec) == target
    model = cpu_model(target)
    assert (model.vector_bytes, model.fma, model.masked) == (vector_bytes, fma, masked)


def test_features_the_loader_checks() -> None:
    assert image_features(parse_target("x86_64,cpu=x86-64")) == ()
    assert {"avx2", "fma"} <= set(image_features(parse_target("x86_64")))
    wide = set(image_features(parse_target("x86_64,cpu=znver4,features=-lzcnt")))
    assert "avx512f" in wide and "lzcnt" not in wide
    assert has_half_conversions(parse_target("x86_64"))
    assert not has_half_conversions(parse_target("riscv64"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mips", "architecture: 'mips'. Known: aarch64, riscv64, x86_64"),
        ("x86_64,cpu=zenver5", "processor of x86_64: 'zenver5'. Near matches: znver5"),
        ("aarch64,features=+sve3", "feature of aarch64: 'sve3'. Near matches: sve"),
        ("x86_64,speed=9", "option 'speed'"),
        ("x86_64,avx2", "Cannot read 'avx2'"),
        ("x86_64,features=avx2", "Cannot read 'avx2'"),
    ],
)
def test_mistakes_name_what_is_near(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        BACKEND.resolve(text)


@pytest.mark.parametrize(("cpu", "register"), [("skylake-avx512", "zmm"), ("x86-64-v3", "ymm")])
def test_full_vector_width_is_used(cpu: str, register: str) -> None:
    target = parse_target(f"x86_64,cpu={cpu}")
    text = lower_kernel(
        make_kernel(elementwise("arith.addf", 2, lanes=16)), make_context(), cpu_model(target)
    )
    assembly = llvmir.emit_assembly(text, target.machine())
    assert re.search(rf"vaddps.*%{register}", assembly)
    assert "call" not in assembly
