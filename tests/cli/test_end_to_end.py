"""One small model through every command and both Python interfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import iree_core
from iree_core.cli import run
from iree_core.compiler import (
    CompilerToolError,
    InputType,
    compile_file,
    compile_str,
    query_available_targets,
)
from iree_core.errors import CompileError

SOURCE = """
func.func @main(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = stablehlo.add %x, %y : tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
func.func @twice(%x: tensor<2xi32>) -> tensor<2xi32> {
  %0 = stablehlo.add %x, %x : tensor<2xi32>
  return %0 : tensor<2xi32>
}
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "model.mlir"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def module(model: Path) -> Path:
    path = model.with_suffix(".vmfb")
    assert run([str(model), "-o", str(path)]) == 0
    return path


def test_compile_prints_the_line_of_truth(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = model.with_suffix(".vmfb")
    assert run(["compile", str(model), "-o", str(output), "-O1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{output}: 2 ops in 2 dispatches for ")
    assert "2 of 2 kernels on the fast path" in line
    left = sorted(path.name for path in model.parent.iterdir())
    assert left == ["cache", "model.mlir", "model.vmfb"]


def test_run_takes_inputs_and_checks_outputs(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = ["--input=1x4xf32=1 2 3 4", "--input=1x4xf32=10"]
    assert run(["run", str(module), *inputs]) == 0
    assert "1x4xf32=[[11. 12. 13. 14.]]" in capsys.readouterr().out
    assert run(["run", str(module), *inputs, "--expected_output=1x4xf32=11 12 13 14"]) == 0
    assert "1 of 1 results are as expected" in capsys.readouterr().out
    assert run(["run", str(module), *inputs, "--expected_output=1x4xf32=0"]) == 1
    assert "not as expected" in capsys.readouterr().err


def test_run_chooses_function_device_and_files(module: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([3, 4], np.int32))
    arguments = [f"--input=@{tmp_path}/x.npy", f"--output=@{tmp_path}/y.npy"]
    options = ["--function=twice", "--device=local-sync"]
    assert run(["run", str(module), *options, *arguments]) == 0
    assert np.load(tmp_path / "y.npy").tolist() == [6, 8]


def test_run_compiles_a_model_once_and_makes_up_inputs(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", str(model), "--function=main", "--threads=2"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("random input") == 2 and "from the cache" not in printed.err
    assert run(["run", str(model), "--function=main"]) == 0
    assert "from the cache" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--function=nonsense"], "nonsense"),
        (["--device=nonsense"], "nonsense"),
        (["--input=4xf32=1"], "expected .*x4xf32, got 4xf32"),
        (["--input=1x4xi32=1", "--input=1x4xf32=1"], "i32"),
        (["--input=1x4xf32", "--input=1x4xf32", "--input=1x4xf32"], "takes 2 inputs, 3 are given"),
    ],
)
def test_wrong_calls_are_explained(
    module: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import re

    assert run(["run", str(module), *arguments]) in (1, 2)
    (line,) = [
        text for text in capfd.readouterr().err.splitlines() if not text.startswith("iree: note:")
    ]
    assert re.search(message, line)


def test_benchmark_reports_the_latency(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["benchmark", str(module), "--seconds=0.01", "--dim=input0_d0=8"]) == 0
    assert "median" in capsys.readouterr().out


def test_inspect_shows_signatures_and_the_plan(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", "-v", str(module)]) == 0
    printed = capsys.readouterr().out
    for part in ("main(", "twice(", "Memory plan", "peak", "dispatch", "iree-core 0.1.0"):
        assert part in printed


@pytest.mark.parametrize(
    ("phase", "part"),
    [
        ("input", "linalg.generic"),
        ("dispatch-creation", "flow.dispatch"),
        ("executables", "// ----- kernel"),
    ],
)
def test_compiling_to_a_phase_prints_its_ir(
    model: Path, phase: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compile", str(model), f"--compile-to={phase}"]) == 0
    assert part in capsys.readouterr().out


def test_printed_ir_compiles_from_where_it_stopped(model: Path, tmp_path: Path) -> None:
    middle = tmp_path / "middle.mlir"
    iree_core.compile(model, compile_to="global-optimization", output=middle)
    compiled = iree_core.compile(middle, from_phase="dispatch-creation")
    y = iree_core.load(compiled).main(np.ones((2, 4), np.float32), np.ones((2, 4), np.float32))
    np.testing.assert_array_equal(np.asarray(y), np.full((2, 4), 2, np.float32))


def test_import_prints_linalg(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(model)]) == 0
    assert "stablehlo" not in (printed := capsys.readouterr().out) and "linalg" in printed


def test_the_dump_has_one_file_per_pass(model: Path, tmp_path: Path) -> None:
    iree_core.compile(model, dump_dir=tmp_path / "dump")
    names = sorted(path.name for path in (tmp_path / "dump").glob("*.mlir"))
    assert names[0].startswith("000.input.") and any(".vm." in name for name in names)


def test_a_module_is_saved_whole_or_not_at_all(model: Path, tmp_path: Path) -> None:
    compiled = iree_core.compile(model)
    saved = compiled.save(tmp_path / "saved.vmfb")
    assert saved.read_bytes() == bytes(compiled) == compiled.path.read_bytes()
    with pytest.raises(CompileError, match="No such file"):
        compiled.save(tmp_path / "no" / "saved.vmfb")
    folder = compiled.path.parent
    del compiled
    assert not folder.exists()


def test_a_full_disk_is_an_error_that_leaves_nothing(model: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # a limit on the size of files fails a write just as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
        assert run([str(model), "-o", str(model.with_suffix(".vmfb"))]) != 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in model.parent.iterdir()] == ["model.mlir"]


def test_the_interface_of_iree_compiles(model: Path, tmp_path: Path) -> None:
    target = "llvm-cpu"
    assert target in query_available_targets()
    text = compile_str(SOURCE, target_backends=[target], input_type="stablehlo")
    assert text is not None and iree_core.load(text).twice([1, 2]).tolist() == [2, 4]
    flags = [f"--iree-hal-target-backends={target}", "--iree-llvmcpu-target-cpu=host"]
    assert compile_file(model, extra_args=flags, output_file=tmp_path / "m.vmfb") is None
    assert (tmp_path / "m.vmfb").exists()
    shown = compile_str(SOURCE, output_format="mlir-text", input_type=InputType.AUTO)
    assert shown is not None and b"func.func" in shown
    with pytest.raises(CompilerToolError, match="no valid MLIR"):
        compile_str("this is no MLIR")
    with pytest.raises(CompilerToolError, match="--nonsense is not known"):
        compile_str(SOURCE, extra_args=["--nonsense=1"])
