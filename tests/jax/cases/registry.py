"""What a case is, how one is registered, and reproducible arguments for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """A function and its arguments.

    Attributes:
        name: unique.
        function: of JAX.
        arguments: nested arrays.
        tolerance: largest error over ``1 + |expected|`` for floating-point results.
        dims: for a case with symbolic dimensions, one specification per argument.
        x64: whether 64-bit types are on.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    tolerance: float = 1e-4
    dims: tuple[str | None, ...] | None = None
    x64: bool = False


CASES: dict[str, Case] = {}
_TOLERANCES = {"float16": 4e-3, "bfloat16": 3e-2, "float64": 1e-9, "complex128": 1e-9}


def add(
    name: str,
    function: Callable[..., Any],
    *arguments: Any,
    tolerance: float | None = None,
    dims: tuple[str | None, ...] | None = None,
    x64: bool = False,
) -> None:
    """Register a case; its tolerance follows from the least precise argument."""
    assert name not in CASES, name
    tolerance = tolerance or tolerance_for(arguments)
    CASES[name] = Case(name, function, arguments, tolerance, dims, x64)


def tolerance_for(arguments: Any) -> float:
    """Return the tolerance of the least precise array among nested arguments."""
    dtypes = [str(leaf.dtype) for leaf in jax.tree.leaves(arguments) if hasattr(leaf, "dtype")]
    found = [_TOLERANCES.get(dtype, 1e-4) for dtype in dtypes if "int" not in dtype]
    return max(found, default=1e-4)


def array(shape: Sequence[int], dtype: str = "float32", seed: int = 0, low: float = -3.0,
          high: float = 3.0) -> NDArray:  # fmt: skip
    """Return reproducible numbers between ``low`` and ``high``."""
    generator = np.random.default_rng((seed, *shape))
    kind = jnp.dtype(dtype)
    if kind == np.bool_:
        return generator.integers(0, 2, shape).astype(np.bool_)
    if jnp.issubdtype(kind, jnp.integer):
        bottom = 0 if jnp.issubdtype(kind, jnp.unsignedinteger) else low
        return generator.integers(int(bottom), int(high) + 1, shape).astype(kind)
    if jnp.issubdtype(kind, jnp.complexfloating):
        parts = generator.uniform(low, high, (2, *shape))
        return (parts[0] + 1j * parts[1]).astype(kind)
    return generator.uniform(low, high, shape).astype(np.float64).astype(kind)


F, I, C = "float32", "int32", "complex64"
FLOATS = (F, "float16", "bfloat16")
INTS = (I, "int8", "uint8", "uint32", "int16")


def short(dtype: str) -> str:
    for long, short in (
        ("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i"), ("complex", "c"),
    ):  # fmt: skip
        if dtype.startswith(long):
            return dtype.replace(long, short)
    return dtype


def positive(n: int, dtype: str = F, batch: tuple[int, ...] = ()) -> NDArray:
    """Return Hermitian positive definite matrices."""
    a = array((*batch, n, n), dtype, 11, low=-1, high=1)
    return (a @ np.conj(a.swapaxes(-1, -2)) + n * np.eye(n)).astype(a.dtype)
