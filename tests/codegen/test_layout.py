"""Packing and unpacking of weights are inverse."""

from __future__ import annotations

import numpy as np
import pytest

from iree_core.layout import PackedLayout


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (PackedLayout((0,), 1, 32), (7, 64)),
        (PackedLayout((0,), 1, 32), (7, 65)),
        (PackedLayout((0,), 1, 32), (7, 3)),
        (PackedLayout((2, 3, 1), 0, 16), (33, 5, 3, 2)),
        (PackedLayout((1,), 0, 32, group=(1, 4)), (64, 30)),
        (PackedLayout((0, 2), 1, 8, group=(2, 2)), (3, 17, 5)),
        (PackedLayout((2, 0), 1, 8, group=(0, 4)), (6, 17, 5)),
    ],
)
def test_unpacking_undoes_packing(layout: PackedLayout, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    stored = layout.pack(array)
    assert stored.shape == layout.storage_shape(shape)
    np.testing.assert_array_equal(layout.unpack(stored, shape), array)
