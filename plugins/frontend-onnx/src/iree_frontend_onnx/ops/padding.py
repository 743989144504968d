"""Operators that add a border: Pad, CenterCropPad."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir, tensor
from iree_core.lowering import index, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import computed
from iree_core.lowering.tensors import Tensor
from iree_frontend_onnx.ops.axes import static_axes
from iree_frontend_onnx.registry import Node, lowering


@lowering("Pad", since=11)
def pad(node: Node) -> Tensor:
    """Padding with pads (and value, axes) from inputs."""
    x = node.tensor(0)
    pads = node.items(1)
    axes = list(range(x.rank))
    if node.has(3):
        given = node.items(3)
        if static_axes(given) is None:
            pads = _pads_by_axis(pads, given, x.rank)
        else:
            axes = [int(a) for a in given]
    filler: ir.Value | float = 0
    if node.has(2):
        known = node.array(2)
        filler = (
            known.reshape(-1)[0].item()
            if known is not None and known.dtype != object
            else (tensors.scalar_at(node.tensor(2), [0] * node.tensor(2).rank))
        )
    return padded(node, x, pads, [node.normalize_axis(a, x.rank) for a in axes], filler)


@lowering("Pad", since=1, until=10)
def pad_attributes(node: Node) -> Tensor:
    """Padding with pads and value from attributes."""
    x = node.tensor(0)
    pads = node.attr("pads", node.attr("paddings"))
    return padded(node, x, pads, list(range(x.rank)), node.attr("value", 0.0))


def _pads_by_axis(pads: Sequence[Dim], axes: Sequence[Dim], rank: int) -> list[Dim]:
    """Return pads of all dimensions from pads of run-time ``axes``."""
    full: list[Dim] = []
    for side in (0, len(axes)):
        for axis in range(rank):
            amount: Dim = 0
            for place, wanted in enumerate(axes):
                here = index.compare(
                    arith.CmpIPredicate.eq, index.wrap_negative(wanted, rank), axis
                )
                amount = index.select(here, pads[side + place], amount)
            full.append(amount)
    return full


def padded(
    node: Node, x: Tensor, pads: Sequence[Dim], axes: Sequence[int], filler: ir.Value | float
) -> Tensor:
    """Pad ``x``: constant, edge, reflect or wrap; negative pads remove elements."""
    low: list[Dim] = [0] * x.rank
    high: list[Dim] = [0] * x.rank
    for place, axis in enumerate(axes):
        low[axis], high[axis] = pads[place], pads[place + len(axes)]
    mode = node.attr("mode", "constant")
    negative = any(isinstance(p, int) and p < 0 for p in (*low, *high))
    if negative:
        offsets = [-p if isinstance(p, int) and p < 0 else 0 for p in low]
        cuts = [-p if isinstance(p, int) and p < 0 else 0 for p in high]
        sizes = [index.sub(d, a + b) for d, a, b in zip(x.dims, offsets, cuts, strict=True)]
        x = tensors.extract_slice(x, offsets, sizes, [1] * x.rank)
        low = [0 if isinstance(p, int) and p < 0 else p for p in low]
        high = [0 if isinstance(p, int) and p < 0 else p for p in high]
    if mode == "constant":
        return tensors.pad(x, low, high, filler)
    return _pad_by_position(node, x, low, high, mode)


def _pad_by_position(
    node: Node, x: Tensor, low: Sequence[Dim], high: Sequence[Dim], mode: str
) -> Tensor:
    if mode not in ("edge", "reflect", "wrap"):
        node.unsupported(f"padding mode {mode!r} is unknown")
    dims = [index.add(index.add(a, d), b) for a, d, b in zip(low, x.dims, high, strict=True)]
    sizes = [(index.value(d), index.value(p)) for d, p in zip(x.dims, low, strict=True)]

    def body(*places: ir.Value) -> ir.Value:
        kind = ir.IndexType.get()
        zero, one = arith.constant(kind, 0), arith.constant(kind, 1)
        at = []
        for place, (extent, before) in zip(places, sizes, strict=True):
            p = arith.subi(place, before)
            last = arith.subi(extent, one)
            if mode == "edge":
                p = arith.maxsi(zero, arith.minsi(p, last))
            elif mode == "wrap":
                p = _floor_mod(p, extent)
            else:
                period = arith.maxsi(arith.muli(last, arith.constant(kind, 2)), one)
                p = _floor_mod(p, period)
                p = arith.minsi(p, arith.subi(period, p))
            at.append(p)
        return tensor.extract(x.value, at)

    return computed(dims, [x.element], body)[0]


def _floor_mod(a: ir.Value, b: ir.Value) -> ir.Value:
    rest = arith.remsi(a, b)
    zero = arith.constant(ir.IndexType.get(), 0)
    negative = arith.cmpi(arith.CmpIPredicate.slt, rest, zero)
    return arith.select(negative, arith.addi(rest, b), rest)


@lowering("CenterCropPad")
def center_crop_pad(node: Node) -> Tensor:
    """Cropped or zero-padded around the centre to given sizes."""
    x = node.tensor(0)
    axes = [node.normalize_axis(a, x.rank) for a in node.attr("axes", list(range(x.rank)))]
    target = node.ints(1, "the target shape")
    offsets, sizes = [0] * x.rank, list(x.dims)
    low, high = [0] * x.rank, [0] * x.rank
    for axis, wanted in zip(axes, target, strict=True):
        have = x.dims[axis]
        if not isinstance(have, int):
            node.unsupported("sizes must be static")
        if have > wanted:
            offsets[axis], sizes[axis] = (have - wanted) // 2, wanted
        else:
            low[axis] = (wanted - have) // 2
            high[axis] = wanted - have - low[axis]
    part = tensors.extract_slice(x, offsets, sizes, [1] * x.rank)
    return tensors.pad(part, low, high, 0)
