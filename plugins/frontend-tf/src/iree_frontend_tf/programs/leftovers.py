"""Operations of TensorFlow that its own passes leave, mostly for dynamic shapes.

They are handed to the lowerings of TFLite's operators that mean the same; the table says how
operands and attributes are called there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iree_core.errors import UnsupportedOperatorError
from iree_core.ir import ir
from iree_core.lowering import element, index, tensors
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.params import ParameterStore
from iree_frontend_tf.tflite import registry
from iree_frontend_tf.tflite.file import OperatorInfo, TensorInfo
from iree_frontend_tf.tflite.registry import Node, Unsupported
from iree_frontend_tf.tflite.values import Constant, ConstantPool, Value

_PRINTS = ("PrintV2", "Assert")
_CALLS = ("EagerPyFunc", "PyFunc", "PyFuncStateless")
_SET_ASIDE = "Dynamic"  # prefix of operations that TensorFlow's passes should not touch


class _Options:
    """TFLite's options of one operator, under the names of its schema."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: self._values.get(name, 0)


@dataclass(frozen=True)
class _Graph:
    tensors: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class _Importer:
    """The part of TFLite's importer that lowerings of single operators use."""

    graph: _Graph
    pool: ConstantPool


@dataclass(frozen=True)
class _Rule:
    """How an operation is called in TFLite.

    Attributes:
        name: the operator there.
        options: from attributes to its options.
        operands: from values to its operands, where they differ.
    """

    name: str
    options: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {}
    operands: Callable[[list[Value], ConstantPool], list[Value]] = lambda values, _: values


def lower(
    module: ir.Module, parameters: ParameterStore, places: Mapping[str, Sequence[str]]
) -> None:
    """Replace all operations of the ``tf`` dialect in ``module``.

    ``places`` names the nodes of every kind of operation, for the error message.

    Raises:
        UnsupportedOperatorError: naming all that have no lowering.
    """
    found: list[ir.Operation] = []

    def visit(op: ir.OpView) -> ir.WalkResult:
        if op.operation.name.startswith("tf."):
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    if not found:
        return
    registry.load()
    found = _without_dead(found)
    problems: dict[str, None] = {}
    for op in found:
        try:
            _replace(op, parameters)
        except Unsupported as problem:
            nodes = ", ".join(places.get(_name(op), ())) or "made by TensorFlow"
            problems[f"{_name(op)} ({nodes}): {problem.reason}"] = None
    if problems:
        count = len(problems)
        raise UnsupportedOperatorError(
            f"{count} kind{'s' if count > 1 else ''} of operations cannot be compiled. "
            + " ".join(f"[{n}] {problem}." for n, problem in enumerate(problems, 1)),
            hint="Static shapes (a tf.TensorSpec without None) have more lowerings.",
        )


def _without_dead(operations: list[ir.Operation]) -> list[ir.Operation]:
    """Erase what nobody uses: messages of assertions, and printing with its strings."""
    kept = []
    for op in reversed(operations):
        unused = not any(list(result.uses) for result in op.results)
        if unused and (op.results or _name(op) in _PRINTS) and _name(op) not in _CALLS:
            op.erase()
        else:
            kept.append(op)
    return kept[::-1]


def _name(op: ir.Operation) -> str:
    return op.name.removeprefix("tf.").removeprefix(_SET_ASIDE)


def _replace(op: ir.Operation, parameters: ParameterStore) -> None:
    rule = _RULES.get(_name(op))
    lowering = registry.find(rule.name) if rule is not None else None
    if rule is None or lowering is None:
        raise Unsupported("there is no lowering")
    block = op
    while block.name != "func.func":
        block = block.parent.operation
    pool = ConstantPool(parameters, block.regions[0].blocks[0])
    with ir.InsertionPoint(op), op.location, index.sharing():
        values = rule.operands([_value(operand) for operand in op.operands], pool)
        if rule.name == "RESHAPE":
            values[1] = _declared_shape(op) or values[1]
        options = _Options(rule.options(_attributes(op)))
        node = _node(rule.name, values, op, options, pool)
        made = lowering(node)
        many = made if isinstance(made, (list, tuple)) else [made]
        for old, new in zip(op.results, many, strict=True):
            tensor = new if isinstance(new, Tensor) else new.tensor(pool)
            old.replace_all_uses_with(_fitted(tensor.value, old.type))
    op.erase()


