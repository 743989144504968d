"""What an importer of a graph knows about a value: a tensor, a constant, or a list of sizes.

Frameworks compute shapes with tensor operators (shape, slice, concatenation, reshape). Small
integer vectors therefore carry one :data:`~iree_core.lowering.index.Dim` per element, and only
become tensors where something else needs them. Constants become operations only when used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from iree_core.ir import arith, ir
from iree_core.lowering import index, tensors
from iree_core.lowering.element import I64, ElementType, from_numpy
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import Tensor
from iree_core.params import ParameterStore

INLINE_LIMIT = 64
"""Constants of at least this many elements live in the parameter store."""
ITEMS_LIMIT = 64
"""Integer vectors up to this length are tracked element by element."""


@dataclass(eq=False)
class Constant:
    """An array known at import, read only when needed.

    Attributes:
        name: the key it gets in the parameter store.
        shape: its sizes.
        element: its element type.
        read: returns the array; may compute it.
        place: path and offset of its bytes where they are in a file as they are.
        key: its key in the parameter store, if it is there already.
    """

    name: str
    shape: tuple[int, ...]
    element: ElementType
    read: Callable[[], NDArray]
    place: tuple | None = None
    key: str | None = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)


def array_constant(
    array: NDArray, element: ElementType | None = None, name: str = "constant"
) -> Constant:
    """Wrap an array that is in memory."""
    return Constant(name, tuple(array.shape), element or from_numpy(array.dtype), lambda: array)


class ConstantPool:
    """Turns constants into operations at the top of a function, each once."""

    def __init__(self, parameters: ParameterStore, block: ir.Block) -> None:
        self.parameters = parameters
        self._block = block
        self._made: dict[int, tuple[Constant, Tensor]] = {}

    def tensor(self, constant: Constant) -> Tensor:
        """Return ``constant`` as a tensor."""
        if id(constant) not in self._made:
            with ir.InsertionPoint.at_block_begin(self._block):
                if constant.size < INLINE_LIMIT:
                    made = tensors.constant(constant.read(), constant.element)
                else:
                    key = register(constant, self.parameters)
                    made = tensors.parameter(key, constant.shape, constant.element)
            self._made[id(constant)] = (constant, made)
        return self._made[id(constant)][1]


def register(constant: Constant, parameters: ParameterStore) -> str:
    """Put ``constant`` into the parameter store, once, and return its key."""
    if constant.key is not None:
        return constant.key
    key, number = constant.name, 0
    while key in parameters:
        number += 1
        key = f"{constant.name}.{number}"
    shape, dtype = constant.shape, constant.element.numpy
    if constant.place is not None:
        path, offset = constant.place
        parameters.add_file_range(key, path, offset, shape, dtype)
    else:
        parameters.derive(key, shape, dtype, constant.read)
    constant.key = key
    return key


class Value:
    """One tensor value."""

    def __init__(
        self,
        *,
        tensor: Tensor | None = None,
        constant: Constant | None = None,
        items: Sequence[Dim] | None = None,
        rank: int = 1,
        element: ElementType = I64,
    ) -> None:
        self._tensor = tensor
        self.constant = constant
        self._items = list(items) if items is not None else None
        if tensor is not None:
            self.element, self.dims = tensor.element, tensor.dims
        elif constant is not None:
            self.element, self.dims = constant.element, tuple[Dim, ...](constant.shape)
        else:
            assert items is not None
            self.element, self.dims = element, (len(items),) if rank else ()

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.dims)

    def array(self) -> NDArray | None:
        """Return the value if it is known at import, else None."""
        if self.constant is not None:
            return self.constant.read()
        if self._items is not None and all(isinstance(i, int) for i in self._items):
            return np.array(self._items, self.element.numpy).reshape(self.dims)
        return None

    def tracked_items(self) -> list[Dim] | None:
        """Return the elements if they are known one by one, emitting nothing."""
        if self._items is not None:
            return list(self._items)
        constant = self.constant
        if constant is None or not (constant.element.is_integer or constant.element.kind == "bool"):
            return None
        if len(constant.shape) > 1 or constant.size > ITEMS_LIMIT:
            return None
        return [int(x) for x in constant.read().reshape(-1)]

    def tensor(self, pool: ConstantPool) -> Tensor:
        """Return the value as a tensor, emitting it where it is not one yet."""
        if self._tensor is not None:
            return self._tensor
        if self.constant is None:
            array = self.array()
            if array is None:
                return self._from_items()
            self.constant = array_constant(array, self.element)
        return pool.tensor(self.constant)

    def items(self, pool: ConstantPool) -> list[Dim] | None:
        """Return the elements of an integer vector or scalar, reading them at run time if need
        be; None where their number is not known or the type is no integer."""
        known = self.tracked_items()
        if known is not None:
            return known
        if self.rank > 1 or not self.element.is_integer:
            return None
        count = self.dims[0] if self.rank else 1
        if not isinstance(count, int) or count > ITEMS_LIMIT:
            return None
        source = self.tensor(pool)
        return [self._read(source, [position] if self.rank else []) for position in range(count)]

    def _read(self, source: Tensor, position: list[int]) -> Dim:
        def build() -> ir.Value:
            cast = arith.index_castui if self.element.is_unsigned else arith.index_cast
            return cast(ir.IndexType.get(), tensors.scalar_at(source, position))

        return index.shared(("read", source.value, *position), build)

    def _from_items(self) -> Tensor:
        assert self._items is not None
        made = [arith.index_cast(self.element.type, index.value(item)) for item in self._items]
        return tensors.from_elements(made, self.element, tuple(self.dims))
