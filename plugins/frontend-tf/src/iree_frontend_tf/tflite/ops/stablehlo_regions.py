"""StableHLO builtins with a graph that says how elements are compared or joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iree_core.ir import ir
from iree_core.lowering import tensors
from iree_core.lowering.tensors import Tensor
from iree_core.passes.input.stablehlo_regions import retype
from iree_core.passes.input.support import create
from iree_frontend_tf.tflite.file import OperatorInfo, TensorInfo
from iree_frontend_tf.tflite.ops.stablehlo import (
    Attributes,
    array,
    comparison,
    emit,
    results,
    stablehlo_type,
)
from iree_frontend_tf.tflite.registry import Node, lowering

_SCALAR_OPERATIONS = frozenset((
    "ABS", "ADD", "AND", "CLAMP", "CONVERT", "DIVIDE", "EXPONENTIAL", "FLOOR", "LOG", "LOGISTIC",
    "MAXIMUM", "MINIMUM", "MULTIPLY", "NEGATE", "OR", "POWER", "REMAINDER", "RSQRT", "SELECT",
    "SUBTRACT", "TANH", "COMPARE",
))  # fmt: skip
# TFLite's own operators that the converter leaves in such graphs.
_OWN_OPERATIONS = {
    "ADD": "add", "SUB": "subtract", "MUL": "multiply", "MAXIMUM": "maximum",
    "MINIMUM": "minimum", "LOGICAL_AND": "and", "LOGICAL_OR": "or", "SELECT_V2": "select",
}  # fmt: skip
_OWN_COMPARISONS = {
    "EQUAL": "EQ", "NOT_EQUAL": "NE", "GREATER_EQUAL": "GE", "GREATER": "GT", "LESS_EQUAL": "LE",
    "LESS": "LT",
}  # fmt: skip


@lowering("STABLEHLO_REDUCE")
def reduce(node: Node) -> list[Tensor]:
    """Reductions of any kind over dimensions."""
    op = emit(node, "reduce", {"dimensions": array(node.option_list("Dimensions"))}, regions=1)
    _fill(node, op, node.option("BodySubgraphIndex", -1))
    return results(node, op)


@lowering("STABLEHLO_REDUCE_WINDOW")
def reduce_window(node: Node) -> list[Tensor]:
    """Reductions of any kind over sliding windows."""
    rank = node.tensor(0).rank
    attributes: Attributes = {
        key: array(node.option_list(name) or [1] * rank)
        for key, name in (
            ("window_dimensions", "WindowDimensions"), ("window_strides", "WindowStrides"),
            ("base_dilations", "BaseDilations"), ("window_dilations", "WindowDilations"),
        )
    }  # fmt: skip
    padding = np.array(node.option_list("Padding") or [0] * (2 * rank), np.int64)
    attributes["padding"] = ir.DenseElementsAttr.get(padding.reshape(rank, 2))
    op = emit(node, "reduce_window", attributes, regions=1)
    _fill(node, op, node.option("BodySubgraphIndex", -1))
    return results(node, op)


@lowering("STABLEHLO_SORT")
def sort(node: Node) -> list[Tensor]:
    """Tensors sorted together along a dimension."""
    integer = ir.IntegerType.get_signless(64)
    op = emit(node, "sort", {
        "dimension": ir.IntegerAttr.get(integer, node.option("Dimension", 0)),
        "is_stable": ir.BoolAttr.get(bool(node.option("IsStable", False))),
    }, regions=1)  # fmt: skip
    _fill(node, op, node.option("ComparatorSubgraphIndex", -1), twice=True)
    return results(node, op)


@lowering("STABLEHLO_SCATTER")
def scatter(node: Node) -> list[Tensor]:
    """Windows of updates joined in at positions that are computed."""
    lists = (
        ("update_window_dims", "UpdateWindowDims"), ("inserted_window_dims", "InsertedWindowDims"),
        ("scatter_dims_to_operand_dims", "ScatterDimsToOperandDims"),
    )  # fmt: skip
    parts = [f"{key} = {found}" for key, name in lists if (found := node.option_list(name))]
    parts.append(f"index_vector_dim = {node.option('IndexVectorDim', 0)}")
    op = emit(node, "scatter", {
        "scatter_dimension_numbers": ir.Attribute.parse(
            f"#stablehlo.scatter<{', '.join(parts)}>"
        ),
        "indices_are_sorted": ir.BoolAttr.get(bool(node.option("IndicesAreSorted", False))),
        "unique_indices": ir.BoolAttr.get(bool(node.option("UniqueIndices", False))),
    }, regions=1)  # fmt: skip
    _fill(node, op, node.option("UpdateComputationSubgraphIndex", -1))
    return results(node, op)


def _fill(node: Node, op: ir.Operation, number: int, *, twice: bool = False) -> None:
    """Put graph ``number`` into the region of ``op`` as operations on scalars.

    Its arguments are two per result: side by side where ``twice``, else first those of one side.
    """
    graphs = node.importer.state.model.graphs
    if not 0 <= number < len(graphs):
        node.unsupported(f"it refers to graph {number}, which is not there")
    graph = graphs[number]
    scalars = [
        stablehlo_type(node.element(i), ()) for i in range(len(node.info.outputs))
    ]  # fmt: skip
    types = [t for t in scalars for _ in range(2)] if twice else [*scalars, *scalars]
    if len(graph.inputs) != len(types):
        node.unsupported(f"graph {graph.name!r} takes {len(graph.inputs)} inputs")
    here = ir.Location.current
    block = op.regions[0].blocks.append(*types, arg_locs=[here] * len(types))
    known: dict[int, ir.Value] = dict(zip(graph.inputs, block.arguments, strict=True))

    def value(place: int) -> ir.Value:
        if place not in known:
            known[place] = _constant(node, graph.tensors[place])
        return known[place]

    with ir.InsertionPoint(block):
        for info in graph.operators:
            made = _scalar(node, info, [value(i) for i in info.inputs], graph.tensors)
            known[info.outputs[0]] = made
        create("stablehlo.return", [], [value(place) for place in graph.outputs])


def _scalar(
    node: Node, info: OperatorInfo, operands: Sequence[ir.Value], declared: Sequence[TensorInfo]
) -> ir.Value:
    """Emit one operator of a graph that works on scalars."""
    name = info.name.removeprefix("STABLEHLO_")
    foreign = name != info.name
    element = declared[info.outputs[0]].element
    known = (
        name in _SCALAR_OPERATIONS if foreign else name in {**_OWN_OPERATIONS, **_OWN_COMPARISONS}
    )
    if not known or element is None or len(info.outputs) != 1:
        node.unsupported(f"{info.name} inside the graph that it applies is not supported")
    attributes: Attributes = {}
    if foreign:
        operation = name.lower()
        attributes = comparison(info.options) if name == "COMPARE" else {}
    elif name in _OWN_COMPARISONS:
        operation = "compare"
        text = f"#stablehlo<comparison_direction {_OWN_COMPARISONS[name]}>"
        attributes = {"comparison_direction": ir.Attribute.parse(text)}
    else:
        operation = _OWN_OPERATIONS[name]
    kind = stablehlo_type(element, ())
    return create(f"stablehlo.{operation}", [kind], operands, attributes).result


def _constant(node: Node, info: TensorInfo) -> ir.Value:
    constant = node.importer.state.constant(info)
    if constant is None or constant.size != 1:
        node.unsupported(f"the graph that it applies reads {info.name!r}, which is no number")
    made = tensors.constant(constant.read().reshape(()), constant.element)
    return retype(made.value, stablehlo_type(constant.element, ()))
