"""Random bits by counter: Philox 4x32-10, as XLA and TensorFlow use it.

Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011). A key of 64
bits and a counter of 128 bits give a block of four words of 32 bits.
"""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars
from iree_core.lowering.element import U32, U64
from iree_core.lowering.index import Dim

WORDS = 4
"""Words of one block."""

State = tuple[ir.Value, ir.Value, ir.Value]
"""Key, lower and upper half of the counter, as i64."""

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def word(state: State, position: Dim) -> ir.Value:
    """Return the random word (i32) at a position of the stream that starts at ``state``."""
    block = arith.index_castui(U64.type, index.value(index.floordiv(position, WORDS)))
    lane = index.value(index.remainder(position, WORDS))
    key, start, upper = state
    counter = arith.addi(start, block)
    x = [*_halves(counter), *_halves(upper)]
    k = _halves(key)
    for _ in range(_ROUNDS):
        x = _round(x, k)
        k = [
            arith.addi(part, scalars.constant(step, U32))
            for part, step in zip(k, _KEY_STEPS, strict=True)
        ]
    result = x[0]
    for number in range(1, WORDS):
        here = index.compare(arith.CmpIPredicate.eq, lane, number)
        result = arith.select(here, x[number], result)
    return result


def _halves(wide: ir.Value) -> list[ir.Value]:
    high = arith.shrui(wide, scalars.constant(32, U64))
    return [arith.trunci(U32.type, wide), arith.trunci(U32.type, high)]


def _round(x: list[ir.Value], k: list[ir.Value]) -> list[ir.Value]:
    low_0, high_0 = _product(x[0], _MULTIPLIERS[0])
    low_1, high_1 = _product(x[2], _MULTIPLIERS[1])
    return [
        arith.xori(arith.xori(high_1, x[1]), k[0]),
        low_1,
        arith.xori(arith.xori(high_0, x[3]), k[1]),
        low_0,
    ]


def _product(factor: ir.Value, multiplier: int) -> list[ir.Value]:
    wide = arith.muli(arith.extui(U64.type, factor), scalars.constant(multiplier, U64))
    return _halves(wide)
