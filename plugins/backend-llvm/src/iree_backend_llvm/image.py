"""The executable image: what the linker writes and the loader of the CPU drivers maps.

An image is a header followed by one blob of position-independent code and read-only data whose
internal references are all resolved. What the code needs from outside (``sinf``, ``memcpy``,
...) it calls through 8-byte slots in an area of its own, ``import_offset`` bytes after the
start of the blob; the loader fills the slots and then makes them read-only. The area is not in
the file.

Every offset of this module (of imports, and of the entries in
:class:`iree_core.interfaces.Executable`) counts from the start of the blob. Layout, little
endian: ``HEADER``, then the strings (arch, features, imports) each as a 16-bit length and
UTF-8, then zeros up to ``code_offset``, then the blob up to the end.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.errors import ModuleFileError

MAGIC = b"IREECPU\0"
VERSION = 1
# The largest page size of any supported system, so that one image fits them all.
PAGE = 64 * 1024
CODE_ALIGNMENT = 64

# Functions compiled code may import; native/imports.c has each of them. The C library's
# mathematics come for double and, with an f, for float.
_MATHS = """
    sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 expm1 log log2
    log10 log1p pow atan2 fmod remainder cbrt hypot sqrt erf erfc tgamma lgamma floor ceil
    round rint nearbyint trunc fabs copysign fma fmin fmax ldexp frexp fdim nextafter modf
    roundeven exp10 sincos
"""
_OTHERS = """
    memcpy memmove memset memcmp malloc free abort
    __extendhfsf2 __extendhfdf2 __truncsfhf2 __truncdfhf2 __truncsfbf2 __truncdfbf2
    __gnu_h2f_ieee __gnu_f2h_ieee __powisf2 __powidf2
    __multi3 __divti3 __modti3 __udivti3 __umodti3
"""
IMPORTS = frozenset(_MATHS.split()) | {f"{n}f" for n in _MATHS.split()} | set(_OTHERS.split())

# magic, version, number of features, number of imports, reserved, code offset, code size,
# import offset
HEADER = struct.Struct("<8sIIIIQQQ")
_LENGTH = struct.Struct("<H")


@dataclass(frozen=True)
class Image:
    """A parsed image.

    Attributes:
        arch: ``x86_64``, ``aarch64``, ``riscv64``.
        features: processor features the code uses, by LLVM's names (``avx512f``).
        imports: C functions behind the slots, in slot order.
        import_offset: start of the slots, relative to the start of the code; a multiple of
            :data:`PAGE`.
        code: the blob.
    """

    arch: str
    features: tuple[str, ...]
    imports: tuple[str, ...]
    import_offset: int
    code: memoryview


def import_offset_for(code_size: int) -> int:
    """Return the place of the import slots for a blob of ``code_size`` bytes."""
    return -(-code_size // PAGE) * PAGE


def pack_image(
    code: bytes,
    *,
    arch: str,
    features: Sequence[str],
    imports: Sequence[str],
    import_offset: int | None = None,
) -> bytes:
    """Return the image of a linked blob.

    Args:
        code: code and read-only data, starting on a :data:`CODE_ALIGNMENT` boundary.
        arch: the architecture's name as in a target triple.
        features: processor features the loader has to check.
        imports: names behind the slots, in slot order.
        import_offset: where the code expects the slots; :func:`import_offset_for` by default.

    Raises:
        ValueError: ``import_offset`` is not a multiple of :data:`PAGE` after the code.
    """
    if import_offset is None:
        import_offset = import_offset_for(len(code))
    if import_offset % PAGE or import_offset < len(code):
        raise ValueError(f"import offset {import_offset} does not follow {len(code)} bytes of code")
    strings = b"".join(_pack_string(text) for text in (arch, *features, *imports))
    code_offset = -(-(HEADER.size + len(strings)) // CODE_ALIGNMENT) * CODE_ALIGNMENT
    header = HEADER.pack(
        MAGIC, VERSION, len(features), len(imports), 0, code_offset, len(code), import_offset
    )
    return (header + strings).ljust(code_offset, b"\0") + code


def parse_image(data: bytes | memoryview) -> Image:
    """Validate and split an image; ``code`` refers to ``data`` and copies nothing.

    Raises:
        ModuleFileError: not an image, of another version, or damaged.
    """
    view = memoryview(data)
    if len(view) < HEADER.size or bytes(view[:8]) != MAGIC:
        raise ModuleFileError("The executable is not an image for the CPU drivers.")
    _, version, feature_count, import_count, _, code_offset, code_size, import_offset = (
        HEADER.unpack_from(view)
    )
    if version != VERSION:
        raise ModuleFileError(
            f"The CPU executable image has version {version}, this driver reads {VERSION}.",
            hint="Compile the model again, or install the iree-backend-llvm it was made with.",
        )
    damaged = ModuleFileError("The CPU executable image is damaged: its header is inconsistent.")
    if not HEADER.size <= code_offset <= len(view) or code_size != len(view) - code_offset:
        raise damaged
    if import_offset % PAGE or not code_size <= import_offset <= code_size + PAGE:
        raise damaged
    # Each string takes two bytes at least, which bounds what a hostile count can cost.
    if (1 + feature_count + import_count) * _LENGTH.size > code_offset:
        raise damaged
    try:
        arch, *names = _unpack_strings(
            view[HEADER.size : code_offset], 1 + feature_count + import_count
        )
    except (struct.error, UnicodeDecodeError, IndexError):
        raise damaged from None
    return Image(
        arch,
        tuple(names[:feature_count]),
        tuple(names[feature_count:]),
        import_offset,
        view[code_offset:],
    )


def _pack_string(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


def _unpack_strings(view: memoryview, count: int) -> list[str]:
    strings, position = [], 0
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(view, position)
        position += _LENGTH.size
        if position + length > len(view):
            raise IndexError("string reaches past the header")
        strings.append(str(view[position : position + length], "utf-8"))
        position += length
    return strings
