"""The executable image: MSL texts in the container of :mod:`iree_core.hal.kernel_image`.

An entry point's ``needs`` are names from :data:`iree_backend_metal.features.FEATURES`.
"""

from __future__ import annotations

from iree_core.hal.kernel_image import Entry, ImageFormat

FORMAT = "metal-msl"
MOST_SCALARS = 256
# Tensors, private memory and the run-time sizes, of the 31 buffers a kernel may have.
MOST_BUFFERS = 31


def _wrong(code: memoryview) -> str | None:
    try:
        text = bytes(code).decode()
    except UnicodeDecodeError:
        return "code that is no text"
    return None if "kernel" in text else "code without a kernel"


_IMAGE = ImageFormat(b"IREEMTL\0", 1, "Metal", "iree-backend-metal", MOST_SCALARS, _wrong)
pack_image, parse_image = _IMAGE.pack, _IMAGE.parse

__all__ = ["FORMAT", "MOST_BUFFERS", "MOST_SCALARS", "Entry", "pack_image", "parse_image"]
