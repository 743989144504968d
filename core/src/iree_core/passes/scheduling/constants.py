"""Constants of host functions as entries of the parameter store. Not for large weights.

Weights are in the store already; what is left inline are small tensors and repeated elements.
"""

from __future__ import annotations

import hashlib
import re
import struct
from math import prod

import numpy as np
from numpy.typing import NDArray

from iree_core.errors import CompileError
from iree_core.ir import ir
from iree_core.lowering import element
from iree_core.passes.diagnostics import describe_location
from iree_core.passes.state import CompilationState

_HEX = re.compile(r'"0x([0-9A-Fa-f]*)"')
_PAIR = re.compile(r"\(([^(),]+),([^(),]+)\)")


INITIAL = "iree.initial"


def register_initial(
    state: CompilationState, op: ir.OpView, kind: ir.RankedTensorType
) -> tuple[str | None, int]:
    """Return the key of the first value of an ``ml_program.global`` and its size in bytes.

    The key is None where the value is all zeros. The attribute ``iree.initial`` names a
    parameter instead of an inline value.

    Raises:
        CompileError: the type is no tensor of static shape, or there is no first value.
    """
    where = describe_location(op.location) or None
    if not isinstance(kind, ir.RankedTensorType) or not kind.has_static_shape:
        raise CompileError(f"State of type {kind} has no fixed size.", where=where)
    if INITIAL in op.attributes:
        key = require(state, ir.StringAttr(op.attributes[INITIAL]).value, op)
        return key, state.parameters.nbytes(key)
    if "value" not in op.attributes:
        raise CompileError(f"State {op.sym_name} has no first value.", where=where)
    array = _array(op, kind)
    nbytes = array.size * array.itemsize
    if array.strides and not any(array.strides) and not array.flat[0].tobytes().strip(b"\0"):
        return None, nbytes
    key = _add(state, array)
    return key, nbytes


def require(state: CompilationState, key: str, op: ir.OpView) -> str:
    """Return ``key`` if the parameter store has it.

    Raises:
        CompileError: it has not.
    """
    if key not in state.parameters:
        raise CompileError(
            f"There is no parameter {key!r}.",
            where=describe_location(op.location) or None,
            hint="The IR names a weight that was not given along with it.",
        )
    return key


def register(state: CompilationState, op: ir.OpView) -> str:
    """Return the key under which the store holds the tensor ``arith.constant`` ``op``."""
    return _add(state, constant_array(op))


def _add(state: CompilationState, array: NDArray) -> str:
    array = np.ascontiguousarray(array).reshape(array.shape)
    digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
    key = f"inline/{array.dtype}{list(array.shape)}/{digest}"
    if key not in state.parameters:
        state.parameters.add(key, array)
    return key


def constant_array(op: ir.OpView) -> NDArray:
    """Return the elements of a tensor ``arith.constant``, repeated ones broadcast.

    Raises:
        CompileError: the constant is written in a form that the bindings do not show.
    """
    return _array(op, op.results[0].type)


def _array(op: ir.OpView, kind: ir.RankedTensorType) -> NDArray:
    name = "i64" if isinstance(kind.element_type, ir.IndexType) else str(kind.element_type)
    dtype = element.from_name(name).numpy
    if isinstance(kind.element_type, ir.ComplexType):
        return _complex_array(op, kind, dtype)
    attribute = op.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        raise CompileError(
            f"A constant of type {kind} is stored as {type(attribute).__name__}.",
            where=describe_location(op.location) or None,
            hint="Move it to the parameter store.",
        )
    if attribute.is_splat:
        return np.broadcast_to(_splat(attribute, dtype), tuple(kind.shape))
    try:
        return np.asarray(memoryview(attribute)).view(dtype).reshape(kind.shape)
    except BufferError:  # no Python buffer format for this element type
        values = [attribute[i] for i in range(len(attribute))]
        return np.array(values).astype(dtype).reshape(kind.shape)


def splat_pattern(op: ir.OpView) -> bytes | None:
    """Return the bytes of one element if all of ``op`` are equal and 1, 2, 4 or 8 bytes wide."""
    if isinstance(op.results[0].type.element_type, ir.ComplexType):
        return None
    attribute = op.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr) or not attribute.is_splat:
        return None
    return constant_array(op).flat[0].tobytes()


def _splat(attribute: ir.DenseElementsAttr, dtype: np.dtype) -> NDArray:
    value = attribute.get_splat_value()
    number = value.value
    if isinstance(value, ir.IntegerAttr) and dtype.itemsize == 8:
        number = int(number) & (1 << 64) - 1
        return np.array(number, np.uint64).view(np.int64)
    return np.array(number).astype(dtype)


def _complex_array(op: ir.OpView, kind: ir.RankedTensorType, dtype: np.dtype) -> NDArray:
    # The bindings have no class for dense complex attributes; their text is complete.
    text = op.operation.get_asm(large_elements_limit=None)
    part = np.dtype(np.float32 if dtype == np.complex64 else np.float64)
    packed = _HEX.search(text)
    if packed:
        raw = np.frombuffer(bytes.fromhex(packed.group(1)), dtype)
        return np.broadcast_to(raw, kind.shape) if raw.size == 1 else raw.reshape(kind.shape)
    values = [complex(_float(a, part), _float(b, part)) for a, b in _PAIR.findall(text)]
    if len(values) == 1:
        return np.broadcast_to(np.array(values[0], dtype), tuple(kind.shape))
    if len(values) != prod(kind.shape):
        raise CompileError(f"Cannot read the constant {text[:80]}.")
    return np.array(values, dtype).reshape(kind.shape)


def _float(text: str, dtype: np.dtype) -> float:
    text = text.strip()
    if not text.startswith("0x"):
        return float(text)
    bits = int(text, 16)
    return struct.unpack(
        "<f" if dtype.itemsize == 4 else "<d", bits.to_bytes(dtype.itemsize, "little")
    )[0]
