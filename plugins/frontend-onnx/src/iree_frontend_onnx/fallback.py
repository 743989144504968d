"""What is done about a node that the table lacks: expand its function body, or ask torch-mlir.

1. A function of the model itself, or the function body that the ONNX standard gives for the
   operator, is imported node by node.
2. A model of this one node goes through torch-mlir's ONNX conversions in a forked child (they
   can abort or hang) and comes back as text of a private function.
"""

from __future__ import annotations

import onnx

from iree_core.ir import func, ir
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import Value
from iree_core.passes.state import Note
from iree_frontend_onnx.elements import to_onnx
from iree_frontend_onnx.registry import Node, Unsupported
from iree_frontend_onnx.torch_mlir_route import lower_one_node
from iree_frontend_onnx.values import AnyValue

_STATIC_ONLY = frozenset({"TfIdfVectorizer"})
"""What torch-mlir gets wrong without a word where a size is dynamic."""


def lower(node: Node, reason: str, hint: str | None = None) -> list[AnyValue]:
    """Return the node's outputs by another route.

    Raises:
        Unsupported: with ``reason``, if no route knows the node.
    """
    state = node.importer.state
    function = state.model.functions.get((node.proto.domain, node.op))
    if function is None:
        function = _standard_function(node)
    if function is not None:
        before = len(state.problems)
        try:
            outputs = list(node.proto.output)
            return node.importer.import_function(function, node.inputs, node.attributes, outputs)
        except Unsupported:
            # The node itself is what the user knows, not the nodes inside its body.
            inner = "; ".join(p.reason for p in state.problems[before:])
            del state.problems[before:]
            reason = f"{reason}; its function body needs: {inner}" if inner else reason
    made = _through_torch_mlir(node)
    if made is None:
        raise Unsupported(reason, hint)
    where = f"{node.proto.name or node.op} ({node.op})"
    state.fallbacks.append(Note("imported by torch-mlir", where, reason))
    return made


