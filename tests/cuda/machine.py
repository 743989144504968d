"""Executes PTX on the CPU, all threads of a grid side by side in numpy arrays.

It is the oracle for machines without a GPU: every instruction does what the PTX ISA says, an
access outside of an allocation or at an unaligned address is an error, and so is an instruction
it does not know. Threads that diverge run in the order of their program counters, which lets
them meet again where control flow joins. Source: NVIDIA, Parallel Thread Execution ISA 8.x.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.cuda import asynchronous, instructions, warpgroup

# Shared memory is where its 32-bit addresses are, as for instructions that take only these.
SHARED, LOCAL, PARAMETER, GLOBAL = 1 << 24, 1 << 40, 1 << 42, 1 << 44
_MOST_THREADS = 1 << 16
# What the threads of a warp, or of a group of four, do together, wherever they come from.
_TOGETHER = {"shfl": 32, "mma": 32, "ldmatrix": 32, "setmaxnreg": 32, "wgmma": 128}
# What threads wait for: their warp, their block, a phase of a barrier, their warp group.
_WARP, _BLOCK, _PHASE, _GROUP = 1, 2, 3, 4


class PtxError(Exception):
    """The program does something that a device would not survive, or that is not known here."""


class Memory:
    """Global memory: one array, in which allocations lie with gaps between them."""

    def __init__(self, nbytes: int = 1 << 22) -> None:
        self.bytes = np.zeros(nbytes, np.uint8)
        self.ends: dict[int, int] = {}
        self._next = 256

    def allocate(self, nbytes: int, alignment: int = 256) -> int:
        """Return the address of fresh memory, filled with a pattern."""
        start = -(-self._next // alignment) * alignment
        self._next = start + nbytes + 256
        while self._next > self.bytes.size:
            self.bytes = np.concatenate([self.bytes, np.zeros_like(self.bytes)])
        self.bytes[start : start + nbytes] = 0xCD
        self.ends[GLOBAL + start] = GLOBAL + start + nbytes
        return GLOBAL + start

    def free(self, address: int) -> None:
        """Forget an allocation; its memory is not used again."""
        del self.ends[address]

    def view(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Return a range of an allocation."""
        if nbytes:
            self.check(np.array([address], np.uint64), nbytes)
        start = address - GLOBAL
        return self.bytes[start : start + nbytes]

    def check(self, addresses: NDArray[np.uint64], size: int) -> None:
        """Raise PtxError if an access is not inside one allocation."""
        starts = np.array(sorted(self.ends), np.uint64)
        ends = np.array([self.ends[int(start)] for start in starts], np.uint64)
        found = np.searchsorted(starts, addresses, "right") - 1
        bad = found < 0
        bad |= addresses + np.uint64(size) > ends[np.maximum(found, 0)] if len(ends) else True
        if bad.any():
            raise PtxError(f"an access to 0x{int(addresses[bad][0]):x} outside of any allocation")


@dataclass
class Instruction:
    """One instruction: guard, opcode split at its dots, operands as text."""

    guard: tuple[str, bool] | None
    name: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]
    text: str


@dataclass
class Program:
    """One parsed kernel."""

    name: str
    parameters: list[tuple[str, int]]
    threads: int
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    widths: dict[str, str] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_bytes: int = 0
    dynamic: bool = False
    local: dict[str, int] = field(default_factory=dict)
    local_bytes: int = 0
    tables: dict[str, bytes] = field(default_factory=dict)


_ENTRY = re.compile(r"\.entry\s+([\w$.]+)\s*\((.*?)\)\s*(.*?)\{", re.S)
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+\d+\s+)?\.(?:u|b|s|f)(\d+)"
    r"(?:\s+\.ptr\b[^,]*?(?:\.align \d+)?)?\s+([\w$]+)(?:\[(\d+)\])?"
)
_VARIABLE = re.compile(
    r"(\.extern\s+)?\.(shared|local|global|const)\s+(?:\.align\s+(\d+)\s+)?\.([bufs]\d+)\s+"
    r"([\w$.]+)(?:\[(\d*)\])?\s*(?:=\s*\{?([^};]*)\}?)?;"
)
_GUARD = re.compile(r"@(!?)(%\w+)\s+")


