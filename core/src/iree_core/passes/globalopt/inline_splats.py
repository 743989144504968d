"""Put constants that are one number into the bodies that use them."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.ir import arith, ir
from iree_core.passes.globalopt.generics import (
    covers_loops,
    generics_of,
    maps_of,
    owner_of,
    without_inputs,
)
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class InlineSplats:
    """Replace tensor operands that are splat constants by scalars.

    Before::

        %c = arith.constant dense<2.0> : tensor<f32>
        %y = linalg.generic ins(%x, %c) ... { ^bb0(%a, %b, %o): %0 = arith.mulf %a, %b ... }

    After::

        %y = linalg.generic ins(%x) ... { ^bb0(%a, %o): %0 = arith.mulf %a, %cst ... }
    """

    name: str = "inline-splats"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite all generics of ``module``."""
        for op in generics_of(module):
            splats = _splat_inputs(op)
            maps = [m for n, m in enumerate(maps_of(op)) if n not in splats]
            if splats and covers_loops(maps):
                _inline(op, splats)


def _splat_inputs(op: ir.Operation) -> dict[int, ir.Attribute]:
    """Return the inputs that are splat constants, with the number that they hold."""
    found: dict[int, ir.Attribute] = {}
    for position in range(len(op.operands) - len(op.results)):
        producer = owner_of(op.operands[position])
        if producer is None or producer.name != "arith.constant":
            continue
        value = producer.attributes["value"]
        if isinstance(value, ir.DenseElementsAttr) and value.is_splat:
            found[position] = value.get_splat_value()
    return found


def _inline(op: ir.Operation, splats: dict[int, ir.Attribute]) -> None:
    block = op.regions[0].blocks[0]
    for position, value in splats.items():
        argument = block.arguments[position]
        if next(iter(argument.uses), None) is None:
            continue
        with ir.InsertionPoint(op), op.location:
            argument.replace_all_uses_with(arith.ConstantOp(argument.type, value).result)
    without_inputs(op, list(splats))
