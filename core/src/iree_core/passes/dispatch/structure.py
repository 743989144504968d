"""What dispatch creation knows of one operation: its kind, its loops and how it reads its operands.

Attributes of MLIR are decoded once into plain tuples, so that grouping runs over Python data.
Nothing here changes the IR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from iree_core.ir import ir

AccessMap = tuple[int | None, ...]
"""Per dimension of an operand: the loop that indexes it, FIXED, or None for other expressions."""

FIXED = -1
"""Stands in an access map for a constant position: that of a dimension of size 1."""


class Kind(Enum):
    """How an operation takes part in fusion."""

    HOST = "host"  # stays in the host function
    CONSTANT = "constant"  # small constant, empty tensor, fill: remade wherever it is used
    VIEW = "view"  # moves data without computing; can be read through
    MOVE = "move"  # moves data and is better materialised (concatenation, insertion)
    ELEMENTWISE = "elementwise"  # all loops parallel, computes
    REDUCTION = "reduction"  # reduces whole rows
    WINDOW = "window"  # pooling: reduces sliding windows
    CONTRACTION = "contraction"  # matrix multiplication or convolution
    ATOMIC = "atomic"  # any other computation; a dispatch of its own


@dataclass(frozen=True)
class Loops:
    """The loop nest of a linalg operation.

    Attributes:
        parallel: per loop, whether it is parallel.
        maps: one access map per operand, outputs last.
        windowed: some access is an expression of several loops (sliding windows, strides).
    """

    parallel: tuple[bool, ...]
    maps: tuple[AccessMap, ...]
    windowed: bool

    def __len__(self) -> int:
        return len(self.parallel)


# Rough costs of one scalar operation, in units of an addition.
_COSTS = {"arith.divf": 4, "arith.remf": 8, "arith.divsi": 8, "arith.divui": 8, "arith.remsi": 8,
          "arith.remui": 8, "arith.floordivsi": 10, "arith.ceildivsi": 10}  # fmt: skip
_CHEAP_MATH = {"math.absf", "math.absi", "math.copysign", "math.floor", "math.ceil", "math.fma",
               "math.round", "math.roundeven", "math.trunc"}  # fmt: skip
_FREE = {"linalg.yield", "linalg.index", "arith.constant", "arith.index_cast", "tensor.extract"}
_CASTS = {"arith.extf", "arith.truncf", "arith.sitofp", "arith.uitofp", "arith.extsi",
          "arith.extui", "arith.trunci"}  # fmt: skip


def operation_cost(name: str) -> int:
    """Return the rough cost of one scalar operation, an addition being 1."""
    if name in _FREE:
        return 0
    if name.startswith("math.") and name not in _CHEAP_MATH:
        return 10
    return _COSTS.get(name, 1)


@dataclass(frozen=True)
class Body:
    """What a linalg body does.

    Attributes:
        operations: names of its operations in order, the terminator last.
        cost: sum of :func:`operation_cost`.
        reads_output: per output, whether its present value is used.
    """

    operations: tuple[str, ...]
    cost: int
    reads_output: tuple[bool, ...]

    @property
    def moves_only(self) -> bool:
        """Whether nothing is computed: the body yields what it read."""
        return self.operations == ("linalg.yield",)

    @property
    def casts_only(self) -> bool:
        """Whether it changes the element type and nothing else."""
        return all(name in _CASTS or name == "linalg.yield" for name in self.operations)

    @property
    def gathers(self) -> bool:
        """Whether it reads tensors at computed positions."""
        return "tensor.extract" in self.operations


class Decoder:
    """Decodes attributes into tuples and remembers the answers."""

    def __init__(self) -> None:
        self._loops: dict[tuple[ir.Attribute, ir.Attribute], Loops] = {}

    def loops(self, op: ir.Operation) -> Loops:
        """Return the loops of a ``linalg.generic``."""
        attributes = op.attributes
        key = (attributes["indexing_maps"], attributes["iterator_types"])
        found = self._loops.get(key)
        if found is None:
            maps = tuple(decode_map(attribute.value) for attribute in key[0])
            parallel = tuple("parallel" in str(attribute) for attribute in key[1])
            found = Loops(parallel, maps, any(None in access for access in maps))
            self._loops[key] = found
        return found


def decode_map(affine_map: ir.AffineMap) -> AccessMap:
    """Return ``affine_map`` as a tuple of loops, None standing for any other expression."""
    return tuple(
        result.position
        if isinstance(result, ir.AffineDimExpr)
        else FIXED
        if isinstance(result, ir.AffineConstantExpr)
        else None
        for result in affine_map.results
    )


def read_body(op: ir.Operation) -> Body:
    """Summarise the body of a ``linalg.generic``."""
    block = op.regions[0].blocks[0]
    names: list[str] = []
    for inner in block.operations:
        name = inner.operation.name
        names.append(name)
        if inner.operation.regions:
            names.extend(n.name for n in nested_operations(inner.operation))
    outputs = len(op.results)
    arguments = list(block.arguments)[-outputs:]
    return Body(
        operations=tuple(names),
        cost=sum(operation_cost(name) for name in names),
        reads_output=tuple(next(iter(a.uses), None) is not None for a in arguments),
    )


def nested_operations(op: ir.Operation) -> Iterator[ir.Operation]:
    """Yield every operation inside the regions of ``op``, outermost first."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from nested_operations(inner.operation)


def captured_values(op: ir.Operation) -> list[ir.Value]:
    """Return the values defined outside ``op`` that its regions use, in order of first use."""
    defined: set[ir.Value] = set()
    captured: dict[ir.Value, None] = {}
    for region in op.regions:
        for block in region.blocks:
            defined.update(block.arguments)
    for inner in nested_operations(op):
        for region in inner.regions:
            for block in region.blocks:
                defined.update(block.arguments)
        for operand in inner.operands:
            if operand not in defined:
                captured[operand] = None
        defined.update(inner.results)
    return list(captured)


def linalg_kind(loops: Loops, body: Body, inputs: int) -> Kind:
    """Classify a ``linalg.generic`` that has ``inputs`` input operands."""
    reduced = {loop for loop, parallel in enumerate(loops.parallel) if not parallel}
    if not reduced:
        if any(body.reads_output):
            return Kind.ELEMENTWISE
        return Kind.VIEW if body.moves_only and not loops.windowed else Kind.ELEMENTWISE
    if _multiplies_operands(loops, body, inputs, reduced):
        return Kind.CONTRACTION
    return Kind.WINDOW if loops.windowed else Kind.REDUCTION


def _multiplies_operands(loops: Loops, body: Body, inputs: int, reduced: set[int]) -> bool:
    """Whether two inputs are multiplied and summed, each having loops that the other lacks."""
    if inputs < 2 or not {"arith.mulf", "arith.muli", "complex.mul"} & set(body.operations):
        return False
    if not {"arith.addf", "arith.addi", "complex.add"} & set(body.operations):
        return False
    used = [
        {loop for loop in access if loop is not None and loop != FIXED}
        | (reduced if None in access else set())
        for access in loops.maps[:inputs]
    ]
    wide = [loops_of for loops_of in used if loops_of & reduced]
    return len(wide) >= 2 and (loops.windowed or any(wide[0] != other for other in wide[1:]))
