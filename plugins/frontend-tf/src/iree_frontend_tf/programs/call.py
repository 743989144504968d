"""One operation of TensorFlow while it is lowered: its operands, attributes and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from iree_core.ir import ir
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import ConstantPool, Value
from iree_frontend_tf.tflite.registry import Unsupported


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        values: its operands.
        attributes: by name.
        types: of its results.
        pool: makes constants.
    """

    values: Sequence[Value]
    attributes: Mapping[str, Any]
    types: Sequence[ir.RankedTensorType]
    pool: ConstantPool

    def tensor(self, number: int) -> Tensor:
        """Return an operand."""
        return self.values[number].tensor(self.pool)

    def known(self, number: int, what: str) -> NDArray:
        """Return an operand that must be a constant.

        Raises:
            Unsupported: it is computed.
        """
        array = self.values[number].array()
        if array is None:
            raise Unsupported(f"{what} (operand {number}) must be a constant")
        return array

    def size(self, number: int) -> Dim:
        """Return an operand that is one size.

        Raises:
            Unsupported: it is a float or has several elements.
        """
        items = self.values[number].items(self.pool)
        if items is None or len(items) != 1:
            raise Unsupported(f"operand {number} must be one number")
        return items[0]

    def option(self, name: str, default: Any) -> Any:
        """Return an attribute, ``default`` where the operation has none of that name."""
        return self.attributes.get(name, default)

    def element(self, number: int) -> ElementType:
        """Return the element type of a result."""
        from iree_core.lowering import element

        return element.from_name(str(self.types[number].element_type))
