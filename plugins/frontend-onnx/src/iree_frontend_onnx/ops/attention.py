"""Attention and rotary embeddings, taken apart into products and softmax."""

from __future__ import annotations

from math import sqrt

from iree_core.ir import arith, ir, math, tensor
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import contract, convert, elementwise, loop_index
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.elementwise import number
from iree_frontend_onnx.ops.normalization import softmax
from iree_frontend_onnx.registry import Node, lowering


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[batch, length, heads * size] -> [batch, heads, length, size]."""
    size = index.floordiv(x.dims[2], heads)
    return tensors.transpose(tensors.reshape(x, [x.dims[0], x.dims[1], heads, size]), [0, 2, 1, 3])


@lowering("Attention", since=23)
def attention(node: Node) -> list[Tensor | None]:
    """Scaled dot-product attention with mask, causal mask, soft cap and KV cache."""
    q, k, v = (node.tensor(i) for i in range(3))
    flat = q.rank == 3
    if flat:
        q = split_heads(q, node.attr("q_num_heads"))
        k, v = (split_heads(t, node.attr("kv_num_heads")) for t in (k, v))
    past: Dim = 0
    if node.has(4):
        past = node.tensor(4).dims[2]
        k = tensors.concat([node.tensor(4), k], 2)
        v = tensors.concat([node.tensor(5), v], 2)
    present = [k, v]
    e = q.element
    batch, heads, length, size = q.dims
    kv_heads = k.dims[1]
    group = index.floordiv(heads, kv_heads)
    grouped = tensors.reshape(q, [batch, kv_heads, group, length, size])
    scores = contract(
        grouped, ["b", "h", "g", "m", "d"], k, ["b", "h", "n", "d"], ["b", "h", "g", "m", "n"]
    )
    scores = tensors.reshape(scores, [batch, heads, length, k.dims[2]])
    wide = scores.element
    scale = node.attr("scale")
    if scale is None and not isinstance(size, int):
        node.unsupported("the head size must be static where no scale is given")
    scale = 1 / sqrt(size) if scale is None else scale
    stages = [elementwise([scores], wide, lambda s: arith.mulf(s, number(scale, wide)))]
    stages += _mask_and_cap(node, stages[0], wide, past)
    weights = convert(softmax(stages[-1], 3, may_be_empty=_can_hide_all(node)), e)
    stages.append(weights)
    split = tensors.reshape(weights, [batch, kv_heads, group, length, k.dims[2]])
    out = contract(
        split, ["b", "h", "g", "m", "n"], v, ["b", "h", "n", "d"], ["b", "h", "g", "m", "d"]
    )
    y = convert(tensors.reshape(out, [batch, heads, length, v.dims[3]]), e)
    if flat:
        y = tensors.reshape(
            tensors.transpose(y, [0, 2, 1, 3]), [batch, length, index.mul(v.dims[3], heads)]
        )
    shown = None
    if node.wants(3):
        shown = convert(stages[node.attr("qk_matmul_output_mode", 0)], e)
    return [y, *present, shown]


def _mask_and_cap(node: Node, scores: Tensor, wide: ElementType, past: Dim) -> list[Tensor]:
    """Return the scores after the soft cap and then the mask, in the order of the output modes."""
    cap = node.attr("softcap", 0.0)

    def capped(x: Tensor) -> Tensor:
        if not cap:
            return x

        def body(s: ir.Value) -> ir.Value:
            limit = number(cap, wide)
            return arith.mulf(math.tanh(arith.divf(s, limit)), limit)

        return elementwise([x], wide, body)

    first = capped(scores)
    return [first, _masked(node, first, wide, past)]


def _windows(node: Node) -> tuple[int, int]:
    """Return how far to the left and right a query sees; -1 is without bound."""
    right = node.attr("right_window_size", -1)
    if node.attr("is_causal", 0):
        right = 0
    return node.attr("left_window_size", -1), right


def _can_hide_all(node: Node) -> bool:
    return node.has(3) or node.has(6) or _windows(node) != (-1, -1)


def _masked(node: Node, scores: Tensor, wide: ElementType, past: Dim) -> Tensor:
    """Put minus infinity where mask, windows or the length of the cache forbid to look."""
    if not _can_hide_all(node):
        return scores
    mask, valid = node.optional(3), node.optional(6)
    operands = [scores]
    if mask is not None:
        mask = _full_length(mask, scores.dims[3])
        operands.append(mask)
    left, right = _windows(node)
    offset, length = index.value(past), index.value(scores.dims[2])

    def visible(limit: ir.Value | None) -> ir.Value | None:
        """Whether the column lies in the row's window (None: no bound)."""
        row, column = loop_index(2), loop_index(3)
        base = offset if limit is None else arith.subi(limit, length)
        here = arith.addi(row, base)
        found = None
        if right >= 0:
            end = arith.addi(here, arith.constant(ir.IndexType.get(), right))
            found = arith.cmpi(arith.CmpIPredicate.sle, column, end)
        if left >= 0:
            start = arith.subi(here, arith.constant(ir.IndexType.get(), left))
            after = arith.cmpi(arith.CmpIPredicate.sge, column, start)
            found = after if found is None else arith.andi(found, after)
        if limit is not None:
            inside = arith.cmpi(arith.CmpIPredicate.slt, column, limit)
            found = inside if found is None else arith.andi(found, inside)
        return found

    def body(s: ir.Value, *given: ir.Value) -> ir.Value:
        low = number(float("-inf"), wide)
        if mask is not None and mask.element.kind == "bool":
            s = arith.select(given[0], s, low)
        elif mask is not None:
            s = arith.addf(s, scalars.convert(given[0], mask.element, wide))
        limit = None
        if valid is not None:
            count = tensor.extract(valid.value, [loop_index(0)])
            limit = arith.index_cast(ir.IndexType.get(), count)
        shown = visible(limit)
        return s if shown is None else arith.select(shown, s, low)

    return elementwise(operands, wide, body, dims=scores.dims)


