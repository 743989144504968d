"""Constant evaluation: what is computed from parameters alone becomes a derived parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from iree_core.dialects import flow
from iree_core.ir import ir
from iree_core.params import ParameterStore
from iree_core.passes.dispatch.structure import nested_operations
from iree_core.passes.globalopt.generics import is_elementwise, owner_of
from iree_core.passes.globalopt.host_math import dtype_of, read_host_generic, tables_of
from iree_core.passes.state import CompilationState

Compute = Callable[[Sequence[NDArray]], NDArray]

# A derived parameter may be this much larger than what it is computed from.
_MAX_GROWTH_BYTES = 64 * 1024

_EVALUATED = (
    "linalg.generic", "tensor.collapse_shape", "tensor.expand_shape", "tensor.concat",
    "tensor.extract_slice",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluateParameters:
    """Evaluate views, gathers and elementwise operations of parameters with numpy.

    Before::

        %w = "flow.parameter"() {key = "w"} : () -> tensor<768x768xf32>
        %t = linalg.generic {transposition} ins(%w) ...

    After::

        %t = "flow.parameter"() {key = "w/1f60c2"} : () -> tensor<768x768xf32>

    Nothing is computed now: the store does so when the module writer asks for the bytes.
    Operations that would make much more data than they read (broadcasts, widening casts) stay.
    """

    name: str = "evaluate-parameters"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite ``module`` and derive entries of ``state.parameters``."""
        for op in [o for o in nested_operations(module.operation) if o.name in _EVALUATED]:
            if len(op.results) != 1:
                continue
            sources = _sources(op)
            if not sources or not any(is_parameter(s) for s in sources):
                continue
            compute = _evaluator(op)
            if compute is not None and _is_worthwhile(op, sources):
                _replace(op, sources, compute, state.parameters)


def is_parameter(value: ir.Value) -> bool:
    """Whether ``value`` is an entry of the parameter store."""
    owner = owner_of(value)
    return owner is not None and owner.name == "flow.parameter"


def key_of(value: ir.Value) -> str:
    """Return the key of the parameter ``value``."""
    return str(ir.StringAttr(value.owner.operation.attributes["key"]).value)


def _sources(op: ir.Operation) -> list[ir.Value] | None:
    """Return the constant inputs of ``op``, None where one is not constant."""
    if op.name == "linalg.generic":
        operands = [*list(op.operands)[: len(op.operands) - 1], *tables_of(op)]
    elif op.name == "tensor.concat":
        operands = list(op.operands)
    else:
        operands = list(op.operands)[:1]
        if len(op.operands) > 1:
            return None  # dynamic sizes
    for operand in operands:
        if not is_parameter(operand) and _dense(operand) is None:
            return None
        if operand.type.encoding is not None:
            return None
    return operands


def _dense(value: ir.Value) -> ir.DenseElementsAttr | None:
    owner = owner_of(value)
    if owner is None or owner.name != "arith.constant":
        return None
    attribute = owner.attributes["value"]
    return attribute if isinstance(attribute, ir.DenseElementsAttr) else None


def _evaluator(op: ir.Operation) -> Compute | None:
    kind = ir.RankedTensorType(op.results[0].type)
    if not kind.has_static_shape:
        return None
    shape = list(kind.shape)
    if op.name in ("tensor.collapse_shape", "tensor.expand_shape"):
        return lambda inputs: inputs[0].reshape(shape)
    if op.name == "tensor.concat":
        dim = ir.IntegerAttr(op.attributes["dim"]).value
        return lambda inputs: np.concatenate(inputs, axis=dim)
    if op.name == "tensor.extract_slice":
        names = ("static_offsets", "static_sizes", "static_strides")
        parts = tuple(
            slice(offset, offset + (size - 1) * stride + 1, stride)
            for offset, size, stride in zip(
                *(list(ir.DenseI64ArrayAttr(op.attributes[n])) for n in names), strict=True
            )
        )
        return lambda inputs: np.ascontiguousarray(inputs[0][parts]).reshape(shape)
    if op.name == "linalg.generic" and is_elementwise(op):
        generic = read_host_generic(op)
        return None if generic is None else generic.run
    return None


def _is_worthwhile(op: ir.Operation, sources: list[ir.Value]) -> bool:
    return _nbytes(op.results[0].type) <= sum(_nbytes(s.type) for s in sources) + _MAX_GROWTH_BYTES


def _nbytes(kind: ir.RankedTensorType) -> int:
    dtype = dtype_of(kind.element_type)
    return prod(kind.shape) * (1 if dtype is None else dtype.itemsize)


def _replace(
    op: ir.Operation, sources: list[ir.Value], compute: Compute, parameters: ParameterStore
) -> None:
    kind = ir.RankedTensorType(op.results[0].type)
    keys = [key_of(s) if is_parameter(s) else None for s in sources]
    constants = [None if k is not None else np.array(_dense(s)) for k, s in zip(keys, sources)]  # noqa: B905
    stored = next(k for k in keys if k is not None)
    dtype = dtype_of(kind.element_type)
    if kind.element_type == sources[keys.index(stored)].type.element_type:
        dtype = parameters.dtype(stored)  # keeps the signedness
    if dtype is None:
        return

    def read() -> NDArray:
        inputs = [
            parameters.read(key) if key is not None else np.asarray(constant)
            for key, constant in zip(keys, constants, strict=True)
        ]
        return np.asarray(compute(inputs), dtype)

    key = derived_key(parameters, stored)
    parameters.derive(key, tuple(kind.shape), dtype, read)
    with ir.InsertionPoint(op), op.location:
        made = flow.ParameterOp(ir.StringAttr.get(key), kind)
    op.results[0].replace_all_uses_with(made.results[0])
    op.erase()


def derived_key(parameters: ParameterStore, key: str) -> str:
    """Return an unused key that tells from which parameter an entry is derived."""
    number = 1
    while f"{key}#{number}" in parameters:
        number += 1
    return f"{key}#{number}"
