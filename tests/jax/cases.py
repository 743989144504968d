"""Operations of JAX over element types and shapes, as functions with arguments.

Every case is compared with JAX on the CPU. Factorisations are multiplied out again, so that the
freedom of signs and order does not matter. Nothing here knows of the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
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
    dtypes = [str(leaf.dtype) for leaf in jax.tree.leaves(arguments) if hasattr(leaf, "dtype")]
    found = [_TOLERANCES.get(dtype, 1e-4) for dtype in dtypes if "int" not in dtype]
    CASES[name] = Case(name, function, arguments, tolerance or max(found, default=1e-4), dims, x64)


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


def _short(dtype: str) -> str:
    for long, short in (
        ("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i"), ("complex", "c"),
    ):  # fmt: skip
        if dtype.startswith(long):
            return dtype.replace(long, short)
    return dtype


def _unary() -> None:
    anywhere = (
        "abs ceil cos cosh erf erfc exp exp2 expm1 floor is_finite logistic neg round sign sin "
        "sinh square tan tanh cbrt asinh atan"
    ).split()
    positive = "log log1p rsqrt sqrt lgamma digamma bessel_i0e bessel_i1e".split()
    inside = "acos asin atanh erf_inv".split()
    for dtype in FLOATS:
        for name in anywhere:
            add(f"lax.{name}/{_short(dtype)}", getattr(lax, name), array((4, 7), dtype))
        for name in positive:
            add(f"lax.{name}/{_short(dtype)}", getattr(lax, name),
                array((4, 7), dtype, low=0.2, high=5.0))  # fmt: skip
        for name in inside:
            add(f"lax.{name}/{_short(dtype)}", getattr(lax, name),
                array((4, 7), dtype, low=-0.9, high=0.9))  # fmt: skip
        add(f"lax.acosh/{_short(dtype)}", lax.acosh, array((4, 7), dtype, low=1.1, high=5.0))
        add(f"lax.integer_pow/{_short(dtype)}", lambda x: lax.integer_pow(x, 3), array((5,), dtype))
        add(f"lax.reduce_precision/{_short(dtype)}",
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
            add(f"lax.{name}/{_short(dtype)}", getattr(lax, name), array((4, 7), dtype, high=100))
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
            add(f"lax.{name}/{_short(dtype)}", getattr(lax, name), x, y)
        divisor = array((4, 7), dtype, 3, low=1, high=5)
        add(f"lax.div/{_short(dtype)}", lax.div, array((4, 7), dtype, 4, high=60), divisor)
        if dtype != C:
            add(f"lax.rem/{_short(dtype)}", lax.rem, array((4, 7), dtype, 4, high=60), divisor)
            add(f"jnp.floor_divide/{_short(dtype)}", jnp.floor_divide,
                array((4, 7), dtype, 5, low=-60, high=60), divisor)  # fmt: skip
            add(f"jnp.mod/{_short(dtype)}", jnp.mod,
                array((4, 7), dtype, 5, low=-60, high=60), divisor)  # fmt: skip
            add(f"lax.clamp/{_short(dtype)}", lax.clamp,
                jnp.asarray(1, dtype), array((4, 7), dtype, 6), jnp.asarray(2, dtype))  # fmt: skip
        add(f"jnp.broadcasting/{_short(dtype)}", lambda a, b: a[:, None] + b, x[:, 0], y[0])
        add(f"jnp.where/{_short(dtype)}", lambda a, b: jnp.where(a == b, a, b), x, y)
    for dtype in FLOATS:
        base = array((4, 7), dtype, 7, low=0.1)
        add(f"lax.pow/{_short(dtype)}", lax.pow, base, array((4, 7), dtype, 8))
        add(f"lax.atan2/{_short(dtype)}", lax.atan2, array((4, 7), dtype), base)
        add(f"lax.nextafter/{_short(dtype)}", lax.nextafter, array((4, 7), dtype), base)
        add(f"jnp.hypot/{_short(dtype)}", jnp.hypot, array((4, 7), dtype), base)
        add(f"jnp.logaddexp/{_short(dtype)}", jnp.logaddexp, array((4, 7), dtype), base)
        add(f"jnp.copysign/{_short(dtype)}", jnp.copysign, base, array((4, 7), dtype, 9))
        add(f"jnp.heaviside/{_short(dtype)}", jnp.heaviside, array((4, 7), dtype), base)
    add("lax.pow/c64", lax.pow, array((4, 7), C), array((4, 7), C, 1))
    add("lax.complex", lax.complex, array((4,)), array((4,), seed=1))
    for dtype in (*INTS, "bool"):
        x, y = array((4, 7), dtype, 1, high=50), array((4, 7), dtype, 2, high=50)
        for name in "bitwise_and bitwise_or bitwise_xor".split():
            add(f"lax.{name}/{_short(dtype)}", getattr(lax, name), x, y)
        if dtype != "bool":
            shift = array((4, 7), dtype, 3, low=0, high=9)
            for name in "shift_left shift_right_arithmetic shift_right_logical".split():
                add(f"lax.{name}/{_short(dtype)}", getattr(lax, name), x, shift)
            add(f"jnp.gcd/{_short(dtype)}", jnp.gcd, x, y)
            add(f"jnp.power/{_short(dtype)}", lambda a: a**3, y)
    x = np.array([5, -7, 0, 100], np.int32)
    add("lax.div/by-zero", lax.div, x, np.array([0, 0, 0, 7], np.int32))
    add("lax.rem/by-zero", lax.rem, x, np.array([0, 0, 0, 7], np.int32))
    add("lax.div/overflow", lax.div, np.array([-(2**31)], np.int32), np.array([-1], np.int32))
    for dtype in ("float32", "bfloat16", "float16", "int32", "int8", "uint8", "uint32", "bool",
                  "float8_e4m3fn", "float8_e5m2", "int4", "complex64"):  # fmt: skip
        for source in ("float32", "int32", "bool", "uint8"):
            add(f"lax.convert_element_type/{_short(source)}-{_short(dtype)}",
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


def _reductions() -> None:
    for dtype in (*FLOATS, I, "int8", "uint8", C):
        x = array((3, 5, 4), dtype, 1)
        for axis in (None, 0, (1, 2), -1):
            label = "all" if axis is None else str(axis).replace(" ", "")
            names = "sum prod mean".split() if dtype == C else "sum prod max min mean".split()
            for name in names:
                add(f"jnp.{name}/{_short(dtype)}/{label}",
                    lambda x, name=name, axis=axis: getattr(jnp, name)(x, axis=axis), x,
                    tolerance=5e-2 if dtype == "bfloat16" else None)  # fmt: skip
    x = array((3, 5, 4), F, 2)
    for name in ("std var median ptp nansum nanmax nanmean argmax argmin any all "
                 "count_nonzero").split():  # fmt: skip
        add(f"jnp.{name}/f32", lambda x, name=name: getattr(jnp, name)(x, axis=1), x)
    add("jnp.quantile", lambda x: jnp.quantile(x, 0.3, axis=1), x)
    add("jnp.percentile", lambda x: jnp.percentile(x, 70.0), x)
    add("jnp.average", lambda x, w: jnp.average(x, axis=1, weights=w), x, array((5,), low=0.1))
    ties = np.array([[1, 3, 3, 0], [2, 2, 2, 2], [np.nan, 1, np.nan, 5]], np.float32)
    add("jnp.argmax/ties", lambda x: jnp.argmax(x, 1), ties)
    add("jnp.argmin/ties", lambda x: jnp.argmin(x, 1), ties)
    add("jnp.max/nan", lambda x: jnp.max(x, 1), ties)
    add("lax.reduce/custom", lambda x: lax.reduce(x, np.float32(1), lambda a, b: a * b + 0.0, (1,)),
        array((3, 4), low=0.5, high=1.5))  # fmt: skip
    add("lax.reduce/two", lambda x, y: lax.reduce(
        (x, y), (np.float32(0), np.int32(0)), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0,)),
        array((3, 4)), array((3, 4), I))  # fmt: skip
    for name in "and or xor".split():
        add(f"lax.reduce_{name}", lambda x, name=name: getattr(lax, f"reduce_{name}")(x, (1,)),
            array((3, 6), "bool"))  # fmt: skip
    add("jnp.sum/empty", jnp.sum, np.zeros((0, 3), np.float32))
    add("jnp.sum/keepdims", lambda x: jnp.sum(x, 1, keepdims=True), x)
    add("jax.nn.logsumexp", lambda x: jax.nn.logsumexp(x, 1), x)
    for name in "cumsum cumprod cummax cummin cumlogsumexp".split():
        for dtype in (F, "bfloat16", I):
            if dtype == I and name == "cumlogsumexp":
                continue
            for reverse in (False, True):
                add(f"lax.{name}/{_short(dtype)}/{'reverse' if reverse else 'forward'}",
                    lambda x, name=name, reverse=reverse: getattr(lax, name)(
                        x, axis=1, reverse=reverse),
                    array((3, 9), dtype, low=-1.5, high=1.5),
                    tolerance=6e-2 if dtype == "bfloat16" else None)  # fmt: skip
    add("jnp.diff", lambda x: jnp.diff(x, axis=1), x)
    add("jnp.trapezoid", lambda x: jnp.trapezoid(x, axis=1), x)
    add("jnp.histogram", lambda x: jnp.histogram(x, 5, (-3, 3))[0], x)
    add("jnp.bincount", lambda x: jnp.bincount(x, length=6), array((20,), I, low=0, high=5))
    add("jnp.cov", jnp.cov, array((3, 10)))
    add("jnp.corrcoef", jnp.corrcoef, array((3, 10)))
    add("lax.associative_scan", lambda x: lax.associative_scan(jnp.add, x), array((9, 3)))


def _products() -> None:
    for dtype in (*FLOATS, I, "int8", C):
        for m, k, n in ((3, 4, 5), (1, 7, 1), (16, 32, 24), (4, 0, 5)):
            add(f"jnp.matmul/{_short(dtype)}/{m}x{k}x{n}", jnp.matmul,
                array((m, k), dtype, 1), array((k, n), dtype, 2),
                tolerance={"float16": 2e-2, "bfloat16": 1e-1}.get(dtype))  # fmt: skip
    for name, spec, shapes in (
        ("batched", "bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
        ("attention", "bqhd,bkhd->bhqk", ((2, 5, 3, 4), (2, 6, 3, 4))),
        ("outer", "i,j->ij", ((3,), (4,))),
        ("trace", "ii->", ((4, 4),)),
        ("diagonal", "ii->i", ((4, 4),)),
        ("chain", "ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))),
        ("bilinear", "bi,ijk,bk->bj", ((2, 3), (3, 4, 5), (2, 5))),
        ("transpose", "abc->cab", ((2, 3, 4),)),
    ):
        add(f"jnp.einsum/{name}", lambda *a, spec=spec: jnp.einsum(spec, *a),
            *(array(s, seed=n) for n, s in enumerate(shapes)))  # fmt: skip
    for name in ("vdot", "dot", "inner", "outer", "kron", "cross", "convolve", "correlate"):
        size = 3 if name == "cross" else 5
        add(f"jnp.{name}", getattr(jnp, name), array((size,)), array((size,), seed=1))
    add("jnp.tensordot", lambda a, b: jnp.tensordot(a, b, 2), array((2, 3, 4)), array((3, 4, 5)))
    add("lax.dot_general/i8-i32", lambda a, b: lax.dot_general(
        a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32),
        array((4, 16), "int8", high=100, low=-100), array((16, 8), "int8", 1, high=100, low=-100))  # fmt: skip
    add("lax.dot_general/bf16-f32", lambda a, b: lax.dot_general(
        a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32),
        array((4, 16), "bfloat16"), array((16, 8), "bfloat16", 1))  # fmt: skip
    add("lax.dot_general/batch-last", lambda a, b: lax.dot_general(
        a, b, (((0,), (1,)), ((2,), (0,)))), array((4, 3, 2)), array((2, 4, 5)))  # fmt: skip
    add("lax.dot_general/f8", lambda a, b: lax.dot_general(
        a.astype(jnp.float8_e4m3fn), b.astype(jnp.float8_e4m3fn), (((1,), (0,)), ((), ())),
        preferred_element_type=jnp.float32), array((4, 16)), array((16, 8), seed=1))  # fmt: skip
    add("lax.ragged_dot", lax.ragged_dot, array((6, 4)), array((3, 4, 5), seed=1),
        np.array([2, 1, 3], np.int32))  # fmt: skip


def _convolutions() -> None:
    nhwc = ("NHWC", "HWIO", "NHWC")
    for dtype in (F, "bfloat16", I):
        add(f"lax.conv/nchw/{_short(dtype)}",
            lambda x, w: lax.conv(x, w, (1, 1), "SAME"),
            array((1, 3, 9, 9), dtype), array((4, 3, 3, 3), dtype, 1),
            tolerance=2e-1 if dtype == "bfloat16" else None)  # fmt: skip
    settings: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
        "strides": ((2, 9, 8, 3), (3, 3, 3, 4), {"window_strides": (2, 3)}),
        "valid": ((2, 9, 8, 3), (3, 2, 3, 4), {"padding": "VALID"}),
        "dilated": ((1, 12, 12, 3), (3, 3, 3, 4), {"rhs_dilation": (2, 3)}),
        "transposed": (
            (1, 5, 6, 3),
            (3, 3, 3, 4),
            {"lhs_dilation": (2, 2), "padding": ((1, 2), (2, 1))},
        ),
        "padded": ((1, 5, 6, 3), (3, 3, 3, 4), {"padding": ((1, 2), (0, 3))}),
        "cropped": ((1, 8, 9, 3), (3, 3, 3, 4), {"padding": ((-1, 2), (1, -2))}),
        "grouped": ((1, 8, 8, 6), (3, 3, 3, 4), {"feature_group_count": 2}),
        "depthwise": ((1, 8, 8, 6), (3, 3, 1, 6), {"feature_group_count": 6}),
        "multiplier": ((1, 8, 8, 3), (3, 3, 1, 6), {"feature_group_count": 3}),
        "batch-groups": ((4, 6, 6, 3), (3, 3, 3, 4), {"batch_group_count": 2}),
    }
    for name, (x, w, options) in settings.items():
        settings_ = {"window_strides": (1, 1), "padding": "SAME", **options}
        add(f"lax.conv_general_dilated/{name}",
            lambda x, w, o=settings_: lax.conv_general_dilated(
                x, w, o["window_strides"], o["padding"], dimension_numbers=nhwc,
                **{k: v for k, v in o.items() if k not in ("window_strides", "padding")}),
            array(x), array(w, seed=1))  # fmt: skip
    add("lax.conv/reversed", lambda x, w: lax.conv_general_dilated(
        x, w[::-1, ::-1], (1, 1), "SAME", dimension_numbers=nhwc),
        array((1, 6, 6, 2)), array((3, 3, 2, 3), seed=1))  # fmt: skip
    add("lax.conv/1d", lambda x, w: lax.conv_general_dilated(x, w, (2,), "SAME"),
        array((2, 3, 11)), array((4, 3, 3), seed=1))  # fmt: skip
    add("lax.conv/3d", lambda x, w: lax.conv_general_dilated(x, w, (1, 1, 1), "SAME"),
        array((1, 2, 5, 5, 5)), array((3, 2, 3, 3, 3), seed=1))  # fmt: skip
    add("lax.conv/0d", lambda x, w: lax.conv_general_dilated(x, w, (), "SAME"),
        array((2, 3)), array((4, 3), seed=1))  # fmt: skip
    for padding in ("SAME", "VALID"):
        add(f"lax.conv_transpose/{padding}", lambda x, w, p=padding: lax.conv_transpose(
            x, w, (2, 2), p), array((1, 5, 5, 3)), array((3, 3, 3, 4), seed=1))  # fmt: skip
    add("lax.conv/grad", jax.grad(lambda x, w: (lax.conv_general_dilated(
        x, w, (2, 2), "SAME", dimension_numbers=nhwc) ** 2).sum(), (0, 1)),
        array((2, 9, 9, 3)), array((3, 3, 3, 4), seed=1))  # fmt: skip
    add("lax.conv/grad-depthwise", jax.grad(lambda x, w: (lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=nhwc, feature_group_count=4) ** 2).sum(), (0, 1)),
        array((2, 7, 7, 4)), array((3, 3, 1, 4), seed=1))  # fmt: skip
    pool = {"max": (lax.max, -jnp.inf), "min": (lax.min, jnp.inf), "add": (lax.add, 0.0),
            "mul": (lax.mul, 1.0)}  # fmt: skip
    for name, (reducer, start) in pool.items():
        for padding in ("SAME", "VALID"):
            add(f"lax.reduce_window/{name}/{padding}",
                lambda x, r=reducer, s=start, p=padding: lax.reduce_window(
                    x, np.float32(s), r, (1, 3, 2, 1), (1, 2, 2, 1), p),
                array((1, 7, 8, 3), low=0.5))  # fmt: skip
    add(
        "lax.reduce_window/dilated",
        lambda x: lax.reduce_window(
            x, np.float32(0), lax.add, (2, 2), (1, 1), "VALID", window_dilation=(2, 1)
        ),
        array((6, 7)),
    )
    add(
        "lax.reduce_window/base-dilated",
        lambda x: lax.reduce_window(
            x, np.float32(0), lax.add, (2, 2), (1, 1), "VALID", base_dilation=(2, 2)
        ),
        array((4, 5)),
    )
    add(
        "lax.reduce_window/i32",
        lambda x: lax.reduce_window(x, np.int32(0), lax.add, (2, 2), (1, 2), "SAME"),
        array((4, 5), I),
    )
    add("lax.reduce_window/two", lambda x, y: lax.reduce_window(
        (x, y), (np.float32(0), np.int32(0)), lambda a, b: (a[0] + b[0], a[1] + b[1]),
        (2, 2), (1, 1), "VALID"), array((4, 5)), array((4, 5), I))  # fmt: skip
    add("lax.max_pool/grad", jax.grad(lambda x: (lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") ** 2).sum()),
        array((1, 6, 6, 3)))  # fmt: skip
    add("lax.max_pool/grad-overlapping", jax.grad(lambda x: (lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME") ** 2).sum()),
        array((1, 7, 7, 3)))  # fmt: skip
    add(
        "lax.avg_pool/grad",
        jax.grad(
            lambda x: (
                lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "SAME") ** 2
            ).sum()
        ),
        array((1, 7, 7, 3)),
    )
    add("lax.max_pool/jvp", lambda x, t: jax.jvp(lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (2, 2), (1, 1), "VALID"), (x,), (t,)),
        array((5, 5)), array((5, 5), seed=1))  # fmt: skip
    for name in "cumsum cummax".split():
        add(f"lax.{name}/grad", jax.grad(lambda x, name=name: (
            getattr(lax, name)(x, 1) ** 2).sum()), array((3, 6)))  # fmt: skip
    add("lax.conv_general_dilated_patches", lambda x: lax.conv_general_dilated_patches(
        x, (2, 2), (1, 1), "VALID"), array((1, 2, 5, 5)))  # fmt: skip


def _movement() -> None:
    x = array((4, 6))
    for dtype in (F, "bfloat16", I, "bool", C, "uint8"):
        v = array((4, 6), dtype, 3)
        label = _short(dtype)
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
        add(f"gather/{_short(dtype)}", lambda t, i: t[i], t, ids)
        add(f"scatter-set/{_short(dtype)}", lambda t, i, u: t.at[i].set(u), t,
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


def _sorting() -> None:
    for dtype in (*FLOATS, I, "uint8", "bool", C):
        x = array((3, 17), dtype, 1, high=9)
        add(f"jnp.sort/{_short(dtype)}", lambda x: jnp.sort(x, axis=1), x)
        add(f"jnp.argsort/{_short(dtype)}", lambda x: jnp.argsort(x, axis=1), x)
    special = np.array([3, np.nan, -np.inf, np.inf, -0.0, 0.0, np.nan, 1], np.float32)
    add("jnp.sort/special", jnp.sort, special)
    add("jnp.argsort/special", jnp.argsort, special)
    add("jnp.sort/descending", lambda x: jnp.sort(x, descending=True), array((20,)))
    add("jnp.argsort/descending", lambda x: jnp.argsort(x, descending=True),
        array((40,), I, low=0, high=4))  # fmt: skip
    add("jnp.argsort/stable", lambda x: jnp.argsort(x, stable=True), array((99,), I, low=0, high=3))
    add("jnp.sort/axis0", lambda x: jnp.sort(x, axis=0), array((17, 3)))
    add("jnp.lexsort", lambda x, y: jnp.lexsort((x, y)), array((30,), I), array((30,), I, 1))
    add("lax.sort/keys", lambda x, y: lax.sort((x, y), num_keys=2), array((30,), I),
        array((30,), I, 1))  # fmt: skip
    add("lax.sort/payload", lambda x, y: lax.sort((x, y), num_keys=1), array((30,), I),
        array((30,), F, 1))  # fmt: skip
    add("jnp.partition", lambda x: jnp.sort(jnp.partition(x, 3)[:3]), array((20,)))
    for dtype in (F, I, "bfloat16"):
        add(f"lax.top_k/{_short(dtype)}", lambda x: lax.top_k(x, 4), array((3, 20), dtype))
    add("lax.top_k/all", lambda x: lax.top_k(x, 20), array((3, 20)))
    add("lax.approx_max_k", lambda x: lax.approx_max_k(x, 3), array((2, 30)))
    add("lax.approx_min_k", lambda x: lax.approx_min_k(x, 3), array((2, 30)))
    add("jnp.sort/grad", jax.grad(lambda x: (jnp.sort(x) * jnp.arange(9.0)).sum()), array((9,)))
    add("jnp.unique/counts", lambda x: jnp.unique(x, size=6, return_counts=True,
        return_inverse=True), array((12,), I, low=0, high=5))  # fmt: skip
    add("jax.scipy.stats.rankdata", jax.scipy.stats.rankdata, array((12,), I))


def _fourier() -> None:
    for name in "fft ifft".split():
        for n in (8, 6, 7, 1):
            add(f"jnp.fft.{name}/{n}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, n), C))
    for n in (8, 9, 6, 7):
        add(f"jnp.fft.rfft/{n}", jnp.fft.rfft, array((3, n)))
        add(f"jnp.fft.irfft/{n}", lambda x, n=n: jnp.fft.irfft(x, n), array((3, n // 2 + 1), C))
    for name in "fft2 ifft2 fftn ifftn".split():
        add(f"jnp.fft.{name}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, 4, 6), C))
    for name in "rfft2 rfftn".split():
        add(f"jnp.fft.{name}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, 4, 6)))
    for name in "irfft2 irfftn".split():
        add(f"jnp.fft.{name}", lambda x, f=name: getattr(jnp.fft, f)(x), array((3, 4, 5), C))
    add("jnp.fft.hfft", jnp.fft.hfft, array((5,), C))
    add("jnp.fft.fftshift", jnp.fft.fftshift, array((3, 5)))
    add("jnp.fft.fft/axis0", lambda x: jnp.fft.fft(x, axis=0), array((8, 3), C))
    add("jnp.fft.rfft/grad", jax.grad(lambda x: (jnp.abs(jnp.fft.rfft(x)) ** 2).sum()),
        array((3, 8)))  # fmt: skip
    add("jax.scipy.fft.dct", jax.scipy.fft.dct, array((3, 8)))
    add("jax.scipy.fft.idct", jax.scipy.fft.idct, array((3, 8)))
    add("jax.scipy.signal.fftconvolve", jax.scipy.signal.fftconvolve, array((9,)), array((4,)))
    add("jax.scipy.signal.convolve2d", jax.scipy.signal.convolve2d, array((6, 6)), array((3, 3)))
    add("jax.scipy.signal.stft", lambda x: jax.scipy.signal.stft(x, nperseg=8)[2], array((32,)))


def positive(n: int, dtype: str = F, batch: tuple[int, ...] = ()) -> NDArray:
    """Return Hermitian positive definite matrices."""
    a = array((*batch, n, n), dtype, 11, low=-1, high=1)
    return (a @ np.conj(a.swapaxes(-1, -2)) + n * np.eye(n)).astype(a.dtype)


def _linear_algebra() -> None:
    linalg, scipy = jnp.linalg, jax.scipy.linalg
    for dtype in (F, C):
        label = _short(dtype)
        for batch in ((), (3,)):
            spd, a = positive(5, dtype, batch), array((*batch, 5, 5), dtype, 12)
            tag = f"{label}/{'batch' if batch else 'one'}"
            b = array((*batch, 5, 2), dtype, 13)
            add(f"linalg.cholesky/{tag}", linalg.cholesky, spd)
            add(f"linalg.solve/{tag}", linalg.solve, a, b, tolerance=1e-3)
            add(f"linalg.inv/{tag}", linalg.inv, spd)
            add(f"linalg.det/{tag}", linalg.det, a, tolerance=1e-3)
            add(f"linalg.slogdet/{tag}", linalg.slogdet, a, tolerance=1e-3)
            add(f"linalg.eigh/{tag}", lambda x: (linalg.eigh(x)[0], _rebuild_eigh(x)), spd,
                tolerance=1e-3)  # fmt: skip
            add(f"linalg.eigvalsh/{tag}", linalg.eigvalsh, spd)
            add(f"scipy.lu_factor/{tag}", scipy.lu_factor, a)
            add(f"linalg.eig/{tag}", _check_eig, a, tolerance=1e-3)
            for m, n in ((5, 3), (3, 5), (4, 4)):
                r = array((*batch, m, n), dtype, 14)
                add(f"linalg.qr/{tag}/{m}x{n}", _rebuild_qr, r)
                add(f"linalg.svd/{tag}/{m}x{n}", _rebuild_svd, r)
                add(f"linalg.svd/full/{tag}/{m}x{n}", _rebuild_full_svd, r)
                add(f"linalg.pinv/{tag}/{m}x{n}", linalg.pinv, r, tolerance=1e-3)
            for lower in (True, False):
                for trans in (0, 1, 2):
                    add(f"scipy.solve_triangular/{tag}/{'lower' if lower else 'upper'}/{trans}",
                        lambda a, b, lo=lower, t=trans: scipy.solve_triangular(
                            a, b, trans=t, lower=lo), spd, b)  # fmt: skip
        a, spd, b = array((5, 5), dtype, 12), positive(5, dtype), array((5, 2), dtype, 13)
        add(f"scipy.lu/{label}", scipy.lu, a)
        add(f"scipy.lu_solve/{label}", lambda a, b: scipy.lu_solve(scipy.lu_factor(a), b), spd, b)
        add(
            f"scipy.cho_solve/{label}", lambda a, b: scipy.cho_solve(scipy.cho_factor(a), b), spd, b
        )
        add(f"scipy.expm/{label}", lambda a: scipy.expm(a * 0.3), a, tolerance=1e-3)
        add(f"scipy.hessenberg/{label}", lambda a: jnp.abs(scipy.hessenberg(a)), a, tolerance=1e-3)
        add(f"scipy.schur/{label}", _rebuild_schur, a, tolerance=1e-3)
        add(f"scipy.polar/{label}", scipy.polar, a, tolerance=1e-3)
        add(f"scipy.sqrtm/{label}", scipy.sqrtm, spd, tolerance=1e-3)
        add(f"linalg.eigvals/{label}", lambda x: jnp.sort(jnp.abs(linalg.eigvals(x))), a,
            tolerance=1e-3)  # fmt: skip
    a, spd = array((5, 5), F, 12), positive(5)
    for order in ("fro", "nuc", 1, 2, -2, np.inf):
        add(f"linalg.norm/{order}", lambda x, o=order: linalg.norm(x, o), a)
    add("linalg.matrix_power", lambda x: linalg.matrix_power(x, 5), a * 0.3)
    add("linalg.matrix_rank", linalg.matrix_rank, array((5, 2)) @ array((2, 5)))
    add("linalg.cond", linalg.cond, spd)
    add("linalg.lstsq", lambda a, b: linalg.lstsq(a, b)[0], array((7, 3)), array((7, 2)),
        tolerance=1e-3)  # fmt: skip
    add("linalg.multi_dot", lambda a: linalg.multi_dot([a, a, a]), a * 0.3)
    add("linalg.tensorsolve", linalg.tensorsolve, spd.reshape(5, 5), array((5,)))
    add("linalg.cholesky/indefinite", linalg.cholesky, -spd)
    add("linalg.svd/rank-deficient", _rebuild_full_svd,
        array((5, 2)) @ array((2, 4), seed=1))  # fmt: skip
    add("linalg.svd/zero", _rebuild_full_svd, np.zeros((4, 3), np.float32))
    add("linalg.eigh/repeated", _rebuild_eigh, np.eye(5, dtype=np.float32) * 3)
    add("linalg.eigh/32", lambda x: (linalg.eigh(x)[0], _rebuild_eigh(x)), positive(32),
        tolerance=1e-3)  # fmt: skip
    add("linalg.solve/singular", linalg.solve, np.zeros((3, 3), np.float32), array((3, 1)))
    add("lax.linalg.tridiagonal_solve", lax.linalg.tridiagonal_solve, array((6,), F, 1),
        array((6,), F, 2, low=4, high=6), array((6,), F, 3), array((6, 2), F, 4))  # fmt: skip
    add("scipy.block_diag", scipy.block_diag, a, spd)
    add("scipy.toeplitz", scipy.toeplitz, array((5,)))
    add("scipy.qr_multiply", lambda a, c: jnp.abs(scipy.qr_multiply(a, c)[0]), array((5, 3)),
        array((4, 5)))  # fmt: skip
    add("scipy.qr/pivoting", lambda a: [jnp.abs(v) for v in scipy.qr(a, pivoting=True)],
        array((5, 3)))  # fmt: skip
    add("scipy.eigh_tridiagonal", lambda d, e: scipy.eigh_tridiagonal(d, e, eigvals_only=True),
        array((6,)), array((5,), seed=1))  # fmt: skip
    for name, function in {
        "cholesky": linalg.cholesky, "inv": linalg.inv, "det": linalg.det,
        "slogdet": lambda x: linalg.slogdet(x)[1], "eigvalsh": linalg.eigvalsh,
        "qr-r": lambda x: jnp.abs(linalg.qr(x)[1]), "svdvals": lambda x: linalg.svd(
            x, compute_uv=False), "solve": lambda x: linalg.solve(x, x[:, 0]),
        "norm": linalg.norm, "eigh": lambda x: jnp.abs(linalg.eigh(x)[1]),
    }.items():  # fmt: skip
        add(f"linalg.{name}/grad", jax.grad(lambda x, f=function: (f(x) * 0.1).sum()),
            spd + np.diag(np.arange(5.0, dtype=np.float32) * 3), tolerance=2e-3)  # fmt: skip


def _rebuild_eigh(x: jax.Array) -> jax.Array:
    values, vectors = jnp.linalg.eigh(x)
    return (vectors * values[..., None, :]) @ jnp.conj(vectors.swapaxes(-1, -2))


def _rebuild_qr(x: jax.Array) -> tuple[jax.Array, ...]:
    q, r = jnp.linalg.qr(x)
    return q @ r, jnp.conj(q.swapaxes(-1, -2)) @ q, jnp.abs(r)


def _rebuild_svd(x: jax.Array) -> tuple[jax.Array, ...]:
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    return (u * s[..., None, :]) @ vt, s, jnp.conj(u.swapaxes(-1, -2)) @ u


def _rebuild_full_svd(x: jax.Array) -> tuple[jax.Array, ...]:
    u, s, vt = jnp.linalg.svd(x)
    k = s.shape[-1]
    whole = (u[..., :k] * s[..., None, :]) @ vt[..., :k, :]
    return whole, s, jnp.conj(u.swapaxes(-1, -2)) @ u, vt @ jnp.conj(vt.swapaxes(-1, -2))


def _check_eig(x: jax.Array) -> tuple[jax.Array, ...]:
    values, vectors = jnp.linalg.eig(x)
    left = x.astype(vectors.dtype) @ vectors - vectors * values[..., None, :]
    return jnp.abs(left), jnp.sort(jnp.abs(values))


def _rebuild_schur(x: jax.Array) -> tuple[jax.Array, ...]:
    t, z = jax.scipy.linalg.schur(x)
    return z @ t @ jnp.conj(z.T), jnp.tril(t, -2)


def _control_flow() -> None:
    xs, c = array((6, 3)), array((3,), seed=1)
    add("lax.scan", lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs), xs, c)
    add(
        "lax.scan/reverse",
        lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs, reverse=True),
        xs,
        c,
    )
    add(
        "lax.scan/unrolled",
        lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs, unroll=2),
        xs,
        c,
    )
    add("lax.scan/no-xs", lambda c: lax.scan(lambda c, _: (c * 1.1, c), c, None, length=4), c)
    add(
        "lax.scan/grad",
        jax.grad(
            lambda xs, c: lax.scan(lambda c, x: (jnp.tanh(c + x), c * 2), c, xs)[1].sum(), (0, 1)
        ),
        xs,
        c,
    )
    add("lax.scan/int", lambda xs: lax.scan(lambda c, x: (c + x, c), jnp.int32(0), xs),
        array((6,), I))  # fmt: skip
    add("lax.while_loop", lambda x: lax.while_loop(lambda v: v < 100.0, lambda v: v * 2 + 1, x),
        np.float32(0.5))  # fmt: skip
    add(
        "lax.while_loop/tuple",
        lambda x: lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * 1.5), (0, x)),
        c,
    )
    add("lax.while_loop/none", lambda x: lax.while_loop(lambda v: v < 0.0, lambda v: v + 1, x),
        np.float32(0.5))  # fmt: skip
    add("lax.fori_loop", lambda x: lax.fori_loop(0, 5, lambda i, v: v + jnp.sin(v) * i, x), c)
    add("lax.fori_loop/traced", lambda n, x: lax.fori_loop(0, n, lambda i, v: v + i, x),
        np.int32(4), c)  # fmt: skip
    for flag in (True, False):
        add(f"lax.cond/{flag}", lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x), np.bool_(flag), c)
    for choice in (-1, 0, 1, 2, 7):
        add(f"lax.switch/{choice}", lambda i, x: lax.switch(i, [jnp.sin, jnp.cos, jnp.tanh], x),
            np.int32(choice), c)  # fmt: skip
    add(
        "lax.cond/nested",
        lambda p, x: lax.cond(p, lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.exp, x), jnp.cos, x),
        np.bool_(True),
        c,
    )
    add("lax.cond/grad", jax.grad(lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x).sum()), c)
    add(
        "lax.while_loop/batched",
        jax.vmap(lambda x: lax.while_loop(lambda v: v < 10.0, lambda v: v * 2 + 1, x)),
        np.array([0.5, 3.0, 20.0], np.float32),
    )
    add("lax.cond/batched", jax.vmap(lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x)),
        np.array([True, False, True]), c)  # fmt: skip
    add("lax.map", lambda xs: lax.map(lambda x: x @ x, xs), xs)
    add("lax.map/batched", lambda xs: lax.map(lambda x: x * 2, xs, batch_size=4), xs)
    add("jax.checkpoint", jax.grad(lambda x: jax.checkpoint(
        lambda y: jnp.sin(jnp.sin(y)))(x).sum()), c)  # fmt: skip
    add("lax.optimization_barrier", lambda x: lax.optimization_barrier(x) * 2, c)
    add("jax.custom_vjp", jax.grad(lambda x: jax.nn.relu(x).sum()), c)
    add("jax.hessian", jax.hessian(lambda x: (jnp.sin(x) * x[0]).sum()), c)
    add("jax.jacfwd", jax.jacfwd(lambda x: jnp.outer(x, x)), c)
    add("jax.jacrev", jax.jacrev(lambda x: jnp.cumsum(x) ** 2), c)
    add("jax.vmap/matmul", jax.vmap(jnp.matmul, (0, None)), array((3, 2, 4)), array((4, 5)))
    add("jax.linearize", lambda x: jax.linearize(jnp.sin, x)[1](x), c)
    add("lax.custom_root", lambda x: lax.custom_root(
        lambda y: y**2 - x, jnp.float32(1.0), lambda f, y: lax.fori_loop(
            0, 12, lambda _, v: v - f(v) / (2 * v), y), lambda g, y: y / g(jnp.float32(1.0))),
        np.float32(2.0))  # fmt: skip


def _random() -> None:
    key = np.array([3, 1234567], np.uint32)
    functions: dict[str, Callable[..., Any]] = {
        "uniform": lambda k: jax.random.uniform(k, (4, 5)),
        "uniform-range": lambda k: jax.random.uniform(k, (7,), minval=-2.0, maxval=5.0),
        "normal": lambda k: jax.random.normal(k, (4, 5)),
        "bits": lambda k: jax.random.bits(k, (9,)),
        "bits-u8": lambda k: jax.random.bits(k, (9,), jnp.uint8),
        "randint": lambda k: jax.random.randint(k, (9,), -5, 20),
        "bernoulli": lambda k: jax.random.bernoulli(k, 0.3, (20,)),
        "split": lambda k: jax.random.split(k, 3),
        "fold_in": lambda k: jax.random.fold_in(k, 42),
        "permutation": lambda k: jax.random.permutation(k, 12),
        "shuffle": lambda k: jax.random.permutation(k, jnp.arange(12.0).reshape(6, 2)),
        "choice": lambda k: jax.random.choice(k, 10, (5,)),
        "choice-no-replace": lambda k: jax.random.choice(k, 10, (5,), replace=False),
        "categorical": lambda k: jax.random.categorical(k, jnp.arange(6.0), shape=(8,)),
        "gumbel": lambda k: jax.random.gumbel(k, (5,)),
        "exponential": lambda k: jax.random.exponential(k, (5,)),
        "laplace": lambda k: jax.random.laplace(k, (5,)),
        "cauchy": lambda k: jax.random.cauchy(k, (5,)),
        "logistic": lambda k: jax.random.logistic(k, (5,)),
        "truncated_normal": lambda k: jax.random.truncated_normal(k, -1.0, 2.0, (5,)),
        "gamma": lambda k: jax.random.gamma(k, 2.5, (5,)),
        "beta": lambda k: jax.random.beta(k, 2.0, 3.0, (5,)),
        "dirichlet": lambda k: jax.random.dirichlet(k, jnp.ones(4), (3,)),
        "poisson": lambda k: jax.random.poisson(k, 4.0, (6,)),
        "rademacher": lambda k: jax.random.rademacher(k, (9,)),
        "t": lambda k: jax.random.t(k, 3.0, (4,)),
        "chisquare": lambda k: jax.random.chisquare(k, 3.0, (4,)),
        "multivariate_normal": lambda k: jax.random.multivariate_normal(
            k, jnp.zeros(3), jnp.eye(3) * 2, (2,)),
        "orthogonal": lambda k: jnp.abs(jax.random.orthogonal(k, 3)),
        "ball": lambda k: jax.random.ball(k, 3, shape=(4,)),
        "bf16": lambda k: jax.random.normal(k, (4,), jnp.bfloat16),
        "new-style": lambda k: jax.random.key_data(jax.random.split(jax.random.wrap_key_data(k))),
        "binomial": lambda k: jax.random.binomial(k, 10, 0.4, (5,)),
    }  # fmt: skip
    for name, function in functions.items():
        add(f"jax.random.{name}", function, key)
    wide = np.array([1, 2, 3, 4], np.uint32)
    for name in ("rbg", "unsafe_rbg"):
        add(f"jax.random.{name}", lambda k, n=name: jax.random.uniform(
            jax.random.wrap_key_data(k, impl=n), (3, 5)), wide)  # fmt: skip
    add("lax.rng_bit_generator/u32", lambda k: lax.rng_bit_generator(k, (3, 5)), wide)
    add("lax.rng_bit_generator/u8", lambda k: lax.rng_bit_generator(k, (7,), jnp.uint8), wide)


def _networks() -> None:
    x = array((3, 8))
    for name in ("relu relu6 sigmoid softplus silu gelu elu selu celu leaky_relu log_sigmoid "
                 "hard_sigmoid hard_tanh hard_silu soft_sign mish squareplus glu sparse_plus "
                 "softmax log_softmax standardize logsumexp").split():  # fmt: skip
        function = getattr(jax.nn, name)
        for dtype in FLOATS:
            add(f"jax.nn.{name}/{_short(dtype)}", function, array((3, 8), dtype))
        add(f"jax.nn.{name}/grad", jax.grad(lambda x, f=function: (f(x) ** 2).sum()), x)
    add("jax.nn.gelu/exact", lambda x: jax.nn.gelu(x, approximate=False), x)
    q = array((2, 5, 4, 8))
    add("jax.nn.dot_product_attention", lambda q: jax.nn.dot_product_attention(q, q, q), q)
    add("jax.nn.dot_product_attention/causal", lambda q: jax.nn.dot_product_attention(
        q, q, q, is_causal=True), q)  # fmt: skip
    add("jax.nn.dot_product_attention/window", lambda q: jax.nn.dot_product_attention(
        q, q, q, local_window_size=2), q)  # fmt: skip
    add("jax.nn.dot_product_attention/gqa", lambda q, k: jax.nn.dot_product_attention(q, k, k), q,
        array((2, 6, 2, 8), seed=1))  # fmt: skip
    add("jax.nn.dot_product_attention/grad", jax.grad(lambda q: (
        jax.nn.dot_product_attention(q, q, q) ** 2).sum()), q)  # fmt: skip
    for method in "nearest linear cubic lanczos3".split():
        add(f"jax.image.resize/{method}", lambda x, m=method: jax.image.resize(
            x, (1, 9, 4, 2), m), array((1, 5, 6, 2)))  # fmt: skip
    add("jax.scipy.ndimage.map_coordinates", lambda x: jax.scipy.ndimage.map_coordinates(
        x, [jnp.linspace(0, 3, 5), jnp.linspace(0, 6, 5)], order=1), array((4, 7)))  # fmt: skip
    special = jax.scipy.special
    for name in ("erf erfc erfinv expit gammaln digamma i0 i0e i1 i1e log_ndtr logit ndtr ndtri "
                 "entr expi zeta1 gamma factorial exp1 spence sici bernoulli").split():  # fmt: skip
        if name in ("zeta1", "bernoulli", "factorial", "sici") or not hasattr(special, name):
            continue
        add(f"scipy.special.{name}", getattr(special, name), array((4, 5), low=0.1, high=0.9))
    p, r = array((4, 5), low=0.5, high=3.0), array((4, 5), seed=1, low=0.5, high=3.0)
    for name in "gammainc gammaincc betaln xlogy xlog1py zeta kl_div rel_entr beta poch".split():
        add(f"scipy.special.{name}", getattr(special, name), p + (name == "zeta"), r)
    add("scipy.special.betainc", special.betainc, p, r, array((4, 5), low=0.1, high=0.9))
    add("scipy.special.polygamma", lambda x: special.polygamma(1, x), p)
    add("scipy.special.multigammaln", lambda x: special.multigammaln(x + 2, 2), p)
    add("scipy.special.bessel_jn", lambda x: special.bessel_jn(x, v=3), array((5,)))
    add("scipy.special.logsumexp", special.logsumexp, p)
    stats = jax.scipy.stats
    for name in "norm logistic laplace cauchy expon".split():
        for function in "logpdf pdf cdf".split():
            if hasattr(getattr(stats, name), function):
                add(f"scipy.stats.{name}.{function}", getattr(getattr(stats, name), function), x)
    add("scipy.stats.beta.logpdf", lambda x: stats.beta.logpdf(x, 2.0, 3.0),
        array((5,), low=0.1, high=0.9))  # fmt: skip
    add("scipy.stats.gamma.logpdf", lambda x: stats.gamma.logpdf(x, 2.0), p)
    add("scipy.integrate.trapezoid", jax.scipy.integrate.trapezoid, x)
    add("scipy.optimize.minimize", lambda x: jax.scipy.optimize.minimize(
        lambda v: ((v - 1.5) ** 2).sum(), x, method="BFGS").x, array((3,)), tolerance=1e-3)  # fmt: skip
    add("scipy.sparse.cg", lambda a, b: jax.scipy.sparse.linalg.cg(a, b)[0], positive(5),
        array((5,)), tolerance=1e-3)  # fmt: skip
    add("scipy.sparse.gmres", lambda a, b: jax.scipy.sparse.linalg.gmres(a, b)[0], positive(5),
        array((5,)), tolerance=1e-3)  # fmt: skip
    add(
        "scipy.cluster.vq", lambda a, b: jax.scipy.cluster.vq.vq(a, b), array((6, 3)), array((2, 3))
    )
    add("jax.nn.initializers", lambda k: jax.nn.initializers.glorot_normal()(k, (4, 5)),
        np.array([0, 7], np.uint32))  # fmt: skip
    add("jax.experimental.odeint", lambda y: _odeint(y), array((2,)), tolerance=1e-3)


def _odeint(y: jax.Array) -> jax.Array:
    from jax.experimental.ode import odeint

    return odeint(lambda y, t: -y * t, y, jnp.linspace(0.0, 1.0, 4))


def _gradients() -> None:
    x, p = array((3, 4)), array((3, 4), low=0.2, high=0.9)
    for name in ("abs cos cosh erf erfc exp expm1 logistic sin sinh square tan tanh cbrt asinh "
                 "atan").split():  # fmt: skip
        add(f"grad/lax.{name}", jax.grad(lambda x, n=name: (getattr(lax, n)(x) ** 2).sum()), x)
    for name in ("log log1p rsqrt sqrt lgamma acos asin atanh erf_inv digamma").split():
        add(f"grad/lax.{name}", jax.grad(lambda x, n=name: (getattr(lax, n)(x) ** 2).sum()), p)
    for name in "add mul sub div max min pow atan2 rem".split():
        add(f"grad/lax.{name}", jax.grad(lambda x, y, n=name: (
            getattr(lax, n)(x, y) ** 2).sum(), (0, 1)), p, array((3, 4), seed=3, low=0.2))  # fmt: skip
    for name in "sum prod max min mean std var".split():
        add(f"grad/jnp.{name}", jax.grad(lambda x, n=name: (
            getattr(jnp, n)(x, axis=1) ** 2).sum()), x)  # fmt: skip
    for name in "cumsum cumprod cummax cumlogsumexp".split():
        add(f"grad/lax.{name}", jax.grad(lambda x, n=name: (
            getattr(lax, n)(x, axis=1) ** 2).sum()), p)  # fmt: skip
    for name in "i0 i0e i1e gammaln ndtr log_ndtr expit".split():
        add(f"grad/special.{name}", jax.grad(lambda x, n=name: getattr(
            jax.scipy.special, n)(x).sum()), p)  # fmt: skip
    add("grad/matmul", jax.grad(lambda a, b: ((a @ b) ** 2).sum(), (0, 1)), x, array((4, 5)))
    add("grad/einsum", jax.grad(lambda a, b: (jnp.einsum("bij,bjk->bik", a, b) ** 2).sum(), (0, 1)),
        array((2, 3, 4)), array((2, 4, 5)))  # fmt: skip
    add("grad/complex", jax.grad(lambda x: jnp.abs(jnp.exp(x * 1j) * x).sum()), x)
    add("grad/gammainc", jax.grad(lambda x: jax.scipy.special.gammainc(2.0, x).sum()), p)
    add("grad/top_k", jax.grad(lambda x: (lax.top_k(x, 2)[0] ** 2).sum()), x)
    add("grad/pad", jax.grad(lambda x: (lax.pad(x, 0.0, ((1, -1, 1), (0, 2, 0))) ** 2).sum()), x)
    add("grad/interp", jax.grad(lambda x: jnp.interp(x, jnp.arange(4.0), jnp.arange(4.0) ** 2).sum()),
        p)  # fmt: skip
    add("hvp", lambda x, v: jax.jvp(jax.grad(lambda x: (jnp.tanh(x) ** 3).sum()), (x,), (v,)), x, p)


def _wide() -> None:
    """With 64-bit types on."""
    d, n, z = "float64", "int64", "complex128"
    for name in "sin exp tanh erf cbrt erfc expm1 atan logistic".split():
        add(f"lax.{name}/f64", getattr(lax, name), array((4, 7), d), x64=True)
    for name in "log log1p sqrt rsqrt lgamma digamma erf_inv acos".split():
        add(f"lax.{name}/f64", getattr(lax, name), array((4, 7), d, low=0.1, high=0.9), x64=True)
    for name in "add mul max min div rem".split():
        for dtype in (d, n):
            add(f"lax.{name}/{_short(dtype)}", getattr(lax, name), array((4, 7), dtype, 1),
                array((4, 7), dtype, 2, low=1, high=9), x64=True)  # fmt: skip
    for name in "exp log sqrt sin tanh abs".split():
        add(f"lax.{name}/c128", getattr(lax, name), array((4, 7), z), x64=True)
    add("jnp.matmul/f64", jnp.matmul, array((4, 5), d), array((5, 6), d), x64=True)
    add("jnp.sort/f64", jnp.sort, array((20,), d), x64=True)
    add("jnp.cumsum/i64", jnp.cumsum, array((20,), n), x64=True)
    add("linalg.solve/f64", jnp.linalg.solve, array((5, 5), d), array((5, 2), d), x64=True,
        tolerance=1e-8)  # fmt: skip
    add("linalg.eigh/f64", _rebuild_eigh, positive(5, d), x64=True)
    add("linalg.svd/f64", _rebuild_full_svd, array((5, 3), d), x64=True)
    add("linalg.cholesky/c128", jnp.linalg.cholesky, positive(5, z), x64=True)
    add("linalg.eig/f64", _check_eig, array((5, 5), d), x64=True, tolerance=1e-8)
    add("jnp.fft.fft/c128", jnp.fft.fft, array((3, 8), z), x64=True)
    add("jax.random.normal/f64", lambda k: jax.random.normal(k, (5,), jnp.float64),
        np.array([0, 1], np.uint32), x64=True)  # fmt: skip
    add("jax.random.bits/u64", lambda k: jax.random.bits(k, (5,), jnp.uint64),
        np.array([0, 1], np.uint32), x64=True)  # fmt: skip
    add("lax.scan/f64", lambda x: lax.scan(lambda c, x: (c + x, c * x), jnp.float64(0), x),
        array((6,), d), x64=True)  # fmt: skip


def _symbolic() -> None:
    def dynamic(name: str, function: Callable[..., Any], *pairs: tuple[Any, str | None]) -> None:
        arguments, dims = zip(*pairs, strict=True)
        add(f"symbolic/{name}", function, *arguments, dims=dims)

    x, w, t = array((5, 8)), array((8, 6), seed=1), array((10, 4))
    dynamic("mlp", lambda x, w: jax.nn.relu(x @ w), (x, "b, 8"), (w, None))
    dynamic("both", lambda a, b: a @ b, (array((3, 5)), "m, k"), (array((5, 4)), "k, n"))
    dynamic("softmax", lambda x: jax.nn.softmax(x, 1), (x, "b, s"))
    dynamic("layer-norm", jax.nn.standardize, (x, "b, s"))
    dynamic("attention", lambda q: jax.nn.dot_product_attention(q, q, q),
            (array((2, 5, 2, 4)), "b, s, 2, 4"))  # fmt: skip
    dynamic("causal", lambda q: jax.nn.dot_product_attention(q, q, q, is_causal=True),
            (array((2, 5, 2, 4)), "b, s, 2, 4"))  # fmt: skip
    dynamic("conv", lambda x, w: lax.conv_general_dilated(
        x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (array((3, 8, 8, 3)), "b, 8, 8, 3"), (array((3, 3, 3, 4), seed=1), None))  # fmt: skip
    dynamic("conv-spatial", lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (array((3, 8, 9, 3)), "b, h, w, 3"), (array((1, 1, 3, 4), seed=1), None))  # fmt: skip
    dynamic("conv-depthwise", lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4),
        (array((3, 8, 8, 4)), "b, 8, 8, 4"), (array((3, 3, 1, 4), seed=1), None))  # fmt: skip
    dynamic("max-pool", lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
        (array((3, 8, 8, 3)), "b, 8, 8, 3"))  # fmt: skip
    dynamic("max-pool-spatial", lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
        (array((3, 8, 9, 3)), "b, h, w, 3"))  # fmt: skip
    dynamic("reshape", lambda x: x.reshape(-1), (x, "b, s"))
    dynamic("split-heads", lambda x: x.reshape(x.shape[0], 2, 4), (x, "b, 8"))
    dynamic("concatenate", lambda x: jnp.concatenate([x, x * 2], 1), (x, "b, s"))
    dynamic("pad", lambda x: jnp.pad(x, ((0, 0), (1, 2))), (x, "b, s"))
    dynamic("slice", lambda x: x[:, 1:], (x, "b, s"))
    dynamic("reverse", lambda x: x[::-1], (x, "b, s"))
    dynamic("arange", lambda x: jnp.arange(x.shape[0]), (x, "b, s"))
    dynamic("size", lambda x: x * x.shape[0], (x, "b, s"))
    dynamic("mean", lambda x: x.mean(0), (x, "b, s"))
    dynamic("cumsum", lambda x: jnp.cumsum(x, 1), (x, "b, s"))
    dynamic("sort", lambda x: jnp.sort(x, 1), (x, "b, s"))
    dynamic("argmax", lambda x: jnp.argmax(x, 1), (x, "b, s"))
    dynamic("top_k", lambda x: lax.top_k(x, 2), (x, "b, 8"))
    dynamic("gather", lambda t, i: t[i], (t, None), (np.array([1, 5, 3], np.int32), "n"))
    dynamic("gather-dynamic-table", lambda t, i: t[i], (t, "r, 4"),
            (np.array([1, 5, 3], np.int32), "n"))  # fmt: skip
    dynamic("scatter", lambda t, i: t.at[i].add(1.0), (t, "r, 4"),
            (np.array([1, 5, 3], np.int32), "n"))  # fmt: skip
    dynamic("dynamic-slice", lambda t: lax.dynamic_slice(t, (1, 0), (2, t.shape[1])), (t, "10, c"))
    dynamic("scan", lambda xs: lax.scan(lambda c, x: (c + x, c * 2), xs[0], xs), (x, "n, 8"))
    dynamic("where", lambda x: jnp.where(x > 0, x, 0), (x, "b, s"))
    dynamic("broadcast", lambda x, y: x[:, None] + y, (array((5,)), "a"), (array((4,)), "b"))
    dynamic("transpose", lambda x: x.T, (x, "b, s"))
    dynamic("einsum", lambda a: jnp.einsum("bij,bkj->bik", a, a), (array((2, 3, 4)), "b, s, 4"))
    dynamic("repeat", lambda x: jnp.repeat(x, 2, 0), (x, "b, s"))
    dynamic("tile", lambda x: jnp.tile(x, (2, 1)), (x, "b, s"))
    dynamic("one-hot", lambda i: jax.nn.one_hot(i, 6), (np.array([1, 5, 3], np.int32), "n"))
    dynamic("grad", jax.grad(lambda w, x: (jax.nn.gelu(x @ w) ** 2).sum()), (w, None), (x, "b, 8"))
    dynamic("expressions", lambda x, y: x[:, : y.shape[0]] + y, (array((3, 8)), "b, 2*s"),
            (array((4,)), "s"))  # fmt: skip
    dynamic("eye", lambda x: x @ jnp.eye(x.shape[1]), (x, "b, s"))
    dynamic("tril", jnp.tril, (x, "b, s"))
    dynamic("norm", lambda x: jnp.linalg.norm(x, axis=1), (x, "b, s"))
    dynamic("cholesky", jnp.linalg.cholesky, (positive(4, F, (3,)), "b, 4, 4"))
    dynamic("fft", lambda x: jnp.abs(jnp.fft.fft(x)), (x, "b, 8"))
    dynamic("random", lambda x: x + jax.random.normal(jax.random.key(0), x.shape), (x, "b, s"))
    dynamic("logsumexp", lambda x: jax.nn.logsumexp(x, 1), (x, "b, s"))
    dynamic("while", lambda x: lax.fori_loop(0, x.shape[0], lambda i, v: v + 1.0, x), (x, "b, s"))


def build() -> dict[str, Case]:
    """Return all cases by name."""
    if not CASES:
        for group in (
            _unary, _binary, _reductions, _products, _convolutions, _movement, _indexing, _sorting,
            _fourier, _linear_algebra, _control_flow, _random, _networks, _gradients, _symbolic,
        ):  # fmt: skip
            group()
        with jax.enable_x64(True):
            _wide()
        from tests.jax import models

        models.register(add)
    return CASES
