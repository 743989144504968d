"""Elementwise operations, reductions, running sums and segments: ``tf.math``, ``tf.bitwise``."""

from __future__ import annotations

import tensorflow as tf
from tests.tf.cases import Table, b, c, f, fixed, i

m = tf.math
_X = f(3, 8)
_POSITIVE = f(3, 8, low=0.1, high=3)
_Y = f(3, 8)[:, ::-1].copy()

_ANY = (
    "abs", "asinh", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor",
    "is_finite", "is_inf", "is_nan", "negative", "rint", "round", "sigmoid", "sign", "sin", "sinh",
    "softplus", "softsign", "square", "tan", "tanh", "bessel_i0", "bessel_i0e", "bessel_i1",
    "bessel_i1e", "log_sigmoid", "sobol_sample",
)  # fmt: skip
_OF_POSITIVE = (
    "digamma", "lgamma", "log", "log1p", "reciprocal", "reciprocal_no_nan", "rsqrt", "sqrt",
)  # fmt: skip
_BELOW_ONE = ("acos", "asin", "atanh", "erfinv")
_OF_TWO = (
    "add", "atan2", "divide", "divide_no_nan", "equal", "greater", "greater_equal", "less",
    "less_equal", "maximum", "minimum", "multiply", "multiply_no_nan", "not_equal",
    "squared_difference", "subtract", "xdivy", "xlog1py", "xlogy", "floordiv", "floormod",
    "truediv", "nextafter", "pow", "igamma", "igammac", "polygamma", "zeta", "betainc",
)  # fmt: skip
_REDUCTIONS = (
    "reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod", "reduce_std",
    "reduce_variance", "reduce_logsumexp", "reduce_euclidean_norm", "argmax", "argmin",
    "count_nonzero", "l2_normalize", "zero_fraction",
)  # fmt: skip

