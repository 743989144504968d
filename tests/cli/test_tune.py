"""``iree tune`` finds what a measurement says, and its files are used by compilations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import iree_core
from iree_core import tuner
from iree_core.cli import run
from iree_core.compiler_service import CompiledModule
from iree_core.errors import UsageError
from iree_core.hal.registry import open_device
from iree_core.tuning import Tuned, TuningTable

_MODEL = """
func.func @main(%x: tensor<64x256xf32>, %w: tensor<256x96xf32>) -> tensor<64x96xf32> {
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
      : (tensor<64x256xf32>, tensor<256x96xf32>) -> tensor<64x96xf32>
  return %0 : tensor<64x96xf32>
}"""
_TUNED = Tuned({"cycles": 9000, "rows": 5}, 20.5, 19.25, "contraction")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.mlir"
    path.write_text(_MODEL)
    return path


def _inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in ((64, 256), (256, 96))]


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = TuningTable("llvm-cpu:x", {"key": _TUNED})
    table.save(tmp_path / "t.json")
    assert TuningTable.load(tmp_path / "t.json") == table


@pytest.mark.parametrize(
    "content", ["", "{}", "[1]", '{"iree-tuning": 2}', '{"iree-tuning": 1, "dispatches": {"k": 1}}']
)
def test_another_file_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(UsageError, match=r"t\.json"):
        TuningTable.load(tmp_path / "t.json")


def test_the_search_keeps_what_is_faster(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is made up: a tile is the faster the fewer rows it has."""

    def seconds(module: CompiledModule) -> dict[str, float]:
        (found,) = module.report.tunable.items()
        return {found[0]: float(found[1].choices["rows"])}

    def measured(_: object, *modules: CompiledModule) -> list[Mapping[str, float]]:
        return [seconds(module) for module in modules]

    monkeypatch.setattr(tuner._Search, "_measure", measured)
    device = open_device("local-sync")
    report = tuner.tune(model, _inputs(), device, function="main", seconds=0, target="llvm-cpu")
    (tuned,) = report.table.dispatches.values()
    assert tuned.before - tuned.after == pytest.approx(4e6)  # four rows are the largest step
    assert report.searched == 1


def test_a_file_is_used(model: Path, tmp_path: Path) -> None:
    TuningTable().save(tmp_path / "empty.json")
    plain = iree_core.compile(model, target="llvm-cpu", tuning=tmp_path / "empty.json").report
    (found,) = plain.tunable.values()
    table = TuningTable(plain.targets[0], {found.key: _TUNED})
    table.save(tmp_path / "t.json")
    module = iree_core.compile(model, target="llvm-cpu", tuning=tmp_path / "t.json")
    (used,) = module.report.tunable.values()
    assert (used.choices["rows"], used.choices["cycles"]) == (5, 9000)
    x, w = _inputs()
    np.testing.assert_allclose(iree_core.load(module).main(x, w), x @ w, rtol=1e-4, atol=1e-4)


def test_a_file_for_another_target_is_a_note(model: Path, tmp_path: Path) -> None:
    TuningTable("cuda:sm_80", {"key": _TUNED}).save(tmp_path / "t.json")
    report = iree_core.compile(model, target="llvm-cpu", tuning=tmp_path / "t.json").report
    assert any("cuda:sm_80" in note.why for note in report.notes)


def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.json"
    arguments = ["tune", str(model), "-o", str(out), "--seconds=0", "--device=local-sync"]
    assert run(arguments) == 0
    assert "of 1 dispatches gained" in capsys.readouterr().out
    assert json.loads(out.read_text())["iree-tuning"] == 1
    module = tmp_path / "m.vmfb"
    assert run(["compile", str(model), f"--tuning={out}", "-o", str(module)]) == 0
    assert run(["tune", str(module), "-o", str(out)]) != 0
    assert "compiled already" in capsys.readouterr().err


def test_a_model_without_choices_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "add.mlir"
    path.write_text(
        "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "  %0 = stablehlo.add %x, %x : tensor<4xf32>\n  return %0 : tensor<4xf32>\n}"
    )
    x = np.ones(4, np.float32)
    with pytest.raises(UsageError, match="choice"):
        tuner.tune(path, [x], open_device("local-sync"), function="main", target="llvm-cpu")
