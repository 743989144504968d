"""How values of MLIR types are represented in SPIR-V.

Only booleans, 32- and 64-bit integers, single and double precision and vectors of 2 to 4 of them
are computed with, so that a shader needs no arithmetic on narrow types from the device. A
narrower integer, and a float of less than 32 bits by its bits, is a 32-bit integer whose upper
bits mean nothing; operations that look at them extend it first. Narrow types occur in memory
only.
"""

from __future__ import annotations

import struct

import numpy as np

from iree_backend_vulkan.spirv.assembler import Assembler
from iree_core import dtypes
from iree_core.errors import CompileError
from iree_core.ir import ir


def element_of(kind: ir.Type) -> ir.Type:
    """Return the element type of a vector, the type itself of a scalar."""
    return kind.element_type if isinstance(kind, ir.VectorType) else kind


def width_of(kind: ir.Type) -> int:
    """Return the logical bits of an element; ``index`` has 32."""
    element = element_of(kind)
    return 32 if isinstance(element, ir.IndexType) else element.width


def lanes_of(kind: ir.Type) -> int:
    """Return how many components a value has in SPIR-V.

    Raises:
        CompileError: more than four.
    """
    if isinstance(kind, ir.ComplexType):
        return 2
    if not isinstance(kind, ir.VectorType):
        return 1
    count = 1
    for size in kind.shape:
        count *= size
    if count > 4 or isinstance(kind.element_type, ir.ComplexType):
        raise CompileError(f"SPIR-V has no values of type {kind}.")
    return count


def is_narrow_float(kind: ir.Type) -> bool:
    """Whether values are represented by the bits of a float."""
    element = element_of(kind)
    return isinstance(element, ir.FloatType) and element.width < 32


def is_boolean(kind: ir.Type) -> bool:
    """Whether values are truth values."""
    element = element_of(kind)
    return isinstance(element, ir.IntegerType) and element.width == 1


class Types:
    """The types and constants of one module."""

    def __init__(self, assembler: Assembler) -> None:
        self.asm = assembler

    def scalar(self, kind: ir.Type) -> int:
        """Return the SPIR-V type of one component."""
        element = element_of(kind)
        if isinstance(element, ir.ComplexType):
            element = element.element_type
        if is_boolean(element):
            return self.asm.boolean()
        if isinstance(element, ir.FloatType) and element.width >= 32:
            return self.asm.floating(element.width)
        if isinstance(element, ir.IntegerType | ir.IndexType | ir.FloatType):
            width = width_of(element)
            if width <= 32:
                return self.asm.integer(32)
            if width == 64:
                return self.asm.integer(64)
        raise CompileError(f"The Vulkan backend has no representation of type {kind}.")

    def value(self, kind: ir.Type) -> int:
        """Return the SPIR-V type of values of an MLIR type."""
        return self.spread(self.scalar(kind), lanes_of(kind))

    def spread(self, scalar: int, lanes: int) -> int:
        """Return a vector type, or the scalar type for one lane."""
        return scalar if lanes == 1 else self.asm.vector(scalar, lanes)

    def number(self, kind: ir.Type, number: float | int | bool) -> int:
        """Return a constant of an MLIR type, the same in every lane."""
        element, lanes = element_of(kind), lanes_of(kind)
        scalar = (
            self.asm.truth(bool(number))
            if is_boolean(element)
            else self.asm.constant(self.scalar(element), words_of(element, number))
        )
        return self.splat(self.value(kind), scalar, lanes)

    def splat(self, kind: int, scalar: int, lanes: int) -> int:
        """Return a constant vector whose lanes are a constant."""
        return scalar if lanes == 1 else self.asm.composite(kind, [scalar] * lanes)

    def storage(self, element: ir.Type) -> tuple[int, int]:
        """Return the SPIR-V type of an element in a buffer, and its bytes."""
        asm = self.asm
        if isinstance(element, ir.ComplexType):
            return self.value(element), element.element_type.width // 4
        width = 64 if isinstance(element, ir.IndexType) else element.width
        if isinstance(element, ir.FloatType) and width >= 32:
            return asm.floating(width), width // 8
        width = max(8, width)
        if width not in (8, 16, 32, 64):
            raise CompileError(f"A buffer cannot hold elements of type {element}.")
        if width == 8:
            asm.require("StorageBuffer8BitAccess")
        if width == 16:
            asm.require("StorageBuffer16BitAccess")
        return asm.integer(width), width // 8


def words_of(element: ir.Type, number: float | int) -> list[int]:
    """Return the 32-bit words of a number as it is represented."""
    if isinstance(element, ir.FloatType):
        if element.width >= 32:
            data = struct.pack("<f" if element.width == 32 else "<d", number)
            return list(struct.unpack(f"<{len(data) // 4}I", data))
        bits = np.array(number, dtypes.to_numpy(str(element)))
        return [int(bits.view(f"u{bits.itemsize}"))]
    number = int(number)
    if width_of(element) == 64:
        return [number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF]
    return [number & 0xFFFFFFFF]
