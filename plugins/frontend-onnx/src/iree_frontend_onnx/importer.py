"""Walks an ONNX graph and emits linalg on tensors node by node, from the table of lowerings.

Not here: what operators mean (``ops/``), reading files (``model.py``), or what is done about
operators that the table lacks (``fallback.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from iree_core.errors import ImportModelError, IreeError
from iree_core.ir import func, ir
from iree_core.lowering import index, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.lowering.values import ConstantPool, Value
from iree_core.params import ParameterStore
from iree_core.passes.state import Note
from iree_frontend_onnx import registry
from iree_frontend_onnx.elements import from_onnx
from iree_frontend_onnx.fold import fold
from iree_frontend_onnx.model import Model
from iree_frontend_onnx.registry import Node, Outputs, Unsupported
from iree_frontend_onnx.values import AnyValue, Optional_, Sequence_

OnnxDims = tuple["int | str | None", ...] | None


class Poison:
    """The output of a node that could not be imported."""


@dataclass(frozen=True)
class Problem:
    """One unsupported node."""

    node: str
    reason: str
    hint: str | None


@dataclass
class State:
    """What all graphs of one import share."""

    model: Model
    module: ir.Module
    parameters: ParameterStore
    problems: list[Problem] = field(default_factory=list)
    fallbacks: list[Note] = field(default_factory=list)


class GraphImporter:
    """Imports one graph (the model's, a subgraph, or a function body) at the insertion point.

    Args:
        state: shared by the whole import.
        pool: constants of the enclosing function.
        outer: the graph around this one, whose values are visible.
        opsets: operator-set versions by domain.
    """

    def __init__(
        self,
        state: State,
        pool: ConstantPool,
        outer: GraphImporter | None = None,
        opsets: Mapping[str, int] | None = None,
        *,
        sees_outer: bool = True,
    ) -> None:
        self.state = state
        self.pool = pool
        self.outer = outer
        self.opsets = dict(opsets if opsets is not None else state.model.opsets)
        self._visible_outer = outer if sees_outer else None
        self._values: dict[str, AnyValue | Poison] = {}
        self._types: dict[str, tuple[ElementType, OnnxDims]] = {}
        self._symbols: dict[str, Dim] = {}

    @property
    def folder(self) -> Path:
        """The folder of the model file, which external data is relative to."""
        return self.state.model.folder

    # Names ---------------------------------------------------------------------------------

    def bind(self, name: str, value: AnyValue | Poison) -> None:
        """Give ``value`` a name in this graph."""
        self._values[name] = value

    def lookup(self, name: str) -> AnyValue | Poison:
        """Return the value called ``name`` in this or an enclosing graph.

        Raises:
            ImportModelError: there is none.
        """
        scope: GraphImporter | None = self
        while scope is not None:
            if name in scope._values:
                return scope._values[name]
            scope = scope._visible_outer
        raise ImportModelError(
            f"The model reads a value {name!r} that no node, input or initializer defines.",
            hint="Check the file with onnx.checker.check_model.",
        )

    def inferred_type(self, name: str) -> tuple[ElementType, OnnxDims] | None:
        """Return element type and sizes that the model or shape inference declare."""
        return self._types.get(name)

    def symbol(self, name: str) -> Dim | None:
        """Return the size called ``name``, if it is known here."""
        scope: GraphImporter | None = self
        while scope is not None:
            if name in scope._symbols:
                return scope._symbols[name]
            scope = scope._visible_outer
        return None

    def bind_symbol(self, name: str, dim: Dim) -> None:
        """Give a size a name in this graph."""
        self._symbols[name] = dim

    # Graphs --------------------------------------------------------------------------------

    def declare(self, graph: onnx.GraphProto) -> None:
        """Read declared types and initializers of ``graph``."""
        for info in (*graph.value_info, *graph.output, *graph.input):
            declared = declared_type(info)
            if declared is not None:
                self._types[info.name] = declared
        for name, constant in self.state.model.initializers(graph):
            self.bind(name, Value(constant=constant))
        for sparse in graph.sparse_initializer:
            self.bind(sparse.values.name, sparse_value(sparse))

    def import_nodes(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Import ``nodes`` in order; problems are collected in the state."""
        for proto in nodes:
            title = (
                f"{proto.name or proto.output[0] if proto.output else proto.name} ({proto.op_type})"
            )
            with ir.Location.name(title):
                self._import_node(proto, title)

    def import_subgraph(self, graph: onnx.GraphProto, inputs: Sequence[AnyValue]) -> list[AnyValue]:
        """Import a body graph at the insertion point and return its outputs.

        Raises:
            Unsupported: an output depends on a node that could not be imported.
        """
        inner = GraphImporter(self.state, self.pool, self, self.opsets)
        inner.declare(graph)
        for info, value in zip(graph.input, inputs, strict=False):
            inner.bind(info.name, value)
        inner.import_nodes(graph.node)
        return inner.outputs([o.name for o in graph.output])

    def import_function(
        self,
        function: onnx.FunctionProto,
        inputs: Sequence[AnyValue | None],
        attributes: Mapping[str, onnx.AttributeProto],
        outputs: Sequence[str],
    ) -> list[AnyValue]:
        """Import the body of an ONNX function at the insertion point and return its outputs.

        Only those that ``outputs``, the names at the call, asks for: the body of a standard
        operator does not define optional outputs that nobody reads.

        Raises:
            Unsupported: an output depends on a node that could not be imported.
        """
        opsets = self.opsets | {
            "" if o.domain == "ai.onnx" else o.domain: o.version for o in function.opset_import
        }
        inner = GraphImporter(self.state, self.pool, self, opsets, sees_outer=False)
        for name, value in zip(function.input, inputs, strict=False):
            if value is not None:
                inner.bind(name, value)
        absent = {n for n, v in zip(function.input, inputs, strict=False) if v is None}
        absent |= set(function.input[len(inputs) :])
        known = {a.name: a for a in function.attribute_proto} | dict(attributes)
        inner.import_nodes([_instantiate(n, known, absent) for n in function.node])
        wanted = zip(function.output, outputs, strict=False)
        return inner.outputs([name if used else "" for name, used in wanted])

    def outputs(self, names: Sequence[str]) -> list[AnyValue]:
        """Return the values called ``names``.

        Raises:
            Unsupported: one of them could not be imported.
        """
        found = []
        for name in names:
            value = self.lookup(name) if name else None
            if isinstance(value, Poison):
                raise Unsupported("a node inside its body is not supported (reported on its own)")
            found.append(value)
        return found  # type: ignore[return-value]

    # Nodes ---------------------------------------------------------------------------------

    def version(self, domain: str) -> int:
        """Return the operator-set version of ``domain``."""
        domain = "" if domain == "ai.onnx" else domain
        return self.opsets.get(domain, 1)

    def opset_protos(self) -> list[onnx.OperatorSetIdProto]:
        """Return the operator-set versions as protos."""
        return [onnx.helper.make_opsetid(d, v) for d, v in self.opsets.items()]

    def _import_node(self, proto: onnx.NodeProto, title: str) -> None:
        inputs = [self.lookup(name) if name else None for name in proto.input]
        if any(isinstance(v, Poison) for v in inputs):
            self._report_missing_lowering(proto, title)
            self._poison(proto)
            return
        given = [v for v in inputs if not isinstance(v, Poison)]
        node = Node(proto, self.version(proto.domain), given, self)
        try:
            results = self._lower(node)
        except Unsupported as problem:
            # Problems inside a body were reported by themselves.
            if "reported on its own" not in problem.reason:
                self.state.problems.append(Problem(title, problem.reason, problem.hint))
            self._poison(proto)
            return
        for name, result in zip(proto.output, results, strict=False):
            if name:
                self.bind(name, self._refine(name, result))

    def _lower(self, node: Node) -> list[AnyValue]:
        from iree_frontend_onnx import fallback

        folded = fold(node, self.opset_protos())
        if folded is not None:
            return list(folded)
        domain = "" if node.proto.domain == "ai.onnx" else node.proto.domain
        lowering = registry.find(domain, node.op, node.version)
        if lowering is None:
            return fallback.lower(
                node, f"operator {node.op} has no lowering for opset {node.version}"
            )
        try:
            return _as_list(lowering(node))
        except Unsupported as problem:
            return fallback.lower(node, problem.reason, problem.hint)
        except IreeError:
            raise
        except Exception as error:  # One bad node must not keep the others from being reported.
            reason = f"its lowering failed ({type(error).__name__}: {error})"
            return fallback.lower(node, reason, "Check the model with onnx.checker.check_model.")

    def _report_missing_lowering(self, proto: onnx.NodeProto, title: str) -> None:
        from iree_frontend_onnx import fallback

        domain = "" if proto.domain == "ai.onnx" else proto.domain
        known = registry.find(domain, proto.op_type, self.version(domain)) is not None
        if not known and not fallback.may_lower(proto, self):
            self.state.problems.append(
                Problem(title, f"operator {proto.op_type} has no lowering", None)
            )

    def _poison(self, proto: onnx.NodeProto) -> None:
        """Stand-ins of the declared type let the nodes that follow be checked too."""
        for name in proto.output:
            declared = self._types.get(name)
            if declared is None or declared[1] is None:
                self.bind(name, Poison())
                continue
            element, dims = declared
            sizes = [d if isinstance(d, int) else index.value(1) for d in dims or ()]
            self.bind(name, Value(tensor=tensors.fill(sizes, element, 0)))

    def _refine(self, name: str, value: AnyValue) -> AnyValue:
        """Apply declared sizes: static ones, and names that tell equal sizes."""
        if not isinstance(value, Value) or value._tensor is None:
            return value
        declared = self._types.get(name)
        if declared is None or declared[1] is None or len(declared[1]) != value.rank:
            return value
        dims: list[Dim] = []
        for dim, hint in zip(value.dims, declared[1], strict=True):
            # Shape inference makes 0 of a size that it cannot divide.
            if isinstance(dim, int) or hint is None or hint == 0:
                dims.append(dim)
            elif isinstance(hint, int):
                dims.append(hint)
            else:
                known = self.symbol(hint)
                if known is None:
                    self.bind_symbol(hint, dim)
                dims.append(dim if known is None or isinstance(known, int) else known)
        return Value(tensor=tensors.with_dims(value._tensor, dims))


def _as_list(outputs: Outputs) -> list[AnyValue]:
    many = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [Value(tensor=o) if isinstance(o, Tensor) else o for o in many]  # type: ignore[misc]


def _instantiate(
    proto: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto], absent: set[str]
) -> onnx.NodeProto:
    """Return a node of a function body with attribute references replaced by their values."""
    node = onnx.NodeProto()
    node.CopyFrom(proto)
    for place, name in enumerate(node.input):
        if name in absent:
            node.input[place] = ""
    del node.attribute[:]
    for attribute in proto.attribute:
        made = onnx.AttributeProto()
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in attributes:
                continue
            made.CopyFrom(attributes[attribute.ref_attr_name])
            made.name = attribute.name
        else:
            made.CopyFrom(attribute)
            for graph in [made.g, *made.graphs] if made.HasField("g") or made.graphs else []:
                nodes = [_instantiate(n, attributes, absent) for n in graph.node]
                del graph.node[:]
                graph.node.extend(nodes)
        node.attribute.append(made)
    return node


