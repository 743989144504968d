"""From traced functions to the ``tf`` dialect, with the values of what they capture.

The part of an export that needs the model itself; ``lowering`` does the rest on text alone.
"""

from __future__ import annotations

import re
from typing import Any

import tensorflow as tf

from . import constants, signature
from .errors import ExportError

_HEAD = re.compile(r'func\.func @("[^"]*"|[\w.$]+)\(')


def import_function(concrete: Any, name: str) -> constants.Imported:
    """Return a traced function as a module with a function ``main``.

    Raises:
        ExportError: it returns or captures what is no numeric tensor.
    """
    imported = constants.import_function(concrete)
    text = _with_typed_main(imported.text, concrete, name)
    return constants.Imported(text, imported.constants)


def places(concrete: Any) -> dict[str, list[str]]:
    """Return the names of the nodes of every kind of operation, for error messages."""
    found: dict[str, list[str]] = {}
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    for node in nodes:
        if node.op not in ("Const", "Placeholder", "Identity", "NoOp", "ReadVariableOp"):
            found.setdefault(node.op, []).append(node.name)
    return {operation: names[:3] for operation, names in found.items()}


def _with_typed_main(text: str, concrete: Any, name: str) -> str:
    """Add a function ``main`` whose arguments say what variables hold; it calls the imported one.

    The importer gives handles no types, and without these no shape is known.
    """
    head = _HEAD.search(text)
    assert head is not None
    kinds = [signature.mlir_type(t.shape, t.dtype) for t in signature.user_inputs(concrete)]
    kinds += [_captured_type(tensor, concrete, name) for tensor in concrete.captured_inputs]
    outputs = [signature.mlir_type(t.shape, t.dtype) for t in concrete.outputs]
    for number, kind in enumerate(outputs):
        if kind is None:
            dtype = concrete.outputs[number].dtype.name
            raise ExportError(
                "unsupported",
                f"Result {number} of {name!r} is of type {dtype}; results must be numeric tensors.",
            )
    given = ", ".join(f"%a{n}: {kind}" for n, kind in enumerate(kinds))
    operands = ", ".join(f"%a{n}" for n in range(len(kinds)))
    types = ", ".join(str(kind) for kind in outputs)
    names = ",".join(f"i{n}" for n in range(len(kinds)))
    shown = ",".join(f"o{n}" for n in range(len(outputs)))
    entry = f'tf.entry_function = {{control_outputs = "", inputs = "{names}", outputs = "{shown}"}}'
    bound = f"%r:{len(outputs)} = " if outputs else ""
    returned = ", ".join(f"%r#{n}" for n in range(len(outputs)))
    call = (
        f'{bound}"tf.StatefulPartitionedCall"({operands}) '
        f'<{{config = "", config_proto = "", executor_type = "", f = @{head[1]}}}> : '
        f"({', '.join(str(kind) for kind in kinds)}) -> ({types})"
    )
    wrapper = (
        f"  func.func @main({given}) -> ({types}) attributes {{{entry}}} {{\n    {call}\n"
        f"    return{f' {returned} : {types}' if outputs else ''}\n  }}\n"
    )
    text = text.replace(f"func.func @{head[1]}(", f"func.func private @{head[1]}(", 1)
    end = text.rindex("}")
    return text[:end] + wrapper + text[end:]


def _captured_type(tensor: Any, concrete: Any, name: str) -> str:
    if tensor.dtype == tf.resource:
        data = getattr(tensor, "_handle_data", None)
        if data is not None and data.is_set and len(data.shape_and_type) == 1:
            held = data.shape_and_type[0]
            kind = signature.mlir_type(tf.TensorShape(held.shape), tf.as_dtype(held.dtype))
            if kind is not None:
                return f"tensor<!tf_type.resource<{kind}>>"
    kind = signature.mlir_type(tensor.shape, tensor.dtype)
    if kind is None:
        raise ExportError(
            "unsupported",
            f"The function {name!r} uses an object that is neither a variable of numbers nor a "
            f"tensor of numbers ({tensor.dtype.name}), such as a lookup table or a data set.",
            hint="Take it out of the function and pass tensors of numbers.",
        )
    return kind
