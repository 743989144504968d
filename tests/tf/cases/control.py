"""Control flow, tensor arrays and calls."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tests.tf.cases import Table, b, f, fixed, i

_X = f(3, 4)


def _loop(x: Any, n: Any) -> Any:
    total = x
    for k in tf.range(n):
        if tf.reduce_sum(total) > 10.0:
            break
        if k % 2 == 0:
            continue
        total = total * 1.5 + tf.cast(k, tf.float32)
    return total


def _nested(x: Any) -> Any:
    rows = tf.TensorArray(tf.float32, 3)
    for k in tf.range(3):
        value = x
        while tf.reduce_sum(value) < tf.cast(k, tf.float32) * 5.0:
            value = value + 1.0
        rows = rows.write(k, tf.reduce_sum(value, 0))
    return rows.stack()


def _array(x: Any) -> Any:
    items = tf.TensorArray(tf.float32, 0, dynamic_size=True)
    for k in tf.range(4):
        items = items.write(k, x * tf.cast(k, tf.float32))
    return items.stack(), items.concat()


def _growing_array(x: Any) -> Any:
    """Results of a loop that ends by a condition, as in decoding."""
    items, k = tf.TensorArray(tf.float32, 0, dynamic_size=True), 0
    while tf.reduce_sum(x) * tf.cast(k, tf.float32) < 10.0 and k < 5:
        items = items.write(k, x * tf.cast(k, tf.float32))
        k += 1
    return items.stack()


def _read(x: Any) -> Any:
    items = tf.TensorArray(tf.float32, 8).unstack(tf.transpose(x))
    total = tf.zeros_like(x[:, 0])
    for k in tf.range(8):
        total = total * 0.5 + items.read(k)
    return total


def _array_of_batch(x: Any) -> Any:
    n = tf.shape(x)[0]
    items = tf.TensorArray(tf.float32, n)
    for k in tf.range(n):
        items = items.write(k, x[k] * 2.0)
    return items.stack()


def _array_gather(x: Any) -> Any:
    items = tf.TensorArray(tf.float32, 4).unstack(tf.transpose(x))
    return items.gather([2, 0])


def _array_split(x: Any) -> Any:
    items = tf.TensorArray(tf.float32, 2).split(x, [1, 2])
    return items.read(0), items.read(1)


def _greedy(x: Any) -> Any:
    """Decode as language models do: a buffer is filled until a condition."""
    tokens = tf.zeros([tf.shape(x)[0], 6], tf.int32)

    def step(k: Any, tokens: Any) -> Any:
        chosen = tf.argmax(x + tf.cast(k, tf.float32), 1, tf.int32)
        column = tf.one_hot(k, 6, dtype=tf.int32)
        return k + 1, tokens + chosen[:, None] * column

    return tf.while_loop(lambda k, _: k < 6, step, [0, tokens])[1]


@tf.function
def _called(x: Any) -> Any:
    return tf.tanh(x) + 1.0


@tf.custom_gradient
def _custom(x: Any) -> Any:
    return tf.exp(x), lambda dy: dy * 2.0


def _growing(x: Any) -> Any:
    """The tensor that a loop carries grows."""
    return tf.while_loop(
        lambda k, y: k < 3, lambda k, y: (k + 1, tf.concat([y, x], 0)), [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 4])],
    )[1]  # fmt: skip


def _gradient_of_loop(x: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.while_loop(
            lambda k, y: k < 3, lambda k, y: (k + 1, tf.sin(y) * 2), [0, x], maximum_iterations=3
        )[1]
        loss = tf.reduce_sum(y)
    return tape.gradient(loss, x)


TABLE: Table = {
    "while_loop": (lambda x: tf.while_loop(lambda k, y: k < 9, lambda k, y: (k + 1, y * 2.0),
                                           [0, x])[1], _X),
    "while_value": (lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 50.0,
                                            lambda y: [y + 1.0], [x])[0], _X),
    "while_growing": (_growing, _X),
    "for_break_continue": (tf.autograph.to_graph(_loop), _X, i(low=4, high=9)),
    "nested": (tf.autograph.to_graph(_nested), _X),
    "cond": (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(x), lambda: tf.cos(x)), _X),
    "cond_shapes": (lambda x, k: tf.cond(k, lambda: x, lambda: x[:1]), _X, b()),
    "cond_several": (lambda x, k: tf.cond(k, lambda: (x, x + 1), lambda: (x * 2, x)), _X, b()),
    "case": (lambda x, n: tf.case([(n < 2, lambda: x), (n < 4, lambda: x * 2)], lambda: -x), _X,
             i()),
    "switch_case": (lambda x, n: tf.switch_case(n, [lambda: x, lambda: x * 2, lambda: -x]), _X,
                    i(high=3)),
    "map_fn": (lambda x: tf.map_fn(lambda r: r * 2 + 1, x), _X),
    "map_fn_several": (lambda x, y: tf.map_fn(lambda p: p[0] * p[1], (x, y),
                                              fn_output_signature=tf.float32), _X, _X[::-1]),
    "map_fn_type": (lambda x: tf.map_fn(tf.argmax, x, fn_output_signature=tf.int64), _X),
    "vectorized_map": (lambda x: tf.vectorized_map(lambda r: tf.reduce_sum(r * r), x), _X),
    "scan": (lambda x: tf.scan(lambda a, r: a + r, x), _X),
    "scan_initial": (lambda x: tf.scan(lambda a, r: a * 0.5 + tf.reduce_sum(r), x, 0.0), _X),
    "scan_reverse": (lambda x: tf.scan(lambda a, r: a + r, x, reverse=True), _X),
    "foldl": (lambda x: (tf.foldl(lambda a, r: a + r, x), tf.foldr(lambda a, r: a - r, x)), _X),
    "array_dynamic": (tf.autograph.to_graph(_array), _X),
    "array_growing": (tf.autograph.to_graph(_growing_array), _X + 1),
    "array_read": (tf.autograph.to_graph(_read), f(3, 8)),
    "array_of_batch": (tf.autograph.to_graph(_array_of_batch), _X),
    "array_gather": (_array_gather, _X),
    "array_split": (_array_split, _X),
    "greedy": (_greedy, f(3, 8)),
    "call": (lambda x: _called(_called(x)), _X),
    "custom_gradient": (lambda x: tf.gradients(_custom(x), x)[0], _X),
    "gradient_of_loop": (_gradient_of_loop, _X),
    "gradient_of_cond": (lambda x: tf.gradients(tf.cond(
        tf.reduce_sum(x) > 0, lambda: tf.sin(x), lambda: tf.cos(x)), x)[0], _X),
    "gradient_of_map": (lambda x: tf.gradients(tf.map_fn(tf.sin, x), x)[0], _X),
    "recompute": (lambda x: tf.recompute_grad(lambda y: tf.sin(y))(x), _X),
    "hessian": (lambda x: tf.hessians(tf.reduce_sum(x ** 3), x)[0], fixed(f(4))),
    "jacobian": (lambda x: _jacobian(x), fixed(f(4))),
    "print": (lambda x: (tf.print(x), x * 2)[1], _X),
    "assert": (lambda x: (tf.debugging.assert_less(x, 5.0), x * 2)[1], _X),
    "check_numerics": (lambda x: tf.debugging.check_numerics(x, "x"), _X),
    "control_dependencies": (lambda x: _dependent(x), _X),
}  # fmt: skip


def _jacobian(x: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.sin(x) * tf.reduce_sum(x)
    return tape.jacobian(y, x)


def _dependent(x: Any) -> Any:
    with tf.control_dependencies([tf.debugging.assert_rank(x, 2)]):
        return tf.identity(x)
