"""Checks that no dispatch that takes more than 1 % of a network's time runs as scalar loops."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from numpy.typing import NDArray

import iree_core as iree
from iree_core.hal.observe import DispatchEvent, _ObservedDevice
from iree_core.hal.registry import open_device

SHARE = 0.01
# Vectors of more than one lane; `vector<1xf32>` and `vector<f32>` are scalars.
_VECTOR = re.compile(r"vector<(?:\d+x)*(?!1x)\d+x[a-z]")


def scalar_dispatches(
    module: iree.CompiledModule, inputs: list[NDArray], dumped: Path
) -> dict[str, float]:
    """Return the dispatches of ``main`` that take time without vectors, and their shares.

    Args:
        module: compiled with ``dump_dir=dumped``.
        inputs: of ``main``.
        dumped: where the kernels' text is.
    """
    seconds: Counter[str] = Counter()

    def count(event: DispatchEvent) -> None:
        seconds[event.name] += event.seconds

    loaded = iree.load(module, _ObservedDevice(open_device("local-sync"), count))
    for _ in range(3):
        loaded.main(*inputs)
    total = sum(seconds.values())
    assert total > 0
    shares = {name: part / total for name, part in seconds.items() if part > SHARE * total}
    return {name: share for name, share in shares.items() if not _has_vectors(name, dumped)}


def _has_vectors(dispatch: str, dumped: Path) -> bool:
    return bool(_VECTOR.search((dumped / "dispatches" / f"{dispatch}.kernel.mlir").read_text()))
