"""Variables: handles by name, and tensors that keep their contents from call to call.

Both become ``ml_program.global``. A variable's first value is what the graph that ``CALL_ONCE``
names assigns to it, or zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iree_core.errors import ImportModelError
from iree_core.ir import ir
from iree_core.lowering import tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Constant, register
from iree_core.params import ParameterStore
from iree_frontend_tf.tflite.file import TensorInfo


class Variables:
    """The module's globals, declared on first use."""

    def __init__(self, module: ir.Module, parameters: ParameterStore) -> None:
        self._module, self._parameters = module, parameters
        self._declared: dict[str, tuple[tuple[int, ...], ElementType]] = {}
        self.initial: dict[str, Constant] = {}

    def load(self, name: str, shape: Sequence[int | None], element: ElementType) -> Tensor:
        """Return the present contents of a variable."""
        shape, element = self._declare(name, shape, element)
        loaded = ir.Operation.create(
            "ml_program.global_load",
            results=[tensors.tensor_type(shape, element)],
            attributes={"global": ir.FlatSymbolRefAttr.get(name)},
        ).result
        return Tensor(loaded, tuple(shape), element)

    def store(self, name: str, tensor: Tensor) -> None:
        """Store ``tensor``, of static shape or that of the variable."""
        sizes = [d if isinstance(d, int) else None for d in tensor.dims]
        shape, _ = self._declare(name, sizes, tensor.element)
        ir.Operation.create(
            "ml_program.global_store",
            operands=[tensors.with_dims(tensor, shape).value],
            attributes={"global": ir.FlatSymbolRefAttr.get(name)},
        )

    def load_tensor(self, graph: int, place: int, info: TensorInfo) -> Tensor:
        """Return the present contents of a variable tensor."""
        assert info.element is not None
        return self.load(_symbol(graph, place, info), info.dims, info.element)

    def store_tensor(self, graph: int, place: int, info: TensorInfo, tensor: Tensor) -> None:
        """Store what a variable tensor becomes."""
        self.store(_symbol(graph, place, info), tensor)

    def _declare(
        self, name: str, shape: Sequence[int | None], element: ElementType
    ) -> tuple[tuple[int, ...], ElementType]:
        if name in self._declared:
            return self._declared[name]
        initial = self.initial.get(name)
        sizes = tuple(d for d in (initial.shape if initial else shape) if d is not None)
        if len(sizes) != len(shape):
            raise ImportModelError(
                f"The size of the variable {name!r} is not known.",
                hint="Give the variable a static shape.",
            )
        kind = tensors.tensor_type(sizes, element)
        attributes = {
            "sym_name": ir.StringAttr.get(name),
            "sym_visibility": ir.StringAttr.get("private"),
            "type": ir.TypeAttr.get(kind),
            "is_mutable": ir.UnitAttr.get(),
        }
        if initial is None:
            initial = Constant(
                f"{name}.initial", sizes, element, lambda: np.zeros(sizes, element.numpy)
            )
        attributes["iree.initial"] = ir.StringAttr.get(register(initial, self._parameters))
        with ir.InsertionPoint.at_block_begin(self._module.body):
            ir.Operation.create("ml_program.global", attributes=attributes)
        self._declared[name] = sizes, element
        return sizes, element


def _symbol(graph: int, place: int, info: TensorInfo) -> str:
    return f"{info.name}.{graph}.{place}"
