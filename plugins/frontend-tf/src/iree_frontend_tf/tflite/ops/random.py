"""Random numbers, as TensorFlow draws them from a seed: Philox 4x32-10.

The position in the stream is state of the module. Where a model gives no seed, LiteRT draws one
each time it loads the model; here the stream of the seed 0 is used.
"""

from __future__ import annotations

from math import pi

import numpy as np

from iree_core.ir import arith, ir, math
from iree_core.lowering import index, philox, scalars, tensors
from iree_core.lowering.element import BOOL, F32, F64, I32, U32, U64
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import load
from iree_core.lowering.scalars import constant
from iree_core.lowering.scan import cumulative
from iree_core.lowering.structured import affine_map, computed, elementwise, generic, reduce
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.registry import Node, lowering


class _Stream:
    """The random words of one operator; the counter is kept from call to call."""

    def __init__(self, node: Node) -> None:
        # LiteRT keeps 32 bits of each.
        self._seeds = tuple(
            scalars.wrap(int(node.option(name, 0)), I32) for name in ("Seed", "Seed2")
        )
        self._name = f"{node.output().name}.{node.importer.number}.random"
        self._variables = node.importer.state.variables
        self._counter = self._variables.load(self._name, (1,), U64)

    def word(self, position: Dim) -> ir.Value:
        """Return the word (i32) at ``position`` of this call."""
        key, upper = (constant(seed, U64) for seed in self._seeds)
        return philox.word((key, load(self._counter.value, 0), upper), position)

    def advance(self, blocks: Dim) -> None:
        """Let the next call begin ``blocks`` blocks later."""
        step = arith.index_castui(U64.type, index.value(blocks))
        reached = arith.addi(tensors.scalar_at(self._counter, [0]), step)
        self._variables.store(self._name, tensors.from_elements([reached], U64))


def _unit(word: ir.Value) -> ir.Value:
    """Return a word as an f32 in [0, 1): its lower bits become the fraction of a number in
    [1, 2)."""
    fraction = arith.andi(word, constant((1 << 23) - 1, U32))
    bits = arith.ori(fraction, constant(127 << 23, U32))
    return arith.subf(arith.bitcast(F32.type, bits), constant(1.0, F32))


@lowering("RANDOM_UNIFORM")
def random_uniform(node: Node) -> Tensor:
    """Numbers between 0 and 1."""
    stream, dims = _Stream(node), node.items(0)
    count = index.product(dims)
    (flat,) = computed([count], [F32], lambda i: _unit(stream.word(i)))
    stream.advance(index.ceildiv(count, philox.WORDS))
    return tensors.reshape(flat, dims)


@lowering("RANDOM_STANDARD_NORMAL")
def random_standard_normal(node: Node) -> Tensor:
    """Numbers of mean 0 and variance 1 (Box and Muller, 1958: two words give two numbers)."""
    stream, dims = _Stream(node), node.items(0)
    count = index.product(dims)

    def body(i: ir.Value) -> ir.Value:
        odd = index.remainder(i, 2)
        first = index.sub(i, odd)
        radius = arith.maximumf(_unit(stream.word(first)), constant(1e-7, F32))
        angle = arith.mulf(_unit(stream.word(index.add(first, 1))), constant(2 * pi, F32))
        length = math.sqrt(arith.mulf(math.log(radius), constant(-2.0, F32)))
        sine = index.compare(arith.CmpIPredicate.eq, odd, 0)
        return arith.mulf(arith.select(sine, math.sin(angle), math.cos(angle)), length)

    (flat,) = computed([count], [F32], body)
    stream.advance(index.ceildiv(count, philox.WORDS))
    return tensors.reshape(flat, dims)


@lowering("MULTINOMIAL")
def multinomial(node: Node) -> Tensor:
    """Classes drawn by their logits, [batch, samples]."""
    stream, logits, samples = _Stream(node), node.tensor(0), node.items(1)[0]
    batch, classes = logits.dims
    running = _running_weights(logits)
    e = node.element()
    last = index.sub(classes, 1)

    def wanted(b: ir.Value, j: ir.Value) -> ir.Value:
        first = index.mul(index.add(index.mul(b, samples), j), 2)
        unit = _unit_double(stream.word(first), stream.word(index.add(first, 1)))
        return arith.mulf(unit, load(running.value, b, last))

    (targets,) = computed([batch, samples], [F64], wanted)
    init = tensors.fill([batch, samples], e, 0)

    def count(target: ir.Value, weight: ir.Value, passed: ir.Value) -> ir.Value:
        below = scalars.compare("le", weight, target, F64)
        return arith.addi(passed, scalars.convert(below, BOOL, e))

    (drawn,) = generic(
        [targets.value, running.value],
        [init.value],
        [affine_map(3, [0, 1]), affine_map(3, [0, 2]), affine_map(3, [0, 1])],
        [False, False, True],
        count,
    )
    # The distance that TensorFlow keeps between calls (GenerateMultinomialNumbers).
    blocks = index.mul(index.mul(index.ceildiv(samples, 4), 4 * 2 * 256), batch)
    stream.advance(blocks)
    return Tensor(drawn, (batch, samples), e)


def _running_weights(logits: Tensor) -> Tensor:
    """Return running sums of ``exp(logit - largest)`` per row, f64; infinite ones weigh 0."""
    lowest = float(np.finfo(np.float32).min)

    def is_finite(x: ir.Value) -> ir.Value:
        return scalars.compare("lt", math.absf(x), constant(float("inf"), F32), F32)

    def larger(x: ir.Value, most: ir.Value) -> ir.Value:
        return arith.select(is_finite(x), arith.maximumf(x, most), most)

    most = reduce([logits], [1], lowest, F32, larger, keep_dims=True)

    def weight(x: ir.Value, top: ir.Value) -> ir.Value:
        wide = arith.subf(arith.extf(F64.type, x), arith.extf(F64.type, top))
        return arith.select(is_finite(x), math.exp(wide), constant(0.0, F64))

    return cumulative(elementwise([logits, most], F64, weight, dims=logits.dims), 1, "add")


def _unit_double(high: ir.Value, low: ir.Value) -> ir.Value:
    """Return two words as an f64 in [0, 1)."""
    upper = arith.andi(arith.extui(U64.type, high), constant((1 << 20) - 1, U64))
    joined = arith.ori(arith.shli(upper, constant(32, U64)), arith.extui(U64.type, low))
    bits = arith.ori(joined, constant(1023 << 52, U64))
    return arith.subf(arith.bitcast(F64.type, bits), constant(1.0, F64))
