"""Keeps large constants of graphs out of the text that TensorFlow's MLIR tools work on.

They are replaced by placeholders before a function is imported; these become arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python import pywrap_mlir
from tensorflow.python.eager import context

from . import signature

_MIN_BYTES = 4096
_NUMBER = "_iree_constant"
_CLONE = "__with_placeholders"
_IMPORT = "tf-standard-pipeline"
_PLACEHOLDER = re.compile(
    r'"tf\.Placeholder"\(\) (?:<\{[^}]*\}> )?\{[^}]*_iree_constant = (\d+)[^}]*\} : \(\) -> (\S+)'
)
_MAIN = "func.func @main("


@dataclass(frozen=True)
class Imported:
    """A function in the ``tf`` dialect, and the constants its placeholders are numbered by."""

    text: str
    constants: list[np.ndarray]


def import_function(concrete: Any) -> Imported:
    """Import a traced function and all that it calls."""
    main = concrete.function_def
    library = {f.signature.name: f for f in concrete.graph.as_graph_def().library.function}
    if not any(_is_large(node) for f in [main, *library.values()] for node in f.node_def):
        return Imported(tf.mlir.experimental.convert_function(concrete, _IMPORT), [])
    found: list[np.ndarray] = []
    clones = [_clone(function, set(library), found) for function in [main, *library.values()]]
    with _registered(clones) as handle:
        text = str(clones[0]).encode()
        return Imported(pywrap_mlir.ImportFunction(handle, text, _IMPORT.encode(), False), found)


@contextmanager
def _registered(functions: Sequence[Any]) -> Iterator[Any]:
    """Let TensorFlow know some functions; yield the handle of its eager context."""
    eager = context.context()
    eager.ensure_initialized()
    for function in functions:
        eager.add_function_def(function)
    try:
        yield eager._handle
    finally:
        for function in functions:
            eager.remove_function(function.signature.name)


def _is_large(node: Any) -> bool:
    if node.op != "Const":
        return False
    value = node.attr["value"].tensor
    known = signature.element(tf.as_dtype(value.dtype)) is not None
    return known and value.ByteSize() >= _MIN_BYTES


def _clone(function: Any, library: set[str], found: list[np.ndarray]) -> Any:
    """Copy a function definition, its large constants left out and added to ``found``."""
    clone = type(function)()
    clone.signature.CopyFrom(function.signature)
    clone.signature.name = function.signature.name + _CLONE
    for name, value in function.attr.items():
        clone.attr[name].CopyFrom(value)
    for number, value in function.arg_attr.items():
        clone.arg_attr[number].CopyFrom(value)
    clone.ret.update(function.ret)
    clone.control_ret.update(function.control_ret)
    for node in function.node_def:
        copy = clone.node_def.add()
        if _is_large(node):
            value = tf.make_ndarray(node.attr["value"].tensor)
            copy.name, copy.op, copy.device = node.name, "Placeholder", node.device
            copy.input.extend(node.input)
            copy.attr["dtype"].CopyFrom(node.attr["dtype"])
            copy.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
            copy.attr[_NUMBER].i = len(found)
            found.append(value)
            continue
        copy.CopyFrom(node)
        for attribute in copy.attr.values():
            for called in [attribute.func, *attribute.list.func]:
                if called.name in library:
                    called.name += _CLONE
    return clone


def kind_of(array: np.ndarray) -> str:
    """Return the MLIR type of a constant."""
    kind = signature.mlir_type(tf.TensorShape(array.shape), tf.as_dtype(array.dtype))
    assert kind is not None
    return kind


def to_arguments(text: str, kinds: Sequence[str]) -> str:
    """Turn the placeholders of ``main`` into arguments of types ``kinds``, after the others."""
    if not kinds:
        return text

    def use(match: re.Match) -> str:
        number, kind = int(match[1]), match[2]
        return f'"tf.Identity"(%constant{number}) : ({kinds[number]}) -> {kind}'

    text = _PLACEHOLDER.sub(use, text)
    start = text.index(_MAIN) + len(_MAIN)
    end = _closing(text, start)
    added = ", ".join(f"%constant{n}: {kind}" for n, kind in enumerate(kinds))
    separator = ", " if text[start:end].strip() else ""
    return text[:end] + separator + added + text[end:]


def _closing(text: str, start: int) -> int:
    """Return where the parenthesis that was opened before ``start`` is closed."""
    depth, position, quoted = 1, start, False
    while True:
        character = text[position]
        if character == '"':
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth == 0:
                return position
        position += 1
