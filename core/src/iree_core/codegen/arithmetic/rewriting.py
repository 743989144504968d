"""Finding mathematical operations in a kernel and computing narrow ones in single precision."""

from __future__ import annotations

from collections.abc import Callable

from iree_core.codegen.arithmetic.numeric import element_of, shaped_like
from iree_core.ir import arith, ir

# What a kernel's text contains where floats narrower than 32 bits occur, and their names for
# upstream's emulation.
SMALL = ("bf16", "f16", "f8E", "f4E", "f6E")
EMULATED = (
    "bf16,f16,f8E4M3FN,f8E5M2,f8E4M3FNUZ,f8E5M2FNUZ,f8E4M3B11FNUZ,f8E4M3,f8E3M4,f8E8M0FNU,f4E2M1FN"
)
# Right on any float type as they are.
BITWISE = frozenset({"math.absf", "math.copysign"})


def find(module: ir.Module, wanted: Callable[[ir.Operation], bool]) -> list[ir.Operation]:
    """Return the operations that are ``wanted``, in order."""
    found = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if wanted(op):
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return found


def widen(module: ir.Module, names: tuple[str, ...], least_bitwise: int = 0) -> None:
    """Compute operations on floats narrower than 32 bits in f32.

    Args:
        module: the kernel's module.
        names: what the names of the operations start with.
        least_bitwise: the bits of the narrowest float of which bitwise ones are left as they are.
    """

    def narrow(op: ir.Operation) -> bool:
        if not op.name.startswith(names):
            return False
        limit = least_bitwise if op.name in BITWISE else 32
        return any(is_narrow(value.type, limit) for value in (*op.operands, *op.results))

    single = ir.F32Type.get()
    for op in find(module, narrow):
        with ir.InsertionPoint(op), op.location:
            operands = [
                arith.ExtFOp(shaped_like(o.type, single), o).result if is_narrow(o.type) else o
                for o in op.operands
            ]
            kinds = [
                shaped_like(r.type, single) if is_narrow(r.type) else r.type for r in op.results
            ]
            attributes = {name: op.attributes[name] for name in op.attributes}
            wide = ir.Operation.create(op.name, kinds, operands, attributes)
            for old, result in zip(op.results, wide.results, strict=True):
                if old.type != result.type:
                    result = arith.TruncFOp(old.type, result).result
                old.replace_all_uses_with(result)
        op.erase()


def is_narrow(kind: ir.Type, limit: int = 32) -> bool:
    """Whether elements are floats of less than ``limit`` bits."""
    element = element_of(kind)
    return isinstance(element, ir.FloatType) and element.width < limit


def splat(value: ir.Value) -> float | None:
    """Return the number that a float is in every lane, None if it is not known."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    if owner.name == "vector.broadcast":
        return splat(owner.operands[0])
    if owner.name != "arith.constant":
        return None
    attribute = owner.attributes["value"]
    if isinstance(attribute, ir.DenseElementsAttr):
        if not attribute.is_splat:
            return None
        attribute = attribute.get_splat_value()
    return float(ir.FloatAttr(attribute).value)
