"""Contents of sparse tensors, made dense: the format of TACO (Kjolstad et al., 2017) as TFLite
stores it.

Each level of the format stores one dimension: ``dense`` every position, ``csr`` the positions
that are there, by segments. Levels after the tensor's own dimensions are blocks of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from iree_frontend_tf.tflite.registry import Unsupported

_INDEX_TABLES = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}


def densify(stored: NDArray, sparsity: Any, shape: Sequence[int]) -> NDArray:
    """Return ``stored``, the elements that are there, as a dense array of ``shape``.

    Raises:
        Unsupported: the format contradicts itself.
    """
    levels = sparsity.DimMetadataLength()
    order = [sparsity.TraversalOrder(i) for i in range(sparsity.TraversalOrderLength())]
    blocks = [sparsity.BlockMap(i) for i in range(sparsity.BlockMapLength())]
    if sorted(order) != list(range(levels)) or levels != len(shape) + len(blocks):
        raise Unsupported("its sparse format is inconsistent")
    # The place in storage, and the position at each level, of all that is there so far.
    places = np.zeros(1, np.int64)
    positions = np.zeros((1, 0), np.int64)
    extent = dict[int, int]()
    for level, dim in enumerate(order):
        metadata = sparsity.DimMetadata(level)
        if metadata.Format() == tflite.DimensionType.DENSE:
            size = extent[dim] = metadata.DenseSize()
            parent = np.repeat(np.arange(len(places)), size)
            at = np.tile(np.arange(size), len(places))
            places = places[parent] * size + at
        else:
            segments, indices = _vector(metadata, "Segments"), _vector(metadata, "Indices")
            counts = segments[places + 1] - segments[places]
            parent = np.repeat(np.arange(len(places)), counts)
            first = np.repeat(segments[places] - (np.cumsum(counts) - counts), counts)
            places = first + np.arange(len(parent))
            at = indices[places]
        positions = np.column_stack([positions[parent], at])
    by_dim = positions[:, np.argsort(order)]
    target = by_dim[:, : len(shape)].copy()
    for number, dim in enumerate(blocks):
        block = len(shape) + number
        target[:, dim] = target[:, dim] * extent[block] + by_dim[:, block]
    dense = np.zeros(tuple(shape), stored.dtype)
    dense[tuple(target.T)] = stored.reshape(-1)[places]
    return dense


def _vector(metadata: Any, which: str) -> NDArray[np.int64]:
    table = getattr(metadata, f"Array{which}")()
    kind = getattr(metadata, f"Array{which}Type")()
    if table is None or kind not in _INDEX_TABLES:
        raise Unsupported("its sparse format lacks indices")
    vector = _INDEX_TABLES[kind]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)
