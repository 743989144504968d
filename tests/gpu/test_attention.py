"""Attention on the runner of every GPU backend: softmax(scale * Q K^T + mask) V, in float64.

Vulkan runs on a device, CUDA and Metal on their stand-ins.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codegen.test_attention import Case
from tests.cuda import harness as cuda
from tests.metal import harness as metal
from tests.passes.globalopt_kit import count, make_state
from tests.passes.globalopt_kit import run as transform
from tests.vulkan import harness as vulkan

from iree_core.codegen.gpu import build_gpu_kernel
from iree_core.codegen.gpu.kernel import GpuModel
from iree_core.interfaces import Target
from iree_core.ir import make_context
from iree_core.passes import dispatch, globalopt

RUNNERS = {"vulkan": vulkan, "cuda": cuda, "metal": metal}


def run(case: Case, on: str = "vulkan", seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    q, k, v, keep = inputs(case, rng)
    arrays = [q, k, v]
    if case.mask == "boolean":
        arrays.append(keep)
    if case.mask == "added":
        arrays.append(np.where(keep, 0, -np.inf).astype(np.float32))
    sizes = [case.batch, case.queries, case.keys] if case.dynamic else []
    shape = (case.batch, case.queries, case.heads, case.columns)
    found, compiled = RUNNERS[on].run_dispatch(case.text(), arrays, sizes, [(shape, np.float32)])
    assert compiled.kernel.schedule == "attention"
    expected = case.reference(q, k, v, keep if case.mask != "none" else None)
    np.testing.assert_allclose(found[0], expected, rtol=3e-6, atol=3e-6)


def inputs(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    groups = case.heads // case.shared
    q = rng.standard_normal((case.batch, case.queries, case.heads, case.size), np.float32)
    k = rng.standard_normal((case.batch, case.keys, groups, case.size), np.float32)
    v = rng.standard_normal((case.batch, case.keys, groups, case.columns), np.float32)
    keep = rng.random((case.queries, case.keys)) < 0.7
    if case.guarded:
        keep[case.queries // 2] = False
    else:
        keep[:, 0] = True
    return q, k, v, keep


@pytest.mark.parametrize("on", RUNNERS)
@pytest.mark.parametrize(
    "case",
    [
        Case(1, 3, 16, 24, 8, 16),
        Case(2, 2, 13, 37, 10, 7, mask="added", guarded=True),
        Case(1, 4, 9, 19, 12, 10, mask="boolean", shared=2, dynamic=True),
    ],
    ids=["even", "guarded", "dynamic"],
)
def test_attention(on: str, case: Case) -> None:
    run(case, on)


def test_causal() -> None:
    case = Case(1, 2, 20, 20, 8, 8, mask="boolean")
    q, k, v, _ = inputs(case, np.random.default_rng(1))
    keep = np.tril(np.ones((20, 20), bool))
    shape = ((1, 20, 2, 8), np.float32)
    (found,), _ = vulkan.run_dispatch(case.text(), [q, k, v, keep], [], [shape])
    np.testing.assert_allclose(found, case.reference(q, k, v, keep), rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("on", ["cuda", pytest.param("metal", marks=pytest.mark.slow)])
def test_columns_beyond_the_registers(on: str) -> None:
    """Parts of a row belong to different invocations; the last part overlaps the one before."""
    run(Case(1, 1, 8, 11, 8, 131), on)


def test_scores_that_grow_from_block_to_block() -> None:
    """What was summed up before a larger score is scaled down."""
    case = Case(1, 1, 8, 40, 4, 8)
    rng = np.random.default_rng(3)
    q, k, v, _ = inputs(case, rng)
    q, k = np.abs(q), k + np.arange(40, dtype=np.float32).reshape(1, 40, 1, 1)
    shape = ((1, 8, 1, 8), np.float32)
    (found,), _ = vulkan.run_dispatch(case.text(), [q, k, v], [], [shape])
    np.testing.assert_allclose(found, case.reference(q, k, v, None), rtol=2e-5, atol=2e-5)


def test_few_queries_are_shared_by_a_subgroup_and_many_are_not() -> None:
    model = GpuModel(subgroup=32, least_tiles=4096)
    for queries, workers in ((128, 32), (65536, 1)):
        kernel = build_gpu_kernel(Case(1, 1, queries, 64, 64, 64).text(), model, make_context())
        rows = queries * workers // kernel.grid.evaluate([])
        assert kernel.schedule == "attention"
        assert 1 <= rows <= model.sums // 64
        assert ("gpu." in kernel.module) == (workers > 1)


@pytest.mark.parametrize("takes_attention,dispatches", [(True, 1), (False, 3)])
def test_targets_that_take_attention_get_it_whole(takes_attention: bool, dispatches: int) -> None:
    state = make_state()
    state.target = Target("gpu", "", attention=takes_attention)
    passes = [*globalopt.passes(state), *dispatch.passes(state)]
    text = Case(1, 2, 32, 48, 16, 16).text().replace(" attributes {flow.dispatch}", "")
    assert count(transform(text, passes, state)[0])["call @"] == dispatches


def test_memory_does_not_grow_with_the_square() -> None:
    kernel = build_gpu_kernel(Case(1, 1, 4096, 4096, 8, 8).text(), GpuModel(), make_context())
    assert kernel.scratch.evaluate([]) == 0


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 2),
    groups=st.integers(1, 2),
    queries=st.integers(8, 40),
    keys=st.integers(2, 40),
    size=st.integers(1, 20),
    columns=st.integers(2, 20),
    mask=st.sampled_from(["none", "added", "boolean"]),
    shared=st.integers(1, 2),
    dynamic=st.booleans(),
)
def test_random_shapes(
    batch: int, groups: int, queries: int, keys: int, size: int, columns: int, mask: str,
    shared: int, dynamic: bool,
) -> None:  # fmt: skip
    run(
        Case(
            batch,
            groups * shared,
            queries,
            keys,
            size,
            columns,
            mask=mask,
            guarded=mask != "none",
            shared=shared,
            dynamic=dynamic,
        )
    )