def sparse_value(proto: onnx.SparseTensorProto) -> Value:
    """Return a sparse constant as a dense one."""
    import numpy as np

    from iree_core.lowering.values import array_constant

    values = onnx.numpy_helper.to_array(proto.values)
    places = onnx.numpy_helper.to_array(proto.indices)
    dense = np.zeros(tuple(proto.dims), values.dtype)
    if places.ndim == 1:
        dense.reshape(-1)[places] = values
    else:
        dense[tuple(places.T)] = values
    return Value(constant=array_constant(dense, name=proto.values.name))


def declared_type(info: onnx.ValueInfoProto) -> tuple[ElementType, OnnxDims] | None:
    """Return element type and sizes of a declaration; None for what is no numeric tensor."""
    if not info.type.HasField("tensor_type") or not info.type.tensor_type.elem_type:
        return None
    kind = info.type.tensor_type
    try:
        element = from_onnx(kind.elem_type)
    except TypeError:
        return None
    if not kind.HasField("shape"):
        return element, None
    dims: list[int | str | None] = []
    for dim in kind.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            dims.append(dim.dim_value)
        else:
            dims.append(dim.dim_param or None)
    return element, tuple(dims)


def import_main(state: State, name: str = "main") -> None:
    """Import the model's graph as public function ``name``; problems end up in the state."""
    graph = state.model.graph
    constants = {name for name, _ in state.model.initializers(graph)}
    inputs = [i for i in graph.input if i.name not in constants]
    declared = [_input_type(info) for info in inputs]
    with ir.InsertionPoint(state.module.body), index.sharing():
        types = [tensors.tensor_type(_sizes(dims), element) for element, dims in declared]
        function = func.FuncOp(name, ir.FunctionType.get(types, []))
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            importer = GraphImporter(state, ConstantPool(state.parameters, block))
            importer.declare(graph)
            for info, argument, (element, dims) in zip(
                inputs, block.arguments, declared, strict=True
            ):
                importer.bind(info.name, _argument(importer, argument, element, dims))
            importer.import_nodes(graph.node)
            if state.problems:
                return
            results = [_result(importer, o) for o in graph.output]
            func.ReturnOp([t.value for t in results])
        function.attributes["function_type"] = ir.TypeAttr.get(
            ir.FunctionType.get(types, [t.value.type for t in results])
        )
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(
            [_attributes(i.name, e, d) for i, (e, d) in zip(inputs, declared, strict=True)]
        )
        function.attributes["res_attrs"] = ir.ArrayAttr.get(
            [_result_attributes(importer, o, t) for o, t in zip(graph.output, results, strict=True)]
        )


