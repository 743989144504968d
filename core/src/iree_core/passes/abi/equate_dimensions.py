"""Pass: dynamic dimensions that the program needs to be equal get one name.

The virtual machine checks at every call that sizes of the same name are equal, so that wrong
shapes are an error of the caller instead of a read outside of an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from iree_core.ir import func, ir, linalg
from iree_core.passes.abi import signature
from iree_core.passes.state import CompilationState

# A size: of a dimension of a value, an SSA value of type index, or the name of a dimension.
_Size: TypeAlias = "tuple[ir.Value, int] | ir.Value | str"


@dataclass(frozen=True)
class EquateDimensions:
    """Name the dimensions by which structured operations walk several operands::

        func.func @add(%x: tensor<?xf32> {iree.dims = ["m"], ...},
                       %y: tensor<?xf32> {iree.dims = ["n"], ...}) {
          ... linalg.generic {indexing_maps = [#identity, #identity, ...]} ins(%x, %y ...) ...

    becomes::

        func.func @add(%x: tensor<?xf32> {iree.dims = ["m"], ...},
                       %y: tensor<?xf32> {iree.dims = ["m"], ...})

    Only operations that run at every call count, not those inside control flow. Sizes are
    followed through results, ``tensor.dim`` and ``tensor.empty``.
    """

    name: str = "equate-dimensions"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rename the dimensions of every public function of ``module``."""
        for function in signature.public_functions(module):
            _rename(function, _names(function))


def _names(function: func.FuncOp) -> dict[str, str]:
    """Return, for every name of a dimension of an argument, the first one it must be equal to."""
    inputs, _ = signature.read_signature(function)
    sizes = _Classes()
    block = function.regions[0].blocks[0]
    first: dict[object, str] = {}
    names = []
    for value, kind in zip(block.arguments, inputs, strict=True):
        for axis, size in enumerate(kind.shape):
            if isinstance(size, str):
                names.append(size)
                sizes.join(size, (value, axis))
    for op in block.operations:
        for one, other in _equal(op):
            sizes.join(one, other)
    for name in names:
        first.setdefault(sizes.find(name), name)
    return {name: first[sizes.find(name)] for name in names}


def _equal(op: ir.OpView) -> Iterator[tuple[_Size, _Size]]:
    """Yield pairs of sizes that are equal if ``op`` is executed."""
    name = op.operation.name
    if name.startswith("linalg."):
        yield from _of_structured(op)
    elif name == "tensor.dim":
        axis = op.operands[1].owner
        if not isinstance(axis, ir.Block) and axis.operation.name == "arith.constant":
            number = ir.IntegerAttr(axis.attributes["value"]).value
            yield op.result, (op.operands[0], number)
    elif name == "tensor.empty":
        sizes = iter(op.operands)
        for axis in range(op.result.type.rank):
            if op.result.type.is_dynamic_dim(axis):
                yield (op.result, axis), next(sizes)
    elif name == "tensor.cast":
        for axis in range(op.result.type.rank if op.result.type.has_rank else 0):
            yield (op.result, axis), (op.operands[0], axis)


def _of_structured(op: ir.OpView) -> Iterator[tuple[_Size, _Size]]:
    walked: dict[int, _Size] = {}
    operands = list(op.operands)
    maps = [_affine(m) for m in linalg.get_indexing_maps(op) or ()]
    for value, indexing in zip(operands, maps, strict=False):
        for axis, loop in enumerate(indexing.results):
            if isinstance(loop, ir.AffineDimExpr):
                position = ir.AffineDimExpr(loop).position
                yield walked.setdefault(position, (value, axis)), (value, axis)
    results = list(op.results)
    for result, init in zip(results, operands[len(operands) - len(results) :], strict=True):
        for axis in range(result.type.rank):
            yield (result, axis), (init, axis)


def _affine(indexing: ir.Attribute) -> ir.AffineMap:
    return indexing.value if isinstance(indexing, ir.AffineMapAttr) else indexing


def _rename(function: func.FuncOp, names: dict[str, str]) -> None:
    inputs, outputs = signature.read_signature(function)
    for kind, types in (("arg_attrs", inputs), ("res_attrs", outputs)):
        renamed = []
        for attributes in signature.attributes_of(function, kind, len(types)):
            if signature.DIMS in attributes:
                dims = [ir.StringAttr(d).value for d in ir.ArrayAttr(attributes[signature.DIMS])]
                attributes[signature.DIMS] = ir.ArrayAttr.get(
                    [ir.StringAttr.get(names.get(d, d)) for d in dims]
                )
            renamed.append(ir.DictAttr.get(attributes))
        function.attributes[kind] = ir.ArrayAttr.get(renamed)


class _Classes:
    """Disjoint sets of sizes (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[_Size, _Size] = {}

    def find(self, size: _Size) -> _Size:
        """Return the representative of the sizes that are equal to ``size``."""
        while (parent := self._parent.get(size, size)) != size:
            size = parent
        return size

    def join(self, one: _Size, other: _Size) -> None:
        """Note that two sizes are equal."""
        one, other = self.find(one), self.find(other)
        if one != other:
            self._parent[other] = one
