"""Values of an ONNX graph: tensors, sequences and optionals."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.lowering.values import Value


@dataclass(eq=False)
class Sequence_:
    """An ONNX sequence whose length is known at import."""

    values: list[Value]


@dataclass(eq=False)
class Optional_:
    """An ONNX optional whose presence is known at import."""

    value: Value | Sequence_ | None


AnyValue = Value | Sequence_ | Optional_
