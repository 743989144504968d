"""No dispatch of a real network that takes more than 1 % of the time runs as scalar loops."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.models.zoo import BATCH, PAST, SEQ, ZOO

import iree_core as iree
from iree_core.hal import observe
from iree_core.hal.observe import DispatchEvent
from iree_core.hal.registry import open_device

SHARE = 0.01
# Vectors of more than one lane; `vector<1xf32>` and `vector<f32>` are scalars.
_VECTOR = re.compile(r"vector<(?:\d+x)*(?!1x)\d+x[a-z]")
_SIZES = {BATCH: 2, SEQ: 24, PAST: 9, "decoder_seq": 7}


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_what_takes_time_is_vectorised(
    name: str, model_file: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    path = model_file(name, True)
    module = iree.compile(path, target="llvm-cpu", dump_dir=tmp_path / "passes")
    seconds: Counter[str] = Counter()

    def count(event: DispatchEvent) -> None:
        seconds[event.name] += event.seconds

    device = observe._ObservedDevice(open_device("local-sync"), count)
    sizes = {dim: size for dim, size in _SIZES.items() if dim in ZOO[name].sizes}
    loaded = iree.load(module, device)
    for _ in range(3):
        loaded.main(*ZOO[name].example(sizes, 0).values())
    total = sum(seconds.values())
    assert total > 0
    scalar = {
        f"{dispatch}: {100 * part / total:.1f} %"
        for dispatch, part in seconds.items()
        if part > SHARE * total and not is_vectorised(tmp_path / "passes", dispatch)
    }
    assert not scalar


def is_vectorised(folder: Path, dispatch: str) -> bool:
    """Tell whether a kernel computes with vectors."""
    return bool(_VECTOR.search((folder / "dispatches" / f"{dispatch}.kernel.mlir").read_text()))
