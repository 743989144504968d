"""Small networks of many architectures, static and dynamic, against PyTorch."""

from __future__ import annotations

import pytest
import torch
from tests.torch.architectures import ARCHITECTURES, BATCH, SEQ, TARGET

import iree_frontend_torch

EXAMPLE = {BATCH: 2, SEQ: 12, TARGET: 5}
OTHERS = [{BATCH: 1, SEQ: 20, TARGET: 7}, {BATCH: 3, SEQ: 9, TARGET: 11}]


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture(name: str, dynamic: bool) -> None:
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    shapes = (architecture.open_sizes(lambda _: torch.export.Dim.DYNAMIC),) if dynamic else None
    program = iree_frontend_torch.export(
        model, *architecture.example(EXAMPLE), dynamic_shapes=shapes,
        target="llvm-cpu", device="local-sync",
    )  # fmt: skip
    for sizes in OTHERS if dynamic else [EXAMPLE]:
        args = architecture.example(sizes)
        with torch.no_grad():
            wanted = model(*args)
        found = program(*args)
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
