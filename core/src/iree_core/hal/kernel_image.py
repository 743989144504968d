"""Executable images of GPU kernels: what a backend links and its driver loads.

All numbers are little-endian. ``HEADER``, then JSON that describes the entry points,
then, from ``code_offset`` on, their code. An entry point's description::

    {"name": "kernel", "offset": 0, "size": 1234, "workgroup": 64, "scalars": 2,
     "results": 1, "scratch": false,
     "bindings": [["mul", ["scalar", 0], ["const", 4]], ["const", 64]], "needs": ["Shader"],
     "element_bytes": [], "details": {}}

``offset`` counts from ``code_offset``. ``bindings`` holds the bytes of every buffer as an
expression over the scalar operands (:meth:`iree_core.expr.Expr.to_json`); the last ``results``
of them are written. With ``scratch`` one more buffer follows. What the names in ``needs`` mean,
and what ``details`` holds, is between the backend and its driver.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iree_core.errors import ModuleFileError
from iree_core.expr import Expr

HEADER = struct.Struct("<8sIIQQ")  # magic, version, bytes of JSON, code offset, code size
_OPERATORS = ("const", "scalar", "add", "mul", "ceildiv", "min", "max")
_DEEPEST = 64
_LARGEST_WORKGROUP = 1024


@dataclass(frozen=True)
class Entry:
    """One kernel.

    Attributes:
        name: of the entry point in its code.
        code: binary or text that the device's driver takes.
        workgroup: invocations of a workgroup.
        scalars: how many scalar operands it takes.
        results: how many of the buffers, at the end, are written.
        scratch: a buffer of private memory follows the others.
        bindings: bytes of each buffer.
        needs: what the device has to have, by names that the backend and the driver share.
        element_bytes: bytes of an element of each buffer, where the driver limits their number.
        details: what else its launch takes, as JSON; the driver validates it.
    """

    name: str
    code: bytes | memoryview
    workgroup: int
    scalars: int
    results: int
    scratch: bool
    bindings: tuple[Expr, ...]
    needs: tuple[str, ...] = ()
    element_bytes: tuple[int, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageFormat:
    """The image of one backend.

    Attributes:
        magic: eight bytes that it starts with.
        version: of the layout and of what the code expects.
        device: whose driver reads it, for messages (``CUDA``).
        package: the distribution to install for another version.
        most_scalars: what an entry may take.
        wrong: says what is wrong with the code of an entry, None if nothing is.
    """

    magic: bytes
    version: int
    device: str
    package: str
    most_scalars: int
    wrong: Callable[[memoryview], str | None] = lambda _: None

    def pack(self, entries: Sequence[Entry]) -> bytes:
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
                    "needs": list(entry.needs),
                    "element_bytes": list(entry.element_bytes),
                    "details": dict(entry.details),
                }
            )
            offset += len(entry.code)
        text = json.dumps(described, separators=(",", ":")).encode()
        code_offset = -(-(HEADER.size + len(text)) // 8) * 8
        header = HEADER.pack(self.magic, self.version, len(text), code_offset, offset)
        code = b"".join(bytes(entry.code) for entry in entries)
        return (header + text).ljust(code_offset, b"\0") + code

    def parse(self, data: bytes | memoryview) -> list[Entry]:
        """Validate and split an image; the code refers to ``data`` and copies nothing.

        Raises:
            ModuleFileError: not an image, of another version, or damaged.
        """
        view = memoryview(data)
        if len(view) < HEADER.size or bytes(view[:8]) != self.magic:
            raise ModuleFileError(f"The executable is not an image for the {self.device} driver.")
        _, version, text_size, code_offset, code_size = HEADER.unpack_from(view)
        if version != self.version:
            raise ModuleFileError(
                f"The {self.device} executable image has version {version}, this driver reads "
                f"{self.version}.",
                hint=f"Compile the model again, or install the {self.package} it was made with.",
            )
        if HEADER.size + text_size > code_offset or code_offset + code_size != len(view):
            raise self._damaged("its header is inconsistent")
        try:
            described = json.loads(bytes(view[HEADER.size : HEADER.size + text_size]))
            return [self._entry(one, view[code_offset:]) for one in described]
        except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
            raise self._damaged(f"its entry points cannot be read ({error})") from None

    def _damaged(self, why: str) -> ModuleFileError:
        return ModuleFileError(f"The {self.device} executable image is damaged: {why}.")

    def _entry(self, one: dict, code: memoryview) -> Entry:
        offset, size = _number(one["offset"]), _number(one["size"])
        if offset + size > len(code) or not size:
            raise ValueError("code outside the image")
        wrong = self.wrong(code[offset : offset + size])
        if wrong:
            raise ValueError(wrong)
        workgroup, scalars = _number(one["workgroup"]), _number(one["scalars"])
        results, bindings = _number(one["results"]), one["bindings"]
        if not 1 <= workgroup <= _LARGEST_WORKGROUP or scalars > self.most_scalars:
            raise ValueError("a size out of range")
        if results > len(bindings):
            raise ValueError("more results than buffers")
        return Entry(
            str(one["name"]),
            code[offset : offset + size],
            workgroup,
            scalars,
            results,
            bool(one["scratch"]),
            tuple(read_expression(size, scalars) for size in bindings),
            tuple(str(need) for need in one["needs"]),
            tuple(_number(size) for size in one["element_bytes"]),
            dict(one.get("details", {})),
        )


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a size that is no number")
    return value


def read_expression(data: list, scalars: int) -> Expr:
    """Return the expression over ``scalars`` operands that JSON describes.

    Raises:
        ValueError, TypeError: it describes none.
    """
    return _expression(data, scalars, 0)


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
