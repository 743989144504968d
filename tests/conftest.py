"""Keeps what tests leave behind, caches and reproducers, in a folder that pytest removes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _folders_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("TMPDIR", "XDG_CACHE_HOME"):
            folder = home / variable.lower()
            folder.mkdir()
            patch.setitem(os.environ, variable, str(folder))
        patch.setattr(tempfile, "tempdir", os.environ["TMPDIR"])
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what chooses whether golden files are compared or written."""
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")
