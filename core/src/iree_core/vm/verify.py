"""Checks a host program before anything of it runs.

A verified program reads only registers that were written, jumps only to instructions, calls,
executes and addresses only what exists, and always ends in a return. What depends on values
known at run time (offsets of loads, dimensions) is checked where it happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iree_core import dtypes
from iree_core.vm.bytecode import damaged, parse_kinds
from iree_core.vm.host_calls import parse_signature
from iree_core.vm.program import (
    OPCODES,
    Binding,
    Command,
    CommandList,
    Copy,
    Dispatch,
    Function,
    Instruction,
    Operand,
    Program,
)

INTEGER_TYPES = ("i1", "i4", "ui4", "i8", "ui8", "i16", "ui16", "i32", "ui32", "i64", "ui64")
FLOAT_TYPES = ("f16", "bf16", "f32", "f64")
MATH_FUNCTIONS = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf",
    "erfc", "exp", "exp2", "expm1", "floor", "log", "log10", "log1p", "log2", "neg", "round",
    "roundeven", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip
MOST_REGISTERS = 1 << 20
MOST_SLOTS = 1 << 14
_BANKS = {"i": 0, "f": 1, "b": 2}
_KINDS = {op: tuple(parse_kinds(op)) for op in OPCODES}


def dimension_names(function: Function) -> list[str]:
    """Return the dimension names of the inputs in order of first appearance."""
    names = dict.fromkeys(
        dim for type_ in function.inputs for dim in type_.shape if isinstance(dim, str)
    )
    return list(names)


def result_names(function: Function) -> list[str]:
    """Return the dimension names that occur in the outputs only, in order."""
    known = set(dimension_names(function))
    names = dict.fromkeys(
        dim for type_ in function.outputs for dim in type_.shape if isinstance(dim, str)
    )
    return [name for name in names if name not in known]


def verify(program: Program, *, entries: int, data_size: int) -> None:
    """Check ``program`` against an executable with ``entries`` entry points.

    ``data_size`` is the size of the read-only data.

    Raises:
        ModuleFileError: saying what is inconsistent.
    """
    for state in program.globals:
        if state.nbytes < 0 or (state.offset is not None and state.offset < 0):
            raise damaged(f"the global {state.name!r} has a negative size or offset")
        if state.offset is not None and state.offset + state.nbytes > data_size:
            raise damaged(f"the global {state.name!r} reaches past the end of the data")
    for number, commands in enumerate(program.command_lists):
        try:
            _verify_list(commands, entries)
        except _Wrong as wrong:
            raise damaged(f"command list {number}: {wrong}") from None
    names = [function.name for function in program.functions if function.public]
    if len(set(names)) != len(names):
        raise damaged("two public functions have the same name")
    interfaces = _interfaces(program)
    for function, interface in zip(program.functions, interfaces, strict=True):
        try:
            _Verifier(program, function, interfaces, interface, data_size).run()
        except _Wrong as wrong:
            raise damaged(f"function {function.name!r}: {wrong}") from None
    _verify_no_recursion(program)


class _Wrong(Exception):
    """What is wrong, without where."""


@dataclass(frozen=True)
class _Interface:
    """How many values go in and come out; None where no call says."""

    integers_in: int
    buffers_in: int
    integers_out: int | None
    buffers_out: int | None


def _verify_list(commands: CommandList, entries: int) -> None:
    if not (0 <= commands.slots <= MOST_SLOTS and 0 <= commands.params <= MOST_SLOTS):
        raise _Wrong("its numbers of buffers and parameters are out of range")
    for command in commands.commands:
        for operand in _operands(command):
            if operand[0] == "param" and not 0 <= operand[1] < commands.params:
                raise _Wrong(f"there is no parameter {operand[1]}")
        for binding in bindings_of(command):
            if not 0 <= binding.slot < commands.slots:
                raise _Wrong(f"there is no buffer {binding.slot}")
            if binding.offset[0] == "imm" and binding.offset[1] < 0:
                raise _Wrong("an offset is negative")
        if isinstance(command, Dispatch):
            if not 0 <= command.entry < entries:
                raise _Wrong(f"there is no entry point {command.entry}")
            if max(len(command.bindings), len(command.scalars)) > MOST_SLOTS:
                raise _Wrong("a dispatch has too many operands")
            if command.grid[0] == "imm" and command.grid[1] < 0:
                raise _Wrong("a grid is negative")
        else:
            if command.length[0] == "imm" and command.length[1] < 0:
                raise _Wrong("a length is negative")
            if not isinstance(command, Copy) and len(command.pattern) not in (1, 2, 4, 8):
                raise _Wrong(f"a fill pattern has {len(command.pattern)} bytes")


def bindings_of(command: Command) -> Sequence[Binding]:
    """Return the tensor operands of a command."""
    if isinstance(command, Dispatch):
        return command.bindings
    if isinstance(command, Copy):
        return (command.source, command.target)
    return (command.target,)


def _operands(command: Command) -> Iterator[Operand]:
    for binding in bindings_of(command):
        yield binding.offset
    if isinstance(command, Dispatch):
        yield from (*command.scalars, command.grid, command.scratch)
    else:
        yield command.length


def _interfaces(program: Program) -> list[_Interface]:
    """Return what every function takes and returns: declared if public, as called if private."""
    found: dict[int, _Interface] = {}
    for number, function in enumerate(program.functions):
        if function.public:
            outputs = len(function.outputs)
            found[number] = _Interface(
                len(dimension_names(function)),
                len(function.inputs),
                outputs + len(result_names(function)),
                outputs,
            )
    for function in program.functions:
        for instruction in function.instructions:
            if instruction.op != "call":
                continue
            callee, buffers, integers, buffers_out, integers_out = instruction.args
            shape = _Interface(*map(len, (integers, buffers, integers_out, buffers_out)))  # type: ignore[arg-type]
            if found.setdefault(callee, shape) != shape:  # type: ignore[arg-type]
                raise damaged(f"calls of function {callee} disagree with each other")
    return [
        found.get(number, _Interface(0, len(function.inputs), None, None))
        for number, function in enumerate(program.functions)
    ]


def _verify_no_recursion(program: Program) -> None:
    """Raise if functions call each other in a circle, which could exhaust the stack."""
    callees = [
        {i.args[0] for i in function.instructions if i.op == "call"}
        for function in program.functions
    ]
    finished: set[int] = set()
    while len(finished) < len(callees):
        ready = {n for n, called in enumerate(callees) if n not in finished and called <= finished}
        if not ready:
            raise damaged("its functions call each other in a circle")
        finished |= ready


class _Verifier:
    """Checks one function: first each instruction, then that what is read was written."""

    def __init__(
        self,
        program: Program,
        function: Function,
        interfaces: list[_Interface],
        interface: _Interface,
        data_size: int,
    ) -> None:
        self._program, self._function = program, function
        self._interfaces, self._interface = interfaces, interface
        self._data_size = data_size
        self._constants = _constant_registers(function, interface.buffers_in)

    def run(self) -> None:
        function = self._function
        if len(function.registers) != 3 or not all(
            0 <= count <= MOST_REGISTERS for count in function.registers
        ):
            raise _Wrong("its numbers of registers are out of range")
        taken = (self._interface.integers_in, 0, self._interface.buffers_in)
        if any(need > have for need, have in zip(taken, function.registers, strict=True)):
            raise _Wrong("it has fewer registers than arguments")
        for type_ in (*function.inputs, *function.outputs):
            if not dtypes.is_known(type_.dtype):
                raise _Wrong(f"there is no element type {type_.dtype!r}")
            if any(isinstance(dim, int) and dim < 0 for dim in type_.shape):
                raise _Wrong(f"{type_.name!r} has a negative dimension")
        if not function.instructions or function.instructions[-1].op not in ("return", "br"):
            raise _Wrong("it does not end with a return")
        for position, instruction in enumerate(function.instructions):
            try:
                self._verify(instruction)
            except _Wrong as wrong:
                raise _Wrong(f"instruction {position} ({instruction.op}): {wrong}") from None
        _verify_written(function, taken)

    def _verify(self, instruction: Instruction) -> None:
        if len(instruction.args) != len(_KINDS.get(instruction.op, ())):
            raise _Wrong("it has the wrong number of operands")
        for (kind, many), value in zip(_KINDS[instruction.op], instruction.args, strict=True):
            for item in value if many else (value,):  # type: ignore[union-attr]
                self._verify_operand(kind, item)
        check = getattr(self, f"_verify_{instruction.op}", None)
        if check is not None:
            check(*instruction.args)

    def _verify_operand(self, kind: str, value: object) -> None:
        if kind in "sx":
            if not isinstance(value, str if kind == "s" else float | int):
                raise _Wrong("an operand has the wrong kind")
        elif not isinstance(value, int):
            raise _Wrong("an operand is not a number")
        elif kind == "L" and not 0 <= value < len(self._function.instructions):
            raise _Wrong(f"there is no instruction {value}")
        elif kind.lower() in _BANKS and not (
            0 <= value < self._function.registers[_BANKS[kind.lower()]]
        ):
            raise _Wrong(f"there is no register {kind.lower()}{value}")

    def _verify_wrap(self, _result: int, _value: int, bits: int) -> None:
        if not 1 <= bits <= 64:
            raise _Wrong(f"there is no integer of {bits} bits")

    def _verify_fmath(self, _result: int, name: str, _value: int) -> None:
        if name not in MATH_FUNCTIONS:
            raise _Wrong(f"there is no function {name!r}")

    def _verify_load(self, _result: int, _buffer: int, _offset: int, dtype: str) -> None:
        if dtype not in INTEGER_TYPES:
            raise _Wrong(f"there is no integer type {dtype!r}")

    def _verify_store(self, _value: int, _buffer: int, _offset: int, dtype: str) -> None:
        self._verify_load(0, 0, 0, dtype)

    def _verify_fload(self, _result: int, _buffer: int, _offset: int, dtype: str) -> None:
        if dtype not in FLOAT_TYPES:
            raise _Wrong(f"there is no float type {dtype!r}")

    def _verify_fstore(self, _value: int, _buffer: int, _offset: int, dtype: str) -> None:
        self._verify_fload(0, 0, 0, dtype)

    def _verify_get_global(self, _result: int, number: int) -> None:
        if not 0 <= number < len(self._program.globals):
            raise _Wrong(f"there is no global {number}")

    def _verify_set_global(self, number: int, _buffer: int) -> None:
        self._verify_get_global(0, number)

    def _verify_execute(self, number: int, buffers: tuple, params: tuple) -> None:
        if not 0 <= number < len(self._program.command_lists):
            raise _Wrong(f"there is no command list {number}")
        commands = self._program.command_lists[number]
        if len(buffers) != commands.slots or len(params) != commands.params:
            raise _Wrong(f"command list {number} takes other numbers of operands")
        for command in commands.commands:
            for binding in bindings_of(command):
                kind, offset = binding.offset
                read_only = buffers[binding.slot] in self._constants
                if read_only and kind == "imm" and offset > self._data_size:
                    raise _Wrong("it reads past the end of the data")

    def _verify_call(self, number: int, *_values: tuple) -> None:
        if not 0 <= number < len(self._program.functions):
            raise _Wrong(f"there is no function {number}")

    def _verify_call_host(
        self, _name: str, signature: str, buffers: tuple, integers: tuple
    ) -> None:
        try:
            types = parse_signature(signature)
        except ValueError as error:
            raise _Wrong(f"{signature!r} is no signature: {error}") from None
        if len(buffers) != len(types.types) or len(integers) != len(buffers) + types.unknown:
            raise _Wrong("it has other numbers of operands than its signature")

    def _verify_return(self, buffers: tuple, integers: tuple) -> None:
        expected = (self._interface.buffers_out, self._interface.integers_out)
        found = (len(buffers), len(integers))
        if any(e not in (None, f) for e, f in zip(expected, found, strict=True)):
            raise _Wrong("it returns another number of values than declared")


def _constant_registers(function: Function, arguments: int) -> set[int]:
    """Return the buffer registers that only ever hold the read-only data."""
    constant: set[int] = set()
    other: set[int] = set(range(arguments))
    for instruction in function.instructions:
        for kind, values in _written(instruction):
            if kind == "B":
                (constant if instruction.op == "constants" else other).update(values)
    return constant - other


def _written(instruction: Instruction) -> Iterator[tuple[str, tuple[int, ...]]]:
    for (kind, many), value in zip(_KINDS.get(instruction.op, ()), instruction.args, strict=False):
        if kind in "IFB":
            yield kind, value if many else (value,)  # type: ignore[misc]


def _accesses(instruction: Instruction) -> tuple[list[int], list[int]]:
    """Return the registers read and written, as one number each over all three banks."""
    read: list[int] = []
    written: list[int] = []
    for (kind, many), value in zip(_KINDS[instruction.op], instruction.args, strict=True):
        if kind.lower() not in _BANKS:
            continue
        bank = _BANKS[kind.lower()]
        numbers = [3 * item + bank for item in (value if many else (value,))]  # type: ignore[union-attr,operator]
        (read if kind.islower() else written).extend(numbers)  # type: ignore[arg-type]
    return read, written


def block_starts(instructions: Sequence[Instruction]) -> list[int]:
    """Return the positions where basic blocks begin, in order."""
    starts = {0}
    for position, instruction in enumerate(instructions):
        if instruction.op in ("br", "br_if"):
            starts.add(instruction.args[-1])  # type: ignore[arg-type]
        if instruction.op in ("br", "br_if", "return") and position + 1 < len(instructions):
            starts.add(position + 1)
    return sorted(starts)


def _verify_written(function: Function, taken: tuple[int, int, int]) -> None:
    """Raise if a register may be read before it is written (forward data flow over blocks)."""
    instructions = function.instructions
    starts = block_starts(instructions)
    ends = [*starts[1:], len(instructions)]
    number = {start: block for block, start in enumerate(starts)}
    entry = frozenset(3 * n + bank for bank, count in enumerate(taken) for n in range(count))
    written: list[frozenset[int] | None] = [entry, *[None] * (len(starts) - 1)]
    pending = [0]
    while pending:
        block = pending.pop()
        known = set(written[block] or ())
        for position in range(starts[block], ends[block]):
            read, write = _accesses(instructions[position])
            missing = [register for register in read if register not in known]
            if missing:
                name = f"{'ifb'[missing[0] % 3]}{missing[0] // 3}"
                raise _Wrong(f"instruction {position} reads register {name} before it is written")
            known.update(write)
        last = instructions[ends[block] - 1]
        following = [] if last.op in ("br", "return") else [block + 1]
        if last.op in ("br", "br_if"):
            following.append(number[last.args[-1]])  # type: ignore[index]
        for target in following:
            before = written[target]
            after = frozenset(known) if before is None else before & known
            if after != before:
                written[target] = after
                pending.append(target)
