"""The table of TFLite operator lowerings, and what a lowering sees of its operator.

A lowering is a function from a :class:`Node` to the operator's outputs, registered by the name
of the operator in the schema::

    @lowering("FLOOR")
    def floor(node: Node) -> Tensor:
        x = node.tensor(0)
        return elementwise([x], x.element, math.floor)

- ``node.tensor(i)`` is input ``i`` as a tensor (error where absent), ``node.optional(i)`` the
  same or None, ``node.array(i)`` its numpy array where it is known at import (or None),
  ``node.items(i)`` the elements of a small integer vector as ints and index values,
  ``node.option("StrideH", 1)`` a field of the operator's options table.
- ``node.input(i)`` and ``node.output(i)`` are the declared tensors with their quantization.
- It returns a Tensor, a Value, or a sequence of them in the order of the outputs.
- ``node.unsupported(reason, hint)`` raises the error that ends up, with all the others of the
  model, in one report. Raise it rather than emit something doubtful.

The families live one per file in ``ops``; :func:`load` imports them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Constant, Value
from iree_frontend_tf.tflite.file import OperatorInfo, Quantization, TensorInfo
from iree_frontend_tf.tflite.values import AnyValue, Resource

if TYPE_CHECKING:
    from iree_frontend_tf.tflite.importer import GraphImporter

Output = Tensor | AnyValue
Outputs = Output | Sequence[Output]
Lowering = Callable[["Node"], Outputs]

FAMILIES = (
    "elementwise", "quantized_elementwise", "tables", "cast", "shape", "slicing", "matmul",
    "conv", "pooling", "reduce", "normalization", "resize", "gather_scatter", "selection",
    "generators", "control_flow", "recurrent", "signal", "random", "detection", "sparse_lookup",
    "stablehlo", "stablehlo_regions",
)  # fmt: skip


class Unsupported(Exception):
    """One operator cannot be imported."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


_TABLE: dict[str, Lowering] = {}


def lowering(*operators: str) -> Callable[[Lowering], Lowering]:
    """Register the decorated function for ``operators``."""

    def register(function: Lowering) -> Lowering:
        for operator in operators:
            assert operator not in _TABLE, operator
            _TABLE[operator] = function
        return function

    return register


def find(operator: str) -> Lowering | None:
    """Return the lowering of ``operator``."""
    return _TABLE.get(operator)


def supported_operators() -> list[str]:
    """Return the names of all operators in the table, sorted."""
    return sorted(_TABLE)


def load() -> None:
    """Import every family, so that the table is complete."""
    for family in FAMILIES:
        import_module(f"iree_frontend_tf.tflite.ops.{family}")


class Node:
    """One operator during import."""

    def __init__(
        self, info: OperatorInfo, inputs: Sequence[AnyValue | None], importer: GraphImporter
    ) -> None:
        self.info = info
        self.inputs = list(inputs)
        self.importer = importer

    @property
    def op(self) -> str:
        """The operator's name."""
        return self.info.name

    def input(self, position: int) -> TensorInfo:
        """Return the declaration of input ``position``."""
        return self.importer.graph.tensors[self.info.inputs[position]]

    def output(self, position: int = 0) -> TensorInfo:
        """Return the declaration of output ``position``."""
        return self.importer.graph.tensors[self.info.outputs[position]]

    def element(self, position: int = 0) -> ElementType:
        """Return the element type of output ``position``."""
        found = self.output(position).element
        if found is None:
            self.unsupported(f"its output is of type {self.output(position).kind}")
        return found

    def quantization(self, info: TensorInfo) -> Quantization:
        """Return the quantization of ``info``, which must have one."""
        if info.quantization is None:
            self.unsupported(f"tensor {info.name!r} of integers has no scale")
        return info.quantization

    def scale(self, info: TensorInfo) -> tuple[np.float32, int]:
        """Return the one scale and zero point of ``info``."""
        found = self.quantization(info)
        if found.per_channel:
            self.unsupported(f"tensor {info.name!r} has more than one scale")
        return found.scale[0], int(found.zero_point[0])

    def has(self, position: int) -> bool:
        """Tell whether input ``position`` is given."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        """Return input ``position``, which must be a tensor value."""
        found = self.inputs[position] if self.has(position) else None
        if not isinstance(found, Value):
            self.unsupported(f"input {position} is missing or no tensor")
        return found

    def resource(self, position: int) -> Resource:
        """Return input ``position``, which must be the handle of a variable."""
        found = self.inputs[position] if self.has(position) else None
        if not isinstance(found, Resource):
            self.unsupported(f"input {position} is no variable")
        return found

    def tensor(self, position: int) -> Tensor:
        """Return input ``position`` as a tensor."""
        return self.to_tensor(self.value(position))

    def to_tensor(self, value: Value) -> Tensor:
        """Return any value as a tensor."""
        return value.tensor(self.importer.pool)

    def optional(self, position: int) -> Tensor | None:
        """Return input ``position`` as a tensor, or None where it is absent."""
        return self.tensor(position) if self.has(position) else None

    def tensors(self) -> list[Tensor]:
        """Return all inputs that are given."""
        return [self.tensor(i) for i in range(len(self.inputs)) if self.has(i)]

    def array(self, position: int) -> NDArray | None:
        """Return input ``position`` as an array where it is known at import."""
        return self.value(position).array() if self.has(position) else None

    def known(self, position: int, what: str) -> NDArray:
        """Return input ``position``, which must be known at import."""
        array = self.array(position)
        if array is None:
            self.unsupported(
                f"{what} (input {position}) is computed at run time",
                "Make it a constant before converting.",
            )
        return array

    def items(self, position: int) -> list[Dim]:
        """Return the elements of a small integer vector (or scalar) as ints or index values."""
        found = self.value(position).items(self.importer.pool)
        if found is None:
            self.unsupported(f"input {position} must be an integer vector of known length")
        return found

    def ints(self, position: int, what: str) -> list[int]:
        """Return a small integer vector that must be known at import."""
        return [int(x) for x in np.asarray(self.known(position, what)).reshape(-1)]

    def option(self, name: str, default: Any) -> Any:
        """Return a field of the options table; ``default`` where the operator has none."""
        return default if self.info.options is None else getattr(self.info.options, name)()

    def option_list(self, name: str) -> list[int]:
        """Return a vector field of the options table."""
        options = self.info.options
        if options is None:
            return []
        get = getattr(options, name)
        return [int(get(i)) for i in range(getattr(options, f"{name}Length")())]

    def axis(self, axis: int, rank: int) -> int:
        """Return ``axis`` counted from the front."""
        if not -rank <= axis < max(rank, 1):
            self.unsupported(f"axis {axis} is out of range for a tensor of rank {rank}")
        return axis % rank if rank else 0

    def constant(self, array: NDArray, element: ElementType, suffix: str = "table") -> Tensor:
        """Return an array made at import, stored with the weights where it is large."""
        name = f"{self.output().name}.{suffix}"
        return self.to_tensor(Value(constant=Constant(name, array.shape, element, lambda: array)))

    def unsupported(self, reason: str, hint: str | None = None) -> NoReturn:
        """Give up on this operator.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(reason, hint)
