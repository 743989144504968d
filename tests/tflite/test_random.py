"""Random shapes, attributes and quantization of the most used operators against LiteRT.

``python -m tests.tflite.test_random [PATTERN] [FIRST] [COUNT]`` runs a range of seeds of the
operators whose name and type match, and prints what fails.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from tests.onnx.isolation import Outcome, run_all
from tests.tflite.harness import check
from tests.tflite.random_cases import FAMILIES, KINDS, draw

CORPUS_SEEDS = 40
"""Seeds of every operator and type that ``make corpora`` runs."""


def _names(first: int, count: int) -> list[str]:
    seeds = range(first, first + count)
    return [f"{family} {kind} {seed}" for family in FAMILIES for kind in KINDS for seed in seeds]


def _check(name: str) -> None:
    family, kind, seed = name.rsplit(" ", 2)
    check(draw(family, kind, int(seed)))


def _outcomes(names: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
    # Imports everything that a compilation imports, so that children need not.
    _check(f"ADD f32 {10**6}")
    yield from run_all(_check, names, 1)


def _complaints(names: Sequence[str]) -> dict[str, str]:
    return {
        name: f"{outcome.verdict}: {outcome.message[:300]}"
        for name, outcome in _outcomes(names)
        if outcome.verdict != "pass"
    }


def test_the_cases_of_a_seed_are_always_the_same() -> None:
    first, second = draw("CONV_2D", "i8", 3), draw("CONV_2D", "i8", 3)
    assert first.model == second.model
    assert all((a == b).all() for a, b in zip(first.calls[0], second.calls[0], strict=True))


@pytest.mark.slow
def test_one_random_case_of_each_operator_and_type() -> None:
    assert _complaints(_names(0, 1)) == {}


@pytest.mark.corpus
@pytest.mark.parametrize("family", list(FAMILIES))
def test_random_cases(family: str) -> None:
    names = [name for name in _names(1, CORPUS_SEEDS) if name.startswith(f"{family} ")]
    assert _complaints(names) == {}


def main(pattern: str = "", first: str = "0", count: str = "10") -> None:
    """Run seeds of the operators and types whose name matches ``pattern``."""
    names = [name for name in _names(int(first), int(count)) if re.search(pattern, name)]
    outcomes = {}
    for name, outcome in _outcomes(names):
        outcomes[name] = outcome
        if outcome.verdict != "pass":
            print(f"{name}: {outcome.verdict}: {outcome.message[:400]}", flush=True)
    print(f"{len(names)} cases: {dict(Counter(o.verdict for o in outcomes.values()))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
