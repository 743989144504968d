"""The host program as bytes, and back.

Everything is a 64-bit little-endian word: numbers as they are, floats by their bits, strings by
their position in a table at the end. Decoding checks the form only (counts, kinds, positions);
what the program may refer to is checked by :mod:`iree_core.vm.verify`.
"""

from __future__ import annotations

import struct

from iree_core.errors import ModuleFileError
from iree_core.vm.program import (
    OPCODES,
    Binding,
    Command,
    CommandList,
    Copy,
    Dispatch,
    Fill,
    Function,
    Global,
    Instruction,
    Operand,
    Program,
    TensorType,
)

VERSION = 1
_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of words, number of strings
_MAGIC = b"IVMP"
_OPERATIONS = tuple(OPCODES)
_NUMBERS = {op: number for number, op in enumerate(_OPERATIONS)}
_DISPATCH, _COPY, _FILL = range(3)


def parse_kinds(op: str) -> list[tuple[str, bool]]:
    """Return the operand kinds of ``op`` and whether each is a tuple of them."""
    kinds, many = [], False
    for char in OPCODES[op]:
        if char == "*":
            many = True
            continue
        kinds.append((char, many))
        many = False
    return kinds


_KINDS = {op: tuple(parse_kinds(op)) for op in OPCODES}


def encode(program: Program) -> bytes:
    """Return ``program`` as bytes.

    Raises:
        ValueError: an unknown operation, or a number of more than 64 bits.
    """
    out = _Writer()
    out.word(len(program.functions))
    for function in program.functions:
        _put_function(out, function)
    out.word(len(program.command_lists))
    for commands in program.command_lists:
        out.words += [commands.slots, commands.params, len(commands.commands)]
        for command in commands.commands:
            _put_command(out, command)
    out.word(len(program.globals))
    for state in program.globals:
        offset = -1 if state.offset is None else state.offset
        out.words += [out.string(state.name), state.nbytes, offset]
    return out.finish()


def decode(data: bytes | memoryview) -> Program:
    """Invert :func:`encode`.

    Raises:
        ModuleFileError: the bytes are damaged or of another version.
    """
    reader = _Reader(data)
    try:
        program = Program(
            [_get_function(reader) for _ in range(reader.count())],
            [_get_list(reader) for _ in range(reader.count())],
            [_get_global(reader) for _ in range(reader.count())],
        )
    except (IndexError, struct.error):
        raise damaged("it ends in the middle of a function") from None
    if reader.position != len(reader.words):
        raise damaged("it goes on after its end")
    return program


def damaged(why: str) -> ModuleFileError:
    """Return the error for a program that is inconsistent."""
    return ModuleFileError(
        f"The module's host program is damaged: {why}.", hint="Compile the model again."
    )


class _Writer:
    def __init__(self) -> None:
        self.words: list[int] = []
        self._strings: dict[str, int] = {}

    def word(self, value: int) -> None:
        self.words.append(int(value))

    def string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def finish(self) -> bytes:
        try:
            words = struct.pack(f"<{len(self.words)}q", *self.words)
        except struct.error as error:
            raise ValueError(f"a number does not fit 64 bits: {error}") from error
        texts = [text.encode() for text in self._strings]
        lengths = struct.pack(f"<{len(texts)}I", *map(len, texts))
        header = _HEADER.pack(_MAGIC, VERSION, len(self.words), len(texts))
        return header + words + lengths + b"".join(texts)


def _put_function(out: _Writer, function: Function) -> None:
    out.words += [out.string(function.name), int(function.public), *function.registers]
    for types in (function.inputs, function.outputs):
        out.word(len(types))
        for type_ in types:
            _put_type(out, type_)
    out.word(len(function.instructions))
    for instruction in function.instructions:
        if instruction.op not in _NUMBERS:
            raise ValueError(f"unknown operation {instruction.op!r}")
        out.word(_NUMBERS[instruction.op])
        kinds = _KINDS[instruction.op]
        for (kind, many), value in zip(kinds, instruction.args, strict=True):
            if many:
                out.word(len(value))  # type: ignore[arg-type]
                out.words += [int(item) for item in value]  # type: ignore[union-attr]
            else:
                out.word(_word_of(out, kind, value))


def _word_of(out: _Writer, kind: str, value: object) -> int:
    if kind == "s":
        return out.string(str(value))
    if kind == "x":
        return struct.unpack("<q", struct.pack("<d", value))[0]
    return int(value)  # type: ignore[call-overload]


def _put_type(out: _Writer, type_: TensorType) -> None:
    out.words += [out.string(type_.dtype), out.string(type_.name), len(type_.shape)]
    for dim in type_.shape:
        named = isinstance(dim, str)
        out.words += [int(named), out.string(dim) if isinstance(dim, str) else int(dim)]


