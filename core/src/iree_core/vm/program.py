"""The host program of a module: what the compiler's last phase writes and the runtime runs.

A function is a list of instructions over three register files: integers (``i``), floats (``f``)
and buffers (``b``). Buffers are either planned (one transient arena per function, at offsets
fixed while compiling or computed from dimensions) or allocated (results, state, values whose
size changes from one loop iteration to the next).

Straight-line device work is a *command list*, recorded once when the module is loaded and
replayed by every call. Its operands are immediate numbers or positions in the parameter array
that the ``execute`` instruction fills from integer registers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# An operand of a command: ("imm", number) or ("param", position in the execute parameters).
Operand = tuple[Literal["imm", "param"], int]


@dataclass(frozen=True)
class Binding:
    """A tensor operand: ``slot`` of the command list's buffers, and a byte offset into it."""

    slot: int
    offset: Operand


@dataclass(frozen=True)
class Dispatch:
    """Run work items 0..``grid`` of executable entry ``entry``.

    ``scratch`` is how many bytes of private memory each thread needs, ``grain`` how many work
    items are worth waking another thread for.
    """

    entry: int
    bindings: tuple[Binding, ...]
    scalars: tuple[Operand, ...]
    grid: Operand
    scratch: Operand
    grain: int = 1


@dataclass(frozen=True)
class Copy:
    """Copy ``length`` bytes; the ranges do not overlap."""

    source: Binding
    target: Binding
    length: Operand


@dataclass(frozen=True)
class Fill:
    """Fill ``length`` bytes with a repeated pattern of 1, 2, 4 or 8 bytes."""

    target: Binding
    length: Operand
    pattern: bytes


Command = Dispatch | Copy | Fill


@dataclass(frozen=True)
class CommandList:
    """Commands in order; each sees what those before it wrote."""

    commands: tuple[Command, ...]
    slots: int
    params: int


@dataclass(frozen=True)
class TensorType:
    """Type of a public argument or result.

    A dimension is a number, or a name for a size known at run time; equal names within one
    function are equal sizes.
    """

    dtype: str  # "f32", "i64", "i1", "bf16", "ui8", "f8E4M3FN", "complex<f32>", ...
    shape: tuple[int | str, ...]
    name: str


@dataclass(frozen=True)
class Instruction:
    """``op`` with register numbers and immediates, as listed in :data:`OPCODES`."""

    op: str
    args: tuple[int | float | str | tuple[int, ...], ...]


# Operand kinds: i f b = registers read, I F B = registers written, n = integer immediate,
# x = float immediate, s = string immediate, * before a kind = a tuple of them, L = a label
# (an instruction index). Module files name an opcode by its position: new ones go to the end.
OPCODES: dict[str, str] = {
    # integers
    "const": "In",
    "add": "Iii",
    "sub": "Iii",
    "mul": "Iii",
    "floordiv": "Iii",
    "ceildiv": "Iii",
    "mod": "Iii",
    "divs": "Iii",
    "rems": "Iii",
    "min": "Iii",
    "max": "Iii",
    "and": "Iii",
    "or": "Iii",
    "xor": "Iii",
    "shl": "Iii",
    "shr": "Iii",
    "eq": "Iii",
    "ne": "Iii",
    "lt": "Iii",
    "le": "Iii",
    "gt": "Iii",
    "ge": "Iii",
    "select": "Iiii",
    "mov": "Ii",
    "wrap": "Iin",  # wrap to n-bit two's complement
    # floats
    "fconst": "Fx",
    "fadd": "Fff",
    "fsub": "Fff",
    "fmul": "Fff",
    "fdiv": "Fff",
    "fmov": "Ff",
    "fmin": "Fff",
    "fmax": "Fff",
    "feq": "Iff",
    "flt": "Iff",
    "fle": "Iff",
    "fselect": "Fiff",
    "itof": "Fi",
    "ftoi": "If",
    "fmath": "Fsf",  # s: math function name
    # buffers
    "arena": "Bi",  # the function's transient arena, at least i bytes
    "alloc": "Bi",  # a fresh buffer of i bytes, freed with its last reference
    "constants": "B",  # the module's read-only data
    "bmov": "Bb",
    "load": "Ibis",
    "fload": "Fbis",  # element of dtype s at byte offset i
    "store": "ibis",
    "fstore": "fbis",
    "execute": "n*b*i",  # command list n with these buffers and parameters
    "get_global": "Bn",
    "set_global": "nb",
    # control flow
    "br": "L",
    "br_if": "iL",  # jump to L, or to L where i is not zero
    "call": "n*b*i*B*I",  # function n: buffers and integers in, buffers and integers out
    "check": "is",  # raise InvocationError with message s where i is zero
    # s = dtype; a result tensor: buffer, byte offset register, dimension registers
    "return": "*b*i",
    # The function of Python called s, with the signature s (see vm/host_calls.py): buffers of
    # operands and results; their byte offsets, then the sizes that the signature leaves open.
    "call_host": "ss*b*i",
    "fpow": "Fff",
}


@dataclass
class Function:
    """One function of the host program.

    At entry, integer registers 0.. hold, in order, every dimension named in ``inputs`` on first
    appearance; buffer registers 0.. hold the input tensors. ``return`` lists one buffer and one
    byte offset per output followed by the values of dimension names that occur in ``outputs``
    only, in order of first appearance.
    """

    name: str
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    instructions: list[Instruction] = field(default_factory=list)
    registers: tuple[int, int, int] = (0, 0, 0)  # how many of i, f, b
    public: bool = True


@dataclass(frozen=True)
class Global:
    """State that survives calls: starts as constant data at ``offset``, or as zeros if None."""

    name: str
    nbytes: int
    offset: int | None


@dataclass
class Program:
    """Everything that runs: functions, command lists and state."""

    functions: list[Function] = field(default_factory=list)
    command_lists: list[CommandList] = field(default_factory=list)
    globals: list[Global] = field(default_factory=list)
