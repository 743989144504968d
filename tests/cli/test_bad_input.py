"""Bad input at the command line: one paragraph, a non-zero exit, nothing half done, no crash."""

from __future__ import annotations

import base64
import os
import re
import resource
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

SOURCE = """
func.func @main(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = stablehlo.subtract %x, %y : tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
"""

# An identity function compiled by iree-base-compiler 3.13 for its VMVX backend.
MODULE_OF_IREE = zlib.decompress(
    base64.b85decode(
        "c-l)~WMJT6U|{eJa&<lR@Be=pAX^29HGo(Lh(9oZfFJ_{P#qhPm7AYZnv)9VGKerhXdNhR0uuZG|33?m764+!jKm"
        "zhq|&ss)S~#Z%+zv_NhVNvkoq(r_5t!apz1;521W5j3{ZIxKL;wW0JSf(C^c0tF)33oB{exGu_&=5Gd~Zc-Vun4E"
        "Ax^S(n^7ZLz;$aW?n&QiGh_uNornkevyq)MVhgZou-1Woq~pHerX9dNvORbz{UUrj9?6MLuC|@eE<|*JV3W`0M&2"
        "+X(gcBSfFY-z$6dYHw<7GOEAbV-~#{&vp%%"
    )
)

Iree = Callable[..., subprocess.CompletedProcess[str]]


def _command(*arguments: object) -> list[str]:
    code = "from iree_core.cli import main; main()"
    return [sys.executable, "-P", "-c", code, *map(str, arguments)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables that keep caches and temporary files in a folder of the test."""
    (tmp_path / "tmp").mkdir()
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path / "tmp"),
    }


@pytest.fixture
def iree(environment: dict[str, str]) -> Iree:
    """Run the command in a process of its own, under a resource limit if one is given."""

    def call(
        *arguments: object, limit: tuple[int, int] | None = None
    ) -> subprocess.CompletedProcess[str]:
        def restrict() -> None:
            if limit is not None:
                resource.setrlimit(limit[0], (limit[1], limit[1]))

        return subprocess.run(
            _command(*arguments),
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=restrict,
        )

    return call


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one paragraph that a command that failed has printed, without progress."""
    assert done.returncode in (1, 2), (done.returncode, done.stderr)
    lines = done.stderr.splitlines()
    (line,) = [
        text for text in lines if text and not text.startswith(("[", "iree: note:", "Usage", "Try"))
    ]
    assert line.startswith(("iree: ", "Error: ")) and done.stdout == ""
    return line


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The module file of ``main(x, y) = x - y``."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "m.mlir").write_text(SOURCE)
    command = _command("compile", folder / "m.mlir", "-o", folder / "m.vmfb")
    path = os.pathsep.join(p for p in sys.path if p)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, timeout=120)
    return (folder / "m.vmfb").read_bytes()


@pytest.fixture
def module(tmp_path: Path, compiled: bytes) -> Path:
    path = tmp_path / "m.vmfb"
    path.write_bytes(compiled)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.mlir"
    path.write_text(SOURCE)
    return path


# Module files.


def _zip(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("module.fb", MODULE_OF_IREE)
    return (folder / "z.zip").read_bytes()


@pytest.mark.parametrize("command", ["run", "benchmark", "inspect"])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("empty", "is empty"),
        ("text", "not a module file|no module file"),
        ("random", "not a module file"),
        ("truncated", "truncated"),
        ("corrupted", "damaged|corrupt|checksum"),
        ("iree", "module of the IREE project"),
        ("zip", "module of the IREE project"),
        ("missing", "No such file"),
        ("folder", "Is a directory"),
    ],
)
def test_files_that_are_no_modules(
    command: str, what: str, message: str, tmp_path: Path, compiled: bytes, iree: Iree
) -> None:
    path = tmp_path / "bad.vmfb"
    flipped = bytearray(compiled)
    flipped[len(flipped) // 2] ^= 0xFF
    content = {
        "empty": b"",
        "text": b"this is a text, not a module\n" * 20,
        "random": np.random.default_rng(0).bytes(5000),
        "truncated": compiled[: len(compiled) // 2],
        "corrupted": bytes(flipped),
        "iree": MODULE_OF_IREE,
        "zip": _zip(tmp_path),
    }
    if what in content:
        path.write_bytes(content[what])
    elif what == "folder":
        path.mkdir()
    assert re.search(message, complaint(iree(command, path)))


# Models.


def _onnx_model(operator: str, domain: str = "") -> onnx.ModelProto:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])

    node = helper.make_node(operator, ["x"], ["y"], name="the_node", domain=domain)
    graph = helper.make_graph([node], "g", [value("x")], [value("y")])
    sets = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


def _dangling() -> onnx.ModelProto:
    model = _onnx_model("Exp")
    model.graph.node[0].input[0] = "nowhere"
    return model


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "m.onnx"),
        (b"not a model at all\n", "m.onnx"),
        (_onnx_model("Exp").SerializeToString()[:-20], "m.onnx"),
        (_dangling().SerializeToString(), "nowhere"),
        (_onnx_model("Frobnicate", "acme").SerializeToString(), "Frobnicate"),
    ],
    ids=["empty", "text", "truncated", "dangling", "unknown-operator"],
)
def test_broken_onnx_models(content: bytes, message: str, tmp_path: Path, iree: Iree) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert message in complaint(iree("compile", path, "-o", tmp_path / "o.vmfb"))
    assert message in complaint(iree("run", path))
    assert sorted(p.name for p in tmp_path.glob("*.vmfb")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target=nonsense"], "There is no backend 'nonsense'"),
        (["--target=llvm-cpu:nonsense=1"], "'nonsense'"),
        (["--frontend=nonsense"], "There is no frontend 'nonsense'"),
        (["--frontend=onnx"], "cannot be read as an ONNX model"),
    ],
)
def test_unknown_targets_and_frontends(
    options: list[str], message: str, model: Path, tmp_path: Path, iree: Iree
) -> None:
    output = tmp_path / "o.vmfb"
    assert message in complaint(iree("compile", model, "-o", output, *options))
    assert not output.exists()


