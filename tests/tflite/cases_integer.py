"""Operators on plain integers and truth values."""

from __future__ import annotations

from tests.tflite.builder import T
from tests.tflite.cases import add, c


def register() -> None:
    """Register all cases of this file."""
    for kind in ("i32", "i64"):
        x, y = T(kind, (3, 4), -9, 9), T(kind, (4,), 1, 5)
        for op in ("ADD", "SUB", "MUL"):
            add(f"{op} {kind}", op, [x, y], [T(kind)], f"{op.title()}Options")
        for op in (
            "FLOOR_DIV", "FLOOR_MOD", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW",
        ):  # fmt: skip
            # LiteRT has some of them for 32 bits only.
            if kind == "i32" or op not in ("FLOOR_DIV", "SQUARED_DIFFERENCE", "POW"):
                add(f"{op} {kind}", op, [x, T(kind, (3, 4), 1, 5)], [T(kind)])
        for op in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"):
            add(f"{op} {kind}", op, [x, y], [T("i1")])
        for op in ("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "MEAN"):
            add(f"{op} {kind}", op, [x, c([1])], [T(kind)], "ReducerOptions")
        for op in ("NEG",):
            add(f"{op} {kind}", op, [x], [T(kind)])
        add(f"TOPK_V2 {kind}", "TOPK_V2", [x, c(2)], [T(kind), T("i32")])
        add(f"CUMSUM {kind}", "CUMSUM", [x, c(0)], [T(kind)], "CumsumOptions")
        add(f"CAST {kind} i8", "CAST", [T(kind, (3, 4), -99, 99)], [T("i8")])
        add(f"TILE {kind}", "TILE", [x, c([2, 2])], [T(kind)])
        add(
            f"RANGE {kind} at run time", "RANGE",
            [T(kind, (), 0, 3), T(kind, (), 7, 9), c(2, kind)], [T(kind)],
        )  # fmt: skip
    add("DIV i32", "DIV", [T("i32", (3, 4), -9, 9), T("i32", (4,), 1, 5)], [T("i32")], "DivOptions")
    add("ABS i32", "ABS", [T("i32", (3, 4), -9, 9)], [T("i32")])
    add("SIGN i32", "SIGN", [T("i32", (3, 4), -2, 2)], [T("i32")])
    for kind in ("ui8", "i8", "i32"):
        low = 0 if kind == "ui8" else -9
        pair = [T(kind, (3, 4), low, 9), T(kind, (3, 4), low, 9)]
        add(f"BITWISE_XOR {kind}", "BITWISE_XOR", pair, [T(kind)])
        amounts = T(kind, (3, 4), 0, 9)
        add(f"RIGHT_SHIFT {kind}", "RIGHT_SHIFT", [pair[0], amounts], [T(kind)])
    flags = T("i1", (3, 4))
    add("LOGICAL_AND i1", "LOGICAL_AND", [flags, flags], [T("i1")])
    add("LOGICAL_OR i1", "LOGICAL_OR", [flags, flags], [T("i1")])
    add("LOGICAL_NOT i1", "LOGICAL_NOT", [flags], [T("i1")])
    add("REDUCE_ANY i1", "REDUCE_ANY", [flags, c([1])], [T("i1")], "ReducerOptions")
    add("REDUCE_ALL i1", "REDUCE_ALL", [flags, c([1])], [T("i1")], "ReducerOptions")
    add("CAST i1 f32", "CAST", [flags], [T("f32")])
    add("BROADCAST_ARGS i32", "BROADCAST_ARGS", [c([2, 1]), c([3])], [T("i32")])
