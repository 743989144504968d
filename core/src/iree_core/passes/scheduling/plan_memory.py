"""Pass: every transient gets its place, in the function's arena or in an allocation."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

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
    arguments = set(block.arguments)
    static: list[_Planned] = []
    dynamic: list[_Planned] = []
    known = lifetimes(function)
    for op in _unused_transients(block, {life.op.operation for life in known}):
        op.erase()
    for life in known:
        size = symbols.value(life.op.size)
        if life.escapes or not symbols.keys(size) <= arguments:
            with ir.InsertionPoint(life.op), life.op.location:
                _replace(life.op, hal.AllocOp(life.op.size))
        elif size.number is None:
            dynamic.append(_Planned(life, symbols.align(size, ALIGNMENT)))
        else:
            static.append(_Planned(life, size))
    if not static and not dynamic:
        return
    with ir.InsertionPoint.at_block_begin(block), function.location:
        _place(static, dynamic, symbols)


def _place(static: Sequence[_Planned], dynamic: Sequence[_Planned], symbols: Symbols) -> None:
    offsets, total = best_fit(
        [Interval(p.life.first, p.life.last, p.size.number or 0) for p in static]
    )
    slots = colour(
        [Interval(p.life.first, p.life.last, _estimate(p.size, symbols)) for p in dynamic]
    )
    largest: dict[int, Size] = {}
    for planned, slot in zip(dynamic, slots, strict=True):
        previous = largest.get(slot)
        largest[slot] = (
            planned.size if previous is None else symbols.maximum(previous, planned.size)
        )
    starts: dict[int, ir.Value] = {}
    start = fixed(total)
    for slot in range(len(largest)):
        starts[slot] = symbols.emit(start, _leaf)
        start = start + largest[slot]
    arena = hal.ArenaOp(symbols.emit(start, _leaf)).result
    for planned, offset in zip(static, offsets, strict=True):
        _subview(planned, arena, index_constant(offset))
    for planned, slot in zip(dynamic, slots, strict=True):
        _subview(planned, arena, starts[slot])


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


def _leaf(key: Hashable) -> ir.Value:
    assert isinstance(key, ir.Value), "sizes in the arena follow from the arguments"
    return as_index(key)


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
