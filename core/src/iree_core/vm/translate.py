"""Turns verified functions of the host program into Python functions.

Each function becomes Python source, compiled once when it is first called: registers are local
variables, straight-line code is a sequence of statements, and branches select basic blocks in a
loop. The source holds numbers and generated names only, never text of the module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from iree_core.errors import InvocationError
from iree_core.vm import operations
from iree_core.vm.program import OPCODES, Function, Instruction
from iree_core.vm.verify import block_starts

# A translated function: buffers and integers in, buffers and integers out.
Translated = Callable[..., tuple[tuple, tuple]]

_EXPRESSIONS = {
    "mov": "{0}", "fmov": "{0}", "bmov": "{0}",
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}",
    "floordiv": "{0} // {1}", "ceildiv": "ceil_divide({0}, {1})", "mod": "{0} % {1}",
    "divs": "divide({0}, {1})", "rems": "remainder({0}, {1})",
    "min": "{0} if {0} < {1} else {1}", "max": "{0} if {0} > {1} else {1}",
    "and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}",
    "shl": "shift_left({0}, {1})", "shr": "shift_right({0}, {1})",
    **{
        op: f"1 if {{0}} {sign} {{1}} else 0"
        for op, sign in {
            "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
            "feq": "==", "flt": "<", "fle": "<=",
        }.items()
    },
    "select": "{1} if {0} else {2}", "fselect": "{1} if {0} else {2}",
    "wrap": "wrap({0}, {1})",
    "const": "{0}", "fconst": "{0}",
    "fadd": "{0} + {1}", "fsub": "{0} - {1}", "fmul": "{0} * {1}",
    "fdiv": "float_divide({0}, {1})", "fmin": "minimum({0}, {1})", "fmax": "maximum({0}, {1})",
    "fpow": "float_power({0}, {1})",
    "itof": "float({0})", "ftoi": "to_integer({0})", "fmath": "apply_math({0}, {1})",
    "alloc": "allocate({0})", "constants": "constants",
    "load": "load_integer({0}, {1}, {2})", "fload": "load_float({0}, {1}, {2})",
    "get_global": "state[{0}]",
}  # fmt: skip
_STATEMENTS = {
    "store": "write({1}, {2}, pack_integer({0}, {3}))",
    "fstore": "write({1}, {2}, pack_float({0}, {3}))",
    "set_global": "set_global({0}, {1})",
    "check": "check({0}, {1})",
}
# Operations that wait for the device, because the host looks at or changes its memory.
_SYNCHRONOUS = {"load", "fload", "store", "fstore", "call_host"}
_READING = {"load", "fload"}


def translate(
    function: Function, arguments: tuple[int, int], environment: dict[str, Any]
) -> Translated:
    """Return ``function`` as a Python function of its buffers, then its integers.

    Args:
        function: verified.
        arguments: how many integers and buffers it takes.
        environment: what the code calls: ``allocate``, ``constants``, ``state``,
            ``set_global``, ``write``, ``synchronize``, ``execute``, ``commands`` (command
            buffers), ``functions`` (callees), ``call_host``, ``take_arena`` and ``arenas``.

    Raises:
        InvocationError: (when called) a division by zero, a failed check.
    """
    text = _Emitter(function, arguments).emit()
    scope = {**_HELPERS, **environment}
    texts = [arg for i in function.instructions for arg in i.args if isinstance(arg, str)]
    scope["text"] = dict(enumerate(dict.fromkeys(texts)))
    exec(compile(text, f"<host program {function.name!r}>", "exec"), scope)
    return scope["function"]


def _division_by_zero() -> InvocationError:
    return InvocationError("The model divides an integer by zero while computing a shape.")


_HELPERS = {
    **{name: getattr(operations, name) for name in dir(operations) if not name.startswith("_")},
    "division_by_zero": _division_by_zero,
    "inf": math.inf,
    "nan": math.nan,
}


class _Emitter:
    """Writes the source of one function."""

    def __init__(self, function: Function, arguments: tuple[int, int]) -> None:
        self._function = function
        self._integers, self._buffers = arguments
        self._lines: list[str] = []
        self._depth = 1
        texts = (arg for i in function.instructions for arg in i.args if isinstance(arg, str))
        self._texts = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        self._has_arena = any(i.op == "arena" for i in function.instructions)

    def emit(self) -> str:
        """Return the source of a function named ``function``."""
        parameters = [f"b{n}" for n in range(self._buffers)]
        parameters += [f"i{n}" for n in range(self._integers)]
        self._lines.append(f"def function({', '.join(parameters)}):")
        if self._has_arena:
            self._line("arena = None")
        self._line("try:")
        self._depth += 1
        starts = block_starts(self._function.instructions)
        if len(starts) == 1:
            for instruction in self._function.instructions:
                self._instruction(instruction)
        else:
            self._blocks(starts)
        self._depth -= 1
        self._line("except ZeroDivisionError:")
        self._line("    raise division_by_zero() from None")
        return "\n".join(self._lines) + "\n"

    def _line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    def _blocks(self, starts: Sequence[int]) -> None:
        """Write a loop that runs one basic block per turn, found by halving."""
        instructions = self._function.instructions
        self._number = {start: block for block, start in enumerate(starts)}
        ends = [*starts[1:], len(instructions)]
        self._line("block = 0")
        self._line("while True:")
        self._depth += 1
        self._choose(list(zip(starts, ends, strict=True)), 0)
        self._depth -= 1

    def _choose(self, blocks: list[tuple[int, int]], first: int) -> None:
        if len(blocks) == 1:
            self._block(*blocks[0], first)
            return
        middle = len(blocks) // 2
        self._line(f"if block < {first + middle}:")
        self._depth += 1
        self._choose(blocks[:middle], first)
        self._depth -= 1
        self._line("else:")
        self._depth += 1
        self._choose(blocks[middle:], first + middle)
        self._depth -= 1

    def _block(self, start: int, end: int, number: int) -> None:
        for instruction in self._function.instructions[start:end]:
            if instruction.op == "br":
                self._line(f"block = {self._number[instruction.args[0]]}")  # type: ignore[index]
            elif instruction.op == "br_if":
                condition, target = instruction.args
                taken = self._number[target]  # type: ignore[index]
                self._line(f"block = {taken} if i{condition} else {number + 1}")
            else:
                self._instruction(instruction)
        if self._function.instructions[end - 1].op not in ("br", "br_if", "return"):
            self._line(f"block = {number + 1}")

    def _instruction(self, instruction: Instruction) -> None:
        op, args = instruction.op, instruction.args
        if op in _READING:
            self._line(f"if not b{args[1]}.read_only: synchronize()")
        elif op in _SYNCHRONOUS:
            self._line("synchronize()")
        if op in ("execute", "call", "call_host", "return", "arena"):
            getattr(self, f"_{op}")(*args)
        elif op in _STATEMENTS:
            self._line(_STATEMENTS[op].format(*self._read(op, args)))
        else:
            result, *values = self._read(op, args)
            self._line(f"{result} = {_EXPRESSIONS[op].format(*values)}")

    def _read(self, op: str, args: Sequence[Any]) -> list[str]:
        """Return each operand as Python source."""
        sources = []
        for kind, value in zip(OPCODES[op], args, strict=True):
            if kind == "s":
                sources.append(f"text[{self._texts[value]}]")
            elif kind == "x":
                sources.append(f"({float(value)!r})")
            else:
                sources.append(str(value) if kind == "n" else f"{kind.lower()}{value}")
        return sources

    def _execute(self, number: int, buffers: Sequence[int], params: Sequence[int]) -> None:
        self._line(f"execute(commands[{number}], {_tuple('b', buffers)}, {_tuple('i', params)})")

    def _call(
        self,
        number: int,
        buffers: Sequence[int],
        integers: Sequence[int],
        buffers_out: Sequence[int],
        integers_out: Sequence[int],
    ) -> None:
        arguments = [*(f"b{n}" for n in buffers), *(f"i{n}" for n in integers)]
        self._line(
            f"{_tuple('b', buffers_out)}, {_tuple('i', integers_out)} = "
            f"functions[{number}]({', '.join(arguments)})"
        )

    def _call_host(
        self, name: str, signature: str, buffers: Sequence[int], integers: Sequence[int]
    ) -> None:
        texts = f"text[{self._texts[name]}], text[{self._texts[signature]}]"
        self._line(f"call_host({texts}, {_tuple('b', buffers)}, {_tuple('i', integers)})")

    def _arena(self, result: int, size: int) -> None:
        self._line(f"if arena is None or arena.nbytes < i{size}:")
        self._line(f"    arena = take_arena(arenas, i{size})")
        self._line(f"b{result} = arena")

    def _return(self, buffers: Sequence[int], integers: Sequence[int]) -> None:
        if self._has_arena:
            # An arena that is returned belongs to the caller from now on.
            kept = "".join(f" and arena is not b{n}" for n in dict.fromkeys(buffers))
            self._line(f"if arena is not None{kept}:")
            self._line("    arenas.append(arena)")
        self._line(f"return {_tuple('b', buffers)}, {_tuple('i', integers)}")


def _tuple(bank: str, numbers: Sequence[int]) -> str:
    return "(" + "".join(f"{bank}{n}, " for n in numbers) + ")"
