"""A module carries its IR, from which it is compiled again for another target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import iree_core
from iree_core.cli import run
from iree_core.errors import CompileError, ImportModelError, ModuleFileError, UsageError
from iree_core.modulefile import DataSection, ModuleFile
from iree_core.modulefile.embedded import compress
from iree_core.modulefile.writer import write_module
from iree_core.params import ParameterStore
from iree_core.passes.portable import TAKEN_AFTER

# What has packed weights, a dynamic batch and state.
SOURCE = """
ml_program.global private mutable @total(dense<0.5> : tensor<32xf32>) : tensor<32xf32>
func.func @main(%x: tensor<?x96xf32>) -> (tensor<?x32xf32>, tensor<32xf32>) {
  %zero = arith.constant 0.0 : f32
  %c0 = arith.constant 0 : index
  %w = "flow.parameter"() {key = "w"} : () -> tensor<96x32xf32>
  %n = tensor.dim %x, %c0 : tensor<?x96xf32>
  %e = tensor.empty(%n) : tensor<?x32xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x32xf32>) -> tensor<?x32xf32>
  %y = linalg.matmul ins(%x, %w : tensor<?x96xf32>, tensor<96x32xf32>)
      outs(%f : tensor<?x32xf32>) -> tensor<?x32xf32>
  %old = ml_program.global_load @total : tensor<32xf32>
  %new = linalg.reduce ins(%y : tensor<?x32xf32>) outs(%old : tensor<32xf32>) dimensions = [0]
      (%a: f32, %b: f32) {
        %s = arith.addf %a, %b : f32
        linalg.yield %s : f32
      }
  ml_program.global_store @total = %new : tensor<32xf32>
  return %y, %new : tensor<?x32xf32>, tensor<32xf32>
}
"""
ARM = "llvm-cpu:aarch64-linux-gnu"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("model")
    weights = np.random.default_rng(0).standard_normal((96, 32), np.float32)
    save_file({"w": weights}, folder / "w.safetensors")
    (folder / "model.mlir").write_text(SOURCE)
    return folder / "model.mlir"


@pytest.fixture(scope="module")
def module(model: Path) -> Path:
    return compiled(model, "on")


@pytest.fixture(scope="module")
def without_ir(model: Path) -> Path:
    return compiled(model, "off")


@pytest.fixture(scope="module")
def arm(module: Path) -> Path:
    path = module.with_name("arm.vmfb")
    assert run(["compile", str(module), "--target", ARM, "-o", str(path)]) == 0
    return path


def compiled(model: Path, embed_ir: str) -> Path:
    path = model.with_name(f"{embed_ir}.vmfb")
    weights = [model.with_name("w.safetensors")]
    iree_core.compile(model, output=path, parameters=weights, embed_ir=embed_ir)  # type: ignore[arg-type]
    return path


def results(module: Path) -> tuple[NDArray, ...]:
    loaded = iree_core.load(module, "local-sync")
    x = np.random.default_rng(1).standard_normal((5, 96), np.float32)
    return tuple(np.asarray(part) for part in (*loaded.main(x), *loaded.main(x[:1])))


def damaged(module: Path, folder: Path) -> Path:
    """Return a copy of ``module`` whose IR is full of zeros."""
    content = bytearray(module.read_bytes())
    with_ir = ModuleFile.open(module).ir_nbytes
    content[-with_ir:] = bytes(with_ir)
    path = folder / "damaged.vmfb"
    path.write_bytes(content)
    return path


def test_a_module_is_compiled_for_another_target_and_back(
    module: Path, arm: Path, tmp_path: Path
) -> None:
    back = tmp_path / "back.vmfb"
    assert ModuleFile.open(arm).variants[0].target.startswith("aarch64")
    assert run(["compile", str(arm), "-o", str(back)]) == 0
    for mine, theirs in zip(results(back), results(module), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_module_for_another_machine_names_the_command_that_helps(arm: Path) -> None:
    with pytest.raises(ModuleFileError, match="--target NAME -o OUT"):
        iree_core.load(arm, "local-sync")


def test_weights_are_not_stored_twice(module: Path, without_ir: Path) -> None:
    more = module.stat().st_size - without_ir.stat().st_size
    assert 0 < more <= ModuleFile.open(module).ir_nbytes + 64
    assert more < 1200


def test_a_tiny_module_stays_tiny(tmp_path: Path) -> None:
    path = tmp_path / "add.mlir"
    path.write_text(
        "func.func @main(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {\n"
        "  %0 = stablehlo.add %x, %y : tensor<4xf32>\n  return %0 : tensor<4xf32>\n}\n"
    )
    module = iree_core.compile(path)
    assert ModuleFile.open(module.path).ir_nbytes > 0  # by default
    assert len(bytes(module)) < 4096


def test_inspect_says_whether_the_ir_is_there(
    module: Path, without_ir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(module)]) == 0
    assert "`iree inspect --ir` prints it" in capsys.readouterr().out
    assert run(["inspect", str(without_ir)]) == 0
    assert "IR: not embedded" in capsys.readouterr().out


def test_inspect_prints_the_ir(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "--ir", str(module)]) == 0
    printed = capsys.readouterr().out
    assert 'key = "w"} : () -> tensor<96x32xf32>' in printed
    assert "ml_program.global private mutable @total" in printed


def test_loading_does_not_look_at_the_ir(module: Path, tmp_path: Path) -> None:
    for mine, theirs in zip(results(damaged(module, tmp_path)), results(module), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("command", [["inspect", "--ir"], ["compile", "-o", "again.vmfb"]])
def test_a_damaged_copy_is_reported(
    command: list[str], module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, str(damaged(module, tmp_path))]) == 1
    assert "its copy of the IR cannot be unpacked" in capsys.readouterr().err


def test_a_module_without_ir_cannot_be_compiled_again(without_ir: Path) -> None:
    with pytest.raises(ModuleFileError, match=r"holds no copy of its IR.*--embed-ir=on"):
        iree_core.compile(without_ir)


def test_ir_that_names_other_weights_than_the_file_has_is_refused(
    module: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.vmfb"
    ir = compress(ModuleFile.open(module).ir())
    write_module(other, [], DataSection(ParameterStore()), ir=ir)
    with pytest.raises(ImportModelError, match="bytes of 'w#packed1'"):
        iree_core.compile(other)


def test_phases_behind_a_module_cannot_be_chosen(module: Path) -> None:
    with pytest.raises(UsageError, match=f"lowered from phase {TAKEN_AFTER} on"):
        iree_core.compile(module, from_phase="abi")


def test_ir_that_was_not_taken_cannot_be_asked_for(model: Path, tmp_path: Path) -> None:
    later = iree_core.compile(
        model,
        compile_to="dispatch-creation",
        parameters=[model.with_name("w.safetensors")],
        output=tmp_path / "later.mlir",
    )
    with pytest.raises(CompileError, match=f"phase {TAKEN_AFTER} did not run"):
        iree_core.compile(later.path, from_phase="scheduling", embed_ir="on")


def test_versions_name_what_was_used(module: Path) -> None:
    assert set(ModuleFile.open(module).versions) == {"iree-core", "iree-backend-llvm"}
