"""PyTorch's operator database: what is recorded to pass still does (``opinfo.py`` runs it all)."""

from __future__ import annotations

import pytest
from tests.torch import opinfo

QUICK = ["linalg.cholesky", "nn.functional.conv2d"]


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    opinfo.prepare()


@pytest.mark.parametrize("name", QUICK)
def test_a_sample_of_the_record(name: str) -> None:
    assert name in opinfo.recorded()
    assert opinfo.isolated(opinfo.operators()[name]) == "pass"


@pytest.mark.corpus
@pytest.mark.timeout(7200)
def test_the_whole_record() -> None:
    names = opinfo.recorded()
    failed = {n: answer for n, answer, _ in opinfo.run_all(names, jobs=2) if answer != "pass"}
    assert not failed
