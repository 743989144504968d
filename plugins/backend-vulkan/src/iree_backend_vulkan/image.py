"""The executable image: what the backend links and the Vulkan driver loads.

All numbers are little-endian. ``HEADER``, then JSON that describes the entry points, then, from
``code_offset`` on, their SPIR-V modules. An entry point's description::

    {"name": "kernel", "offset": 0, "size": 1234, "workgroup": 64, "scalars": 2,
     "results": 1, "scratch": false,
     "bindings": [["mul", ["scalar", 0], ["const", 4]], ["const", 64]],
     "capabilities": ["Shader"]}

``offset`` counts from ``code_offset``. ``bindings`` holds the bytes of every buffer as an
expression over the scalar operands (:meth:`iree_core.expr.Expr.to_json`); the last ``results``
of them are written. With ``scratch`` one more buffer follows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.errors import ModuleFileError
from iree_core.expr import Expr

MAGIC = b"IREEVK\0\0"
VERSION = 1
FORMAT = "vulkan-spirv"
MOST_SCALARS = 32
SPIRV_MAGIC = 0x07230203
HEADER = struct.Struct("<8sIIQQ")  # magic, version, bytes of JSON, code offset, code size
_OPERATORS = ("const", "scalar", "add", "mul", "ceildiv", "min", "max")
_DEEPEST = 64


@dataclass(frozen=True)
class Entry:
    """One shader.

    Attributes:
        name: of the entry point in its SPIR-V module.
        code: the module.
        workgroup: invocations of a workgroup.
        scalars: how many 32-bit push constants it takes.
        results: how many of the buffers, at the end, are written.
        scratch: a buffer of private memory follows the others.
        bindings: bytes of each buffer.
        capabilities: the SPIR-V capabilities it declares.
    """

    name: str
    code: bytes | memoryview
    workgroup: int
    scalars: int
    results: int
    scratch: bool
    bindings: tuple[Expr, ...]
    capabilities: tuple[str, ...]


def pack_image(entries: Sequence[Entry]) -> bytes:
    """Return the image of ``entries``."""
    described, offset = [], 0
    for entry in entries:
        described.append(
            {
                "name": entry.name,
                "offset": offset,
                "size": len(entry.code),
                "workgroup": entry.workgroup,
                "scalars": entry.scalars,
                "results": entry.results,
                "scratch": entry.scratch,
                "bindings": [size.to_json() for size in entry.bindings],
                "capabilities": list(entry.capabilities),
            }
        )
        offset += len(entry.code)
    text = json.dumps(described, separators=(",", ":")).encode()
    code_offset = -(-(HEADER.size + len(text)) // 4) * 4
    header = HEADER.pack(MAGIC, VERSION, len(text), code_offset, offset)
    code = b"".join(bytes(entry.code) for entry in entries)
    return (header + text).ljust(code_offset, b"\0") + code


def parse_image(data: bytes | memoryview) -> list[Entry]:
    """Validate and split an image; the code refers to ``data`` and copies nothing.

    Raises:
        ModuleFileError: not an image, of another version, or damaged.
    """
    view = memoryview(data)
    if len(view) < HEADER.size or bytes(view[:8]) != MAGIC:
        raise ModuleFileError("The executable is not an image for the Vulkan driver.")
    _, version, text_size, code_offset, code_size = HEADER.unpack_from(view)
    if version != VERSION:
        raise ModuleFileError(
            f"The Vulkan executable image has version {version}, this driver reads {VERSION}.",
            hint="Compile the model again, or install the iree-backend-vulkan it was made with.",
        )
    if HEADER.size + text_size > code_offset or code_offset + code_size != len(view):
        raise _damaged("its header is inconsistent")
    try:
        described = json.loads(bytes(view[HEADER.size : HEADER.size + text_size]))
        return [_entry(one, view[code_offset:]) for one in described]
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise _damaged(f"its entry points cannot be read ({error})") from None


def _damaged(why: str) -> ModuleFileError:
    return ModuleFileError(f"The Vulkan executable image is damaged: {why}.")


def _entry(one: dict, code: memoryview) -> Entry:
    offset, size = _number(one["offset"]), _number(one["size"])
    if offset + size > len(code) or offset % 4 or size % 4 or size < 20:
        raise ValueError("code outside the image")
    shader = code[offset : offset + size]
    if struct.unpack_from("<I", shader)[0] != SPIRV_MAGIC:
        raise ValueError("code that is not SPIR-V")
    workgroup, scalars = _number(one["workgroup"]), _number(one["scalars"])
    if not 1 <= workgroup <= 1024 or scalars > MOST_SCALARS:
        raise ValueError("a size out of range")
    return Entry(
        str(one["name"]),
        shader,
        workgroup,
        scalars,
        _number(one["results"]),
        bool(one["scratch"]),
        tuple(_expression(size, scalars, 0) for size in one["bindings"]),
        tuple(str(name) for name in one["capabilities"]),
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a size that is no number")
    return value


def _expression(data: list, scalars: int, depth: int) -> Expr:
    op, *rest = data
    if op not in _OPERATORS or depth > _DEEPEST:
        raise ValueError("an expression of unknown form")
    if op in ("const", "scalar"):
        number = _number(rest[0])
        if op == "scalar" and number >= scalars:
            raise ValueError("an expression of a scalar that does not exist")
        return Expr(op, number)
    left, right = (_expression(part, scalars, depth + 1) for part in rest)
    return Expr(op, 0, (left, right))
