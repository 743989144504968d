"""A machine that only runs modules: the core and the CPU plugin, and nothing of the compiler."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import iree_core as iree

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = """
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %e = tensor.empty(%n) : tensor<?x4xf32>
  %y = linalg.exp ins(%x : tensor<?x4xf32>) outs(%e : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
"""
ALLOWED = {
    "click", "flatbuffers", "iree-backend-llvm", "iree-core", "markdown-it-py", "mdurl", "numpy",
    "packaging", "pip", "pluggy", "pygments", "rich", "setuptools",
}  # fmt: skip


@pytest.mark.slow
def test_a_module_runs_where_only_the_runtime_is_installed(tmp_path: Path) -> None:
    source, module = tmp_path / "exp.mlir", tmp_path / "exp.vmfb"
    source.write_text(PROGRAM)
    iree.compile(source, target="llvm-cpu").save(module)
    x = np.arange(12, dtype=np.float32).reshape(3, 4) / 4
    np.save(tmp_path / "x.npy", x)

    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    packages = [str(ROOT / "core"), str(ROOT / "plugins" / "backend-llvm")]
    _run([python, "-m", "pip", "install", "--quiet", *packages])
    listed = _run([python, "-m", "pip", "list", "--format=freeze"])
    assert {line.split("==")[0].lower() for line in listed.split()} <= ALLOWED

    command = [home / "bin" / "iree", "run", module, f"--input=@{tmp_path / 'x.npy'}"]
    _run([*command, f"--output=@{tmp_path / 'y.npy'}"])
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), np.exp(x), rtol=1e-5)


def _run(command: list) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=600,
        cwd=Path(sys.prefix), env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **_pip()},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _pip() -> dict[str, str]:
    """Keep how pip is configured here (an index, certificates), and nothing else."""
    import os

    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
