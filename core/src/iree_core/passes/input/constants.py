"""Moves large constants out of the IR into the parameter store.

The bytes of a dense attribute are shared with the store wherever the bindings give a view of
them; no element is ever turned into a Python number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from iree_core.ir import ir
from iree_core.lowering import element
from iree_core.params import ParameterStore
from iree_core.passes.input.support import before, create, operations
from iree_core.passes.state import CompilationState

# Attribute that holds the elements, by operation.
_VALUE_ATTRIBUTE = {
    "arith.constant": "value",
    "stablehlo.constant": "value",
    "torch.vtensor.literal": "value",
    "tosa.const": "values",
}
_HEX = re.compile(r'"0x([0-9A-Fa-f]*)"')


@dataclass(frozen=True)
class ExternalizeConstants:
    """Replaces tensor constants by ``flow.parameter``; a constant of one value stays inline.

    Before::

        %w = arith.constant dense<"0x..."> : tensor<32x32xf32>

    After, with the array in the store::

        %w = "flow.parameter"() {key = "constant_0"} : () -> tensor<32x32xf32>

    Attributes:
        min_elements: the smallest number of elements that is moved. Conversions that need to
            see a constant (multipliers, permutations) run while this is large.
    """

    min_elements: int = 65
    name: str = "externalize-constants"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Move the constants of all functions; equal attributes share one key."""
        keys: dict[str, str] = {}
        for op in operations(module, _VALUE_ATTRIBUTE):
            found = _tensor_type(op)
            if found is None or prod(found[0].shape) < self.min_elements:
                continue
            kind, name = found
            array = _elements(op, kind, name)
            if array is None:
                continue
            key = _register(state.parameters, op, array, keys)
            with before(op):
                _replace(op, key, kind)


def _tensor_type(op: ir.Operation) -> tuple[ir.RankedTensorType, str] | None:
    """Return a constant's type as a builtin tensor, and the name of its element type.

    Torch tensors of signed or unsigned integers are signless as builtin tensors. None if the
    constant is no tensor.
    """
    kind = op.results[0].type
    if isinstance(kind, ir.RankedTensorType):
        return kind, str(kind.element_type)
    match = re.match(r"!torch\.vtensor<\[([\d,]*)\],\s*(\w+)>", str(kind))
    if match is None:
        return None
    dims, dtype = match.groups()
    shape = "".join(f"{size}x" for size in dims.split(",") if size)
    signless = re.sub(r"^[su]i", "i", dtype)
    builtin = ir.RankedTensorType(ir.Type.parse(f"tensor<{shape}{signless}>"))
    return builtin, re.sub(r"^si", "i", dtype)


def _elements(op: ir.Operation, kind: ir.RankedTensorType, name: str) -> NDArray | None:
    """Return the elements of a constant, or None if all are one value or the type is unknown."""
    try:
        dtype = element.from_name(name).numpy
    except TypeError:
        return None
    try:
        attribute = op.attributes[_VALUE_ATTRIBUTE[op.name]]
    except TypeError:  # the bindings have no class for dense complex attributes
        return _from_text(op, kind, dtype)
    if isinstance(attribute, ir.DenseElementsAttr):
        if attribute.is_splat:
            return None
        try:
            return np.asarray(memoryview(attribute)).view(dtype).reshape(kind.shape)
        except BufferError:  # no Python buffer format for this element type
            return _from_text(op, kind, dtype)
    return _from_text(op, kind, dtype)


def _from_text(op: ir.Operation, kind: ir.RankedTensorType, dtype: np.dtype) -> NDArray | None:
    """Read the elements from the hexadecimal text of ``op`` printed on its own.

    A resource is printed after a four-byte alignment. What MLIR prints element by element
    (one value, or fewer than its limit for hexadecimal) stays inline.
    """
    text = str(op.clone(ip=ir.InsertionPoint(op)).detach_from_parent())
    match = _HEX.search(text)
    if match is None:
        return None
    raw = np.frombuffer(bytes.fromhex(match.group(1)), np.uint8)
    count = prod(kind.shape)
    if "dense_resource<" in text[: match.start()]:
        raw = raw[4:]
    if dtype == np.bool_ and raw.size == -(-count // 8):
        return np.unpackbits(raw, count=count, bitorder="little").view(dtype).reshape(kind.shape)
    return raw.view(dtype)[:count].reshape(kind.shape)


def _register(store: ParameterStore, op: ir.Operation, array: NDArray, keys: dict[str, str]) -> str:
    identity = f"{array.__array_interface__['data'][0]}:{array.dtype}:{array.shape}"
    if identity not in keys:
        keys[identity] = store.add(free_key(store), array)
    return keys[identity]


def free_key(store: ParameterStore) -> str:
    """Return a key for a constant that ``store`` does not have."""
    number = sum(1 for key in store if key.startswith("constant_"))
    while f"constant_{number}" in store:
        number += 1
    return f"constant_{number}"


def _replace(op: ir.Operation, key: str, kind: ir.RankedTensorType) -> None:
    attributes: dict[str, ir.Attribute] = {"key": ir.StringAttr.get(key)}
    value = create("flow.parameter", [kind], [], attributes).results[0]
    if op.results[0].type != kind:
        cast = create("torch_c.from_builtin_tensor", [op.results[0].type], [value])
        value = cast.results[0]
    op.results[0].replace_all_uses_with(value)
    op.erase()
