"""The command ``iree`` itself: quick, short-hands, and errors of one paragraph."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from iree_core.cache import ModuleCache, cache_key
from iree_core.cli import COMMANDS, _expand, run


def _cpu_seconds(*arguments: str) -> float:
    """Return the least CPU time of three runs of the interpreter with ``arguments``."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-P", *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_help_and_import_are_quick() -> None:
    assert _cpu_seconds("-c", "import iree_core") < 0.060
    assert _cpu_seconds("-c", "from iree_core.cli import main; main(['--help'])") < 0.150


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: iree {command}")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["model.onnx", "-o", "m.vmfb"], ["compile", "model.onnx", "-o", "m.vmfb"]),
        (["--frontend", "onnx", "m", "-o", "o"], ["compile", "--frontend", "onnx", "m", "-o", "o"]),
        (["run", "model.onnx"], ["run", "model.onnx"]),
        (["--version"], ["--version"]),
        (["hello"], ["hello"]),
        ([], []),
    ],
)
def test_a_file_means_compile(given: list[str], meant: list[str]) -> None:
    assert _expand(given) == meant


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], 2, "'nonsense' is neither a command nor a file"),
        (["compile", "no-such.onnx", "-o", "o.vmfb"], 2, "There is no file"),
        (["compile", "no-such.onnx"], 2, "Where should the module go?"),
        (["run", "no-such.vmfb"], 2, "no-such.vmfb"),
        (["compile", "x", "-o", "y", "--fallback=maybe"], 2, "maybe"),
    ],
)
def test_wrong_use_is_one_paragraph(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_the_cache_keeps_what_was_made_and_trims_the_oldest(tmp_path: Path) -> None:
    cache = ModuleCache(tmp_path / "cache", limit=25)
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"0123456789")

    assert cache.get("a", make)[1] is False
    assert cache.get("a", make) == (tmp_path / "cache" / "a.vmfb", True)
    cache.get("b", make)
    cache.get("c", make)  # the third exceeds the limit
    assert len(made) == 3
    assert sorted(path.name for path in cache.folder.iterdir()) == ["b.vmfb", "c.vmfb"]


def test_the_key_depends_on_all_that_decides_the_result(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"one")
    keys = {cache_key(model, None, {}), cache_key(model, None, {})}
    assert len(keys) == 1
    keys.add(cache_key(model, "llvm-cpu:aarch64", {}))
    keys.add(cache_key(model, None, {"opt_level": 0}))
    (tmp_path / "weights.data").write_bytes(b"w")
    keys.add(cache_key(model, None, {}))
    model.write_bytes(b"two")
    keys.add(cache_key(model, None, {}))
    assert len(keys) == 5
