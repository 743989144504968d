"""Packed layouts: how a tensor with an encoding lies in memory.

The logical shape, the indexing maps and the arithmetic of the program never change when an
operand is packed; only :func:`element address <PackedLayout>` does. The encoding attribute of a
packed tensor type is a dictionary::

    tensor<64x32x3x3xf32, {order = [2, 3, 1], tile_dim = 0, tile = 32}>

is stored as ``[ceil(64/32)][3][3][32][32]``: outermost the tiles of dimension ``tile_dim``, then
the other dimensions in ``order``, innermost the position inside the tile. The last tile is
padded with zeros. Without an encoding a tensor is dense and row-major.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PackedLayout:
    """Storage order of a tensor of which one dimension is split into tiles.

    Attributes:
        order: the dimensions other than ``tile_dim``, outermost first.
        tile_dim: the dimension that is split; its tiles are outermost, its lanes innermost.
        tile: lanes per tile.
    """

    order: tuple[int, ...]
    tile_dim: int
    tile: int

    def __post_init__(self) -> None:
        if sorted((*self.order, self.tile_dim)) != list(range(len(self.order) + 1)):
            raise ValueError(f"{self} does not name every dimension once")
        if self.tile < 1:
            raise ValueError(f"tile must be positive, not {self.tile}")

    def storage_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the dense array that stores a tensor of logical ``shape``."""
        tiles = -(-shape[self.tile_dim] // self.tile)
        return (tiles, *(shape[d] for d in self.order), self.tile)

    def pack(self, array: NDArray) -> NDArray:
        """Return ``array`` (logical shape) as its dense storage array, zero-padded."""
        tiles, *others, tile = self.storage_shape(array.shape)
        moved = np.transpose(array, (*self.order, self.tile_dim))
        packed = np.zeros((tiles, *others, tile), array.dtype)
        whole = array.shape[self.tile_dim] // tile
        split = moved[..., : whole * tile].reshape(*others, whole, tile)
        packed[:whole] = np.moveaxis(split, -2, 0)
        if whole != tiles:
            rest = moved[..., whole * tile :]
            packed[whole, ..., : rest.shape[-1]] = rest
        return packed

    def to_attribute_text(self) -> str:
        """Return the MLIR text of the encoding attribute."""
        order = ", ".join(str(d) for d in self.order)
        return f"{{order = [{order}], tile = {self.tile} : i64, tile_dim = {self.tile_dim} : i64}}"


def layout_of(tensor_type: object) -> PackedLayout | None:
    """Return the packed layout of an MLIR ranked tensor type, or None where it is dense."""
    encoding = getattr(tensor_type, "encoding", None)
    if encoding is None:
        return None
    return PackedLayout(
        order=tuple(a.value for a in encoding["order"]),
        tile_dim=encoding["tile_dim"].value,
        tile=encoding["tile"].value,
    )
