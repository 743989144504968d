"""How values of MLIR types are represented in the Metal Shading Language.

Integers are unsigned, because signed overflow is undefined in MSL as in C++; operations that
look at a sign convert first. An integer of less than 32 bits, and a float of less than 32 bits
other than ``half`` by its bits, is a ``uint`` whose upper bits mean nothing. Narrow types occur
in memory only. ``index`` is ``int``: sizes never overflow, and that is what lets the Metal
compiler combine neighbouring accesses.
"""

from __future__ import annotations

import math
import re

import numpy as np

from iree_core import dtypes
from iree_core.errors import CompileError
from iree_core.ir import ir

# The bindings have no class for these types.
_MATRIX = re.compile(r'!gpu\.mma_matrix<8x8x(f16|f32), "[ABC]Op">')


def element_of(kind: ir.Type) -> ir.Type:
    """Return the element type of a vector, the type itself of a scalar."""
    return kind.element_type if isinstance(kind, ir.VectorType) else kind


def width_of(kind: ir.Type) -> int:
    """Return the logical bits of an element; ``index`` has 32."""
    element = element_of(kind)
    return 32 if isinstance(element, ir.IndexType) else element.width


def lanes_of(kind: ir.Type) -> int:
    """Return how many components a value has.

    Raises:
        CompileError: more than four.
    """
    if not isinstance(kind, ir.VectorType):
        return 1
    count = math.prod(kind.shape)
    if count > 4 or isinstance(kind.element_type, ir.ComplexType):
        raise CompileError(f"Metal has no values of type {kind}.")
    return count


def is_boolean(kind: ir.Type) -> bool:
    """Whether values are truth values."""
    element = element_of(kind)
    return isinstance(element, ir.IntegerType) and element.width == 1


def is_index(kind: ir.Type) -> bool:
    """Whether values are sizes and positions."""
    return isinstance(element_of(kind), ir.IndexType)


def is_half(kind: ir.Type) -> bool:
    """Whether values are of Metal's own half precision."""
    return isinstance(element_of(kind), ir.F16Type)


def is_bits(kind: ir.Type) -> bool:
    """Whether values are the bits of a float that Metal does not compute with."""
    element = element_of(kind)
    return isinstance(element, ir.FloatType) and element.width < 32 and not is_half(element)


def scalar_type(kind: ir.Type) -> str:
    """Return the MSL type of one component of a value.

    Raises:
        CompileError: Metal has no such type.
    """
    element = element_of(kind)
    if is_boolean(element):
        return "bool"
    if isinstance(element, ir.IndexType):
        return "int"
    if isinstance(element, ir.FloatType):
        if element.width > 32:
            raise CompileError(
                f"Metal has no {element.width}-bit floats.",
                hint="Convert the model to f32, or compile it for another target.",
            )
        return {32: "float"}.get(element.width, "half" if is_half(element) else "uint")
    if isinstance(element, ir.IntegerType) and element.width <= 64:
        return "uint" if element.width <= 32 else "ulong"
    raise CompileError(f"The Metal backend has no representation of type {kind}.")


def value_type(kind: ir.Type) -> str:
    """Return the MSL type of a value."""
    matrix = _MATRIX.fullmatch(str(kind))
    if matrix is not None:
        return {"f32": "simdgroup_float8x8", "f16": "simdgroup_half8x8"}[matrix.group(1)]
    if isinstance(kind, ir.ComplexType):
        if not isinstance(kind.element_type, ir.F32Type):
            raise CompileError(f"Metal has no complex numbers of {kind.element_type}.")
        return "float2"
    return spread(scalar_type(kind), lanes_of(kind))


def spread(scalar: str, lanes: int) -> str:
    """Return a vector type, or the scalar type for one lane."""
    return scalar if lanes == 1 else f"{scalar}{lanes}"


def signed_type(kind: ir.Type) -> str:
    """Return the signed integer type as wide as the representation of an integer."""
    return spread("long" if width_of(kind) == 64 else "int", lanes_of(kind))


def storage_type(element: ir.Type) -> tuple[str, int]:
    """Return the MSL type of an element in a buffer, and its bytes."""
    if isinstance(element, ir.ComplexType):
        return value_type(element), 8
    if isinstance(element, ir.IndexType):
        return "ulong", 8
    width = max(8, element.width)
    if isinstance(element, ir.FloatType) and (width >= 32 or is_half(element)):
        return scalar_type(element), width // 8
    kinds = {8: "uchar", 16: "ushort", 32: "uint", 64: "ulong"}
    if width not in kinds:
        raise CompileError(f"A buffer cannot hold elements of type {element}.")
    return kinds[width], width // 8


def literal(kind: ir.Type, number: float | int | bool) -> str:
    """Return a constant of an MLIR type, the same in every lane."""
    element = element_of(kind)
    text = _scalar_literal(element, number)
    lanes = lanes_of(kind)
    return text if lanes == 1 else f"{value_type(kind)}({text})"


def _scalar_literal(element: ir.Type, number: float | int | bool) -> str:
    if is_boolean(element):
        return "true" if number else "false"
    if is_index(element):
        return str(int(number)) if int(number) >= 0 else f"({int(number)})"
    if isinstance(element, ir.F32Type):
        return _float_literal(float(np.float32(number)))
    if is_half(element):
        return f"half({_float_literal(float(np.float16(number)))})"
    if isinstance(element, ir.FloatType):
        scalar_type(element)  # refuses f64
        bits = np.array(number, dtypes.to_numpy(str(element)))
        return f"{int(bits.view(f'u{bits.itemsize}'))}u"
    if width_of(element) == 64:
        return f"{int(number) & 0xFFFFFFFFFFFFFFFF}ul"
    return f"{int(number) & 0xFFFFFFFF}u"


def _float_literal(number: float) -> str:
    if math.isnan(number):
        return "NAN"
    text = "INFINITY" if math.isinf(number) else f"{np.float32(abs(number))}f"
    return f"(-{text})" if math.copysign(1.0, number) < 0 else text
