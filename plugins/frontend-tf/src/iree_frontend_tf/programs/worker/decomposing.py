"""Replaces operations that have no lowering by functions of TensorFlow's own simpler ones.

A rule (``decompositions``) is a Python function of the operation's operands and attributes; it is
traced for their types, imported, and called in the operation's place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from . import signature
from .decompositions import RULES
from .gradients import with_known_axes

_LINE = re.compile(
    r'^(?P<before>\s*(?:%\w+(?:, %\w+)*(?::\d+)? = )?)"tf\.(?P<name>\w+)"\((?P<operands>[^)]*)\)'
    r"(?P<attributes>.*?) : \((?P<types>.*)\) -> (?P<results>\S.*)$"
)
_CONSTANT = re.compile(
    r'^\s*(%[\w]+) = "tf\.Const"\(\) <\{value = dense<(.*)> : tensor<([^>]*)>\}>'
)
_ATTRIBUTE = re.compile(r"(\w+) = (\"[^\"]*\"|\[[^\]]*\]|array<i64: [^>]*>|[^,\[\]\"{}<>]+)")
_TENSOR = re.compile(r"tensor<((?:[\d?*]+x)*)(.+)>$")
_SYMBOL = re.compile(r'@("[^"]*"|[\w.$]+)')
_ROUNDS = 4  # rules may use operations that have rules themselves
_IMPORT = "tf-standard-pipeline"
# As ``lowering`` does to the whole; a rule's function is one without calls.
_PASSES = (
    "tf-shape-inference,inline,symbol-dce,canonicalize,tf-functional-control-flow-to-regions,"
    "inline,symbol-dce,tf-shape-inference,canonicalize"
)
_TYPES = {name: dtype for dtype, name in signature._ELEMENTS.items()}


@dataclass(frozen=True)
class _Call:
    """An operation with a rule."""

    line: int
    match: re.Match
    constants: tuple[np.ndarray | None, ...]


def decompose(text: str) -> str:
    """Replace all operations that have rules."""
    names: dict[tuple, str] = {}
    known = with_known_axes(text)
    if known != text:
        text = tf.mlir.experimental.run_pass_pipeline(known, "tf-shape-inference,canonicalize")
    for _ in range(_ROUNDS):
        lines = text.splitlines()
        calls = _found(lines)
        if not calls:
            break
        functions: dict[str, str] = {}
        for call in calls:
            name = names.setdefault(_key(call), f"rule_{len(names)}")
            if name not in functions:
                functions[name] = _traced(call, name)
            lines[call.line] = _called(call, name)
        end = max(n for n, line in enumerate(lines) if line.startswith("}"))
        text = "\n".join([*lines[:end], *functions.values(), *lines[end:]])
        text = tf.mlir.experimental.run_pass_pipeline(text, "inline,symbol-dce,tf-shape-inference")
    return text


def _found(lines: Sequence[str]) -> list[_Call]:
    constants: dict[str, np.ndarray] = {}
    calls = []
    for number, line in enumerate(lines):
        constant = _CONSTANT.match(line)
        if constant is not None:
            array = _array(constant[2], constant[3])
            if array is not None:
                constants[constant[1]] = array
        match = _LINE.match(line)
        if match is None or match["name"] not in RULES:
            continue
        if not RULES[match["name"]].always and "?" not in match["types"] + match["results"]:
            continue
        operands = tuple(map(constants.get, _split(match["operands"])))
        if not RULES[match["name"]].unless(operands):
            calls.append(_Call(number, match, operands))
    return calls


def _array(text: str, kind: str) -> np.ndarray | None:
    """Return a constant that is written out; None for others, such as those in hexadecimal."""
    *sizes, element = kind.split("x")
    dtype = _TYPES.get(element)
    if dtype is None or (not dtype.is_integer and not dtype.is_floating and dtype != tf.bool):
        return None
    try:
        shape = [int(size) for size in sizes]
        plain = re.sub(r"\btrue\b", "1", re.sub(r"\bfalse\b", "0", text))
        value = ast.literal_eval(plain) if plain else []
        return np.broadcast_to(np.array(value, dtype.as_numpy_dtype), shape)
    except (SyntaxError, ValueError):
        return None


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in "<(":
            depth += 1
        elif character in ">)" and text[place - 1] != "-":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()] if text[start:].strip() else parts


def _key(call: _Call) -> tuple:
    match = call.match
    given = tuple(None if c is None else (c.shape, c.tobytes()) for c in call.constants)
    return match["name"], match["attributes"], match["types"], match["results"], given


def _spec(kind: str) -> tf.TensorSpec:
    match = _TENSOR.match(kind)
    assert match is not None, kind
    sizes = match[1].split("x")[:-1]
    shape = None if sizes == ["*"] else [None if size == "?" else int(size) for size in sizes]
    return tf.TensorSpec(shape, _TYPES[match[2]])


def _attributes(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in _ATTRIBUTE.findall(text):
        word = re.sub(r"^array<i64: (.*)>$", r"[\1]", value).strip()
        word = re.sub(r" : \w+", "", word)
        if word in ("true", "false"):
            found[name] = word == "true"
            continue
        try:
            found[name] = ast.literal_eval(word)
        except (SyntaxError, ValueError):
            found[name] = word
    return found


def _traced(call: _Call, name: str) -> str:
    """Return the text of a function ``name`` that does what the operation does."""
    match, rule = call.match, RULES[call.match["name"]]
    specs = [_spec(kind) for kind in _split(match["types"])]
    attributes = _attributes(match["attributes"])
    results = match["results"]
    attributes["results"] = [_spec(k) for k in _split(results.removeprefix("(").removesuffix(")"))]

    def function(*operands: Any) -> Any:
        values = [
            operand if constant is None else constant
            for operand, constant in zip(operands, call.constants, strict=True)
        ]
        return rule.function(*values, **attributes)

    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    module = tf.mlir.experimental.convert_function(concrete, _IMPORT)
    start = module.index("func.func @")
    main = _SYMBOL.search(module, start)
    assert main is not None
    module = _SYMBOL.sub(
        lambda m: f"@{name}" if m[1] == main[1] else f"@{name}_{m[1].strip(chr(34))}", module
    )
    module = module.replace("func.func private @", "func.func @")
    text = tf.mlir.experimental.run_pass_pipeline(
        re.sub(rf"func\.func @(?!{name}\()", "func.func private @", module), _PASSES
    )
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if f"@{name}(" in line)
    body = lines[first : max(n for n, line in enumerate(lines) if line.startswith("}"))]
    body[0] = re.sub(r"func\.func (private )?@", "func.func private @", body[0])
    body[0] = re.sub(r" attributes \{.*\} \{$", " {", body[0])
    return "\n".join(body)


def _called(call: _Call, name: str) -> str:
    match = call.match
    return (
        f'{match["before"]}"tf.PartitionedCall"({match["operands"]}) <{{config = "", '
        f'config_proto = "", executor_type = "", f = @{name}}}> : ({match["types"]}) -> '
        f"{match['results']}"
    )
