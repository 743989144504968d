"""The corpora of JAX programs: what is recorded as passing still passes.

The quick test takes a sample, the slow one all of it; the docs state the share that passes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.jax.corpus import HERE, SUITES, recorded

_PARTS = 16


def failures(suite: str, names: list[str], folder: Path) -> dict[str, str]:
    """Return what is wrong with the cases of these names, in a process that never has JAX."""
    path = folder / "outcomes.json"
    command = [sys.executable, "-m", "tests.jax.corpus", f"--suite={suite}", f"--outcomes={path}"]
    subprocess.run([*command, *names], check=True, cwd=HERE.parent.parent)
    outcomes = json.loads(path.read_text())
    assert sorted(outcomes) == sorted(names)
    return {name: problem for name, problem in outcomes.items() if problem is not None}


@pytest.mark.parametrize(("suite", "step"), [("cases", 60), ("harnesses", 300), ("libraries", 40)])
def test_sample(suite: str, step: int, tmp_path: Path) -> None:
    assert failures(suite, recorded(suite)[::step], tmp_path) == {}


@pytest.mark.corpus
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("suite", SUITES)
def test_recorded(suite: str, part: int, tmp_path: Path) -> None:
    assert failures(suite, recorded(suite)[part::_PARTS], tmp_path) == {}


@pytest.mark.parametrize("suite", SUITES)
def test_records_are_sorted(suite: str) -> None:
    assert recorded(suite) == sorted(set(recorded(suite)))


@pytest.mark.parametrize("suite", SUITES)
def test_documented_share(suite: str) -> None:
    text = (HERE.parent.parent / "docs" / "jax.md").read_text()
    passed, total = map(int, re.search(rf"`{suite}`: (\d+) of (\d+)", text).groups())
    assert passed <= len(recorded(suite)) <= total