TABLE: Table = {
    **{n: (getattr(m, n), _X) for n in _ANY if n != "sobol_sample"},
    **{n: (getattr(m, n), _POSITIVE) for n in _OF_POSITIVE},
    **{n: (getattr(m, n), _X * 0.9) for n in _BELOW_ONE},
    "acosh": (m.acosh, _POSITIVE + 1),
    "ndtri": (m.ndtri, f(3, 8, low=0.1, high=0.9)),
    **{n: (getattr(m, n), _POSITIVE, _POSITIVE[:, ::-1] + 1) for n in _OF_TWO if n != "betainc"},
    "betainc": (m.betainc, _POSITIVE, _POSITIVE + 1, f(3, 8, low=0.1, high=0.9)),
    **{n: (lambda x, n=n: getattr(m, n)(x, 1), _X) for n in _REDUCTIONS if n != "zero_fraction"},
    **{f"{n}_0": (lambda x, n=n: getattr(m, n)(x, 0), _X) for n in _REDUCTIONS[:12]},
    **{f"{n}_all": (getattr(m, n), _X) for n in _REDUCTIONS[:8]},
    "zero_fraction": (m.zero_fraction, _X),
    "reduce_any": (lambda x: m.reduce_any(x, 1), b(3, 8)),
    "reduce_all": (lambda x: m.reduce_all(x, 0), b(3, 8)),
    "reduce_sum_int": (lambda x: m.reduce_sum(x, [0, 2], keepdims=True), i(3, 4, 2)),
    "reduce_mean_int": (lambda x: m.reduce_mean(x, 1), i(3, 8)),
    "reduce_by_axis_argument": (lambda x: m.reduce_sum(x, axis=-1, keepdims=True), f(2, 3, 4)),
    "norm": (lambda x: (tf.norm(x, axis=1), tf.norm(x, 1, 1), tf.norm(x)), _X),
    "mod_python": (lambda x, y: (x % y, x // y, tf.truncatemod(x, y)), _X, _POSITIVE),
    "integer_division": (lambda x, y: (x % y, x // y, tf.truncatediv(x, y), tf.truncatemod(x, y)),
                         i(3, 8, low=-9, high=9), i(3, 8, low=1, high=5)),
    "power_integer": (m.pow, i(3, 8), i(3, 8)),
    "clip_by_value": (lambda x: tf.clip_by_value(x, -0.5, 0.5), _X),
    "clip_by_norm": (lambda x: tf.clip_by_norm(x, 0.5, [1]), _X),
    "clip_by_global_norm": (lambda x, y: tf.clip_by_global_norm([x, y], 0.5)[0], _X, _Y),
    "add_n": (lambda x, y: tf.add_n([x, y, x]), _X, _Y),
    "accumulate_n": (lambda x, y: m.accumulate_n([x, y]), _X, _Y),
    "broadcast_row": (lambda x, y: x + y, _X, fixed(f(8))),
    "broadcast_scalar": (lambda x, y: (x * y, y - x), _X, f()),
    "broadcast_outer": (lambda x: x[:, None, :] - x[None, :, :], _X),
    "broadcast_column": (lambda x: x - m.reduce_mean(x, 1, keepdims=True), _X),
    "broadcast_of_one": (lambda x: x - m.reduce_mean(x, 0, keepdims=True), _X),
    "select": (lambda x, y: tf.where(x > y, x, y), _X, _Y),
    "select_scalar": (lambda x: tf.where(x > 0, x, 0.0), _X),
    "select_row": (lambda x, k: tf.where(k[:, None], x, -x), _X, b(3)),
    "logical": (lambda x, y: (x & y, x | y, x ^ y, ~x), b(3, 8), b(3, 8)[::-1]),
    "bitwise": (lambda x, y: (tf.bitwise.bitwise_and(x, y), tf.bitwise.bitwise_or(x, y),
                              tf.bitwise.bitwise_xor(x, y), tf.bitwise.invert(x)),
                i(3, 8), i(3, 8, high=9)),
    "shifts": (lambda x, y: (tf.bitwise.left_shift(x, y), tf.bitwise.right_shift(x, y)),
               i(3, 8, high=99), i(3, 8)),
    "population_count": (lambda x: tf.raw_ops.PopulationCount(x=x), i(3, 8, high=99)),
    "bitcast": (lambda x: tf.bitcast(x, tf.int32), _X),
    "casts": (lambda x: tuple(tf.cast(x * 3 + 3, t) for t in (
        tf.int8, tf.uint8, tf.int32, tf.int64, tf.float16, tf.bfloat16, tf.float64, tf.bool)), _X),
    "saturate_cast": (lambda x: tf.saturate_cast(x * 500, tf.uint8), _X),
    "complex_parts": (lambda x: (m.real(x), m.imag(x), m.abs(x), m.angle(x), m.conj(x)), c(3, 8)),
    "complex_arithmetic": (lambda x, y: (x * y, x / (y + 2), x - y, m.exp(x), m.square(x)),
                           c(3, 8), c(3, 8)[::-1]),
    "complex_make": (lambda x, y: tf.complex(x, y), _X, _Y),
    "cumsum": (lambda x: m.cumsum(x, 1), _X),
    "cumsum_0": (lambda x: m.cumsum(x, 0, exclusive=True, reverse=True), _X),
    "cumsum_int": (lambda x: m.cumsum(x, -1), i(3, 8)),
    "cumprod": (lambda x: m.cumprod(x, 1), _X),
    "cumprod_0": (lambda x: m.cumprod(x, 0), _X),
    "cumprod_reverse": (lambda x: m.cumprod(x, 1, exclusive=True, reverse=True), _X),
    "cumprod_int": (lambda x: m.cumprod(x, 1), i(3, 8)),
    "cumulative_logsumexp": (lambda x: m.cumulative_logsumexp(x, 1), _X),
    "cumulative_logsumexp_0": (lambda x: m.cumulative_logsumexp(x, 0), _X),
    "top_k": (lambda x: m.top_k(x, 3), _X),
    "approx_max_k": (lambda x: m.approx_max_k(x, 3), _X),
    "in_top_k": (lambda x, k: m.in_top_k(k, x, 2), _X, i(3)),
    "segment_sum": (lambda x, k: m.segment_sum(x, k), f(4, 8), fixed([0, 0, 1, 1])),
    "segment_mean": (lambda x, k: m.segment_mean(x, k), f(4, 8), fixed([0, 0, 1, 1])),
    **{
        f"unsorted_segment_{n}": (
            lambda x, k, n=n: getattr(m, f"unsorted_segment_{n}")(x, k, 5), f(4, 8), i(4),
        )
        for n in ("sum", "max", "min", "prod", "mean", "sqrt_n")
    },
    "confusion_matrix": (lambda x, y: m.confusion_matrix(x, y, 5), i(7), i(7)[::-1]),
    "bincount": (lambda x: m.bincount(x, minlength=5, maxlength=5), i(9)),
    "histogram": (lambda x: tf.histogram_fixed_width(x, [-1.0, 1.0], 4), f(9)),
    "invert_permutation": (m.invert_permutation, fixed([2, 0, 1, 3])),
    "lbeta": (m.lbeta, _POSITIVE),
    "polyval": (lambda x: m.polyval([1.0, 2.0, 3.0], x), _X),
    "reduce_logsumexp_keep": (lambda x: m.reduce_logsumexp(x, -1, keepdims=True), f(2, 3, 4)),
    "special": (lambda x: (m.special.dawsn(x), m.special.fresnel_sin(x), m.special.expint(x + 2),
                           m.special.spence(x + 2)), _X),
    "bessel_jy": (lambda x: (m.special.bessel_j0(x), m.special.bessel_j1(x)), _POSITIVE),
    "tensordot": (lambda x, y: tf.tensordot(x, y, 1), _X, fixed(f(8, 4))),
    "einsum_bilinear": (lambda x, y: tf.einsum("bi,ij,bj->b", x, y, x), _X, fixed(f(8, 8))),
    "linspace": (lambda x: x + tf.linspace(0.0, 1.0, 8), _X),
    "is_strictly_increasing": (m.is_strictly_increasing, f(9)),
    "is_non_decreasing": (m.is_non_decreasing, f(9)),
    "approximate_equal": (lambda x, y: tf.raw_ops.ApproximateEqual(x=x, y=y), _X, _Y),
    "quantize": (lambda x: tf.quantization.quantize_and_dequantize_v2(x, -1.0, 1.0), _X),
    "fake_quant": (tf.quantization.fake_quant_with_min_max_args, _X),
    "fake_quant_vars": (lambda x: tf.quantization.fake_quant_with_min_max_vars(x, -1.0, 1.0), _X),
    "fake_quant_channel": (lambda x: tf.quantization.fake_quant_with_min_max_vars_per_channel(
        x, [-1.0] * 8, [1.0] * 8), _X),
}  # fmt: skip
