"""Choosing elements: by condition, by order."""

from __future__ import annotations

from iree_core.ir import arith, ir
from iree_core.lowering import index, tensors
from iree_core.lowering.element import I32, I64
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import atomic, branch, for_loop, load, nest, store
from iree_core.lowering.sort import ordering, top_k
from iree_core.lowering.structured import convert, elementwise
from iree_core.lowering.tensors import Tensor
from iree_frontend_tf.tflite.ops.reduce import total
from iree_frontend_tf.tflite.registry import Node, lowering


@lowering("SELECT", "SELECT_V2")
def select(node: Node) -> Tensor:
    """Elements of input 1 where the condition holds, else of input 2."""
    condition, a, b = node.tensor(0), node.tensor(1), node.tensor(2)
    if node.op == "SELECT" and condition.rank == 1 and a.rank > 1:
        condition = tensors.reshape(condition, [condition.dims[0], *[1] * (a.rank - 1)])
    elif node.op == "SELECT" and condition.rank == 0:
        condition = tensors.reshape(condition, [1] * a.rank)
    return elementwise([condition, a, b], a.element, arith.select)


@lowering("WHERE")
def where(node: Node) -> Tensor:
    """The positions of elements that are set, [count, rank], in row-major order."""
    x = node.tensor(0)
    from iree_core.lowering import scalars
    from iree_core.lowering.element import BOOL

    if x.element != BOOL:
        e = x.element
        x = elementwise([x], BOOL, lambda v: scalars.convert(v, e, BOOL))
    counted = total(convert(x, I64), list(range(x.rank)), I64, keep_dims=False)
    count = arith.index_cast(ir.IndexType.get(), tensors.scalar_at(counted, []))

    def build() -> list[ir.Value]:
        def cell(at: list[ir.Value], state: list[ir.Value]) -> list[ir.Value]:
            written, found = state

            def write() -> list[ir.Value]:
                target = found
                for axis, place in enumerate(at):
                    target = store(arith.index_cast(I64.type, place), target, written, axis)
                return [index.value(index.add(written, 1)), target]

            return list(branch(load(x.value, *at), write, [written, found]))

        start = [index.value(0), tensors.empty([count, x.rank], I64)]
        return nest(list(x.dims), start, cell)[1:]

    return atomic([([count, x.rank], I64)], build)[0]


@lowering("TOPK_V2")
def top_k_(node: Node) -> list[Tensor]:
    """The k largest elements of every row in descending order, and where they were."""
    x = node.tensor(0)
    k = node.items(1)[0]
    values, places = top_k(x, k, x.rank - 1, ordering(x.element, descending=True), node.element(1))
    return [values, places]


@lowering("UNIQUE")
def unique(node: Node) -> list[Tensor]:
    """The distinct elements in the order of their first occurrence, and where each went."""
    x = node.tensor(0)
    length: Dim = x.dims[0]
    places = node.element(1)
    from iree_core.lowering import scalars
    from iree_core.lowering.loops import while_loop

    def build() -> list[ir.Value]:
        def step(i: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            count, kept, where_ = state
            item = load(x.value, i)

            def differs(at: list[ir.Value]) -> ir.Value:
                inside = index.compare(arith.CmpIPredicate.slt, at[0], count)
                last = index.maximum(index.sub(count, 1), 0)
                there = load(kept, index.minimum(at[0], last))
                return arith.andi(inside, scalars.compare("ne", there, item, x.element))

            (found,) = while_loop(
                [index.value(0)], differs, lambda at: [index.value(index.add(at[0], 1))]
            )
            kept = store(item, kept, found)
            fresh = index.compare(arith.CmpIPredicate.eq, found, count)
            grown = index.select(fresh, index.add(count, 1), count)
            number = arith.index_cast(places.type, found)
            return [index.value(grown), kept, store(number, where_, i)]

        start = [
            index.value(0), tensors.empty([length], x.element), tensors.empty([length], places)
        ]  # fmt: skip
        count, kept, where_ = for_loop(0, length, start, step)
        number = tensors.from_elements([arith.index_cast(I32.type, count)], I32)
        return [kept, where_, number.value]

    kept, where_, number = atomic([([length], x.element), ([length], places), ([1], I32)], build)
    count = arith.index_cast(ir.IndexType.get(), tensors.scalar_at(number, [0]))
    return [tensors.extract_slice(kept, [0], [count], [1]), where_]
