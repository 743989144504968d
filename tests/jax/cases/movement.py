"""Moving, padding, joining and indexing of elements: gather, scatter, slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import C, F, I, add, array, short


def register() -> None:
    """Register the cases."""
    _movement()
    _indexing()


def _movement() -> None:
    x = array((4, 6))
    for dtype in (F, "bfloat16", I, "bool", C, "uint8"):
        v = array((4, 6), dtype, 3)
        label = short(dtype)
        add(f"lax.rev/{label}", lambda x: lax.rev(x, (0, 1)), v)
        add(f"lax.transpose/{label}", lambda x: lax.transpose(x, (1, 0)), v)
        add(f"lax.reshape/{label}", lambda x: lax.reshape(x, (3, 8)), v)
        add(f"lax.concatenate/{label}", lambda x: lax.concatenate([x, x[:, :2]], 1), v)
        add(f"lax.slice/{label}", lambda x: lax.slice(x, (1, 0), (4, 5), (2, 3)), v)
        add(f"lax.select_n/{label}", lambda p, x: lax.select_n(p, x, x[::-1]),
            array((4, 6), "bool", 5), v)  # fmt: skip
        zero = np.zeros((), jnp.dtype(dtype))
        for pads in (((1, 2, 0), (0, 3, 1)), ((-1, 2, 0), (0, -3, 0)), ((-1, -1, 1), (-2, 1, 2))):
            add(f"lax.pad/{label}/{pads}".replace(" ", ""),
                lambda x, p=pads, z=zero: lax.pad(x, z, p), v)  # fmt: skip
    for mode in "reflect symmetric edge wrap constant linear_ramp mean maximum".split():
        add(f"jnp.pad/{mode}", lambda x, m=mode: jnp.pad(x, ((1, 2), (2, 1)), mode=m), x)
    functions: dict[str, Callable[..., Any]] = {
        "roll": lambda x: jnp.roll(x, 2, 1), "tile": lambda x: jnp.tile(x, (2, 3)),
        "repeat": lambda x: jnp.repeat(x, 3, 0), "stack": lambda x: jnp.stack([x, x * 2], 1),
        "split": lambda x: jnp.split(x, 3, 1), "flip": lambda x: jnp.flip(x),
        "triu": lambda x: jnp.triu(x, 1), "tril": lambda x: jnp.tril(x, -1),
        "diag": lambda x: jnp.diag(x[0]), "diagonal": lambda x: jnp.diagonal(x, 1),
        "rot90": jnp.rot90, "moveaxis": lambda x: jnp.moveaxis(x[None], 0, 2),
        "squeeze": lambda x: jnp.squeeze(x[:, None]), "ravel": jnp.ravel,
        "meshgrid": lambda x: jnp.meshgrid(x[0], x[:, 0]), "eye": lambda x: jnp.eye(4, 6) + x,
        "arange": lambda x: jnp.arange(6) * x, "linspace": lambda x: jnp.linspace(0, 1, 6) + x,
        "broadcast_to": lambda x: jnp.broadcast_to(x, (2, 4, 6)), "vander": lambda x: jnp.vander(x[0]),
        "block": lambda x: jnp.block([[x, x], [x, x]]), "trace": jnp.trace,
        "strides": lambda x: x[::-2, 4:0:-1], "newaxis": lambda x: x[None, :, None],
        "array_split": lambda x: jnp.array_split(x, 4, 1), "swapaxes": lambda x: x.swapaxes(0, 1),
        "ediff1d": jnp.ediff1d, "select": lambda x: jnp.select([x > 1, x > 0], [x, x * 2], 7.0),
        "interp": lambda x: jnp.interp(x, jnp.linspace(-2, 2, 5), jnp.arange(5.0)),
        "digitize": lambda x: jnp.digitize(x, jnp.linspace(-2, 2, 5)),
        "searchsorted": lambda x: jnp.searchsorted(jnp.linspace(-2, 2, 9), x),
        "piecewise": lambda x: jnp.piecewise(x, [x < 0, x > 1], [lambda y: -y, jnp.sin]),
        "unwrap": lambda x: jnp.unwrap(x), "isin": lambda x: jnp.isin(x.astype(int), jnp.array([1, 2])),
        "polyval": lambda x: jnp.polyval(x[0], x[1]), "clip": lambda x: jnp.clip(x, -1, 1),
        "unique": lambda x: jnp.unique(x.astype(int), size=7), "nonzero": lambda x: jnp.nonzero(
            x > 0, size=24, fill_value=-1), "compress": lambda x: jnp.compress(
            np.array([1, 0, 1, 1], bool), x, 0, size=3), "extract": lambda x: jnp.extract(x > 0, x, size=24),
        "packbits": lambda x: jnp.packbits(x > 0, axis=1), "unpackbits": lambda x: jnp.unpackbits(
            x.astype(jnp.uint8)), "apply_along_axis": lambda x: jnp.apply_along_axis(jnp.sum, 1, x),
        "modf": jnp.modf, "frexp": jnp.frexp, "divmod": lambda x: jnp.divmod(x, 2.0),
        "ldexp": lambda x: jnp.ldexp(x, 3), "signbit": jnp.signbit, "sinc": jnp.sinc,
        "i0": jnp.i0, "float_power": lambda x: jnp.float_power(jnp.abs(x), 2.5),
        "put_along_axis": lambda x: jnp.put_along_axis(
            x, jnp.array([[1], [0], [3], [2]]), 9.0, 1, inplace=False),
        "fill_diagonal": lambda x: jnp.fill_diagonal(x, 7.0, inplace=False),
        "tri": lambda x: jnp.tri(4, 6) * x, "gradient": lambda x: jnp.gradient(x, axis=1),
        "fmod": lambda x: jnp.fmod(x, 1.3), "remainder": lambda x: jnp.remainder(x, -1.3),
        "deg2rad": jnp.deg2rad, "logspace": lambda x: jnp.logspace(0, 2, 6) + x,
    }  # fmt: skip
    for name, function in functions.items():
        add(f"jnp.{name}", function, x)


def _indexing() -> None:
    table, ids = array((10, 4)), np.array([[0, 9, 3], [5, -1, 2]], np.int32)
    wild = np.array([0, 12, -3, -30, 9, 10], np.int32)
    for dtype in (F, "bfloat16", I, "bool", C):
        t = array((10, 4), dtype, 1)
        add(f"gather/{short(dtype)}", lambda t, i: t[i], t, ids)
        add(f"scatter-set/{short(dtype)}", lambda t, i, u: t.at[i].set(u), t,
            np.array([1, 5, 7], np.int32), array((3, 4), dtype, 2))  # fmt: skip
    for mode in ("fill", "clip", "promise_in_bounds"):
        safe = ids % 10 if mode == "promise_in_bounds" else wild
        add(f"gather/mode-{mode}", lambda t, i, m=mode: t.at[i].get(mode=m), table, safe)
    add("gather/fill-value", lambda t, i: t.at[i].get(mode="fill", fill_value=7), table, wild)
    add("jnp.take/wrap", lambda t, i: jnp.take(t, i, 0, mode="wrap"), table, wild)
    add("jnp.take/default", lambda t, i: jnp.take(t, i, 1), table, np.array([3, 9, -1], np.int32))
    add("jnp.take_along_axis", lambda t, i: jnp.take_along_axis(t, i, 1), table,
        array((10, 2), I, low=0, high=3))  # fmt: skip
    add("gather/two-axes", lambda t, i, j: t[i, j], table, wild % 10, wild % 4)
    add("gather/mixed", lambda t, i: t[1:8:2, i], table, np.array([3, 0], np.int32))
    add("gather/batched", jax.vmap(lambda t, i: t[i]), array((3, 5, 2)), array((3, 4), I, low=0))
    for operation in "add multiply min max apply divide power".split():
        updates = array((6, 4), seed=2, low=0.5)
        if operation == "apply":
            add("scatter/apply", lambda t, i: t.at[i].apply(jnp.sin), table, wild)
            continue
        add(f"scatter-{operation}/out-of-bounds",
            lambda t, i, u, o=operation: getattr(t.at[i], o)(u), np.abs(table), wild, updates)  # fmt: skip
        add(f"scatter-{operation}/i32",
            lambda t, i, u, o=operation: getattr(t.at[i], o)(u),
            array((10,), I, low=1, high=9), wild % 10, array((6,), I, low=1, high=2)) if operation \
            in ("add", "multiply", "min", "max") else None  # fmt: skip
    add("scatter-add/repeated", lambda t, i, u: t.at[i].add(u), table,
        np.array([1, 1, 1, 2], np.int32), array((4, 4), seed=3))  # fmt: skip
    for mode in ("drop", "clip"):
        add(f"scatter-set/mode-{mode}", lambda t, i, u, m=mode: t.at[i].set(u, mode=m), table,
            np.array([3, 12, -30], np.int32), array((3, 4), seed=2))  # fmt: skip
        add(f"scatter-window/mode-{mode}", lambda t, i, u, m=mode: t.at[i, 1:3].add(u, mode=m),
            table, np.array([3, 12, -30], np.int32), array((3, 2), seed=2))  # fmt: skip
    add("scatter/two-axes", lambda t, i, j, u: t.at[i, j].set(u), table,
        np.array([1, 3], np.int32), np.array([2, 0], np.int32), array((2,)))  # fmt: skip
    add("scatter/batched", jax.vmap(lambda t, i, u: t.at[i].add(u)), array((3, 5)),
        array((3, 2), I, low=0), array((3, 2)))  # fmt: skip
    for start in ((1, 2), (-2, 9), (100, -100)):
        add(f"lax.dynamic_slice/{start}".replace(" ", ""),
            lambda t, i, j: lax.dynamic_slice(t, (i, j), (3, 2)), table,
            np.int32(start[0]), np.int32(start[1]))  # fmt: skip
        add(f"lax.dynamic_update_slice/{start}".replace(" ", ""),
            lambda t, u, i, j: lax.dynamic_update_slice(t, u, (i, j)), table,
            array((3, 2), seed=4), np.int32(start[0]), np.int32(start[1]))  # fmt: skip
    add("lax.dynamic_slice/u8", lambda t, i: lax.dynamic_slice(t, (i,), (3,)), array((300,)),
        np.uint8(250))  # fmt: skip
    add("lax.dynamic_index_in_dim", lambda t, i: lax.dynamic_index_in_dim(t, i, 1), table,
        np.int32(2))  # fmt: skip
    add("jax.ops.segment_sum", lambda x, i: jax.ops.segment_sum(x, i, 5), array((8, 2)),
        array((8,), I, low=0, high=4))  # fmt: skip
    add("jax.ops.segment_max", lambda x, i: jax.ops.segment_max(x, i, 5), array((8, 2)),
        array((8,), I, low=0, high=3))  # fmt: skip
    add("jax.nn.one_hot", lambda i: jax.nn.one_hot(i, 5), np.array([0, 4, -1, 7], np.int32))
    add("gather/grad", jax.grad(lambda t, i: (t[i] ** 2).sum()), table, ids)
    add("scatter/grad", jax.grad(lambda t, i, u: (t.at[i].add(u) ** 2).sum(), (0, 2)), table,
        np.array([1, 5], np.int32), array((2, 4), seed=3))  # fmt: skip
    add("lax.dynamic_slice/grad", jax.grad(lambda t, i: (lax.dynamic_slice(
        t, (i, 1), (3, 2)) ** 2).sum()), table, np.int32(4))  # fmt: skip
