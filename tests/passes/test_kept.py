"""Compiled dispatches are kept for the next compilation, and only what fits is taken again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import iree_core
from iree_core.codegen.kernel import CompiledDispatch, CpuModel, Kernel
from iree_core.expr import const, scalar
from iree_core.interfaces import Target
from iree_core.passes.executables.kept import KeptDispatches

_KERNEL = Kernel("module {}", "main_dispatch_0", scalar(0).ceildiv(8) * 3, const(64), 4, "rows")
_DISPATCH = CompiledDispatch(_KERNEL, bytes(range(256)), "main_dispatch_0", (("ptx", b"a\nb"),))
_TARGET = Target("llvm-cpu", "x86_64", CpuModel())


@pytest.fixture
def kept(tmp_path: Path) -> KeptDispatches:
    return KeptDispatches(_TARGET, tmp_path)


def test_what_is_kept_is_found(kept: KeptDispatches) -> None:
    assert kept.find("text", "auto") is None
    kept.keep("text", "auto", _DISPATCH)
    assert kept.find("text", "auto") == _DISPATCH


@pytest.mark.parametrize("spec", ["aarch64", "x86_64,features=+avx512f"])
def test_another_target_finds_nothing(kept: KeptDispatches, spec: str) -> None:
    kept.keep("text", "auto", _DISPATCH)
    assert KeptDispatches(replace(_TARGET, spec=spec), kept.folder).find("text", "auto") is None


def test_another_text_schedule_or_cost_model_finds_nothing(kept: KeptDispatches) -> None:
    kept.keep("text", "auto", _DISPATCH)
    assert kept.find("text", "general") is None
    assert kept.find("texts", "auto") is None
    small = replace(_TARGET, cpu=CpuModel(l2_bytes=1 << 18))
    assert KeptDispatches(small, kept.folder).find("text", "auto") is None


@pytest.mark.parametrize("cut", [0, 10, 40, -1])
def test_a_damaged_file_counts_as_missing(kept: KeptDispatches, tmp_path: Path, cut: int) -> None:
    kept.keep("text", "auto", _DISPATCH)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:cut])
    assert kept.find("text", "auto") is None
    kept.keep("text", "auto", _DISPATCH)
    assert kept.find("text", "auto") == _DISPATCH


def test_the_least_recently_used_go_first(kept: KeptDispatches) -> None:
    for text in "abc":
        kept.keep(text, "auto", _DISPATCH)
    assert kept.folder is not None
    for age, path in enumerate(sorted(kept.folder.iterdir())):
        size = path.stat().st_size
        os.utime(path, (1000 + age, 1000 + age))
    assert kept.find("b", "auto") == _DISPATCH  # used now
    replace(kept, limit=size).trim()
    assert [kept.find(text, "auto") is not None for text in "abc"] == [False, True, False]


def test_a_backend_that_is_no_plugin_keeps_nothing() -> None:
    assert KeptDispatches(_TARGET).usable
    assert not KeptDispatches(Target("fake", "")).usable


def _model(weight: float) -> bytes:
    values = ", ".join(f"{weight + i}" for i in range(32))
    return f"""
    func.func @main(%x: tensor<4x32xf32>, %y: tensor<32xf32>) -> tensor<4x32xf32> {{
      %w = stablehlo.constant dense<[{values}]> : tensor<32xf32>
      %0 = stablehlo.broadcast_in_dim %w, dims = [1] : (tensor<32xf32>) -> tensor<4x32xf32>
      %1 = stablehlo.multiply %x, %0 : tensor<4x32xf32>
      %2 = stablehlo.broadcast_in_dim %y, dims = [1] : (tensor<32xf32>) -> tensor<4x32xf32>
      %3 = stablehlo.add %1, %2 : tensor<4x32xf32>
      return %3 : tensor<4x32xf32>
    }}""".encode()


def test_a_model_with_other_weights_reuses_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x, y = np.ones((4, 32), np.float32), np.arange(32, dtype=np.float32)
    modules = [iree_core.compile(_model(w), target="llvm-cpu") for w in (1.0, 2.0)]
    modules.append(iree_core.compile(_model(2.0), target="llvm-cpu", reuse=False))
    first, second, third = (module.report for module in modules)
    assert (first.reused, second.reused, third.reused) == (0, second.kernels, 0)
    assert f"{second.kernels} compiled before" in second.summary()
    for weight, module in zip((1.0, 2.0, 2.0), modules, strict=True):
        result = iree_core.load(module).main(x, y)
        np.testing.assert_allclose(result, x * (weight + np.arange(32)) + y, rtol=1e-6)


def test_another_model_with_the_same_layers_reuses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    iree_core.compile(_model(1.0), target="llvm-cpu")
    renamed = _model(1.0).replace(b"@main", b"@forward").replace(b"%1 =", b"%one =")
    report = iree_core.compile(renamed.replace(b"%1,", b"%one,"), target="llvm-cpu").report
    assert report.reused == report.kernels > 0


def test_a_folder_that_cannot_be_written_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iree").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    report = iree_core.compile(_model(1.0), target="llvm-cpu").report
    assert any("kept" in note.what for note in report.notes)
