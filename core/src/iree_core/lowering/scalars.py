"""Scalar arithmetic by element type: what goes inside the bodies of ``linalg`` operations.

Every function takes SSA scalars and the :class:`ElementType` that says how to read their bits.
"""

from __future__ import annotations

from collections.abc import Callable

from iree_core.ir import arith, complex, ir, math
from iree_core.lowering.element import F32, F64, ElementType

FLOAT_PREDICATE = {
    "eq": arith.CmpFPredicate.OEQ, "ne": arith.CmpFPredicate.UNE,
    "lt": arith.CmpFPredicate.OLT, "le": arith.CmpFPredicate.OLE,
    "gt": arith.CmpFPredicate.OGT, "ge": arith.CmpFPredicate.OGE,
}  # fmt: skip
_SIGNED_PREDICATE = {
    "eq": arith.CmpIPredicate.eq, "ne": arith.CmpIPredicate.ne,
    "lt": arith.CmpIPredicate.slt, "le": arith.CmpIPredicate.sle,
    "gt": arith.CmpIPredicate.sgt, "ge": arith.CmpIPredicate.sge,
}  # fmt: skip
_UNSIGNED_PREDICATE = {
    "eq": arith.CmpIPredicate.eq, "ne": arith.CmpIPredicate.ne,
    "lt": arith.CmpIPredicate.ult, "le": arith.CmpIPredicate.ule,
    "gt": arith.CmpIPredicate.ugt, "ge": arith.CmpIPredicate.uge,
}  # fmt: skip


def constant(number: complex | float | int | bool, element: ElementType) -> ir.Value:
    """Return ``number`` as a scalar constant of ``element``."""
    kind = element.type
    if element.kind == "complex":
        half = ir.ComplexType(kind).element_type
        parts = [ir.FloatAttr.get(half, float(p)) for p in (number.real, number.imag)]
        return complex.constant(kind, ir.ArrayAttr.get(parts))
    if element.is_float:
        return arith.constant(kind, ir.FloatAttr.get(kind, float(number)))
    return arith.constant(kind, ir.IntegerAttr.get(kind, wrap(int(number), element)))


def wrap(number: int, element: ElementType) -> int:
    """Return ``number`` modulo the type's range, as the signed number MLIR's attributes want."""
    if element.kind == "bool":
        return int(bool(number))
    number &= (1 << element.bits) - 1
    return number - (1 << element.bits) if number >> (element.bits - 1) else number


def lowest(element: ElementType) -> float | int:
    """Return the smallest value (minus infinity for floats that have it)."""
    import ml_dtypes

    if element.is_float:
        finite = ml_dtypes.finfo(element.numpy)
        return float("-inf") if element.bits >= 16 else float(finite.min)
    return -(1 << (element.bits - 1)) if element.kind == "signed" else 0


def highest(element: ElementType) -> float | int:
    """Return the largest value (infinity for floats that have it)."""
    import ml_dtypes

    if element.is_float:
        finite = ml_dtypes.finfo(element.numpy)
        return float("inf") if element.bits >= 16 else float(finite.max)
    return (1 << (element.bits - (element.kind == "signed"))) - 1


