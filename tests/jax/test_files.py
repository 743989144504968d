"""Files of ``jax.export`` and StableHLO artifacts, on the command line and damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import iree_core as iree
from iree_core.cli import run
from iree_core.errors import ImportModelError
from iree_frontend_jax.exported_file import is_exported, read_exported


def layer(p: dict[str, jax.Array], unused: jax.Array, x: jax.Array) -> dict[str, jax.Array]:
    return {"y": jnp.tanh(x @ p["w"]), "total": x.sum()}


def exported(platforms: tuple[str, ...] = ("cpu",)) -> export.Exported:
    b = export.symbolic_shape("b")[0]
    return export.export(jax.jit(layer), platforms=platforms)(
        {"w": jax.ShapeDtypeStruct((4, 3), jnp.float32)},
        jax.ShapeDtypeStruct((2,), jnp.uint8),
        jax.ShapeDtypeStruct((b, 4), jnp.float32),
    )


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda", "cpu")])
def test_all_arguments_and_names(platforms: tuple[str, ...]) -> None:
    loaded = iree.load(iree.compile(bytes(exported(platforms).serialize())))
    inputs = [(v.dtype, v.shape) for v in loaded.main.inputs]
    assert inputs == [("f32", (4, 3)), ("ui8", (2,)), ("f32", ("b", 4))]
    assert loaded.main.inputs[0].name.endswith("['w']")
    assert [v.name for v in loaded.main.outputs] == ["result['total']", "result['y']"]
    w, x = np.full((4, 3), 0.1, np.float32), np.ones((5, 4), np.float32)
    total, y = loaded.main(w, np.zeros(2, np.uint8), x)
    assert total == 20
    np.testing.assert_allclose(y, np.tanh(x @ w), rtol=1e-6)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The same function as a file of jax.export and as StableHLO: artifact, bytecode's text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    a = np.array([[4, 2], [2, 3]], np.float32)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "expected.npy", np.linalg.cholesky(a))
    # Library calls carry annotations of JAX's partitioner, which only jaxlib can decode.
    whole = export.export(jax.jit(jnp.linalg.cholesky), platforms=["cpu"])(a)
    plain = export.export(jax.jit(lambda x: jnp.tril(x + x.T) / 2), platforms=["cpu"])(a)
    found = {
        "exported": bytes(whole.serialize()),
        "annotated": whole.mlir_module_serialized,
        "artifact": plain.mlir_module_serialized,
        "text": plain.mlir_module().encode(),
    }
    for name, data in found.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in found}


@pytest.mark.parametrize("name", ["exported", "annotated"])
def test_run_without_jax_in_the_process(name: str, files: dict[str, Path]) -> None:
    folder = files[name].parent
    ended = subprocess.run([
        sys.executable, "-c", "from iree_core.cli import main; main()", "run", files[name],
        f"--input=@{folder}/a.npy", f"--expected_output=@{folder}/expected.npy",
    ], capture_output=True, text=True, check=False)  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_text_with_annotations_of_the_partitioner(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = files["text"].parent
    lowered = jax.jit(jnp.linalg.cholesky).lower(np.load(folder / "a.npy"))
    path = folder / "cholesky.mlir"
    path.write_text(lowered.as_text())
    assert "sdy." in path.read_text()
    expected = f"--expected_output=@{folder}/expected.npy"
    assert run(["run", str(path), f"--input=@{folder}/a.npy", expected]) == 0


@pytest.mark.parametrize("name", ["exported", "artifact", "text"])
def test_the_kind_of_file_is_found_from_its_content(
    name: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", str(files[name])]) == 0
    printed = capsys.readouterr().out
    assert "linalg." in printed and "stablehlo." not in printed


def test_every_command_takes_a_file_of_jax(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = files["artifact"]
    inputs = [f"--input=@{path.parent}/a.npy"]
    assert run(["compile", str(path), "-o", str(path.with_suffix(".vmfb"))]) == 0
    assert run(["benchmark", str(path), "--seconds=0.01", *inputs]) == 0
    assert "median" in capsys.readouterr().out
    assert run(["run", str(path), *inputs]) == 0
    assert "2x2xf32=[[4. 0.]\n [2. 3.]]" in capsys.readouterr().out


def test_damage_is_reported() -> None:
    data = bytes(exported().serialize())
    assert is_exported(data)
    assert not is_exported(b"\x08\x07" + bytes(100))
    generator = np.random.default_rng(0)
    for cut in (10, 100, len(data) // 2, len(data) - 10):
        try:
            read_exported(data[:cut], "f")
        except ImportModelError:
            pass
        else:
            assert cut > len(data) // 2
    for _ in range(300):  # never anything but our own errors
        damaged = bytearray(data)
        for place in generator.integers(0, len(data), 4):
            damaged[place] = generator.integers(0, 256)
        try:
            read_exported(bytes(damaged), "f")
        except ImportModelError as error:
            assert "damaged" in str(error) or "effects" in str(error)


_COMPILE = """
import os, sys
from pathlib import Path

from iree_core.compile_worker import compile_model
from iree_core.compiler_service import CompileRequest
from iree_core.passes.state import CompileOptions

fork, forks = os.fork, []

def watched():
    forks.append((len(os.listdir("/proc/self/task")), "jax" in sys.modules))
    return fork()

os.fork = watched
model, folder = Path(sys.argv[1]), Path(sys.argv[2])
request = CompileRequest(model, None, {}, None, CompileOptions(), folder / "m.vmfb", folder)
compile_model(request, lambda _: None)
print(*forks)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_the_compiler_forks_without_threads_and_without_jax(tmp_path: Path) -> None:
    whole = export.export(jax.jit(jnp.linalg.cholesky), platforms=["cpu"])(np.eye(3))
    (tmp_path / "model").write_bytes(whole.serialize())
    command = [sys.executable, "-c", _COMPILE, tmp_path / "model", tmp_path]
    # numpy's OpenBLAS has threads and prepares for forks.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("(1, False)") and "True" not in ended.stdout
