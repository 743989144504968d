"""``stablehlo.rng_bit_generator`` as XLA's CPU backend computes it.

The default algorithm is Philox there (:mod:`iree_core.lowering.philox`); the state is a key of
64 bits and a counter of 64 (or 128) bits.
"""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, philox, scalars, tensors
from iree_core.lowering.element import U64, ElementType, from_name
from iree_core.lowering.loops import load
from iree_core.lowering.structured import computed
from iree_core.lowering.tensors import Tensor
from iree_core.passes.input.stablehlo_regions import as_tensor, element_of


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
    blocks = index.ceildiv(index.mul(count, per_item), philox.WORDS)

    def body(position: ir.Value) -> ir.Value:
        first = index.mul(position, per_item)
        low = philox.word(words, first)
        if per_item == 1:
            return _as(low, element)
        high = philox.word(words, index.add(first, 1))
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
