"""Constant tensors inside a dispatch: splats as immediates, tables as read-only data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iree_core.codegen.builder import Buffer, Index, KernelBuilder, Lane, NotScheduled, storage_type
from iree_core.ir import arith, ir, memref


def constant_element(
    builder: KernelBuilder, op: ir.OpView, position: Sequence[Index], lane: Lane | None
) -> ir.Value:
    """Return an element of the tensor that an ``arith.constant`` defines."""
    kind = op.result.type
    attribute = op.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        raise NotScheduled(f"a constant given as {type(attribute).__name__}")
    if attribute.is_splat:
        return arith.ConstantOp(kind.element_type, attribute.get_splat_value()).result
    buffer = Buffer(_table(op, attribute), kind.element_type, tuple(kind.shape))
    return builder.load(buffer, position, lane)


def _table(op: ir.OpView, attribute: ir.DenseElementsAttr) -> ir.Value:
    """Return the constant's elements in memory, as a global of the kernel's module."""
    storage = storage_type(attribute.type.element_type)
    flat = np.array(attribute).reshape(-1)
    if isinstance(storage, ir.IntegerType):
        flat = flat.astype(f"i{storage.width // 8}")
    data = ir.RankedTensorType.get([flat.size], storage)
    value = ir.DenseElementsAttr.get(np.ascontiguousarray(flat), type=data)
    body = _module_block()
    name = f"table_{len(list(body.operations))}"
    shape = ir.MemRefType.get([flat.size], storage)
    with ir.InsertionPoint.at_block_begin(body):
        memref.GlobalOp(
            sym_name=name,
            type_=ir.TypeAttr.get(shape),
            sym_visibility="private",
            initial_value=value,
            constant=True,
        )
    return memref.GetGlobalOp(shape, name).result


def _module_block() -> ir.Block:
    block = ir.InsertionPoint.current.block
    owner = block.owner
    while owner.operation.name != "builtin.module":
        owner = owner.operation.parent
    return owner.regions[0].blocks[0]
