"""The pass manager times, verifies, reports, dumps, and explains what failed and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from iree_core.errors import CompileError, UsageError
from iree_core.interfaces import Target
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.manager import MlirPipeline, Pass, PassEvent, PassManager
from iree_core.passes.state import CompilationState, CompileOptions, Progress
from iree_core.phases import selected

SOURCE = """
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = arith.addf %x, %x : tensor<4xf32>
  %1 = arith.addf %x, %x : tensor<4xf32>
  return %0 : tensor<4xf32> loc("encoder/output")
}
"""


@dataclass(frozen=True)
class Rename:
    """Rename the first function."""

    name: str = "rename"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        module.body.operations[0].attributes["sym_name"] = ir.StringAttr.get("renamed")


@dataclass(frozen=True)
class Break:
    """Leave invalid IR behind."""

    name: str = "break"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        other = ir.FunctionType.get(inputs=[ir.Type.parse("tensor<4xf32>")], results=[])
        module.body.operations[0].attributes["function_type"] = ir.TypeAttr.get(other)


@dataclass(frozen=True)
class Raise:
    """Fail with an exception of Python."""

    name: str = "raise"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        raise KeyError("nothing here")


@pytest.fixture
def module() -> ir.Module:
    return ir.Module.parse(SOURCE, context=make_context())


def _state(tmp_path: Path | None = None, dump: Path | None = None) -> CompilationState:
    return CompilationState(
        ParameterStore(),
        Target("fake", ""),
        backend=None,  # type: ignore[arg-type]  # no phase here generates code
        options=CompileOptions(dump_dir=dump),
        phase="abi",
        reproducer_dir=tmp_path,
    )


def test_passes_run_in_order_and_are_timed_and_observed(module: ir.Module) -> None:
    state, events = _state(), list[PassEvent]()
    seen: list[Progress] = []
    state.progress = seen.append
    passes: list[Pass] = [Rename(), MlirPipeline("cse", "builtin.module(func.func(cse))")]
    PassManager(passes, events.append).run(module, state)
    assert "@renamed" in str(module) and str(module).count("arith.addf") == 1
    assert list(state.timings) == ["abi/rename", "abi/cse"]
    assert [event.name for event in events] == ["rename", "cse"]
    assert seen == [Progress("abi", "rename", 0, 2), Progress("abi", "cse", 1, 2)]


def test_the_module_is_dumped_after_each_pass(module: ir.Module, tmp_path: Path) -> None:
    PassManager([Rename(), Rename("again")]).run(module, _state(dump=tmp_path / "d"))
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert names == ["000.abi.rename.mlir", "001.abi.again.mlir"]
    assert "@renamed" in (tmp_path / "d" / names[0]).read_text()


def test_invalid_ir_blames_the_pass_and_the_place_in_the_model(
    module: ir.Module, tmp_path: Path
) -> None:
    with pytest.raises(CompileError) as caught:
        PassManager([Rename(), Break()]).run(module, _state(tmp_path))
    assert "Pass break of phase abi failed" in caught.value.what
    assert caught.value.where == "encoder/output"
    reproducer = tmp_path / "abi.mlirbc"
    assert f"--from-phase=abi {reproducer}" in str(caught.value)
    again = ir.Module.parse(reproducer.read_bytes(), context=make_context())
    assert "@main" in str(again)  # as it was when the phase began


def test_an_exception_becomes_one_sentence(module: ir.Module) -> None:
    with pytest.raises(CompileError, match=r"Pass raise of phase abi failed: KeyError: 'nothing"):
        PassManager([Raise()]).run(module, _state())


def test_a_bad_pipeline_names_the_pass(module: ir.Module) -> None:
    with pytest.raises(CompileError, match="Pass odd of phase abi failed"):
        PassManager([MlirPipeline("odd", "builtin.module(no-such-pass)")]).run(module, _state())


def test_an_error_of_ours_passes_unchanged(module: ir.Module) -> None:
    error = CompileError("The model is odd.", where="layer 3")

    @dataclass(frozen=True)
    class Foreseen:
        name: str = "foreseen"

        def run(self, module: ir.Module, state: CompilationState) -> None:
            raise error

    with pytest.raises(CompileError) as caught:
        PassManager([Foreseen()]).run(module, _state())
    assert caught.value is error


def test_phases_are_selected_by_name() -> None:
    assert selected(None, "abi") == ["input", "abi"]
    assert selected("dispatch-creation", "scheduling") == ["dispatch-creation", "scheduling"]
    with pytest.raises(UsageError, match="no phase 'nonsense'"):
        selected(None, "nonsense")
    with pytest.raises(UsageError, match="cannot start from IR"):
        selected("vm", None)
    with pytest.raises(UsageError, match="comes before"):
        selected("scheduling", "abi")
