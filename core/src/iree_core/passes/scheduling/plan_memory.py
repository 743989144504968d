"""Pass: every transient gets its place, in the function's arena or in an allocation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import reduce

from iree_core.dialects import hal
from iree_core.ir import func, ir
from iree_core.passes.scheduling.lifetimes import Lifetime, lifetimes
from iree_core.passes.scheduling.packing import ALIGNMENT, Interval, best_fit, colour
from iree_core.passes.scheduling.sizes import (
    Operation,
    Size,
    Symbols,
    as_index,
    fixed,
    index_constant,
)
from iree_core.passes.state import CompilationState

# What an unknown dimension is taken for where sizes are compared to choose slots.
_TYPICAL_DIMENSION = 128

# Scalar operations that cannot fail, so they may run when the function is entered.
_MOVABLE = frozenset(
    f"arith.{name}"
    for name in (
        "addi", "andi", "cmpi", "constant", "extsi", "extui", "index_cast", "index_castui",
        "maxsi", "maxui", "minsi", "minui", "muli", "ori", "select", "subi", "trunci", "xori",
    )
)  # fmt: skip

FIRST = "hal.first"
LAST = "hal.last"


@dataclass(frozen=True)
class PlanMemory:
    """Put transients into one arena by their lifetimes::

        %0 = "hal.transient"(%c4096) {writer = "device"} : (index) -> !hal.buffer
        %1 = "hal.transient"(%n) {writer = "device"} : (index) -> !hal.buffer

    becomes, at the beginning of the function and in place of the transients::

        %arena = "hal.arena"(%size) : (index) -> !hal.buffer
        %0 = "hal.subview"(%arena, %c0) {hal.first = 3, hal.last = 9, hal.size = 4096}
        %1 = "hal.subview"(%arena, %c4096) {...}

    Static buffers lie in front, those whose size follows from the function's arguments behind,
    at offsets computed when the function is called. What is returned, stored as state, passed
    on to the next iteration, or of a size that only data decide, becomes ``hal.alloc``.
    """

    name: str = "plan-memory"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Plan every host function of ``module``."""
        for op in list(module.body.operations):
            if isinstance(op, func.FuncOp) and hal.INPUTS in op.attributes:
                _plan(op)


@dataclass(frozen=True)
class _Planned:
    life: Lifetime
    size: Size


def _plan(function: func.FuncOp) -> None:
    block = function.regions[0].blocks[0]
    symbols = Symbols()
    static: list[_Planned] = []
    dynamic: list[_Planned] = []
    known = lifetimes(function)
    for op in _unused_transients(block, {life.op.operation for life in known}):
        op.erase()
    for life in known:
        size = symbols.value(life.op.size)
        if life.escapes or not all(_follows_from_arguments(k) for k in symbols.keys(size)):
            with ir.InsertionPoint(life.op), life.op.location:
                _replace(life.op, hal.AllocOp(life.op.size))
        elif size.number is None:
            dynamic.append(_Planned(life, size))
        else:
            static.append(_Planned(life, size))
    if not static and not dynamic:
        return
    with ir.InsertionPoint.at_block_begin(block), function.location:
        anchor = index_constant(0).owner.operation
    with ir.InsertionPoint(anchor), function.location:
        _place(static, dynamic, symbols, _Hoister(anchor).index)


def _place(
    static: Sequence[_Planned],
    dynamic: Sequence[_Planned],
    symbols: Symbols,
    leaf: Callable[[Hashable], ir.Value],
) -> None:
    offsets, total = best_fit(
        [Interval(p.life.first, p.life.last, p.size.number or 0) for p in static]
    )
    slots = colour(
        [Interval(p.life.first, p.life.last, _estimate(p.size, symbols)) for p in dynamic]
    )
    members: dict[int, list[Size]] = {}
    for planned, slot in zip(dynamic, slots, strict=True):
        members.setdefault(slot, []).append(planned.size)
    starts: dict[int, ir.Value] = {}
    start = fixed(total)
    for slot in range(len(members)):
        starts[slot] = symbols.emit(start, leaf)
        start = start + symbols.align(_largest(members[slot], symbols), ALIGNMENT)
    arena = hal.ArenaOp(symbols.emit(start, leaf)).result
    for planned, offset in zip(static, offsets, strict=True):
        _subview(planned, arena, index_constant(offset))
    for planned, slot in zip(dynamic, slots, strict=True):
        _subview(planned, arena, starts[slot])


def _largest(sizes: Sequence[Size], symbols: Symbols) -> Size:
    """Return the maximum of ``sizes``, leaving out those that another always exceeds."""
    kept: list[Size] = []
    for size in sizes:
        if not any(_at_least(other, size, symbols) for other in kept):
            kept = [other for other in kept if not _at_least(size, other, symbols)]
            kept.append(size)
    return reduce(symbols.maximum, kept)


def _at_least(left: Size, right: Size, symbols: Symbols) -> bool:
    """Whether ``left`` is never smaller than ``right``, because no dimension is negative."""
    difference = left - right
    return all(factor >= 0 for _, factor in difference.terms) and all(
        isinstance(key, ir.Value) and isinstance(key.owner, ir.Block)
        for key in map(symbols.key, difference.atoms)
    )


def _follows_from_arguments(key: Hashable) -> bool:
    """Whether a value can be computed when the function is entered."""
    assert isinstance(key, ir.Value)
    if isinstance(key.owner, ir.Block):
        return key.owner.owner.operation.name == "func.func"
    op = key.owner.operation
    return op.name in _MOVABLE and all(_follows_from_arguments(o) for o in op.operands)


@dataclass
class _Hoister:
    """Moves what computes sizes in front of ``anchor``, each operation once."""

    anchor: ir.Operation
    moved: set[ir.Value] = field(default_factory=set)

    def index(self, key: Hashable) -> ir.Value:
        """Return the value ``key`` as an ``index`` that is known at the anchor."""
        assert isinstance(key, ir.Value)
        self._move(key)
        return as_index(key)

    def _move(self, value: ir.Value) -> None:
        if isinstance(value.owner, ir.Block) or value in self.moved:
            return
        for operand in value.owner.operation.operands:
            self._move(operand)
        value.owner.operation.move_before(self.anchor)
        self.moved.add(value)


def _subview(planned: _Planned, arena: ir.Value, offset: ir.Value) -> None:
    op = planned.life.op
    with ir.InsertionPoint(op), op.location:
        view = hal.SubviewOp(arena, offset)
    number = ir.IntegerType.get_signless(64)
    view.operation.attributes[FIRST] = ir.IntegerAttr.get(number, planned.life.first)
    view.operation.attributes[LAST] = ir.IntegerAttr.get(number, planned.life.last)
    if planned.size.number is not None:
        view.operation.attributes["hal.size"] = ir.IntegerAttr.get(number, planned.size.number)
    _replace(op, view)


def _replace(op: ir.OpView, other: ir.OpView) -> None:
    op.result.replace_all_uses_with(other.result)
    op.operation.erase()


def _estimate(size: Size, symbols: Symbols) -> int:
    total = 0
    for monomial, factor in size.terms:
        product = factor
        for atom in monomial:
            key = symbols.key(atom)
            if isinstance(key, Operation):
                product *= symbols.fold(key, [_estimate(arg, symbols) for arg in key.args])
            else:
                product *= _TYPICAL_DIMENSION
        total += product
    return total


def _unused_transients(block: ir.Block, used: set[ir.Operation]) -> list[ir.Operation]:
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.operation.name == "hal.transient" and op.operation not in used:
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    block.owner.operation.walk(visit)
    return found
