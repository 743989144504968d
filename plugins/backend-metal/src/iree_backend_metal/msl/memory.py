"""Buffers, threadgroup memory and private arrays of a kernel, and views into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from iree_backend_metal.msl.types import (
    is_boolean,
    lanes_of,
    spread,
    storage_type,
    value_type,
)
from iree_core.errors import CompileError
from iree_core.ir import ir


@dataclass(frozen=True)
class View:
    """A memref: elements of one type in a buffer or an array.

    Attributes:
        base: the variable.
        element: the element type in memory.
        declared: the MSL type the variable points to, where it is not that of ``element``.
        space: the address space: ``device``, ``threadgroup``, ``thread`` or ``constant``.
        offset: the number of elements before the first one; empty for none.
        strides: each dimension's stride; empty for a flat buffer.
        sizes: each dimension's size; empty for a flat buffer.
    """

    base: str
    element: ir.Type
    space: str
    declared: str
    offset: str = ""
    strides: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()

    @property
    def is_array(self) -> bool:
        """Whether elements are stored as values, not in the narrower form of buffers."""
        return self.space != "device"


@dataclass
class Buffers:
    """The tensors of a kernel.

    Attributes:
        written: variables that the kernel stores to.
    """

    written: set[str] = field(default_factory=set)

    def pointer(self, view: View, index: str, *, lanes: int = 1, write: bool = False) -> str:
        """Return a pointer to element ``index``, or to that and its neighbours as one vector."""
        if write:
            self.written.add(view.base)
        stored = stored_type(view)
        place = f"({view.base} + {index})"
        if view.declared != stored:
            place = f"(({view.space} {stored}{self._const(view, write)}*){view.base} + {index})"
        if lanes == 1:
            return place
        packed = f"packed_{stored}{lanes}"
        return f"(({view.space} {packed}{self._const(view, write)}*){place})"

    def _const(self, view: View, write: bool) -> str:
        return "" if write or view.space != "device" else " const"

    def element(self, view: View, index: str, *, write: bool = False) -> str:
        """Return an element as an lvalue."""
        if view.declared == stored_type(view):
            if write:
                self.written.add(view.base)
            return f"{view.base}[{index}]"
        return f"*{self.pointer(view, index, write=write)}"


def stored_type(view: View) -> str:
    """Return the MSL type of an element where it is stored."""
    return value_type(view.element) if view.is_array else storage_type(view.element)[0]


def from_memory(view: View, text: str, lanes: int = 1) -> str:
    """Return what was read, as a value."""
    stored, kind = stored_type(view), value_type(view.element)
    if is_boolean(view.element) and not view.is_array:
        return f"({text} != {spread(stored, lanes)}(0))"
    if stored == kind:
        return text if lanes == 1 else f"{spread(kind, lanes)}({text})"
    if lanes > 1:
        text = f"{spread(stored, lanes)}({text})"
    return f"{spread(kind, lanes)}({text})"


def to_memory(view: View, text: str, lanes: int = 1) -> str:
    """Return a value as it is stored."""
    stored, kind = stored_type(view), value_type(view.element)
    return text if stored == kind else f"{spread(stored, lanes)}({text})"


def packs(view: View, kind: ir.VectorType) -> bool:
    """Whether neighbouring elements can be read as one packed vector."""
    lanes, element = lanes_of(kind), view.element
    if isinstance(element, ir.ComplexType) or is_boolean(element):
        return False
    # There are no packed vectors of 64-bit integers.
    return lanes > 1 and not view.strides and storage_type(element)[1] <= 4 and not view.is_array


def linear(view: View, position: Sequence[str]) -> str:
    """Return the element number of a position in a view."""
    terms = [view.offset] if view.offset not in ("", "0") else []
    strides = view.strides or ("1",) * len(position)
    if len(strides) != len(position):
        raise CompileError("A buffer is indexed with the wrong number of positions.")
    for index, stride in zip(position, strides, strict=True):
        if index == "0" or stride == "0":
            continue
        terms.append(index if stride == "1" else f"{index} * {stride}")
    return " + ".join(terms) or "0"
