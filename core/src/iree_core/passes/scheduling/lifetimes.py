"""When the memory of each ``hal.transient`` is in use, on host functions over buffers."""

from __future__ import annotations

from dataclasses import dataclass, field

from iree_core.ir import func, ir
from iree_core.passes.scheduling.shapes import carried_values

_LOOPS = ("scf.for", "scf.while")


@dataclass
class Lifetime:
    """Of one transient.

    Attributes:
        op: the ``hal.transient``.
        first, last: positions between which its memory is in use, both included.
        escapes: it outlives the call or the loop iteration that made it.
    """

    op: ir.OpView
    first: int
    last: int
    escapes: bool = False


@dataclass
class _Flow:
    """Which transients each buffer value may lie in."""

    roots: dict[ir.Value, set[ir.Value]] = field(default_factory=dict)

    def get(self, value: ir.Value) -> set[ir.Value]:
        return self.roots.setdefault(value, set())

    def add(self, target: ir.Value, source: ir.Value) -> bool:
        before = len(self.get(target))
        self.roots[target] |= self.get(source)
        return len(self.roots[target]) != before


def lifetimes(function: func.FuncOp) -> list[Lifetime]:
    """Return the lifetimes of all transients of ``function`` that are used, in textual order."""
    block = function.regions[0].blocks[0]
    position: dict[ir.Operation, int] = {}
    end: dict[ir.Operation, int] = {}
    _number(block, 0, position, end)
    flow = _Flow()
    while _propagate(block, flow):
        pass
    found: dict[ir.Value, Lifetime] = {}
    for op in position:
        if op.name == "hal.transient":
            view = op.opview
            start = position[op]
            if ir.StringAttr(view.writer).value == "host":
                start = position[op.block.operations[0].operation]
            found[view.result] = Lifetime(view, start, -1)
    for op in position:
        for operand in op.operands:
            for root in flow.get(operand):
                life = found[root]
                life.last = max(life.last, _end_of_use(op, life.op.operation, position, end))
                if op.name in ("func.return", "hal.store_global"):
                    life.escapes = True
        if op.name in _LOOPS:
            for carried in carried_values(op.opview):
                for root in flow.get(carried.yielded):
                    if _within(root.owner, op):
                        found[root].escapes = True
    return [life for life in found.values() if life.last >= 0]


def _number(
    block: ir.Block, number: int, position: dict[ir.Operation, int], end: dict[ir.Operation, int]
) -> int:
    for op in block.operations:
        position[op.operation] = number
        number += 1
        for region in op.regions:
            for inner in region.blocks:
                number = _number(inner, number, position, end)
        end[op.operation] = number - 1
    return number


def _propagate(block: ir.Block, flow: _Flow) -> bool:
    """Send roots along one round; return whether anything was learnt."""
    changed = False
    for op in block.operations:
        name = op.operation.name
        if name == "hal.transient":
            changed |= op.result not in flow.get(op.result)
            flow.get(op.result).add(op.result)
        elif name == "hal.subview":
            changed |= flow.add(op.result, op.source)
        elif name == "arith.select":
            for choice in list(op.operands)[1:]:
                changed |= flow.add(op.results[0], choice)
        for region in op.regions:
            for inner in region.blocks:
                changed |= _propagate(inner, flow)
        for target, source in _edges(op, name):
            changed |= flow.add(target, source)
    return changed


def _edges(op: ir.OpView, name: str) -> list[tuple[ir.Value, ir.Value]]:
    """Return how values pass into and out of the regions of ``op``."""
    if name == "scf.if":
        return [
            (result, value)
            for region in op.regions
            if region.blocks
            for result, value in zip(
                op.results, list(region.blocks[0].operations)[-1].operands, strict=True
            )
        ]
    if name not in _LOOPS:
        return []
    edges = []
    carried = carried_values(op)
    for c in carried:
        edges += [(c.argument, c.initial), (c.argument, c.yielded)]
    if name == "scf.for":
        edges += [(r, c.argument) for r, c in zip(op.results, carried, strict=True)]
    else:
        condition = list(op.regions[0].blocks[0].operations)[-1]
        forwarded = list(condition.operands)[1:]
        after = op.regions[1].blocks[0].arguments
        edges += list(zip(after, forwarded, strict=True))
        edges += list(zip(op.results, forwarded, strict=True))
    return edges


def _end_of_use(
    op: ir.Operation,
    root: ir.Operation,
    position: dict[ir.Operation, int],
    end: dict[ir.Operation, int],
) -> int:
    """Return until when the use of ``root`` by ``op`` lasts: to the end of loops between them."""
    last = position[op]
    parent = op.parent
    while parent is not None and parent.name != "func.func":
        current = parent.operation
        if current.name in _LOOPS and not _within(root, current):
            last = max(last, end[current])
        parent = current.parent
    return last


def _within(op: ir.Operation, outer: ir.Operation) -> bool:
    parent = op.operation.parent
    while parent is not None:
        if parent.operation == outer.operation:
            return True
        parent = parent.operation.parent
    return False
