"""The geometry of windows over images in TFLite's layout (batch, spatial..., channels)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.ir import ir
from iree_core.lowering import index, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.tensors import Tensor

SAME, VALID = 0, 1


@dataclass(frozen=True)
class Windows:
    """Windows over the spatial dimensions of an image.

    Attributes:
        kernel, strides, dilations: one per spatial dimension.
        low, high: padding.
        out: how many windows there are.
    """

    kernel: tuple[Dim, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    low: tuple[Dim, ...]
    high: tuple[Dim, ...]
    out: tuple[Dim, ...]

    def padded(self, x: Tensor, filler: float | ir.Value = 0) -> Tensor:
        """Return the image with its padding."""
        return tensors.pad(x, [0, *self.low, 0], [0, *self.high, 0], filler)

    def positions(self, window: int) -> list[ir.AffineExpr]:
        """Return the map of loops (batch, spatial..., then at ``window`` the window's) to
        spatial positions."""
        return [
            ir.AffineDimExpr.get(1 + a) * self.strides[a]
            + ir.AffineDimExpr.get(window + a) * self.dilations[a]
            for a in range(len(self.kernel))
        ]


def windows(
    sizes: Sequence[Dim],
    kernel: Sequence[Dim],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: int,
) -> Windows:
    """Place windows with SAME or VALID padding (``ComputePaddingHeightWidth``)."""
    low, high, out = [], [], []
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = index.add(index.mul(index.sub(taps, 1), dilation), 1)
        if padding == VALID:
            count = index.floordiv(index.sub(index.add(size, stride), reach), stride)
            before: Dim = 0
            after: Dim = 0
        else:
            count = index.ceildiv(size, stride)
            need = index.sub(index.add(index.mul(index.sub(count, 1), stride), reach), size)
            need = index.maximum(need, 0)
            before = index.floordiv(need, 2)
            after = index.sub(need, before)
        low.append(before)
        high.append(after)
        out.append(count)
    return Windows(
        tuple(kernel), tuple(strides), tuple(dilations), tuple(low), tuple(high), tuple(out)
    )
