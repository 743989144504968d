"""torch-mlir's end-to-end suite: what is recorded to pass still does (``suite.py`` runs it all).

The corpus tests exist only where the environment variable names a checkout of torch-mlir.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.torch import suite


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_the_record_is_sorted_and_names_nothing_twice(dynamic: bool) -> None:
    names = suite.recorded(dynamic)
    assert names == sorted(set(names))


if suite.FOLDER in os.environ:

    @pytest.mark.corpus
    @pytest.mark.timeout(7200)
    @pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
    def test_the_whole_record(dynamic: bool) -> None:
        tests = suite.load(Path(os.environ[suite.FOLDER]))
        suite.prepare()
        names = suite.recorded(dynamic)
        answers = suite.run_all(tests, names, dynamic)
        assert not {name: answer for name, answer, *_ in answers if answer != "pass"}
