"""The networks of the zoo through torch.export, static and dynamic, against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.zoo import BATCH, PAST, SEQ, ZOO
from torch.export import Dim

import iree_frontend_torch

TOLERANCE = 1e-4
SIZES = [
    {BATCH: 1, SEQ: 5, PAST: 7, "decoder_seq": 3},
    {BATCH: 3, SEQ: 33, PAST: 2, "decoder_seq": 9},
]


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", ZOO)
def test_model(name: str, dynamic: bool) -> None:
    entry = ZOO[name]
    torch.manual_seed(0)
    model, call = entry.build()

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, *args: torch.Tensor) -> Any:
            return call(self.model, *args)

    plain = Plain()
    sizes = {d: max(2, n) for d, n in entry.sizes.items()} if dynamic else entry.sizes
    shapes = None
    if dynamic:
        shapes = (
            tuple(
                {axis: Dim.DYNAMIC for axis, d in enumerate(shape) if isinstance(d, str)}
                for _, shape in entry.inputs.values()
            ),
        )
    example = [torch.from_numpy(a) for a in entry.example(sizes).values()]
    program = iree_frontend_torch.export(plain, *example, dynamic_shapes=shapes, target="llvm-cpu")
    for seed, given in enumerate(SIZES if dynamic else [sizes]):
        used = {d: n for d, n in given.items() if d in entry.sizes}
        args = [torch.from_numpy(a) for a in entry.example(used, seed).values()]
        with torch.no_grad():
            wanted = plain(*args)
        found = program(*args)
        pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
        for value, reference in pairs:
            assert value.shape == reference.shape
            error = (value - reference).abs().max() / reference.abs().max()
            assert error <= TOLERANCE
