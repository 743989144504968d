"""Walks TFLite graphs and emits linalg on tensors operator by operator, from the table.

Not here: what operators mean (``ops/``) or reading files (``file.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iree_core.errors import ImportModelError, IreeError
from iree_core.ir import func, ir
from iree_core.lowering import index, tensors
from iree_core.lowering.element import I4, ElementType
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.lowering.values import Constant, ConstantPool, Value
from iree_core.params import ParameterStore
from iree_frontend_tf.tflite import registry
from iree_frontend_tf.tflite.file import Graph, Model, Signature, TensorInfo
from iree_frontend_tf.tflite.registry import Node, Unsupported
from iree_frontend_tf.tflite.sparse import densify
from iree_frontend_tf.tflite.state import Variables
from iree_frontend_tf.tflite.values import AnyValue, Resource


@dataclass(frozen=True)
class Problem:
    """One unsupported operator."""

    operator: str
    reason: str
    hint: str | None


@dataclass
class State:
    """What all graphs of one import share."""

    model: Model
    module: ir.Module
    parameters: ParameterStore
    variables: Variables
    problems: dict[str, Problem] = field(default_factory=dict)
    constants: dict[tuple, Constant] = field(default_factory=dict)

    def constant(self, info: TensorInfo) -> Constant | None:
        """Return the contents of ``info`` where the file has them, shared between its users."""
        element = info.element
        if element is None or any(d is None for d in info.dims):
            return None
        shape = tuple(d for d in info.dims if d is not None)
        if not self.model.buffers[info.buffer][1]:
            return None
        key = (info.buffer, shape, element)
        if key not in self.constants:
            self.constants[key] = self._constant(info, shape, element)
        return self.constants[key]

    def _constant(self, info: TensorInfo, shape: tuple[int, ...], element: ElementType) -> Constant:
        model, buffer = self.model, info.buffer
        if info.sparsity is not None:

            def dense() -> NDArray:
                stored = model.bytes_of(buffer).view(element.numpy)
                return densify(stored, info.sparsity, shape)

            return Constant(info.name, shape, element, dense)
        if element == I4:

            def unpack() -> NDArray:
                return _unpack_nibbles(model.bytes_of(buffer), shape)

            return Constant(info.name, shape, element, unpack)

        def read() -> NDArray:
            return model.bytes_of(buffer).view(element.numpy).reshape(shape)

        place: tuple[Path, int] | None = (model.path, model.buffers[buffer][0])
        return Constant(info.name, shape, element, read, place)


def _unpack_nibbles(packed: NDArray[np.uint8], shape: Sequence[int]) -> NDArray:
    """Return 4-bit integers that are stored two to a byte, the lower bits first."""
    both = np.stack([packed << 4, packed & 0xF0], -1).reshape(-1).view(np.int8) >> 4
    return both[: int(np.prod(shape))].reshape(shape).astype(I4.numpy)


class GraphImporter:
    """Imports one graph at the insertion point.

    Args:
        state: shared by the whole import.
        pool: constants of the enclosing function.
        number: the graph's place in the model.
    """

    def __init__(self, state: State, pool: ConstantPool, number: int) -> None:
        self.state = state
        self.pool = pool
        self.number = number
        self.graph: Graph = state.model.graphs[number]
        self._values: dict[int, AnyValue | None] = {}

    def run(self, inputs: Sequence[AnyValue]) -> list[AnyValue]:
        """Import the graph and return its outputs; problems are collected in the state."""
        if len(inputs) != len(self.graph.inputs):
            raise Unsupported(
                f"graph {self.graph.name!r} takes {len(self.graph.inputs)} inputs, "
                f"not {len(inputs)}"
            )
        for place, value in zip(self.graph.inputs, inputs, strict=True):
            self._values[place] = value
        for number in range(len(self.graph.operators)):
            self._import_operator(number)
        outputs = [self.lookup(place) for place in self.graph.outputs]
        if any(o is None for o in outputs):
            raise Unsupported(_REPORTED)
        return [o for o in outputs if o is not None]

    def import_graph(self, number: int, inputs: Sequence[AnyValue]) -> list[AnyValue]:
        """Import another graph at the insertion point and return its outputs."""
        if not 0 <= number < len(self.state.model.graphs):
            raise Unsupported(f"it refers to graph {number}, which is not there")
        return GraphImporter(self.state, self.pool, number).run(inputs)

    def lookup(self, place: int) -> AnyValue | None:
        """Return the value of a tensor; None for one that could not be imported.

        Raises:
            ImportModelError: nothing defines it.
        """
        if place in self._values:
            return self._values[place]
        info = self.graph.tensors[place]
        if info.is_variable:
            return Value(tensor=self.state.variables.load_tensor(self.number, place, info))
        constant = self.state.constant(info)
        if constant is None and info.element is not None and 0 in info.dims:
            shape = tuple(d or 0 for d in info.dims)
            constant = Constant(info.name, shape, info.element, lambda: np.zeros(shape))
        if constant is None:
            raise ImportModelError(
                f"The model reads a tensor {info.name!r} that no operator, input or buffer "
                "defines.",
                hint="Convert the model again.",
            )
        self._values[place] = Value(constant=constant)
        return self._values[place]

    def store_state(self, place: int, tensor: Tensor) -> None:
        """Store what a variable tensor becomes."""
        info = self.graph.tensors[place]
        if not info.is_variable:
            raise Unsupported(f"tensor {info.name!r} should keep its contents from call to call")
        self.state.variables.store_tensor(self.number, place, info, tensor)

    def _import_operator(self, number: int) -> None:
        info = self.graph.operators[number]
        names = [self.graph.tensors[o].name for o in info.outputs if o >= 0]
        title = f"{names[0] if names else f'operator {number}'} ({info.name})"
        with ir.Location.name(title):
            try:
                results = self._lower(number)
            except Unsupported as problem:
                if problem.reason != _REPORTED:
                    self.state.problems.setdefault(
                        f"{self.number}.{number}", Problem(title, problem.reason, problem.hint)
                    )
                results = [self._stand_in(o) for o in info.outputs]
        for place, value in zip(info.outputs, results, strict=False):
            if place >= 0:
                self._values[place] = value

    def _lower(self, number: int) -> Sequence[AnyValue | None]:
        info = self.graph.operators[number]
        lowering = None if info.custom else registry.find(info.name)
        if lowering is None:
            kind = "custom operator" if info.custom else "operator"
            raise Unsupported(
                f"the {kind} {info.name} is not supported",
                "Custom operators are code outside of the file; express them with built-in ones."
                if info.custom
                else None,
            )
        inputs = [self.lookup(i) if i >= 0 else None for i in info.inputs]
        if any(i >= 0 and v is None for i, v in zip(info.inputs, inputs, strict=True)):
            raise Unsupported(_REPORTED)
        try:
            made = lowering(Node(info, inputs, self))
        except (Unsupported, IreeError):
            raise
        except Exception as error:  # One bad operator must not keep others from being reported.
            raise Unsupported(f"its lowering failed ({type(error).__name__}: {error})") from error
        many = made if isinstance(made, (list, tuple)) else [made]
        return [Value(tensor=o) if isinstance(o, Tensor) else o for o in many]  # type: ignore[misc]

    def _stand_in(self, place: int) -> Value | None:
        """Return zeros of the declared type, so that the operators that follow are checked too."""
        info = self.graph.tensors[place] if place >= 0 else None
        if info is None or info.element is None:
            return None
        dims = [index.value(1) if d is None else d for d in info.dims]
        return Value(tensor=tensors.fill(dims, info.element, 0))


_REPORTED = "an operator that it depends on is not supported"


def import_function(state: State, signature: Signature) -> None:
    """Import one graph as a public function; problems end up in the state."""
    graph = state.model.graphs[signature.graph]
    infos = [graph.tensors[place] for _, place in signature.inputs]
    for (name, _), info in zip(signature.inputs, infos, strict=True):
        if info.element is None:
            raise ImportModelError(
                f"The input {name!r} is of type {info.kind}; inputs must be numeric tensors."
            )
    dim_names = [_dim_names(n, i.dims) for (n, _), i in zip(signature.inputs, infos, strict=True)]
    with ir.InsertionPoint(state.module.body), index.sharing():
        types = [
            tensors.tensor_type([DYNAMIC if d is None else d for d in i.dims], i.element)
            for i in infos
            if i.element is not None
        ]
        function = func.FuncOp(signature.key, ir.FunctionType.get(types, []))
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            results = _body(state, signature, infos, block)
            if results is None:
                return
            func.ReturnOp([t.value for t in results])
        function.attributes["function_type"] = ir.TypeAttr.get(
            ir.FunctionType.get(types, [t.value.type for t in results])
        )
        known = {
            dim: name
            for argument, names in zip(block.arguments, dim_names, strict=True)
            for dim, name in zip(_dims(argument, infos, block), names, strict=True)
            if not isinstance(dim, int)
        }
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(
            [
                _attributes(name, info.element, names)
                for (name, _), info, names in zip(signature.inputs, infos, dim_names, strict=True)
                if info.element is not None
            ]
        )
        function.attributes["res_attrs"] = ir.ArrayAttr.get(
            [
                _attributes(
                    name,
                    tensor.element,
                    [
                        d if isinstance(d, int) else known.get(d, f"{name}_dim{a}")
                        for a, d in enumerate(tensor.dims)
                    ],
                )
                for (name, _), tensor in zip(signature.outputs, results, strict=True)
            ]
        )


def _dims(argument: ir.Value, infos: Sequence[TensorInfo], block: ir.Block) -> tuple:
    element = infos[list(block.arguments).index(argument)].element
    assert element is not None
    with ir.InsertionPoint.at_block_begin(block):
        return Tensor.of(argument, element).dims


def _body(
    state: State, signature: Signature, infos: Sequence[TensorInfo], block: ir.Block
) -> list[Tensor] | None:
    importer = GraphImporter(state, ConstantPool(state.parameters, block), signature.graph)
    given = {
        place: Value(tensor=Tensor.of(argument, info.element))
        for (_, place), info, argument in zip(signature.inputs, infos, block.arguments, strict=True)
        if info.element is not None
    }
    missing = [p for p in importer.graph.inputs if p not in given]
    if missing:
        name = importer.graph.tensors[missing[0]].name
        raise ImportModelError(f"The signature {signature.key!r} gives no input {name!r}.")
    try:
        importer.run([given[place] for place in importer.graph.inputs])
    except Unsupported:
        if not state.problems:
            raise
    if state.problems:
        return None
    results = []
    for name, place in signature.outputs:
        value = importer.lookup(place)
        if isinstance(value, Resource) or value is None:
            raise ImportModelError(f"The output {name!r} is no tensor.")
        results.append(value.tensor(importer.pool))
    return results


def _dim_names(name: str, dims: Sequence[int | None]) -> list[int | str]:
    return [f"{name}_dim{a}" if d is None else d for a, d in enumerate(dims)]


def _attributes(name: str, element: ElementType, dims: Sequence[int | str]) -> ir.DictAttr:
    found = {"iree.name": ir.StringAttr.get(name)}
    names = [d for d in dims if isinstance(d, str)]
    if names:
        found["iree.dims"] = ir.ArrayAttr.get([ir.StringAttr.get(n) for n in names])
    if element.name != element.mlir:
        found["iree.dtype"] = ir.StringAttr.get(element.name)
    return ir.DictAttr.get(found)
