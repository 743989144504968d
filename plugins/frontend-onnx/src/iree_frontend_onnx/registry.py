"""The table of ONNX operator lowerings, and what a lowering sees of its node.

A lowering is a function from a :class:`Node` to the node's outputs, registered for an operator
and a range of operator-set versions::

    @lowering("Relu", since=6)
    def relu(node: Node) -> Tensor:
        x = node.tensor(0)
        zero = ...
        return elementwise([x], x.element, lambda v: ...)

- ``since`` and ``until`` are operator-set versions, both included; the operator's version that
  the model uses must lie between them. Register several functions where semantics differ.
- ``node.tensor(i)`` is input ``i`` as a tensor (error where absent), ``node.optional(i)`` the
  same or None, ``node.array(i)`` its numpy array where it is known at import (or None),
  ``node.items(i)`` the elements of a small integer vector as ints and index values,
  ``node.ints(i)`` the same where all must be known at import, ``node.attr(name, default)`` an
  attribute as a Python value.
- It returns a Tensor, a Value, or a sequence of them in the order of the outputs (shorter is
  fine where trailing outputs are optional and unused).
- ``node.unsupported(reason, hint)`` raises the error that ends up, with all the others of the
  model, in one report. Raise it rather than emit something doubtful.

The families live one per file; :func:`load` imports them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray

from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Constant, Value
from iree_frontend_onnx.elements import from_onnx
from iree_frontend_onnx.values import AnyValue, Optional_, Sequence_

if TYPE_CHECKING:
    from iree_frontend_onnx.importer import GraphImporter

Output = Tensor | AnyValue | None
Outputs = Output | Sequence[Output]
Lowering = Callable[["Node"], Outputs]

FAMILIES = (
    "elementwise", "pairwise", "cast", "shape", "slicing", "padding", "matmul", "conv", "pooling",
    "reduce", "normalization", "attention", "quantize", "control_flow", "recurrent", "resize",
    "scatter_gather",
    "sort_select", "generators", "losses", "signal", "sequences", "vision", "training",
)  # fmt: skip


class Unsupported(Exception):
    """One node cannot be imported by the route at hand."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


@dataclass(frozen=True)
class _Entry:
    since: int
    until: int
    function: Lowering


_TABLE: dict[tuple[str, str], list[_Entry]] = {}


def lowering(
    *operators: str, since: int = 1, until: int = 10_000, domain: str = ""
) -> Callable[[Lowering], Lowering]:
    """Register the decorated function for ``operators`` of ``domain``."""

    def register(function: Lowering) -> Lowering:
        for operator in operators:
            _TABLE.setdefault((domain, operator), []).append(_Entry(since, until, function))
        return function

    return register


def find(domain: str, operator: str, version: int) -> Lowering | None:
    """Return the lowering of ``operator`` at operator-set ``version``."""
    for entry in _TABLE.get((domain, operator), ()):
        if entry.since <= version <= entry.until:
            return entry.function
    return None


def supported_operators() -> list[tuple[str, str, int, int]]:
    """Return (domain, operator, since, until) of every table entry, sorted."""
    return sorted(
        (domain, operator, entry.since, entry.until)
        for (domain, operator), entries in _TABLE.items()
        for entry in entries
    )


def load() -> None:
    """Import every family, so that the table is complete."""
    for family in FAMILIES:
        import_module(f"iree_frontend_onnx.ops.{family}")


class Node:
    """One ONNX node during import."""

    def __init__(
        self,
        proto: onnx.NodeProto,
        version: int,
        inputs: Sequence[AnyValue | None],
        importer: GraphImporter,
    ) -> None:
        self.proto = proto
        self.version = version
        self.inputs = list(inputs)
        self.importer = importer
        self.attributes = {a.name: a for a in proto.attribute}

    @property
    def op(self) -> str:
        """The operator's name."""
        return self.proto.op_type

    @property
    def output_count(self) -> int:
        """How many outputs the node lists (absent ones in between included)."""
        return len(self.proto.output)

    def wants(self, position: int) -> bool:
        """Tell whether output ``position`` is named."""
        return position < len(self.proto.output) and bool(self.proto.output[position])

    def has(self, position: int) -> bool:
        """Tell whether input ``position`` is given."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def any(self, position: int) -> AnyValue:
        """Return input ``position``, whatever it is."""
        if not self.has(position):
            self.unsupported(f"input {position} is missing")
        found = self.inputs[position]
        assert found is not None
        return found

    def value(self, position: int) -> Value:
        """Return input ``position``, which must be a tensor value."""
        found = self.any(position)
        if isinstance(found, Optional_) and isinstance(found.value, Value):
            found = found.value
        if not isinstance(found, Value):
            self.unsupported(f"input {position} is a sequence or an optional, not a tensor")
        assert isinstance(found, Value)
        return found

    def sequence(self, position: int) -> Sequence_:
        """Return input ``position``, which must be a sequence."""
        found = self.any(position)
        if isinstance(found, Optional_) and isinstance(found.value, Sequence_):
            found = found.value
        if not isinstance(found, Sequence_):
            self.unsupported(f"input {position} is not a sequence")
        assert isinstance(found, Sequence_)
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
                "Make it an initializer, or fold constants before exporting.",
            )
        assert array is not None
        return array

    def items(self, position: int) -> list[Dim]:
        """Return the elements of a small integer vector (or scalar) as ints or index values."""
        found = self.value(position).items(self.importer.pool)
        if found is None:
            self.unsupported(f"input {position} must be an integer vector of known length")
        assert found is not None
        return found

    def ints(self, position: int, what: str) -> list[int]:
        """Return a small integer vector that must be known at import."""
        return [int(x) for x in np.asarray(self.known(position, what)).reshape(-1)]

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute (int, float, str, list, array, GraphProto) or ``default``."""
        proto = self.attributes.get(name)
        if proto is None:
            return default
        found = onnx.helper.get_attribute_value(proto)
        if isinstance(found, bytes):
            return found.decode("utf-8")
        if isinstance(found, onnx.TensorProto):
            return onnx.numpy_helper.to_array(found)
        if proto.type == onnx.AttributeProto.STRINGS:
            return [s.decode("utf-8") for s in found]
        if isinstance(found, (int, float, onnx.GraphProto, onnx.TypeProto, onnx.SparseTensorProto)):
            return found
        return list(found)

    def element_attr(self, name: str, default: ElementType | None = None) -> ElementType:
        """Return an attribute that holds a ``TensorProto.DataType``."""
        number = self.attr(name)
        if not number:
            assert default is not None, name
            return default
        try:
            return from_onnx(number)
        except TypeError as error:
            raise Unsupported(str(error)) from None

    def axis(self, rank: int, default: int = 0, name: str = "axis") -> int:
        """Return a dimension attribute, counted from the front."""
        return self.normalize_axis(self.attr(name, default), rank)

    def normalize_axis(self, axis: int, rank: int) -> int:
        """Return ``axis`` counted from the front.

        Raises:
            Unsupported: it is out of range.
        """
        if not -rank <= axis < max(rank, 1):
            self.unsupported(f"axis {axis} is out of range for a tensor of rank {rank}")
        return axis % rank if rank else 0

    def derived(
        self,
        source: Constant,
        suffix: str,
        shape: Sequence[int],
        element: ElementType,
        compute: Callable[[], NDArray],
    ) -> Value:
        """Return a constant that is computed from ``source`` when it is needed."""
        return Value(constant=Constant(f"{source.name}.{suffix}", tuple(shape), element, compute))

    def unsupported(self, reason: str, hint: str | None = None) -> NoReturn:
        """Give up on this node.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(reason, hint)
