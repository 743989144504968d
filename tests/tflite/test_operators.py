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
from ai_edge_litert import schema_py_generated as schema
from tests.onnx.isolation import Outcome, run_all
from tests.tflite import cases
from tests.tflite.harness import check

from iree_frontend_tf.tflite import registry

PASSES = Path(__file__).with_name("passes.txt")
DOCUMENT = Path(__file__).parents[2] / "docs" / "tflite.md"
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


def test_the_documentation_states_the_coverage() -> None:
    registry.load()
    supported = set(registry.supported_operators())
    known = {k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    known -= {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
    foreign = {name for name in known if name.startswith("STABLEHLO_")}
    own = known - foreign
    text = " ".join(DOCUMENT.read_text().split())
    share = len(own & supported) / len(own)
    assert f"{len(own & supported)} of the {len(own)} operators" in text
    assert f"({100 * share:.1f} %), and {len(foreign & supported)} of its {len(foreign)}" in text
    assert f"lists {len(_listed())} combinations" in text


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
