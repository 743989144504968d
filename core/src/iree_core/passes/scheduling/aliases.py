"""Which tensors may share memory, and until when memory is needed. Not for deciding places.

Every tensor has *roots*: the values whose memory it may lie in. A view has the roots of its
source; the result of a branch those of both sides; a loop argument those of everything that may
enter it. Positions number the operations in textual order; a use inside a loop of memory that
was there before the loop lasts until the loop ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from iree_core.ir import func, ir
from iree_core.passes.scheduling.shapes import carried_values

Root = Hashable
FOREVER = 1 << 60

VIEWS = ("tensor.cast", "tensor.expand_shape", "tensor.collapse_shape", "tensor.extract_slice")
_LOOPS = ("scf.for", "scf.while")


@dataclass(frozen=True)
class GlobalRoot:
    """The memory of the state called ``name``."""

    name: str


class Aliases:
    """Roots and last uses of the tensors of one host function.

    Attributes:
        position: number of each operation in textual order.
        end: number of the last operation inside each operation.
    """

    def __init__(self, function: func.FuncOp) -> None:
        self.position: dict[ir.Operation, int] = {}
        self.end: dict[ir.Operation, int] = {}
        self._roots: dict[ir.Value, frozenset[Root]] = {}
        self._parents: dict[Root, Root] = {}
        self._blocks: dict[Root, ir.Block] = {}
        self._last: dict[Root, int] = {}
        self._uses: dict[Root, list[ir.Operation]] = {}
        self._slices: set[ir.Value] = set()
        block = function.regions[0].blocks[0]
        for argument in block.arguments:
            self._own(argument, block)
        # The second round lets what a loop yields reach its arguments.
        for _ in range(2):
            self._visit(block)
        self._number(block, 0)
        self._collect(block)

    def roots(self, value: ir.Value) -> frozenset[Root]:
        """Return whose memory ``value`` may lie in."""
        return frozenset(self.find(root) for root in self._roots[value])

    def find(self, root: Root) -> Root:
        """Return the representative of the memory that ``root`` shares."""
        while root in self._parents:
            root = self._parents[root]
        return root

    def block(self, root: Root) -> ir.Block | None:
        """Return the block in which the memory of ``root`` is first written."""
        return self._blocks.get(root)

    def is_part(self, value: ir.Value) -> bool:
        """Whether ``value`` may be a slice of a larger tensor."""
        return value in self._slices

    def last_use(self, root: Root) -> int:
        """Return the position after which the memory of ``root`` is free."""
        return self._last.get(self.find(root), -1)

    def uses(self, root: Root) -> list[ir.Operation]:
        """Return every operation that touches the memory of ``root``."""
        return self._uses.get(self.find(root), [])

    def keep_forever(self, roots: Iterable[Root]) -> None:
        """Note that the memory of ``roots`` is needed beyond the call."""
        for root in roots:
            self._last[self.find(root)] = FOREVER

    def join(self, value: ir.Value, roots: Iterable[Root]) -> None:
        """Note that ``value`` is written into the memory of ``roots``."""
        target, *rest = [self.find(root) for root in roots]
        for other in (*rest, *(self.find(r) for r in self._roots[value])):
            if other in {target}:  # values of the bindings compare with values only
                continue
            self._parents[other] = target
            self._last[target] = max(self._last.get(target, -1), self._last.get(other, -1))
            self._uses.setdefault(target, []).extend(self._uses.get(other, []))

    def _own(self, value: ir.Value, block: ir.Block, root: Root | None = None) -> None:
        root = value if root is None else root
        self._roots[value] = frozenset([root])
        self._blocks.setdefault(root, block)

    def _inherit(self, value: ir.Value, sources: Iterable[ir.Value], *own: Root) -> None:
        sources = list(sources)
        known = [self._roots[s] for s in sources if s in self._roots]
        self._roots[value] = frozenset(own).union(*known, self._roots.get(value, frozenset()))
        if any(source in self._slices for source in sources):
            self._slices.add(value)

    def _visit(self, block: ir.Block) -> None:
        for op in block.operations:
            name = op.operation.name
            if name in _LOOPS:
                self._visit_loop(op)
                continue
            for region in op.regions:
                for inner in region.blocks:
                    self._visit(inner)
            for number, result in enumerate(op.results):
                if not isinstance(result.type, ir.RankedTensorType):
                    continue
                if name in VIEWS:
                    self._inherit(result, [op.operands[0]])
                    if name == "tensor.extract_slice":
                        self._slices.add(result)
                elif name == "scf.if":
                    self._inherit(result, (_last(r).operands[number] for r in op.regions))
                elif name == "arith.select":
                    self._inherit(result, list(op.operands)[1:])
                elif name == "ml_program.global_load":
                    variable = GlobalRoot(global_name(op))
                    self._own(result, _entry(block), variable)
                else:
                    self._own(result, block)

    def _visit_loop(self, op: ir.OpView) -> None:
        body = op.regions[0].blocks[0]
        carried = [
            c for c in carried_values(op) if isinstance(c.argument.type, ir.RankedTensorType)
        ]
        for c in carried:
            self._own_argument(c.argument, [c.initial, c.yielded], body)
        self._visit(body)
        if op.operation.name == "scf.while":
            forwarded = list(_last(op.regions[0]).operands)[1:]
            after = op.regions[1].blocks[0]
            for argument, value in zip(after.arguments, forwarded, strict=True):
                if isinstance(argument.type, ir.RankedTensorType):
                    self._inherit(argument, [value])
            self._visit(after)
            sources = [[value] for value in forwarded]
        else:
            sources = [[c.argument, c.initial, c.yielded] for c in carried_values(op)]
        for result, values in zip(op.results, sources, strict=True):
            if isinstance(result.type, ir.RankedTensorType):
                self._inherit(result, values)
        # Once more, now that what the body yields is known.
        for c in carried:
            self._own_argument(c.argument, [c.initial, c.yielded], body)

    def _own_argument(
        self, argument: ir.Value, sources: Iterable[ir.Value], body: ir.Block
    ) -> None:
        self._blocks.setdefault(argument, body)
        self._inherit(argument, sources, argument)

    def _number(self, block: ir.Block, number: int) -> int:
        for op in block.operations:
            self.position[op.operation] = number
            number += 1
            for region in op.regions:
                for inner in region.blocks:
                    number = self._number(inner, number)
            self.end[op.operation] = number - 1
        return number

    def _collect(self, block: ir.Block) -> None:
        for op in block.operations:
            for operand in op.operands:
                for root in self._roots.get(operand, ()):
                    self._uses.setdefault(root, []).append(op.operation)
                    end = self._end_of_use(op.operation, self._blocks[root])
                    self._last[root] = max(self._last.get(root, -1), end)
            for region in op.regions:
                for inner in region.blocks:
                    self._collect(inner)

    def _end_of_use(self, op: ir.Operation, home: ir.Block) -> int:
        end = self.position[op]
        current = op
        while current.block != home:
            parent = current.parent
            if parent is None or parent.name == "func.func":
                break
            current = parent.operation
            if current.name in _LOOPS:
                end = max(end, self.end[current])
        return end


def _last(region: ir.Region) -> ir.OpView:
    return list(region.blocks[0].operations)[-1]


def _entry(block: ir.Block) -> ir.Block:
    while block.owner.operation.name != "func.func":
        block = block.owner.operation.block
    return block


def global_name(op: ir.OpView) -> str:
    """Return the symbol that an ``ml_program`` load or store names."""
    return str(op.attributes["global"]).lstrip("@").strip('"')
