"""tm_tensor (what torch-mlir makes of scans, sorts and scatters) to linalg and scf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, scatter, sort
from iree_core.lowering.element import ElementType, from_name
from iree_core.lowering.index import Dim
from iree_core.lowering.loops import Values, atomic, for_loop, load, map_rows, store
from iree_core.lowering.tensors import Tensor, expand_dims, squeeze
from iree_core.passes.input.support import before, integer_attribute, integers, operations, replace
from iree_core.passes.input.tm_tensor_attention import attention
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class ConvertTmTensor:
    """Converts ``tm_tensor.scan``, ``scatter``, ``sort``, ``topk`` and ``attention``.

    Before::

        %y, %s = tm_tensor.scan dimension(0) inclusive(true) ins(%x : tensor<?xf32>)
            outs(%a, %b : tensor<?xf32>, tensor<f32>) { ... } -> tensor<?xf32>, tensor<f32>

    After::

        %y, %s = scf.execute_region -> (tensor<?xf32>, tensor<1xf32>) no_inline {
          scf.for ...
        } {flow.atomic}
    """

    name: str = "convert-tm-tensor"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Convert every such operation."""
        for op in operations(module, _CONVERSIONS):
            with before(op):
                values = [
                    t.value if t.value.type == r.type else tensor.cast(r.type, t.value)
                    for t, r in zip(_CONVERSIONS[op.name](op), op.results, strict=True)
                ]
            replace(op, values)


def _as_tensor(value: ir.Value) -> Tensor:
    return Tensor.of(value, from_name(str(ir.RankedTensorType(value.type).element_type)))


def _inline(op: ir.Operation, arguments: Sequence[ir.Value]) -> list[ir.Value]:
    """Emit the region of ``op`` on scalars; returns what it yields."""
    block = op.regions[0].blocks[0]
    known = dict(zip(block.arguments, arguments, strict=True))
    for view in block.operations:
        inner = view.operation
        if inner.name == "tm_tensor.yield":
            return [known.get(v, v) for v in inner.operands]
        copy = inner.clone(ip=ir.InsertionPoint.current).operation
        for position, operand in enumerate(inner.operands):
            copy.operands[position] = known.get(operand, operand)
        known.update(zip(inner.results, copy.results, strict=True))
    raise ValueError("the region has no tm_tensor.yield")


def _scan(op: ir.Operation) -> list[Tensor]:
    source, _, start = (_as_tensor(v) for v in op.operands)
    axis = integer_attribute(op, "dimension")
    inclusive = "inclusive" in op.attributes and ir.BoolAttr(op.attributes["inclusive"]).value
    length, element = source.dims[axis], source.element

    def row(inputs: list[ir.Value], into: list[ir.Value]) -> Values:
        items, first = inputs

        def step(i: ir.Value, state: list[ir.Value]) -> Values:
            running, written = state
            item = load(items, i)
            (following,) = _inline(op, [running, item])
            if inclusive:
                # The first element is taken as it is, whatever the accumulator holds.
                at_start = index.compare(arith.CmpIPredicate.eq, i, 0)
                following = arith.select(at_start, item, following)
            visible = following if inclusive else running
            return [following, store(visible, written, i)]

        last, written = for_loop(0, length, [load(first, 0), into[0]], step)
        return [written, store(last, into[1], 0)]

    starts = expand_dims(start, [axis])
    ends = [1 if d == axis else n for d, n in enumerate(source.dims)]
    written, last = atomic(
        [(source.dims, element), (ends, element)],
        lambda: map_rows(axis, [source, starts], [(length, element), (1, element)], row),
    )
    return [written, squeeze(last, [axis])]


def _scatter(op: ir.Operation) -> list[Tensor]:
    updates, indices, original = (_as_tensor(v) for v in op.operands)
    dims = integers(op, "dimension_map", range(int(indices.dims[-1])))
    offset = original.rank - (updates.rank - 1)
    window = {1 + i: offset + i for i in range(updates.rank - 1)}

    def start(at: Sequence[ir.Value]) -> dict[int, ir.Value]:
        return {dim: scatter.read_index(indices, [*at, place]) for place, dim in enumerate(dims)}

    def combine(old: Values, new: Values) -> Values:
        return _inline(op, [*new, *old])

    return scatter.scatter([original], [updates], [0], window, start, combine)


def _sort(op: ir.Operation) -> list[Tensor]:
    operands = [_as_tensor(v) for v in op.operands]

    def before_(left: Values, right: Values) -> ir.Value:
        # The region tells whether a pair may stay in place: left is not after right.
        pairs = [v for pair in zip(right, left, strict=True) for v in pair]
        (in_order,) = _inline(op, pairs)
        return arith.xori(in_order, arith.constant(in_order.type, 1))

    order = _usual_order(op, operands[0].element) or before_
    return sort.sort(operands, integer_attribute(op, "dimension"), order)


def _usual_order(op: ir.Operation, element: ElementType) -> sort.Before | None:
    """Return the order of a region that is one comparison of floats, NaNs being the largest."""
    block = op.regions[0].blocks[0]
    inner = [view.operation for view in block.operations]
    if len(inner) != 2 or inner[0].name != "arith.cmpf":
        return None
    if list(inner[0].operands) != list(block.arguments)[:2]:
        return None
    predicate = ir.IntegerAttr(inner[0].attributes["predicate"]).value
    greater = {int(p) for p in (arith.CmpFPredicate.OGE, arith.CmpFPredicate.OGT,
                                arith.CmpFPredicate.UGE, arith.CmpFPredicate.UGT)}  # fmt: skip
    descending = predicate in greater
    return sort.ordering(element, descending=descending, nan="first" if descending else "last")


def _top_k(op: ir.Operation) -> list[Tensor]:
    inputs = [_as_tensor(v) for v in op.operands]
    values, out_values, out_positions = inputs[0], inputs[-2], inputs[-1]
    axis = integer_attribute(op, "dimension")
    k: Dim = out_values.dims[axis]

    def before_(left: Values, right: Values) -> ir.Value:
        return _inline(op, [left[0], right[0]])[0]

    found, places = sort.top_k(values, k, axis, before_, out_positions.element)
    if len(inputs) == 3:
        return [found, places]
    given = inputs[1]

    def row(rows: list[ir.Value], into: list[ir.Value]) -> Values:
        def step(i: ir.Value, state: list[ir.Value]) -> Values:
            place = arith.index_cast(ir.IndexType.get(), load(rows[1], i))
            return [store(load(rows[0], place), state[0], i)]

        return for_loop(0, k, into, step)

    (named,) = atomic(
        [(places.dims, given.element)],
        lambda: map_rows(axis, [given, places], [(k, given.element)], row),
    )
    return [found, named]


def _attention(op: ir.Operation) -> list[Tensor]:
    return [attention(*(_as_tensor(v) for v in list(op.operands)[:-1]))]


_CONVERSIONS: dict[str, Callable[[ir.Operation], list[Tensor]]] = {
    "tm_tensor.attention": _attention,
    "tm_tensor.scan": _scan,
    "tm_tensor.scatter": _scatter,
    "tm_tensor.sort": _sort,
    "tm_tensor.topk": _top_k,
}
