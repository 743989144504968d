"""Compiling a large model takes its weights and little more."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

GIGABYTE = 1 << 30


@pytest.mark.slow
def test_half_a_gigabyte_of_weights_compiles_in_one_more(
    model_file: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    path = model_file("gpt2", False)
    out = tmp_path / "gpt2.vmfb"
    code = "import sys, iree_core; iree_core.compile(sys.argv[1], output=sys.argv[2])"
    process = subprocess.Popen([sys.executable, "-c", code, str(path), str(out)])
    peak = 0
    while process.poll() is None:
        peak = max(peak, _proportional_memory(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0
    assert peak <= path.stat().st_size + GIGABYTE


def _proportional_memory(pid: int) -> int:
    """Return the memory of a process and its children, pages they share counted once."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.NoSuchProcess:
        return total  # one of them ended meanwhile; the next look counts the rest
    return total
