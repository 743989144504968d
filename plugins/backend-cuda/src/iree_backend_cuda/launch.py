"""What the driver reads of an entry: its code, and what a launch passes besides buffers and sizes.

An entry's ``details`` are::

    {"ptx": 1234, "shared": 65536, "maps": [{"binding": 0, "type": "f16",
                                "sizes": [["const", 64], ["scalar", 0]], "box": [64, 128]}]}

The first ``ptx`` bytes of an entry's code are PTX and the rest machine code, for the class that
the entry needs; without it everything is PTX. ``shared`` is the bytes of shared memory to ask
for. Every map becomes one more parameter of 128 bytes: the dense tensor in buffer ``binding``, its
sizes innermost first, copied in boxes whose lines of 128 bytes are swizzled. Source: CUDA driver
API, "Tensor Map Object Management".
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iree_backend_cuda import cu
from iree_backend_cuda.image import Entry
from iree_core.errors import ModuleFileError
from iree_core.expr import Expr
from iree_core.hal.kernel_image import read_expression

if TYPE_CHECKING:
    from iree_backend_cuda.driver import CudaDevice

_MOST_SHARED = 1 << 20
_MOST_RANK, _MOST_BOX = 5, 256
_BYTES, _ALIGNMENT = 128, 64
# CUtensorMapDataType and bytes of an element.
_TYPES = {"f16": (6, 2), "f32": (7, 4), "bf16": (9, 2)}
_INTERLEAVE_NONE, _SWIZZLE_128, _PROMOTE_256, _FILL_ZEROS = 0, 3, 3, 0


@dataclass(frozen=True)
class TensorMap:
    """The form of a tensor map.

    Attributes:
        binding: number of the buffer.
        type: of its elements.
        sizes: of the tensor, innermost first.
        box: sizes of what is copied at a time.
    """

    binding: int
    type: str
    sizes: tuple[Expr, ...]
    box: tuple[int, ...]

    def encode(self, device: CudaDevice, address: int, scalars: Sequence[int]) -> ctypes.Array:
        """Return the parameter for a tensor at ``address``.

        Raises:
            DeviceError: the driver refuses it.
        """
        rank, (kind, nbytes) = len(self.box), _TYPES[self.type]
        # A size of 0 is refused; nothing is copied then.
        sizes = [max(1, size.evaluate(scalars)) for size in self.sizes]
        strides = []
        for size in sizes[:-1]:
            nbytes *= size
            strides.append(nbytes)
        space = ctypes.create_string_buffer(_BYTES + _ALIGNMENT)
        found = (ctypes.c_uint8 * _BYTES).from_buffer(space, -cu.pointer(space) % _ALIGNMENT)
        longs, words = ctypes.c_uint64 * rank, ctypes.c_uint32 * rank
        arrays = [longs(*sizes), longs(*strides), words(*self.box), words(*([1] * rank))]
        device.guarded(
            device.api.TensorMapEncodeTiled, cu.pointer(found), kind, rank, address,
            *map(cu.pointer, arrays), _INTERLEAVE_NONE, _SWIZZLE_128, _PROMOTE_256, _FILL_ZEROS,
        )  # fmt: skip
        return found


@dataclass(frozen=True)
class Launch:
    """What an entry runs, and what its launch passes.

    Attributes:
        shared: bytes of shared memory to ask for.
        maps: tensor maps, in the order of the parameters.
        ptx, cubin: its code; cubin is empty where there is none.
    """

    shared: int
    maps: tuple[TensorMap, ...]
    ptx: bytes
    cubin: bytes


def read_launch(entry: Entry) -> Launch:
    """Return what ``entry`` says of its launch.

    Raises:
        ModuleFileError: that is damaged.
    """
    shared, maps = entry.details.get("shared", 0), entry.details.get("maps", [])
    size, code = entry.details.get("ptx", len(entry.code)), bytes(entry.code)
    try:
        if not isinstance(shared, int) or not 0 <= shared <= _MOST_SHARED:
            raise ValueError("shared memory of a size out of range")
        if not isinstance(size, int) or not 0 < size <= len(code):
            raise ValueError("code of a size out of range")
        forms = tuple(_read_map(entry, one) for one in maps)
        return Launch(shared, forms, code[:size], code[size:])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModuleFileError(
            f"The CUDA executable image is damaged: a launch cannot be read ({error})."
        ) from None


def _read_map(entry: Entry, one: dict[str, Any]) -> TensorMap:
    binding, kind = one["binding"], one["type"]
    sizes = tuple(read_expression(size, entry.scalars) for size in one["sizes"])
    box = tuple(one["box"])
    if not isinstance(binding, int) or not 0 <= binding < len(entry.bindings):
        raise ValueError("a tensor map of a buffer that does not exist")
    if kind not in _TYPES or len(box) != len(sizes) or not 1 <= len(box) <= _MOST_RANK:
        raise ValueError("a tensor map of an unknown form")
    if any(not isinstance(n, int) or not 0 < n <= _MOST_BOX for n in box):
        raise ValueError("a tensor map with a box out of range")
    return TensorMap(binding, kind, sizes, box)
