"""Tables looked up by key, sparsely, or by hash."""

from __future__ import annotations

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars, scatter, tensors
from iree_core.lowering.element import BOOL, F32, F64, I32, I64, U8, from_name
from iree_core.lowering.scalars import constant
from iree_core.lowering.structured import (
    affine_map,
    computed,
    elementwise,
    generic,
    loop_index,
)
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.ops.gather_scatter import gathered
from iree_frontend_tf.tflite.registry import Node, lowering

_SUM, _MEAN, _SQRTN = range(3)
_SPARSE, _DENSE = 1, 2


@lowering("HASHTABLE_LOOKUP")
def hashtable_lookup(node: Node) -> list[Tensor]:
    """Rows of input 2 where input 1 holds the key, zeros where it does not; and which it did."""
    wanted, keys, values = node.tensor(0), node.tensor(1), node.tensor(2)
    init = tensors.fill(wanted.dims, I32, -1)

    def find(key: ir.Value, own: ir.Value, found: ir.Value) -> ir.Value:
        here = arith.index_cast(I32.type, loop_index(1))
        return arith.select(scalars.compare("eq", key, own, I32), here, found)

    (found,) = generic(
        [wanted.value, keys.value],
        [init.value],
        [affine_map(2, [0]), affine_map(2, [1]), affine_map(2, [0])],
        [False, True],
        find,
    )
    places = Tensor(found, wanted.dims, I32)
    hits = elementwise(
        [places], BOOL, lambda p: scalars.compare("ge", p, constant(0, I32), I32)
    )  # fmt: skip
    rows = gathered(values, places, 0, 0)
    e = values.element
    kept = elementwise(
        [tensors.reshape(hits, [hits.dims[0], *[1] * (values.rank - 1)]), rows],
        e,
        lambda hit, v: arith.select(hit, v, constant(0, e)),
        dims=rows.dims,
    )
    return [kept, elementwise([hits], U8, lambda hit: arith.extui(U8.type, hit))]


@lowering("EMBEDDING_LOOKUP_SPARSE")
def embedding_lookup_sparse(node: Node) -> Tensor:
    """Weighted sums (or means) of the rows of input 4 that a sparse tensor of positions names.

    Positions with equal indices but for the last one are summed; they follow one another.
    """
    ids, indices, weights, table = (node.tensor(i) for i in (0, 1, 3, 4))
    lead = node.items(2)[:-1]
    buckets = _buckets(indices, lead)
    rows = gathered(table, ids, 0, 0)
    tall = tensors.reshape(weights, [weights.dims[0], *[1] * (table.rank - 1)])
    weighted = elementwise([rows, tall], F32, arith.mulf, dims=rows.dims)
    count = index.product(lead)

    def summed(x: Tensor) -> Tensor:
        zeros = tensors.fill([count, *x.dims[1:]], F32, 0)
        return scatter.scatter_nd(zeros, buckets, x, "add", wrap=False)

    made = summed(weighted)
    combiner = node.option("Combiner", _SUM)
    if combiner != _SUM:
        squared = combiner == _SQRTN
        parts = elementwise([weights], F32, lambda w: arith.mulf(w, w) if squared else w)
        total = summed(parts)
        filled = summed(tensors.fill(weights.dims, F32, 1))

        def divide(x: ir.Value, whole: ir.Value, present: ir.Value) -> ir.Value:
            by = math.sqrt(whole) if squared else whole
            some = scalars.compare("gt", present, constant(0.0, F32), F32)
            return arith.divf(x, arith.select(some, by, constant(1.0, F32)))

        column = [count, *[1] * (made.rank - 1)]
        made = elementwise(
            [made, tensors.reshape(total, column), tensors.reshape(filled, column)],
            F32, divide, dims=made.dims,
        )  # fmt: skip
    return tensors.reshape(made, [*lead, *table.dims[1:]])


def _buckets(indices: Tensor, lead: list[index.Dim]) -> Tensor:
    """Return the row-major positions [n, 1] of all but the last column of ``indices``."""

    def body(row: ir.Value, _: ir.Value) -> ir.Value:
        place: index.Dim = 0
        for column, size in enumerate(lead):
            item = scatter.read_index(indices, [row, column])
            place = index.add(index.mul(place, size), item)
        return arith.index_cast(I32.type, index.value(place))

    return computed([indices.dims[0], 1], [I32], body)[0]


