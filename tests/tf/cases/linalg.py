"""Matrices: ``tf.linalg``. What is not unique (vectors' signs) is compared by what it makes."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tests.tf.cases import Table, f, fixed

m = tf.linalg
_X = f(3, 4, 4) + 2 * np.eye(4, dtype=np.float32)
_SYMMETRIC = (_X + _X.transpose(0, 2, 1)) / 2
_POSITIVE = (_X @ _X.transpose(0, 2, 1)).astype(np.float32)
_TALL = f(3, 6, 4)
_BANDS = f(3, 3, 5) + np.array([[0], [4], [0]], np.float32)


def _svd(x: tf.Tensor) -> tf.Tensor:
    s, u, v = m.svd(x)
    return s, u * s[..., None, :] @ tf.transpose(v, [0, 2, 1])


def _qr(x: tf.Tensor) -> tf.Tensor:
    q, r = m.qr(x)
    return q @ r, tf.transpose(q, [0, 2, 1]) @ q


def _eigh(x: tf.Tensor) -> tf.Tensor:
    values, vectors = m.eigh(x)
    return values, vectors * values[..., None, :] @ tf.transpose(vectors, [0, 2, 1])


def _lu(x: tf.Tensor) -> tf.Tensor:
    lu, p = m.lu(x)
    return m.lu_reconstruct(lu, p)


TABLE: Table = {
    "cholesky": (m.cholesky, _POSITIVE),
    "cholesky_solve": (lambda x, y: m.cholesky_solve(m.cholesky(x), y), _POSITIVE, f(3, 4, 2)),
    "det": (m.det, _X),
    "slogdet": (m.slogdet, _X),
    "logdet": (m.logdet, _POSITIVE),
    "inv": (m.inv, _X),
    "inv_adjoint": (lambda x: m.inv(x, True), _X),
    "pinv": (m.pinv, fixed(_TALL)),
    "solve": (m.solve, _X, f(3, 4, 2)),
    "solve_adjoint": (lambda x, y: m.solve(x, y, True), _X, f(3, 4, 2)),
    "triangular_solve": (m.triangular_solve, _X, f(3, 4, 2)),
    "triangular_solve_upper": (lambda x, y: m.triangular_solve(x, y, lower=False, adjoint=True),
                               _X, f(3, 4, 2)),
    "lstsq": (lambda x, y: m.lstsq(x, y), _TALL, f(3, 6, 2)),
    "qr": (_qr, _TALL),
    "svd": (_svd, _TALL),
    "singular_values": (lambda x: m.svd(x, compute_uv=False), _TALL),
    "eigh": (_eigh, _SYMMETRIC),
    "eigvalsh": (m.eigvalsh, _SYMMETRIC),
    "lu": (_lu, _X),
    "expm": (m.expm, _X * 0.3),
    "sqrtm": (m.sqrtm, _POSITIVE),
    "trace": (m.trace, _X),
    "matrix_rank": (m.matrix_rank, fixed(_TALL)),
    "matvec": (m.matvec, _X, f(3, 4)),
    "adjoint": (m.adjoint, _X),
    "cross": (m.cross, f(3, 3), f(3, 3)[::-1]),
    "norm": (lambda x: (m.norm(x, axis=[1, 2]), m.norm(x, "euclidean", 1),
                        m.norm(x, np.inf, 1)), _X),
    "normalize": (lambda x: m.normalize(x, axis=1), _X),
    "global_norm": (lambda x: m.global_norm([x, x]), _X),
    "tensordot": (lambda x, y: m.tensordot(x, y, [[2], [1]]), _X, fixed(f(5, 4))),
    "einsum_trace": (lambda x: m.einsum("bii->b", x), _X),
    "einsum_diagonal": (lambda x: m.einsum("bii->bi", x), _X),
    "band_part": (lambda x: (m.band_part(x, 0, -1), m.band_part(x, -1, 0)), _X),
    "set_diag": (lambda x, y: m.set_diag(x, y), _X, f(3, 4)),
    "tridiagonal_matmul": (lambda x, y: m.tridiagonal_matmul(x, y, "compact"), _BANDS, f(3, 5, 2)),
    "tridiagonal_solve": (lambda x, y: m.tridiagonal_solve(
        x, y, "compact", partial_pivoting=False), _BANDS, f(3, 5, 2)),
    "matrix_transpose": (m.matrix_transpose, _TALL),
    "operator": (lambda x, y: m.LinearOperatorFullMatrix(x).matmul(y), _X, f(3, 4, 2)),
    "inv_gradient": (lambda x: tf.gradients(m.inv(x), x)[0], _X),
    "cholesky_gradient": (lambda x: tf.gradients(m.cholesky(x), x)[0], fixed(_POSITIVE)),
}  # fmt: skip
