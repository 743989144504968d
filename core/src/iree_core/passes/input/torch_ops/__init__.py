"""Own lowerings of torch operators, by name: the table that precedes torch-mlir's conversions.

An operator is here because torch-mlir lacks it, gets it wrong, or makes slow code of it.
"""

from __future__ import annotations

from iree_core.ir import ir
from iree_core.lowering.tensors import Tensor, fill
from iree_core.passes.input.support import before, operations, replace
from iree_core.passes.input.torch_ops.registry import LOWERINGS, Declined, Node


def lower(module: ir.Module) -> None:
    """Replace every operator of the table that the table's function does not decline."""
    from iree_core.passes.input.torch_ops import (  # noqa: F401
        linear_algebra,
        numbers,
        order,
        scattering,
        selection,
        shape,
        spectral,
    )

    _replace_empty(module)
    numbers.lower(module)
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


def _replace_empty(module: ir.Module) -> None:
    """Replace operators whose results have no elements; conversions divide by their sizes."""
    found: list[ir.Operation] = []

    def visit(view: ir.OpView) -> ir.WalkResult:
        op = view.operation
        if op.name.startswith(("torch.aten.", "torch.prims.")) and len(op.results):
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in found:
        with before(op):
            node = Node(op)
            try:
                kinds = [node.result_type(n) for n in range(len(op.results))]
            except Declined:
                continue
            if not all(kind.has_static_shape and 0 in kind.shape for kind, _ in kinds):
                continue
            made: list[Tensor] = [fill(kind.shape, element, 0) for kind, element in kinds]
            values = node.results(made)
        replace(op, values)
