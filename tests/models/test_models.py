"""Real networks, from the exported ONNX file to numbers, against ONNX Runtime.

One module serves all sizes of a dynamic model. The error is the largest absolute difference of
any result over the largest absolute value of the reference: at most 1e-4 in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.models.vectorised import scalar_dispatches
from tests.models.zoo import BATCH, PAST, SEQ, ZOO

import iree_core as iree

TOLERANCE = 1e-4
DYNAMIC_SIZES = [
    {BATCH: 1, SEQ: 5, PAST: 7, "decoder_seq": 3},
    {BATCH: 3, SEQ: 33, PAST: 2, "decoder_seq": 9},
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_static(name: str, model_file: Callable[[str, bool], Path], tmp_path: Path) -> None:
    path = model_file(name, False)
    module = iree.compile(path, target="llvm-cpu")
    check(module, path, [{}], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_dynamic_sizes_on_one_module(
    name: str, model_file: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    path = model_file(name, True)
    module = iree.compile(path, target="llvm-cpu", dump_dir=tmp_path / "passes")
    used = set(ZOO[name].sizes)
    sizes = [{d: n for d, n in s.items() if d in used} for s in DYNAMIC_SIZES]
    check(module, path, sizes, tmp_path)
    inputs = list(ZOO[name].example(sizes[-1], 0).values())
    assert scalar_dispatches(module, inputs, tmp_path / "passes") == {}


def check(
    module: iree.CompiledModule, path: Path, sizes: list[dict[str, int]], folder: Path
) -> None:
    """Run the module on both CPU drivers for every size and compare with ONNX Runtime."""
    name = path.stem.removesuffix("-dynamic")
    saved = folder / "model.vmfb"
    module.save(saved)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    cases = [ZOO[name].example(s, seed) for seed, s in enumerate(sizes)]
    expected = [session.run(None, case) for case in cases]
    del session
    for device in ("local-sync", "local-task"):
        loaded = iree.load(saved, device=device)
        for case, reference in zip(cases, expected, strict=True):
            results = loaded.main(*case.values())
            results = results if isinstance(results, tuple) else (results,)
            assert len(results) == len(reference)
            for found, wanted in zip(results, reference, strict=True):
                assert relative_error(np.asarray(found), wanted) <= TOLERANCE


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest difference over the largest reference value."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    assert not np.isnan(found).any()
    scale = max(float(np.abs(wanted).max(initial=0)), 1e-30)
    return float(np.abs(found - wanted).max(initial=0)) / scale
