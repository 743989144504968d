"""The sizes of every tensor of a host function, over the dimensions its signature names.

A dimension that a loop or a branch changes in a way that cannot be followed is *varying*: it
becomes an atom of its own, and :mod:`bufferize` lets it travel beside the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.dialects import flow
from iree_core.errors import CompileError
from iree_core.ir import func, ir
from iree_core.layout import layout_of
from iree_core.passes.abi.signature import read_signature
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.scheduling.sizes import Size, Symbols, fixed

Dims = tuple[Size, ...]


@dataclass(frozen=True)
class NamedDim:
    """An atom: a dimension that the public signature names."""

    name: str


@dataclass(frozen=True)
class VaryingDim:
    """An atom: dimension ``position`` of ``value``, known where the value is."""

    value: ir.Value
    position: int


class Shapes:
    """The dimensions of the tensors of one host function.

    Attributes:
        symbols: the atoms of all sizes.
        varying: dimensions that travel beside their tensor (loop arguments, results).
    """

    def __init__(self, function: func.FuncOp, module: ir.Module) -> None:
        self.symbols = Symbols(self.dimension)
        self.varying: set[tuple[ir.Value, int]] = set()
        self._function = function
        self._callees = {
            op.name.value: op for op in module.body.operations if isinstance(op, func.FuncOp)
        }
        self._known: dict[ir.Value, Dims] = {}
        self._settle()

    def dims(self, value: ir.Value) -> Dims:
        """Return the dimensions of a tensor; static ones are numbers."""
        if value not in self._known:
            found = self._compute(value)
            self._known[value] = tuple(
                size if value.type.is_dynamic_dim(d) else fixed(value.type.get_dim_size(d))
                for d, size in enumerate(found)
            )
        return self._known[value]

    def dimension(self, value: ir.Value, position: int) -> Size:
        """Return dimension ``position`` of a tensor."""
        return self.dims(value)[position]

    def nbytes(self, value: ir.Value) -> Size:
        """Return how many bytes a tensor takes in memory, padding of a packed layout included."""
        dims: Sequence[Size] = self.dims(value)
        layout = layout_of(value.type)
        if layout is not None:
            tiles = self.symbols.apply("arith.ceildivsi", dims[layout.tile_dim], fixed(layout.tile))
            others = [
                self.symbols.apply("arith.ceildivsi", dims[d], fixed(layout.grouped(d)))
                if layout.grouped(d) > 1
                else dims[d]
                for d in layout.order
            ]
            inner = layout.group[1] if layout.group else 1
            dims = [tiles, *others, fixed(layout.tile * inner)]
        total = fixed(element_bytes(value.type.element_type))
        for size in dims:
            total = total * size
        return total

    def outside(self, size: Size, op: ir.Operation) -> bool:
        """Whether ``size`` can be computed before ``op``."""
        for key in self.symbols.keys(size):
            value = key.value if isinstance(key, VaryingDim) else key
            if isinstance(value, ir.Value) and is_inside(value, op):
                return False
        return True

    def _settle(self) -> None:
        # Optimistic: every loop keeps its shapes. What a body contradicts becomes varying, and
        # all is computed again, until nothing is contradicted.
        while True:
            contradicted: set[tuple[ir.Value, int]] = set()
            for op in _operations(self._function.operation):
                arguments = [a for r in op.regions for b in r.blocks for a in b.arguments]
                for value in (*op.results, *arguments):
                    if isinstance(value.type, ir.RankedTensorType):
                        self.dims(value)
                if op.name in ("scf.for", "scf.while"):
                    contradicted |= self._contradictions(op.opview)
            if not contradicted - self.varying:
                return
            self.varying |= contradicted
            self._known.clear()
            self.symbols.forget_values()

    def _contradictions(self, loop: ir.OpView) -> set[tuple[ir.Value, int]]:
        found = set()
        for carried in carried_values(loop):
            if not isinstance(carried.argument.type, ir.RankedTensorType):
                continue
            before, after = self.dims(carried.argument), self.dims(carried.yielded)
            for d, (start, end) in enumerate(zip(before, after, strict=True)):
                if carried.argument.type.is_dynamic_dim(d) and start != end:
                    found.add((carried.argument, d))
        return found

    def _varying_or(self, value: ir.Value, position: int, size: Size | None) -> Size:
        if size is None or (value, position) in self.varying:
            self.varying.add((value, position))
            return self.symbols.atom(VaryingDim(value, position))
        return size

    def _joined(self, value: ir.Value, op: ir.Operation, choices: Sequence[ir.Value]) -> Dims:
        """Return the dimensions of a value that is one of ``choices`` inside ``op``."""
        all_dims = [self.dims(choice) for choice in choices]
        sizes: list[Size] = []
        for d in range(value.type.rank):
            options = {dims[d] for dims in all_dims}
            size = options.pop() if len(options) == 1 else None
            if size is not None and not self.outside(size, op):
                size = None
            if value.type.is_dynamic_dim(d):
                sizes.append(self._varying_or(value, d, size))
            else:
                sizes.append(fixed(value.type.get_dim_size(d)))
        return tuple(sizes)

    def _compute(self, value: ir.Value) -> Dims:
        kind = value.type
        owner = value.owner
        if isinstance(owner, ir.Block):
            return self._of_argument(value, owner)
        if not any(kind.is_dynamic_dim(d) for d in range(kind.rank)):
            return tuple(fixed(n) for n in kind.shape)
        op = owner.operation.opview
        name = op.operation.name
        if name == "func.call":
            return self._of_call(value, op)
        if name == "tensor.cast":
            return self.dims(op.operands[0])
        if name == "tensor.empty":
            return self._mixed(kind, list(op.operands))
        if name == "tensor.expand_shape":
            return self._mixed(kind, list(op.operands)[1:])
        if name == "tensor.collapse_shape":
            return self._collapsed(op)
        if name == "tensor.extract_slice":
            return self._of_slice(value, op)
        if name == "tensor.insert_slice":
            return self.dims(op.operands[1])
        if name == "tensor.concat":
            return self._of_concat(op)
        if name == "scf.if":
            number = list(op.operation.results).index(value)
            choices = [
                list(region.blocks[0].operations)[-1].operands[number] for region in op.regions
            ]
            return self._joined(value, op.operation, choices)
        if name == "arith.select":
            return self._joined(value, op.operation, list(op.operands)[1:])
        if name in ("scf.for", "scf.while"):
            return self._of_loop_result(value, op)
        raise CompileError(
            f"The size of a tensor made by {name} is not known when it is scheduled.",
            where=describe_location(owner.operation.location) or None,
        )

    def _of_argument(self, value: ir.Value, block: ir.Block) -> Dims:
        owner = block.owner
        number = list(block.arguments).index(value)
        if owner.operation.name == "func.func":
            inputs, _ = read_signature(owner.opview)
            return tuple(
                fixed(d) if isinstance(d, int) else self.symbols.atom(NamedDim(d))
                for d in inputs[number].shape
            )
        op = owner.opview
        if owner.operation.name == "scf.for":
            start = self.dims(list(op.operands)[3:][number - 1])
        elif block == op.regions[0].blocks[0]:
            start = self.dims(op.operands[number])
        else:
            condition = list(op.regions[0].blocks[0].operations)[-1]
            return self._joined(value, op.operation, [condition.operands[number + 1]])
        return tuple(
            self._varying_or(value, d, size) if value.type.is_dynamic_dim(d) else size
            for d, size in enumerate(start)
        )

    def _of_loop_result(self, value: ir.Value, op: ir.OpView) -> Dims:
        number = list(op.operation.results).index(value)
        body = op.regions[0].blocks[0]
        if op.operation.name == "scf.for":
            return self._joined(value, op.operation, [body.arguments[number + 1]])
        return self._joined(value, op.operation, [list(body.operations)[-1].operands[number + 1]])

    def _of_call(self, value: ir.Value, op: ir.OpView) -> Dims:
        callee = self._callees[op.callee.value]
        number = list(op.operation.results).index(value)
        attributes = ir.DictAttr(callee.attributes["res_attrs"][number])
        positions = [int(p) for p in attributes[flow.DIMS]]
        return self._mixed(value.type, [op.operands[p] for p in positions])

    def _mixed(self, kind: ir.Type, dynamic: Sequence[ir.Value]) -> Dims:
        sizes = iter(dynamic)
        return tuple(
            self.symbols.value(next(sizes)) if kind.is_dynamic_dim(d) else fixed(n)
            for d, n in enumerate(kind.shape)
        )

    def _collapsed(self, op: ir.OpView) -> Dims:
        source = self.dims(op.operands[0])
        result = []
        for group in op.attributes["reassociation"]:
            total = fixed(1)
            for d in group:
                total = total * source[ir.IntegerAttr(d).value]
            result.append(total)
        return tuple(result)

    def _of_slice(self, value: ir.Value, op: ir.OpView) -> Dims:
        sizes = mixed_sizes(op, "static_sizes", 2, self.symbols)
        # A slice may drop dimensions of size 1; the rest are the result's, in order.
        if len(sizes) == value.type.rank:
            return tuple(sizes)
        wanted = list(value.type.shape)
        result: list[Size] = []
        for size in sizes:
            if len(result) < len(wanted):
                static = None if value.type.is_dynamic_dim(len(result)) else wanted[len(result)]
                if size.number == static or (static is None and size.number is None):
                    result.append(size)
                    continue
            assert size.number == 1, "only unit dimensions are dropped"
        return tuple(result)

    def _of_concat(self, op: ir.OpView) -> Dims:
        axis = ir.IntegerAttr(op.attributes["dim"]).value
        first, *rest = (self.dims(o) for o in op.operands)
        total = first[axis]
        for dims in rest:
            total = total + dims[axis]
        return tuple(total if d == axis else size for d, size in enumerate(first))


def _operations(root: ir.Operation) -> list[ir.Operation]:
    """Return ``root`` and everything in it; what a walk's callback raises would lose its type."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        found.append(op.operation)
        return ir.WalkResult.ADVANCE

    root.walk(visit)
    return found


