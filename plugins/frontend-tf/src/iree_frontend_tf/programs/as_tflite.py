"""Operations of TensorFlow that are lowered as the operators of TFLite that mean the same.

The table says how operands and attributes are called there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from iree_core.lowering import tensors
from iree_core.lowering.values import ConstantPool, Value
from iree_frontend_tf.tflite.registry import Unsupported


@dataclass(frozen=True)
class Rule:
    """How an operation is called in TFLite.

    Attributes:
        name: the operator there.
        options: from attributes to its options.
        operands: from values to its operands, where they differ.
    """

    name: str
    options: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {}
    operands: Callable[[list[Value], ConstantPool], list[Value]] = lambda values, _: values


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


RULES: Mapping[str, Rule] = {
    "AvgPool": Rule("AVERAGE_POOL_2D", _windows),
    "BatchMatMulV2": Rule("BATCH_MATMUL", _adjoints),
    "BatchMatMulV3": Rule("BATCH_MATMUL", _adjoints),
    "BatchToSpaceND": Rule("BATCH_TO_SPACE_ND"),
    "Conv2D": Rule("CONV_2D", _windows, _filters_first),
    "Conv2DBackpropInput": Rule("TRANSPOSE_CONV", _windows, _transposed),
    "DepthwiseConv2dNative": Rule("DEPTHWISE_CONV_2D", _windows, _filters_by_channel),
    "Cumsum": Rule("CUMSUM", _running),
    "MirrorPad": Rule("MIRROR_PAD", _mirror),
    "OneHot": Rule("ONE_HOT", lambda a: {"Axis": a.get("axis", -1)}),
    "Reshape": Rule("RESHAPE"),
    "ResizeBilinear": Rule("RESIZE_BILINEAR", _corners),
    "ResizeNearestNeighbor": Rule("RESIZE_NEAREST_NEIGHBOR", _corners),
    "ReverseSequence": Rule("REVERSE_SEQUENCE", _sequences),
    "Slice": Rule("SLICE"),
    "SpaceToBatchND": Rule("SPACE_TO_BATCH_ND"),
    "Split": Rule("SPLIT"),
    "SplitV": Rule("SPLIT_V"),
    "StridedSlice": Rule("STRIDED_SLICE", _masks),
    "Tile": Rule("TILE"),
    "Unique": Rule("UNIQUE", lambda _: {"IdxOutType": 2}),
    "Unpack": Rule("UNPACK", _count),
    "Where": Rule("WHERE"),
}