def _full_length(mask: Tensor, length: Dim) -> Tensor:
    """A mask may be shorter than the cache; what it does not cover is hidden."""
    missing = index.sub(length, mask.dims[-1])
    if index.same(mask.dims[-1], 1) or index.same(missing, 0):
        return mask
    if not isinstance(mask.dims[-1], int):
        repeated = index.compare(arith.CmpIPredicate.eq, mask.dims[-1], 1)
        missing = index.select(repeated, 0, missing)
    filler = 0 if mask.element.kind == "bool" else float("-inf")
    pads: list[Dim] = [0] * mask.rank
    return tensors.pad(mask, pads, [*pads[:-1], missing], filler)


@lowering("RotaryEmbedding", since=23)
def rotary_embedding(node: Node) -> Tensor:
    """Pairs of channels rotated by an angle per position."""
    x = node.tensor(0)
    flat = x.rank == 3
    if flat:
        heads = node.attr("num_heads")
        size = index.floordiv(x.dims[2], heads)
        data = tensors.transpose(
            tensors.reshape(x, [x.dims[0], x.dims[1], heads, size]), [0, 2, 1, 3]
        )
    else:
        data = x
    cos, sin = node.tensor(1), node.tensor(2)
    if node.has(3):
        from iree_frontend_onnx.ops.slicing import gathered

        places = node.tensor(3)
        cos, sin = gathered(cos, places, 0), gathered(sin, places, 0)
    cos, sin = (tensors.expand_dims(t, [1]) for t in (cos, sin))
    result = _rotate(node, data, cos, sin)
    if flat:
        result = tensors.reshape(tensors.transpose(result, [0, 2, 1, 3]), x.dims)
    return result


def _rotate(node: Node, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    rotated = node.attr("rotary_embedding_dim", 0) or x.dims[3]
    half = index.floordiv(rotated, 2)
    interleaved = bool(node.attr("interleaved", 0))
    e, wide = x.element, x.element.accumulator
    middle, extent = index.value(half), index.value(rotated)

    def body(v: ir.Value) -> ir.Value:
        b, h, s, d = (loop_index(a) for a in range(4))
        kind = ir.IndexType.get()
        one, two = arith.constant(kind, 1), arith.constant(kind, 2)
        if interleaved:
            second = arith.cmpi(
                arith.CmpIPredicate.ne, arith.remui(d, two), arith.constant(kind, 0)
            )
            pair = arith.divui(d, two)
            other = arith.xori(d, one)
        else:
            second = arith.cmpi(arith.CmpIPredicate.sge, d, middle)
            pair = arith.select(second, arith.subi(d, middle), d)
            other = arith.select(second, arith.subi(d, middle), arith.addi(d, middle))
        inside = arith.cmpi(arith.CmpIPredicate.slt, d, extent)
        zero = arith.constant(kind, 0)
        pair, other = (arith.select(inside, p, zero) for p in (pair, other))

        def angle(table: Tensor) -> ir.Value:
            batch = zero if index.same(table.dims[0], 1) else b
            found = tensor.extract(table.value, [batch, zero, s, pair])
            return scalars.convert(found, table.element, wide)

        mate = scalars.convert(tensor.extract(x.value, [b, h, s, other]), e, wide)
        c, sn = angle(cos), angle(sin)
        turned = arith.mulf(mate, sn)
        turned = arith.select(second, turned, arith.negf(turned))
        result = arith.addf(arith.mulf(scalars.convert(v, e, wide), c), turned)
        return arith.select(inside, scalars.convert(result, wide, e), v)

    return elementwise([x], e, body)