def may_lower(proto: onnx.NodeProto, importer: object) -> bool:
    """Tell whether a node without lowering could be expanded as a function."""
    functions = importer.state.model.functions  # type: ignore[attr-defined]
    if (proto.domain, proto.op_type) in functions:
        return True
    version = importer.version(proto.domain)  # type: ignore[attr-defined]
    schema = _schema(proto, version)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def _schema(proto: onnx.NodeProto, version: int) -> onnx.defs.OpSchema | None:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    try:
        return onnx.defs.get_schema(proto.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def _standard_function(node: Node) -> onnx.FunctionProto | None:
    schema = _schema(node.proto, node.version)
    if schema is None:
        return None
    found = None
    if schema.has_context_dependent_function:
        known = [v for v in schema.context_dependent_function_opset_versions if v <= node.version]
        types = [_type_proto(v).SerializeToString() for v in node.inputs]
        if known:
            body = schema.get_context_dependent_function_with_opset_version(
                max(known), node.proto.SerializeToString(), types
            )
            found = onnx.FunctionProto.FromString(body)
    elif schema.has_function:
        known = [v for v in schema.function_opset_versions if v <= node.version]
        if known:
            body = schema.get_function_with_opset_version(max(known))
            found = (
                body
                if isinstance(body, onnx.FunctionProto)
                else (onnx.FunctionProto.FromString(body))
            )
    if found is None or not found.node:
        return None
    made = onnx.FunctionProto()
    made.CopyFrom(found)
    given = {a.name for a in node.proto.attribute}
    for name, attribute in schema.attributes.items():
        default = attribute.default_value
        if (
            name not in given
            and default.name
            and not any(a.name == name for a in made.attribute_proto)
        ):
            made.attribute_proto.append(default)
    return made


def _type_proto(value: AnyValue | None) -> onnx.TypeProto:
    if not isinstance(value, Value):
        return onnx.TypeProto()
    shape = [d if isinstance(d, int) else None for d in value.dims]
    return onnx.helper.make_tensor_type_proto(to_onnx(value.element), shape)


def _through_torch_mlir(node: Node) -> list[AnyValue] | None:
    values = [v for v in node.inputs if v is not None]
    if not all(isinstance(v, Value) for v in values):
        return None
    dims = [dim for v in values if isinstance(v, Value) for dim in v.dims]
    if node.op in _STATIC_ONLY and not all(isinstance(dim, int) for dim in dims):
        return None
    model = _one_node_model(node)
    if model is None:
        return None
    text = lower_one_node(model.SerializeToString())
    if text is None:
        return None
    return _call(node, text)


def _one_node_model(node: Node) -> onnx.ModelProto | None:
    """Return a model of the node with its known operands as initializers."""
    inputs, initializers = [], []
    seen = set()
    for name, value in zip(node.proto.input, node.inputs, strict=False):
        if not isinstance(value, Value) or name in seen:
            continue
        seen.add(name)
        array = value.array() if _small(value) else None
        if array is not None:
            initializers.append(onnx.numpy_helper.from_array(array, name))
            continue
        shape = [d if isinstance(d, int) else f"{name}_{a}" for a, d in enumerate(value.dims)]
        inputs.append(onnx.helper.make_tensor_value_info(name, to_onnx(value.element), shape))
    outputs = []
    for name in node.proto.output:
        if not name:
            continue
        declared = node.importer.inferred_type(name)
        if declared is None:
            outputs.append(onnx.ValueInfoProto(name=name))
        else:
            outputs.append(
                onnx.helper.make_tensor_value_info(name, to_onnx(declared[0]), declared[1])
            )
    graph = onnx.helper.make_graph([node.proto], "node", inputs, outputs, initializers)
    model = onnx.helper.make_model(graph, opset_imports=node.importer.opset_protos())
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # Without inference the output types stay as declared.
        return None
    # The importer takes a result of unknown rank for a scalar.
    if not all(o.type.tensor_type.HasField("shape") for o in model.graph.output):
        return None
    return model


def _small(value: Value) -> bool:
    return value.constant is None or value.constant.size <= 4096


def _call(node: Node, text: str) -> list[AnyValue] | None:
    """Inline ``text`` as a private function of the module and call it."""
    state = node.importer.state
    parsed = ir.Module.parse(text, state.module.context)
    functions = [op for op in parsed.body.operations if isinstance(op, func.FuncOp)]
    if len(functions) != 1 or len(list(parsed.body.operations)) != 1:
        return None
    name = f"onnx_{node.op}_{len(state.fallbacks)}"
    function = functions[0]
    function.attributes["sym_name"] = ir.StringAttr.get(name)
    function.attributes["sym_visibility"] = ir.StringAttr.get("private")
    state.module.body.append(function.operation.clone())
    operands = []
    seen = set()
    for given, value in zip(node.proto.input, node.inputs, strict=False):
        if isinstance(value, Value) and given not in seen:
            seen.add(given)
            if not _small(value) or value.array() is None:
                operands.append(node.to_tensor(value))
    kind = ir.FunctionType(function.type)
    cast = [_cast(t, wanted) for t, wanted in zip(operands, kind.inputs, strict=True)]
    call = func.CallOp(kind.results, ir.FlatSymbolRefAttr.get(name), cast)
    results: list[AnyValue] = []
    for output, value in zip([n for n in node.proto.output if n], call.results, strict=True):
        declared = node.importer.inferred_type(output)
        element = declared[0] if declared else node.value(0).element
        results.append(Value(tensor=Tensor.of(value, element)))
    return results


def _cast(tensor: Tensor, wanted: ir.Type) -> ir.Value:
    from iree_core.ir import tensor as tensor_dialect

    if tensor.value.type == wanted:
        return tensor.value
    return tensor_dialect.cast(wanted, tensor.value)
