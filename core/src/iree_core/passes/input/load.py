"""Reads ``.mlir`` files: text, MLIR bytecode, and StableHLO's portable artifacts."""

from __future__ import annotations

import re
from pathlib import Path

from iree_core.errors import ImportModelError
from iree_core.interfaces import ImportedModel
from iree_core.ir import ir, stablehlo
from iree_core.params import ParameterStore

_BYTECODE_MAGIC = b"ML\xefR"
# How text begins after comments: an alias, or an operation that may stand at the top.
_TEXT = re.compile(
    rb"(?:\s|//[^\n]*\n)*"
    rb"(?:[#!]\w+ = |\"?(?:builtin\.)?module\b[ \"]|\"?(?:func\.func|ml_program\.\w+)[ \"])"
)
_PROBED = 4096
_PORTABLE_PRODUCER = b"StableHLO_v"


def is_mlir(path: Path) -> bool:
    """Tell whether ``path`` holds MLIR, by its first bytes or its suffix."""
    if path.suffix in (".mlir", ".mlirbc"):
        return True
    with path.open("rb") as file:
        head = file.read(_PROBED)
    return head.startswith(_BYTECODE_MAGIC) or _TEXT.match(head) is not None


def load_mlir(path: Path, context: ir.Context) -> ImportedModel:
    """Read a module in any input dialect; its constants stay in the IR.

    Raises:
        ImportModelError: the file cannot be read or is no valid MLIR; it carries the first
            diagnostic and its position in the file.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImportModelError(f"Cannot read {path}: {error.strerror}.") from error
    if not data.strip():
        raise ImportModelError(f"{path} is empty.")
    return ImportedModel(parse_module(data, context, str(path)), ParameterStore())


def parse_module(source: bytes, context: ir.Context, name: str = "<input>") -> ir.Module:
    """Parse MLIR text, bytecode or a portable artifact; ``name`` is used in error messages.

    Raises:
        ImportModelError: as :func:`load_mlir`.
    """
    try:
        with context:
            if source.startswith(_BYTECODE_MAGIC):
                if _PORTABLE_PRODUCER in source[4:32]:
                    return _portable(source, context, name)
                return ir.Module.parse(source)
            return ir.Module.parse(source.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ImportModelError(
            f"{name} is neither MLIR text nor MLIR bytecode.",
            where=f"byte {error.start} is no UTF-8",
        ) from error
    except ir.MLIRError as error:
        raise _explain(error, name) from error


def _portable(source: bytes, context: ir.Context, name: str) -> ir.Module:
    diagnostics: list[str] = []

    def keep(diagnostic: ir.Diagnostic) -> bool:
        diagnostics.append(diagnostic.message)
        return True

    handler = context.attach_diagnostic_handler(keep)
    try:
        module = stablehlo.deserialize_portable_artifact(context, source)
    except (RuntimeError, ValueError) as error:
        message = diagnostics[0] if diagnostics else str(error)
        raise ImportModelError(
            f"The StableHLO portable artifact {name} cannot be read: {message}.",
            hint="Artifacts are readable for five years back and two years ahead of the version "
            "of StableHLO that is installed.",
        ) from error
    finally:
        handler.detach()
    if module is None:
        message = diagnostics[0] if diagnostics else "damaged"
        raise ImportModelError(f"The StableHLO portable artifact {name} cannot be read: {message}.")
    return module


def _explain(error: ir.MLIRError, name: str) -> ImportModelError:
    diagnostic = error.error_diagnostics[0] if error.error_diagnostics else None
    message = diagnostic.message if diagnostic else str(error)
    where = name
    # Diagnostics do not give the precise class of their location.
    place = diagnostic.location.attr if diagnostic else None
    location = ir.Location.from_attr(place, place.context) if place else None
    if isinstance(location, ir.FileLineColLoc):
        line, column = location.start_line, location.start_col
        where = f"{name}:{line}:{column}" if line else name
    hint = None
    if ("unknown" in message and "dialect" in message) or "unregistered" in message:
        hint = "Known input dialects: torch, stablehlo, chlo, vhlo, tosa, tm_tensor, linalg."
    return ImportModelError(
        f"{name} is no valid MLIR: {message.rstrip('.')}.", where=where, hint=hint
    )
