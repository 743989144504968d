"""The corpus of JAX operations: what is recorded as passing still passes.

The quick test takes a sample, the slow one all of it; the docs state the share that passes.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.jax.corpus import HERE, prepare, recorded, run


def failures(names: list[str], folder: Path) -> dict[str, str]:
    """Return what is wrong with the cases of these names."""
    outcomes = run(folder, prepare(folder, names))
    assert sorted(outcomes) == sorted(names)
    return {name: problem for name, problem in outcomes.items() if problem is not None}


def test_sample(tmp_path: Path) -> None:
    assert failures(recorded()[::32], tmp_path) == {}


@pytest.mark.corpus
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(16))
def test_recorded(part: int, tmp_path: Path) -> None:
    assert failures(recorded()[part::16], tmp_path) == {}


def test_documented_share() -> None:
    text = (HERE.parent.parent / "docs" / "jax.md").read_text()
    passed, total = map(int, re.search(r"(\d+) of (\d+) cases", text).groups())
    assert passed <= len(recorded()) <= total
