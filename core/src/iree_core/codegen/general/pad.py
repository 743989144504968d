"""``tensor.pad`` as an element-wise operation, negative padding (cropping) included.

Before::

    %r = tensor.pad %x low[1] high[-1] { ^bb0(%i: index): tensor.yield %v } : ...

After::

    %r = linalg.generic outs(%empty) {
      %i = linalg.index 0
      %at = arith.subi %i, 1
      %inside = 0 <= %at and %at < dim
      %y = scf.if %inside { tensor.extract %x[%at] } else { %v }
      linalg.yield %y
    }
"""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir, linalg, scf, tensor


def expand_pads(module: ir.Module) -> None:
    """Rewrite every ``tensor.pad`` in ``module``."""
    found: list[tensor.PadOp] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "tensor.pad":
            found.append(op.opview)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in found:
        with ir.InsertionPoint(op), op.location:
            op.result.replace_all_uses_with(_expand(op))
        op.operation.erase()


def _expand(op: tensor.PadOp) -> ir.Value:
    index = ir.IndexType.get()
    source, kind = op.source, ir.RankedTensorType(op.result.type)
    low = _mixed(op.attributes["static_low"], op.low)
    high = _mixed(op.attributes["static_high"], op.high)
    sizes = [
        tensor.DimOp(source, arith.ConstantOp(index, d).result).result for d in range(kind.rank)
    ]
    dynamic = [
        arith.AddIOp(arith.AddIOp(sizes[d], low[d]).result, high[d]).result
        for d in range(kind.rank)
        if kind.is_dynamic_dim(d)
    ]
    empty = ir.Operation.create("tensor.empty", [kind], dynamic).result
    identity = ir.AffineMap.get_identity(kind.rank)
    iterators = ir.Attribute.parse(
        "[" + ", ".join(["#linalg.iterator_type<parallel>"] * kind.rank) + "]"
    )
    maps = ir.ArrayAttr.get([ir.AffineMapAttr.get(identity)])
    generic = linalg.GenericOp([kind], [], [empty], maps, iterators)
    block = generic.regions[0].blocks.append(kind.element_type)
    with ir.InsertionPoint(block):
        position = [linalg.IndexOp(d).result for d in range(kind.rank)]
        linalg.YieldOp([_element(op, source, position, low, sizes)])
    return generic.results[0]


def _element(
    op: tensor.PadOp,
    source: ir.Value,
    position: Sequence[ir.Value],
    low: Sequence[ir.Value],
    sizes: Sequence[ir.Value],
) -> ir.Value:
    at = [arith.SubIOp(i, before).result for i, before in zip(position, low, strict=True)]
    inside = arith.ConstantOp(ir.IntegerType.get_signless(1), 1).result
    for i, size in zip(at, sizes, strict=True):
        # An unsigned comparison: a negative position is a huge one.
        fits = arith.CmpIOp(arith.CmpIPredicate.ult, i, size).result
        inside = arith.AndIOp(inside, fits).result
    branch = scf.IfOp(inside, [op.result.type.element_type], has_else=True)
    with ir.InsertionPoint(branch.then_block):
        scf.YieldOp([tensor.ExtractOp(source, at).result])
    with ir.InsertionPoint(branch.else_block):
        scf.YieldOp([_padding(op, position)])
    return branch.results[0]


def _padding(op: tensor.PadOp, position: Sequence[ir.Value]) -> ir.Value:
    """Copy the region that computes the padding to the insertion point."""
    block = op.regions[0].blocks[0]
    copies = dict(zip(block.arguments, position, strict=True))
    operations = list(block.operations)
    for inner in operations[:-1]:
        copy = inner.operation.clone()
        for number, operand in enumerate(inner.operands):
            if operand in copies:
                copy.operands[number] = copies[operand]
        copies.update(zip(inner.results, copy.results, strict=True))
    yielded = operations[-1].operands[0]
    return copies.get(yielded, yielded)


def _mixed(static: ir.DenseI64ArrayAttr, dynamic: Sequence[ir.Value]) -> list[ir.Value]:
    values = iter(dynamic)
    marker = ir.ShapedType.get_dynamic_size()
    index = ir.IndexType.get()
    return [
        next(values) if number == marker else arith.ConstantOp(index, number).result
        for number in static
    ]
