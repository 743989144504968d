"""The corpus of operations: what is recorded as passing still passes.

The quick test takes a sample, the corpus run all of it; the docs state the share that passes.
"""

from __future__ import annotations

import re

import pytest
from tests.tf.corpus import HERE, recorded, run

_PARTS = 6


def failures(names: list[str]) -> dict[str, str]:
    """Return what is wrong with the cases of these names."""
    return {name: problem for name, problem in run(names).items() if problem is not None}


@pytest.mark.slow
def test_sample() -> None:
    assert failures(recorded()[::80]) == {}


@pytest.mark.corpus
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(_PARTS))
def test_recorded(part: int) -> None:
    assert failures(recorded()[part::_PARTS]) == {}


def test_records_are_sorted() -> None:
    assert recorded() == sorted(set(recorded()))


def test_documented_share() -> None:
    text = (HERE.parent.parent / "docs" / "tensorflow.md").read_text()
    match = re.search(r"(\d+) of (\d+)\s+cases", text)
    assert match is not None
    passed, total = map(int, match.groups())
    assert passed <= len(recorded()) <= total
