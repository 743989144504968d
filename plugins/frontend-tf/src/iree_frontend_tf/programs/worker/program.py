"""Writes a program: a module per function, one file of weights, and an index, ``program.json``.

First the modules are in the ``tf`` dialect (:func:`write_program`, where the model is), then in
StableHLO (:func:`lower_program`, in a process of its own).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from . import signature
from .constants import Imported, kind_of
from .importing import import_function, places
from .lowering import lower
from .sources import Function

KIND = "iree-tensorflow-program"
_ALIGNMENT = 64


def write_program(folder: Path, functions: Sequence[Function]) -> None:
    """Write traced functions and the variables they share; ``lower_program`` comes next.

    Raises:
        ExportError: a function has no numeric signature, or captures what is no variable.
    """
    variables = _Variables()
    entries = [_entry(folder, function, variables) for function in functions]
    with (folder / "weights.bin").open("wb") as file:
        stored = variables.write(file)
    _write(folder, {"variables": stored, "functions": entries}, lowered=False)


def lower_program(folder: Path) -> None:
    """Lower what :func:`write_program` wrote to StableHLO, in place.

    Raises:
        ExportError: a function cannot be lowered.
    """
    index = json.loads((folder / "program.json").read_text())
    for entry in index["functions"]:
        _lower_entry(folder, entry, index["variables"])
    _write(folder, index, lowered=True)


def _write(folder: Path, index: dict[str, Any], *, lowered: bool) -> None:
    (folder / "program.json").write_text(json.dumps({**index, "kind": KIND, "lowered": lowered}))


def _entry(folder: Path, function: Function, variables: _Variables) -> dict[str, Any]:
    concrete = function.concrete
    given = signature.arguments(concrete, function.batched)
    imported = import_function(concrete, function.name)
    (folder / f"{function.name}.mlir").write_text(imported.text)
    return {
        "name": function.name,
        "module": f"{function.name}.mlir",
        "arguments": [*given, *({"variable": n} for n in _numbers(imported, concrete, variables))],
        "results": [{"name": name} for name in signature.result_names(concrete)],
        "constants": [kind_of(array) for array in imported.constants],
        "batched": function.batched,
        "places": places(concrete),
    }


def _numbers(imported: Imported, concrete: Any, variables: _Variables) -> list[int]:
    names = {id(v.handle): getattr(v, "path", None) or v.name for v in concrete.graph.variables}
    captured = [*concrete.captured_inputs, *imported.constants]
    return [variables.number(c, names.get(id(c), "constant")) for c in captured]


def _lower_entry(folder: Path, entry: dict[str, Any], variables: list[dict[str, Any]]) -> None:
    path, results = folder / entry["module"], entry["results"]
    lowered = lower(
        path.read_text(), len(results), entry["constants"], entry["name"], entry["places"]
    )
    path.write_text(lowered.text)
    for result, shape in zip(results, lowered.shapes, strict=True):
        result["dims"] = signature.dims_of(result["name"], shape, entry["batched"])
    for argument in lowered.updates:
        number = entry["arguments"][argument]["variable"]
        variables[number]["mutable"] = True
        results.append({"variable": number})


class _Variables:
    """The variables and constants of all functions, each once."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._values: list[tuple[str, Any]] = []  # and keeps them alive, for their identity

    def number(self, captured: Any, name: str) -> int:
        """Return the number of a handle or tensor."""
        if id(captured) not in self._known:
            self._known[id(captured)] = len(self._values)
            self._values.append((self._key(name), captured))
        return self._known[id(captured)]

    def _key(self, name: str) -> str:
        plain = re.sub(r"[^\w.]", "_", name.partition(":")[0])
        taken = {key for key, _ in self._values}
        key, number = plain, 1
        while key in taken:
            key, number = f"{plain}_{number}", number + 1
        return key

    def write(self, file: BinaryIO) -> list[dict[str, Any]]:
        """Write all values, aligned, and return what the index says of them."""
        entries = []
        for key, captured in self._values:
            array = _value(captured)
            file.write(bytes(-file.tell() % _ALIGNMENT))
            entries.append(
                {
                    "key": key,
                    "shape": list(array.shape),
                    "dtype": signature.element(tf.as_dtype(array.dtype)),
                    "offset": file.tell(),
                    "mutable": False,
                }
            )
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return entries


def _value(captured: Any) -> np.ndarray:
    if isinstance(captured, np.ndarray):
        return captured
    if captured.dtype != tf.resource:
        return captured.numpy()
    held = captured._handle_data.shape_and_type[0]
    return tf.raw_ops.ReadVariableOp(resource=captured, dtype=tf.as_dtype(held.dtype)).numpy()