@dataclass(frozen=True)
class Carried:
    """A value that goes around a loop: where it enters, and what the next iteration gets."""

    argument: ir.Value
    initial: ir.Value
    yielded: ir.Value


def carried_values(loop: ir.OpView) -> list[Carried]:
    """Return what an ``scf.for`` or ``scf.while`` carries from one iteration to the next."""
    body = loop.regions[0].blocks[0]
    if loop.operation.name == "scf.for":
        arguments, initial = list(body.arguments)[1:], list(loop.operands)[3:]
        last = list(body.operations)[-1]
    else:
        arguments, initial = list(body.arguments), list(loop.operands)
        last = list(loop.regions[1].blocks[0].operations)[-1]
    return [Carried(a, i, y) for a, i, y in zip(arguments, initial, last.operands, strict=True)]


def mixed_sizes(op: ir.OpView, attribute: str, group: int, symbols: Symbols) -> list[Size]:
    """Return offsets, sizes or strides of a slice operation, static and dynamic ones merged.

    ``group`` is the position of the dynamic ones among the operation's operand segments.
    """
    segments = [int(n) for n in op.attributes["operandSegmentSizes"]]
    first = sum(segments[:group])
    dynamic = iter(list(op.operands)[first : first + segments[group]])
    return [
        symbols.value(next(dynamic)) if n == ir.ShapedType.get_dynamic_size() else fixed(n)
        for n in (int(n) for n in op.attributes[attribute])
    ]


def is_inside(value: ir.Value, op: ir.Operation) -> bool:
    """Whether ``value`` is defined in a region of ``op`` or is a result of it."""
    owner = value.owner
    current = owner.owner if isinstance(owner, ir.Block) else owner
    while current is not None and current.name != "builtin.module":
        if current.operation == op.operation:
            return True
        current = current.operation.parent
    return False


def element_bytes(kind: ir.Type) -> int:
    """Return how many bytes one element takes in memory; narrow integers take a whole byte."""
    if isinstance(kind, ir.IndexType):
        return 8
    if isinstance(kind, ir.ComplexType):
        return 2 * element_bytes(kind.element_type)
    return max(1, kind.width // 8)
