"""Functions that call back into Python: what ``jax.jit`` does comes out, in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

import iree_core as iree
import iree_frontend_jax
from iree_core.errors import UnsupportedOperatorError

FILE = """
func.func public @main(%x: tensor<3xf32>) -> tensor<3xf32> {
  %y = stablehlo.custom_call @xla_ffi_python_cpu_callback(%x) {
    mhlo.backend_config = {index = 0 : ui64}} : (tensor<3xf32>) -> tensor<3xf32>
  return %y : tensor<3xf32>
}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_pure_callbacks_of_many_types_and_places() -> None:
    bf16 = jax.ShapeDtypeStruct((3,), jnp.bfloat16)
    pair = (jax.ShapeDtypeStruct((2,), bool), jax.ShapeDtypeStruct((), np.uint8))

    def function(x: jax.Array, unused: jax.Array) -> Any:
        y = jax.pure_callback(np.sin, x, x) * 2
        narrow = jax.lax.cond(
            y[0] > 0, lambda: jax.pure_callback(lambda a: a.astype(jnp.bfloat16), bf16, y),
            lambda: y.astype(jnp.bfloat16),
        )  # fmt: skip
        each = jax.vmap(lambda t: jax.pure_callback(np.cos, t, t, vmap_method="sequential"))(x)
        flags = jax.pure_callback(lambda: (np.array([True, False]), np.uint8(200)), pair)
        return {"y": y, "narrow": narrow, "each": each}, flags

    x = jnp.arange(3.0) + 1
    found = iree_frontend_jax.jit(function)(x, 0)
    wanted = jax.jit(function)(x, 0)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-6)


def test_effects_keep_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[float] = []

    def note(value: jax.Array) -> np.ndarray:
        seen.append(float(value))
        return np.float32(len(seen))

    def function(x: jax.Array) -> Any:
        def body(total: jax.Array, item: jax.Array) -> Any:
            count = io_callback(note, jax.ShapeDtypeStruct((), jnp.float32), item, ordered=True)
            jax.debug.print("{i} of {t}", i=item, t=total, ordered=True)
            return total + count, None

        return jax.lax.scan(body, 0.0, x)[0]

    x = jnp.array([3.0, 1.0, 2.0])
    assert float(iree_frontend_jax.jit(function)(x)) == 6
    assert seen == [3, 1, 2]
    assert capsys.readouterr().out == "3.0 of 0.0\n1.0 of 1.0\n2.0 of 3.0\n"


@pytest.mark.slow
def test_another_function_with_the_same_program_calls_its_own_callback() -> None:
    def scaled(by: float) -> Any:
        return iree_frontend_jax.jit(lambda x: jax.pure_callback(lambda a: by * a, x, x))

    x = np.ones(2, np.float32)
    assert scaled(2.0)(x)[0] == 2  # compiles
    assert scaled(3.0)(x)[0] == 3  # finds the module in the cache


@pytest.mark.slow
def test_gradients_pass_by_a_callback() -> None:
    @jax.custom_vjp
    def sine(x: jax.Array) -> jax.Array:
        return jax.pure_callback(np.sin, x, x)

    sine.defvjp(lambda x: (sine(x), x), lambda x, g: (g * jax.pure_callback(np.cos, x, x),))
    x = jnp.linspace(0.0, 1.0, 5)
    found = iree_frontend_jax.jit(jax.grad(lambda x: (sine(x) * x).sum()))(x)
    np.testing.assert_allclose(found, np.sin(x) + x * np.cos(x), rtol=1e-6)


@pytest.mark.slow
def test_errors_of_callbacks_reach_the_caller() -> None:
    @iree_frontend_jax.jit
    def positive(x: jax.Array) -> jax.Array:
        return eqx.error_if(x, x < 0, "x must not be negative")

    assert positive(jnp.ones(()) * 2) == 2
    with pytest.raises(RuntimeError, match="x must not be negative"):
        positive(-jnp.ones(()))


@pytest.mark.slow
def test_exported_programs_call_back_as_well() -> None:
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    square = jax.ShapeDtypeStruct((3, 2), jnp.float32)
    program = iree_frontend_jax.export(lambda x: jax.pure_callback(np.transpose, square, x) + 1)
    np.testing.assert_array_equal(program(x)(a), a.T + 1)


def test_callbacks_in_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "callback.mlir"
    path.write_text(FILE)
    with pytest.raises(UnsupportedOperatorError, match="calls back into Python") as error:
        iree.compile(path, frontend="jax")
    assert "iree_frontend_jax.jit" in str(error.value)
