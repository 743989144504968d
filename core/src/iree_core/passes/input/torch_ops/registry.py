"""What lowerings of torch operators are written with: the table, and access to operands."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from iree_core.ir import arith, ir
from iree_core.lowering import element
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.passes.input.support import create

_TENSOR = re.compile(r"!torch\.v?tensor<\[([\d?,]*)\],\s*([^>]+(?:<[^>]*>)?)>")


class Declined(Exception):
    """The operator's case is none of the lowering's; torch-mlir is to convert it."""


Lowering = Callable[["Node"], "Tensor | Sequence[Tensor]"]
LOWERINGS: dict[str, Lowering] = {}


def register(*names: str) -> Callable[[Lowering], Lowering]:
    """Enter a lowering under names such as ``aten.view``.

    It may raise :class:`Declined` as long as it has emitted nothing but unused operations.
    """

    def keep(lowering: Lowering) -> Lowering:
        for name in names:
            LOWERINGS[name] = lowering
        return lowering

    return keep


class Node:
    """One torch operator: its operands as tensors and numbers."""

    def __init__(self, op: ir.Operation) -> None:
        self.op = op

    def tensor(self, position: int) -> Tensor:
        """Return an operand as a tensor of builtin type.

        Raises:
            Declined: its rank or element type is not known.
        """
        value = self.op.operands[position]
        kind, found = builtin_type(value.type)
        made = create("torch_c.to_builtin_tensor", [kind], [value]).results[0]
        return Tensor.of(made, found)

    def is_none(self, position: int) -> bool:
        """Tell whether an operand is None."""
        return str(self.op.operands[position].type) == "!torch.none"

    def integer(self, position: int) -> int:
        """Return a constant integer or boolean operand.

        Raises:
            Declined: it is no constant.
        """
        return _constant(self.op.operands[position])

    def real(self, position: int) -> float:
        """Return a constant float or integer operand. Raises like :meth:`integer`."""
        owner = self.op.operands[position].owner
        if not isinstance(owner, ir.Block) and owner.operation.name == "torch.constant.float":
            return ir.FloatAttr(owner.attributes["value"]).value
        return float(self.integer(position))

    def text(self, position: int) -> str:
        """Return a constant string operand. Raises like :meth:`integer`."""
        owner = self.op.operands[position].owner
        if isinstance(owner, ir.Block) or owner.operation.name != "torch.constant.str":
            raise Declined
        return ir.StringAttr(owner.attributes["value"]).value

    def items(self, position: int) -> list[ir.Value]:
        """Return the elements of a list operand.

        Raises:
            Declined: it is not made by a list construction.
        """
        owner = self.op.operands[position].owner
        if isinstance(owner, ir.Block) or owner.operation.name != "torch.prim.ListConstruct":
            raise Declined
        return list(owner.operands)

    def integers(self, position: int) -> list[int]:
        """Return a list of constant integers. Raises like :meth:`items`."""
        return [_constant(item) for item in self.items(position)]

    def sizes(self, position: int) -> list[Dim]:
        """Return a list of integers, those that are no constants as ``index`` values."""
        return [size(item) for item in self.items(position)]

    def result_type(self, position: int = 0) -> tuple[ir.RankedTensorType, ElementType]:
        """Return the builtin type of a result, and its element type with signedness.

        Raises:
            Declined: its rank or element type is not known.
        """
        return builtin_type(self.op.results[position].type)

    def results(self, made: Tensor | Sequence[Tensor]) -> list[ir.Value]:
        """Return tensors as values of the operator's result types."""
        from iree_core.ir import tensor

        tensors = [made] if isinstance(made, Tensor) else list(made)
        values = []
        for found, result in zip(tensors, self.op.results, strict=True):
            kind, _ = builtin_type(result.type)
            value = found.value if found.type == kind else tensor.cast(kind, found.value)
            values.append(create("torch_c.from_builtin_tensor", [result.type], [value]).results[0])
        return values


def size(value: ir.Value) -> Dim:
    """Return a torch integer as a number or an ``index`` value."""
    try:
        return _constant(value)
    except Declined:
        wide = create("torch_c.to_i64", [ir.IntegerType.get_signless(64)], [value]).results[0]
        return arith.index_cast(ir.IndexType.get(), wide)


def _constant(value: ir.Value) -> int:
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name not in (
        "torch.constant.int",
        "torch.constant.bool",
    ):
        raise Declined
    return int(ir.IntegerAttr(owner.attributes["value"]).value)


def builtin_type(kind: ir.Type) -> tuple[ir.RankedTensorType, ElementType]:
    """Return the builtin tensor type of a torch tensor, and its element type with signedness.

    Raises:
        Declined: its rank or element type is not known.
    """
    match = _TENSOR.fullmatch(str(kind))
    if match is None:
        raise Declined
    dims = [DYNAMIC if d == "?" else int(d) for d in match.group(1).split(",") if d]
    try:
        found = element.from_name(re.sub(r"^si", "i", match.group(2)))
    except TypeError:
        raise Declined from None
    return ir.RankedTensorType.get(dims, found.type), found
