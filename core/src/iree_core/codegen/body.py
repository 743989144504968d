"""Emission of the scalar code inside ``linalg.generic`` on scalars or on vectors.

Every operation of a body works lane by lane, so its vector form is the same operation on
vector types. Values of type ``index`` stay symbolic (:class:`Index`) as long as they are sums
and products, so that a gather whose position is ``row * stride + lane`` becomes a plain load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from iree_core.codegen.builder import Index, KernelBuilder, Lane, NotScheduled
from iree_core.ir import arith, ir

BodyValue: TypeAlias = ir.Value | Index
Extract = Callable[[ir.Value, list[Index]], ir.Value]


class BodyEmitter:
    """Emits one region at one position.

    Args:
        builder: where operations go.
        lane: the vector dimension, or None for scalar code.
        loop_indices: the coordinates ``linalg.index`` stands for.
        extract: reads a tensor at a computed position (``tensor.extract``).
        outer: gives values defined outside the region.
    """

    def __init__(
        self,
        builder: KernelBuilder,
        lane: Lane | None,
        loop_indices: Sequence[Index],
        extract: Extract,
        outer: Callable[[ir.Value], ir.Value],
    ) -> None:
        self.builder, self.lane, self.extract, self.outer = builder, lane, extract, outer
        self.loop_indices = loop_indices
        self.width = lane.width if lane else 1
        self.values: dict[ir.Value, BodyValue] = {}

    def run(self, block: ir.Block, arguments: Sequence[BodyValue]) -> list[ir.Value]:
        """Emit ``block`` and return what its terminator yields."""
        self.values.update(zip(block.arguments, arguments, strict=True))
        operations = list(block.operations)
        for op in operations[:-1]:
            self.emit(op)
        return [self.ssa(v) for v in operations[-1].operands]

    def get(self, value: ir.Value) -> BodyValue:
        """Return what a value of the body has become."""
        found = self.values.get(value)
        if found is None:
            outer = self.outer(value)
            found = Index(outer) if isinstance(outer.type, ir.IndexType) else outer
            self.values[value] = found
        return found

    def ssa(self, value: ir.Value) -> ir.Value:
        """Return a value as SSA, an index as ``index`` or a vector of it."""
        found = self.get(value)
        if not isinstance(found, Index):
            return found
        if found.varies:
            return self.builder.lanes(found, self.width)
        return self.builder.value(found.base)

    def emit(self, op: ir.OpView) -> None:
        """Emit one operation."""
        name = op.operation.name
        if name == "linalg.index":
            dim = ir.IntegerAttr(op.attributes["dim"]).value
            self.values[op.results[0]] = self.loop_indices[dim]
        elif name == "tensor.extract":
            source, *position = op.operands
            self.values[op.results[0]] = self.extract(source, [self.index(p) for p in position])
        elif name == "scf.if":
            self._emit_if(op)
        elif self._emit_symbolic(op, name):
            return
        elif len(op.regions):
            raise NotScheduled(f"{name} inside a linalg.generic")
        else:
            self._emit_lanewise(op)

    def index(self, value: ir.Value) -> Index:
        """Return a body value of type ``index`` as a coordinate."""
        found = self.get(value)
        if isinstance(found, Index):
            return found
        if isinstance(found.type, ir.VectorType):
            return Index(0, 0, found)
        return Index(found)

    def _emit_symbolic(self, op: ir.OpView, name: str) -> bool:
        if len(op.results) != 1 or not isinstance(op.results[0].type, ir.IndexType):
            return False
        builder, width = self.builder, self.width
        if name == "arith.constant":
            result = Index(ir.IntegerAttr(op.attributes["value"]).value)
        elif name == "arith.addi":
            a, b = (self.index(o) for o in op.operands)
            result = builder.index_add(a, b, width)
        elif name == "arith.subi":
            a, b = (self.index(o) for o in op.operands)
            result = builder.index_add(a, builder.index_mul(b, -1, width), width)
        elif name == "arith.muli":
            a, b = (self.index(o) for o in op.operands)
            if a.varies and b.varies:
                return False
            a, b = (a, b) if a.varies else (b, a)
            result = builder.index_mul(a, b.base, width)
        else:
            return False
        self.values[op.results[0]] = result
        return True

    def _emit_lanewise(self, op: ir.OpView) -> None:
        operands = [self.ssa(o) for o in op.operands]
        wide = any(isinstance(o.type, ir.VectorType) for o in operands)
        if wide:
            operands = [self.builder.splat(o, self.width) for o in operands]
        kinds = [ir.VectorType.get([self.width], r.type) if wide else r.type for r in op.results]
        attributes = {name: op.attributes[name] for name in op.attributes}
        copy = ir.Operation.create(
            op.operation.name, results=kinds, operands=operands, attributes=attributes
        )
        for old, result in zip(op.results, copy.results, strict=True):
            self.values[old] = result

    def _emit_if(self, op: ir.OpView) -> None:
        condition = self.ssa(op.operands[0])
        if not isinstance(condition.type, ir.VectorType):
            raise NotScheduled("a scalar branch inside a linalg.generic")
        # Both sides have no effect but their value: compute both and select.
        sides = []
        for region in op.regions:
            operations = list(region.blocks[0].operations)
            for inner in operations[:-1]:
                self.emit(inner)
            sides.append([self.ssa(v) for v in operations[-1].operands])
        for result, then, otherwise in zip(op.results, *sides, strict=True):
            pair = [self.builder.splat(v, self.width) for v in (then, otherwise)]
            self.values[result] = arith.SelectOp(condition, *pair).result


def yielded(block: ir.Block) -> list[ir.Value]:
    """Return the operands of a block's terminator."""
    return list(list(block.operations)[-1].operands)
