"""Own lowerings of torch operators, by name: the table that precedes torch-mlir's conversions.

An operator is here because torch-mlir lacks it, gets it wrong, or makes slow code of it.
"""

from __future__ import annotations

from iree_core.ir import ir
from iree_core.passes.input.support import before, operations, replace
from iree_core.passes.input.torch_ops.registry import LOWERINGS, Declined, Node


def lower(module: ir.Module) -> None:
    """Replace every operator of the table that the table's function does not decline."""
    from iree_core.passes.input.torch_ops import (  # noqa: F401
        linear_algebra,
        order,
        shape,
        spectral,
    )

    names = {f"torch.{name}" for name in LOWERINGS} | {"torch.operator"}
    for op in operations(module, names):
        name = op.name
        if name == "torch.operator":
            name = ir.StringAttr(op.attributes["name"]).value
        lowering = LOWERINGS.get(name.removeprefix("torch."))
        if lowering is None:
            continue
        with before(op):
            node = Node(op)
            try:
                values = node.results(lowering(node))
            except Declined:
                continue
        replace(op, values)
