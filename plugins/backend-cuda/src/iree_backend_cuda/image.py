"""The executable image: PTX, and perhaps machine code, as :mod:`iree_core.hal.kernel_image` has it.

An entry point needs the compute capability that its code was made for, as ``sm_80``: that one or
a later one, or, as ``sm_90a``, that one alone.
"""

from __future__ import annotations

from iree_core.hal.kernel_image import Entry, ImageFormat

FORMAT = "cuda-ptx"
# Parameters of a kernel take at most 4 KiB; this leaves room for the buffers.
MOST_SCALARS = 128
_TEGRA = frozenset({72, 87})


def misfit(target: str, arch: int) -> str | None:
    """Return why PTX for ``target`` does not run on devices of ``arch``, None if it does."""
    name = target.partition(",")[0]
    number = name.removeprefix("sm_").removesuffix("a")
    if not name.startswith("sm_") or not number.isdecimal():
        return f"the driver does not know {target}"
    if int(number) > arch:
        return f"it is for {target}, and the device is older"
    if name.endswith("a") and int(number) != arch:
        return f"it is for {target} alone, and the device is another"
    return None


def cubin_fits(target: str, arch: int) -> bool:
    """Whether machine code for ``target`` runs on devices of ``arch``.

    It runs on later devices of the same generation, but not across from or to those of Tegra.
    Source: CUDA C++ Programming Guide, "Binary Compatibility".
    """
    if misfit(target, arch) is not None:
        return False
    made = int(target.partition(",")[0].removeprefix("sm_").removesuffix("a"))
    return made == arch or (made // 10 == arch // 10 and not {made, arch} & _TEGRA)


def _wrong(code: memoryview) -> str | None:
    return None if b".version" in bytes(code[:256]) else "code that is not PTX"


_IMAGE = ImageFormat(b"IREECU\0\0", 1, "CUDA", "iree-backend-cuda", MOST_SCALARS, _wrong)
pack_image, parse_image = _IMAGE.pack, _IMAGE.parse

__all__ = ["FORMAT", "MOST_SCALARS", "Entry", "cubin_fits", "misfit", "pack_image", "parse_image"]