def _sizes(dims: Sequence[int | str]) -> list[int]:
    return [d if isinstance(d, int) else DYNAMIC for d in dims]


def _input_type(info: onnx.ValueInfoProto) -> tuple[ElementType, tuple[int | str, ...]]:
    found = declared_type(info)
    kind = info.type.WhichOneof("value")
    if found is None:
        what = kind.replace("_type", "") if kind else "value without type"
        if kind == "tensor_type":
            what = "tensor of " + onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type)
        raise ImportModelError(
            f"The input {info.name!r} is a {what}; inputs must be numeric tensors.",
            hint="Move what produces or consumes it out of the model.",
        )
    element, dims = found
    if dims is None:
        raise ImportModelError(
            f"The input {info.name!r} declares no rank.",
            hint="Export the model with input shapes (sizes may stay dynamic).",
        )
    return element, tuple(f"{info.name}_dim{a}" if d is None else d for a, d in enumerate(dims))


def _argument(
    importer: GraphImporter, argument: ir.Value, element: ElementType, dims: Sequence[int | str]
) -> Value:
    tensor = Tensor.of(argument, element)
    shared: list[Dim] = []
    for size, name in zip(tensor.dims, dims, strict=True):
        if isinstance(name, str) and importer.symbol(name) is None:
            importer.bind_symbol(name, size)
        known = importer.symbol(name) if isinstance(name, str) else size
        shared.append(size if known is None else known)
    return Value(tensor=Tensor(argument, tuple(shared), element))


