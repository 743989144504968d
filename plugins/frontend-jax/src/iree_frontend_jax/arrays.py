"""Between JAX arrays and host memory: nothing is copied where both lie on the same processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

# Names of generators by the element type of their keys.
_GENERATORS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}
_WEAK: dict[str, type] = {"b": bool, "f": float, "i": int, "c": complex}


def is_key(dtype: Any) -> bool:
    """Tell whether ``dtype`` is that of typed keys of random number generators."""
    return bool(jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key))


def to_host(dtype: Any) -> Callable[[Any], NDArray]:
    """Return what turns an argument declared as ``dtype`` into a numpy array.

    Arrays of JAX are viewed; numbers and arrays of other types are converted as JAX does.
    """
    if is_key(dtype):
        return lambda value: np.asarray(jax.random.key_data(value))
    if dtype == jax.dtypes.float0:
        return lambda value: np.zeros(np.shape(value), np.bool_)
    declared = np.dtype(dtype)

    def convert(value: Any) -> NDArray:
        found = np.asarray(value)
        return found if found.dtype == declared else found.astype(declared)

    return convert


def from_host(aval: Any) -> Callable[[NDArray], Any]:
    """Return what turns a result described by ``aval`` into a JAX array."""
    dtype = aval.dtype
    if is_key(dtype):
        implementation = _GENERATORS[str(dtype)]
        return lambda found: jax.random.wrap_key_data(_put(found), impl=implementation)
    if dtype == jax.dtypes.float0:
        return lambda found: np.zeros(found.shape, jax.dtypes.float0)
    if getattr(aval, "weak_type", False):
        number = _WEAK.get(np.dtype(dtype).kind)
        if number is not None and jax.dtypes.canonicalize_dtype(number) == dtype:
            return lambda found: _weaken(_put(found), number)
    return _put


def _put(found: Any) -> jax.Array:
    host = found if isinstance(found, np.ndarray) else np.asarray(found)
    return jax.device_put(host, may_alias=True)


def _weaken(array: jax.Array, number: type) -> jax.Array:
    """Return ``array`` with a weak type, as results of Python numbers have in JAX."""
    if not array.shape and number is not bool:
        return jax.numpy.asarray(number(array.item()))
    # JAX makes no other array weak in public; this is what its own tests use.
    from jax._src.lax.lax import _convert_element_type

    return _convert_element_type(array, weak_type=True)
