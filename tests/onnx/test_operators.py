"""The lists of operators in the documentation are those of the table."""

from __future__ import annotations

from pathlib import Path

from tests.onnx.test_conformance import KNOWN_WRONG, PASSING, listed

from iree_frontend_onnx.operators import DOMAINS, section

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"


def test_documented_operators_are_those_of_the_table() -> None:
    text = PAGE.read_text()
    written = text.split("<!-- operators -->\n")[1].split("<!-- end of operators -->")[0]
    lists = "\n".join(line for domain in DOMAINS for line in section(domain))
    assert written.strip() == lists.strip()


def test_documented_counts_are_those_of_the_lists() -> None:
    text = PAGE.read_text()
    assert f"| pass | {len(listed(PASSING))} (" in text
    assert f"| differ by more than the tolerance | {len(listed(KNOWN_WRONG))} |" in text
