"""Between torch tensors and numpy arrays that share their memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# Types that numpy lacks: by the integer type of equal width, and their name in ml_dtypes.
_FOREIGN = {
    torch.bfloat16: (torch.int16, "bfloat16"),
    torch.float8_e4m3fn: (torch.int8, "float8_e4m3fn"),
    torch.float8_e5m2: (torch.int8, "float8_e5m2"),
    torch.float8_e4m3fnuz: (torch.int8, "float8_e4m3fnuz"),
    torch.float8_e5m2fnuz: (torch.int8, "float8_e5m2fnuz"),
    torch.float8_e8m0fnu: (torch.int8, "float8_e8m0fnu"),
}
_FROM_NAME = {name: (dtype, carrier) for dtype, (carrier, name) in _FOREIGN.items()}


def to_numpy(tensor: torch.Tensor) -> NDArray:
    """Return the elements of a tensor in host memory; nothing is copied.

    Lazy conjugations and negations are resolved first, which does copy.
    """
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype not in _FOREIGN:
        return tensor.numpy()
    import ml_dtypes

    carrier, name = _FOREIGN[tensor.dtype]
    return tensor.view(carrier).numpy().view(getattr(ml_dtypes, name))


def from_result(value: Any) -> torch.Tensor:
    """Return what a call gave, a numpy array or a buffer view, as a tensor on the same memory."""
    if not isinstance(value, np.ndarray):
        return torch.from_dlpack(value)
    if value.dtype.name in _FROM_NAME:
        dtype, carrier = _FROM_NAME[value.dtype.name]
        width = np.dtype(str(carrier).rpartition(".")[2])
        return torch.from_numpy(value.view(width)).view(dtype)
    return torch.from_numpy(value)


def identity(tensor: torch.Tensor) -> tuple:
    """Return what two tensors on the same memory have in common."""
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype
