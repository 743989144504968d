"""Buffers, push constants, private and shared arrays as SPIR-V variables, and views into them.

A binding may be read as elements of several types (a vector of four beside single elements):
each type has a variable of its own on the same binding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_backend_vulkan.spirv.assembler import Assembler
from iree_backend_vulkan.spirv.types import Types
from iree_core.ir import ir


@dataclass(frozen=True)
class View:
    """A memref: elements of one type in a binding or an array.

    Attributes:
        element: the element type in memory.
        binding: the descriptor's number, or None for an array.
        array: the variable of an array, and its storage class.
        offset: id of the number of elements before the first one; 0 for none.
        strides: id of each dimension's stride, 0 for 1; empty for a flat buffer.
        sizes: id of each dimension's size; empty for a flat buffer.
    """

    element: ir.Type
    binding: int | None = None
    array: tuple[int, str] | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()


class Memory:
    """The variables of one module."""

    def __init__(self, assembler: Assembler, types: Types, aliased: Sequence[int]) -> None:
        """Start without variables; the bindings ``aliased`` may overlap others."""
        self.asm, self.types = assembler, types
        self.interface: list[int] = []
        self._aliased = set(aliased)
        self._written: set[int] = set()
        self._variables: dict[tuple[int, int], tuple[int, int]] = {}
        self._shared: dict[str, View] = {}

    def pointer(self, view: View, index: int, vector: int = 1, *, write: bool = False) -> int:
        """Return a pointer to element ``index`` (an id) of a view, or to that group of 4."""
        asm = self.asm
        if view.array is not None:
            variable, storage = view.array
            kind = asm.pointer(storage, self.types.value(view.element))
            return asm.emit("AccessChain", kind, variable, index)
        assert view.binding is not None
        element, size = self.types.storage(view.element)
        if vector > 1:
            element, size = asm.vector(element, vector), size * vector
        if write:
            self._written.add(view.binding)
        variable = self._variable(view.binding, element, size)
        zero = asm.constant(asm.integer(32), [0])
        kind = asm.pointer("StorageBuffer", element)
        return asm.emit("AccessChain", kind, variable, zero, index)

    def _variable(self, binding: int, element: int, stride: int) -> int:
        asm = self.asm
        key = (binding, element)
        if key not in self._variables:
            struct = asm.struct(asm.runtime_array(element, stride))
            asm.decorate(struct, "Block")
            asm.decorate_member(struct, 0, "Offset", 0)
            variable = asm.global_variable(asm.pointer("StorageBuffer", struct), "StorageBuffer")
            asm.decorate(variable, "DescriptorSet", 0)
            asm.decorate(variable, "Binding", binding)
            self._variables[key] = (variable, struct)
        return self._variables[key][0]

    def array(self, element: ir.Type, count: int) -> View:
        """Return a private array of ``count`` elements."""
        asm = self.asm
        length = asm.constant(asm.integer(32), [count])
        kind = asm.kind("TypeArray", self.types.value(element), length)
        variable = asm.local_variable(asm.pointer("Function", kind))
        return View(element, array=(variable, "Function"))

    def table(self, element: ir.Type, values: Sequence[int]) -> View:
        """Return a constant array whose elements are constants."""
        asm = self.asm
        length = asm.constant(asm.integer(32), [len(values)])
        kind = asm.kind("TypeArray", self.types.value(element), length)
        initial = asm.composite(kind, values)
        variable = asm.local_variable(asm.pointer("Function", kind), initial)
        return View(element, array=(variable, "Function"))

    def shared(self, name: str, element: ir.Type, count: int) -> View:
        """Return the array of that name in workgroup memory, ``count`` elements."""
        if name not in self._shared:
            asm = self.asm
            length = asm.constant(asm.integer(32), [count])
            kind = asm.kind("TypeArray", self.types.value(element), length)
            variable = asm.global_variable(asm.pointer("Workgroup", kind), "Workgroup")
            self._shared[name] = View(element, array=(variable, "Workgroup"))
        return self._shared[name]

    def scalars(self, count: int) -> list[int]:
        """Emit the push constants: one 32-bit number each."""
        if not count:
            return []
        asm = self.asm
        word = asm.integer(32)
        struct = asm.struct(*[word] * count)
        asm.decorate(struct, "Block")
        for number in range(count):
            asm.decorate_member(struct, number, "Offset", 4 * number)
        variable = asm.global_variable(asm.pointer("PushConstant", struct), "PushConstant")
        kind = asm.pointer("PushConstant", word)
        found = []
        for number in range(count):
            place = asm.emit("AccessChain", kind, variable, asm.constant(word, [number]))
            found.append(asm.emit("Load", word, place))
        return found

    def input(self, builtin: int) -> list[int]:
        """Emit the three components of a built-in vector of the invocation."""
        asm = self.asm
        word = asm.integer(32)
        triple = asm.vector(word, 3)
        variable = asm.global_variable(asm.pointer("Input", triple), "Input")
        asm.decorate(variable, "BuiltIn", builtin)
        self.interface.append(variable)
        value = asm.emit("Load", triple, variable)
        return [asm.emit("CompositeExtract", word, value, d) for d in range(3)]

    def finish(self) -> None:
        """Decorate the variables by how they were used."""
        by_binding: dict[int, list[tuple[int, int]]] = {}
        for (binding, _), made in self._variables.items():
            by_binding.setdefault(binding, []).append(made)
        for binding, variables in by_binding.items():
            several = len(variables) > 1 and binding in self._written
            shared = several or binding in self._aliased
            for variable, struct in variables:
                if shared:
                    self.asm.decorate(variable, "Aliased")
                elif binding not in self._written:
                    self.asm.decorate_member(struct, 0, "NonWritable")
