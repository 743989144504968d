"""Contents of sparse tensors, made dense: TACO-style formats as TFLite stores them.

Each level of the format stores one dimension: ``dense`` all positions, ``csr`` the positions
that are there, by segments. Levels after the tensor's own dimensions are blocks of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from iree_frontend_tf.tflite.file import Model, TensorInfo
from iree_frontend_tf.tflite.registry import Unsupported


def densify(model: Model, info: TensorInfo, shape: Sequence[int]) -> NDArray:
    """Return the contents of a sparse tensor as a dense array.

    Raises:
        Unsupported: always; the format is not read.
    """
    raise Unsupported(f"tensor {info.name!r} is stored sparsely")
