"""Scale the result of a contraction instead of its operands."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import arith, ir, linalg
from iree_core.passes.dispatch.structure import Decoder, Kind, linalg_kind, read_body
from iree_core.passes.globalopt.generics import (
    generics_of,
    is_elementwise,
    is_splat_init,
    maps_of,
    owner_of,
    set_maps,
)
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class ScaleAfterContraction:
    """Move multiplications by constants from the operands of a contraction to its result.

    The operands of attention's first product are scaled by the square root of the head size;
    behind the product the same costs nothing and lets it read what the projections wrote.

    Before::

        %qs = linalg.generic {mulf %q, 0.35} ...    %ks = linalg.generic {mulf %k, 0.35} ...
        %s = linalg.generic {contraction} ins(%qs, %ks) ...

    After::

        %p = linalg.generic {contraction} ins(%q, %k) ...
        %s = linalg.generic {mulf %p, 0.125} ins(%p) ...
    """

    name: str = "scale-after-contraction"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite every f32 or f64 contraction that starts from zero."""
        decoder = Decoder()
        for op in generics_of(module):
            if is_elementwise(op) or len(op.results) != 1 or not _starts_from_zero(op):
                continue
            inputs = len(op.operands) - 1
            loops, body = decoder.loops(op), read_body(op)
            if linalg_kind(loops, body, inputs) is Kind.CONTRACTION and len(body.operations) == 3:
                _move_scales(op)


def _starts_from_zero(op: ir.Operation) -> bool:
    init = op.operands[len(op.operands) - 1]
    fill = owner_of(init)
    if fill is None or fill.name != "linalg.fill" or not is_splat_init(init):
        return False
    number = owner_of(fill.operands[0])
    if number is None or number.name != "arith.constant":
        return False
    value = number.attributes["value"]
    return isinstance(value, ir.FloatAttr) and value.value == 0.0


def _move_scales(op: ir.Operation) -> None:
    scale = 1.0
    maps = maps_of(op)
    element = op.results[0].type.element_type
    if not isinstance(element, (ir.F32Type, ir.F64Type)):
        return
    for position in range(len(op.operands) - 1):
        producer = owner_of(op.operands[position])
        factor = _scale_of(producer)
        if producer is None or factor is None or op.operands[position].type.element_type != element:
            continue
        read, written = maps_of(producer)
        if not written.is_permutation:
            continue
        loops = [r.position for r in written.results]
        sources = [loops.index(r.position) for r in read.results if isinstance(r, ir.AffineDimExpr)]
        if len(sources) != len(read.results) or sorted(sources) != list(range(len(loops))):
            continue
        results = maps[position].results
        maps[position] = ir.AffineMap.get(maps[position].n_dims, 0, [results[s] for s in sources])
        op.operands[position] = producer.operands[0]
        scale *= factor
    if scale != 1.0:
        set_maps(op, maps)
        _scale_result(op, scale)


def _scale_of(op: ir.Operation | None) -> float | None:
    """Return the constant by which an elementwise generic multiplies its only input."""
    if op is None or op.name != "linalg.generic" or len(op.operands) != 2:
        return None
    block = op.regions[0].blocks[0]
    operations = list(block.operations)
    names = [operation.operation.name for operation in operations]
    if not is_elementwise(op) or names != ["arith.mulf", "linalg.yield"]:
        return None
    if operations[1].operands[0] != operations[0].results[0]:
        return None
    for value, other in (tuple(operations[0].operands), tuple(operations[0].operands)[::-1]):
        constant = owner_of(other)
        is_constant = constant is not None and constant.name == "arith.constant"
        if value == block.arguments[0] and constant is not None and is_constant:
            return float(ir.FloatAttr(constant.attributes["value"]).value)
    return None


def _scale_result(op: ir.Operation, scale: float) -> None:
    result = op.results[0]
    kind = ir.RankedTensorType(result.type)
    uses = list(result.uses)
    init = owner_of(op.operands[len(op.operands) - 1])
    assert init is not None
    parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
    identity = ir.AffineMapAttr.get(ir.AffineMap.get_identity(kind.rank))
    with ir.InsertionPoint.after(op), op.location:
        number = arith.ConstantOp(kind.element_type, scale).result
        scaled = linalg.GenericOp(
            [kind],
            [result],
            [init.operands[1]],
            ir.ArrayAttr.get([identity, identity]),
            ir.ArrayAttr.get([parallel] * kind.rank),
        )
        block = scaled.regions[0].blocks.append(kind.element_type, kind.element_type)
        with ir.InsertionPoint(block):
            linalg.YieldOp([arith.mulf(block.arguments[0], number)])
    for use in uses:
        use.owner.operation.operands[use.operand_number] = scaled.results[0]
