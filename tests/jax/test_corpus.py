"""The corpus of JAX operations: what is recorded as passing still passes.

The quick test takes a sample, the slow one all of it; the docs state the share that passes.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.jax.corpus import HERE, prepare, recorded, run

SAMPLE = [
    "lax.sin/f32", "lax.div/by-zero", "jnp.matmul/f32/4x0x5", "jnp.argsort/stable",
    "scatter-add/out-of-bounds", "gather/mode-fill", "lax.pad/f32/((-1,2,0),(0,-3,0))",
    "linalg.svd/f32/one/5x3", "linalg.eigh/f32/batch", "jnp.fft.irfft/7", "lax.scan/grad",
    "jax.random.normal", "symbolic/both", "model/mlp/adam", "lax.rng_bit_generator/u32",
]  # fmt: skip


def failures(names: list[str], folder: Path) -> dict[str, str]:
    """Return what is wrong with the cases of these names."""
    outcomes = run(folder, prepare(folder, names))
    assert sorted(outcomes) == sorted(names)
    return {name: problem for name, problem in outcomes.items() if problem is not None}


def test_sample(tmp_path: Path) -> None:
    assert set(SAMPLE) <= set(recorded())
    assert failures(SAMPLE, tmp_path) == {}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(16))
def test_recorded(part: int, tmp_path: Path) -> None:
    assert failures(recorded()[part::16], tmp_path) == {}


def test_documented_share() -> None:
    text = (HERE.parent.parent / "docs" / "jax.md").read_text()
    passed, total = map(int, re.search(r"(\d+) of (\d+) cases", text).groups())
    assert passed == len(recorded()) <= total
