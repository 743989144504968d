"""The inner loops that the compiler generates are no worse than those that were recorded.

Counts of instructions, not times: they depend on nothing but the compiler. A loop that needs
2 % more instructions per multiply-add than ``generated_code.json`` says, or that spills where it
did not, fails. Where that is meant, or the code became better,
``python -m pytest tests/llvm/test_generated_code.py --update-golden`` records what there is now.
``python benchmarks/instructions.py`` prints the same counts as a table.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest
from benchmarks.instructions import KERNELS, Loop, loops, measure

RECORDED = Path(__file__).parent / "generated_code.json"
COLUMNS = ("depth", "instructions", "products", "loads", "stores", "spills")
ALLOWED = 1.02
NARROW = ("matmul-bias-gelu", "matvec", "conv-3x3", "conv-depthwise", "attention", "softmax")
CASES = [
    *(("x86-64-v4", kernel) for kernel in KERNELS),
    *(("aarch64", kernel) for kernel in KERNELS),
    *(("x86-64-v3", kernel) for kernel in NARROW),
]
Dispatches = list[list[Loop]]
measured = cache(measure)


def read(target: str, kernel: str) -> Dispatches | None:
    """Return the recorded loops of each dispatch of a kernel, None if there are none."""
    stored = json.loads(RECORDED.read_text()).get(f"{target} {kernel}")
    if stored is None:
        return None
    return [[Loop(**dict(zip(COLUMNS, row, strict=True))) for row in rows] for rows in stored]


def write(target: str, kernel: str, found: Dispatches) -> None:
    """Record the loops of a kernel, each in a line of the file."""
    stored = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    stored[f"{target} {kernel}"] = [
        [[getattr(loop, column) for column in COLUMNS] for loop in rows] for rows in found
    ]
    entries = []
    for name, dispatches in sorted(stored.items()):
        rows = "], [".join(",\n  ".join(map(str, rows)) for rows in dispatches)
        entries.append(f'"{name}": [[\n  {rows}]]')
    RECORDED.write_text("{\n" + ",\n".join(entries) + "\n}\n")


def complaints(recorded: Dispatches, found: Dispatches) -> list[str]:
    """Return what became worse, a sentence each.

    Loops with multiply-adds are compared with such loops, the others with one another, in the
    order that :func:`benchmarks.instructions.loops` gives them.
    """
    if len(recorded) != len(found):
        return [f"it was {len(recorded)} dispatches and is {len(found)} now"]
    said = []
    for dispatch, (before, after) in enumerate(zip(recorded, found, strict=True)):
        for multiplies in (True, False):
            pairs = zip_longest(*(select(rows, multiplies) for rows in (before, after)))
            for place, (was, now) in enumerate(pairs):
                what = f"loop {place} {'with' if multiplies else 'without'} multiply-adds"
                said += [f"dispatch {dispatch}, {what}: {text}" for text in worse(was, now)]
    return said


def select(rows: list[Loop], multiplies: bool) -> list[Loop]:
    return [loop for loop in rows if bool(loop.products) == multiplies]


def worse(was: Loop | None, now: Loop | None) -> list[str]:
    if now is None:
        return []
    said = []
    if now.spills and not (was and was.spills):
        said.append(f"{now.spills} spills, where there were none")
    if was and now.cost > was.cost * ALLOWED:
        unit = "multiply-add" if now.products else "access of memory"
        counts = [f"{x.instructions}/{x.products or x.loads + x.stores}" for x in (was, now)]
        said.append(
            f"{was.cost:.2f} instructions per {unit} became {now.cost:.2f} "
            f"({counts[0]} -> {counts[1]})"
        )
    return said


@pytest.mark.parametrize(("target", "kernel"), CASES)
def test_inner_loops(target: str, kernel: str, request: pytest.FixtureRequest) -> None:
    found = measured(kernel, target)
    if request.config.getoption("--update-golden"):
        write(target, kernel, found)
    recorded = read(target, kernel)
    assert recorded is not None, f"{kernel} for {target} is not recorded; use --update-golden"
    said = complaints(recorded, found)
    assert not said, f"{kernel} for {target} became worse: " + "; ".join(said)


def test_products_are_multiplied_at_the_peak() -> None:
    """The loops that large products spend their time in leave the multipliers no gap."""
    for kernel in ("matmul-bias-gelu", "matmul-long-k", "matmul-int8", "matmul-bf16", "conv-3x3"):
        (rows,) = measured(kernel, "x86-64-v4")
        assert rows[0].peak == 1.0 and not rows[0].spills, kernel


LOOP = Loop(depth=3, instructions=42, products=24, loads=14, stores=0, spills=0)


def test_what_counts_as_worse() -> None:
    assert complaints([[LOOP]], [[LOOP]]) == []
    assert complaints([[LOOP, LOOP]], [[replace(LOOP, instructions=40)]]) == []
    (slower,) = complaints([[LOOP]], [[replace(LOOP, instructions=43)]])
    assert "1.75 instructions per multiply-add became 1.79 (42/24 -> 43/24)" in slower
    (spilling,) = complaints([[LOOP]], [[replace(LOOP, spills=2)]])
    assert "2 spills, where there were none" in spilling
    (split,) = complaints([[LOOP]], [[LOOP], [LOOP]])
    assert "1 dispatches and is 2" in split


X86 = """
\tpushq\t%rdi
.LBB0_1:                                # =>This Loop Header: Depth=1
                                        #     Child Loop BB0_2 Depth 2
\tmovq\t(%rdi), %rax
.LBB0_2:                                #   Parent Loop BB0_1 Depth=1
                                        # =>  This Inner Loop Header: Depth=2
\tvmovups\t(%rsi,%rax), %zmm3
\tvfmadd231ps\t64(%rsi){1to16}, %zmm3, %zmm0
\tvfmadd231ps\t%zmm4, %zmm3, %zmm1
# %bb.3:                                #   in Loop: Header=BB0_2 Depth=2
\tvmovups\t%zmm3, 8(%rsp)                 # 64-byte Spill
\tvmovups\t%zmm3, (%rdx,%rax) {%k1}
\taddq\t$64, %rax
\tjb\t.LBB0_2
# %bb.4:                                #   in Loop: Header=BB0_1 Depth=1
\tjb\t.LBB0_1
\tretq
"""


def test_a_listing_is_read() -> None:
    assert loops(X86) == [Loop(2, 7, 2, 2, 2, 1, vectors=2.0, chain=1)]
