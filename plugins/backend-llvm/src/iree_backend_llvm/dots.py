"""The dot-product functions that kernels call, as the target's instructions.

A kernel calls ``dot_u8s8``, ``dot_s8s8``, ``dot_u8u8`` or ``dot_bf16`` (accumulators, first and
second operand; see :mod:`iree_core.codegen.dot`), which it only declares. Here the declarations
become definitions that LLVM inlines.
"""

from __future__ import annotations

import re

from iree_core.codegen.kernel import CpuModel
from iree_core.errors import CompileError

_DECLARATION = re.compile(r"^declare .*@(dot_\w+)\(.*$", re.MULTILINE)
# By name of the product and bytes of a vector: the intrinsic.
_INTRINSICS = {
    ("u8s8", 64): "llvm.x86.avx512.vpdpbusd.512",
    ("u8s8", 32): "llvm.x86.avx512.vpdpbusd.256",
    ("u8s8", 16): "llvm.aarch64.neon.usdot.v4i32.v16i8",
    ("s8s8", 16): "llvm.aarch64.neon.sdot.v4i32.v16i8",
    ("u8u8", 16): "llvm.aarch64.neon.udot.v4i32.v16i8",
    ("bf16", 64): "llvm.x86.avx512bf16.dpbf16ps.512",
    ("bf16", 16): "llvm.aarch64.neon.bfdot.v4f32.v8bf16",
}


def define(text: str, target: CpuModel) -> str:
    """Return LLVM IR ``text`` with a definition for every dot product it declares.

    Raises:
        CompileError: the target has no such instruction.
    """
    for name in _DECLARATION.findall(text):
        intrinsic = _INTRINSICS.get((name.removeprefix("dot_"), target.vector_bytes))
        if intrinsic is None:
            raise CompileError(
                f"No instruction computes {name} on vectors of {target.vector_bytes} bytes."
            )
        lanes = target.vector_bytes // 4
        if name == "dot_bf16":
            sums, parts = f"<{lanes} x float>", f"<{2 * lanes} x bfloat>"
        else:
            sums, parts = f"<{lanes} x i32>", f"<{4 * lanes} x i8>"
        definition = (
            f"define internal {sums} @{name}({sums} %c, {parts} %a, {parts} %b)"
            " alwaysinline nounwind {\n"
            f"  %r = call {sums} @{intrinsic}({sums} %c, {parts} %a, {parts} %b)\n"
            f"  ret {sums} %r\n}}\n"
            f"declare {sums} @{intrinsic}({sums}, {parts}, {parts})"
        )
        text = re.sub(rf"^declare .*@{name}\(.*$", definition, text, flags=re.MULTILINE)
    return text
