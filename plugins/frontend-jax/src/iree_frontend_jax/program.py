"""What crosses from JAX to the compiler: StableHLO bytecode and the signature it has for users.

A program is stored as one line of JSON and the bytes of a StableHLO portable artifact. Nothing
here imports JAX or MLIR.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from iree_core.errors import ImportModelError

_HEAD = b'{"kind": "iree-jax-program"'


@dataclass(frozen=True)
class Value:
    """An argument or a result as the user knows it.

    Attributes:
        name: a path such as ``params['w']``; "" where unknown.
        dims: one entry per dimension, a number or an expression such as ``8*s``.
        dtype: element type by its MLIR name (``f32``, ``ui8``, ``complex<f32>``).
    """

    name: str
    dims: tuple[str, ...]
    dtype: str


@dataclass(frozen=True)
class Program:
    """A function of JAX, exported.

    Attributes:
        name: of the function.
        artifact: the StableHLO portable artifact; its function ``main`` takes the arguments in
            ``kept``, after the platform's number where there are several platforms.
        inputs, outputs: all arguments and results in order.
        kept: positions of the arguments that the computation needs.
        platforms: that the program was lowered for.
        callbacks: how many functions of Python it calls back; they are host functions.
    """

    name: str
    artifact: bytes
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    kept: tuple[int, ...]
    platforms: tuple[str, ...] = field(default=("cpu",))
    callbacks: int = 0

    def to_bytes(self) -> bytes:
        """Return the program as the content of a file."""
        fields = {
            "kind": "iree-jax-program",
            "name": self.name,
            "inputs": [asdict(value) for value in self.inputs],
            "outputs": [asdict(value) for value in self.outputs],
            "kept": list(self.kept),
            "platforms": list(self.platforms),
            "callbacks": self.callbacks,
        }
        return json.dumps(fields).encode() + b"\n" + self.artifact


def is_program(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` holds a program."""
    return head.startswith(_HEAD)


def from_bytes(data: bytes) -> Program:
    """Return the program that :meth:`Program.to_bytes` stored.

    Raises:
        ImportModelError: the content is damaged.
    """
    line, _, artifact = data.partition(b"\n")
    try:
        fields = json.loads(line)
        return Program(
            fields["name"],
            artifact,
            _values(fields["inputs"]),
            _values(fields["outputs"]),
            tuple(fields["kept"]),
            tuple(fields["platforms"]),
            fields["callbacks"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ImportModelError(f"The JAX program is damaged: {error}.") from error


def _values(entries: Sequence[dict]) -> tuple[Value, ...]:
    return tuple(Value(e["name"], tuple(e["dims"]), e["dtype"]) for e in entries)
