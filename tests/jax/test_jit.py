"""``iree_frontend_jax.jit`` and ``export`` against ``jax.jit``."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import iree_core as iree
import iree_frontend_jax
from iree_core.errors import InvocationError, UnsupportedOperatorError, UsageError

Point = namedtuple("Point", "x y")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def same(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Check that a call gives what JAX gives: nesting, dtypes, weak types, values."""
    wanted = jax.jit(function, **options)(*args)
    found = iree_frontend_jax.jit(function, **options)(*args)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):  # keys have no weak type
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.weak_type == b.weak_type
        np.testing.assert_allclose(
            np.asarray(a).astype(np.float64), np.asarray(b).astype(np.float64), rtol=1e-5, atol=1e-6
        )
    return found


def test_nested_arguments_dtypes_and_weak_types() -> None:
    def function(p: Any, n: Any, key: jax.Array) -> Any:
        return {
            "point": Point(p["a"] * 2, p["b"].astype(jnp.bfloat16)),
            "weak": n * 2.5,
            "none": None,
            "flag": p["a"] > 0,
            "weak flag": n == n,
            "key": jax.random.split(key),
        }

    a = {"a": jnp.arange(6.0).reshape(2, 3) - 2, "b": np.ones(4, np.float32)}
    same(function, a, 3.0, jax.random.key(7))


def test_signatures_are_compiled_once_each() -> None:
    compiled = []

    @iree_frontend_jax.jit
    def function(x: jax.Array) -> jax.Array:
        compiled.append(x.shape)
        return x + 1

    for x in (np.ones(3, np.float32), jnp.zeros(3), np.ones(4, np.float32), jnp.zeros(3)):
        np.testing.assert_array_equal(function(x), x + 1)
    assert compiled == [(3,), (4,)]


def test_static_arguments_by_number_and_name() -> None:
    @iree_frontend_jax.jit(static_argnums=1, static_argnames="mode")
    def function(x: jax.Array, times: int, mode: str = "up") -> jax.Array:
        return x * times if mode == "up" else x / times

    x = jnp.ones(3)
    assert function(x, 3)[0] == 3
    assert function(x, 4, mode="down")[0] == 0.25
    assert function(x, times=5)[0] == 5


def test_an_unhashable_static_argument_is_named() -> None:
    function = iree_frontend_jax.jit(lambda x, sizes: x, static_argnames="sizes")
    with pytest.raises(UsageError, match="sizes is not hashable"):
        function(jnp.ones(3), sizes=[1])


def test_settings_of_jax_are_part_of_the_signature() -> None:
    function = iree_frontend_jax.jit(lambda x: x + 1e-12)
    assert function(1.0).dtype == np.float32
    with jax.enable_x64(True):
        assert float(function(1.0)) - 1 == pytest.approx(1e-12, rel=1e-3)


def test_results_do_not_share_memory_with_arguments_of_numpy() -> None:
    x = np.ones(4, np.float32)
    (same, first) = iree_frontend_jax.jit(lambda x: (x, x[:1]))(x)
    x[:] = 7
    assert float(same[0]) == float(first[0]) == 1


def test_donated_arguments_are_deleted() -> None:
    function = iree_frontend_jax.jit(lambda x, y: x + y, donate_argnums=0)
    x, y = jnp.ones(3), jnp.ones(3)
    assert function(x, y)[0] == 2
    assert x.is_deleted() and not y.is_deleted()


def test_memory_is_shared() -> None:
    function = iree_frontend_jax.jit(lambda x: x * 2)
    result = function(np.ones((256, 256), np.float32))
    view = np.asarray(result)
    assert view.ctypes.data == result.unsafe_buffer_pointer()
    assert not result.weak_type and view[0, 0] == 2


def test_inside_transformations_jax_traces() -> None:
    function = iree_frontend_jax.jit(lambda x: jnp.sin(x).sum())
    gradient = jax.grad(function)
    np.testing.assert_allclose(gradient(jnp.ones(3)), np.cos(np.ones(3)), rtol=1e-6)
    compiled = iree_frontend_jax.jit(gradient)  # of its own, though it carries the function
    np.testing.assert_allclose(compiled(jnp.ones(3)), np.cos(np.ones(3)), rtol=1e-6)


