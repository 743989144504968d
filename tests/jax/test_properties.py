"""Random shapes, element types and parameters of indexing, sorting and windows against JAX.

Each example is a list of operations that are compiled as one program, since compiling costs more
than anything else. Examples are the same in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jax import lax
from tests.jax.cases.registry import array
from tests.jax.corpus import compare

import iree_frontend_jax

# Operations of one program, and programs of one test; more programs find more, by hand.
OPERATIONS, PROGRAMS = 8, 1
REAL = ("float32", "bfloat16", "float16", "int32", "int8", "uint8", "uint32")
TOLERANCES = {"float16": 1e-2, "bfloat16": 6e-2}

FEW = settings(
    max_examples=PROGRAMS,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # shrinking would compile hundreds of programs
    suppress_health_check=list(HealthCheck),
)


class Operation:
    """A function, its arguments, and what to say where it fails."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], text: str) -> None:
        self.function, self.arguments, self.text = function, arguments, text

    def __repr__(self) -> str:
        return self.text


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def agree(operations: list[Operation]) -> None:
    """Compile all operations as one program and compare with JAX."""

    def program(arguments: list[Any]) -> list[Any]:
        return [o.function(*a) for o, a in zip(operations, arguments, strict=True)]

    arguments = [o.arguments for o in operations]
    found, wanted = (jit(program)(arguments) for jit in (iree_frontend_jax.jit, jax.jit))
    for operation, ours, theirs in zip(operations, found, wanted, strict=True):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            tolerance = TOLERANCES.get(str(b.dtype), 1e-4)
            problem = compare(np.asarray(a), np.asarray(b), tolerance)
            assert problem is None, f"{operation.text}: {problem}"


def shapes(least: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 6), min_size=least, max_size=3).map(tuple)


def programs(operation: st.SearchStrategy[Operation]) -> st.SearchStrategy[list[Operation]]:
    return st.lists(operation, min_size=OPERATIONS, max_size=OPERATIONS)


@st.composite
def indices(draw: st.DrawFn, size: int, *, outside: bool) -> np.ndarray:
    """Positions in a dimension, negative ones included; some beyond its ends where allowed."""
    reach = size + 3 if outside else size
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    numbers = st.lists(
        st.integers(-reach, reach - 1), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
    )
    return np.array(draw(numbers), np.int32).reshape(shape)


@st.composite
def scatters(draw: st.DrawFn) -> Operation:
    shape, dtype = draw(shapes()), draw(st.sampled_from((*REAL, "complex64")))
    axis = draw(st.integers(0, len(shape) - 1))
    mode = draw(st.sampled_from(("clip", "drop", "promise_in_bounds")))
    at = draw(indices(shape[axis], outside=mode != "promise_in_bounds"))
    names = ("add", "multiply", "set") + (() if dtype == "complex64" else ("min", "max"))
    name = draw(st.sampled_from(names))
    if name == "set":  # which of several updates of one place stays is open
        at = np.random.default_rng(at.size).permutation(shape[axis]).astype(np.int32)
    place = (slice(None),) * axis

    def function(x: jax.Array, at: jax.Array, updates: jax.Array) -> jax.Array:
        return getattr(x.at[(*place, at)], name)(updates, mode=mode)

    updates = (*shape[:axis], *at.shape, *shape[axis + 1 :])
    arguments = (array(shape, dtype), at, array(updates, dtype, 1))
    return Operation(function, arguments, f"{name} {dtype}{shape} axis {axis} at {at} {mode}")


@st.composite
def gathers(draw: st.DrawFn) -> Operation:
    shape, dtype = draw(shapes()), draw(st.sampled_from((*REAL, "complex64", "bool")))
    axis = draw(st.integers(0, len(shape) - 1))
    mode = draw(st.sampled_from(("clip", "fill", "wrap")))
    at = draw(indices(shape[axis], outside=True))
    start = draw(st.lists(st.integers(-2, 6), min_size=len(shape), max_size=len(shape)))
    sizes = [draw(st.integers(1, n)) for n in shape]

    def function(x: jax.Array, at: jax.Array, start: jax.Array) -> Any:
        return jnp.take(x, at, axis, mode=mode), lax.dynamic_slice(x, list(start), sizes)

    arguments = (array(shape, dtype), at, np.array(start, np.int32))
    return Operation(function, arguments, f"take {dtype}{shape} axis {axis} at {at} {mode}")


