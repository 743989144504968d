"""Dispatches compile in children: equal ones once, failures again, and no death spreads."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from iree_core.codegen.kernel import CompiledDispatch, Kernel
from iree_core.errors import CompileError
from iree_core.expr import const
from iree_core.interfaces import Backend, Executable, Target
from iree_core.ir import ir, make_context
from iree_core.params import ParameterStore
from iree_core.passes.executables.compile_dispatches import CompileDispatches
from iree_core.passes.executables.pool import Failure, ForkPool
from iree_core.passes.state import CompilationState, CompileOptions, Progress


class FakeBackend(Backend):
    """Compiles text to itself; an attribute in the text makes it fail in one of many ways."""

    name = "fake"

    def resolve(self, options: str) -> Target:
        return Target("fake", options)

    def compile(self, dispatch: str, target: Target, *, strategy: str = "auto") -> CompiledDispatch:
        always = "always" in dispatch
        if strategy == "auto" or always:
            if "die" in dispatch:
                faulthandler.disable()  # pytest would print a stack
                os.kill(os.getpid(), signal.SIGABRT)
            if "hang" in dispatch:
                time.sleep(60)
            if "raise" in dispatch:
                raise ValueError("cannot tile this\nand a page of detail")
        name = dispatch.partition("@")[2].partition("(")[0]
        kernel = Kernel(dispatch, name, const(1), const(0), 1, strategy)
        return CompiledDispatch(kernel, dispatch.encode(), name)

    def link(self, dispatches: Sequence[CompiledDispatch], target: Target) -> Executable:
        entries = tuple((d.entry, i) for i, d in enumerate(dispatches))
        return Executable("fake", target.spec, b"".join(d.binary for d in dispatches), entries)

    def supports(self, dispatch: str, target: Target) -> str | None:
        return "no complex numbers here" if "unsupported" in dispatch else None


def _module(*dispatches: tuple[str, str]) -> ir.Module:
    text = "".join(
        f"""
        func.func private @{name}(%x: tensor<4xf32>) -> tensor<4xf32>
            attributes {{flow.dispatch, {flag}}} {{
          %0 = arith.addf %x, %x : tensor<4xf32> loc("layer/{name}")
          return %0 : tensor<4xf32>
        }}"""
        for name, flag in dispatches
    )
    return ir.Module.parse(text, context=make_context())


def _run(module: ir.Module, folder: Path, **options: object) -> CompilationState:
    state = CompilationState(
        ParameterStore(),
        Target("fake", "spec"),
        FakeBackend(),
        options=CompileOptions(dispatch_timeout=1.0, threads=2, **options),  # type: ignore[arg-type]
        phase="executables",
        reproducer_dir=folder,
    )
    seen: list[Progress] = []
    state.progress = seen.append
    CompileDispatches().run(module, state)
    assert seen and seen[-1].done == seen[-1].total
    return state


def test_equal_dispatches_are_compiled_once(tmp_path: Path) -> None:
    state = _run(_module(("a", "k = 1"), ("b", "k = 2"), ("c", "k = 1")), tmp_path)
    assert [kernel.entry for kernel in state.kernels] == ["a", "b"]
    assert state.entries == {"a": 0, "b": 1, "c": 0}
    assert state.executable is not None and len(state.executable.entries) == 2
    assert state.fallbacks == []


@pytest.mark.parametrize(
    ("flag", "reason"),
    [("die", "died of SIGABRT"), ("hang", "more than 1 s"), ("raise", "cannot tile this")],
)
def test_a_failure_is_compiled_again_with_the_general_schedule(
    tmp_path: Path, flag: str, reason: str
) -> None:
    state = _run(_module(("good", "k"), ("bad", flag)), tmp_path)
    assert [kernel.kernel.schedule for kernel in state.kernels] == ["auto", "general"]
    (note,) = state.fallbacks
    assert (note.what, note.where) == ("bad", "layer/bad")
    assert reason in note.why and "page of detail" not in note.why


def test_failing_twice_names_the_place_and_keeps_a_reproducer(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="bad cannot be compiled for fake") as caught:
        _run(_module(("good", "k"), ("bad", "die, always")), tmp_path)
    assert caught.value.where == "layer/bad"
    assert str(tmp_path / "bad.mlir") in str(caught.value)
    ir.Module.parse((tmp_path / "bad.mlir").read_text(), context=make_context())


def test_an_unsupported_dispatch_says_why(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no complex numbers here"):
        _run(_module(("bad", "unsupported")), tmp_path)


def test_the_fallback_policy_may_be_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="left the fast path"):
        _run(_module(("bad", "raise")), tmp_path, fallback="error")


def test_optimisation_level_zero_asks_for_the_general_schedule(tmp_path: Path) -> None:
    state = _run(_module(("a", "raise")), tmp_path, opt_level=0)
    assert state.kernels[0].kernel.schedule == "general" and state.fallbacks == []


def test_dispatches_and_kernels_are_dumped(tmp_path: Path) -> None:
    _run(_module(("a", "k")), tmp_path, dump_dir=tmp_path / "dump")
    names = sorted(path.name for path in (tmp_path / "dump" / "dispatches").iterdir())
    assert names == ["a.kernel.mlir", "a.mlir"]


def test_the_pool_keeps_order_and_outlives_dead_children() -> None:
    def work(number: int) -> int:
        if number % 5 == 3:
            os._exit(7)
        return number * number

    outcomes = ForkPool(work, size=2, timeout=10.0).run(range(10))
    assert outcomes[3] == outcomes[8] == Failure("the compiler exited with 7")
    assert [o for o in outcomes if isinstance(o, int)] == [0, 1, 4, 16, 25, 36, 49, 81]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # none is left behind
