"""What TensorFlow's converter writes, in every quantisation, gives what LiteRT gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.tflite.harness import Case, check

ROOT = Path(__file__).resolve().parents[2]
TOLERANCES = {"float": 1e-6, "float16": 1e-6, "dynamic-range": 1e-5, "int8": 0, "int16x8": 0}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    subprocess.run(
        [sys.executable, "-m", "tests.tflite.convert", str(folder)],
        cwd=ROOT, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(TOLERANCES))
def test_converted_network_gives_what_litert_gives(converted: Path, kind: str) -> None:
    rng = np.random.default_rng(2)
    calls = [[(rng.random((1, 16, 16, 3)) * 2 - 1).astype(np.float32)] for _ in range(2)]
    model = (converted / f"{kind}.tflite").read_bytes()
    check(Case(kind, model, calls, rtol=0, atol=TOLERANCES[kind]))
