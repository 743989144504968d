"""Which operands a dispatch may overwrite with its result. Not for deciding whether it does.

An operand qualifies if every element of the result needs only the same element of the operand:
then a kernel has read an element for the last time when it writes it. Kernels write each
element of a result once (:mod:`iree_core.codegen`).
"""

from __future__ import annotations

from iree_core.ir import func, ir
from iree_core.layout import layout_of
from iree_core.passes.scheduling.shapes import element_bytes


def overwritable(dispatch: func.FuncOp) -> frozenset[int]:
    """Return the positions of the tensor arguments that the only result may overwrite.

    Dispatches that compute anything but elementwise operations on whole tensors, or have
    several results, overwrite nothing.
    """
    block = dispatch.regions[0].blocks[0]
    terminator = list(block.operations)[-1]
    if len(terminator.operands) != 1:
        return frozenset()
    result = terminator.operands[0]
    return frozenset(
        number
        for number, argument in enumerate(block.arguments)
        if isinstance(argument.type, ir.RankedTensorType)
        and layout_of(argument.type) == layout_of(result.type)
        and argument.type.shape == result.type.shape
        and element_bytes(argument.type.element_type) == element_bytes(result.type.element_type)
        and _elementwise(argument, terminator)
    )


def _elementwise(value: ir.Value, terminator: ir.OpView) -> bool:
    """Whether the function's result needs ``value`` only element by element."""
    for use in value.uses:
        op = use.owner.operation.opview
        if op == terminator:
            continue
        name = op.operation.name
        if name == "tensor.dim":
            continue
        if name == "tensor.insert_slice" and use.operand_number == 1:
            pass  # what is around the slice stays where it is
        elif name not in ("linalg.generic", "linalg.fill"):
            return False
        if name == "linalg.generic" and not _identity(op, use.operand_number):
            return False
        if not all(_elementwise(result, terminator) for result in op.results):
            return False
    return True


def _identity(op: ir.OpView, number: int) -> bool:
    if any("parallel" not in str(kind) for kind in op.attributes["iterator_types"]):
        return False
    maps = [ir.AffineMapAttr(m).value for m in op.attributes["indexing_maps"]]
    rank = maps[number].n_dims
    identity = ir.AffineMap.get_identity(rank)
    inputs = len(list(op.inputs))
    results = maps[inputs:]
    return maps[number] == identity and all(m == identity for m in results)
