"""Builds one function of the host program: registers, labels, pending commands.

Knows nothing of the IR. Integers that are known while compiling stay immediates until an
instruction needs them in a register; equal computations in one scope share a register.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from iree_core.expr import Expr
from iree_core.vm.program import (
    Binding,
    Command,
    CommandList,
    Copy,
    Dispatch,
    Fill,
    Instruction,
    Operand,
)


@dataclass(frozen=True)
class Imm:
    """An integer known while compiling."""

    number: int


@dataclass(frozen=True)
class Reg:
    """An integer register."""

    number: int


Int = Imm | Reg


@dataclass(frozen=True)
class FloatReg:
    """A float register."""

    number: int


@dataclass(frozen=True)
class View:
    """A buffer register and a byte offset.

    ``stable`` is true of inputs and constants, which no command writes.
    """

    register: int
    offset: Int
    stable: bool = False


@dataclass
class Label:
    """A place in the code that instructions jump to."""

    position: int = -1


@dataclass(frozen=True)
class PendingDispatch:
    """A dispatch that waits for its command list."""

    entry: int
    bindings: tuple[View, ...]
    scalars: tuple[Int, ...]
    grid: Int
    scratch: Int
    grain: int


@dataclass(frozen=True)
class PendingCopy:
    """A copy that waits for its command list."""

    source: View
    target: View
    length: Int


@dataclass(frozen=True)
class PendingFill:
    """A fill that waits for its command list."""

    target: View
    length: Int
    pattern: bytes


Pending = PendingDispatch | PendingCopy | PendingFill


@dataclass
class _CommandListBuilder:
    """Turns pending commands into a command list; equal operands share a slot or parameter."""

    slots: dict[int, int] = field(default_factory=dict)
    params: dict[int, int] = field(default_factory=dict)

    def operand(self, value: Int) -> Operand:
        if isinstance(value, Imm):
            return ("imm", value.number)
        return ("param", self.params.setdefault(value.number, len(self.params)))

    def binding(self, view: View) -> Binding:
        slot = self.slots.setdefault(view.register, len(self.slots))
        return Binding(slot, self.operand(view.offset))

    def command(self, pending: Pending) -> Command:
        if isinstance(pending, PendingDispatch):
            return Dispatch(
                pending.entry,
                tuple(self.binding(view) for view in pending.bindings),
                tuple(self.operand(value) for value in pending.scalars),
                self.operand(pending.grid),
                self.operand(pending.scratch),
                pending.grain,
            )
        if isinstance(pending, PendingCopy):
            return Copy(
                self.binding(pending.source),
                self.binding(pending.target),
                self.operand(pending.length),
            )
        return Fill(self.binding(pending.target), self.operand(pending.length), pending.pattern)


_Arg = int | float | str | Label | tuple[int, ...]

# Moves between registers, by bank.
_MOVES = {"i": "mov", "f": "fmov", "b": "bmov"}


class FunctionBuilder:
    """Collects the instructions of one function.

    Args:
        command_lists: the program's; new ones are appended.
        integers: how many integer registers hold something at entry.
        buffers: how many buffer registers hold something at entry.
    """

    def __init__(self, command_lists: list[CommandList], integers: int, buffers: int) -> None:
        self._command_lists = command_lists
        self._counts = {"i": integers, "f": 0, "b": buffers}
        self._code: list[tuple[str, tuple[_Arg, ...]]] = []
        self._prologue: list[Instruction] = []
        self._constants: dict[tuple[str, str], int] = {}
        self._scopes: list[dict[tuple[object, ...], Int]] = [{}]
        self._pending: list[Pending] = []

    # Registers and instructions.

    def register(self, bank: str) -> int:
        """Return a free register of bank ``i``, ``f`` or ``b``."""
        self._counts[bank] += 1
        return self._counts[bank] - 1

    def emit(self, op: str, *args: _Arg) -> None:
        """Append an instruction."""
        self._code.append((op, args))

    def integer(self, value: Int) -> int:
        """Return a register that holds ``value``."""
        if isinstance(value, Reg):
            return value.number
        return self._pooled("const", value.number, "i")

    def real(self, value: float) -> FloatReg:
        """Return a register that holds the constant ``value``."""
        return FloatReg(self._pooled("fconst", value, "f"))

    def constants(self) -> int:
        """Return a register that holds the module's read-only data."""
        return self._pooled("constants", None, "b")

    def _pooled(self, op: str, value: float | int | None, bank: str) -> int:
        key = (op, repr(value))
        if key not in self._constants:
            self._constants[key] = self.register(bank)
            args = () if value is None else (value,)
            self._prologue.append(Instruction(op, (self._constants[key], *args)))
        return self._constants[key]

    def compute(self, op: str, *operands: Int) -> Int:
        """Return the result of an integer instruction, folded or shared where possible."""
        folded = _fold(op, operands)
        if folded is not None:
            return folded
        key = (op, *operands)
        for scope in self._scopes:
            if key in scope:
                return scope[key]
        result = Reg(self.register("i"))
        self.emit(op, result.number, *(self.integer(o) for o in operands))
        self._scopes[-1][key] = result
        return result

    def wrap(self, value: Int, bits: int) -> Int:
        """Return ``value`` in two's complement of ``bits`` bits; one bit is 0 or 1."""
        if bits >= 64:
            return value
        if bits == 1:
            return self.compute("and", value, Imm(1))
        if isinstance(value, Imm):
            half = 1 << (bits - 1)
            return Imm(((value.number + half) & ((1 << bits) - 1)) - half)
        result = Reg(self.register("i"))
        self.emit("wrap", result.number, value.number, bits)
        return result

    def expression(self, expr: Expr, scalars: Sequence[Int]) -> Int:
        """Return the value that ``expr`` has for the scalar operands of a dispatch."""
        if expr.op == "const":
            return Imm(expr.value)
        if expr.op == "scalar":
            return scalars[expr.value]
        return self.compute(expr.op, *(self.expression(arg, scalars) for arg in expr.args))

    def subview(self, view: View, offset: Int) -> View:
        """Return ``view`` moved by ``offset`` bytes."""
        return View(view.register, self.compute("add", view.offset, offset), view.stable)

    # Device work.

    def enqueue(self, command: Pending) -> None:
        """Add a command to the list that the next flush executes."""
        self._pending.append(command)

    def flush(self) -> None:
        """Execute what is pending."""
        if not self._pending:
            return
        builder = _CommandListBuilder()
        commands = tuple(builder.command(pending) for pending in self._pending)
        self._pending.clear()
        number = len(self._command_lists)
        self._command_lists.append(CommandList(commands, len(builder.slots), len(builder.params)))
        self.emit("execute", number, tuple(builder.slots), tuple(builder.params))

    # Control flow.

    def place(self, label: Label) -> None:
        """Let ``label`` name what is emitted next; device work does not cross it."""
        self.flush()
        label.position = len(self._code)

    def jump(self, label: Label, condition: Int | None = None) -> None:
        """Jump to ``label``, only where ``condition`` is not zero if it is given."""
        self.flush()
        if condition is None:
            self.emit("br", label)
        else:
            self.emit("br_if", self.integer(condition), label)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Forget at the end what was computed inside: it may not have run."""
        self._scopes.append({})
        yield
        self._scopes.pop()

    def move(self, moves: Sequence[tuple[str, int, int]]) -> None:
        """Set registers at once: (bank, target, source) each, sources read before any write."""
        moves = [m for m in moves if m[1] != m[2]]
        targets = {(bank, target) for bank, target, _ in moves}
        saved: dict[tuple[str, int], int] = {}
        for bank, _, source in moves:
            if (bank, source) in targets and (bank, source) not in saved:
                saved[bank, source] = self.register(bank)
                self.emit(_MOVES[bank], saved[bank, source], source)
        for bank, target, source in moves:
            self.emit(_MOVES[bank], target, saved.get((bank, source), source))

    def finish(self) -> tuple[list[Instruction], tuple[int, int, int]]:
        """Return the instructions, labels resolved, and how many registers they use."""
        shift = len(self._prologue)
        instructions = list(self._prologue)
        for op, args in self._code:
            resolved = tuple(a.position + shift if isinstance(a, Label) else a for a in args)
            instructions.append(Instruction(op, resolved))
        return instructions, (self._counts["i"], self._counts["f"], self._counts["b"])


_PURE: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "eq": lambda a, b: int(a == b),
    "ne": lambda a, b: int(a != b),
    "lt": lambda a, b: int(a < b),
    "le": lambda a, b: int(a <= b),
    "gt": lambda a, b: int(a > b),
    "ge": lambda a, b: int(a >= b),
}
_QUOTIENTS: dict[str, Callable[[int, int], int]] = {
    "floordiv": lambda a, b: a // b,
    "ceildiv": lambda a, b: -(-a // b),
}
_NEUTRAL = {"add": 0, "mul": 1, "or": 0, "xor": 0}


def _fold(op: str, operands: Sequence[Int]) -> Int | None:
    if len(operands) != 2:
        return None
    left, right = operands
    if isinstance(left, Imm) and isinstance(right, Imm):
        if op in _PURE:
            number = _PURE[op](left.number, right.number)
        elif op in _QUOTIENTS and right.number:
            number = _QUOTIENTS[op](left.number, right.number)
        else:
            return None
        return Imm(number) if -(1 << 63) <= number < 1 << 63 else None
    if op in _NEUTRAL:
        if right == Imm(_NEUTRAL[op]):
            return left
        if left == Imm(_NEUTRAL[op]):
            return right
    if right in (Imm(0), Imm(1)) and (op, right) in (
        ("sub", Imm(0)), ("ceildiv", Imm(1)), ("floordiv", Imm(1))
    ):  # fmt: skip
        return left
    return None
