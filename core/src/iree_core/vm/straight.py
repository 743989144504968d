"""The short way to call a function: fixed shapes, no branches, host memory.

Such a function does the same device work at every call; only the addresses of its inputs and
results change. Its operands are therefore prepared once as C arrays, and a call fills in those
addresses. Whatever a function does not fit here runs as :mod:`iree_core.vm.translate` says.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from iree_core import dtypes
from iree_core.hal.host import (
    ALIGNMENT,
    HostBuffer,
    HostCommandBuffer,
    HostDevice,
    address_of,
    aligned_empty,
)
from iree_core.vm import arguments, operations
from iree_core.vm.instance import Instance
from iree_core.vm.program import Function, Instruction, TensorType

# From this size on, results start on a cache line; below, that costs more than it gains.
ALIGNED_FROM = 1 << 14

_INTEGER_OPERATIONS: dict[str, Callable[..., int]] = {
    "const": lambda value: value,
    "mov": lambda value: value,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "ceildiv": operations.ceil_divide,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
    "wrap": operations.wrap,
}


@dataclass(frozen=True)
class _Value:
    """What a buffer register holds: argument or allocation ``number``, or fixed memory."""

    kind: Literal["input", "alloc", "fixed"]
    number: int = 0
    buffer: HostBuffer | None = None


@dataclass
class _Plan:
    """The device work of a call."""

    executes: list[tuple[HostCommandBuffer, list[_Value], list[int]]]
    sizes: list[int]  # of the allocations
    arena: int
    results: list[tuple[_Value, int]]  # and byte offset


def straight_call(
    instance: Instance,
    number: int,
    convert: Sequence[Callable[[Any], NDArray]],
) -> Callable[..., Any] | None:
    """Return a Python function that calls function ``number`` with arrays, or None.

    Args:
        instance: the program.
        number: the function.
        convert: for each input, returns what the caller passed as a contiguous array of the
            right type and shape, or raises InvocationError.
    """
    function = instance.program.functions[number]
    types = (*function.inputs, *function.outputs)
    fixed = all(isinstance(dim, int) for type_ in types for dim in type_.shape)
    if not isinstance(instance.device, HostDevice) or not fixed:
        return None
    if instance.is_stateful(number) or not all(dtypes.is_native(t.dtype) for t in types):
        return None
    plan = _trace(function, instance)
    return None if plan is None else _emit(function, plan, convert)


def _trace(function: Function, instance: Instance) -> _Plan | None:
    """Follow the instructions with known numbers; None where one does not fit."""
    integers: dict[int, int] = {}
    buffers = {n: _Value("input", n) for n in range(len(function.inputs))}
    plan = _Plan([], [], -1, [])
    for instruction in function.instructions:
        op: str = instruction.op
        args: tuple[Any, ...] = instruction.args
        if op in _INTEGER_OPERATIONS:
            try:
                integers[args[0]] = _compute(instruction, integers)
            except ZeroDivisionError:
                return None
        elif op == "bmov":
            buffers[args[0]] = buffers[args[1]]
        elif op == "constants":
            assert isinstance(instance.constants, HostBuffer)
            buffers[args[0]] = _Value("fixed", 0, instance.constants)
        elif op in ("alloc", "arena"):
            if op == "alloc" or plan.arena < 0:
                plan.sizes.append(integers[args[1]])
            if op == "arena":
                if plan.arena < 0:
                    plan.arena = len(plan.sizes) - 1
                elif integers[args[1]] > plan.sizes[plan.arena]:
                    return None
            place = plan.arena if op == "arena" else len(plan.sizes) - 1
            buffers[args[0]] = _Value("alloc", place)
        elif op == "execute":
            commands = instance.commands[args[0]]
            assert isinstance(commands, HostCommandBuffer)
            values = [buffers[n] for n in args[1]]
            plan.executes.append((commands, values, [integers[n] for n in args[2]]))
        elif op == "return":
            results = zip(args[0], args[1], strict=True)
            plan.results = [(buffers[b], integers[i]) for b, i in results]
            return plan if _results_fit(function, plan) else None
        else:
            return None
    return None


def _compute(instruction: Instruction, integers: dict[int, int]) -> int:
    _, *args = instruction.args
    if instruction.op != "const":
        last = args[-1:] if instruction.op == "wrap" else []
        args = [integers[n] for n in args[: len(args) - len(last)]] + last  # type: ignore[index]
    return _INTEGER_OPERATIONS[instruction.op](*args)


def _results_fit(function: Function, plan: _Plan) -> bool:
    """Tell whether every result is a fresh allocation of its own that is large enough."""
    places = [value.number for value, _ in plan.results if value.kind == "alloc"]
    if len(places) != len(plan.results) or len(set(places)) != len(places):
        return False
    return plan.arena not in places and all(
        offset >= 0 and offset + _nbytes(type_) <= plan.sizes[value.number]
        for type_, (value, offset) in zip(function.outputs, plan.results, strict=True)
    )


def _nbytes(type_: TensorType) -> int:
    return math.prod(int(dim) for dim in type_.shape) * dtypes.itemsize(type_.dtype)


def _emit(
    function: Function, plan: _Plan, convert: Sequence[Callable[[Any], NDArray]]
) -> Callable[..., Any]:
    """Write the function as Python source and compile it; it uses generated names only."""
    missing = object()

    def bind(values: tuple, named: dict[str, Any]) -> tuple:
        return arguments.bind(function, [v for v in values if v is not missing], named)

    frames = _Frames(plan)
    scope: dict[str, Any] = {
        "missing": missing, "bind": bind, "ndarray": np.ndarray, "empty": np.empty,
        "address_of": address_of, "aligned": _aligned_result, "idle": frames.idle,
        "make_frame": frames.make,
    }  # fmt: skip
    lines = [
        *_bind_lines(len(function.inputs)),
        *_input_lines(function, convert, scope),
        *_result_lines(function, plan, scope),
        "try:",
        "    frame = idle.pop()",
        "except IndexError:",
        "    frame = make_frame()",
        *_execute_lines(plan, scope),
        "idle.append(frame)",
        f"return {', '.join(f'r{n}' for n in range(len(function.outputs)))}"
        if function.outputs
        else "return ()",
    ]
    # Positional only, so that keywords are the model's own names, whatever they are.
    parameters = [f"a{n}=missing" for n in range(len(function.inputs))]
    parameters += [*(["/"] if parameters else []), "*more", "**named"]
    text = "\n    ".join([f"def call({', '.join(parameters)}):", *lines])
    exec(compile(text + "\n", f"<call of {function.name!r}>", "exec"), scope)
    return scope["call"]


def _bind_lines(count: int) -> list[str]:
    """Bind in full only what is not simply the right number of positional arguments."""
    every = "".join(f"a{n}, " for n in range(count))
    unusual = " or ".join(["more", "named", *([f"a{count - 1} is missing"] if count else [])])
    target = f"({every}) = " if count else ""
    return [f"if {unusual}:", f"    {target}bind(({every}*more,), named)"]


def _input_lines(
    function: Function, convert: Sequence[Callable[[Any], NDArray]], scope: dict[str, Any]
) -> list[str]:
    """Check type, shape and layout; an array that differs is converted, or refused, slowly."""
    lines = []
    for n, type_ in enumerate(function.inputs):
        scope |= {f"convert{n}": convert[n], f"in_type{n}": dtypes.to_numpy(type_.dtype)}
        lines += [
            f"if type(a{n}) is not ndarray or a{n}.dtype is not in_type{n} "
            f"or a{n}.shape != {type_.shape!r} or not a{n}.flags.c_contiguous:",
            f"    a{n} = convert{n}(a{n})",
            f"q{n} = address_of(a{n})",
        ]
    return lines


def _result_lines(function: Function, plan: _Plan, scope: dict[str, Any]) -> list[str]:
    """Allocate the results."""
    lines = []
    for n, (type_, (value, offset)) in enumerate(zip(function.outputs, plan.results, strict=True)):
        scope[f"out_type{n}"] = dtypes.to_numpy(type_.dtype)
        size, nbytes = plan.sizes[value.number], _nbytes(type_)
        if size < ALIGNED_FROM and offset == 0 and size == nbytes:
            lines.append(f"r{n} = empty({type_.shape!r}, out_type{n})")
            lines.append(f"p{n} = address_of(r{n})")
        else:
            arguments_ = f"{size}, {offset}, {nbytes}, out_type{n}, {type_.shape!r}"
            lines.append(f"r{n}, p{n} = aligned({arguments_})")
    return lines


def _execute_lines(plan: _Plan, scope: dict[str, Any]) -> list[str]:
    """Fill in the addresses that differ from call to call and run the command lists."""
    results = {value.number: n for n, (value, _) in enumerate(plan.results)}
    lines = []
    for e, (commands, values, _) in enumerate(plan.executes):
        scope |= {f"run{e}": commands.function, f"list{e}": commands.handle}
        scope[f"check{e}"] = commands.check
        lines.append(f"buffers, params = frame[{e}]")
        for slot, value in enumerate(values):
            if value.kind == "input":
                lines.append(f"buffers[{slot}] = q{value.number}")
            elif value.kind == "alloc" and value.number in results:
                lines.append(f"buffers[{slot}] = p{results[value.number]}")
        lines += [
            f"status = run{e}(list{e}, buffers, params)",
            "if status:",
            f"    check{e}(status)",
        ]
    return lines


class _Frames:
    """The operands that calls in progress use; idle ones are used again."""

    def __init__(self, plan: _Plan) -> None:
        self.idle: list[list[tuple[Any, Any]]] = []
        self._plan = plan
        self._results = {value.number for value, _ in plan.results}

    def make(self) -> list[tuple[Any, Any]]:
        """Return the C arrays of each execution, filled in as far as calls do not differ."""
        memory = {
            number: HostBuffer(aligned_empty(size), exclusive=False)
            for number, size in enumerate(self._plan.sizes)
            if number not in self._results
        }
        frame = []
        for _, values, params in self._plan.executes:
            addresses = (ctypes.c_void_p * len(values))()
            for slot, value in enumerate(values):
                buffer = memory.get(value.number) if value.kind == "alloc" else value.buffer
                if buffer is not None:
                    addresses[slot] = buffer.address
            numbers = (ctypes.c_int64 * len(params))(*params)
            addresses.memory = memory  # type: ignore[attr-defined]  # lives with the addresses
            frame.append((addresses, numbers))
        return frame


def _aligned_result(
    size: int, offset: int, nbytes: int, dtype: np.dtype, shape: tuple[int, ...]
) -> tuple[NDArray, int]:
    """Return a result inside of an aligned allocation, and the allocation's address."""
    memory = aligned_empty(size)
    address = address_of(memory)
    assert address % ALIGNMENT == 0
    return memory[offset : offset + nbytes].view(dtype).reshape(shape), address
