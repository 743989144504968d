"""Values of a TFLite graph: tensors and handles of variables."""

from __future__ import annotations

from dataclasses import dataclass

from iree_core.lowering.values import Value


@dataclass(frozen=True)
class Resource:
    """A handle of a variable, by its name."""

    name: str


AnyValue = Value | Resource
