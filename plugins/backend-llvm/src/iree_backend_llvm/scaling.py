"""x * 2^n by the instruction that AVX-512 has for it, ``vscalefps``.

Formulas call a function that their module only declares; :func:`define` gives it a body in the
LLVM IR, which LLVM inlines. The instruction rounds once and is right for every n, so exponentials
need no care for large and denormal results.
"""

from __future__ import annotations

import re

from iree_core.ir import func, ir

_NAME = "power_of_two_times"
_DECLARATION = re.compile(rf"^declare .*@{_NAME}(\d+)\(.*$", re.MULTILINE)
# Lanes of f32, and the bits of their register.
_BITS = {16: 512, 8: 256, 4: 128}


def applies(kind: ir.Type) -> bool:
    """Whether the instruction takes values of this type."""
    return (
        isinstance(kind, ir.VectorType)
        and kind.rank == 1
        and kind.get_dim_size(0) in _BITS
        and isinstance(kind.element_type, ir.F32Type)
    )


def emit(x: ir.Value, exponent: ir.Value) -> ir.Value:
    """Call the function for the type of ``x`` at the insertion point, declaring it if need be."""
    name = f"{_NAME}{x.type.get_dim_size(0)}"
    module = ir.InsertionPoint.current.block.owner
    while module.operation.name != "builtin.module":
        module = module.operation.parent
    body = module.regions[0].blocks[0]
    known = (op.sym_name.value for op in body.operations if isinstance(op, func.FuncOp))
    if name not in known:
        with ir.InsertionPoint.at_block_begin(body):
            func.FuncOp(name, ([x.type, x.type], [x.type]), visibility="private")
    return func.CallOp([x.type], name, [x, exponent]).result


def define(text: str) -> str:
    """Return LLVM IR ``text`` with a definition for every function that :func:`emit` declared."""
    return _DECLARATION.sub(lambda found: _definition(int(found[1])), text)


def _definition(lanes: int) -> str:
    vector, bits = f"<{lanes} x float>", _BITS[lanes]
    mask = f"i{max(lanes, 8)}"
    intrinsic = f"llvm.x86.avx512.mask.scalef.ps.{bits}"
    kinds, values = f"{vector}, {vector}, {vector}, {mask}", f"{vector} %x, {vector} %n"
    rounding = (", i32", ", i32 4") if bits == 512 else ("", "")  # 4: as the rounding mode says
    return (
        f"define internal {vector} @{_NAME}{lanes}({values}) alwaysinline nounwind {{\n"
        f"  %r = call {vector} @{intrinsic}({values}, {vector} zeroinitializer, {mask} -1"
        f"{rounding[1]})\n  ret {vector} %r\n}}\n"
        f"declare {vector} @{intrinsic}({kinds}{rounding[0]})"
    )
