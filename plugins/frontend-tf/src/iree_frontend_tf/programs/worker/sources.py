"""From models of all kinds to concrete functions, with the names that users know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from .errors import ExportError

_DEFAULT = "serving_default"


@dataclass(frozen=True)
class Function:
    """A function to export.

    Attributes:
        name: of the public function it becomes.
        concrete: the traced function.
        batched: the first dimension of all inputs and results is one batch (Keras models).
        owner: what has to live as long, because functions hold their variables weakly.
    """

    name: str
    concrete: Any
    batched: bool = False
    owner: Any = None


def load(path: Path) -> list[Function]:
    """Return the functions of a SavedModel folder or a ``.keras`` file.

    Raises:
        ExportError: TensorFlow or Keras cannot load it, or it has no functions.
    """
    if path.is_dir():
        return _from_saved_model(path)
    import keras

    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever a layer's constructor raises
        raise ExportError(
            "model",
            f"Keras cannot load {path.name}: {_first_line(error)}",
            hint="Layers of your own are not in the file: load the model in Python and use "
            "iree_frontend_tf.export(model).",
        ) from error
    return [from_keras(model)]


def _from_saved_model(path: Path) -> list[Function]:
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    try:
        graphs = parse_saved_model(str(path)).meta_graphs
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # any of TensorFlow's errors means the same here
        raise ExportError(
            "model", f"TensorFlow cannot load {path.name}: {_first_line(error)}"
        ) from error
    signatures = getattr(loaded, "signatures", {})
    wrapped = _wrapped(graphs[0]) if graphs else {}
    functions: list[Function] = []
    known: set[str] = set()
    for name, value in sorted(signatures.items(), key=lambda pair: pair[0] != _DEFAULT):
        inner = wrapped.get(name, set())
        if not inner or not inner <= known:  # Keras gives its one function two names
            functions += _from_function(name, value)
        known |= inner
    for name in _own_functions(graphs[0], known) if graphs else ():
        functions += _from_function(name, getattr(loaded, name))
    return [replace(f, owner=loaded) for f in _some(functions, path.name)]


def _wrapped(graph: Any) -> dict[str, set[str]]:
    """Return the names of the traces that each signature calls."""
    nodes = graph.object_graph_def.nodes
    library = {f.signature.name: f for f in graph.graph_def.library.function}
    found: dict[str, set[str]] = {}
    for child in nodes[0].children if nodes else ():
        for entry in nodes[child.node_id].children if child.local_name == "signatures" else ():
            name = nodes[entry.node_id].bare_concrete_function.concrete_function_name
            calls = library[name].node_def if name in library else ()
            found[entry.local_name] = {n.attr["f"].func.name for n in calls if "f" in n.attr}
    return found


def _own_functions(graph: Any, wrapped: set[str]) -> list[str]:
    """Return the names of the root object's functions that no signature stands for."""
    nodes = graph.object_graph_def.nodes
    return [
        child.local_name
        for child in (nodes[0].children if nodes else ())
        if nodes[child.node_id].WhichOneof("kind") == "function"
        and not wrapped & set(nodes[child.node_id].function.concrete_functions)
    ]


def from_object(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Function]:
    """Return the functions of an object of the user's program.

    Args:
        model: a Keras model, ``tf.function``, concrete function, ``tf.Module``, any callable of
            tensors, or a mapping of names to functions.
        args, kwargs: tensors or ``tf.TensorSpec`` to trace a function for.

    Raises:
        ExportError: it has no function with a known signature.
        Exception: whatever tracing the user's function raises.
    """
    if isinstance(model, Mapping):
        found = [f for name, value in model.items() for f in _from_function(name, value)]
        return _some(found, "the mapping")
    if isinstance(model, tf.types.experimental.ConcreteFunction):
        return [Function("main", model)]
    if args or kwargs:
        if not isinstance(model, tf.types.experimental.PolymorphicFunction):
            model = tf.function(model)
        specs, named = tf.nest.map_structure(_spec, (tuple(args), dict(kwargs)))
        return [Function("main", model.get_concrete_function(*specs, **named))]
    if _is_keras(model):
        return [from_keras(model)]
    if isinstance(model, tf.types.experimental.PolymorphicFunction):
        return _some(_from_function("main", model), getattr(model, "__name__", "the function"))
    names = [n for n in dir(type(model)) if not n.startswith("__") or n == "__call__"]
    names += [n for n in vars(model) if n not in names]
    found = []
    for name in names:
        value = getattr(model, name, None)
        if isinstance(value, tf.types.experimental.PolymorphicFunction):
            found += _from_function(name, value)
    return _some(found, type(model).__name__)


def from_keras(model: Any) -> Function:
    """Return the inference function of a Keras model, for any batch size.

    Raises:
        ExportError: the model was never built, so its input shapes are unknown.
    """
    from keras.src.export.export_utils import get_input_signature

    try:
        signature = get_input_signature(model)
    except Exception as error:  # Keras has several for this
        raise ExportError(
            "model",
            f"The input shapes of the Keras model {model.name!r} are not known: "
            f"{_first_line(error)}",
            hint="Call the model once, or give tensors or tf.TensorSpec to export().",
        ) from error
    if not isinstance(signature, list | tuple) or len(signature) != 1:
        signature = [signature]
    specs = tf.nest.map_structure(_spec, signature[0])

    @tf.function
    def main(inputs: Any) -> Any:
        return model(inputs, training=False)

    return Function("main", main.get_concrete_function(specs), batched=True, owner=model)


def _from_function(name: str, function: Any) -> list[Function]:
    """Return the traces of a function; several get numbers."""
    if isinstance(function, tf.types.experimental.ConcreteFunction):
        return [Function(_symbol(name), function)]
    if hasattr(function, "concrete_functions"):  # restored from a SavedModel
        traces = list(function.concrete_functions)
    elif getattr(function, "input_signature", None) is not None:
        traces = [function.get_concrete_function()]
    else:
        traces = list(function._list_all_concrete_functions())
    symbol = _symbol(name)
    return [Function(f"{symbol}_{n}" if n else symbol, trace) for n, trace in enumerate(traces)]


def _some(functions: list[Function], name: str) -> list[Function]:
    if not functions:
        raise ExportError(
            "model",
            f"{name} has no function with a known signature.",
            hint="Give its tf.function an input_signature, call it once, or give tensors or "
            "tf.TensorSpec to export().",
        )
    return functions


def _is_keras(model: Any) -> bool:
    return any(c.__module__.startswith(("keras.", "tf_keras.")) for c in type(model).__mro__)


def _spec(value: Any) -> Any:
    if isinstance(value, tf.TensorSpec):
        return value
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, tf.Tensor):
        dtype = getattr(value.dtype, "name", value.dtype)
        return tf.TensorSpec(value.shape, dtype, getattr(value, "name", None))
    tensor = tf.convert_to_tensor(value)
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _symbol(name: str) -> str:
    """Return ``name`` as the name of a public function; ``__call__`` is the main one."""
    if name == "__call__":
        return "main"
    return re.sub(r"\W", "_", name)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
