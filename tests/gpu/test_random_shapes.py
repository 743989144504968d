"""Random shapes through the schedules on a Vulkan device, against numpy in double precision."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gpu.dispatches import SOFTMAX, matmul_text
from tests.vulkan.harness import run_dispatch

few = settings(max_examples=4, deadline=None, derandomize=True)
small, wide = st.integers(1, 9), st.integers(1, 70)


def tensor(sizes: tuple[int, ...]) -> str:
    return f"tensor<{'x'.join(map(str, sizes))}xf32>"


def generic(
    loops: str, operands: list[tuple[str, tuple[int, ...]]], result: tuple[str, tuple[int, ...]],
    body: str, *, init: float = 0.0, view: bool = False,
) -> str:  # fmt: skip
    """A dispatch of one ``linalg.generic``: loop names (reduced ones in capitals), affine places.

    With ``view`` the last operand only gives the sizes of a window.
    """
    names = "abcd"
    dims = ", ".join(loops)
    kinds = ", ".join('"reduction"' if d.isupper() else '"parallel"' for d in loops)
    places = [*(p for p, _ in operands), result[0]]
    maps = ", ".join(f"affine_map<({dims}) -> ({p})>" for p in places)
    passed = operands[:-1] if view else operands
    arguments = ", ".join(f"%t{n}: {tensor(s)}" for n, (_, s) in zip(names, passed, strict=False))
    shape = tensor(operands[-1][1])
    window = f"%t{names[len(passed)]} = tensor.empty() : {shape}" if view else ""
    inputs = ", ".join(f"%t{n}" for n in names[: len(operands)])
    types = ", ".join(tensor(s) for _, s in operands)
    block = ", ".join(f"%{n}: f32" for n in names[: len(operands)])
    out = tensor(result[1])
    return f"""
    func.func private @d({arguments}) -> {out} attributes {{flow.dispatch}} {{
      %init = arith.constant {init if np.isfinite(init) else "0xFF800000"} : f32
      {window}
      %e = tensor.empty() : {out}
      %f = linalg.fill ins(%init : f32) outs(%e : {out}) -> {out}
      %y = linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}}
          ins({inputs} : {types}) outs(%f : {out}) {{
        ^bb0({block}, %o: f32):
          {body}
          linalg.yield %r : f32 }} -> {out}
      return %y : {out} }}"""


def check(text: str, inputs: list[np.ndarray], expected: np.ndarray) -> None:
    (found,), compiled = run_dispatch(text, inputs, [], [(expected.shape, np.float32)])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert compiled.kernel.schedule != "general"


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


PRODUCT = "%p = arith.mulf %a, %b : f32\n %r = arith.addf %o, %p : f32"


@settings(max_examples=2, deadline=None, derandomize=True)
@given(m=wide, n=wide, k=wide, late=st.sampled_from([(False, False), (True, False)]))
def test_products_with_what_follows(m: int, n: int, k: int, late: tuple[bool, bool]) -> None:
    x, w, r = random(m, k), random(k, n), random(m, n)
    text = matmul_text(None if late[0] else m, None if late[1] else n, k)
    scalars = [size for size, dynamic in zip((m, n), late, strict=True) if dynamic]
    (found,), _ = run_dispatch(text, [x, w, r], scalars, [((m, n), np.float32)])
    expected = x.astype(np.float64) @ w + r
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@few
@given(b=small, m=wide, n=wide, k=wide, turned=st.tuples(st.booleans(), st.booleans()))
def test_batches_of_products(b: int, m: int, n: int, k: int, turned: tuple[bool, bool]) -> None:
    left = ("b, K, m", (b, k, m)) if turned[0] else ("b, m, K", (b, m, k))
    right = ("b, n, K", (b, n, k)) if turned[1] else ("b, K, n", (b, k, n))
    x, w = random(*left[1]), random(*right[1])
    text = generic("bmnK", [left, right], ("b, m, n", (b, m, n)), PRODUCT)
    u = (x.swapaxes(1, 2) if turned[0] else x).astype(np.float64)
    check(text, [x, w], u @ (w.swapaxes(1, 2) if turned[1] else w))


@few
@given(
    rows=st.integers(1, 12), channels=small, filters=st.integers(1, 20), size=st.integers(1, 4),
    stride=st.integers(1, 3), dilation=st.integers(1, 2),
)  # fmt: skip
def test_windows(
    rows: int, channels: int, filters: int, size: int, stride: int, dilation: int
) -> None:
    long = (rows - 1) * stride + (size - 1) * dilation + 1
    x, w = random(2, long, channels), random(size, channels, filters)
    place = f"b, i * {stride} + K * {dilation}"
    text = generic(
        "bifKC", [(f"{place}, C", x.shape), ("K, C, f", w.shape)],
        ("b, i, f", (2, rows, filters)), PRODUCT,
    )  # fmt: skip
    taps = np.arange(rows)[:, None] * stride + np.arange(size) * dilation
    check(text, [x, w], np.einsum("bikc,kcf->bif", x[:, taps].astype(np.float64), w))
    text = generic(
        "bifK", [(f"{place}, f", x.shape), ("K", (size,))], ("b, i, f", (2, rows, channels)),
        "%r = arith.maximumf %o, %a : f32", init=-np.inf, view=True,
    )  # fmt: skip
    check(text, [x], x[:, taps].max(2))


@few
@given(
    sizes=st.tuples(small, wide, wide),
    axes=st.sets(st.integers(0, 2), min_size=1, max_size=2),
    largest=st.booleans(),
)
def test_reductions_over_any_dimensions(
    sizes: tuple[int, int, int], axes: set[int], largest: bool
) -> None:
    loops = "".join("XYZ"[d] if d in axes else "xyz"[d] for d in range(3))
    kept = [d for d in range(3) if d not in axes]
    result = (", ".join(loops[d] for d in kept), tuple(sizes[d] for d in kept))
    body = f"%r = arith.{'maximumf' if largest else 'addf'} %o, %a : f32"
    init = -np.inf if largest else 0.0
    x = random(*sizes)
    text = generic(loops, [(", ".join(loops), sizes)], result, body, init=init)
    wide = x.astype(np.float64)
    check(text, [x], (wide.max if largest else wide.sum)(tuple(axes)))


@few
@given(m=wide, n=st.integers(1, 200))
def test_softmax(m: int, n: int) -> None:
    x = random(m, n) * 5
    (found,), compiled = run_dispatch(SOFTMAX, [x], [m, n], [((m, n), np.float32)])
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(found, e / e.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)
    assert compiled.kernel.schedule == "rows"


@few
@given(i=small, j=wide, k=wide)
def test_transposition_and_repetition(i: int, j: int, k: int) -> None:
    x, y = random(k, i), random(j)
    body = "%r = arith.mulf %a, %b : f32"
    text = generic("ijk", [("k, i", (k, i)), ("j", (j,))], ("i, j, k", (i, j, k)), body)
    check(text, [x, y], x.T[:, None, :] * y[None, :, None])
