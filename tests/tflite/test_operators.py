"""Every operator and type against LiteRT's reference kernels; the list of passes only grows.

``python -m tests.tflite.test_operators [PATTERN]`` runs the cases (those whose name matches),
prints what fails, and adds to the list what passes.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from tests.onnx.isolation import Outcome, run_all
from tests.tflite import cases
from tests.tflite.harness import check

PASSES = Path(__file__).with_name("passes.txt")
SHARDS = 8


def _listed() -> list[str]:
    return [line for line in PASSES.read_text().split("\n") if line]


@cache
def _warm_up() -> None:
    """Import everything that a compilation imports, so that children need not."""
    check(cases.load("ABS f32"))


def _outcomes(names: Sequence[str], parallel: int = 1) -> Iterator[tuple[str, Outcome]]:
    _warm_up()
    yield from run_all(lambda name: check(cases.load(name)), names, parallel)


def _complaints(names: Sequence[str]) -> dict[str, str]:
    return {
        name: f"{outcome.verdict}: {outcome.message[:300]}"
        for name, outcome in _outcomes(names)
        if outcome.verdict != "pass"
    }


def test_a_sample_of_the_operators_agrees_with_the_reference_kernels() -> None:
    assert _complaints(_listed()[::16]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_operators(shard: int) -> None:
    assert _complaints(_listed()[shard::SHARDS]) == {}


def test_the_list_names_cases() -> None:
    assert len(set(_listed())) == len(_listed())
    assert set(_listed()) <= set(cases.names())


def main(pattern: str = "") -> None:
    """Run the cases whose name matches ``pattern`` and extend the list."""
    wanted = [name for name in cases.names() if re.search(pattern, name)]
    outcomes = {}
    for name, outcome in _outcomes(wanted, parallel=2):
        outcomes[name] = outcome
        if outcome.verdict != "pass":
            print(f"{name}: {outcome.verdict}: {outcome.message}", flush=True)
    passed = {name for name, outcome in outcomes.items() if outcome.verdict == "pass"}
    before = _listed() if PASSES.exists() else []
    PASSES.write_text("\n".join(sorted(passed | set(before))) + "\n")
    print(f"{len(wanted)} cases: {dict(Counter(o.verdict for o in outcomes.values()))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
