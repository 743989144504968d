"""Recognises what people take for a module file and says what it is."""

from __future__ import annotations

from iree_core.errors import ModuleFileError

# First bytes, what they are, and what to do.
_RECOMPILE = "Compile the model with `iree compile MODEL -o OUT.vmfb`."
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x7fELF", "an ELF binary", _RECOMPILE),
    (b"\xcf\xfa\xed\xfe", "a Mach-O binary", _RECOMPILE),
    (b"MZ", "a Windows binary", _RECOMPILE),
    (b"ML\xefR", "MLIR bytecode", "Compile it with `iree compile FILE -o OUT.vmfb`."),
    (b"BC\xc0\xde", "LLVM bitcode", _RECOMPILE),
    (b"\x03\x02#\x07", "a SPIR-V binary", _RECOMPILE),
    (b"IRPA", "an IREE parameter archive", "It holds weights only."),
    (b"GGUF", "a GGUF file", "It holds weights only."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first."),
    (b"\x89HDF", "an HDF5 file", _RECOMPILE),
    (b"\x93NUMPY", "a numpy array", "Pass it as an input: --input=@FILE."),
)
_IREE = ModuleFileError(
    "The file is a module of the IREE project, whose format this runtime does not read.",
    hint="Compile the model it was made from with `iree compile MODEL -o OUT.vmfb`.",
)


def describe(view: memoryview) -> ModuleFileError:
    """Return the error for content that is not a module file."""
    head = bytes(view[:4096])
    if head[:4] == b"PK\x03\x04":
        return _describe_zip(view)
    # IREE writes its FlatBuffer with or without a size before it.
    if b"IREE" in (head[4:8], head[8:12]):
        return _IREE
    if head[4:8] == b"TFL3":
        return _is("a TensorFlow Lite model", "Compile it with `iree compile FILE -o OUT.vmfb`.")
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            return _is(what, hint)
    if len(view) < 16:
        return ModuleFileError(
            f"The file has only {len(view)} bytes: it is no module file, or it is truncated."
        )
    if _is_onnx(head):
        return _is("an ONNX model", "Compile it with `iree compile FILE -o OUT.vmfb`.")
    text = _as_text(head)
    if text is not None:
        what = "MLIR text" if "func.func" in text or text.startswith("module") else "text"
        return _is(what, _RECOMPILE)
    return ModuleFileError("The file is not a module file.", hint=_RECOMPILE)


def _is(what: str, hint: str) -> ModuleFileError:
    return ModuleFileError(f"The file is {what}, not a module file.", hint=hint)


def _describe_zip(view: memoryview) -> ModuleFileError:
    head, tail = bytes(view[:4096]), bytes(view[-65536:])
    first_name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first_name.endswith(b".fb"):  # IREE's modules are zip archives as well
        return _IREE
    if b"/data.pkl" in head or b"archive_format" in head or b"data/weights" in tail:
        return _is("a PyTorch file (.pt, .pt2)", "Compile it with `iree compile FILE`.")
    if b".npy" in head:
        return _is("a numpy archive (.npz)", "Pass its arrays as inputs.")
    return _is("a zip archive", "Unpack it first.")


def _is_onnx(head: bytes) -> bool:
    """Tell whether ``head`` begins like a ModelProto: ir_version, then the producer's name."""
    return (
        head[:1] == b"\x08" and 1 <= head[1] <= 30 and head[2:3] in (b"\x12", b"\x1a", b":", b"B")
    )


def _as_text(head: bytes) -> str | None:
    if b"\0" in head:
        return None
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut may go through a character.
        return head[: error.start].decode() if error.start > len(head) - 4 else None
