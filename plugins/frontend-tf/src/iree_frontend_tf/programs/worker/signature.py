"""Names and shapes of arguments and results, as users know them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from .errors import ExportError

_ELEMENTS = {
    tf.bool: "i1", tf.bfloat16: "bf16", tf.half: "f16", tf.float32: "f32", tf.float64: "f64",
    tf.int8: "i8", tf.int16: "i16", tf.int32: "i32", tf.int64: "i64",
    tf.uint8: "ui8", tf.uint16: "ui16", tf.uint32: "ui32", tf.uint64: "ui64",
    tf.complex64: "complex<f32>", tf.complex128: "complex<f64>",
    tf.dtypes.experimental.float8_e4m3fn: "f8E4M3FN", tf.dtypes.experimental.float8_e5m2: "f8E5M2",
}  # fmt: skip


def element(dtype: tf.DType) -> str | None:
    """Return MLIR's name of an element type, None for strings and other types without one."""
    return _ELEMENTS.get(dtype)


def mlir_type(shape: tf.TensorShape, dtype: tf.DType) -> str | None:
    """Return the tensor type in MLIR's syntax, None for a dtype without one."""
    name = element(dtype)
    if name is None:
        return None
    if shape.rank is None:
        return f"tensor<*x{name}>"
    return "tensor<" + "".join(f"{'?' if d is None else d}x" for d in shape) + f"{name}>"


def arguments(concrete: Any, batched: bool) -> list[dict[str, Any]]:
    """Return name, dims and dtype of the arguments that users give.

    Raises:
        ExportError: an argument is no numeric tensor, or its rank is unknown.
    """
    names = _unique(_argument_name(tensor) for tensor in user_inputs(concrete))
    found = []
    for name, tensor in zip(names, user_inputs(concrete), strict=True):
        dtype = element(tensor.dtype)
        if dtype is None:
            raise ExportError(
                "unsupported",
                f"The argument {name!r} is of type {tensor.dtype.name}; arguments must be "
                "numeric tensors.",
            )
        if tensor.shape.rank is None:
            raise ExportError(
                "model",
                f"The rank of the argument {name!r} is not known.",
                hint="Trace the function with a tf.TensorSpec that has a shape.",
            )
        dims = dims_of(name, tensor.shape, batched)
        found.append({"name": name, "dims": dims, "dtype": dtype})
    return found


def result_names(concrete: Any) -> list[str]:
    """Return the names of the results: keys of dictionaries, else numbers."""
    names = list(_paths(concrete.structured_outputs))
    if len(names) != len(concrete.outputs):
        names = [f"output_{n}" for n in range(len(concrete.outputs))]
    return _unique(iter(names))


def user_inputs(concrete: Any) -> list[Any]:
    """Return the symbolic inputs that are not captured."""
    return concrete.inputs[: len(concrete.inputs) - len(concrete.captured_inputs)]


def _argument_name(tensor: Any) -> str:
    try:
        name = tensor.op.get_attr("_user_specified_name").decode()
    except ValueError:
        name = tensor.op.name
    return re.sub(r"\W", "_", name)


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the name of every tensor in a nest, in the order of ``tf.nest.flatten``."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _paths(value[key], f"{path}_{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        keys = getattr(value, "_fields", range(len(value)))
        for key, part in zip(keys, value, strict=True):
            yield from _paths(part, f"{path}_{key}" if path else f"output_{key}")
    else:
        yield path or "output_0"


def _unique(names: Iterator[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name) or "value"
        candidate, number = plain, 1
        while candidate in found:
            candidate, number = f"{plain}_{number}", number + 1
        found.append(candidate)
    return found


def dims_of(name: str, shape: Any, batched: bool) -> list[int | str]:
    """Return sizes, and names for the dynamic ones."""
    return [
        ("batch" if batched and axis == 0 else f"{name}_dim{axis}") if size is None else size
        for axis, size in enumerate(shape)
    ]
