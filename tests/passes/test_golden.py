"""Every pass has golden files; see :mod:`tests.passes.golden_kit`.

``python -m pytest tests/passes/test_golden.py --update-golden`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .golden_kit import FOLDER, Case, cases, known_passes


@pytest.mark.parametrize("path", cases(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_pass_makes_what_is_written(path: Path, request: pytest.FixtureRequest) -> None:
    case = Case.read(path)
    if request.config.getoption("--update-golden"):
        case.update()
    assert case.run() == Case.read(path).expected()


def test_every_pass_has_a_golden_file() -> None:
    written = {Case.read(path).key for path in cases()}
    assert set(known_passes()) - written == set(), f"add files to {FOLDER}"


def test_every_golden_file_names_a_pass() -> None:
    assert {Case.read(path).key for path in cases()} - set(known_passes()) == set()
