"""``benchmarks/roofline.py``, run as people run it, on a small model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "roofline.py"


def test_every_dispatch_is_listed_with_its_work(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "mlp", "--rounds=2", f"--out={tmp_path}"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300, check=True)
    head, *rows, total = [line for line in done.stdout.splitlines() if line]
    assert head.split()[:3] == ["dispatch", "calls", "ms"]
    names = [row.split()[0] for row in rows]
    assert names and len(set(names)) == len(names)
    parts = [float(row.split()[3].rstrip("%")) for row in rows]
    assert parts == sorted(parts, reverse=True) and abs(sum(parts) - 100) < 1
    (found,) = re.findall(r", ([\d.]+) GFLOP,", total)
    products = 784 * 512 + 512 * 512 + 512 * 10
    assert float(found) == round(2 * products / 1e9, 2)