def _pick(element: ElementType, **builders: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
    if element.kind in builders:
        return builders[element.kind]
    if element.kind in ("signed", "unsigned", "bool") and "integer" in builders:
        return builders["integer"]
    if element.kind == "bool" and "unsigned" in builders:
        return builders["unsigned"]
    raise TypeError(f"the operation is not defined for elements of type {element.name}")


def add(a: ir.Value, b: ir.Value, element: ElementType) -> ir.Value:
    """Return ``a + b`` (logical or for i1)."""
    return _pick(
        element, float=arith.addf, bool=arith.ori, integer=arith.addi, complex=complex.add
    )(a, b)


def sub(a: ir.Value, b: ir.Value, element: ElementType) -> ir.Value:
    """Return ``a - b``."""
    return _pick(element, float=arith.subf, integer=arith.subi, complex=complex.sub)(a, b)


def mul(a: ir.Value, b: ir.Value, element: ElementType) -> ir.Value:
    """Return ``a * b`` (logical and for i1)."""
    return _pick(
        element, float=arith.mulf, bool=arith.andi, integer=arith.muli, complex=complex.mul
    )(a, b)


def div(a: ir.Value, b: ir.Value, element: ElementType) -> ir.Value:
    """Return ``a / b``; integers truncate towards zero."""
    return _pick(
        element,
        float=arith.divf,
        signed=arith.divsi,
        unsigned=arith.divui,
        complex=complex.div,
    )(a, b)


def maximum(a: ir.Value, b: ir.Value, element: ElementType) -> ir.Value:
    """Return the larger; NaN wins."""
    return _pick(element, float=arith.maximumf, signed=arith.maxsi, unsigned=arith.maxui)(a, b)


def minimum(a: ir.Value, b: ir.Value, element: ElementType) -> ir.Value:
    """Return the smaller; NaN wins."""
    return _pick(element, float=arith.minimumf, signed=arith.minsi, unsigned=arith.minui)(a, b)


def negate(a: ir.Value, element: ElementType) -> ir.Value:
    """Return ``-a``."""
    if element.is_float:
        return arith.negf(a)
    return sub(constant(0, element), a, element)


def absolute(a: ir.Value, element: ElementType) -> ir.Value:
    """Return the magnitude (real for complex)."""
    if element.kind == "complex":
        return complex.abs(a)
    if element.is_unsigned:
        return a
    return _pick(element, float=math.absf, signed=math.absi)(a)


def compare(predicate: str, a: ir.Value, b: ir.Value, element: ElementType) -> ir.Value:
    """Return an i1: ``predicate`` is eq, ne, lt, le, gt or ge; comparisons with NaN are false
    except ``ne``."""
    if element.kind == "complex":
        return complex.eq(a, b) if predicate == "eq" else complex.neq(a, b)
    if element.is_float:
        return arith.cmpf(FLOAT_PREDICATE[predicate], a, b)
    table = _UNSIGNED_PREDICATE if element.is_unsigned else _SIGNED_PREDICATE
    return arith.cmpi(table[predicate], a, b)


def is_nan(a: ir.Value) -> ir.Value:
    """Return an i1 that is set for NaN."""
    return arith.cmpf(arith.CmpFPredicate.UNO, a, a)


def convert(a: ir.Value, source: ElementType, target: ElementType) -> ir.Value:
    """Return ``a`` as ``target``, like a C cast: floats truncate towards zero, integers wrap.

    Conversion to i1 tests for non-zero. Floats out of the range of an integer are undefined,
    as in C.
    """
    if source == target:
        return a
    small = any(e.is_float and e.bits <= 8 for e in (source, target))
    if small and F32 not in (source, target):
        # Small floats are converted by way of f32 (see small_float).
        return convert(convert(a, source, F32), F32, target)
    if target.kind == "bool":
        return compare("ne", a, constant(0, source), source)
    if target.kind == "complex":
        return _to_complex(a, source, target)
    if source.kind == "complex":
        half = F32 if source.bits == 64 else F64
        return convert(complex.re(a), half, target)
    if source.is_float and target.is_float:
        return _resize_float(a, source, target)
    if source.is_float:
        return arith.fptoui(target.type, a) if target.is_unsigned else arith.fptosi(target.type, a)
    if target.is_float:
        # Unsigned 1-bit and odd widths convert through i32 so that every backend knows them.
        return (arith.uitofp if source.is_unsigned else arith.sitofp)(target.type, a)
    if target.bits == source.bits:
        return a
    if target.bits < source.bits:
        return arith.trunci(target.type, a)
    return (arith.extui if source.is_unsigned else arith.extsi)(target.type, a)


def _resize_float(a: ir.Value, source: ElementType, target: ElementType) -> ir.Value:
    from iree_core.lowering import small_float

    if source.bits <= 8:
        return _resize_or_same(small_float.decode(a, source), F32, target)
    if target.bits <= 8:
        return small_float.encode(_resize_or_same(a, source, F32), target)
    return _resize_or_same(a, source, target)


def _resize_or_same(a: ir.Value, source: ElementType, target: ElementType) -> ir.Value:
    if source == target:
        return a
    if target.bits <= 8:
        return _resize_float(a, source, target)
    if source.bits == 64 and target.bits == 16:
        # No processor rounds from 64 to 16 bits at once; without this, a library call does.
        return arith.truncf(target.type, arith.truncf(F32.type, a))
    if target.bits > source.bits:
        return arith.extf(target.type, a)
    if target.bits < source.bits:
        return arith.truncf(target.type, a)
    return arith.truncf(target.type, arith.extf(F32.type, a))


def _to_complex(a: ir.Value, source: ElementType, target: ElementType) -> ir.Value:
    half = F32 if target.bits == 64 else F64
    if source.kind == "complex":
        other = F32 if source.bits == 64 else F64
        re, im = (convert(p(a), other, half) for p in (complex.re, complex.im))
    else:
        re, im = convert(a, source, half), constant(0.0, half)
    return complex.create_(target.type, re, im)
