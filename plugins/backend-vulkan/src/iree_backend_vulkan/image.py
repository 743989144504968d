"""The executable image: SPIR-V modules in the container of :mod:`iree_core.hal.kernel_image`.

The capabilities that a module declares are what its entry point needs.
"""

from __future__ import annotations

import struct

from iree_core.hal.kernel_image import Entry, ImageFormat

FORMAT = "vulkan-spirv"
MOST_SCALARS = 32
# Where the details of an entry hold the most iterations of all loops of one invocation, as an
# expression over the scalar operands; null where they depend on data.
ITERATIONS = "iterations"
SPIRV_MAGIC = 0x07230203


def _wrong(code: memoryview) -> str | None:
    if len(code) % 4 or len(code) < 20 or struct.unpack_from("<I", code)[0] != SPIRV_MAGIC:
        return "code that is not SPIR-V"
    return None


_IMAGE = ImageFormat(b"IREEVK\0\0", 2, "Vulkan", "iree-backend-vulkan", MOST_SCALARS, _wrong)
pack_image, parse_image = _IMAGE.pack, _IMAGE.parse

__all__ = ["FORMAT", "ITERATIONS", "MOST_SCALARS", "Entry", "pack_image", "parse_image"]
