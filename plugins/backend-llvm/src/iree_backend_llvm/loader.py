"""Reaches the C library of ``native/`` with ctypes, and maps executables with it.

Not for compiling: it imports nothing but the image format.
"""

from __future__ import annotations

import ctypes
import os
import platform
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from iree_backend_llvm.image import Image, parse_image
from iree_core import hal
from iree_core.errors import DeviceError, ModuleFileError

LIBRARY = Path(__file__).parent / "_native" / "libiree_local.so"
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}

_void_p, _size_t, _int64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
_SIGNATURES = {
    "iree_import_address": (_void_p, [ctypes.c_char_p]),
    "iree_cpu_missing": (_size_t, [ctypes.c_char_p, _size_t, _size_t]),
    "iree_code_map": (_void_p, [_void_p, _size_t, _size_t, _void_p, _size_t]),
    "iree_code_unmap": (None, [_void_p, _size_t, _size_t]),
    "iree_pool_create": (_void_p, [ctypes.c_int]),
    "iree_pool_destroy": (None, [_void_p]),
    "iree_list_create": (_void_p, [_void_p, _int64, _int64, _int64, _int64, _void_p, _int64]),
    "iree_list_destroy": (None, [_void_p]),
}


@cache
def library() -> ctypes.CDLL:
    """Return the C library, loaded once.

    Raises:
        DeviceError: it was not built, or not for this system.
    """
    try:
        native = ctypes.CDLL(str(LIBRARY), use_errno=True)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(native, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise DeviceError(
            f"The C library of the CPU drivers does not load: {error}.",
            hint="Install iree-backend-llvm again; building it from source needs a C compiler.",
        ) from error
    return native


@cache
def list_execute() -> Callable[..., int]:
    """Return ``iree_list_execute``, set up for the shortest call.

    It has no argument types, so callers pass ctypes objects, and does not save errno.
    """
    library()
    function = ctypes.CDLL(str(LIBRARY)).iree_list_execute
    function.restype = ctypes.c_int
    return function


def release(owner: object, function: Callable[..., None], *arguments: int) -> None:
    """Call ``function`` when ``owner`` goes; at exit the system frees everything anyway."""
    weakref.finalize(owner, function, *arguments).atexit = False


@cache
def host_arch() -> str:
    """Return this machine's architecture as in a target triple."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def missing_features(features: Sequence[str]) -> list[str]:
    """Return those of ``features`` that this processor lacks.

    Names the library does not know are tuning hints, which no processor can lack.
    """
    found, position = [], 0
    names = b"".join(name.encode() + b"\0" for name in features)
    missing = library().iree_cpu_missing
    while (position := missing(names, len(features), position)) < len(features):
        found.append(features[position])
        position += 1
    return found


class NativeExecutable(hal.Executable):
    """Machine code in memory, unmapped with its last reference.

    Attributes:
        entries: names of the entry points.
        addresses: of the entry points.
    """

    def __init__(self, data: memoryview, entries: Sequence[tuple[str, int]]) -> None:
        """Map an image.

        Raises:
            ModuleFileError: it is damaged, or made for another processor.
            DeviceError: the system does not allow mapping code.
        """
        image = parse_image(data)
        check_host(image)
        for name, offset in entries:
            if not 0 <= offset < len(image.code):
                raise ModuleFileError(f"The entry point {name!r} lies outside of the code.")
        base = 0
        if len(image.code):
            base = _map(image)
            unmap = library().iree_code_unmap
            release(self, unmap, base, image.import_offset, len(image.imports))
        self.entries = tuple(name for name, _ in entries)
        self.addresses = tuple(base + offset for _, offset in entries)


def check_host(image: Image) -> None:
    """Check that this machine runs the image.

    Raises:
        ModuleFileError: another architecture, or features this processor lacks.
    """
    hint = "Compile the model on this machine, or with --target=llvm-cpu:TRIPLE,cpu=NAME."
    if image.arch != host_arch():
        raise ModuleFileError(
            f"The module holds {image.arch} code, this machine is {host_arch()}.", hint=hint
        )
    missing = missing_features(image.features)
    if missing:
        raise ModuleFileError(
            f"The module's code needs processor features this machine lacks: {', '.join(missing)}.",
            hint=hint,
        )


def _map(image: Image) -> int:
    native = library()
    addresses = [native.iree_import_address(name.encode()) for name in image.imports]
    for name, address in zip(image.imports, addresses, strict=True):
        if not address:
            raise ModuleFileError(
                f"The module's code calls {name!r}, which these drivers do not offer.",
                hint="Upgrade iree-backend-llvm to the version the module was made with.",
            )
    table = (ctypes.c_void_p * len(addresses))(*addresses)
    code = bytes(image.code)
    base = native.iree_code_map(code, len(code), image.import_offset, table, len(addresses))
    if not base:
        raise DeviceError(
            f"The system does not map the module's code: {os.strerror(ctypes.get_errno())}.",
            hint="A security policy may forbid executable memory.",
        )
    return base
