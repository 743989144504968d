"""JAX's own list of uses of its primitives over element types and shapes, as cases.

The list is part of the ``jax`` wheel (``jax._src.internal_test_util.test_harnesses``); JAX's
tests of its primitives run it. Those that JAX says it does not implement on the CPU are left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.internal_test_util.test_harnesses import Harness, all_harnesses
from tests.jax.cases.linear_algebra import adjoint
from tests.jax.cases.registry import Case, tolerance_for

# JAX's names are up to 400 characters long; what they say in full is shortened.
_SHORTER = (
    ("dimension_numbers_ScatterDimensionNumbers_", ""),
    ("dnums_GatherDimensionNumbers_", ""),
    ("dimension_numbers_ConvDimensionNumbers_", ""),
    ("GatherScatterMode_", ""),
    ("update_window_dims", "window"),
    ("inserted_window_dims", "inserted"),
    ("scatter_dims_to_operand_dims", "to"),
    ("scatter_indices_batching_dims", "batch"),
    ("start_indices_batching_dims", "batch"),
    ("operand_batching_dims", "batched"),
    ("scatterindices", "at"),
    ("updateshape", "update"),
    ("indicesaresorted", "sorted"),
    ("uniqueindices", "unique"),
    ("_enablexla_True", ""),
    ("_enable_xla_True", ""),
)


@cache
def _by_name() -> dict[str, Harness]:
    found = {_short(h.fullname): h for h in all_harnesses if h.filter("cpu")}
    assert len(found) == sum(h.filter("cpu") for h in all_harnesses)
    return found


def _short(name: str) -> str:
    for long, short in _SHORTER:
        name = name.replace(long, short)
    return name.strip("_")


def names() -> list[str]:
    """Return the names of all cases."""
    return list(_by_name())


def case(name: str) -> Case:
    """Return the case of that name; its arguments are drawn as in JAX's tests."""
    harness = _by_name()[name]
    arguments = tuple(harness.dyn_args_maker(np.random.RandomState(zlib.crc32(name.encode()))))
    unique = _UNIQUE.get(harness.group_name)
    function = harness.dyn_fun if unique is None else _then(harness, unique)
    tolerance = tolerance_for([*arguments, np.zeros((), harness.dtype)])
    return Case(name, function, arguments, tolerance, x64=True)


def _then(harness: Harness, unique: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: unique(harness.dyn_fun(*arguments), *arguments, **harness.params)


# What the primitives leave open is taken out: signs and orders of factors (what they multiply out
# to, and their sizes, are not open), the order of equal keys, the other triangle of a factor.


def _cholesky(found: Any, a: jax.Array, **_: Any) -> Any:
    # The matrices are nearly singular, which leaves few digits of the factor but all of a.
    factor = jnp.tril(found)
    diagonal = jnp.diagonal(factor, axis1=-2, axis2=-1)
    return factor @ adjoint(factor), jnp.real(diagonal) > 0


def _sort(found: Any, *arrays: jax.Array, dimension: int, num_keys: int, is_stable: bool,
          **_: Any) -> Any:  # fmt: skip
    if is_stable:
        return found
    together = jax.lax.sort(tuple(found), dimension=dimension, num_keys=len(found))
    return found[:num_keys], together


def _approx_top_k(found: Any, operand: jax.Array, **_: Any) -> Any:
    values, places = found  # whose equal values may be in any order
    return values, jnp.take_along_axis(operand, places, -1)


def _eigh(found: Any, a: jax.Array, **_: Any) -> Any:
    vectors, values = found
    return (vectors * values[..., None, :]) @ adjoint(vectors), adjoint(vectors) @ vectors, values


def _qr(found: Any, a: jax.Array, **_: Any) -> Any:
    q, r = found
    return q @ r, adjoint(q) @ q, jnp.abs(r[..., : min(a.shape[-2:]), :])


def _svd(found: Any, a: jax.Array, **_: Any) -> Any:
    if len(found) == 1:
        return found
    s, u, vt = found
    k = s.shape[-1]
    whole = (u[..., :k] * s[..., None, :]) @ vt[..., :k, :]
    return whole, s, adjoint(u) @ u, vt @ adjoint(vt)


def _eig(found: Any, a: jax.Array, **_: Any) -> Any:
    values, *vectors = found
    lengths = [jnp.linalg.norm(v, axis=-2) for v in vectors]
    return jnp.sort(jnp.abs(values)), lengths, [_residual(a, values, v) for v in vectors]


def _residual(a: jax.Array, values: jax.Array, vectors: jax.Array) -> jax.Array:
    """Return how far vectors are from being right or left eigenvectors, whichever is nearer."""
    a = a.astype(vectors.dtype)
    right = a @ vectors - vectors * values[..., None, :]
    left = adjoint(a) @ vectors - vectors * jnp.conj(values)[..., None, :]
    return jnp.minimum(jnp.abs(right).sum(), jnp.abs(left).sum())


_UNIQUE: dict[str, Callable[..., Any]] = {
    "approx_top_k": _approx_top_k,
    "cholesky": _cholesky,
    "eig": _eig,
    "eigh": _eigh,
    "qr": _qr,
    "sort": _sort,
    "svd": _svd,
}