def parse(text: str) -> Program:
    """Return the first kernel of a PTX module."""
    text = re.sub(r"//[^\n]*", "", text)
    match = _ENTRY.search(text)
    if match is None:
        raise PtxError("no entry point")
    name, parameters, directives = match.groups()
    threads = re.search(r"\.reqntid\s+(\d+)", directives)
    found = [
        (p, int(bits) // 8 * int(count or 1)) for bits, p, count in _PARAMETER.findall(parameters)
    ]
    program = Program(name, found, int(threads.group(1)) if threads else 0)
    _variables(program, text[: match.start()])
    depth, end = 1, match.end()
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    body = text[match.end() : end - 1]
    _variables(program, body)
    for statement in re.split(r";|(?<=:)\s*\n", body):
        _statement(program, statement.strip())
    return program


def _variables(program: Program, text: str) -> None:
    for extern, space, align, kind, name, count, values in _VARIABLE.findall(text):
        size = int(kind[1:]) // 8
        nbytes, alignment = size * int(count or 1), int(align or size)
        if extern:  # its size comes with the launch
            nbytes, program.dynamic = 0, True
        if space in ("shared", "local"):
            start = getattr(program, f"{space}_bytes")
            start = -(-start // alignment) * alignment
            getattr(program, space)[name] = start
            setattr(program, f"{space}_bytes", start + nbytes)
        else:
            numbers = [int(v, 0) for v in values.split(",") if v.strip()]
            data = b"".join((n & (1 << 8 * size) - 1).to_bytes(size, "little") for n in numbers)
            program.tables[name] = data.ljust(nbytes, b"\0")


def _statement(program: Program, text: str) -> None:
    while (label := re.match(r"([\w$]+):\s*", text)) is not None:
        program.labels[label.group(1)] = len(program.code)
        text = text[label.end() :]
    text = text.lstrip("{} \t\n")  # a block of its own
    if not text:
        return
    declared = re.match(r"\.reg\s+\.(\w+)\s+(%?\w+)(?:<\d+>)?$", text)
    if declared:
        program.widths[declared.group(2)] = declared.group(1)
        return
    if text.startswith("."):
        return
    guard = _GUARD.match(text)
    rest = text[guard.end() :] if guard else text
    opcode, _, operands = rest.partition("\t") if "\t" in rest else rest.partition(" ")
    name, *modifiers = opcode.strip().split(".")
    split = tuple(_split(operands))
    condition = (guard.group(2), guard.group(1) == "!") if guard else None
    program.code.append(Instruction(condition, name, tuple(modifiers), split, text))


def _split(operands: str) -> list[str]:
    """Split at the commas outside of brackets and braces."""
    parts, depth = [""], 0
    for character in operands:
        depth += (character in "[{") - (character in "]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


class Threads:
    """The threads of some blocks while they run.

    Attributes:
        active: numbers of the threads that execute the current instruction.
    """

    def __init__(
        self, program: Program, memory: Memory, arguments: Sequence[bytes], grid: int, first: int,
        blocks: int, tables: dict[str, int],
    ) -> None:  # fmt: skip
        self.program, self.memory, self.tables = program, memory, tables
        self.count = blocks * program.threads
        self.copies = asynchronous.Copies(self.count)
        self.barriers = asynchronous.Barriers()
        self.warpgroups = warpgroup.WarpGroups(self.count)
        self.shared_base, self.global_base = SHARED, GLOBAL
        thread = np.arange(self.count, dtype=np.uint32)
        self.block = (thread // program.threads).astype(np.int64)
        self.special = {
            "%tid.x": thread % np.uint32(program.threads),
            "%ctaid.x": thread // np.uint32(program.threads) + np.uint32(first),
            "%ntid.x": np.full(self.count, program.threads, np.uint32),
            "%nctaid.x": np.full(self.count, grid, np.uint32),
            "%laneid": thread % np.uint32(program.threads) % np.uint32(32),
        }
        zero = np.zeros(self.count, np.uint32)
        self.special |= {f"%{n}.{a}": zero for n in ("tid", "ctaid") for a in "yz"}
        self.parameters = {
            name: np.frombuffer(data[:size], np.uint8)
            for (name, size), data in zip(program.parameters, arguments, strict=True)
        }
        self.registers: dict[str, NDArray] = {}
        self.shared = np.full(blocks * program.shared_bytes + 8, 0xEE, np.uint8)
        self.local = np.full((self.count, program.local_bytes + 8 & ~7), 0xDD, np.uint8)
        self.counter = np.zeros(self.count, np.int64)
        self.waiting = np.zeros(self.count, np.int8)
        self.active = np.arange(self.count)

    def run(self) -> None:
        """Execute until every thread has returned."""
        code = self.program.code
        stops = set(self.program.labels.values())
        done = len(code)
        while True:
            running = (self.counter < done) & (self.waiting == 0)
            if not running.any():
                if not self.waiting.any():
                    if self.copies.bulk:
                        raise PtxError("a bulk copy that nobody waits for")
                    return
                self._release(done)
                continue
            at = int(self.counter[running].min())
            self.active = np.nonzero(running & (self.counter == at))[0]
            together = _TOGETHER.get(code[at].name)
            if together and not self._gather(done, together):
                continue
            while at < done:
                if not self._execute(code[at], at):
                    break
                at += 1
                if at in stops or (at < done and code[at].name in _TOGETHER):
                    self.counter[self.active] = at
                    break
            else:
                self.counter[self.active] = done

    def _gather(self, done: int, size: int) -> bool:
        """Keep as active the groups of which all living threads are here; the others wait."""
        if self.count % size:
            raise PtxError(f"a block that is no whole number of groups of {size}")
        alive = (self.counter < done).reshape(-1, size)
        here = np.zeros(self.count, bool)
        here[self.active] = True
        complete = (here.reshape(-1, size) | ~alive).all(1).repeat(size)
        self.waiting[here & ~complete] = _WARP if size == 32 else _GROUP
        self.active = np.nonzero(here & complete)[0]
        return bool(len(self.active))

    def _release(self, done: int) -> None:
        """Let threads go on: at a barrier that everyone is at, or a phase that is complete."""
        alive = self.counter < done
        number = np.arange(self.count)
        released = self._passed()
        kinds = [(_WARP, number // 32), (_BLOCK, self.block), (_GROUP, number // 128)]
        for kind, group in kinds:
            if not (self.waiting == kind).any():
                continue
            count = int(group[-1]) + 1
            at = np.where(alive, self.counter, -1)
            last = np.full(count, -1)
            np.maximum.at(last, group, at)
            here = ~alive | (self.waiting == kind) & (self.counter == last[group])
            all_here = np.ones(count, bool)
            np.logical_and.at(all_here, group, here)
            released |= alive & (self.waiting == kind) & all_here[group]
        if not released.any() and not asynchronous.deliver(self):
            raise PtxError("a barrier that not all threads reach")
        self.waiting[released] = 0

    def _passed(self) -> NDArray[np.bool_]:
        """Return which threads wait for a phase that is complete."""
        released = np.zeros(self.count, bool)
        waiting = np.nonzero(self.waiting == _PHASE)[0]
        for at in np.unique(self.counter[waiting]):
            self.active = waiting[self.counter[waiting] == at]
            op = self.program.code[at]
            passed = asynchronous.await_phase(self, op.modifiers, op.operands)
            released[self.active[passed]] = True
        return released

    def _await(self, op: Instruction, at: int) -> bool:
        """Keep as active the threads whose phase is complete; the others try again later."""
        if op.guard is not None:
            raise PtxError("a guarded wait is not known")
        passed = asynchronous.await_phase(self, op.modifiers, op.operands)
        late = self.active[~passed]
        self.counter[late], self.waiting[late] = at, _PHASE
        self.active = self.active[passed]
        self.set(op.operands[0], np.ones(len(self.active), bool))
        return bool(len(self.active))

    def _execute(self, op: Instruction, at: int) -> bool:
        """Execute one instruction; False where control does not go on to the next."""
        if op.name == "mbarrier" and op.modifiers[0] == "try_wait":
            return self._await(op, at)
        whole = self.active
        if op.guard is not None:
            flag = self.get(op.guard[0], "pred") ^ op.guard[1]
            self.active = whole[flag]
        if op.name in ("bra", "ret", "exit", "bar", "barrier"):
            self._control(op, at, whole)
            return False
        if len(self.active):
            run = instructions.TABLE.get(op.name)
            if run is None:
                raise PtxError(f"unknown instruction {op.text}")
            try:
                run(self, op.modifiers, op.operands)
            except Exception as error:
                raise PtxError(f"{op.text}: {error!r}") from error
        self.active = whole
        return True

    def _control(self, op: Instruction, at: int, whole: NDArray) -> None:
        self.counter[whole] = at + 1
        if op.name == "bra":
            self.counter[self.active] = self.program.labels[op.operands[0]]
        elif op.name in ("ret", "exit"):
            self.counter[self.active] = len(self.program.code)
        else:
            self.waiting[self.active] = _WARP if "warp" in op.modifiers else _BLOCK

    # Operands.

    def get(self, operand: str, kind: str) -> Any:
        """Return an operand as an array over the active threads, or a number, of type ``kind``."""
        dtype = instructions.dtype_of(kind)
        if operand in self.special:
            return self.special[operand][self.active].astype(np.uint32).view(dtype)
        if operand[0] == "%":
            value = self.registers.get(operand)
            if value is None:
                value = self._declare(operand)
            value = value[self.active]
            if value.dtype == dtype:
                return value
            if value.dtype.itemsize != np.dtype(dtype).itemsize:
                raw = instructions.unsigned(8 * np.dtype(dtype).itemsize)
                value = value.view(instructions.unsigned(8 * value.dtype.itemsize)).astype(raw)
            return value.view(dtype)
        return instructions.literal(operand, dtype, self._address)

    def _address(self, name: str) -> int:
        program = self.program
        if name in program.shared:
            return SHARED + program.shared[name]
        if name in program.local:
            return LOCAL + program.local[name]
        if name in self.parameters:
            return PARAMETER + [*self.parameters].index(name) * 4096
        return self.tables[name]

    def _declare(self, register: str) -> NDArray:
        kind = self.program.widths.get(re.sub(r"\d+$", "", register)) or self.program.widths.get(
            register
        )
        if kind is None:
            raise PtxError(f"undeclared register {register}")
        dtype = bool if kind == "pred" else instructions.unsigned(int(kind[1:]))
        self.registers[register] = np.zeros(self.count, dtype)
        return self.registers[register]

    def set(self, register: str, value: Any) -> None:
        """Write a register of the active threads; narrower values are extended by their sign."""
        if register[0] != "%":  # "_", or a name of a block that nobody reads
            return
        target = self.registers.get(register)
        if target is None:
            target = self._declare(register)
        value = np.asarray(value)
        if value.dtype != target.dtype and target.dtype != bool:
            if value.dtype.kind == "i":
                value = value.astype(f"i{target.dtype.itemsize}").view(target.dtype)
            elif value.dtype.kind in "ub":
                value = value.astype(target.dtype)
            else:
                value = value.view(instructions.unsigned(8 * value.dtype.itemsize))
                value = value.astype(target.dtype)
        target[self.active] = value

    def parameter_at(self, address: int) -> bytes:
        """Return the parameter at an address."""
        number, offset = divmod(address - PARAMETER, 4096)
        if offset or not 0 <= number < len(self.parameters):
            raise PtxError("an address that is no parameter's")
        return [*self.parameters.values()][number].tobytes()

    # Memory.

    def place(self, operand: str) -> tuple[str, int]:
        """Return register or name and offset of ``[%rd1+16]``."""
        inner = operand.strip("[]")
        name, _, offset = inner.partition("+")
        return name, int(offset or 0)

    def addresses(self, operand: str) -> NDArray[np.uint64]:
        """Return the addresses of a memory operand."""
        name, offset = self.place(operand)
        base = self.get(name, "u64")
        base = np.broadcast_to(np.asarray(base, np.uint64), self.active.shape)
        return base + np.uint64(offset & (1 << 64) - 1)

    def access(
        self, space: str, addresses: NDArray[np.uint64], size: int
    ) -> tuple[NDArray, NDArray]:
        """Return the array of a state space, as elements of ``size`` bytes, and positions in it.

        Raises:
            PtxError: an address is not aligned or not inside an allocation.
        """
        if (addresses % np.uint64(size)).any():
            raise PtxError(f"an access of {size} bytes to an address that is no multiple")
        if not space:
            space = "global"
            if len(addresses) and addresses[0] < GLOBAL:
                space = "local" if addresses[0] >= LOCAL else "shared"
        if space == "global":
            self.memory.check(addresses, size)
            flat, offset = self.memory.bytes, addresses - np.uint64(GLOBAL)
        elif space == "shared":
            offset = np.where(addresses >= SHARED, addresses - np.uint64(SHARED), addresses)
            self._inside(offset, size, self.program.shared_bytes)
            offset = offset + (self.block[self.active] * self.program.shared_bytes).astype(
                np.uint64
            )
            flat = self.shared
        else:
            offset = np.where(addresses >= LOCAL, addresses - np.uint64(LOCAL), addresses)
            self._inside(offset, size, self.program.local_bytes)
            offset = offset + (self.active * self.local.shape[1]).astype(np.uint64)
            flat = self.local.reshape(-1)
        kind = instructions.unsigned(8 * size)
        whole = flat[: flat.size // size * size].view(kind)
        return whole, (offset // np.uint64(size)).astype(np.int64)

    def _inside(self, offset: NDArray, size: int, limit: int) -> None:
        if (offset + np.uint64(size) > limit).any():
            raise PtxError("an access outside of shared or local memory")


def run(
    program: Program, memory: Memory, arguments: Sequence[bytes], grid: int, shared: int = 0
) -> None:
    """Run a kernel over ``grid`` blocks.

    Args:
        program: the kernel.
        memory: what pointers refer to.
        arguments: the bytes of every parameter.
        grid: how many blocks.
        shared: bytes of shared memory besides those that the program declares.

    Raises:
        PtxError: the program goes wrong.
    """
    if shared:
        if not program.dynamic:
            raise PtxError("a launch with shared memory that the kernel does not use")
        program = replace(program, shared_bytes=program.shared_bytes + shared)
    tables = {}
    for name, data in program.tables.items():
        tables[name] = memory.allocate(len(data))
        memory.view(tables[name], len(data))[:] = np.frombuffer(data, np.uint8)
    at_once = max(1, _MOST_THREADS // program.threads)
    for first in range(0, grid, at_once):
        blocks = min(at_once, grid - first)
        with np.errstate(all="ignore"):
            Threads(program, memory, arguments, grid, first, blocks, tables).run()
    for address in tables.values():
        memory.free(address)
