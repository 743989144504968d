"""One division per row instead of one per element."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.ir import arith, ir, linalg
from iree_core.passes.dispatch.outline import KIND
from iree_core.passes.dispatch.structure import Kind
from iree_core.passes.globalopt.generics import (
    dim_positions,
    is_elementwise,
    maps_of,
    owner_of,
)
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class MultiplyByReciprocals:
    """Let a softmax multiply its exponentials by the reciprocal of their sum.

    Before::

        %y = linalg.generic {(i, j), (i), (i, j)} ins(%exponentials, %sums) { divf %e, %s }

    After::

        %r = linalg.generic {(i), (i)} ins(%sums) { divf 1.0, %s }
        %y = linalg.generic {(i, j), (i), (i, j)} ins(%exponentials, %r) { mulf %e, %r }

    A division takes many times as long as a product. The result may differ in its last bit, so
    other quotients, which may be exact, stay as they are.
    """

    name: str = "multiply-by-reciprocals"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite the dispatches of ``module`` that reduce rows."""
        for view in list(module.body.operations):
            function = view.operation
            if flow.DISPATCH not in function.attributes or KIND not in function.attributes:
                continue
            if ir.StringAttr(function.attributes[KIND]).value != Kind.REDUCTION.value:
                continue
            for inner in list(function.regions[0].blocks[0].operations):
                if inner.operation.name == "linalg.generic":
                    _rewrite(inner.operation)


def _rewrite(op: ir.Operation) -> None:
    division = _division(op)
    if division is None or not is_elementwise(op):
        return
    block = op.regions[0].blocks[0]
    arguments = list(block.arguments)
    numerator, denominator = (arguments.index(o) for o in division.operands)
    shared = op.operands[denominator]
    loops = [set(dim_positions(maps_of(op)[n])) - {None} for n in (numerator, denominator)]
    init = _uninitialised(shared)
    if init is None or not loops[1] < loops[0] or not _is_exponential(op.operands[numerator]):
        return
    with ir.InsertionPoint(op), op.location:
        op.operands[denominator] = _reciprocal(shared, init)
    with ir.InsertionPoint(division), division.location:
        product = arith.MulFOp(*division.operands)
    division.results[0].replace_all_uses_with(product.result)
    division.erase()


def _division(op: ir.Operation) -> ir.Operation | None:
    """Return the division of one input by another, which nothing else reads."""
    block = op.regions[0].blocks[0]
    arguments = list(block.arguments)
    found = [o.operation for o in block.operations if o.operation.name == "arith.divf"]
    if len(found) != 1 or any(o not in arguments for o in found[0].operands):
        return None
    return found[0] if len(list(found[0].operands[1].uses)) == 1 else None


def _is_exponential(value: ir.Value) -> bool:
    owner = owner_of(value)
    if owner is None or owner.name != "linalg.generic":
        return False
    results = list(owner.regions[0].blocks[0].operations)[-1].operands
    made = owner_of(results[ir.OpResult(value).result_number])
    return made is not None and made.name in ("math.exp", "math.exp2")


def _uninitialised(value: ir.Value) -> ir.Value | None:
    """Return the empty tensor that the sum in ``value`` started from."""
    owner = owner_of(value)
    while owner is not None and owner.name in ("linalg.generic", "linalg.fill"):
        if len(owner.results) != 1:
            return None
        value = owner.operands[len(owner.operands) - 1]
        owner = owner_of(value)
    return value if owner is not None and owner.name == "tensor.empty" else None


def _reciprocal(value: ir.Value, init: ir.Value) -> ir.Value:
    kind = ir.RankedTensorType(value.type)
    identity = ir.AffineMapAttr.get(ir.AffineMap.get_identity(kind.rank))
    parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
    made = linalg.GenericOp(
        [kind],
        [value],
        [init],
        ir.ArrayAttr.get([identity] * 2),
        ir.ArrayAttr.get([parallel] * kind.rank),
    )
    element = kind.element_type
    block = made.regions[0].blocks.append(element, element)
    with ir.InsertionPoint(block):
        one = arith.ConstantOp(element, ir.FloatAttr.get(element, 1.0)).result
        linalg.YieldOp([arith.DivFOp(one, block.arguments[0]).result])
    return made.results[0]
