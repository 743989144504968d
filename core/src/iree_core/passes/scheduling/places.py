"""Decides where the tensors that go around loops lie. Not for emitting anything.

A loop-carried tensor of constant size alternates between two places outside the loop: an
iteration reads one and writes the other. Where the producer of the next value is the last to
read the current one, element by element or not at all, one place is enough. Producers write
straight into the place; only values that are no fresh result of a dispatch are copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from iree_core.ir import ir
from iree_core.passes.scheduling.aliases import Aliases
from iree_core.passes.scheduling.shapes import Carried, Shapes, carried_values, is_inside

Kind = Literal["scalar", "unchanged", "reference", "copy", "single", "rotate"]

_RESHAPES = ("tensor.cast", "tensor.expand_shape", "tensor.collapse_shape")


@dataclass(frozen=True)
class Place:
    """Memory outside a loop that holds what the loop carries at ``number``."""

    loop: ir.Operation
    number: int


@dataclass(frozen=True)
class CarriedPlan:
    """How one carried value travels.

    Attributes:
        kind: ``unchanged`` and ``reference`` pass a buffer on; ``copy`` makes a fresh one each
            iteration; ``single`` and ``rotate`` write one or two places outside the loop.
        carried: the values concerned.
        written: the producer writes the place itself, nothing is left to copy.
    """

    kind: Kind
    carried: Carried
    written: bool = False


@dataclass
class Places:
    """Destinations decided so far.

    Attributes:
        dispatched: place by dispatch result.
        branched: place by result of an ``scf.if``; both sides fill it.
    """

    shapes: Shapes
    aliases: Aliases
    overwritable: Callable[[ir.OpView], frozenset[int]]
    dispatched: dict[ir.Value, Place] = field(default_factory=dict)
    branched: dict[ir.Value, Place] = field(default_factory=dict)

    def plan(self, loop: ir.OpView) -> list[CarriedPlan]:
        """Decide for every value that ``loop`` carries."""
        carried = carried_values(loop)
        plans: dict[int, CarriedPlan] = {}
        later = []
        for number, c in enumerate(carried):
            if not isinstance(c.argument.type, ir.RankedTensorType):
                plans[number] = CarriedPlan("scalar", c)
            elif self._forwarded(loop, c.yielded) == c.argument:
                plans[number] = CarriedPlan("unchanged", c)
            elif not is_inside(c.yielded, loop.operation):
                plans[number] = CarriedPlan("reference", c)
            elif self._varies(c.argument):
                later.append(number)
            else:
                plans[number] = self._in_place(loop, number, c)
        for number in later:
            c = carried[number]
            kind: Kind = "copy" if self._overwritten(c.yielded) else "reference"
            plans[number] = CarriedPlan(kind, c)
        return [plans[number] for number in range(len(carried))]

    def _varies(self, argument: ir.Value) -> bool:
        return any((argument, d) in self.shapes.varying for d in range(argument.type.rank))

    def _overwritten(self, value: ir.Value) -> bool:
        """Whether the memory of ``value`` may be a place that a later iteration writes."""
        return any(
            isinstance(root, ir.Value)
            and (root in self.dispatched or (_carried(root) and not self._varies(root)))
            for root in self.aliases.roots(value)
        )

    def _in_place(self, loop: ir.OpView, number: int, carried: Carried) -> CarriedPlan:
        value = self._forwarded(loop, carried.yielded)
        place = Place(loop.operation, number)
        home = [region.blocks[0] for region in loop.regions]
        if (
            isinstance(value.owner, ir.Block)
            or value.owner.operation.block not in home
            or not self.fill(value, place)
        ):
            return CarriedPlan("rotate", carried)
        producer = _through_reshapes(value).owner.operation.opview
        single = producer.operation.name == "func.call" and self._last_reader(
            loop, producer, carried.argument
        )
        return CarriedPlan("single" if single else "rotate", carried, written=True)

    def fill(self, value: ir.Value, place: Place) -> bool:
        """Let ``value`` be written into ``place`` by its producer; return whether it is."""
        value = _through_reshapes(value)
        if isinstance(value.owner, ir.Block):
            return False
        op = value.owner.operation.opview
        if value in self.dispatched or value in self.branched:
            return False
        if op.operation.name == "func.call":
            self.dispatched[value] = place
            return True
        if op.operation.name == "scf.if":
            number = list(op.results).index(value)
            self.branched[value] = place
            for region in op.regions:
                block = region.blocks[0]
                inner = list(block.operations)[-1].operands[number]
                owner = _through_reshapes(inner).owner
                if not isinstance(owner, ir.Block) and owner.operation.block == block:
                    self.fill(inner, place)
            return True
        return False

    def place_of(self, value: ir.Value) -> Place | None:
        """Return where ``value`` was decided to lie, if it was."""
        source = _through_reshapes(value)
        return self.dispatched.get(source) or self.branched.get(source)

    def _last_reader(self, loop: ir.OpView, producer: ir.OpView, argument: ir.Value) -> bool:
        """Whether ``producer`` may overwrite ``argument`` with what replaces it."""
        position = self.aliases.position[producer.operation]
        for op in self.aliases.uses(argument):
            inside = op.parent is not None and _within(op, loop.operation)
            if not inside:
                continue
            if op == producer.operation:
                allowed = self.overwritable(producer)
                for number, operand in enumerate(producer.operands):
                    if not isinstance(operand.type, ir.RankedTensorType):
                        continue
                    if argument in self.aliases.roots(operand) and (
                        number not in allowed or self.aliases.is_part(operand)
                    ):
                        return False
            elif self.aliases.position[op] > position:
                return False
        return True

    def _forwarded(self, loop: ir.OpView, value: ir.Value) -> ir.Value:
        """Return what ``value`` is before an ``scf.while`` hands it to its second region."""
        if loop.operation.name != "scf.while" or not isinstance(value.owner, ir.Block):
            return value
        after = loop.regions[1].blocks[0]
        if value.owner != after:
            return value
        condition = list(loop.regions[0].blocks[0].operations)[-1]
        return condition.operands[list(after.arguments).index(value) + 1]


def _through_reshapes(value: ir.Value) -> ir.Value:
    while not isinstance(value.owner, ir.Block) and value.owner.operation.name in _RESHAPES:
        value = value.owner.operation.operands[0]
    return value


def users_through_reshapes(value: ir.Value) -> list[ir.Operation]:
    """Return the operations that use ``value`` or a reshape of it."""
    users: list[ir.Operation] = []
    for use in value.uses:
        op = use.owner.operation
        users.append(op)
        if op.name in _RESHAPES:
            users += users_through_reshapes(op.results[0])
    return users


def _carried(root: ir.Value) -> bool:
    return isinstance(root.owner, ir.Block) and root.owner.owner.operation.name != "func.func"


def _within(op: ir.Operation, outer: ir.Operation) -> bool:
    parent = op.parent
    while parent is not None:
        if parent.operation == outer:
            return True
        parent = parent.operation.parent
    return False
