"""NVIDIA's assembler, where there is one: PTX to the machine code of one device class.

The driver does the same when a module is loaded, which takes a while the first time. ``ptxas``
comes with the PyPI package ``nvidia-cuda-nvcc-cu12`` and with the CUDA toolkit.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from iree_core.errors import CompileError, UsageError

_SECONDS = 300
_PACKAGES = ("nvidia.cuda_nvcc", "nvidia.cu13")


@cache
def find_assembler() -> tuple[str, str]:
    """Return the path of ``ptxas`` and its version (``12.9.86``).

    It is looked for among the Python packages, in ``CUDA_HOME`` and on the path.

    Raises:
        UsageError: there is none, or none that runs.
    """
    for path in _candidates():
        try:
            said = _run([path, "--version"]).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        version = re.search(r"\bV(\d+(?:\.\d+)+)", said)
        if version:
            return path, version.group(1)
    raise UsageError(
        "There is no ptxas on this machine, which +cubin needs.",
        hint="pip install nvidia-cuda-nvcc-cu12, or leave +cubin out: the driver compiles PTX too.",
    )


def _candidates() -> Iterator[str]:
    folders = []
    for name in _PACKAGES:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        folders += (
            [f"{place}/bin" for place in spec.submodule_search_locations or []] if spec else []
        )
    folders += [
        f"{os.environ[name]}/bin" for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ
    ]
    for path in [*folders, None]:
        found = shutil.which("ptxas", path=path)
        if found:
            yield found


def assemble(ptx: str, arch: str, *, strict: bool = False) -> bytes:
    """Return the cubin of a PTX module for ``arch``, such as ``sm_80``.

    Args:
        ptx: the module.
        arch: the device class.
        strict: its warnings are errors.

    Raises:
        CompileError: the assembler refuses it.
        UsageError: there is no assembler.
    """
    path, version = find_assembler()
    with TemporaryDirectory(prefix="iree-") as folder:
        source, target = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx)
        try:
            done = _run([path, f"-arch={arch}", "-o", str(target), str(source)])
        except (OSError, subprocess.SubprocessError) as error:
            raise CompileError(f"ptxas {version} did not run: {error}.") from error
        if done.returncode or (strict and done.stderr):
            said = done.stderr.strip().partition("\n")[0]
            raise CompileError(f"ptxas {version} refuses a kernel for {arch}: {said}")
        return target.read_bytes()


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
