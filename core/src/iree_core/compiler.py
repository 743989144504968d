"""IREE's Python names for compiling, with the same meaning.

Code written against ``iree.compiler`` runs after a change of import::

    from iree_core.compiler import compile_str

    binary = compile_str(text, target_backends=["llvm-cpu"], input_type="stablehlo")

New code is better served by :func:`iree_core.compile`. Options of IREE that only choose how a
command-line tool prints have no effect here and are not accepted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self

from iree_core.compiler_service import compile as _compile
from iree_core.errors import IreeError, UsageError
from iree_core.plugins import installed

__all__ = [
    "CompilerOptions",
    "CompilerToolError",
    "InputType",
    "OutputFormat",
    "compile_file",
    "compile_str",
    "query_available_targets",
]

CompilerToolError = IreeError
"""What compiling raises; IREE's name for it."""


class _Choice(Enum):
    @classmethod
    def parse(cls, spec: str | Self) -> Self:
        """Return the member with that name, in any case, ``-`` and ``_`` being equal.

        Raises:
            ValueError: there is none.
        """
        if isinstance(spec, cls):
            return spec
        name = str(spec).upper().replace("-", "_")
        if name not in cls.__members__:
            raise ValueError(f"{spec!r} is none of {', '.join(cls.__members__)}")
        return cls[name]

    def __str__(self) -> str:
        return str(self.value)


class InputType(_Choice):
    """The dialect of the input. The compiler looks at the input itself, so all are equal."""

    NONE = "none"
    AUTO = "auto"
    STABLEHLO = "stablehlo"
    STABLEHLO_XLA = "stablehlo_xla"
    TOSA = "tosa"
    TM_TENSOR = "tm_tensor"
    TORCH = "torch"
    ONNX = "onnx"


class OutputFormat(_Choice):
    """What compiling returns: a module file, or MLIR text after the last phase on IR."""

    FLATBUFFER_BINARY = "flatbuffer-binary"
    MLIR_TEXT = "mlir-text"


@dataclass
class CompilerOptions:
    """Keyword arguments of :func:`compile_str` and :func:`compile_file`.

    Attributes:
        output_file: write the module there and return None.
        target_backends: the targets, each a variant of the module; none for this machine's
            processor.
        input_type: what the input is; the compiler finds out.
        output_format: of the result.
        extra_args: flags of ``iree-compile`` that choose the target: target backends and devices,
            ``--iree-llvmcpu-target-triple``, ``-cpu``, ``-cpu-features``, ``--iree-opt-level``.
        optimize: False for the fastest compilation.
    """

    output_file: str | os.PathLike[str] | None = None
    target_backends: Sequence[str] = ()
    input_type: InputType | str = InputType.AUTO
    output_format: OutputFormat | str = OutputFormat.FLATBUFFER_BINARY
    extra_args: Sequence[str] = ()
    optimize: bool = True

    def __post_init__(self) -> None:
        self.input_type = InputType.parse(self.input_type)
        self.output_format = OutputFormat.parse(self.output_format)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments for :func:`iree_core.compile`.

        Raises:
            UsageError: a flag that is not known here.
        """
        backends, level = list(self.target_backends), 3 if self.optimize else 0
        details: list[str] = []
        for text in self.extra_args:
            flag, _, value = text.partition("=")
            if flag in ("--iree-hal-target-backends", "--iree-hal-local-target-device-backends"):
                backends.append(value)
            elif flag == "--iree-hal-target-device":
                backends += [] if value == "local" else [value]
            elif flag == "--iree-llvmcpu-target-triple":
                details.insert(0, value)
            elif flag in ("--iree-llvmcpu-target-cpu", "--iree-llvmcpu-target-cpu-features"):
                key = flag.removeprefix("--iree-llvmcpu-target-").removeprefix("cpu-")
                details += [] if value in ("host", "") else [f"{key}={value}"]
            elif flag == "--iree-opt-level":
                level = int(value.removeprefix("O"))
            else:
                raise UsageError(
                    f"The flag {flag} is not known here.",
                    hint="Use iree_core.compile() and its arguments.",
                )
        names = list(dict.fromkeys(backends))
        if details:
            host = _host_backend()
            names = [f"{n}:{','.join(details)}" if n == host else n for n in names or [host]]
        text_only = self.output_format is OutputFormat.MLIR_TEXT
        return {
            "target": names or None,
            "opt_level": level,
            "compile_to": "scheduling" if text_only else None,
            "output": self.output_file,
        }


def compile_file(input_file: str | os.PathLike[str], **kwargs: Any) -> bytes | None:
    """Compile a file; keyword arguments are those of :class:`CompilerOptions`.

    Returns:
        the module file's bytes, or None if ``output_file`` was given.

    Raises:
        CompilerToolError: of the kind that fits.
    """
    options = CompilerOptions(**kwargs)
    module = _compile(Path(input_file), **options.arguments())
    return None if options.output_file else bytes(module)


def compile_str(input_str: str | bytes, **kwargs: Any) -> bytes | None:
    """Compile MLIR text or bytecode; otherwise like :func:`compile_file`."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="iree-") as folder:
        path = Path(folder) / "input.mlir"
        path.write_bytes(input_str.encode() if isinstance(input_str, str) else input_str)
        return compile_file(path, **kwargs)


def query_available_targets() -> list[str]:
    """Return the names of the installed targets."""
    return installed().names("backend")


def _host_backend() -> str:
    plugins = installed()
    backends = list(plugins.working("backend", plugins.backend))
    for backend in backends:
        if backend.default_for_host():
            return backend.name
    raise UsageError("No backend for this machine's processor is installed.")
