"""``stablehlo.rng_bit_generator`` as XLA's CPU backend computes it: Philox 4x32-10.

Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011). The default
algorithm is Philox there; the state is a key of 64 bits and a counter of 64 (or 128) bits, and
words come out in blocks of four.
"""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import U32, U64, ElementType, from_name
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import load
from iree_core.lowering.structured import computed
from iree_core.lowering.tensors import Tensor
from iree_core.passes.input.stablehlo_regions import as_tensor, element_of

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORDS = 4  # of one block


def rng_bit_generator(op: ir.Operation) -> list[Tensor] | None:
    """Return the next state and random bits; None where another algorithm is asked for."""
    algorithm = str(op.attributes["rng_algorithm"])
    state = as_tensor(op.operands[0])
    shape, element = ir.RankedTensorType(op.results[1].type), element_of(op.results[1])
    if "THREE_FRY" in algorithm or state.element != U64 or state.dims not in ((2,), (3,)):
        return None
    if not shape.has_static_shape:
        return None
    per_item = 2 if element.bits == 64 else 1
    count = index.product(shape.shape)
    key, start = load(state.value, 0), load(state.value, 1)
    # A state of two numbers has the key above its counter.
    words = key, start, load(state.value, 2) if state.dims == (3,) else key
    blocks = index.ceildiv(index.mul(count, per_item), _WORDS)

    def body(position: ir.Value) -> ir.Value:
        first = index.mul(position, per_item)
        low = _word(words, first)
        if per_item == 1:
            return _as(low, element)
        high = _word(words, index.add(first, 1))
        wide = arith.extui(U64.type, high), arith.extui(U64.type, low)
        shifted = arith.shli(wide[0], scalars.constant(32, U64))
        return _as(arith.ori(shifted, wide[1]), element)

    (flat,) = computed([count], [element], body)
    counter = arith.addi(start, arith.index_castui(U64.type, index.value(blocks)))
    following = [key, counter]
    if state.dims == (3,):
        wrapped = arith.cmpi(arith.CmpIPredicate.ult, counter, start)
        following.append(arith.addi(words[2], arith.extui(U64.type, wrapped)))
    return [tensors.from_elements(following, U64), tensors.reshape(flat, shape.shape)]


def _as(word: ir.Value, element: ElementType) -> ir.Value:
    """Return the low bits of a word as an element of an integer or floating-point type."""
    bits = from_name(f"ui{element.bits}")
    if bits.type != word.type:
        word = arith.trunci(bits.type, word)
    return arith.bitcast(element.type, word) if element.is_float else word


def _word(state: tuple[ir.Value, ir.Value, ir.Value], position: Dim) -> ir.Value:
    """Return the random word (i32) at a position of the stream; see ``rng_bit_generator``."""
    block = arith.index_castui(U64.type, index.value(index.floordiv(position, _WORDS)))
    lane = index.value(index.remainder(position, _WORDS))
    key, start, upper = state
    counter = arith.addi(start, block)
    x = [*_halves(counter), *_halves(upper)]
    k = _halves(key)
    for _ in range(_ROUNDS):
        x = _round(x, k)
        k = [
            arith.addi(word, scalars.constant(step, U32))
            for word, step in zip(k, _KEY_STEPS, strict=True)
        ]
    result = x[0]
    for number in range(1, _WORDS):
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


def _product(word: ir.Value, factor: int) -> list[ir.Value]:
    wide = arith.muli(arith.extui(U64.type, word), scalars.constant(factor, U64))
    return _halves(wide)
