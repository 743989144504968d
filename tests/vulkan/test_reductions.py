"""Reductions that a workgroup does together, and loops that a device would cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.vulkan.harness import compile_dispatch, run_dispatch

from iree_backend_vulkan.target import parse_target
from iree_core.errors import DeviceError, UsageError

RNG = np.random.default_rng(0)


def reduction(op: str, kind: str, shape: Sequence[int], dims: Sequence[int], start: str) -> str:
    """Return a dispatch that reduces the dimensions ``dims`` of a tensor."""
    kept = [d for d in range(len(shape)) if d not in dims]
    loops = ", ".join(f"d{d}" for d in range(len(shape)))
    rest = ", ".join(f"d{d}" for d in kept)
    source = f"tensor<{'x'.join(map(str, shape))}x{kind}>"
    result = f"tensor<{''.join(f'{shape[d]}x' for d in kept)}{kind}>"
    kinds = ", ".join('"reduction"' if d in dims else '"parallel"' for d in range(len(shape)))
    return f"""
    func.func private @d(%x: {source}) -> {result} attributes {{flow.dispatch}} {{
      %z = arith.constant {start} : {kind}
      %e = tensor.empty() : {result}
      %f = linalg.fill ins(%z : {kind}) outs(%e : {result}) -> {result}
      %r = linalg.generic {{indexing_maps = [affine_map<({loops})->({loops})>,
          affine_map<({loops})->({rest})>], iterator_types = [{kinds}]}}
          ins(%x : {source}) outs(%f : {result}) {{
        ^bb0(%a: {kind}, %b: {kind}):
          %0 = arith.{op} %b, %a : {kind}
          linalg.yield %0 : {kind} }} -> {result}
      return %r : {result}
    }}"""


@pytest.mark.parametrize(
    "op,kind,dtype,start",
    [
        ("addf", "f32", np.float32, "0.0"), ("addf", "f16", np.float16, "0.0"),
        ("maximumf", "f32", np.float32, "0xFF800000"), ("maxsi", "i8", np.int8, "-128"),
        ("addi", "i64", np.int64, "5"),
        ("minimumf", "f64", np.float64, "0x7FF0000000000000"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "shape,dims", [((1000,), (0,)), ((2, 300, 5), (1, 2)), ((5000, 3), (0, 1)), ((4, 130, 7), (1,))]
)
def test_few_rows_are_reduced_by_workgroups(
    op: str, kind: str, dtype: type, start: str, shape: tuple[int, ...], dims: tuple[int, ...]
) -> None:
    x = (RNG.standard_normal(shape) * (0.1 if kind == "f16" else 40)).astype(dtype)
    kept = tuple(n for d, n in enumerate(shape) if d not in dims)
    text = reduction(op, kind, shape, dims, start)
    (result,), compiled = run_dispatch(text, [x], [], [(kept, dtype)])
    assert compiled.kernel.schedule == "rows"
    wide = x if kind == "i64" else x.astype(np.float64)
    expected = {"max": np.max, "min": np.min, "add": np.sum}[op[:3]](wide, axis=dims)
    expected = expected + 5 if kind == "i64" else expected
    tolerance = {"f32": 1e-5, "f16": 2e-2}.get(kind, 0) if op == "addf" else 0
    scale = np.abs(wide).sum(axis=dims).max() if tolerance else 0
    np.testing.assert_allclose(result.astype(wide.dtype), expected, rtol=0, atol=tolerance * scale)


def test_a_nan_reaches_every_reduction() -> None:
    x = RNG.standard_normal((3, 1000), np.float32)
    x[1, 777] = np.nan
    text = reduction("maximumf", "f32", x.shape, (1,), "0xFF800000")
    (result,), _ = run_dispatch(text, [x], [], [((3,), np.float32)])
    np.testing.assert_array_equal(result, x.max(axis=1))


def test_long_rows_are_whole() -> None:
    """Mesa's llvmpipe ends the loops of a shader after 65535 iterations without a word."""
    x = np.ones((20, 200_000), np.float32)
    text = reduction("addf", "f32", x.shape, (1,), "0.0")
    (result,), _ = run_dispatch(text, [x], [], [((20,), np.float32)])
    np.testing.assert_array_equal(result, np.full(20, 200_000))


def test_loops_that_the_device_would_cut_off_are_refused() -> None:
    x = np.ones(70_000, np.float32)
    text = reduction("addf", "f32", x.shape, (0,), "0.0")
    with pytest.raises(DeviceError, match=r"up to 700\d\d iterations.* runs 65535"):
        run_dispatch(text, [x], [], [((), np.float32)], strategy="general")


def test_classes_of_devices_have_tiles_of_their_own() -> None:
    text = reduction("addf", "f32", (100, 1000), (1,), "0.0")
    _, shared = compile_dispatch(text, "full")
    _, alone = compile_dispatch(text, "full,cpu")
    assert (shared.kernel.schedule, alone.kernel.schedule) == ("rows", "elementwise")
    assert parse_target("full,cpu").spec.startswith("vulkan1.2,cpu,+")
    assert parse_target(parse_target("minimal,cpu").spec) == parse_target("minimal,cpu")
    with pytest.raises(UsageError, match="'toaster'"):
        parse_target("minimal,toaster")
