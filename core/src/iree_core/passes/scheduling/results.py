"""What leaves a call: results and state. Each has memory of its own that nobody overwrites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iree_core.dialects import hal
from iree_core.ir import ir
from iree_core.passes.scheduling.aliases import GlobalRoot, Root, global_name
from iree_core.passes.scheduling.shapes import NamedDim
from iree_core.passes.scheduling.sizes import Size
from iree_core.vm.program import TensorType

if TYPE_CHECKING:
    from iree_core.passes.scheduling.bufferize import Bufferizer

_READ_ONLY = ("arith.constant", "flow.parameter")


def build(
    builder: Bufferizer, values: Sequence[ir.Value], declared: Sequence[TensorType]
) -> tuple[list[ir.Value], list[TensorType]]:
    """Build what the function returns: one buffer per tensor, then sizes no input names.

    A value that lies in an input, in a constant, in state, in part of something larger, or
    that is returned twice is copied. Returns the values and the types with settled names:
    a dimension that equals a named one takes that name, different ones never share a name.
    """
    buffers = [_own_buffer(builder, value) for value in values]
    named: dict[Size, str] = {
        builder.shapes.symbols.atom(NamedDim(name)): name for name in builder.named
    }
    extra: list[ir.Value] = []
    types = []
    for value, tensor in zip(values, declared, strict=True):
        shape: list[int | str] = []
        for size, dim in zip(builder.shapes.dims(value), tensor.shape, strict=True):
            if size.number is not None:
                shape.append(size.number)
                continue
            if size not in named:
                named[size] = _free_name(dim, tensor.name, set(named.values()))
                extra.append(builder.size(size))
            shape.append(named[size])
        types.append(TensorType(tensor.dtype, tuple(shape), tensor.name))
    return [*buffers, *extra], types


def store_state(builder: Bufferizer, op: ir.OpView) -> None:
    """Build a store to state: pass the buffer on where nothing else will write it."""
    value = op.operands[0]
    name = global_name(op)
    roots = builder.aliases.roots(value)
    mine = roots == {builder.aliases.find(GlobalRoot(name))}
    block = op.operation.block
    handed_on = not builder.aliases.is_part(value) and (
        mine
        or (
            _fresh(builder, roots)
            and all(builder.aliases.block(root) == block for root in roots)
            and not any(root in builder.places.dispatched for root in roots)
        )
    )
    if handed_on:
        buffer = builder.buffers[value]
        builder.escaped |= roots
        builder.aliases.keep_forever(roots)
    else:
        buffer = _copied(builder, value)
    hal.StoreGlobalOp(ir.StringAttr.get(name), buffer)


def _own_buffer(builder: Bufferizer, value: ir.Value) -> ir.Value:
    roots = builder.aliases.roots(value)
    if not _fresh(builder, roots) or builder.aliases.is_part(value):
        return _copied(builder, value)
    builder.escaped |= roots
    return builder.buffers[value]


def _copied(builder: Bufferizer, value: ir.Value) -> ir.Value:
    size = builder.shapes.nbytes(value)
    target = hal.AllocOp(builder.size(size)).result
    builder.copy(value, target)
    return target


def _fresh(builder: Bufferizer, roots: frozenset[Root]) -> bool:
    """Whether all memory of ``roots`` was made by this call and is not given away yet."""
    return not roots & {builder.aliases.find(r) for r in builder.escaped} and all(
        isinstance(root, ir.Value) and not _read_only(root) for root in roots
    )


def _read_only(root: ir.Value) -> bool:
    if isinstance(root.owner, ir.Block):
        return root.owner.owner.operation.name == "func.func"
    return root.owner.operation.name in _READ_ONLY


def _free_name(dim: int | str, tensor: str, taken: set[str]) -> str:
    base = dim if isinstance(dim, str) else f"{tensor}_size"
    name, number = base, 1
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name
