"""DLPack in and out: tensors of other libraries in host memory, without copies.

numpy exchanges only the types it has itself; this module reads and makes the capsules of the
others (``bf16``, 8-bit floats) too. Source: DLPack 1.1, ``dlpack.h`` and the Python
specification of the array API.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iree_core import dtypes
from iree_core.errors import InvocationError

HOST_DEVICE = (1, 0)  # kDLCPU


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _DLManagedTensor(ctypes.Structure):
    _fields_ = [
        ("tensor", _DLTensor),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_CAPSULE_DESTRUCTOR = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_NAME, _USED = b"dltensor", b"used_dltensor"
_api = ctypes.pythonapi
_capsule_new = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", _api))
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)
_capsule_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_SetName", _api)
)
# The same function for a destructor, which gets an object that is being freed already.
_raw_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)
_raw_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _api)
)

# What exported tensors keep alive, by the address of their struct, until the deleter is called.
_exported: dict[int, tuple[Any, ...]] = {}


@cache
def _callbacks() -> tuple[Any, Any]:
    """Return the deleter and the capsule destructor as C functions.

    They are made when they are first needed: making one takes writable and executable memory
    from ctypes, which a hardened system may refuse.
    """

    @_DELETER
    def delete(address: int) -> None:
        _exported.pop(address, None)

    @_CAPSULE_DESTRUCTOR
    def drop_capsule(capsule: int) -> None:
        if _raw_is_valid(capsule, _NAME):  # nobody took the tensor
            _exported.pop(_raw_pointer(capsule, _NAME), None)

    return delete, drop_capsule


def export(data: NDArray[np.uint8], dtype: str, shape: tuple[int, ...], **options: Any) -> Any:
    """Return the capsule of a dense host tensor whose bytes are ``data``.

    ``options`` are those of ``__dlpack__``: ``copy=True`` is honoured, ``dl_device`` has to be
    the host.

    Raises:
        BufferError: another device was asked for.
    """
    if options.get("dl_device") not in (None, HOST_DEVICE):
        raise BufferError("The tensor is in host memory.")
    if options.get("copy"):
        data = data.copy()
    return share(HOST_DEVICE, data.ctypes.data, data, dtype, shape)


def share(
    device: tuple[int, int], address: int, owner: Any, dtype: str, shape: tuple[int, ...]
) -> Any:
    """Return the capsule of a dense tensor at ``address`` of a device, which keeps ``owner``."""
    delete, drop_capsule = _callbacks()
    code, bits = dtypes.to_dlpack(dtype)
    dims = (ctypes.c_int64 * len(shape))(*shape)
    managed = _DLManagedTensor()
    tensor = managed.tensor
    tensor.data = address
    tensor.device_type, tensor.device_id = device
    tensor.ndim, tensor.shape = len(shape), dims
    tensor.code, tensor.bits, tensor.lanes = code, bits, 1
    managed.deleter = ctypes.cast(delete, ctypes.c_void_p)
    place = ctypes.addressof(managed)
    _exported[place] = (managed, dims, owner)
    return _capsule_new(place, _NAME, ctypes.cast(drop_capsule, ctypes.c_void_p))


class _Owner:
    """Calls a foreign tensor's deleter when the last array that refers to it goes."""

    def __init__(self, managed: _DLManagedTensor, address: int) -> None:
        self._managed, self._address = managed, address

    def __del__(self) -> None:
        if self._managed.deleter:
            _DELETER(self._managed.deleter)(self._address)


@dataclass(frozen=True)
class ForeignTensor:
    """A tensor of another library; its memory lives as long as this.

    Attributes:
        address: of its first element, on its device.
        dtype: element type by its name in signatures.
        shape: the dimensions.
        strides: steps between elements, in elements.
        owner: what gives the tensor back.
    """

    address: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    owner: Any

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes."""
        return math.prod(self.shape) * dtypes.itemsize(self.dtype)

    @property
    def is_dense(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        step = 1
        for dim, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if dim != 1 and stride != step:
                return math.prod(self.shape) == 0
            step *= dim
        return True


def take(source: Any, **options: Any) -> ForeignTensor:
    """Return the tensor of any object with ``__dlpack__``, wherever it is.

    Args:
        source: the object.
        options: for its ``__dlpack__``, such as the stream that will use the tensor.

    Raises:
        InvocationError: a type without a name here, or one whose elements share bytes.
    """
    capsule = source.__dlpack__(**options)
    address = _capsule_pointer(capsule, _NAME)
    managed = _DLManagedTensor.from_address(address)
    _capsule_rename(capsule, _USED)
    owner = _Owner(managed, address)
    tensor = managed.tensor
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    dtype = dtypes.from_dlpack(tensor.code, tensor.bits) if tensor.lanes == 1 else None
    if dtype is None:
        raise InvocationError(
            f"There is no element type for DLPack code {tensor.code} with {tensor.bits} bits."
        )
    if tensor.bits < 8 and tensor.ndim:
        raise InvocationError(f"Packed {dtype} tensors cannot be passed; use one byte each.")
    start = (tensor.data or 0) + tensor.byte_offset
    return ForeignTensor(start, dtype, shape, tuple(_strides(tensor, shape)), owner)


def import_tensor(source: Any) -> tuple[NDArray[np.uint8], str, tuple[int, ...]]:
    """Return the bytes, element type and shape of any object with ``__dlpack__``.

    The bytes are the object's own memory, made contiguous by a copy only where they are not.

    Raises:
        InvocationError: the tensor is not in host memory, has strides that only copying could
            undo for a type numpy lacks, or a type without a name here.
    """
    device = tuple(int(part) for part in source.__dlpack_device__())
    if device[0] != HOST_DEVICE[0]:
        raise InvocationError(
            f"The tensor is on a device (DLPack device {device}), not in host memory.",
            hint="Move it to the host first, e.g. x.cpu().",
        )
    tensor = take(source)
    shape, size = tensor.shape, dtypes.itemsize(tensor.dtype)
    if math.prod(shape) == 0:
        return np.empty(0, np.uint8), tensor.dtype, shape
    if any(step < 0 for step in tensor.strides):
        raise InvocationError("The tensor has negative strides.", hint="Copy it first.")
    extent = sum((dim - 1) * step for dim, step in zip(shape, tensor.strides, strict=True)) + 1
    memory = (ctypes.c_uint8 * (extent * size)).from_address(tensor.address)
    memory._owner = tensor.owner  # type: ignore[attr-defined]  # lives as long as this
    elements = np.ctypeslib.as_array(memory).view(np.dtype(f"V{size}"))
    strides = [step * size for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(elements, shape, strides)
    return np.ascontiguousarray(view).reshape(-1).view(np.uint8), tensor.dtype, shape


def _strides(tensor: _DLTensor, shape: tuple[int, ...]) -> list[int]:
    """Return the strides in elements; a null pointer means dense and row-major."""
    if tensor.strides:
        return [tensor.strides[axis] for axis in range(len(shape))]
    strides, step = [], 1
    for dim in reversed(shape):
        strides.append(step)
        step *= dim
    return strides[::-1]
