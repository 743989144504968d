"""What the host program's operations compute, where a Python operator does not say it.

Integers are 64-bit two's complement, floats are IEEE doubles; an operation gives what the same
one gives in C, except that errors raise.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from iree_core.errors import InvocationError
from iree_core.hal import Buffer

_INTEGERS = {
    "i1": (1, False), "i4": (1, True), "ui4": (1, False), "i8": (1, True), "ui8": (1, False),
    "i16": (2, True), "ui16": (2, False), "i32": (4, True), "ui32": (4, False),
    "i64": (8, True), "ui64": (8, False),
}  # fmt: skip
_FLOATS = {"f16": struct.Struct("<e"), "f32": struct.Struct("<f"), "f64": struct.Struct("<d")}


def ceil_divide(left: int, right: int) -> int:
    """Return the quotient rounded towards positive infinity."""
    return -(-left // right)


def divide(left: int, right: int) -> int:
    """Return the quotient rounded towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def remainder(left: int, right: int) -> int:
    """Return what :func:`divide` leaves; it has the sign of ``left``."""
    return left - right * divide(left, right)


def wrap(value: int, bits: int) -> int:
    """Return ``value`` in two's complement of ``bits`` bits."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def shift_left(value: int, count: int) -> int:
    """Return ``value`` shifted left within 64 bits; 0 for more than that."""
    return wrap(value << count, 64) if 0 <= count < 64 else 0


def shift_right(value: int, count: int) -> int:
    """Return ``value`` shifted right, its sign kept."""
    return value >> (count if 0 <= count < 64 else 63)


def float_divide(left: float, right: float) -> float:
    """Return the IEEE quotient."""
    if right:
        return left / right
    if left == 0 or math.isnan(left) or math.isnan(right):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def float_power(base: float, exponent: float) -> float:
    """Return the power as C's ``pow``: NaN of a negative number and a fraction, else infinite
    beyond the range."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        if base:
            return math.nan
        return math.copysign(math.inf, base) if exponent % 2 == 1 else math.inf


def minimum(left: float, right: float) -> float:
    """Return the smaller operand, or NaN if one is."""
    return left + right if left != left or right != right else min(left, right)


def maximum(left: float, right: float) -> float:
    """Return the larger operand, or NaN if one is."""
    return left + right if left != left or right != right else max(left, right)


def to_integer(value: float) -> int:
    """Return ``value`` truncated; saturated at 64 bits, and 0 for NaN."""
    if value != value:
        return 0
    return int(max(-(2.0**63), min(value, 2.0**63 - 1024)))


def check(condition: int, message: str) -> None:
    """Raise InvocationError with ``message`` where ``condition`` is 0."""
    if not condition:
        raise InvocationError(message)


def load_integer(buffer: Buffer, offset: int, dtype: str) -> int:
    """Return the element of ``dtype`` at a byte offset."""
    size, signed = _INTEGERS[dtype]
    return int.from_bytes(buffer.read(offset, size).tobytes(), "little", signed=signed)


def load_float(buffer: Buffer, offset: int, dtype: str) -> float:
    """Return the element of ``dtype`` at a byte offset."""
    if dtype == "bf16":
        return struct.unpack("<f", b"\0\0" + buffer.read(offset, 2).tobytes())[0]
    form = _FLOATS[dtype]
    return form.unpack(buffer.read(offset, form.size).tobytes())[0]


def pack_integer(value: int, dtype: str) -> bytes:
    """Return the bytes of ``value`` as an element of ``dtype``, wrapped to its size."""
    size = _INTEGERS[dtype][0]
    return (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little")


def pack_float(value: float, dtype: str) -> bytes:
    """Return the bytes of ``value`` rounded to an element of ``dtype``."""
    if dtype == "bf16":
        (bits,) = struct.unpack("<I", pack_float(value, "f32"))
        rounded = bits + 0x7FFF + (bits >> 16 & 1) if value == value else bits | 0x400000
        return (rounded >> 16 & 0xFFFF).to_bytes(2, "little")
    try:
        return _FLOATS[dtype].pack(value)
    except OverflowError:  # struct refuses what IEEE rounds to infinity
        return _FLOATS[dtype].pack(math.copysign(math.inf, value))


def _rounded_half_away(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value)


def _kept_if_not_finite(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda value: float(function(value)) if math.isfinite(value) else value


def _logarithm(function: Callable[[float], float], pole: float) -> Callable[[float], float]:
    return lambda value: -math.inf if value == pole else function(value)


def _growing(function: Callable[[float], float], *, odd: bool = False) -> Callable[[float], float]:
    def compute(value: float) -> float:
        try:
            return function(value)
        except OverflowError:
            return math.copysign(math.inf, value) if odd else math.inf

    return compute


_FUNCTIONS: dict[str, Callable[[float], float]] = {
    **{name: getattr(math, name) for name in ("acos", "acosh", "asin", "asinh", "atan")},
    **{name: getattr(math, name) for name in ("cos", "erf", "erfc", "sin", "sqrt", "tan", "tanh")},
    "abs": abs,
    "atanh": lambda x: math.copysign(math.inf, x) if abs(x) == 1 else math.atanh(x),
    "neg": lambda x: -x,
    "ceil": _kept_if_not_finite(math.ceil),
    "floor": _kept_if_not_finite(math.floor),
    "trunc": _kept_if_not_finite(math.trunc),
    "round": _kept_if_not_finite(_rounded_half_away),
    "roundeven": _kept_if_not_finite(round),
    "exp": _growing(math.exp),
    "exp2": _growing(math.exp2),
    "expm1": _growing(math.expm1),
    "cosh": _growing(math.cosh),
    "sinh": _growing(math.sinh, odd=True),
    "log": _logarithm(math.log, 0),
    "log2": _logarithm(math.log2, 0),
    "log10": _logarithm(math.log10, 0),
    "log1p": _logarithm(math.log1p, -1),
    "rsqrt": lambda x: float_divide(1.0, math.sqrt(x)),
}


def apply_math(name: str, value: float) -> float:
    """Return the named function of ``value``; NaN outside of its domain, as in C."""
    try:
        return _FUNCTIONS[name](value)
    except ValueError:
        return math.nan