@st.composite
def sorts(draw: st.DrawFn) -> Operation:
    shape = draw(shapes())
    dtypes = draw(st.lists(st.sampled_from(REAL), min_size=1, max_size=3))
    keys, axis = draw(st.integers(1, len(dtypes))), draw(st.integers(0, len(shape) - 1))
    count, descending = draw(st.integers(1, shape[-1])), draw(st.booleans())
    operands = [array(shape, dtype, seed) for seed, dtype in enumerate(dtypes)]
    if operands[0].dtype == np.float32:
        operands[0].flat[:: draw(st.integers(2, 5))] = draw(
            st.sampled_from((np.nan, np.inf, -np.inf, -0.0))
        )

    def function(*operands: jax.Array) -> Any:
        return (
            lax.sort(operands, dimension=axis, num_keys=keys),
            jnp.argsort(operands[0], axis, descending=descending),
            lax.top_k(operands[-1], count),
        )

    return Operation(function, tuple(operands), f"sort {dtypes} {shape} axis {axis}, {keys} keys")


@st.composite
def scans(draw: st.DrawFn) -> Operation:
    shape, dtype = draw(shapes()), draw(st.sampled_from(REAL))
    axis, reverse = draw(st.integers(0, len(shape) - 1)), draw(st.booleans())
    names = ["cumsum", "cumprod", "cummax", "cummin"]
    name = draw(st.sampled_from(names + ["cumlogsumexp"] * ("float" in dtype)))

    def function(x: jax.Array) -> jax.Array:
        return getattr(lax, name)(x, axis=axis, reverse=reverse)

    low, high = (-1.5, 1.5) if "float" in dtype else (-3, 3)
    text = f"{name} {dtype}{shape} axis {axis}, {reverse=}"
    return Operation(function, (array(shape, dtype, low=low, high=high),), text)


@st.composite
def windows(draw: st.DrawFn) -> Operation:
    shape, dtype = draw(shapes(2)), draw(st.sampled_from(REAL))
    rank = len(shape)

    def each(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    size, strides, base, spread = each(1, 3), each(1, 3), each(1, 2), each(1, 2)
    before, after = each(-1, 2), each(-1, 2)
    start, join = draw(
        st.sampled_from(((0, lax.add), (1, lax.mul), (None, lax.max), (None, lax.min)))
    )

    def function(x: jax.Array) -> jax.Array:
        kind = jnp.finfo(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype)
        first = start
        if first is None:
            first = kind.min if join is lax.max else kind.max
        return lax.reduce_window(
            x, jnp.array(first, x.dtype), join, size, strides,
            list(zip(before, after, strict=True)), base, spread,
        )  # fmt: skip

    text = f"{join.__name__} {dtype}{shape} {size} {strides} {before} {after} {base} {spread}"
    return Operation(function, (array(shape, dtype),), text)


@pytest.mark.slow
@FEW
@given(programs(scatters()))
def test_scatter(operations: list[Operation]) -> None:
    agree(operations)


@FEW
@given(programs(gathers()))
def test_gather(operations: list[Operation]) -> None:
    agree(operations)


@pytest.mark.slow
@FEW
@given(programs(sorts()))
def test_sort(operations: list[Operation]) -> None:
    agree(operations)


@FEW
@given(programs(scans()))
def test_cumulative(operations: list[Operation]) -> None:
    agree(operations)


@pytest.mark.slow
@FEW
@given(programs(windows()))
def test_reduce_window(operations: list[Operation]) -> None:
    agree(operations)
