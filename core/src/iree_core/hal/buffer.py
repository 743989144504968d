"""Device memory: buffers, which are bytes, and buffer views, which are tensors in them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iree_core import dtypes
from iree_core.hal import dlpack
from iree_core.hal.sync import Fence


class Buffer(ABC):
    """A contiguous range of device memory, freed with its last reference.

    Attributes:
        nbytes: size in bytes.
        exclusive: nothing but its holder refers to the memory, so a result may be handed out
            without a copy. False for imported memory, constants and state.
        read_only: no work on the device writes it, so the host can read it at any time.
    """

    __slots__ = ("exclusive", "nbytes")

    nbytes: int
    exclusive: bool
    read_only: bool = False

    @abstractmethod
    def read(self, offset: int, length: int) -> NDArray[np.uint8]:
        """Return a copy of a range, all work on it being complete.

        Raises:
            DeviceError: the range reaches past the end of the buffer.
        """

    @abstractmethod
    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Overwrite a range, all work on it being complete.

        Raises:
            DeviceError: the range reaches past the end of the buffer, or is read-only.
        """

    def map(self, offset: int, length: int) -> NDArray[np.uint8] | None:
        """Return the range itself if the host can address it, else None."""
        return None

    def dlpack_place(self) -> tuple[tuple[int, int], int] | None:
        """Return where other libraries on the device find the first byte.

        That is the device in the terms of DLPack (kind and number), and the address there; None
        if they can only have a copy in host memory.
        """
        return None


@dataclass(frozen=True)
class Region:
    """A tensor in a buffer: its name, its first byte and its size."""

    name: str
    offset: int
    nbytes: int


class BufferView:
    """A dense row-major tensor in device memory, complete once ``fence`` is reached.

    Attributes:
        buffer: where the elements are.
        offset: first byte of the first element.
        dtype: element type by its name in signatures (``f32``).
        shape: the dimensions.
    """

    __slots__ = ("_host", "buffer", "dtype", "fence", "offset", "shape")

    def __init__(
        self,
        buffer: Buffer,
        offset: int,
        dtype: str,
        shape: tuple[int, ...],
        fence: Fence | None = None,
    ) -> None:
        self.buffer, self.offset, self.dtype, self.shape = buffer, offset, dtype, shape
        self.fence = fence
        self._host: NDArray | None = None

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes."""
        return math.prod(self.shape) * dtypes.itemsize(self.dtype)

    def wait(self) -> None:
        """Block until the elements are there.

        Raises:
            DeviceError: the work that makes them failed.
        """
        if self.fence is not None:
            self.fence.wait()
            self.fence = None

    def to_host(self) -> NDArray:
        """Return the tensor as a numpy array: the memory itself where the host can address it.

        Raises:
            InvocationError: numpy has no such element type and ml_dtypes is not installed.
        """
        if self._host is None:
            dtype = dtypes.to_numpy(self.dtype)
            self._host = self._bytes().view(dtype).reshape(self.shape)
        return self._host

    def _bytes(self) -> NDArray[np.uint8]:
        self.wait()
        data = self.buffer.map(self.offset, self.nbytes)
        return self.buffer.read(self.offset, self.nbytes) if data is None else data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return np.array(self.to_host(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        place = self.buffer.dlpack_place()
        if place is None or options.get("dl_device") == dlpack.HOST_DEVICE:
            return dlpack.export(self._bytes(), self.dtype, self.shape, **options)
        device, address = place
        if options.get("dl_device") not in (None, device) or options.get("copy"):
            raise BufferError("The tensor can be shared on its own device, or copied to the host.")
        self.wait()
        return dlpack.share(device, address + self.offset, self.buffer, self.dtype, self.shape)

    def __dlpack_device__(self) -> tuple[int, int]:
        place = self.buffer.dlpack_place()
        return dlpack.HOST_DEVICE if place is None else place[0]

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        dims = "x".join(map(str, (*self.shape, self.dtype)))
        return f"<BufferView {dims}>"
