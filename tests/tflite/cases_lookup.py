"""Random numbers, choices among boxes, tables looked up by key or hash, sliding reductions."""

from __future__ import annotations

import numpy as np
from tests.tflite.builder import T
from tests.tflite.cases import add, c


def register() -> None:
    """Register all cases of this file."""
    _random()
    _detection()
    _tables()
    _windows()


def _random() -> None:
    seeds = {"seed": 1234567890123, "seed2": 42}
    for op in ("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL"):
        add(f"{op} f32", op, [c([3, 6])], [T()], "RandomOptions", calls=2, **seeds)
    sizes = T("i32", (2,), 2, 4)
    add("RANDOM_UNIFORM open", "RANDOM_UNIFORM", [sizes], [T()], "RandomOptions", **seeds)
    logits = T("f32", (3, 7), -2, 2)
    for kind in ("i32", "i64"):
        add(
            f"MULTINOMIAL {kind}", "MULTINOMIAL", [logits, c(9)], [T(kind)], "RandomOptions",
            calls=2, **seeds,
        )  # fmt: skip


def _detection() -> None:
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 4, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.5, 2, (40, 2))], 1)
    boxes[::3] = boxes[::3][:, [2, 3, 0, 1]]
    scores = T("f32", (40,), 0, 1)
    for name, most, overlap, threshold in (("", 12, 0.4, 0.3), (" few", 30, 0.1, 0.8)):
        limits = [c(most), c(overlap, "f32"), c(threshold, "f32")]
        inputs = [c(boxes, "f32"), scores, *limits]
        counted = [T("i32"), T("i32")]
        add(f"NON_MAX_SUPPRESSION_V4 f32{name}", "NON_MAX_SUPPRESSION_V4", inputs, counted)
        for sigma in (0.0, 0.5):
            add(
                f"NON_MAX_SUPPRESSION_V5 f32{name} {sigma}", "NON_MAX_SUPPRESSION_V5",
                [*inputs, c(sigma, "f32")], [T("i32"), T("f32"), T("i32")],
            )  # fmt: skip


def _tables() -> None:
    keys = c([1, 3, 4, 9, 12])
    for kind in ("f32", "i8"):
        add(
            f"HASHTABLE_LOOKUP {kind}", "HASHTABLE_LOOKUP",
            [T("i32", (11,), 0, 13), keys, T(kind, (5, 3), -9, 9)], [T(kind), T("ui8")],
        )  # fmt: skip
    indices = c([[0, 0, 0], [0, 0, 2], [1, 1, 0], [1, 1, 1], [1, 1, 5], [1, 2, 0]])
    for name, number in (("sum", 0), ("mean", 1), ("sqrtn", 2)):
        ids, weights = T("i32", (6,), 0, 6), T("f32", (6,), 0.5, 2)
        add(
            f"EMBEDDING_LOOKUP_SPARSE {name}", "EMBEDDING_LOOKUP_SPARSE",
            [ids, indices, c([2, 3, 6]), weights, T("f32", (7, 2, 4))], [T()],
            "EmbeddingLookupSparseOptions", combiner=number,
        )  # fmt: skip
    seeds = T("f32", (4, 5), -9, 9)
    for kind, shape in (
        ("i32", (8,)),
        ("f32", (8, 2)),
        ("i64", (8,)),
        ("ui8", (8,)),
        ("i8", (8, 11)),
    ):
        for name, number in (("sparse", 1), ("dense", 2)):
            add(
                f"LSH_PROJECTION {kind} {name}", "LSH_PROJECTION",
                [seeds, T(kind, shape, 0, 99), T("f32", (8,))], [T("i32")],
                "LSHProjectionOptions", type=number,
            )  # fmt: skip


def _windows() -> None:
    x = {"f32": T("f32", (3, 8, 9)), "i32": T("i32", (3, 8, 9), -9, 9)}
    for name, number, start in (("add", 1, 0), ("mul", 2, 1), ("min", 3, 5), ("max", 4, -5)):
        for kind, source in x.items():
            shape, strides, dilations = [1, 2, 3], [1, 2, 1], [1, 1, 2]
            geometry = [c(v, "i64") for v in (shape, strides, dilations)]
            add(
                f"REDUCE_WINDOW {kind} {name}", "REDUCE_WINDOW",
                [source, c(start, kind), *geometry], [T(kind)], "ReduceWindowOptions",
                reduceFunction=number,
            )  # fmt: skip
