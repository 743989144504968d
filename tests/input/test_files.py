"""Files in every input dialect, as text and as bytecode, compile where no frontend is installed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import iree_core
from iree_core import compile_worker
from iree_core.compiler_service import CompileRequest
from iree_core.ir import ir, make_context, run_pipeline, stablehlo
from iree_core.passes.state import CompileOptions
from iree_core.plugins import Plugins

_T = "tensor<?x4xf32>"
_TORCH = "!torch.vtensor<[?,4],f32>"
# Each computes tanh(x), the last but one the running sum along the last dimension.
TEXTS = {
    "stablehlo": f"%y = stablehlo.tanh %x : {_T}",
    "chlo": f"""
      %zero = chlo.constant dense<0.0> : tensor<f32>
      %t = stablehlo.tanh %x : {_T}
      %y = chlo.broadcast_add %t, %zero : ({_T}, tensor<f32>) -> {_T}""",
    "tosa": f"%y = tosa.tanh %x : ({_T}) -> {_T}",
    "linalg": f"%y = linalg.tanh ins(%x : {_T}) outs(%x : {_T}) -> {_T}",
    "tm_tensor": f"""
      %t = math.tanh %x : {_T}
      %c0 = arith.constant 0 : index
      %n = tensor.dim %x, %c0 : {_T}
      %a = tensor.empty(%n) : tensor<?xf32>
      %e = tensor.empty(%n) : {_T}
      %y, %last = tm_tensor.scan dimension(1) inclusive(true)
          ins(%t : {_T}) outs(%e, %a : {_T}, tensor<?xf32>) {{
      ^bb0(%p: f32, %q: f32):
        %s = arith.addf %p, %q : f32
        tm_tensor.yield %s : f32
      }} -> {_T}, tensor<?xf32>""",
    "torch": f"%y = torch.aten.tanh %x : {_TORCH} -> {_TORCH}",
}


def source(dialect: str) -> str:
    """Return a module with operations of ``dialect``."""
    kind = _TORCH if dialect == "torch" else _T
    body = TEXTS["stablehlo" if dialect == "vhlo" else dialect]
    text = f"func.func @main(%x: {kind}) -> {kind} {{\n{body}\n  return %y : {kind}\n}}"
    if dialect != "vhlo":
        return text
    with make_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        run_pipeline(module, "builtin.module(stablehlo-legalize-to-vhlo)")
        return str(module)


def bytecode(text: str) -> bytes:
    """Return MLIR text as bytecode."""
    with make_context(), ir.Location.unknown():
        content = BytesIO()
        ir.Module.parse(text).operation.write_bytecode(content)
        return content.getvalue()


@pytest.fixture(scope="module")
def backends_only() -> Plugins:
    """The installed plugins without the frontends."""
    plugins = Plugins()
    plugins._infos = {key: info for key, info in plugins._infos.items() if key[0] != "frontend"}
    return plugins


def check(path: Path, dialect: str, plugins: Plugins, patch: pytest.MonkeyPatch) -> None:
    """Compile the file in this process, with ``plugins`` only, and run it."""
    patch.setattr(compile_worker, "installed", lambda: plugins)
    output = path.with_name("module.vmfb")
    options = CompileOptions(opt_level=1, threads=1)
    request = CompileRequest(path, None, {}, "llvm-cpu", options, output, path.parent)
    compile_worker.compile_model(request, lambda _: None)
    x = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    expected = np.tanh(x)
    if dialect == "tm_tensor":
        expected = np.cumsum(expected, axis=1)
    result = iree_core.load(output, "local-sync").main(x)
    np.testing.assert_allclose(np.asarray(result), expected, 1e-5, 1e-6)


@pytest.mark.parametrize("dialect", [*TEXTS, "vhlo"])
def test_text(
    dialect: str, tmp_path: Path, backends_only: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = source(dialect)
    assert f"{dialect}." in text
    path = tmp_path / "model.mlir"
    path.write_text(text)
    check(path, dialect, backends_only, monkeypatch)


@pytest.mark.parametrize("dialect", [*TEXTS, "vhlo"])
def test_bytecode(
    dialect: str, tmp_path: Path, backends_only: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.mlirbc"
    path.write_bytes(bytecode(source(dialect)))
    check(path, dialect, backends_only, monkeypatch)


@pytest.mark.parametrize("suffix", [".mlir", ".bin", ""])
def test_bytecode_is_recognised_by_its_content(
    suffix: str, tmp_path: Path, backends_only: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(bytecode(source("stablehlo")))
    check(path, "stablehlo", backends_only, monkeypatch)


def test_portable_artifact(
    tmp_path: Path, backends_only: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.mlirbc"
    oldest = stablehlo.get_minimum_version()
    path.write_bytes(stablehlo.serialize_portable_artifact_str(source("stablehlo"), oldest))
    check(path, "stablehlo", backends_only, monkeypatch)
