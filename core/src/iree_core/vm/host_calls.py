"""Calls from a program into Python: functions that whoever loads the module provides.

A signature is text, ``f32[2,?];i32[]->f32[4]``: operands, then results; a ``?`` is a size that
the call says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iree_core import dtypes
from iree_core.errors import InvocationError, UsageError

if TYPE_CHECKING:
    from iree_core.hal import Buffer
    from iree_core.vm.program import Program

# Takes an array per operand; returns None, an array, or a tuple with an array per result.
HostFunction = Callable[..., Any]


@dataclass(frozen=True)
class _Type:
    dtype: str
    shape: tuple[int | None, ...]

    def sized(self, sizes: Iterator[int]) -> tuple[int, ...]:
        return tuple(next(sizes) if dim is None else dim for dim in self.shape)


@dataclass(frozen=True)
class Signature:
    """Types of the operands and results of a host function."""

    operands: tuple[_Type, ...]
    results: tuple[_Type, ...]

    @property
    def types(self) -> tuple[_Type, ...]:
        """Operands, then results."""
        return (*self.operands, *self.results)

    @property
    def unknown(self) -> int:
        """How many sizes a call says."""
        return sum(dim is None for type_ in self.types for dim in type_.shape)


def parse_signature(text: str) -> Signature:
    """Return the signature written as ``text``.

    Raises:
        ValueError: it is none.
    """
    operands, arrow, results = text.partition("->")
    if not arrow:
        raise ValueError("it has no arrow")
    return Signature(_types(operands), _types(results))


def _types(text: str) -> tuple[_Type, ...]:
    return tuple(_type(part) for part in text.split(";") if part)


def _type(text: str) -> _Type:
    dtype, bracket, dims = text.partition("[")
    if not bracket or not dims.endswith("]") or not dtypes.is_known(dtype):
        raise ValueError(f"{text!r} is no type")
    shape = tuple(None if d == "?" else int(d) for d in dims[:-1].split(",") if d)
    if any(dim is not None and dim < 0 for dim in shape):
        raise ValueError(f"{text!r} has a negative dimension")
    return _Type(dtype, shape)


def called_names(program: Program) -> set[str]:
    """Return the names of the host functions that ``program`` calls."""
    return {
        str(instruction.args[0])
        for function in program.functions
        for instruction in function.instructions
        if instruction.op == "call_host"
    }


def require(program: Program, functions: Mapping[str, HostFunction]) -> None:
    """Check that every host function is there.

    Raises:
        UsageError: naming those that are not.
    """
    missing = sorted(called_names(program) - set(functions))
    if missing:
        raise UsageError(
            f"The module calls functions of Python that were not given: {', '.join(missing)}.",
            hint="Pass them as load(..., host_functions={name: function}).",
        )


class HostCalls:
    """The host functions of one loaded program."""

    def __init__(self, functions: Mapping[str, HostFunction]) -> None:
        self._functions = dict(functions)
        self._signatures: dict[str, Signature] = {}

    def call(
        self, name: str, signature: str, buffers: Sequence[Buffer], integers: Sequence[int]
    ) -> None:
        """Call ``name`` with copies of its operands and write its results; devices are idle.

        Args:
            name: of the function.
            signature: its types.
            buffers: in which operands and results lie.
            integers: a byte offset per buffer, then the sizes that the signature leaves open.

        Raises:
            InvocationError: it returned other types than declared.
            Exception: whatever it raises.
        """
        types = self._signatures.get(signature)
        if types is None:
            types = self._signatures[signature] = parse_signature(signature)
        sizes = iter(integers[len(buffers) :])
        shapes = [type_.sized(sizes) for type_ in types.types]
        count = len(types.operands)
        operands = [
            _read(buffer, offset, type_.dtype, shape)
            for buffer, offset, type_, shape in zip(
                buffers[:count], integers, types.operands, shapes, strict=False
            )
        ]
        found = self._functions[name](*operands)
        values = found if isinstance(found, tuple) else () if found is None else (found,)
        if len(values) != len(types.results):
            raise InvocationError(
                f"The host function {name!r} returned {len(values)} arrays instead of "
                f"{len(types.results)}."
            )
        for place, value in enumerate(values):
            array = np.asarray(value)
            expected = dtypes.to_numpy(types.results[place].dtype)
            shape = shapes[count + place]
            if array.dtype != expected or array.shape != shape:
                raise InvocationError(
                    f"The host function {name!r} returned {array.dtype}{list(array.shape)} as "
                    f"result {place} instead of {expected}{list(shape)}."
                )
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            buffers[count + place].write(integers[count + place], data)


def _read(buffer: Buffer, offset: int, dtype: str, shape: tuple[int, ...]) -> NDArray:
    nbytes = math.prod(shape) * dtypes.itemsize(dtype)
    return buffer.read(offset, nbytes).view(dtypes.to_numpy(dtype)).reshape(shape)
