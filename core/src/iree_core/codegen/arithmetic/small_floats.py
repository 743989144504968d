"""Conversions of floats narrower than 32 bits as integer arithmetic.

``arith.extf`` and ``arith.truncf`` round to nearest, ties to even. A value that is too large
becomes infinity where the format has one, else NaN; formats without NaN saturate. bf16 goes
this way on every target (the instructions some have flush denormals), f16 where the target has
no conversion of its own. Formats: IEEE 754 (f16), the OCP 8-bit and microscaling
specifications, and their FNUZ variants by Graphcore and AMD.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from iree_core.codegen.arithmetic.numeric import Num, element_of, select, shaped_like
from iree_core.ir import ir

Call = Callable[[str, list[ir.Value], ir.Type, Callable[..., Num]], ir.Value]

_SIGN, _MAGNITUDE, _NAN = 0x80000000, 0x7FFFFFFF, 0x7FC00000


@dataclass(frozen=True)
class Format:
    """A float format of at most 16 bits with a sign.

    Attributes:
        exponent, mantissa: bits of each field.
        bias: what the exponent field is above the exponent.
        largest: the code of the largest finite number.
        overflow: the code of what is larger.
        nan: the code of NaN (with FNUZ formats also the sign bit alone).
        unsigned_zero: minus zero does not exist, its code is NaN.
    """

    exponent: int
    mantissa: int
    bias: int
    largest: int
    overflow: int
    nan: int
    unsigned_zero: bool = False

    @property
    def width(self) -> int:
        """Number of bits."""
        return 1 + self.exponent + self.mantissa

    @property
    def has_infinity(self) -> bool:
        """Whether the largest exponent is reserved as in IEEE 754."""
        return self.overflow == self.largest + 1 and self.nan > self.overflow


def _ieee(exponent: int, mantissa: int) -> Format:
    infinity = ((1 << exponent) - 1) << mantissa
    quiet = infinity | 1 << (mantissa - 1)
    bias = (1 << (exponent - 1)) - 1
    return Format(exponent, mantissa, bias, infinity - 1, infinity, quiet)


def _fnuz(exponent: int, mantissa: int, bias: int) -> Format:
    return Format(exponent, mantissa, bias, 0x7F, 0x80, 0x80, unsigned_zero=True)


FORMATS = {
    "bf16": _ieee(8, 7),
    "f16": _ieee(5, 10),
    "f8E5M2": _ieee(5, 2),
    "f8E4M3": _ieee(4, 3),
    "f8E3M4": _ieee(3, 4),
    "f8E4M3FN": Format(4, 3, 7, 0x7E, 0x7F, 0x7F),
    "f8E4M3FNUZ": _fnuz(4, 3, 8),
    "f8E5M2FNUZ": _fnuz(5, 2, 16),
    "f8E4M3B11FNUZ": _fnuz(4, 3, 11),
    "f6E2M3FN": Format(2, 3, 1, 0x1F, 0x1F, 0x1F),
    "f6E3M2FN": Format(3, 2, 3, 0x1F, 0x1F, 0x1F),
    "f4E2M1FN": Format(2, 1, 1, 0x7, 0x7, 0x7),
}
_SCALE = "f8E8M0FNU"  # a power of two without sign


def expand(module: ir.Module, call: Call, *, halves: bool) -> None:
    """Expand every conversion from or to a small float in ``module``.

    Args:
        module: the module.
        call: calls a function of the module, made on first use.
        halves: leave conversions between f16 and f32 to the target.
    """
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name in ("arith.extf", "arith.truncf"):
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    for op in found:
        _expand(op, call, halves)


def _expand(op: ir.Operation, call: Call, halves: bool) -> None:
    source, kind = op.operands[0], op.results[0].type
    names = {str(element_of(source.type)), str(element_of(kind))}
    if halves and names == {"f16", "f32"}:
        # Emulated arithmetic permits to skip the rounding in between; every step rounds here.
        op.attributes["fastmath"] = ir.Attribute.parse("#arith.fastmath<none>")
        return
    if not names & (set(FORMATS) | {_SCALE}):
        return
    single = ir.F32Type.get()
    with ir.InsertionPoint(op), op.location:
        value = Num(source)
        if element_of(source.type).width < 32:
            value = _extend(value, call, halves)
        if value.element.width > 32:
            value = _round_to_odd(value)
        if element_of(kind).width < 32:
            value = _truncate(value, element_of(kind), call, halves)
        elif element_of(kind) != single:
            value = value.to(element_of(kind))
        op.results[0].replace_all_uses_with(value.value)
    op.erase()


def _extend(value: Num, call: Call, halves: bool) -> Num:
    name, single = str(value.element), ir.F32Type.get()
    if halves and name == "f16":
        return value.to(single)
    kind = shaped_like(value.kind, single)
    if name == _SCALE:
        return Num(call("extend", [value.value], kind, extend_scale))
    if name == "bf16":
        return Num(call("extend", [value.value], kind, extend_bf16))
    return Num(call("extend", [value.value], kind, partial(extend, FORMATS[name])))


def _truncate(value: Num, element: ir.Type, call: Call, halves: bool) -> Num:
    name = str(element)
    if halves and name == "f16":
        return value.to(element)
    kind = shaped_like(value.kind, element)
    if name == _SCALE:
        return Num(call("truncate", [value.value], kind, partial(truncate_scale, element)))
    build = truncate_bf16 if name == "bf16" else partial(truncate, FORMATS[name])
    return Num(call("truncate", [value.value], kind, partial(build, element)))


def _round_to_odd(x: Num) -> Num:
    """Round f64 to f32 so that rounding once more gives what rounding once would have."""
    rounded = x.to(ir.F32Type.get())
    back = rounded.to(ir.F64Type.get())
    bits = rounded.bits()
    bits = select(abs(back) > abs(x), bits - 1, bits)
    return select(back.ne(x), bits | 1, bits).as_float()


def extend(form: Format, x: Num) -> Num:
    """Return f32 from any format: scale the bits as if they were those of an f32."""
    i32 = ir.IntegerType.get_signless(32)
    code = x.bits().extend_zero(i32)
    magnitude = code & ((1 << (form.width - 1)) - 1)
    sign = (code & (1 << (form.width - 1))) << (32 - form.width)
    moved = magnitude << (23 - form.mantissa)
    bits = (moved.as_float() * 2.0 ** (127 - form.bias)).bits()
    if form.has_infinity:
        bits = select(magnitude > form.largest, moved | 0x7F800000, bits)
    elif form.unsigned_zero:
        bits = select(code.eq(form.nan), bits.like(_NAN), bits)
    elif form.nan > form.largest:
        bits = select(magnitude.eq(form.nan), bits.like(_NAN), bits)
    return (bits | sign).as_float()


def extend_bf16(x: Num) -> Num:
    """Return f32 from bf16, its upper half."""
    return (x.bits().extend_zero(ir.IntegerType.get_signless(32)) << 16).as_float()


def extend_scale(x: Num) -> Num:
    """Return f32 from a power of two; code 0 is 2^-127, code 255 NaN."""
    code = x.bits().extend_zero(ir.IntegerType.get_signless(32))
    bits = select(code.eq(0), code.like(0x00400000), code << 23)
    return select(code.eq(255), bits.like(_NAN), bits).as_float()


def truncate(form: Format, element: ir.Type, x: Num) -> Num:
    """Return any format but bf16 from f32."""
    bits = x.bits()
    magnitude = bits & _MAGNITUDE
    drop = 23 - form.mantissa
    tie = magnitude.shift_right_zero(drop) & 1
    normal = (magnitude + ((1 << (drop - 1)) - 1) + tie).shift_right_zero(drop)
    normal = normal - ((127 - form.bias) << form.mantissa)
    # Adding a number whose last bit is worth the smallest step rounds to such steps.
    step = x.like(2.0 ** (24 - form.bias - form.mantissa))
    denormal = (magnitude.as_float() + step).bits() - step.bits()
    code = select(magnitude < (128 - form.bias) << 23, denormal, normal)
    code = select(code > form.largest, code.like(form.overflow), code)
    sign = bits.shift_right_zero(32 - form.width) & (1 << (form.width - 1))
    if form.unsigned_zero:
        sign = select(code.eq(0), sign.like(0), sign)
    code = code | sign
    code = select(x.is_nan(), code.like(form.nan) | (0 if form.unsigned_zero else sign), code)
    return code.to(ir.IntegerType.get_signless(form.width)).bitcast(element)


def truncate_bf16(element: ir.Type, x: Num) -> Num:
    """Return bf16 from f32: round the upper half."""
    bits = x.bits()
    tie = bits.shift_right_zero(16) & 1
    rounded = (bits + tie + 0x7FFF).shift_right_zero(16)
    quiet = bits.shift_right_zero(16) | 0x40
    code = select(x.is_nan(), quiet, rounded)
    return code.to(ir.IntegerType.get_signless(16)).bitcast(element)


def truncate_scale(element: ir.Type, x: Num) -> Num:
    """Return the nearest power of two at least 2^-127; NaN for negative numbers and NaN."""
    bits = x.bits()
    field = bits.shift_right_zero(23)
    rest = bits & 0x7FFFFF
    # Between two powers of two the middle, 1.5, rounds up: a significand of one bit is odd.
    normal = select(rest >= 0x400000, field + 1, field)
    denormal = select(rest >= 0x600000, field.like(1), 0)
    code = select(field.eq(0), denormal, normal)
    code = select((bits < 0) | (code > 254) | x.is_nan(), code.like(255), code)
    return code.to(ir.IntegerType.get_signless(8)).bitcast(element)


__all__ = ["FORMATS", "Format", "expand"]
