"""What each PTX instruction does, on arrays with one element per thread."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tests.cuda import asynchronous, warp, warpgroup

Dtype = Any
_KINDS = {
    "f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16,
    "pred": np.bool_,
}  # fmt: skip


def unsigned(bits: int) -> Dtype:
    """Return the unsigned type of that many bits."""
    return {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}[bits]


@cache
def dtype_of(kind: str) -> Dtype:
    """Return the numpy type of a PTX type; an untyped one is unsigned."""
    if kind in _KINDS:
        return np.dtype(_KINDS[kind])
    return np.dtype(f"{'i' if kind[0] == 's' else 'u'}{int(kind[1:]) // 8}")


def literal(text: str, dtype: Dtype, address: Callable[[str], int]) -> Any:
    """Return an immediate operand."""
    if text.startswith(("0f", "0F")):
        bits = int(text[2:], 16)
        value = np.uint32(bits)
        return value.view(dtype) if dtype.itemsize == 4 else np.uint64(bits).view(dtype)
    if text.startswith(("0d", "0D")):
        return np.uint64(int(text[2:], 16)).view(dtype)
    if text[:1].isdigit() or text[:1] == "-":
        number = int(text.rstrip("U"), 0)
        if dtype.kind == "b":
            return np.bool_(number)
        bits = 8 * dtype.itemsize
        return np.frombuffer(struct.pack("<Q", number & (1 << 64) - 1), f"u{bits // 8}")[0].view(
            dtype
        )
    return np.uint64(address(text)).astype(unsigned(8 * dtype.itemsize)).view(dtype)


def _type(modifiers: tuple[str, ...]) -> str:
    """Return the last type among the modifiers."""
    return next(m for m in reversed(modifiers) if _is_type(m))


def _is_type(text: str) -> bool:
    return text in _KINDS or (text[0] in "busf" and text[1:].isdigit())


def _integer(kind: str) -> bool:
    return kind[0] in "bus" and kind != "bf16"


def _binary(f: Callable[[Any, Any], Any]) -> Any:
    def run(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
        kind = _type(modifiers)
        t.set(o[0], np.asarray(f(t.get(o[1], kind), t.get(o[2], kind))).astype(dtype_of(kind)))

    return run


def _unary(f: Callable[[Any], Any]) -> Any:
    def run(t: Any, modifiers: tuple[str, ...], o: tuple[str, ...]) -> None:
        kind = _type(modifiers)
        t.set(o[0], np.asarray(f(t.get(o[1], kind))).astype(dtype_of(kind)))

    return run


def _wide(value: Any) -> Any:
    """Return integers as Python-exact 128-bit numbers, floats with more precision."""
    value = np.asarray(value)
    if value.dtype.kind in "iu":
        return value.astype(object) if value.dtype.itemsize == 8 else value.astype(np.int64)
    return value.astype(np.float64 if value.dtype != np.float64 else np.longdouble)


def _wrap(value: Any, kind: str) -> NDArray:
    bits = int(kind[1:])
    value = np.asarray(value)
    if value.dtype == object:
        value = np.array([int(v) & (1 << 64) - 1 for v in value.reshape(-1)], np.uint64)
    return value.astype(unsigned(bits)).view(dtype_of(kind))


def _mul(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    a, b = t.get(o[1], kind), t.get(o[2], kind)
    t.set(o[0], _product(a, b, m, kind))


def _product(a: Any, b: Any, m: tuple[str, ...], kind: str) -> Any:
    if not _integer(kind):
        return (a * b).astype(dtype_of(kind))
    if "wide" in m:
        twice = f"{kind[0]}{2 * int(kind[1:])}"
        return np.asarray(a).astype(dtype_of(twice)) * np.asarray(b).astype(dtype_of(twice))
    if "hi" in m:
        bits = int(kind[1:])
        exact = np.asarray(a).astype(object) * np.asarray(b).astype(object)
        return _wrap(np.array([int(v) >> bits for v in np.atleast_1d(exact)], object), kind)
    return (np.asarray(a) * np.asarray(b)).astype(dtype_of(kind))


def _mad(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    product = np.asarray(_product(t.get(o[1], kind), t.get(o[2], kind), m, kind))
    wide = kind if "wide" not in m else f"{kind[0]}{2 * int(kind[1:])}"
    t.set(o[0], (product + t.get(o[3], wide)).astype(dtype_of(wide)))


def _fma(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    a, b, c = (_wide(t.get(x, kind)) for x in o[1:4])
    result = np.asarray(a * b + c).astype(dtype_of(kind))
    t.set(o[0], np.maximum(result, 0) if "relu" in m else result)


def _divide(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "f":
        return a / b
    safe = np.where(b == 0, np.ones_like(b), b)
    quotient = np.abs(_wide(a)) // np.abs(_wide(safe))
    signed = np.where((np.asarray(a) < 0) != (safe < 0), -quotient, quotient)
    kind = f"{'s' if a.dtype.kind == 'i' else 'u'}{8 * a.dtype.itemsize}"
    return _wrap(signed, kind)


def _remainder(a: Any, b: Any) -> Any:
    return (np.asarray(a) - _divide(a, b) * b).astype(np.asarray(a).dtype)


def _extreme(f: Callable, number: Callable) -> Any:
    def run(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
        kind = _type(m)
        a, b = t.get(o[1], kind), t.get(o[2], kind)
        choose = f if "NaN" in m or _integer(kind) else number
        t.set(o[0], np.asarray(choose(a, b)).astype(dtype_of(kind)))

    return run


def _shift(t: Any, m: tuple[str, ...], o: tuple[str, ...], left: bool) -> None:
    kind = _type(m)
    bits = int(kind[1:])
    value, by = np.asarray(t.get(o[1], kind)), np.asarray(t.get(o[2], "u32")).astype(np.int64)
    inside = np.minimum(by, bits - 1).astype(value.dtype)
    if left:
        result = np.where(by >= bits, value.dtype.type(0), value << inside)
    else:
        result = value >> inside
        if value.dtype.kind == "u":
            result = np.where(by >= bits, value.dtype.type(0), result)
    t.set(o[0], result.astype(value.dtype))


_ORDERED = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
    "eq": np.equal,
}  # fmt: skip


def compare(name: str, a: Any, b: Any, floats: bool) -> Any:
    """Return a comparison; the names that end in u hold for NaN too."""
    if not floats:
        return np.not_equal(a, b) if name == "ne" else _ORDERED[name](a, b)
    unordered = np.isnan(a) | np.isnan(b)
    if name in ("num", "nan"):
        return ~unordered if name == "num" else unordered
    if name in ("ne", "neu"):
        return np.not_equal(a, b) & ~unordered if name == "ne" else np.not_equal(a, b) | unordered
    if name not in _ORDERED or name in ("lo", "ls", "hi", "hs"):
        return _ORDERED[name[:-1]](a, b) | unordered
    return _ORDERED[name](a, b)


def _setp(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    found = compare(m[0], t.get(o[1], kind), t.get(o[2], kind), not _integer(kind))
    if m[1] in ("and", "or", "xor"):
        other = t.get(o[3].lstrip("!"), "pred") ^ o[3].startswith("!")
        found = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[m[1]](
            found, other
        )
    targets = o[0].split("|")
    t.set(targets[0], found)
    if len(targets) > 1:
        t.set(targets[1], ~np.asarray(found))


def _selp(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    t.set(o[0], np.where(t.get(o[3], "pred"), t.get(o[1], kind), t.get(o[2], kind)))


def _logic(f: Callable, truth: Callable) -> Any:
    def run(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
        kind = _type(m)
        operation = truth if kind == "pred" else f
        t.set(o[0], operation(t.get(o[1], kind), t.get(o[2], kind)))

    return run


def _not(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    t.set(o[0], ~np.asarray(t.get(o[1], _type(m))))


def _cvt(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    if "tf32" in m:
        warp.round_tf32(t, m, o)
        return
    if "f16x2" in m or "bf16x2" in m:
        half = dtype_of("f16" if "f16x2" in m else "bf16")
        high, low = (np.asarray(t.get(x, "f32")).astype(half).view(np.uint16) for x in o[1:3])
        t.set(o[0], high.astype(np.uint32) << np.uint32(16) | low)
        return
    *_, target, source = [x for x in m if _is_type(x)]
    value = np.asarray(t.get(o[1], source))
    to = dtype_of(target)
    if not _integer(source) and _integer(target):
        rounding = next((x for x in m if x in ("rni", "rzi", "rmi", "rpi")), "rzi")
        f = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}[rounding]
        info = np.iinfo(to)
        wide = f(np.nan_to_num(value.astype(np.longdouble), nan=0.0))
        value = np.clip(wide, np.longdouble(info.min), np.longdouble(info.max))
    elif not _integer(source) and not _integer(target) and source == target:
        rounding = next((x for x in m if x in ("rni", "rzi", "rmi", "rpi")), None)
        if rounding:
            f = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}[rounding]
            value = f(value)
    elif "sat" in m and _integer(target):
        value = np.clip(value, np.iinfo(to).min, np.iinfo(to).max)
    if target == "bf16" and value.dtype == np.float64:
        value = value.astype(np.float32)
    t.set(o[0], value.astype(to))


def _mov(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    if o[0].startswith("{"):
        parts = [p.strip() for p in o[0].strip("{}").split(",")]
        bits = int(kind[1:])
        width = bits // len(parts)
        value = np.asarray(t.get(o[1], kind))
        for number, part in enumerate(parts):
            shifted = value >> value.dtype.type(number * width)
            t.set(part, (shifted & value.dtype.type((1 << width) - 1)).astype(unsigned(width)))
        return
    if o[1].startswith("{"):
        parts = [p.strip() for p in o[1].strip("{}").split(",")]
        bits = int(kind[1:])
        width, total = bits // len(parts), unsigned(bits)(0)
        for number, part in enumerate(parts):
            value = np.asarray(t.get(part, f"b{width}")).astype(unsigned(bits))
            total = total | value << unsigned(bits)(number * width)
        t.set(o[0], total)
        return
    value = t.get(o[1], kind)
    t.set(o[0], np.broadcast_to(value, t.active.shape))


_SPACES = ("global", "shared", "local", "param", "const")


def _parts(operand: str) -> list[str]:
    return [p.strip() for p in operand.strip("{}").split(",")]


def _ld(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    size = int(kind.lstrip("bfus")) // 8
    space = next((x for x in m if x in _SPACES), "")
    if space == "param":
        name, offset = t.place(o[1])
        value = t.parameters[name][offset : offset + size].view(dtype_of(kind))[0]
        t.set(o[0], np.broadcast_to(value, t.active.shape))
        return
    targets = _parts(o[0])
    addresses = t.addresses(o[1])
    _aligned(addresses, size * len(targets))
    for number, target in enumerate(targets):
        whole, at = t.access(space, addresses + np.uint64(number * size), size)
        t.set(target, whole[at].view(dtype_of(kind)))


def _st(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    size = int(kind.lstrip("bfus")) // 8
    space = next((x for x in m if x in _SPACES), "")
    sources = _parts(o[1])
    addresses = t.addresses(o[0])
    _aligned(addresses, size * len(sources))
    for number, source in enumerate(sources):
        whole, at = t.access(space, addresses + np.uint64(number * size), size)
        whole[at] = np.asarray(t.get(source, kind)).view(unsigned(8 * size))


def _aligned(addresses: NDArray[np.uint64], size: int) -> None:
    if (addresses % np.uint64(size)).any():
        raise ValueError(f"a vector access of {size} bytes is not aligned")


def _bfe(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    bits = int(kind[1:])
    value = np.asarray(t.get(o[1], f"u{bits}"))
    start = np.asarray(t.get(o[2], "u32")).astype(np.int64) & 0xFF
    length = np.asarray(t.get(o[3], "u32")).astype(np.int64) & 0xFF
    cut = np.minimum(start, bits - 1).astype(value.dtype)
    field = np.where(start >= bits, value.dtype.type(0), value >> cut)
    width = np.minimum(length, bits)
    full = np.array([(1 << int(w)) - 1 for w in np.atleast_1d(width)], value.dtype)
    field = field & full
    if kind[0] == "s":
        last = np.minimum(start + length - 1, bits - 1).astype(value.dtype)
        negative = (value >> last & value.dtype.type(1)).astype(bool) & (length > 0)
        field = np.where(negative, field | ~full, field)
    t.set(o[0], field.astype(value.dtype))


def _bfi(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)
    bits = int(kind[1:])
    a, b = (np.asarray(t.get(x, kind)).astype(object) for x in o[1:3])
    start, length = (np.asarray(t.get(x, "u32")).astype(object) for x in o[3:5])
    mask = np.frompyfunc(lambda s, n: ((1 << n) - 1 << s) & (1 << bits) - 1, 2, 1)(start, length)
    t.set(o[0], np.atleast_1d(b & ~mask | a << start & mask).astype(unsigned(bits)))


def _bits(f: Callable[[int, int], int]) -> Any:
    def run(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
        kind = _type(m)
        bits = int(kind[1:])
        value = np.atleast_1d(t.get(o[1], f"u{bits}"))
        t.set(o[0], np.array([f(int(v), bits) for v in value], np.uint32))

    return run


def _copysign(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    kind = _type(m)  # copysign(sign, magnitude)
    t.set(o[0], np.copysign(t.get(o[2], kind), t.get(o[1], kind)))


def _prmt(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    a, b, s = (np.asarray(t.get(x, "u32")).astype(np.uint64) for x in o[1:4])
    both, total = a | b << np.uint64(32), np.uint64(0)
    for number in range(4):
        selector = s >> np.uint64(4 * number) & np.uint64(15)
        byte = both >> (selector & np.uint64(7)) * np.uint64(8) & np.uint64(0xFF)
        sign = np.where(byte & np.uint64(0x80), np.uint64(0xFF), np.uint64(0))
        byte = np.where(selector & np.uint64(8), sign, byte)
        total = total | byte << np.uint64(8 * number)
    t.set(o[0], np.asarray(total).astype(np.uint32))


def _shf(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    low, high, by = (np.asarray(t.get(x, "u32")).astype(np.uint64) for x in o[1:4])
    by = by & np.uint64(31) if "wrap" in m else np.minimum(by, np.uint64(32))
    both = low | high << np.uint64(32)
    result = both << by >> np.uint64(32) if m[0] == "l" else both >> by
    t.set(o[0], result.astype(np.uint32))


def _cvta(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    t.set(o[0], np.broadcast_to(t.get(o[1], "u64"), t.active.shape))


def _nothing(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
    """Ordering: everything here happens at once."""


def _of_pairs(run: Callable) -> Callable:
    """Return the instruction that can also work on the two halves of its registers."""

    def both(t: Any, m: tuple[str, ...], o: tuple[str, ...]) -> None:
        kind = next((x for x in m if x in ("f16x2", "bf16x2")), None)
        if kind is None:
            run(t, m, o)
            return
        single = tuple(x.removesuffix("x2") for x in m)
        names = [f"%half{n}" for n in range(len(o))]
        halves = []
        for number in range(2):
            for name, operand in zip(names, o, strict=True):
                whole = np.zeros(t.count, np.uint32)
                if operand is not o[0]:
                    whole[t.active] = t.get(operand, "b32")
                t.registers[name] = (whole >> np.uint32(16 * number)).astype(np.uint16)
            run(t, single, tuple(names))
            halves.append(t.registers[names[0]][t.active].astype(np.uint32))
        t.set(o[0], halves[0] | halves[1] << np.uint32(16))

    return both


TABLE: dict[str, Any] = {
    "mov": _mov, "ld": _ld, "st": _st, "cvta": _cvta, "cvt": _cvt, "setp": _setp, "selp": _selp,
    "add": _binary(np.add), "sub": _binary(np.subtract), "mul": _mul, "mad": _mad, "fma": _fma,
    "div": _binary(_divide), "rem": _binary(_remainder), "neg": _unary(np.negative),
    "abs": _unary(np.abs), "min": _extreme(np.minimum, np.fmin),
    "max": _extreme(np.maximum, np.fmax),
    "and": _logic(np.bitwise_and, np.logical_and), "or": _logic(np.bitwise_or, np.logical_or),
    "xor": _logic(np.bitwise_xor, np.logical_xor), "not": _not,
    "shl": lambda t, m, o: _shift(t, m, o, True), "shr": lambda t, m, o: _shift(t, m, o, False),
    "sqrt": _unary(np.sqrt), "rcp": _unary(lambda x: (1 / x).astype(x.dtype)),
    "bfe": _bfe, "bfi": _bfi, "clz": _bits(lambda v, n: n - v.bit_length()),
    "popc": _bits(lambda v, _: v.bit_count()), "copysign": _copysign, "prmt": _prmt, "shf": _shf,
    "brev": _bits(lambda v, n: int(f"{v:0{n}b}"[::-1], 2)),
    "shfl": warp.shfl, "mma": warp.mma, "ldmatrix": warp.ldmatrix, "membar": _nothing,
    "fence": _nothing, "cp": asynchronous.cp, "mbarrier": asynchronous.mbarrier,
    "wgmma": warpgroup.wgmma, "setmaxnreg": _nothing,
}  # fmt: skip
for _name in ("add", "sub", "mul", "fma", "neg", "abs", "min", "max"):
    TABLE[_name] = _of_pairs(TABLE[_name])