def test_collectives_on_a_mesh_of_one_device() -> None:
    mesh = jax.make_mesh((1,), ("d",))
    spread, whole = jax.P("d"), jax.P()

    def body(a: jax.Array) -> Any:
        total, mean = jax.lax.psum(a.sum(), "d"), jax.lax.pmean(a, "d")
        every = jax.lax.all_gather(a, "d", tiled=True)
        part = jax.lax.psum_scatter(a, "d", tiled=True)
        turned = jax.lax.all_to_all(a.reshape(1, -1), "d", 0, 0).reshape(-1)
        number, next_ = jax.lax.axis_index("d") + 1, jax.lax.ppermute(a, "d", [(0, 0)])
        return total, mean, every, part, turned, number, next_

    specs = (whole, whole, whole, spread, spread, whole, spread)
    function = jax.shard_map(body, mesh=mesh, in_specs=spread, out_specs=specs, check_vma=False)
    x = jax.device_put(jnp.arange(4.0), jax.NamedSharding(mesh, spread))
    same(function, x)


def test_unknown_options_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match="no option keep_unused"):
        iree_frontend_jax.jit(lambda x: x, keep_unused=True)


def test_one_module_for_all_sizes(tmp_path: Path) -> None:
    b, s = export.symbolic_shape("b, s")
    program = iree_frontend_jax.export(lambda x, w: jax.nn.softmax(x @ w))(
        jax.ShapeDtypeStruct((b, s), jnp.float32), jax.ShapeDtypeStruct((s, 4), jnp.float32)
    )
    for m, k in ((1, 3), (5, 8)):
        x, w = np.ones((m, k), np.float32), np.eye(k, 4, dtype=np.float32)
        np.testing.assert_allclose(program(x, w), jax.nn.softmax(x @ w), rtol=1e-5)
    main = iree.load(program.save(tmp_path / "m.vmfb")).main
    assert [value.shape for value in main.inputs] == [("b", "s"), ("s", 4)]
    with pytest.raises(InvocationError):
        program(np.ones((2, 3), np.float32), np.ones((5, 4), np.float32))


def test_sizes_other_than_exported_for_are_refused() -> None:
    (b,) = export.symbolic_shape("b", constraints=["b >= 4"])
    head = iree_frontend_jax.export(lambda x: x[:4])(jax.ShapeDtypeStruct((b, 2), jnp.float32))
    assert head.compiled.report.dispatches <= 1  # the host computes with sizes
    assert head(np.ones((5, 2), np.float32)).shape == (4, 2)
    with pytest.raises(InvocationError, match=r"constraint b >= 4"):
        head(np.ones((2, 2), np.float32))
    (s,) = export.symbolic_shape("s")
    half = iree_frontend_jax.export(lambda x: x.reshape(2, -1))(
        jax.ShapeDtypeStruct((2 * s,), jnp.float32)
    )
    assert half(np.ones(6, np.float32)).shape == (2, 3)
    with pytest.raises(InvocationError, match="Division had remainder when computing"):
        half(np.ones(5, np.float32))


def test_training_follows_jax() -> None:
    def step(p: Any, x: jax.Array, y: jax.Array) -> Any:
        loss, grads = jax.value_and_grad(
            lambda p: ((jnp.tanh(x @ p["w"]) @ p["v"] - y) ** 2).mean()
        )(p)
        return loss, jax.tree.map(lambda a, g: a - 0.1 * g, p, grads)

    generator = np.random.default_rng(0)
    start = {
        "w": generator.standard_normal((4, 16)).astype(np.float32),
        "v": generator.standard_normal((16, 1)).astype(np.float32),
    }
    x = generator.standard_normal((32, 4)).astype(np.float32)
    y = x[:, :1] * x[:, 1:2]
    ours, theirs = iree_frontend_jax.jit(step), jax.jit(step)
    p = q = start
    for _ in range(20):
        found, p = ours(p, x, y)
        wanted, q = theirs(q, x, y)
        assert abs(float(found) - float(wanted)) < 1e-4


def test_unsupported_operations_are_named_with_their_lines() -> None:
    def function(x: jax.Array) -> jax.Array:
        y = jax.ffi.ffi_call("one_library", x)(x)  # the first
        return jax.ffi.ffi_call("other_library", x)(y)  # the second

    with pytest.raises(UnsupportedOperatorError) as error:
        iree_frontend_jax.jit(function)(jnp.ones((3, 3)))
    first = function.__code__.co_firstlineno + 1
    text = str(error.value)
    assert f"test_jit.py:{first}" in text and "'one_library'" in text
    assert f"test_jit.py:{first + 1}" in text and "'other_library'" in text
    assert "jax.numpy" in text
