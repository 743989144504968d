"""Exports each model once per test run and keeps the files between runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@pytest.fixture(scope="session")
def model_file() -> Callable[[str, bool], Path]:
    """Return a function that gives the ONNX file of a model of the zoo, exporting it if needed."""
    source = hashlib.sha256((HERE / "zoo.py").read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("IREE_TEST_MODELS", ROOT / ".cache" / "models")) / source
    folder.mkdir(parents=True, exist_ok=True)

    def get(name: str, dynamic: bool) -> Path:
        path = folder / f"{name}{'-dynamic' if dynamic else ''}.onnx"
        if not path.exists():
            # A process of its own: torch keeps its memory. The rename makes parallel runs safe.
            partial = path.with_suffix(f".{os.getpid()}.partial.onnx")
            command = [sys.executable, str(HERE / "zoo.py"), name, str(partial)]
            subprocess.run([*command, *(["--dynamic"] if dynamic else [])], check=True, timeout=900)
            partial.rename(path)
        return path

    return get
