"""Layers' operations and their gradients: ``tf.nn``, ``tf.random``, ``tf.GradientTape``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tests.tf.cases import Table, f, fixed, i

n = tf.nn
_X = f(3, 8)
_IMAGE = f(2, 8, 8, 4)


def gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradients of the sum of squares of what ``function`` returns."""

    def gradients(*values: Any) -> Any:
        floats = [v for v in values if v.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(floats)
            loss = tf.reduce_sum(tf.square(function(*values)))
        return tape.gradient(loss, floats)

    return gradients


_ACTIVATIONS = ("relu", "relu6", "elu", "selu", "gelu", "silu", "leaky_relu", "softmax",
                "log_softmax", "softplus", "softsign", "crelu", "swish", "tanh")  # fmt: skip
_CONVOLUTION = (lambda x, w: n.conv2d(x, w, 1, "SAME"), _IMAGE, fixed(f(3, 3, 4, 5)))
_VOLUME = f(2, 4, 6, 6, 2)

TABLE: Table = {
    **{a: (getattr(n, a), _X) for a in _ACTIVATIONS},
    **{f"{a}_gradient": (gradient(getattr(n, a)), _X) for a in _ACTIVATIONS if a != "crelu"},
    "gelu_approximate": (lambda x: n.gelu(x, True), _X),
    "softmax_axis": (lambda x: (n.softmax(x, 1), n.softmax(x, 0)), f(3, 4, 5)),
    "matmul": (lambda x, y: x @ y, f(3, 4, 5), f(3, 5, 6)),
    "matmul_transposed": (lambda x, y: tf.matmul(x, y, transpose_b=True), f(3, 4, 5), f(3, 6, 5)),
    "matmul_transposed_a": (lambda x, y: tf.matmul(x, y, True), f(3, 5, 4), f(3, 5, 6)),
    "matmul_weights": (lambda x, y: x @ y, f(3, 4, 5), fixed(f(5, 6))),
    "matmul_gradient": (gradient(lambda x, y: x @ y), _X, fixed(f(8, 4))),
    "matmul_batch_gradient": (gradient(lambda x, y: x @ y), f(3, 4, 5), f(3, 5, 6)),
    "einsum": (lambda x, y: tf.einsum("bqhd,bkhd->bhqk", x, y), f(2, 3, 4, 5), f(2, 6, 4, 5)),
    "einsum_weights": (lambda x, w: tf.einsum("abc,cde->abde", x, w), f(2, 3, 4),
                       fixed(f(4, 2, 5))),
    "bias_add": (lambda x, y: n.bias_add(x, y), _IMAGE, fixed(f(4))),
    "conv2d": _CONVOLUTION,
    "conv2d_stride": (lambda x, w: n.conv2d(x, w, 2, "SAME"), _IMAGE, fixed(f(3, 3, 4, 5))),
    "conv2d_valid_dilated": (lambda x, w: n.conv2d(x, w, 1, "VALID", dilations=2), _IMAGE,
                             fixed(f(3, 3, 4, 5))),
    "conv2d_explicit": (lambda x, w: n.conv2d(x, w, 1, [[0, 0], [1, 2], [0, 1], [0, 0]]), _IMAGE,
                        fixed(f(3, 3, 4, 5))),
    "conv2d_groups": (lambda x, w: n.conv2d(x, w, 1, "SAME"), _IMAGE, fixed(f(3, 3, 2, 6))),
    "conv2d_gradient": (gradient(_CONVOLUTION[0]), *_CONVOLUTION[1:]),
    "conv2d_stride_gradient": (gradient(lambda x, w: n.conv2d(x, w, 2, "SAME")),
                               *_CONVOLUTION[1:]),
    "conv2d_any_size": (lambda x, w: n.conv2d(tf.reshape(x, [-1, 8, tf.shape(x)[0] * 4, 4]), w, 1,
                                              "SAME"), _IMAGE, fixed(f(3, 3, 4, 5))),
    "depthwise": (lambda x, w: n.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"), _IMAGE,
                  fixed(f(3, 3, 4, 2))),
    "depthwise_stride": (lambda x, w: n.depthwise_conv2d(x, w, [1, 2, 2, 1], "SAME"), _IMAGE,
                         fixed(f(3, 3, 4, 1))),
    "depthwise_gradient": (gradient(lambda x, w: n.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME")),
                           _IMAGE, fixed(f(3, 3, 4, 1))),
    "separable": (lambda x, d, p: n.separable_conv2d(x, d, p, [1, 1, 1, 1], "SAME"), _IMAGE,
                  fixed(f(3, 3, 4, 2)), fixed(f(1, 1, 8, 3))),
    "conv2d_transpose": (lambda x, w: n.conv2d_transpose(
        x, w, tf.stack([tf.shape(x)[0], 16, 16, 5]), 2, "SAME"), _IMAGE, fixed(f(3, 3, 5, 4))),
    "conv1d": (lambda x, w: n.conv1d(x, w, 1, "SAME"), f(2, 9, 4), fixed(f(3, 4, 5))),
    "conv1d_dilated": (lambda x, w: n.conv1d(x, w, 1, "VALID", dilations=2), f(2, 9, 4),
                       fixed(f(3, 4, 5))),
    "conv1d_transpose": (lambda x, w: n.conv1d_transpose(
        x, w, tf.stack([tf.shape(x)[0], 18, 5]), 2, "SAME"), f(2, 9, 4), fixed(f(3, 5, 4))),
    "conv3d": (lambda x, w: n.conv3d(x, w, [1, 1, 2, 2, 1], "SAME"), _VOLUME,
               fixed(f(2, 3, 3, 2, 3))),
    "conv3d_transpose": (lambda x, w: n.conv3d_transpose(
        x, w, tf.stack([tf.shape(x)[0], 8, 12, 12, 3]), 2, "SAME"), _VOLUME,
        fixed(f(2, 2, 2, 3, 2))),
    "max_pool": (lambda x: n.max_pool2d(x, 3, 2, "SAME"), _IMAGE),
    "max_pool_valid": (lambda x: n.max_pool2d(x, 2, 2, "VALID"), _IMAGE),
    "max_pool_gradient": (gradient(lambda x: n.max_pool2d(x, 3, 2, "SAME")), _IMAGE),
    "max_pool_1d": (lambda x: n.max_pool1d(x, 3, 2, "SAME"), f(2, 9, 4)),
    "max_pool_3d": (lambda x: n.max_pool3d(x, 2, 2, "SAME"), _VOLUME),
    "max_pool_argmax": (lambda x: n.max_pool_with_argmax(x, 2, 2, "VALID"), _IMAGE),
    "avg_pool": (lambda x: n.avg_pool2d(x, 3, 2, "SAME"), _IMAGE),
    "avg_pool_valid": (lambda x: n.avg_pool2d(x, 2, 2, "VALID"), _IMAGE),
    "avg_pool_gradient": (gradient(lambda x: n.avg_pool2d(x, 3, 2, "SAME")), _IMAGE),
    "avg_pool_1d": (lambda x: n.avg_pool1d(x, 3, 2, "SAME"), f(2, 9, 4)),
    "avg_pool_3d": (lambda x: n.avg_pool3d(x, 2, 2, "SAME"), _VOLUME),
    "dilation2d": (lambda x, w: n.dilation2d(x, w, [1, 1, 1, 1], "SAME", "NHWC", [1, 1, 1, 1]),
                   _IMAGE, fixed(f(3, 3, 4))),
    "lrn": (lambda x: n.local_response_normalization(x, 2, 1.0, 0.1, 0.5), _IMAGE),
    "l2_loss": (n.l2_loss, _X),
    "moments": (lambda x: n.moments(x, [0, 1, 2]), _IMAGE),
    "batch_normalization": (lambda x, p: n.batch_normalization(x, p[0], p[1] ** 2, p[2], p[3],
                                                               1e-3), _IMAGE, fixed(f(4, 4))),
    "fused_batch_norm": (lambda x, p: tf.compat.v1.nn.fused_batch_norm(
        x, p[0], p[1], p[2], p[3] ** 2, is_training=False)[0], _IMAGE, fixed(f(4, 4))),
    "fused_batch_norm_train": (lambda x, p: tf.compat.v1.nn.fused_batch_norm(x, p[0], p[1]),
                               _IMAGE, fixed(f(4, 4))),
    "fused_batch_norm_gradient": (gradient(lambda x, p: tf.compat.v1.nn.fused_batch_norm(
        x, p[0], p[1])[0]), _IMAGE, fixed(f(4, 4))),
    "layer_norm": (lambda x: (x - tf.reduce_mean(x, -1, True))
                   * tf.math.rsqrt(tf.math.reduce_variance(x, -1, True) + 1e-5), _X),
    "cross_entropy": (lambda x, y: n.softmax_cross_entropy_with_logits(n.softmax(y), x), _X,
                      _X[:, ::-1].copy()),
    "sparse_cross_entropy": (lambda x, k: n.sparse_softmax_cross_entropy_with_logits(k, x), _X,
                             i(3)),
    "sparse_cross_entropy_gradient": (gradient(
        lambda x, k: n.sparse_softmax_cross_entropy_with_logits(k, x)), _X, i(3)),
    "sigmoid_cross_entropy": (lambda x, y: n.sigmoid_cross_entropy_with_logits(
        labels=n.sigmoid(y), logits=x), _X, _X[::-1]),
    "ctc_loss": (lambda x, k: n.ctc_loss(k, tf.nn.log_softmax(x), tf.constant([2, 2]),
                                         tf.constant([6, 6]), False), fixed(f(2, 6, 5)),
                 fixed(i(2, 2, low=1, high=4))),
    "huber": (lambda x, y: tf.keras.losses.huber(x, y), _X, _X[::-1]),
    "dropout": (lambda x: tf.shape(n.dropout(x, 0.5)), _X),
    "stateless_uniform": (lambda x: x + tf.random.stateless_uniform([8], [1, 2]), _X),
    "stateless_normal": (lambda x: x + tf.random.stateless_normal(tf.shape(x), [1, 2]), _X),
    "stateless_truncated": (lambda x: x + tf.random.stateless_truncated_normal([8], [1, 2]), _X),
    "stateless_int": (lambda x: tf.random.stateless_uniform(tf.shape(x), [1, 2], 0, 9, tf.int32),
                      _X),
    "stateless_categorical": (lambda x: tf.random.stateless_categorical(x, 4, [1, 2]), _X),
    "random_shapes": (lambda x: (tf.shape(tf.random.normal(tf.shape(x))),
                                 tf.shape(tf.random.uniform([4]))), _X),
    "categorical": (lambda x: tf.shape(tf.random.categorical(x, 4)), _X),
    "shuffle": (lambda x: tf.shape(tf.random.shuffle(x)), _X),
    "embedding_gradient": (lambda w, k: tf.convert_to_tensor(
        gradient(lambda w, k: tf.gather(w, k))(w, k)[0]), fixed(f(9, 4)), i(5)),
    "slice_gradient": (gradient(lambda x: x[:, 1:5:2]), _X),
    "pad_gradient": (gradient(lambda x: tf.pad(x, [[0, 0], [1, 1]], "REFLECT")), _X),
    "concat_gradient": (gradient(lambda x: tf.concat([x, x[:, :2]], 1)), _X),
    "cumsum_gradient": (gradient(lambda x: tf.cumsum(x, 1)), _X),
    "cumprod_gradient": (gradient(lambda x: tf.math.cumprod(x, 1)), _X),
    "reduce_max_gradient": (gradient(lambda x: tf.reduce_max(x, 1)), _X),
    "roll_gradient": (gradient(lambda x: tf.roll(x, 2, 1)), _X),
    "top_k_gradient": (gradient(lambda x: tf.math.top_k(x, 3)[0]), _X),
    "gather_gradient": (gradient(lambda x, k: tf.gather(x, k, batch_dims=1)), _X, i(3, 4)),
    "broadcast_gradient": (gradient(lambda x, y: x * y), _X, fixed(f(8))),
    "attention": (lambda q, k, v: n.softmax(q @ tf.transpose(k, [0, 2, 1]) / 2.0) @ v, f(2, 3, 4),
                  f(2, 5, 4), f(2, 5, 4)),
    "pool_nd": (lambda x: n.pool(x, [2, 2], "MAX", [2, 2], "SAME"), _IMAGE),
    "avg_pool_whole": (lambda x: n.avg_pool(x, [1, 8, 8, 1], 1, "VALID"), _IMAGE),
    "weighted_moments": (lambda x, w: n.weighted_moments(x, [0], w), _X, _X[::-1] + 1),
    "normalize_moments": (lambda x: n.l2_normalize(x, [1, 2]), f(3, 4, 5)),
}  # fmt: skip