@lowering("LSH_PROJECTION")
def lsh_projection(node: Node) -> Tensor:
    """Signs of weighted sums of the hashes of items, one bit per seed."""
    seeds, items = node.tensor(0), node.tensor(1)
    weights = node.optional(2)
    functions, bits = seeds.dims
    size = index.product(items.dims[1:])
    width = size * items.element.bits // 8 if isinstance(size, int) else 0
    if not 0 < width <= _LONGEST - 4:
        node.unsupported(f"its items take more than {_LONGEST - 4} bytes")
    flat = tensors.reshape(items, [items.dims[0], size])

    def body(seed: ir.Value, score: ir.Value) -> ir.Value:
        item = loop_index(2)
        key = _bytes(arith.bitcast(I32.type, seed), 32)
        for column in range(size if isinstance(size, int) else 0):
            at = arith.constant(ir.IndexType.get(), column)
            part = tensor.extract(flat.value, [item, at])
            if items.element.is_float:
                part = arith.bitcast(from_name(f"i{items.element.bits}").type, part)
            key += _bytes(part, items.element.bits)
        value = arith.sitofp(F64.type, _fingerprint(key))
        if weights is not None:
            weight = tensor.extract(weights.value, [item])
            value = arith.mulf(arith.extf(F64.type, weight), value)
        return arith.addf(score, value)

    init = tensors.fill([functions, bits], F64, 0)
    (sums,) = generic(
        [seeds.value, flat.value],
        [init.value],
        [affine_map(3, [0, 1]), affine_map(3, [2, None]), affine_map(3, [0, 1])],
        [False, False, True],
        lambda seed, _, score: body(seed, score),
    )
    scores = Tensor(sums, (functions, bits), F64)
    positive = elementwise(
        [scores],
        I32,
        lambda s: arith.extui(I32.type, scalars.compare("gt", s, constant(0.0, F64), F64)),
    )
    if node.option("Type", _DENSE) == _DENSE:
        return tensors.reshape(positive, [index.product([functions, bits])])
    return _signatures(node, positive)


def _signatures(node: Node, positive: Tensor) -> Tensor:
    """Return each row of bits as a number, the first bit highest, plus an offset per row."""
    functions, bits = positive.dims
    if not isinstance(bits, int):
        node.unsupported("the number of bits must be known")
    init = tensors.fill([functions], I32, 0)

    def join(bit: ir.Value, made: ir.Value) -> ir.Value:
        place = arith.index_cast(I32.type, loop_index(1))
        bit = arith.shli(bit, arith.subi(constant(bits - 1, I32), place))
        return arith.addi(made, bit)

    (joined,) = generic(
        [positive.value], [init.value], [affine_map(2, [0, 1]), affine_map(2, [0])],
        [False, True], join,
    )  # fmt: skip

    def offset(i: ir.Value) -> ir.Value:
        row = arith.index_cast(I32.type, i)
        return arith.addi(tensor.extract(joined, [i]), arith.shli(row, constant(bits, I32)))

    return computed([functions], [I32], offset)[0]


_LONGEST = 16
"""Keys up to this many bytes are hashed; longer ones take another form of the hash."""
_K2 = 0x9AE16A3B2F90404F


def _bytes(word: ir.Value, bits: int) -> list[ir.Value]:
    """Return the bytes of an integer, the lowest first, each as i64."""
    wide = word if bits == 64 else arith.extui(I64.type, word)
    mask = constant(255, I64)
    return [
        arith.andi(arith.shrui(wide, constant(8 * i, I64)), mask) for i in range(bits // 8)
    ]  # fmt: skip


def _fetch(parts: list[ir.Value]) -> ir.Value:
    made = parts[0]
    for place, part in enumerate(parts[1:], 1):
        made = arith.ori(made, arith.shli(part, constant(8 * place, I64)))
    return made


def _rotate(x: ir.Value, count: int) -> ir.Value:
    low = arith.shrui(x, constant(count, I64))
    return arith.ori(low, arith.shli(x, constant(64 - count, I64)))


def _mix(u: ir.Value, v: ir.Value, factor: ir.Value) -> ir.Value:
    def fold(x: ir.Value) -> ir.Value:
        return arith.xori(x, arith.shrui(x, constant(47, I64)))

    a = fold(arith.muli(arith.xori(u, v), factor))
    return arith.muli(fold(arith.muli(arith.xori(v, a), factor)), factor)


def _fingerprint(key: list[ir.Value]) -> ir.Value:
    """Return FarmHash's ``Fingerprint64`` (Pike, 2014) of 4 to 16 bytes."""
    length = len(key)
    factor = constant(_K2 + 2 * length, I64)
    if length < 8:
        a = arith.shli(_fetch(key[:4]), constant(3, I64))
        return _mix(arith.addi(constant(length, I64), a), _fetch(key[-4:]), factor)
    a = arith.addi(_fetch(key[:8]), constant(_K2, I64))
    b = _fetch(key[-8:])
    c = arith.addi(arith.muli(_rotate(b, 37), factor), a)
    d = arith.muli(arith.addi(_rotate(a, 25), b), factor)
    return _mix(c, d, factor)
