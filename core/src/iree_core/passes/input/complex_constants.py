"""Takes complex tensor constants out of attributes, which the bindings cannot represent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from iree_core.ir import ir, linalg
from iree_core.lowering import element, scalars
from iree_core.lowering.tensors import empty
from iree_core.passes.input.constants import free_key
from iree_core.passes.input.support import before, create, operations, replace
from iree_core.passes.state import CompilationState

_PAIR = re.compile(r"\(([^(),]+),([^(),]+)\)")


@dataclass(frozen=True)
class ReplaceComplexConstants:
    """Fills tensors of one complex number, and makes the other complex constants parameters.

    Numbers put together from constants become constants.

    Before::

        %c = arith.constant dense<(1.0, 2.0)> : tensor<4xcomplex<f32>>

    After::

        %z = complex.constant [1.0 : f32, 2.0 : f32] : complex<f32>
        %e = tensor.empty() : tensor<4xcomplex<f32>>
        %c = linalg.fill ins(%z : complex<f32>) outs(%e : tensor<4xcomplex<f32>>)
    """

    name: str = "replace-complex-constants"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Replace every complex tensor constant."""
        for op in operations(module, {"arith.constant"}):
            kind = op.results[0].type
            if not isinstance(kind, ir.RankedTensorType):
                continue
            if not isinstance(kind.element_type, ir.ComplexType):
                continue
            dtype = element.from_name(str(kind.element_type))
            numbers = _numbers(str(op).rpartition(" : ")[0], dtype)
            with before(op):
                if numbers.size == 1:
                    number = scalars.constant(complex(numbers[0]), dtype)
                    value = linalg.fill(number, outs=[empty(kind.shape, dtype)])
                else:
                    array = numbers.reshape(kind.shape)
                    key = state.parameters.add(free_key(state.parameters), array)
                    attributes: dict[str, ir.Attribute] = {"key": ir.StringAttr.get(key)}
                    value = create("flow.parameter", [kind], [], attributes).results[0]
            assert numbers.size in (1, prod(kind.shape))
            replace(op, [value])
        for op in operations(module, {"complex.create"}):
            _fold(op)


def _fold(op: ir.Operation) -> None:
    parts = [value.owner for value in op.operands]
    if any(isinstance(part, ir.Block) or part.name != "arith.constant" for part in parts):
        return
    re, im = (ir.FloatAttr(part.attributes["value"]).value for part in parts)
    with before(op):
        dtype = element.from_name(str(op.results[0].type))
        replace(op, [scalars.constant(complex(re, im), dtype)])


def _numbers(text: str, dtype: element.ElementType) -> NDArray:
    """Read the elements of a dense attribute's text: pairs of real numbers, in order."""
    half = np.dtype(np.float32 if dtype == element.COMPLEX64 else np.float64)
    parts = [_real(part.strip(), half) for pair in _PAIR.findall(text) for part in pair]
    return np.array(parts, half).view(dtype.numpy)


def _real(text: str, dtype: np.dtype) -> np.floating:
    """Read one number; infinities and NaNs are printed as their bits."""
    if text.startswith("0x"):
        bits = np.dtype(f"uint{dtype.itemsize * 8}").type(int(text, 16))
        return bits.view(dtype)
    return dtype.type(text)