def _node(
    name: str, values: list[Value], op: ir.Operation, options: _Options, pool: ConstantPool
) -> Node:
    count = len(values)
    results = [_info(ir.RankedTensorType(r.type)) for r in op.results]
    infos = [*(_declared(v) for v in values), *results]
    info = OperatorInfo(
        name, False, 1, tuple(range(count)), tuple(range(count, len(infos))), (), options
    )
    importer = _Importer(_Graph(tuple(infos)), pool)
    return Node(info, values, importer)  # type: ignore[arg-type]


def _info(kind: ir.RankedTensorType) -> TensorInfo:
    dims = tuple(None if d == DYNAMIC else d for d in kind.shape)
    found = element.from_name(str(kind.element_type))
    return TensorInfo(_name_of(found), found, found.name, dims, 0, None, False, None)


def _name_of(found: element.ElementType) -> str:
    return f"tensor of {found.name}"


def _declared(value: Value) -> TensorInfo:
    dims = tuple(d if isinstance(d, int) else None for d in value.dims)
    found = value.element
    return TensorInfo(_name_of(found), found, found.name, dims, 0, None, False, None)


def _value(operand: ir.Value) -> Value:
    kind = ir.RankedTensorType(operand.type)
    found = element.from_name(str(kind.element_type))
    array = _constant(operand)
    if array is not None:
        shaped = array.astype(found.numpy).reshape(tuple(kind.shape))
        return Value(constant=Constant("constant", shaped.shape, found, lambda: shaped))
    return Value(tensor=Tensor.of(operand, found))


def _constant(operand: ir.Value) -> np.ndarray | None:
    owner = operand.owner
    if not isinstance(owner, ir.Operation | ir.OpView):
        return None
    if owner.operation.name not in ("stablehlo.constant", "arith.constant"):
        return None
    attribute = owner.operation.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        return None
    if attribute.is_splat:
        count = int(np.prod(ir.RankedTensorType(operand.type).shape))
        return np.full(count, attribute.get_splat_value().value)
    return np.array(list(attribute))


def _declared_shape(op: ir.Operation) -> Value | None:
    """Return the shape of a result with at most one dynamic size, -1 there."""
    sizes = [-1 if d == DYNAMIC else d for d in ir.RankedTensorType(op.results[0].type).shape]
    if sizes.count(-1) > 1 or 0 in sizes:
        return None
    array = np.array(sizes, np.int32)
    return Value(constant=Constant("shape", array.shape, element.I32, lambda: array))


def _fitted(value: ir.Value, kind: ir.Type) -> ir.Value:
    if value.type == kind:
        return value
    return ir.Operation.create("tensor.cast", results=[kind], operands=[value]).result


