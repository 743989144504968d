"""The official ONNX backend tests through the whole compiler; the list of passes only grows.

``python -m tests.onnx.test_conformance [PATTERN]`` runs the tests (those whose name matches),
prints what fails, and adds to the list what passes.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.onnx import corpus
from tests.onnx.isolation import Outcome, run_all

from iree_core.compiler_service import CompileReport

PASSING = Path(__file__).with_name("passing.txt")
KNOWN_WRONG = Path(__file__).with_name("known_wrong.txt")
SHARDS = 16
_HARMLESS = ("pass", "unsupported")


def listed(path: Path) -> list[str]:
    """Return the names in a list, without its comments."""
    return [line for line in path.read_text().split("\n") if line and not line.startswith("#")]


def _outcomes(names: Sequence[str], parallel: int = 1) -> Iterator[tuple[str, Outcome]]:
    corpus.warm_up()
    for case, outcome in run_all(corpus.run, corpus.load(names), parallel):
        yield case.name, outcome


def _complaints(names: Sequence[str]) -> dict[str, str]:
    """Return what contradicts the lists: failures of listed tests, and harm done by others."""
    passing, wrong = set(listed(PASSING)), set(listed(KNOWN_WRONG))
    found = {}
    for name, outcome in _outcomes(names):
        allowed = ("pass",) if name in passing else _HARMLESS
        if outcome.verdict not in allowed and name not in wrong:
            found[name] = f"{outcome.verdict}: {outcome.message[:300]}"
    return found


def test_a_sample_of_the_corpus_passes() -> None:
    assert _complaints(listed(PASSING)[::60]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_corpus(shard: int) -> None:
    assert _complaints(corpus.names()[shard::SHARDS]) == {}


@pytest.mark.corpus
@pytest.mark.parametrize("shard", range(4))
def test_free_sizes_are_right_or_refused(shard: int) -> None:
    """A quarter of the tests again, with every size known at run time only."""
    names = [name for name in listed(PASSING) if "_expanded" not in name][shard::16]
    corpus.warm_up()
    cases = (corpus.with_dynamic_sizes(case) for case in corpus.load(names))
    outcomes = {case.name: outcome for case, outcome in run_all(corpus.run, cases)}
    assert {n: o.message for n, o in outcomes.items() if o.verdict not in _HARMLESS} == {}
    assert sum(o.verdict == "pass" for o in outcomes.values()) > len(names) * 3 // 4


def test_optional_outputs_that_nobody_reads_need_no_value() -> None:
    """The standard's body of Attention leaves out what the node does not ask for."""
    (case,) = corpus.load(["test_attention_4d_with_past_and_present"])
    corpus.run(corpus.with_dynamic_sizes(case))


def test_the_lists_name_tests_of_the_corpus() -> None:
    recorded = [*listed(PASSING), *listed(KNOWN_WRONG)]
    assert len(set(recorded)) == len(recorded)
    assert set(recorded) <= set(corpus.names())


def main(pattern: str = "") -> None:
    """Run the tests whose name matches ``pattern`` and extend the list."""
    wanted = [name for name in corpus.names() if re.search(pattern, name)]
    outcomes, seconds = {}, 0.0
    for name, outcome in _outcomes(wanted, parallel=2):
        outcomes[name] = outcome
        seconds += outcome.seconds
        if outcome.verdict != "pass":
            print(f"{name}: {outcome.verdict}: {outcome.message}", flush=True)
        if isinstance(outcome.value, CompileReport):
            for note in [*outcome.value.fallbacks, *outcome.value.notes]:
                print(f"{name}: note: {note}", flush=True)
    passed = {name for name, outcome in outcomes.items() if outcome.verdict == "pass"}
    PASSING.write_text("\n".join(sorted(passed | set(listed(PASSING)))) + "\n")
    counts = Counter(outcome.verdict for outcome in outcomes.values())
    print(f"{len(wanted)} tests: {dict(counts)}, {seconds:.0f} s of processor time")


if __name__ == "__main__":
    main(*sys.argv[1:])