def _put_command(out: _Writer, command: Command) -> None:
    if isinstance(command, Dispatch):
        out.words += [_DISPATCH, command.entry, command.grain]
        out.words += [*_flat(command.grid), *_flat(command.scratch), len(command.bindings)]
        for binding in command.bindings:
            out.words += _flat_binding(binding)
        out.word(len(command.scalars))
        for scalar in command.scalars:
            out.words += _flat(scalar)
    elif isinstance(command, Copy):
        out.words += [_COPY, *_flat(command.length)]
        out.words += [*_flat_binding(command.source), *_flat_binding(command.target)]
    else:
        pattern = int.from_bytes(command.pattern.ljust(8, b"\0"), "little", signed=True)
        out.words += [_FILL, *_flat(command.length), len(command.pattern), pattern]
        out.words += _flat_binding(command.target)


def _flat(operand: Operand) -> tuple[int, int]:
    return (int(operand[0] == "param"), operand[1])


def _flat_binding(binding: Binding) -> tuple[int, int, int]:
    return (binding.slot, *_flat(binding.offset))


class _Reader:
    """Reads words in order; whatever is wrong becomes a ModuleFileError or an IndexError."""

    def __init__(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if len(view) < _HEADER.size:
            raise damaged("it is too short")
        magic, version, words, strings = _HEADER.unpack_from(view)
        if magic != _MAGIC:
            raise damaged("it does not begin like one")
        if version != VERSION:
            raise ModuleFileError(
                f"The module's host program has version {version}, this runtime reads {VERSION}.",
                hint="Compile the model again, or install the iree-core it was made with.",
            )
        texts_at = _HEADER.size + 8 * words + 4 * strings
        if texts_at > len(view):
            raise damaged("it is truncated")
        self.words = struct.unpack_from(f"<{words}q", view, _HEADER.size)
        lengths = struct.unpack_from(f"<{strings}I", view, _HEADER.size + 8 * words)
        if texts_at + sum(lengths) != len(view):
            raise damaged("its strings do not fill it")
        self._strings = []
        for length in lengths:
            try:
                self._strings.append(str(view[texts_at : texts_at + length], "utf-8"))
            except UnicodeDecodeError:
                raise damaged("a name is not text") from None
            texts_at += length
        self.position = 0

    def word(self) -> int:
        self.position += 1
        return self.words[self.position - 1]

    def count(self) -> int:
        """Read a number of things that take a word each at least."""
        count = self.word()
        if not 0 <= count <= len(self.words) - self.position:
            raise damaged(f"a count of {count} is more than it holds")
        return count

    def below(self, bound: int) -> int:
        value = self.word()
        if not 0 <= value < bound:
            raise damaged(f"{value} where a number below {bound} is expected")
        return value

    def string(self) -> str:
        return self._strings[self.below(len(self._strings))]

    def list(self) -> tuple[int, ...]:
        count = self.count()
        self.position += count
        return self.words[self.position - count : self.position]


def _get_function(reader: _Reader) -> Function:
    name, public = reader.string(), bool(reader.below(2))
    registers = (reader.word(), reader.word(), reader.word())
    inputs = tuple(_get_type(reader) for _ in range(reader.count()))
    outputs = tuple(_get_type(reader) for _ in range(reader.count()))
    instructions = [_get_instruction(reader) for _ in range(reader.count())]
    return Function(name, inputs, outputs, instructions, registers, public)


def _get_instruction(reader: _Reader) -> Instruction:
    op = _OPERATIONS[reader.below(len(_OPERATIONS))]
    args: list[int | float | str | tuple[int, ...]] = []
    for kind, many in _KINDS[op]:
        if many:
            args.append(reader.list())
        elif kind == "s":
            args.append(reader.string())
        elif kind == "x":
            args.append(struct.unpack("<d", struct.pack("<q", reader.word()))[0])
        else:
            args.append(reader.word())
    return Instruction(op, tuple(args))


def _get_type(reader: _Reader) -> TensorType:
    dtype, name = reader.string(), reader.string()
    dims: list[int | str] = []
    for _ in range(reader.count()):
        dims.append(reader.string() if reader.below(2) else reader.word())
    return TensorType(dtype, tuple(dims), name)


def _get_list(reader: _Reader) -> CommandList:
    slots, params = reader.word(), reader.word()
    commands = tuple(_get_command(reader) for _ in range(reader.count()))
    return CommandList(commands, slots, params)


def _get_command(reader: _Reader) -> Command:
    kind = reader.below(3)
    if kind == _DISPATCH:
        entry, grain = reader.word(), reader.word()
        grid, scratch = _get_operand(reader), _get_operand(reader)
        bindings = tuple(_get_binding(reader) for _ in range(reader.count()))
        scalars = tuple(_get_operand(reader) for _ in range(reader.count()))
        return Dispatch(entry, bindings, scalars, grid, scratch, grain)
    length = _get_operand(reader)
    if kind == _COPY:
        return Copy(_get_binding(reader), _get_binding(reader), length)
    size, pattern = reader.below(9), reader.word()
    return Fill(_get_binding(reader), length, pattern.to_bytes(8, "little", signed=True)[:size])


def _get_operand(reader: _Reader) -> Operand:
    return ("param" if reader.below(2) else "imm", reader.word())


def _get_binding(reader: _Reader) -> Binding:
    return Binding(reader.word(), _get_operand(reader))


def _get_global(reader: _Reader) -> Global:
    name, nbytes, offset = reader.string(), reader.word(), reader.word()
    return Global(name, nbytes, None if offset == -1 else offset)
