"""The memory plan of a host program as text: what ``iree inspect`` shows of a call.

Reads the program alone, so it works on module files without the compiler. The bars show, for
each place in the arena, the commands of a call from left to right: ``#`` where a command reads or
writes the place, ``-`` where the place may hold a value in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from iree_core.vm.program import (
    OPCODES,
    Binding,
    CommandList,
    Copy,
    Dispatch,
    Fill,
    Function,
    Operand,
    Program,
)

_WIDTH = 64
_ROWS = 48


@dataclass
class Plan:
    """What one function does with memory.

    Attributes:
        name: of the function.
        arena: bytes of the arena; None if dimensions decide.
        allocations: bytes of each allocation besides; None where dimensions decide.
        lists: command lists that it executes, once each, in textual order.
        dispatches, copies, fills: commands in these lists.
        copied: bytes of the copies; None among them where dimensions decide.
        host_reads: scalars that the host waits for.
        touched: per place in the arena, the positions of the commands that use it.
        commands: how many commands there are.
    """

    name: str
    arena: int | None = 0
    allocations: list[int | None] = field(default_factory=list)
    lists: list[int] = field(default_factory=list)
    dispatches: int = 0
    copies: int = 0
    fills: int = 0
    copied: list[int | None] = field(default_factory=list)
    host_reads: int = 0
    touched: dict[Operand, list[int]] = field(default_factory=dict)
    commands: int = 0

    @property
    def peak(self) -> tuple[int, bool]:
        """Bytes a call needs beside inputs and constants, and whether dimensions add to it."""
        sizes = [self.arena, *self.allocations]
        return sum(size for size in sizes if size is not None), None in sizes


def plan_of(program: Program, function: Function) -> Plan:
    """Return the memory plan of ``function``; branches and loop bodies count once."""
    plan = Plan(function.name)
    constants = _constants(function)
    arenas: set[int] = set()
    for instruction in function.instructions:
        op, args = instruction.op, instruction.args
        if op == "arena":
            assert isinstance(args[0], int) and isinstance(args[1], int)
            arenas.add(args[0])
            plan.arena = constants.get(args[1])
        elif op == "alloc":
            assert isinstance(args[1], int)
            plan.allocations.append(constants.get(args[1]))
        elif op in ("load", "fload"):
            plan.host_reads += 1
        elif op == "execute":
            number, buffers, parameters = args
            assert isinstance(number, int)
            assert isinstance(buffers, tuple) and isinstance(parameters, tuple)
            plan.lists.append(number)
            slots = {slot for slot, register in enumerate(buffers) if register in arenas}
            _follow(plan, program.command_lists[number], slots, parameters)
    return plan


def _follow(
    plan: Plan, listed: CommandList, arena_slots: set[int], parameters: tuple[int, ...]
) -> None:
    for command in listed.commands:
        position = plan.commands
        plan.commands += 1
        if isinstance(command, Dispatch):
            plan.dispatches += 1
        elif isinstance(command, Copy):
            plan.copies += 1
            kind, length = command.length
            plan.copied.append(length if kind == "imm" else None)
        else:
            plan.fills += 1
        for binding in _bindings(command):
            if binding.slot in arena_slots:
                kind, value = binding.offset
                place = (kind, value if kind == "imm" else parameters[value])
                positions = plan.touched.setdefault(place, [])
                if position not in positions:
                    positions.append(position)


def _bindings(command: Dispatch | Copy | Fill) -> Iterator[Binding]:
    if isinstance(command, Dispatch):
        yield from command.bindings
    elif isinstance(command, Copy):
        yield command.source
        yield command.target
    else:
        yield command.target


def _constants(function: Function) -> dict[int, int]:
    """Return the integer registers that hold one number for the whole function."""
    written: dict[int, int] = {}
    values: dict[int, int] = {}
    for instruction in function.instructions:
        if OPCODES[instruction.op].startswith("I"):
            register = instruction.args[0]
            assert isinstance(register, int)
            written[register] = written.get(register, 0) + 1
            if instruction.op == "const":
                number = instruction.args[1]
                assert isinstance(number, int)
                values[register] = number
    return {register: n for register, n in values.items() if written[register] == 1}


def describe_plan(program: Program, function: Function) -> list[str]:
    """Return the plan of ``function`` as lines of text."""
    plan = plan_of(program, function)
    static, more = plan.peak
    copied = sum(size for size in plan.copied if size is not None)
    unknown = " and what depends on dimensions"
    return [
        f"{plan.name}: {plan.dispatches} dispatches, {plan.copies} copies "
        f"({_bytes(copied)}{unknown if None in plan.copied else ''}), {plan.fills} fills in "
        f"{len(plan.lists)} command lists; the host reads {plan.host_reads} scalars",
        f"  arena {'by dimensions' if plan.arena is None else _bytes(plan.arena)}, "
        f"{len(plan.allocations)} allocations besides; "
        f"peak {_bytes(static)}{unknown if more else ''}",
        *(f"  {line}" for line in lifetime_bars(plan)),
    ]


def lifetime_bars(plan: Plan, width: int = _WIDTH, rows: int = _ROWS) -> list[str]:
    """Return one line per place in the arena, the ones used most in front of the cut."""
    if not plan.touched:
        return []
    places = sorted(plan.touched, key=lambda p: (-len(plan.touched[p]), p))[:rows]
    lines = []
    for place in sorted(places, key=lambda p: (p[0] != "imm", p[1])):
        kind, value = place
        label = f"+{value}" if kind == "imm" else f"+[i{value}]"
        lines.append(f"{label:>12} |{_bar(plan.touched[place], plan.commands, width)}|")
    left = len(plan.touched) - len(places)
    if left:
        lines.append(f"{'':>12} and {left} places used less often")
    return lines


def _bar(positions: list[int], total: int, width: int) -> str:
    width = min(width, total)
    cells = [" "] * width
    columns = [position * width // total for position in positions]
    for column in range(min(columns), max(columns) + 1):
        cells[column] = "-"
    for column in columns:
        cells[column] = "#"
    return "".join(cells)


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"
