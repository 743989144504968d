"""From LLVM IR text, as MLIR prints it, to an object file.

MLIR and llvmlite carry different releases of LLVM. Their textual IR differs in how floating
point literals are written; everything else that the compiler produces reads the same. Newer
releases print decimals that round-trip in the literal's own type, ``f0x`` followed by its
bits, ``+inf``, ``+qnan`` and ``+snan(0x..)``; older ones want the bits of the value, those of a
``float`` widened to ``double``.
"""

from __future__ import annotations

import re
import struct
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from iree_core.errors import CompileError

# Exponent and mantissa bits of the types whose literals are rewritten.
_WIDTHS = {"half": (5, 10), "bfloat": (8, 7), "float": (8, 23), "double": (11, 52)}
# A string, a comment, the name of a floating-point type, or a floating-point literal.
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|;[^\n]*'
    r"|\b(half|bfloat|float|double|x86_fp80|fp128)\b"
    r"|(?<![\w.%@$#!-])"
    r"([-+]?(?:\d+\.\d+(?:[eE][-+]?\d+)?|f0x[0-9A-Fa-f]+|inf\b|qnan\b|s?nan\(0x[0-9A-Fa-f]+\)))"
)


def fix_literals(text: str) -> str:
    """Return LLVM IR ``text`` with floating-point literals that every LLVM since 3 reads."""
    kind = ""

    def rewrite(match: re.Match[str]) -> str:
        nonlocal kind
        if match.group(1):
            kind = match.group(1)
        literal = match.group(2)
        if literal is None or not kind:
            return match.group(0)
        return _literal(kind, literal)

    return _TOKEN.sub(rewrite, text)


@cache
def _literal(kind: str, literal: str) -> str:
    if kind == "x86_fp80":
        return "0xK" + literal[3:].zfill(20) if literal.startswith("f0x") else literal
    if kind == "fp128":
        if not literal.startswith("f0x"):
            return literal
        digits = literal[3:].zfill(32)
        return "0xL" + digits[16:] + digits[:16]
    bits = _bits(kind, literal)
    if kind == "half":
        return f"0xH{bits:04X}"
    if kind == "bfloat":
        return f"0xR{bits:04X}"
    return f"0x{_widen(bits) if kind == 'float' else bits:016X}"


def _bits(kind: str, literal: str) -> int:
    exponent, mantissa = _WIDTHS[kind]
    magnitude = literal.lstrip("+-")
    if magnitude.startswith("f0x"):
        return int(magnitude[3:], 16)
    special = (literal[0] == "-") << (exponent + mantissa) | ((1 << exponent) - 1) << mantissa
    quiet = 1 << (mantissa - 1)
    if magnitude == "inf":
        return special
    if magnitude == "qnan":
        return special | quiet
    if magnitude.startswith("snan"):
        return special | int(magnitude[5:-1], 16)
    if magnitude.startswith("nan"):
        return special | quiet | int(magnitude[4:-1], 16)
    if kind == "double":
        return int(np.float64(literal).view(np.uint64))
    if kind == "half":
        return int(np.float16(literal).view(np.uint16))
    single = int(np.float32(literal).view(np.uint32))
    if kind == "float":
        return single
    return (single + 0x7FFF + (single >> 16 & 1)) >> 16


def _widen(bits: int) -> int:
    """Return the bits of a float as those of a double, payload of a NaN included."""
    sign, exponent, mantissa = bits >> 31, bits >> 23 & 255, bits & 0x7FFFFF
    if exponent == 255:
        return sign << 63 | 0x7FF << 52 | mantissa << 29
    (single,) = struct.unpack("<f", struct.pack("<I", bits))
    return int.from_bytes(struct.pack("<d", single), "little")


@cache
def initialize() -> None:
    """Make every target of LLVM available (takes about 10 ms, once per process)."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def optimize(
    text: str, machine: llvm.TargetMachine, *, abi: str = "", vectorize: bool = False
) -> llvm.ModuleRef:
    """Parse LLVM IR and run the O3 pipeline for ``machine``.

    Args:
        text: the module, literals fixed.
        machine: what to tune for.
        abi: name of the calling convention where the target has several (RISC-V).
        vectorize: let LLVM vectorise and unroll loops. Scheduled kernels have the loops they
            want; leaving them alone makes the same speed in three quarters of the time.

    Raises:
        CompileError: LLVM rejects the module.
    """
    if abi:
        flag = f'!{{i32 1, !"target-abi", !"{abi}"}}'
        text += f"\n!llvm.module.flags = !{{!99999}}\n!99999 = {flag}\n"
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"LLVM rejects the code of a dispatch: {error}.") from error
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = vectorize
    options.loop_unrolling = vectorize
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def emit_object(
    text: str, machine: llvm.TargetMachine, *, abi: str = "", vectorize: bool = False
) -> bytes:
    """Return the object file of an LLVM IR module (see :func:`optimize`)."""
    module = optimize(text, machine, abi=abi, vectorize=vectorize)
    return bytes(machine.emit_object(module))


def emit_assembly(text: str, machine: llvm.TargetMachine, *, abi: str = "") -> str:
    """Return the assembly of an LLVM IR module (see :func:`optimize`)."""
    return str(machine.emit_assembly(optimize(text, machine, abi=abi)))