# Calls.

GOOD = "--input=3x4xf32=1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([GOOD, GOOD, GOOD], "takes 2 inputs, 3 are given"),
        ([GOOD, "--input=3x4xf64=1"], "got 3x4xf64"),
        ([GOOD, "--input=3x4xi32=1"], "got 3x4xi32"),
        ([GOOD, "--input=3x5xf32=1"], "got 3x5xf32"),
        ([GOOD, "--input=12xf32=1"], "got 12xf32"),
        ([GOOD, "--input=2x4xf32=1"], "expected 3 along axis 0"),
        (["--input=100000x4xf32=1", "--input=1x4xf32=1"], "expected 100000 along axis 0"),
        ([GOOD, "--input=@no-such.npy"], "Cannot read no-such.npy"),
        (["--function=nonsense"], "no function 'nonsense'"),
        (["--device=nonsense"], "no driver 'nonsense'"),
        (["--device=local-task://nonsense"], "no device 'nonsense'"),
        (["--threads=0"], "--threads"),
        (["--dim=input0_d0=many"], "--dim"),
    ],
)
def test_wrong_calls(options: list[str], message: str, module: Path, iree: Iree) -> None:
    assert message in complaint(iree("run", module, *options))


def test_inputs_of_any_layout_give_the_same_result(
    module: Path, tmp_path: Path, iree: Iree
) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "columns.npy", np.asfortranarray(x))
    np.save(tmp_path / "swapped.npy", x.astype(">f4"))
    inputs = ["--input=3x4xf32=0"]
    files = [f"--output=@{tmp_path}/y.npy"]
    done = iree("run", module, f"--input=@{tmp_path}/columns.npy", *inputs, *files)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x)
    done = iree("run", module, f"--input=@{tmp_path}/swapped.npy", *inputs, *files)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x)


# Disks, memory, interruption.


def test_unwritable_outputs(model: Path, module: Path, tmp_path: Path, iree: Iree) -> None:
    missing = tmp_path / "no" / "o.vmfb"
    assert "No such file or directory" in complaint(iree("compile", model, "-o", missing))
    assert "it is a folder" in complaint(iree("compile", model, "-o", tmp_path))
    wanted = f"--output=@{tmp_path}/no/y.npy"
    assert "No such file or directory" in complaint(iree("run", module, GOOD, GOOD, wanted))


def test_full_disks(model: Path, module: Path, tmp_path: Path, iree: Iree) -> None:
    full = Path("/dev/full")  # every write to it fails with ENOSPC
    assert "No space left on device" in complaint(iree("compile", model, "-o", full))
    assert "No space left" in complaint(iree("run", module, GOOD, GOOD, "--output=@/dev/full"))
    assert full.is_char_device()
    before = sorted(path.name for path in tmp_path.iterdir())
    # A limit on the size of files fails a write in the middle, as a disk that fills up does.
    limit = (resource.RLIMIT_FSIZE, 600)
    assert complaint(iree("compile", model, "-o", tmp_path / "o.vmfb", limit=limit))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("megabytes", [200, 350, 450])
def test_too_little_memory_to_compile(
    megabytes: int, model: Path, tmp_path: Path, iree: Iree
) -> None:
    output = tmp_path / "o.vmfb"
    limit = (resource.RLIMIT_AS, megabytes << 20)
    done = iree("compile", model, "-o", output, limit=limit)
    if done.returncode == 0:
        assert output.exists()
    else:
        assert re.search("[Mm]emory|failed to map segment|cannot be started", complaint(done))
        assert [p.name for p in tmp_path.iterdir() if "o.vmfb" in p.name] == []


@pytest.mark.parametrize("rows", [10**9, 10**12, 10**18])
def test_too_little_memory_to_run(rows: int, module: Path, iree: Iree) -> None:
    limit = (resource.RLIMIT_AS, 2 << 30)
    given = f"--input={rows}x4xf32"
    assert "emory" in complaint(iree("run", module, given, given, "--threads=1", limit=limit))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interruption_while_compiling(
    number: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    output = tmp_path / "o.vmfb"
    process = subprocess.Popen(
        _command("compile", light / "light_resnet50.onnx", "-o", output),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "executables" not in process.stderr.readline():
        assert process.poll() is None
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert not output.exists()
    if number != signal.SIGKILL:
        assert process.returncode == 130 and rest.strip().endswith("Interrupted.")
        assert [p.name for p in tmp_path.iterdir() if "o.vmfb" in p.name] == []
        assert list((tmp_path / "tmp").iterdir()) == []
    _wait_for_the_end(workers)


def _wait_for_the_end(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 30
    while alive := [p for p in processes if p.is_running() and p.status() != "zombie"]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)
