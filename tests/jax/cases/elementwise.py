"""Elementwise operations of one and two operands, and conversions between element types."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import FLOATS, INTS, C, F, add, array, short


def register() -> None:
    """Register the cases."""
    _unary()
    _binary()


def _unary() -> None:
    anywhere = (
        "abs ceil cos cosh erf erfc exp exp2 expm1 floor is_finite logistic neg round sign sin "
        "sinh square tan tanh cbrt asinh atan"
    ).split()
    positive = "log log1p rsqrt sqrt lgamma digamma bessel_i0e bessel_i1e".split()
    inside = "acos asin atanh erf_inv".split()
    for dtype in FLOATS:
        for name in anywhere:
            add(f"lax.{name}/{short(dtype)}", getattr(lax, name), array((4, 7), dtype))
        for name in positive:
            add(f"lax.{name}/{short(dtype)}", getattr(lax, name),
                array((4, 7), dtype, low=0.2, high=5.0))  # fmt: skip
        for name in inside:
            add(f"lax.{name}/{short(dtype)}", getattr(lax, name),
                array((4, 7), dtype, low=-0.9, high=0.9))  # fmt: skip
        add(f"lax.acosh/{short(dtype)}", lax.acosh, array((4, 7), dtype, low=1.1, high=5.0))
        add(f"lax.integer_pow/{short(dtype)}", lambda x: lax.integer_pow(x, 3), array((5,), dtype))
        add(f"lax.reduce_precision/{short(dtype)}",
            lambda x: lax.reduce_precision(x, 5, 4), array((4, 7), dtype))  # fmt: skip
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e38, -1.5, 0.5, 2.5], np.float32)
    for name in ("abs exp expm1 log1p floor ceil round sign tanh sqrt is_finite cbrt sin "
                 "erf logistic").split():  # fmt: skip
        add(f"lax.{name}/special", getattr(lax, name), special)
    add("jnp.round/half-even", jnp.round, np.arange(-4, 4, 0.5, dtype=np.float32))
    add("jnp.nan_to_num", jnp.nan_to_num, special)
    for dtype in INTS:
        for name in "abs bitwise_not clz neg population_count sign".split():
            if name in ("abs", "neg", "sign") and dtype.startswith("u") and name == "abs":
                continue
            add(f"lax.{name}/{short(dtype)}", getattr(lax, name), array((4, 7), dtype, high=100))
    for name in "abs conj cos cosh exp expm1 imag log log1p neg real rsqrt sign sin sinh sqrt "\
                "square tan tanh logistic".split():  # fmt: skip
        add(f"lax.{name}/c64", getattr(lax, name), array((4, 7), C))
    for name in "acos acosh asin asinh atan atanh".split():
        add(f"lax.{name}/c64", getattr(lax, name), array((4, 7), C, low=-0.9, high=0.9))
    add("jnp.angle/c64", jnp.angle, array((9,), C))


def _binary() -> None:
    for dtype in (*FLOATS, *INTS, C):
        x, y = array((4, 7), dtype, 1), array((4, 7), dtype, 2)
        names = "add mul sub eq ne".split()
        names += [] if dtype == C else "ge gt le lt max min".split()
        for name in names:
            add(f"lax.{name}/{short(dtype)}", getattr(lax, name), x, y)
        divisor = array((4, 7), dtype, 3, low=1, high=5)
        add(f"lax.div/{short(dtype)}", lax.div, array((4, 7), dtype, 4, high=60), divisor)
        if dtype != C:
            add(f"lax.rem/{short(dtype)}", lax.rem, array((4, 7), dtype, 4, high=60), divisor)
            add(f"jnp.floor_divide/{short(dtype)}", jnp.floor_divide,
                array((4, 7), dtype, 5, low=-60, high=60), divisor)  # fmt: skip
            add(f"jnp.mod/{short(dtype)}", jnp.mod,
                array((4, 7), dtype, 5, low=-60, high=60), divisor)  # fmt: skip
            add(f"lax.clamp/{short(dtype)}", lax.clamp,
                jnp.asarray(1, dtype), array((4, 7), dtype, 6), jnp.asarray(2, dtype))  # fmt: skip
        add(f"jnp.broadcasting/{short(dtype)}", lambda a, b: a[:, None] + b, x[:, 0], y[0])
        add(f"jnp.where/{short(dtype)}", lambda a, b: jnp.where(a == b, a, b), x, y)
    for dtype in FLOATS:
        base = array((4, 7), dtype, 7, low=0.1)
        add(f"lax.pow/{short(dtype)}", lax.pow, base, array((4, 7), dtype, 8))
        add(f"lax.atan2/{short(dtype)}", lax.atan2, array((4, 7), dtype), base)
        add(f"lax.nextafter/{short(dtype)}", lax.nextafter, array((4, 7), dtype), base)
        add(f"jnp.hypot/{short(dtype)}", jnp.hypot, array((4, 7), dtype), base)
        add(f"jnp.logaddexp/{short(dtype)}", jnp.logaddexp, array((4, 7), dtype), base)
        add(f"jnp.copysign/{short(dtype)}", jnp.copysign, base, array((4, 7), dtype, 9))
        add(f"jnp.heaviside/{short(dtype)}", jnp.heaviside, array((4, 7), dtype), base)
    add("lax.pow/c64", lax.pow, array((4, 7), C), array((4, 7), C, 1))
    add("lax.complex", lax.complex, array((4,)), array((4,), seed=1))
    for dtype in (*INTS, "bool"):
        x, y = array((4, 7), dtype, 1, high=50), array((4, 7), dtype, 2, high=50)
        for name in "bitwise_and bitwise_or bitwise_xor".split():
            add(f"lax.{name}/{short(dtype)}", getattr(lax, name), x, y)
        if dtype != "bool":
            shift = array((4, 7), dtype, 3, low=0, high=9)
            for name in "shift_left shift_right_arithmetic shift_right_logical".split():
                add(f"lax.{name}/{short(dtype)}", getattr(lax, name), x, shift)
            add(f"jnp.gcd/{short(dtype)}", jnp.gcd, x, y)
            add(f"jnp.power/{short(dtype)}", lambda a: a**3, y)
    x = np.array([5, -7, 0, 100], np.int32)
    add("lax.div/by-zero", lax.div, x, np.array([0, 0, 0, 7], np.int32))
    add("lax.rem/by-zero", lax.rem, x, np.array([0, 0, 0, 7], np.int32))
    add("lax.div/overflow", lax.div, np.array([-(2**31)], np.int32), np.array([-1], np.int32))
    for dtype in ("float32", "bfloat16", "float16", "int32", "int8", "uint8", "uint32", "bool",
                  "float8_e4m3fn", "float8_e5m2", "int4", "complex64"):  # fmt: skip
        for source in ("float32", "int32", "bool", "uint8"):
            add(f"lax.convert_element_type/{short(source)}-{short(dtype)}",
                lambda x, dtype=dtype: lax.convert_element_type(x, dtype),
                array((4, 7), source, low=0 if dtype.startswith("u") else -3))  # fmt: skip
    add("lax.convert_element_type/saturating", lambda x: lax.convert_element_type(x, jnp.int32),
        np.array([1e20, -1e20, np.nan, 1.9, -1.9], np.float32))  # fmt: skip
    add("lax.convert_element_type/i32-f8-back", lambda x: x.astype(jnp.float8_e4m3fn).astype(F),
        array((16,), high=400.0, low=-400.0))  # fmt: skip
    add("lax.bitcast/f32-i32", lambda x: lax.bitcast_convert_type(x, jnp.int32), array((4, 7)))
    add("lax.bitcast/f32-u8", lambda x: lax.bitcast_convert_type(x, jnp.uint8), array((4, 7)))
    add("lax.bitcast/u8-i32", lambda x: lax.bitcast_convert_type(x, jnp.int32),
        array((5, 4), "uint8", high=200))  # fmt: skip
    add("lax.bitcast/i16-bf16", lambda x: lax.bitcast_convert_type(x, jnp.bfloat16),
        array((5, 4), "int16", low=1000, high=2000))  # fmt: skip
