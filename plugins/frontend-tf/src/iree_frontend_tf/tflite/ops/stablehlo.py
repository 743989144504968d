"""StableHLO builtins: emitted as operations of that dialect, which the core's phases convert.

Results have the sizes that the file declares. Values are signless here and carry their
signedness in StableHLO, so that unsigned ones change type on the way in and out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from iree_core.ir import ir
from iree_core.lowering import index, tensors
from iree_core.lowering.element import ElementType
from iree_core.lowering.tensors import DYNAMIC, Tensor
from iree_core.passes.input.stablehlo_regions import retype
from iree_core.passes.input.support import create
from iree_frontend_tf.tflite.ops.common import is_quantized
from iree_frontend_tf.tflite.registry import Node, lowering

Attributes = dict[str, ir.Attribute]

_ARITHMETIC = (
    "ABS", "ADD", "AND", "CBRT", "CLAMP", "CONVERT", "COSINE", "DIVIDE", "EXPONENTIAL", "FLOOR",
    "LOG", "LOGISTIC", "MAXIMUM", "MINIMUM", "MULTIPLY", "NEGATE", "OR", "POWER", "REMAINDER",
    "RSQRT", "SHIFT_LEFT", "SUBTRACT", "TANH",
)  # fmt: skip
_DIRECTIONS = ("EQ", "NE", "GE", "GT", "LE", "LT")
_COMPARISONS = ("NOTYPE", "FLOAT", "TOTALORDER", "SIGNED", "UNSIGNED")


def stablehlo_type(element: ElementType, dims: Sequence[int | None]) -> ir.Type:
    """Return the type of a StableHLO tensor, signedness included."""
    name = element.name if element.is_unsigned and element.kind != "bool" else element.mlir
    shape = [DYNAMIC if d is None else d for d in dims]
    return ir.RankedTensorType.get(shape, ir.Type.parse(name))


def operand(x: Tensor) -> ir.Value:
    """Return a tensor as a StableHLO value."""
    dims = [d if isinstance(d, int) else None for d in x.dims]
    return retype(x.value, stablehlo_type(x.element, dims))


def result_types(node: Node) -> list[ir.Type]:
    """Return the types of the outputs as declared."""
    infos = [node.output(i) for i in range(len(node.info.outputs))]
    return [stablehlo_type(node.element(i), info.dims) for i, info in enumerate(infos)]


def emit(
    node: Node, name: str, attributes: Attributes | None = None, regions: int = 0
) -> ir.Operation:
    """Emit ``stablehlo.<name>`` on all inputs."""
    values = [operand(t) for t in node.tensors()]
    return create(f"stablehlo.{name}", result_types(node), values, attributes, regions)


def results(node: Node, op: ir.Operation) -> list[Tensor]:
    """Return the results of a StableHLO operation."""
    made = []
    for place, result in enumerate(op.results):
        element = node.element(place)
        shape = ir.RankedTensorType(result.type).shape
        signless = ir.RankedTensorType.get(shape, element.type)
        made.append(Tensor.of(retype(result, signless), element))
    return made


def _static(node: Node) -> None:
    """Refuse open sizes where the operator cannot be written with them."""
    if any(d is None for d in node.output().dims):
        node.unsupported("its result has open sizes", "Convert the model with static shapes.")


def array(numbers: Sequence[int]) -> ir.Attribute:
    """Return ``array<i64: ...>``."""
    return ir.DenseI64ArrayAttr.get(list(numbers))


def _list(node: Node, name: str) -> list[int]:
    return node.option_list(name)


def _numbers(node: Node, **fields: str) -> str:
    """Return entries of a dimension-number attribute; those without elements are left out."""
    lists = {key: _list(node, name) for key, name in fields.items()}
    return ", ".join(f"{key} = {value}" for key, value in lists.items() if value)


@lowering(*(f"STABLEHLO_{name}" for name in _ARITHMETIC), "STABLEHLO_SELECT")
def elementwise_(node: Node) -> list[Tensor]:
    """One operation on each element."""
    if any(is_quantized(node, i) for i in range(len(node.inputs))):
        node.unsupported("StableHLO on scaled integers is not supported")
    return results(node, emit(node, node.op.removeprefix("STABLEHLO_").lower()))


@lowering("STABLEHLO_COMPARE")
def compare(node: Node) -> list[Tensor]:
    """Truth values of a comparison."""
    return results(node, emit(node, "compare", comparison(node.info.options)))


def comparison(options: Any) -> Attributes:
    """Return the attributes of a ``stablehlo.compare``."""
    direction, kind = 0, 0
    if options is not None:
        direction, kind = options.ComparisonDirection(), options.CompareType()
    made = {
        "comparison_direction": ir.Attribute.parse(
            f"#stablehlo<comparison_direction {_DIRECTIONS[direction]}>"
        )
    }
    if kind:
        made["compare_type"] = ir.Attribute.parse(
            f"#stablehlo<comparison_type {_COMPARISONS[kind]}>"
        )
    return made


@lowering("STABLEHLO_RESHAPE")
def reshape(node: Node) -> Tensor:
    """The same elements in row-major order under other sizes."""
    dims = node.output().dims
    if sum(d is None for d in dims) > 1:
        _static(node)
    x = node.tensor(0)
    known = prod(d for d in dims if d is not None)
    rest = index.floordiv(index.product(x.dims), known) if known else 0
    return tensors.reshape(x, [rest if d is None else d for d in dims])


@lowering("STABLEHLO_TRANSPOSE")
def transpose(node: Node) -> list[Tensor]:
    """Dimensions in another order."""
    return results(
        node, emit(node, "transpose", {"permutation": array(_list(node, "Permutation"))})
    )


@lowering("STABLEHLO_BROADCAST_IN_DIM")
def broadcast_in_dim(node: Node) -> list[Tensor]:
    """Repetition along dimensions of size 1 and further ones."""
    _static(node)
    dims = array(_list(node, "BroadcastDimensions"))
    return results(node, emit(node, "broadcast_in_dim", {"broadcast_dimensions": dims}))


@lowering("STABLEHLO_CONCATENATE")
def concatenate(node: Node) -> list[Tensor]:
    """Tensors one after the other along a dimension."""
    axis = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), node.option("Dimension", 0))
    return results(node, emit(node, "concatenate", {"dimension": axis}))


@lowering("STABLEHLO_IOTA")
def iota(node: Node) -> list[Tensor]:
    """Positions along a dimension."""
    _static(node)
    axis = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), node.option("IotaDimension", 0))
    return results(node, emit(node, "iota", {"iota_dimension": axis}))


@lowering("STABLEHLO_SLICE")
def slice_(node: Node) -> list[Tensor]:
    """Every n-th element between two positions."""
    fields = {
        "start_indices": "StartIndices",
        "limit_indices": "LimitIndices",
        "strides": "Strides",
    }
    return results(node, emit(node, "slice", {k: array(_list(node, f)) for k, f in fields.items()}))


@lowering("STABLEHLO_PAD")
def pad(node: Node) -> list[Tensor]:
    """Padding around and between elements; negative padding takes away."""
    fields = {
        "edge_padding_low": "EdgePaddingLow", "edge_padding_high": "EdgePaddingHigh",
        "interior_padding": "InteriorPadding",
    }  # fmt: skip
    return results(node, emit(node, "pad", {k: array(_list(node, f)) for k, f in fields.items()}))


@lowering("STABLEHLO_DYNAMIC_SLICE")
def dynamic_slice(node: Node) -> list[Tensor]:
    """A window of static size at a position that is computed."""
    return results(
        node,
        _at_positions(node, "dynamic_slice", 1, {"slice_sizes": array(_list(node, "SliceSizes"))}),
    )


@lowering("STABLEHLO_DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(node: Node) -> list[Tensor]:
    """A tensor with a window overwritten at a position that is computed."""
    return results(node, _at_positions(node, "dynamic_update_slice", 2, {}))


def _at_positions(node: Node, name: str, first: int, attributes: Attributes) -> ir.Operation:
    """Emit an operation whose operands from ``first`` on are positions: a scalar each, or all
    of them in one vector."""
    given = [node.tensor(i) for i in range(len(node.inputs))]
    places = given[first:]
    if len(places) == 1 and places[0].rank == 1 and isinstance(places[0].dims[0], int):
        vector, count = places[0], places[0].dims[0]
        parts = (tensors.extract_slice(vector, [i], [1], [1]) for i in range(count))
        places = [tensors.reshape(part, ()) for part in parts]
    values = [operand(t) for t in (*given[:first], *places)]
    return create(f"stablehlo.{name}", result_types(node), values, attributes)


@lowering("STABLEHLO_GATHER")
def gather(node: Node) -> list[Tensor]:
    """Windows of an operand at positions that are computed."""
    numbers = _numbers(
        node, offset_dims="OffsetDims", collapsed_slice_dims="CollapsedSliceDims",
        start_index_map="StartIndexMap",
    )  # fmt: skip
    vector = f"index_vector_dim = {node.option('IndexVectorDim', 0)}"
    joined = ", ".join(part for part in (numbers, vector) if part)
    return results(node, emit(node, "gather", {
        "dimension_numbers": ir.Attribute.parse(f"#stablehlo.gather<{joined}>"),
        "slice_sizes": array(_list(node, "SliceSizes")),
        "indices_are_sorted": ir.BoolAttr.get(bool(node.option("IndicesAreSorted", False))),
    }))  # fmt: skip


@lowering("STABLEHLO_DOT_GENERAL")
def dot_general(node: Node) -> list[Tensor]:
    """Sums of products over pairs of dimensions."""
    if is_quantized(node) or is_quantized(node, 1):
        node.unsupported("StableHLO on scaled integers is not supported")
    numbers = _numbers(
        node, lhs_batching_dimensions="LhsBatchingDimensions",
        rhs_batching_dimensions="RhsBatchingDimensions",
        lhs_contracting_dimensions="LhsContractingDimensions",
        rhs_contracting_dimensions="RhsContractingDimensions",
    )  # fmt: skip
    attribute = ir.Attribute.parse(f"#stablehlo.dot<{numbers}>")
    return results(node, emit(node, "dot_general", {"dot_dimension_numbers": attribute}))


@lowering("STABLEHLO_CONVOLUTION")
def convolution(node: Node) -> list[Tensor]:
    """Sums of products over sliding windows."""
    if is_quantized(node) or is_quantized(node, 1):
        node.unsupported("StableHLO on scaled integers is not supported")
    spatial = len(_list(node, "InputSpatialDimensions"))

    def labels(first: str, second: str, spatial_name: str, marks: str) -> str:
        places: dict[int, str] = {
            int(node.option(first, 0)): marks[0], int(node.option(second, 0)): marks[1]
        }  # fmt: skip
        places |= {d: str(i) for i, d in enumerate(_list(node, spatial_name))}
        return ", ".join(places[d] for d in sorted(places))

    sides = (
        labels("InputBatchDimension", "InputFeatureDimension", "InputSpatialDimensions", "bf"),
        labels(
            "KernelInputFeatureDimension", "KernelOutputFeatureDimension",
            "KernelSpatialDimensions", "io",
        ),
        labels("OutputBatchDimension", "OutputFeatureDimension", "OutputSpatialDimensions", "bf"),
    )  # fmt: skip
    numbers = "[{}]x[{}]->[{}]".format(*sides)
    padding = np.array(_list(node, "Padding") or [0] * (2 * spatial), np.int64)
    integer = ir.IntegerType.get_signless(64)
    attributes: Attributes = {
        "dimension_numbers": ir.Attribute.parse(f"#stablehlo.conv<{numbers}>"),
        "padding": ir.DenseElementsAttr.get(padding.reshape(spatial, 2)),
        "feature_group_count": ir.IntegerAttr.get(integer, node.option("FeatureGroupCount", 1)),
        "batch_group_count": ir.IntegerAttr.get(integer, node.option("BatchGroupCount", 1)),
    }
    for key, name in (
        ("window_strides", "WindowStrides"), ("lhs_dilation", "LhsDilation"),
        ("rhs_dilation", "RhsDilation"),
    ):  # fmt: skip
        attributes[key] = array(_list(node, name) or [1] * spatial)
    reversal = [bool(r) for r in _list(node, "WindowReversal")] or [False] * spatial
    attributes["window_reversal"] = ir.DenseBoolArrayAttr.get(reversal)
    return results(node, emit(node, "convolution", attributes))


@lowering("STABLEHLO_RNG_BIT_GENERATOR")
def rng_bit_generator(node: Node) -> list[Tensor]:
    """The next state of a generator, and random bits."""
    name = ("DEFAULT", "PHILOX", "THREE_FRY")[node.option("Algorithm", 0)]
    if name == "THREE_FRY":
        node.unsupported("the generator Threefry is not supported", "Use Philox.")
    _static(node)
    attribute = ir.Attribute.parse(f"#stablehlo<rng_algorithm {name}>")
    return results(node, emit(node, "rng_bit_generator", {"rng_algorithm": attribute}))
