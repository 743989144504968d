"""DLPack in and out: tensors of other libraries in host memory, without copies.

numpy exchanges only the types it has itself; this module reads and makes the capsules of the
others (``bf16``, 8-bit floats) too. Source: DLPack 1.1, ``dlpack.h`` and the Python
specification of the array API.
"""

from __future__ import annotations

import ctypes
import math
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
    delete, drop_capsule = _callbacks()
    code, bits = dtypes.to_dlpack(dtype)
    dims = (ctypes.c_int64 * len(shape))(*shape)
    managed = _DLManagedTensor()
    tensor = managed.tensor
    tensor.data = data.ctypes.data
    tensor.device_type, tensor.device_id = HOST_DEVICE
    tensor.ndim, tensor.shape = len(shape), dims
    tensor.code, tensor.bits, tensor.lanes = code, bits, 1
    managed.deleter = ctypes.cast(delete, ctypes.c_void_p)
    address = ctypes.addressof(managed)
    _exported[address] = (managed, dims, data)
    return _capsule_new(address, _NAME, ctypes.cast(drop_capsule, ctypes.c_void_p))


class _Owner:
    """Calls a foreign tensor's deleter when the last array that refers to it goes."""

    def __init__(self, managed: _DLManagedTensor, address: int) -> None:
        self._managed, self._address = managed, address

    def __del__(self) -> None:
        if self._managed.deleter:
            _DELETER(self._managed.deleter)(self._address)


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
    capsule = source.__dlpack__()
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
    size = dtypes.itemsize(dtype)
    if tensor.bits < 8 and tensor.ndim:
        raise InvocationError(f"Packed {dtype} tensors cannot be passed; use one byte each.")
    start = (tensor.data or 0) + tensor.byte_offset
    strides = _strides(tensor, shape)
    extent = sum((dim - 1) * step for dim, step in zip(shape, strides, strict=True)) + 1
    if math.prod(shape) == 0:
        return np.empty(0, np.uint8), dtype, shape
    if any(step < 0 for step in strides):
        raise InvocationError("The tensor has negative strides.", hint="Copy it first.")
    memory = (ctypes.c_uint8 * (extent * size)).from_address(start)
    memory._owner = owner  # lives as long as the memory is used
    elements = np.frombuffer(memory, np.dtype(f"V{size}"))
    view = np.lib.stride_tricks.as_strided(elements, shape, [step * size for step in strides])
    return np.ascontiguousarray(view).reshape(-1).view(np.uint8), dtype, shape


def _strides(tensor: _DLTensor, shape: tuple[int, ...]) -> list[int]:
    """Return the strides in elements; a null pointer means dense and row-major."""
    if tensor.strides:
        return [tensor.strides[axis] for axis in range(len(shape))]
    strides, step = [], 1
    for dim in reversed(shape):
        strides.append(step)
        step *= dim
    return strides[::-1]