def _result(importer: GraphImporter, info: onnx.ValueInfoProto) -> Tensor:
    value = importer.lookup(info.name)
    if isinstance(value, Optional_):
        value = value.value  # type: ignore[assignment]
    if isinstance(value, Sequence_) or not isinstance(value, Value):
        raise ImportModelError(
            f"The output {info.name!r} is a sequence or absent; outputs must be tensors."
        )
    return value.tensor(importer.pool)


def _attributes(name: str, element: ElementType, dims: Sequence[int | str]) -> ir.DictAttr:
    found = {"iree.name": ir.StringAttr.get(name)}
    names = [d for d in dims if isinstance(d, str)]
    if names:
        found["iree.dims"] = ir.ArrayAttr.get([ir.StringAttr.get(n) for n in names])
    if element.name != element.mlir:
        found["iree.dtype"] = ir.StringAttr.get(element.name)
    return ir.DictAttr.get(found)


def _result_attributes(
    importer: GraphImporter, info: onnx.ValueInfoProto, tensor: Tensor
) -> ir.DictAttr:
    declared = declared_type(info)
    hints = declared[1] if declared and declared[1] and len(declared[1]) == tensor.rank else None
    by_dim = {dim: name for name, dim in importer._symbols.items() if not isinstance(dim, int)}
    names: list[int | str] = []
    for axis, dim in enumerate(tensor.dims):
        if isinstance(dim, int):
            names.append(dim)
            continue
        hint = hints[axis] if hints else None
        names.append(
            by_dim.get(dim) or (hint if isinstance(hint, str) else f"{info.name}_dim{axis}")
        )
    return _attributes(info.name, tensor.element, names)
