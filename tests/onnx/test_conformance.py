"""The official ONNX backend tests that are known to pass. The list only grows.

``python -m tests.onnx.test_conformance`` runs all tests and adds to the list what passes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.onnx import corpus

LIST = Path(__file__).with_name("passing.txt")
SHARDS = 16


def _recorded() -> list[str]:
    return LIST.read_text().split()


def _failures(wanted: list[str]) -> dict[str, str]:
    found = {}
    for case in corpus.load(set(wanted)):
        message = corpus.isolated(lambda case=case: corpus.run(case))
        if message is not None:
            found[case.name] = message.splitlines()[0][:300]
    return found


def test_a_sample_of_the_corpus_passes() -> None:
    assert _failures(_recorded()[::60]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_recorded_corpus_passes(shard: int) -> None:
    assert _failures(_recorded()[shard::SHARDS]) == {}


def main() -> None:
    """Run every test and extend the list."""
    everything = list(dict.fromkeys(corpus.names()))
    failures = _failures(everything)
    passed = set(everything) - set(failures) | set(_recorded())
    LIST.write_text("\n".join(sorted(passed)) + "\n")
    for name, message in failures.items():
        print(f"{name}: {message}")
    print(f"{len(everything) - len(failures)} of {len(everything)} pass")


if __name__ == "__main__":
    main()
