"""Emitters of sequential programs against numpy, for static and run-time sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from iree_core.ir import func, ir, make_context
from iree_core.lowering import element as elements
from iree_core.lowering import fft, scalars, scan, scatter, solve, sort, window
from iree_core.lowering.tensors import DYNAMIC, Tensor

from .execute import execute

CONTEXT = make_context()


def run(
    build: Callable[..., Sequence[Tensor]], *inputs: NDArray, dynamic: bool = False
) -> list[NDArray]:
    """Build a function with ``build`` over arguments like ``inputs``, and call it."""
    with CONTEXT, ir.Location.unknown():
        module = ir.Module.create()
        kinds = [elements.from_numpy(i.dtype) for i in inputs]
        shapes = [[DYNAMIC] * i.ndim if dynamic else list(i.shape) for i in inputs]
        types = [ir.RankedTensorType.get(s, k.type) for s, k in zip(shapes, kinds, strict=True)]
        with ir.InsertionPoint(module.body):
            function = func.FuncOp("main", (types, []))
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            arguments = [Tensor.of(a, k) for a, k in zip(block.arguments, kinds, strict=True)]
            results = build(*arguments)
            func.ReturnOp([r.value for r in results])
        signature = ir.FunctionType.get(types, [r.value.type for r in results])
        function.operation.attributes["function_type"] = ir.TypeAttr.get(signature)
        module.operation.verify()
        outputs = execute(module, inputs)
    return [o.view(r.element.numpy) for o, r in zip(outputs, results, strict=True)]


RNG = np.random.default_rng(7)
STATIC_AND_DYNAMIC = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])


@STATIC_AND_DYNAMIC
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sort_along_every_axis(axis: int, dynamic: bool) -> None:
    x = RNG.standard_normal((3, 13, 4)).astype(np.float32)
    (y,) = run(lambda t: sort.sort([t], axis, sort.ordering(t.element)), x, dynamic=dynamic)
    np.testing.assert_array_equal(y, np.sort(x, axis))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_argsort_is_stable_for_every_length(size: int) -> None:
    x = RNG.integers(0, 8, size).astype(np.int32)
    y, i = run(lambda t: sort.argsort(t, 0, sort.ordering(t.element)), x, dynamic=True)
    np.testing.assert_array_equal(i, np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(y, np.sort(x))


def test_sort_places_nans_as_asked() -> None:
    x = np.array([3, np.nan, -np.inf, 1, np.nan, np.inf], np.float32)
    last, first, down = run(
        lambda t: [
            *sort.sort([t], 0, sort.ordering(t.element)),
            *sort.sort([t], 0, sort.ordering(t.element, nan="first")),
            *sort.sort([t], 0, sort.ordering(t.element, descending=True, nan="first")),
        ],
        x,
    )
    np.testing.assert_array_equal(last, np.sort(x))
    np.testing.assert_array_equal(first, np.roll(np.sort(x), 2))
    np.testing.assert_array_equal(down, np.sort(x)[::-1])


def test_unsigned_keys_compare_from_zero() -> None:
    x = np.array([200, 3, 127, 128, 255, 0], np.uint8)
    (y,) = run(lambda t: sort.sort([t], 0, sort.ordering(t.element)), x)
    np.testing.assert_array_equal(y, np.sort(x))


@STATIC_AND_DYNAMIC
@pytest.mark.parametrize("k", [1, 3, 11, 200])
def test_top_k_keeps_the_earlier_of_equals(k: int, dynamic: bool) -> None:
    x = RNG.integers(-50, 50, (3, 211)).astype(np.float32)
    y, i = run(
        lambda t: sort.top_k(t, k, 1, sort.ordering(t.element, descending=True)),
        x,
        dynamic=dynamic,
    )
    order = np.argsort(-x, 1, kind="stable")[:, :k]
    np.testing.assert_array_equal(i, order)
    np.testing.assert_array_equal(y, np.take_along_axis(x, order, 1))


@STATIC_AND_DYNAMIC
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("kind", "reference"),
    [("add", np.cumsum), ("mul", np.cumprod), ("max", np.maximum.accumulate),
     ("min", np.minimum.accumulate)],
)  # fmt: skip
def test_cumulative(kind: str, reference: Callable, axis: int, dynamic: bool) -> None:
    x = RNG.standard_normal((5, 7)).astype(np.float32)
    (y,) = run(lambda t: [scan.cumulative(t, axis, kind)], x, dynamic=dynamic)
    np.testing.assert_allclose(y, reference(x, axis), rtol=1e-5)


def test_cumulative_exclusive_and_reverse() -> None:
    x = np.array([1, 2, 3, 4], np.int32)
    a, b, c = run(
        lambda t: [
            scan.cumulative(t, 0, "add", exclusive=True),
            scan.cumulative(t, 0, "add", reverse=True),
            scan.cumulative(t, 0, "add", exclusive=True, reverse=True),
        ],
        x,
    )
    np.testing.assert_array_equal(a, [0, 1, 3, 6])
    np.testing.assert_array_equal(b, [10, 9, 7, 4])
    np.testing.assert_array_equal(c, [9, 7, 4, 0])


@STATIC_AND_DYNAMIC
def test_scatter_nd_repeats_wraps_and_skips(dynamic: bool) -> None:
    x = RNG.standard_normal((5, 3)).astype(np.float32)
    places = np.array([[1], [-1], [1], [9]], np.int64)
    updates = RNG.standard_normal((4, 3)).astype(np.float32)
    # The length of index vectors decides the rank of the updates: it is always static.
    (y,) = run(
        lambda t, i, u: [scatter.scatter_nd(t, i, u, "add")], x, places, updates, dynamic=False
    )
    want = x.copy()
    np.add.at(want, [1, 4, 1], updates[:3])
    np.testing.assert_allclose(y, want, rtol=1e-6)
    (y,) = run(
        lambda t, i, u: [scatter.scatter_elements(t, i, u, 0, "max")],
        x,
        np.array([[0, 1, 2]], np.int64),
        updates[:1],
        dynamic=dynamic,
    )
    want = x.copy()
    np.maximum.at(want, ([0, 1, 2], [0, 1, 2]), updates[0])
    np.testing.assert_array_equal(y, want)


def test_gather_nd_with_batch() -> None:
    x = RNG.standard_normal((2, 4, 5, 3)).astype(np.float32)
    places = np.array([[[0, 1], [3, -1]], [[2, 2], [-4, 0]]], np.int64)
    (y,) = run(lambda t, i: [scatter.gather_nd(t, i, 1)], x, places)
    want = np.stack([[x[b, i, j] for i, j in places[b]] for b in range(2)])
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 12, 15, 64])
@STATIC_AND_DYNAMIC
def test_dft(length: int, dynamic: bool) -> None:
    x = (RNG.standard_normal((2, length)) + 1j * RNG.standard_normal((2, length))).astype(
        np.complex64
    )
    y, back = run(
        lambda t: [
            fft.join(fft.dft(fft.split(t), 1)),
            fft.join(fft.dft(fft.split(t), 1, inverse=True)),
        ],
        x,
        dynamic=dynamic,
    )
    np.testing.assert_allclose(y, np.fft.fft(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(back, np.fft.ifft(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [7, 8])
def test_real_transforms_over_two_axes(length: int) -> None:
    x = RNG.standard_normal((3, 4, length))
    (y,) = run(lambda t: [fft.fft(t, [4, length], "RFFT")], x)
    np.testing.assert_allclose(y, np.fft.rfftn(x, axes=(1, 2)), atol=1e-10)
    (back,) = run(lambda t: [fft.fft(t, [4, length], "IRFFT")], y)
    np.testing.assert_allclose(back, x, atol=1e-10)


@STATIC_AND_DYNAMIC
def test_reduce_window_pads_strides_and_dilates(dynamic: bool) -> None:
    x = RNG.standard_normal((2, 9)).astype(np.float32)

    def build(t: Tensor) -> list[Tensor]:
        windows = [window.Window(), window.Window(size=3, stride=2, dilation=2, low=1, high=2)]
        zero = [scalars.constant(0.0, t.element)]
        return window.reduce_window(
            [t], windows, zero, lambda acc, x: [scalars.add(acc[0], x[0], t.element)]
        )

    (y,) = run(build, x, dynamic=dynamic)
    padded = np.pad(x, ((0, 0), (1, 2)))
    want = np.stack([padded[:, i : i + 5 : 2].sum(1) for i in range(0, 8, 2)], 1)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)


@STATIC_AND_DYNAMIC
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transpose", [True, False])
def test_triangular_solve(left: bool, lower: bool, transpose: bool, dynamic: bool) -> None:
    a = RNG.standard_normal((2, 4, 4)) + 4 * np.eye(4)
    b = RNG.standard_normal((2, 4, 3) if left else (2, 3, 4))
    (x,) = run(
        lambda s, t: [solve.triangular_solve(s, t, left=left, lower=lower, transpose=transpose)],
        a,
        b,
        dynamic=dynamic,
    )
    triangle = np.tril(a) if lower else np.triu(a)
    op = triangle.transpose(0, 2, 1) if transpose else triangle
    np.testing.assert_allclose(op @ x if left else x @ op, b, atol=1e-10)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_cholesky(lower: bool, dtype: type) -> None:
    root: NDArray = RNG.standard_normal((2, 5, 5)).astype(dtype)
    if dtype is np.complex128:
        root = root + 1j * RNG.standard_normal((2, 5, 5))
    a = root @ root.conj().transpose(0, 2, 1) + np.eye(5)
    (factor,) = run(lambda t: [solve.cholesky(t, lower=lower)], a)
    want = np.linalg.cholesky(a)
    want = want if lower else want.conj().transpose(0, 2, 1)
    np.testing.assert_allclose(factor, want, atol=1e-10)