def _attributes(op: ir.Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for named in op.attributes:
        name = named if isinstance(named, str) else named.name
        value = op.attributes[name]
        if isinstance(value, ir.StringAttr | ir.IntegerAttr | ir.BoolAttr | ir.FloatAttr):
            found[name] = value.value
        elif isinstance(value, ir.ArrayAttr):
            found[name] = [item.value for item in value if isinstance(item, ir.IntegerAttr)]
    return found


def _masks(a: Mapping[str, Any]) -> dict[str, Any]:
    names = {"Begin": "begin", "End": "end", "Ellipsis": "ellipsis", "NewAxis": "new_axis",
             "ShrinkAxis": "shrink_axis"}  # fmt: skip
    return {f"{there}Mask": a.get(f"{here}_mask", 0) for there, here in names.items()}


def _corners(a: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "AlignCorners": a.get("align_corners", False),
        "HalfPixelCenters": a.get("half_pixel_centers", False),
    }


def _windows(a: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of convolutions and pooling over images [N, H, W, C]."""
    if a.get("data_format", "NHWC") != "NHWC":
        raise Unsupported("images must have their channels last (NHWC)")
    paddings = {"SAME": 0, "VALID": 1}
    if a["padding"] not in paddings:
        raise Unsupported("explicit padding is not supported")
    strides, dilations = a["strides"], a.get("dilations", [1, 1, 1, 1])
    kernel = a.get("ksize", [1, 1, 1, 1])
    return {
        "Padding": paddings[a["padding"]], "StrideH": strides[1], "StrideW": strides[2],
        "DilationHFactor": dilations[1], "DilationWFactor": dilations[2],
        "FilterHeight": kernel[1], "FilterWidth": kernel[2],
    }  # fmt: skip


def _filters_first(values: list[Value], pool: ConstantPool) -> list[Value]:
    """Filters [H, W, in, out] to [out, H, W, in]."""
    x, filters = values
    return [x, Value(tensor=tensors.transpose(filters.tensor(pool), [3, 0, 1, 2]))]


def _filters_by_channel(values: list[Value], pool: ConstantPool) -> list[Value]:
    """Filters [H, W, channels, multiplier] to [1, H, W, channels * multiplier]."""
    x, filters = values
    flat = tensors.collapse(filters.tensor(pool), [[0], [1], [2, 3]])
    return [x, Value(tensor=tensors.expand_dims(flat, [0]))]


def _transposed(values: list[Value], pool: ConstantPool) -> list[Value]:
    """Filters [H, W, out, in] to [out, H, W, in]."""
    sizes, filters, gradient = values
    turned = tensors.transpose(filters.tensor(pool), [2, 0, 1, 3])
    return [sizes, Value(tensor=turned), gradient]


def _adjoints(a: Mapping[str, Any]) -> dict[str, Any]:
    return {"AdjX": a.get("adj_x", False), "AdjY": a.get("adj_y", False)}


def _running(a: Mapping[str, Any]) -> dict[str, Any]:
    return {"Exclusive": a.get("exclusive", False), "Reverse": a.get("reverse", False)}


def _mirror(a: Mapping[str, Any]) -> dict[str, Any]:
    return {"Mode": {"REFLECT": 0, "SYMMETRIC": 1}[a["mode"]]}


def _sequences(a: Mapping[str, Any]) -> dict[str, Any]:
    return {"SeqDim": a["seq_dim"], "BatchDim": a.get("batch_dim", 0)}


def _count(a: Mapping[str, Any]) -> dict[str, Any]:
    return {"Num": a.get("num", 0), "Axis": a.get("axis", 0)}


_RULES: Mapping[str, _Rule] = {
    "AvgPool": _Rule("AVERAGE_POOL_2D", _windows),
    "BatchMatMulV2": _Rule("BATCH_MATMUL", _adjoints),
    "BatchMatMulV3": _Rule("BATCH_MATMUL", _adjoints),
    "BatchToSpaceND": _Rule("BATCH_TO_SPACE_ND"),
    "Conv2D": _Rule("CONV_2D", _windows, _filters_first),
    "Conv2DBackpropInput": _Rule("TRANSPOSE_CONV", _windows, _transposed),
    "DepthwiseConv2dNative": _Rule("DEPTHWISE_CONV_2D", _windows, _filters_by_channel),
    "Cumsum": _Rule("CUMSUM", _running),
    "MirrorPad": _Rule("MIRROR_PAD", _mirror),
    "OneHot": _Rule("ONE_HOT", lambda a: {"Axis": a.get("axis", -1)}),
    "Reshape": _Rule("RESHAPE"),
    "ResizeBilinear": _Rule("RESIZE_BILINEAR", _corners),
    "ResizeNearestNeighbor": _Rule("RESIZE_NEAREST_NEIGHBOR", _corners),
    "ReverseSequence": _Rule("REVERSE_SEQUENCE", _sequences),
    "Slice": _Rule("SLICE"),
    "SpaceToBatchND": _Rule("SPACE_TO_BATCH_ND"),
    "Split": _Rule("SPLIT"),
    "SplitV": _Rule("SPLIT_V"),
    "StridedSlice": _Rule("STRIDED_SLICE", _masks),
    "Unique": _Rule("UNIQUE", lambda _: {"IdxOutType": 2}),
    "Unpack": _Rule("UNPACK", _count),
    "Where": _Rule("WHERE"),
}


def supported() -> Sequence[str]:
    """Return the names of all operations in the table, sorted."""
    return sorted(_RULES)
