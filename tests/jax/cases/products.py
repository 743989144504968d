"""Matrix products, contractions, convolutions and pooling."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tests.jax.cases.registry import FLOATS, C, F, I, add, array, short


def register() -> None:
    """Register the cases."""
    _products()
    _convolutions()


def _products() -> None:
    for dtype in (*FLOATS, I, "int8", C):
        for m, k, n in ((3, 4, 5), (1, 7, 1), (16, 32, 24), (4, 0, 5)):
            add(f"jnp.matmul/{short(dtype)}/{m}x{k}x{n}", jnp.matmul,
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
        add(f"lax.conv/nchw/{short(dtype)}",
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
