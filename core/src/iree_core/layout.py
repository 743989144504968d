"""Packed layouts: how a tensor with an encoding lies in memory.

The logical shape, the indexing maps and the arithmetic of the program never change when an
operand is packed; only :func:`element address <PackedLayout>` does. The encoding attribute of a
packed tensor type is a dictionary::

    tensor<64x32x3x3xf32, {order = [2, 3, 1], tile_dim = 0, tile = 32}>

is stored as ``[ceil(64/32)][3][3][32][32]``: outermost the tiles of dimension ``tile_dim``, then
the other dimensions in ``order``, innermost the position inside the tile. The last tile is
padded with zeros. Without an encoding a tensor is dense and row-major.

Dot-product instructions take several neighbours along a reduced dimension per lane. With
``group = [1, 4]`` dimension 1 is split into groups of 4, which lie innermost::

    tensor<64x30xi8, {group = [1, 4], order = [1], tile_dim = 0, tile = 32}>

is stored as ``[ceil(64/32)][ceil(30/4)][32][4]``; the last group is padded with zeros.
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
        group: the dimension of ``order`` whose neighbours lie side by side within a lane, and how
            many do; None if none do.
    """

    order: tuple[int, ...]
    tile_dim: int
    tile: int
    group: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if sorted((*self.order, self.tile_dim)) != list(range(len(self.order) + 1)):
            raise ValueError(f"{self} does not name every dimension once")
        if self.tile < 1:
            raise ValueError(f"tile must be positive, not {self.tile}")
        if self.group is not None and (self.group[0] not in self.order or self.group[1] < 2):
            raise ValueError(f"{self} groups a dimension that is not in its order")

    def grouped(self, dim: int) -> int:
        """Return how many neighbours along ``dim`` lie side by side within a lane."""
        return self.group[1] if self.group is not None and self.group[0] == dim else 1

    def storage_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the dense array that stores a tensor of logical ``shape``."""
        tiles = -(-shape[self.tile_dim] // self.tile)
        others = (-(-shape[d] // self.grouped(d)) for d in self.order)
        inner = () if self.group is None else (self.group[1],)
        return (tiles, *others, self.tile, *inner)

    def pack(self, array: NDArray) -> NDArray:
        """Return ``array`` (logical shape) as its dense storage array, zero-padded."""
        if self.group is not None:
            return self._pack_groups(array)
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

    def _pack_groups(self, array: NDArray) -> NDArray:
        """Pack a padded copy in which the group is a dimension of its own."""
        assert self.group is not None
        dim, size = self.group
        padding = [(0, -array.shape[d] % size if d == dim else 0) for d in range(array.ndim)]
        padded = np.pad(array, padding)
        split = (*padded.shape[:dim], padded.shape[dim] // size, size, *padded.shape[dim + 1 :])
        moved = np.moveaxis(padded.reshape(split), dim + 1, -1)
        plain = PackedLayout((*self.order, array.ndim), self.tile_dim, self.tile)
        return np.ascontiguousarray(np.swapaxes(plain.pack(moved), -1, -2))

    def unpack(self, stored: NDArray, shape: tuple[int, ...]) -> NDArray:
        """Return the array of logical ``shape`` that :meth:`pack` stored as ``stored``."""
        if self.group is not None:
            return self._unpack_groups(stored, shape)
        _, *others, _ = self.storage_shape(shape)
        moved = np.moveaxis(stored, 0, -2).reshape(*others, -1)[..., : shape[self.tile_dim]]
        return np.transpose(moved, np.argsort((*self.order, self.tile_dim)))

    def _unpack_groups(self, stored: NDArray, shape: tuple[int, ...]) -> NDArray:
        assert self.group is not None
        dim, size = self.group
        groups = -(-shape[dim] // size)
        plain = PackedLayout((*self.order, len(shape)), self.tile_dim, self.tile)
        split = (*shape[:dim], groups, *shape[dim + 1 :], size)
        moved = np.moveaxis(plain.unpack(np.swapaxes(stored, -1, -2), split), -1, dim + 1)
        padded = moved.reshape(*shape[:dim], groups * size, *shape[dim + 1 :])
        return padded[(slice(None),) * dim + (slice(shape[dim]),)]

    def to_attribute_text(self) -> str:
        """Return the MLIR text of the encoding attribute."""
        order = ", ".join(str(d) for d in self.order)
        group = "" if self.group is None else f"group = [{self.group[0]}, {self.group[1]}], "
        tile = f"tile = {self.tile} : i64, tile_dim = {self.tile_dim} : i64"
        return f"{{{group}order = [{order}], {tile}}}"


def layout_of(tensor_type: object) -> PackedLayout | None:
    """Return the packed layout of an MLIR ranked tensor type, or None where it is dense."""
    encoding = getattr(tensor_type, "encoding", None)
    if encoding is None:
        return None
    group = None
    if "group" in encoding:
        dim, size = (a.value for a in encoding["group"])
        group = (dim, size)
    return PackedLayout(
        order=tuple(a.value for a in encoding["order"]),
        tile_dim=encoding["tile_dim"].value,
        tile=encoding["tile"].value,
        group=group,
    )
