"""Evaluating nodes whose inputs are all known at import.

Changes of shape and type of weights stay lazy, so that nothing is read or copied before the
module is written; small results are computed at once by the reference implementation of ONNX.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray

from iree_core.lowering.element import ElementType, from_numpy
from iree_core.lowering.values import Constant, Value
from iree_frontend_onnx.elements import from_onnx, to_onnx
from iree_frontend_onnx.registry import Node

EAGER_LIMIT = 1 << 16
"""Nodes reading and writing at most this many elements are evaluated while importing."""

_PURE_NAMES = """
Abs Add And ArgMax ArgMin BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip
Concat ConstantOfShape Cos CumSum Div Equal Exp Expand Flatten Floor Gather GatherND Greater
GreaterOrEqual Identity Less LessOrEqual Log Max Mean Min Mod Mul Neg NonZero Not OneHot Or
Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Round
ScatterElements ScatterND Shape Sigmoid Sign Sin Size Slice Split Sqrt Squeeze Sub Sum Tanh
Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
_PURE = frozenset(_PURE_NAMES.split())
_LAZY = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Flatten", "Identity"})


def fold(node: Node, opsets: Sequence[onnx.OperatorSetIdProto]) -> list[Value] | None:
    """Return the outputs of ``node`` as constants, or None where it has to run."""
    if node.op not in _PURE or node.proto.domain not in ("", "ai.onnx") or not node.inputs:
        return None
    given = [v for v in node.inputs if v is not None]
    if not all(isinstance(v, Value) for v in given):
        return None
    values = [v for v in given if isinstance(v, Value)]
    if any(v.constant is None and v.array() is None for v in values):
        return None
    if node.op in _LAZY and values[0].constant is not None and values[0].constant.size > 64:
        lazy = _fold_lazily(node, values, opsets)
        if lazy is not None:
            return [lazy]
    if any(_size(v) > EAGER_LIMIT for v in values):
        return None
    if node.op in ("ConstantOfShape", "Expand", "Tile", "OneHot", "Range"):
        inferred = node.importer.inferred_type(node.proto.output[0])
        if inferred is None or _count(inferred[1]) > EAGER_LIMIT:
            return None
    arrays = [v.array() if isinstance(v, Value) else None for v in node.inputs]
    try:
        results = evaluate(node.proto, arrays, opsets)
    except Exception:  # The reference rejects some valid nodes; their lowering decides then.
        return None
    return [_wrap(r, name) for r, name in zip(results, node.proto.output, strict=False)]


def _fold_lazily(
    node: Node, values: Sequence[Value], opsets: Sequence[onnx.OperatorSetIdProto]
) -> Value | None:
    source = values[0].constant
    assert source is not None
    rest = [v.array() for v in values[1:]]

    def compute() -> NDArray:
        return evaluate(node.proto, [source.read(), *rest], opsets)[0]

    element = source.element
    if node.op == "Cast":
        element = from_onnx(node.attr("to"))
        shape: Sequence[int] = source.shape
    elif node.op == "Identity":
        return values[0]
    else:
        # A stand-in without storage shows the shape that the operator gives.
        stand_in = np.broadcast_to(np.zeros((), np.int8), source.shape)
        shape = evaluate(node.proto, [stand_in, *rest], opsets)[0].shape
    name = f"{source.name}.{node.op.lower()}"
    return Value(constant=Constant(name, tuple(shape), element, compute))


def evaluate(
    proto: onnx.NodeProto,
    arrays: Sequence[NDArray | None],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> list[NDArray]:
    """Run one node on arrays with the reference implementation of ONNX."""
    from onnx.reference import ReferenceEvaluator  # most models fold nothing with it

    inputs = [
        onnx.helper.make_tensor_value_info(name, _data_type(array), array.shape)
        for name, array in zip(proto.input, arrays, strict=False)
        if array is not None
    ]
    unique = list({i.name: i for i in inputs}.values())
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "fold", unique, outputs)
    model = onnx.helper.make_model(graph, opset_imports=list(opsets))
    feeds = {n: a for n, a in zip(proto.input, arrays, strict=False) if a is not None}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        results = ReferenceEvaluator(model).run(None, feeds)
    by_name = dict(zip([o.name for o in outputs], results, strict=True))
    return [np.asarray(by_name[n]) for n in proto.output if n]


def _data_type(array: NDArray) -> int:
    return to_onnx(from_numpy(array.dtype))


def _wrap(array: NDArray, name: str) -> Value:
    element: ElementType = from_numpy(array.dtype)
    return Value(constant=Constant(name, tuple(array.shape), element, lambda: array))


def _size(value: Value) -> int:
    return (
        value.constant.size
        if value.constant is not None
        else prod(d for d in value.dims if isinstance(d, int))
    )


def _count(dims: Sequence[int | str | None] | None) -> float:
    if dims is None or not all(isinstance(d, int) for d in dims):
        return float("inf")
    return prod(d for d in dims if isinstance(d, int))
