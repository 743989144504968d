"""From the ``tf`` dialect to StableHLO by TensorFlow's passes, with dynamic shapes.

Variables become arguments, and what they are assigned becomes results. This is the part of
TensorFlow's XLA bridge that does not need static shapes; it works on text that holds no weights.
The passes may end the process, so they run in one of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from . import constants, decomposing, tensor_lists
from .errors import ExportError

# Everything called only once is inlined; control flow stays functional until lists are gone.
_SHAPES = (
    "tf-strip-noinline-attribute,tf-shape-inference,inline,symbol-dce,"
    "func.func(tf-drop-while-shape-invariant),canonicalize,tf-shape-inference"
)
_RESOURCES = "tf-resource-op-lifting-for-main-function,tf-shape-inference"
_LISTS = (
    "tf-tensor-list-ops-decomposition,tf-stack-ops-decomposition,tf-tensor-array-ops-decomposition"
)
_PROMOTE = (
    "func.func(tf-device-decompose-resource-ops),tf-promote-resources-to-args{functions=main},"
    "symbol-dce,tf-functional-control-flow-to-regions,inline,symbol-dce,tf-shape-inference,"
    "canonicalize"
)
_LEGALIZE = (
    "xla-legalize-tf{legalize-chlo=false use-tf2xla-fallback=true device-type=XLA_CPU_JIT},"
    "symbol-dce,func.func(mhlo-flatten-tuple),canonicalize,symbol-dce,hlo-legalize-to-stablehlo"
)
_MAIN = re.compile(r"func\.func @main\((.*?)\)(?: -> (\([^)]*\)|[^ ]+))?(?: attributes \{.*)? \{$")
_RESULT = re.compile(r"tensor<((?:[\d?]+x)*)[\w<>!.]+>")
_TRUTHS = re.compile(r'^(\s*)(%\w+) = stablehlo\.constant dense<"0x(\w+)"> : tensor<([\dx]+)xi1>$')
_ALIAS = re.compile(r"%arg(\d+): [^{%]*\{[^}]*tf\.aliasing_output = (\d+)")


# Operations whose patterns want static shapes and fail, or end the process, without; they keep
# their meaning under a name that no pattern knows, and the compiler's side lowers them.
_DYNAMIC = (
    "AvgPool", "BatchMatMulV2", "BatchMatMulV3", "BatchToSpaceND", "Conv2D",
    "Conv2DBackpropInput", "DepthwiseConv2dNative", "ResizeBilinear", "ResizeNearestNeighbor",
    "SpaceToBatchND", "Split", "SplitV", "StridedSlice", "Unpack",
)  # fmt: skip
# What TensorFlow expands to calls of XLA's CPU libraries, or to tuples.
_EXPANDED = (
    "ApproxTopK", "Cholesky", "Eig", "LogMatrixDeterminant", "Lu", "MatrixDeterminant",
    "MatrixInverse", "MatrixSolve", "MatrixTriangularSolve", "Qr", "SelfAdjointEigV2", "Svd",
    "TridiagonalSolve", "Unique",
)  # fmt: skip
_SPATIAL = ("Conv2D", "DepthwiseConv2dNative")
_DYNAMIC_IMAGE = re.compile(r"tensor<[\d?]+x(?:\?|\d+x\?)")  # not only in the batch
_LINE = re.compile(r'"tf\.(\w+)"\(.* : \((.*)\) -> (.*)$')


@dataclass(frozen=True)
class Lowered:
    """A function as StableHLO.

    Attributes:
        text: the module; its function ``main`` takes the user's arguments, then what is captured.
        shapes: of the user's results, None where a size is dynamic.
        updates: for each further result, the argument it is the next value of.
    """

    text: str
    shapes: list[list[int | None]]
    updates: list[int]


def lower(
    text: str, outputs: int, kinds: Sequence[str], name: str, places: Mapping[str, list[str]]
) -> Lowered:
    """Lower an imported function.

    Args:
        text: the module, in the ``tf`` dialect.
        outputs: how many results users see.
        kinds: types of the constants that placeholders stand for.
        name, places: of the function, and of its operations, for error messages.

    Raises:
        ExportError: naming every operation that has no lowering, where it is.
    """
    try:
        text = run(text, _SHAPES)
        text = run(text, _RESOURCES)
        text = tensor_lists.replace_dynamic(text)
        text = run(text, "tf-shape-inference")
        text = run(text, _LISTS)
        text = run(text, _PROMOTE)
        text = decomposing.decompose(text)
        text = constants.to_arguments(text, kinds)
        text = "\n".join(map(_set_aside, text.splitlines()))
        text = "\n".join(map(_plain, run(text, _LEGALIZE).splitlines()))
    except ValueError as error:
        raise _explained(str(error), name, places) from error
    return _described(text, outputs, name, places)


def _set_aside(line: str) -> str:
    match = _LINE.search(line)
    if match is None:
        return line
    if match[1] in _EXPANDED:
        return _renamed(line, match[1])
    if match[1] not in _DYNAMIC or "?" not in match[2] + match[3]:
        return line
    if match[1] in _SPATIAL and not re.search(
        r"tensor<[\d?]+x\d*\?|tensor<[\d?]+x\d+x\?", match[2]
    ):
        return line  # only the batch is dynamic
    return _renamed(line, match[1])


def _renamed(line: str, name: str) -> str:
    return line.replace(f'"tf.{name}"', f'"tf.SetAside{name}"', 1)


def run(text: str, passes: str) -> str:
    """Run TensorFlow's MLIR passes on a module.

    Raises:
        ValueError: with the diagnostics, if one fails.
    """
    try:
        return tf.mlir.experimental.run_pass_pipeline(text, passes)
    except tf.errors.OpError as error:
        raise ValueError(error.message) from error


def _plain(line: str) -> str:
    """Write what versions of MLIR read differently in a way that all do.

    Properties of operations that are left become attributes; truth values, whose bytes may hold
    one or eight, become numbers.
    """
    truths = _TRUTHS.match(line)
    if truths is not None:
        indent, name, value, sizes = truths.groups()
        numbers = f"tensor<{sizes}xi8>"
        return (
            f'{indent}{name}_bytes = stablehlo.constant dense<"0x{_bytes(value, sizes)}"> : '
            f"{numbers}\n"
            f"{indent}{name} = stablehlo.convert {name}_bytes : "
            f"({numbers}) -> tensor<{sizes}xi1>"
        )
    if '"tf.' not in line:
        return line
    return line.replace("}> {", ", ", 1).replace("<{", "{", 1).replace("}>", "}", 1)


def _bytes(digits: str, sizes: str) -> str:
    """Return truth values in hexadecimal with a byte for each."""
    count = math.prod(map(int, sizes.split("x")))
    packed = np.frombuffer(bytes.fromhex(digits), np.uint8)
    if packed.size != count:
        packed = np.unpackbits(packed, count=count, bitorder="little")
    return packed.tobytes().hex().upper()


def _described(text: str, outputs: int, name: str, places: Mapping[str, list[str]]) -> Lowered:
    line = next(line for line in text.splitlines() if "func.func @main(" in line)
    match = _MAIN.search(line)
    assert match is not None, line
    if "tensor<*" in line:  # the shape of what an unknown operation returns is unknown, too
        left = " ".join(re.findall(r'"(tf\.\w+)"', text))
        raise _explained(f"cannot be legalized: {left}", name, places)
    types = _RESULT.findall(match[2] or "")
    shapes = [[None if d == "?" else int(d) for d in t.split("x")[:-1]] for t in types]
    aliases = {int(result): int(argument) for argument, result in _ALIAS.findall(line)}
    updates = [aliases[result] for result in range(outputs, len(types))]
    return Lowered(text, shapes[:outputs], updates)


_FAILED = re.compile(r"tf\.([A-Z]\w*)")


def _explained(message: str, name: str, places: Mapping[str, list[str]]) -> ExportError:
    """Return the error for a function that the passes refuse."""
    listed = message.partition("cannot be legalized:")[2] or message.partition("see current")[2]
    found = list(dict.fromkeys(n.removeprefix("SetAside") for n in _FAILED.findall(listed)))
    if "cannot be legalized:" not in message:
        found = found[:1]
    if not found:
        return ExportError("unsupported", f"TensorFlow cannot lower {name!r}: {_short(message)}")
    shown = "; ".join(f"{n} ({', '.join(places.get(n, ['made by TensorFlow']))})" for n in found)
    return ExportError(
        "unsupported",
        f"{len(found)} kind{'s' if len(found) > 1 else ''} of operations of {name!r} cannot be "
        f"compiled: {shown}.",
        hint="Static shapes (a tf.TensorSpec without None) have more lowerings."
        if "?" in message
        else None,
    )


def _short(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[0] if lines else "no reason given")[:300]
