"""The compiler's process may raise, hang, die or be interrupted; the caller only sees errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import iree_core
from iree_core.errors import CompileError, ImportModelError, UnsupportedOperatorError, UsageError
from iree_core.passes.state import Progress

PLUGIN = '''
import os, signal, time
from iree_core.errors import UnsupportedOperatorError
from iree_core.hookspecs import hookimpl
from iree_core.interfaces import Backend, Frontend, ImportedModel, Target


class FakeFrontend(Frontend):
    """Does what the file says."""

    name = "fake"
    suffixes = (".fake",)

    def matches(self, path):
        return path.read_bytes().startswith(b"FAKE")

    def import_model(self, path, context, options):
        word = path.read_text().split()[1]
        options.progress("reading " + word)
        if word == "abort":
            os.abort()
        if word == "hang":
            time.sleep(60)
        if word == "defect":
            return {}["missing"]
        if word == "memory":
            raise MemoryError
        raise UnsupportedOperatorError("Two operators are not supported.", where="node " + word)


class FakeBackend(Backend):
    name = "fake"

    def resolve(self, options):
        return Target("fake", options)

    def compile(self, dispatch, target, *, strategy="auto"):
        raise NotImplementedError

    def link(self, dispatches, target):
        raise NotImplementedError


@hookimpl
def iree_frontend():
    return FakeFrontend()


@hookimpl
def iree_backend():
    return FakeBackend()
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    (folder / "iree_fake-1.0.dist-info").mkdir(parents=True)
    (folder / "iree_fake.py").write_text(PLUGIN)
    info = folder / "iree_fake-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: iree-fake\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[iree.frontends]\nfake = iree_fake\n[iree.backends]\nfake = iree_fake\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def _model(site: Path, word: str) -> Path:
    path = site / f"{word}.fake"
    path.write_text(f"FAKE {word}")
    return path


def _leftovers(site: Path) -> list[str]:
    return [path.name for path in (site / "tmp").iterdir()] + [p.name for p in site.glob(".*")]


def test_errors_travel_with_their_type_and_leave_nothing(site: Path) -> None:
    events: list[Progress] = []
    with pytest.raises(UnsupportedOperatorError) as caught:
        iree_core.compile(_model(site, "odd"), target="fake", progress=events.append)
    assert caught.value.where == "node odd"
    assert Progress("import", "reading odd") in events
    assert _leftovers(site) == []


def test_a_process_that_dies_is_an_error_that_says_when(site: Path) -> None:
    with pytest.raises(CompileError, match=r"died of SIGABRT.*in phase import, reading abort"):
        iree_core.compile(_model(site, "abort"), output=site / "o.vmfb", target="fake")
    assert not (site / "o.vmfb").exists() and _leftovers(site) == []


def test_a_process_that_hangs_is_ended(site: Path) -> None:
    started = time.monotonic()
    with pytest.raises(CompileError, match="took more than 2 s, in phase import"):
        iree_core.compile(_model(site, "hang"), target="fake", timeout=2.0)
    assert time.monotonic() - started < 10


def test_running_out_of_memory_is_an_error(site: Path) -> None:
    with pytest.raises(CompileError, match="Memory ran out"):
        iree_core.compile(_model(site, "memory"), target="fake")


def test_a_defect_keeps_its_traceback_in_a_file(site: Path) -> None:
    with pytest.raises(CompileError, match="KeyError: 'missing'") as caught:
        iree_core.compile(_model(site, "defect"), target="fake")
    log = Path(str(caught.value).partition("traceback is in ")[2].rstrip("."))
    assert "import_model" in log.read_text()


def test_interruption_ends_the_process_and_leaves_nothing(site: Path) -> None:
    output = site / "o.vmfb"
    arguments = [str(_model(site, "hang")), "-o", str(output), "--target", "fake"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from iree_core.cli import main; main()", *arguments],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "TMPDIR": str(site / "tmp"),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "import" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 130 and rest.strip().endswith("Interrupted.")
    assert not output.exists() and _leftovers(site) == []


@pytest.mark.parametrize(
    ("model", "message"),
    [("there-is-none.mlir", "There is no file"), (b"\x00\x01garbage", "No frontend recognises")],
)
def test_files_that_are_no_models(site: Path, model: str | bytes, message: str) -> None:
    with pytest.raises((UsageError, ImportModelError), match=message):
        iree_core.compile(model, target="fake")
    assert _leftovers(site) == []


def test_wrong_options_are_refused_before_any_work(site: Path) -> None:
    model = _model(site, "odd")
    with pytest.raises(UsageError, match="level 7"):
        iree_core.compile(model, opt_level=7)
    with pytest.raises(UsageError, match="policy 'maybe'"):
        iree_core.compile(model, fallback="maybe")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no phase 'nonsense'"):
        iree_core.compile(model, compile_to="nonsense", target="fake")
    with pytest.raises(UsageError, match="There is no backend 'nonsense'"):
        iree_core.compile(model, target="nonsense")
    with pytest.raises(UsageError, match="There is no frontend 'nonsense'"):
        iree_core.compile(model, frontend="nonsense", target="fake")
    with pytest.raises(UsageError, match="A dict cannot be compiled"):
        iree_core.compile({})


def test_an_output_that_cannot_be_written_fails_before_the_work(site: Path) -> None:
    with pytest.raises(CompileError, match="it is a folder"):
        iree_core.compile(_model(site, "hang"), output=site, target="fake")
    with pytest.raises(CompileError, match="No such file or directory"):
        iree_core.compile(_model(site, "hang"), output=site / "no" / "o.vmfb", target="fake")
    assert _leftovers(site) == []
