"""Arithmetic of numbers that are no tensors: sizes, and what is read of a tensor or made of both.

Only what torch-mlir has no conversion for.
"""

from __future__ import annotations

from collections.abc import Callable

from iree_core.ir import arith, ir, math
from iree_core.lowering import scalars
from iree_core.lowering.element import F64, I64
from iree_core.passes.input.support import before, create, operations, replace

_CARRIERS = {"!torch.float": "f64", "!torch.int": "i64", "!torch.bool": "i1"}


def _comparison(predicate: str) -> Callable[..., ir.Value]:
    return lambda a, b: scalars.compare(predicate, a, b, F64)


def _floored(a: ir.Value, b: ir.Value) -> ir.Value:
    return math.floor(arith.divf(a, b))


def _remainder(a: ir.Value, b: ir.Value) -> ir.Value:
    """Return what Python's ``%`` does: of the divisor's sign."""
    return arith.subf(a, arith.mulf(_floored(a, b), b))


def _whole_power(a: ir.Value, b: ir.Value) -> ir.Value:
    base, exponent = (arith.sitofp(F64.type, value) for value in (a, b))
    return arith.fptosi(I64.type, math.powf(base, exponent))


def _rounded(function: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
    return lambda a: arith.fptosi(I64.type, function(a))


_FUNCTIONS: dict[str, Callable[..., ir.Value]] = {
    **{f"aten.{p}.float": _comparison(p) for p in ("eq", "ne", "lt", "le", "gt", "ge")},
    "aten.pow.float": math.powf,
    "aten.pow.int_to_int": _whole_power,
    "aten.floordiv.float": _floored,
    "aten.remainder.float": _remainder,
    "aten.__lshift__.int": arith.shli,
    "aten.__rshift__.int": arith.shrsi,
    "prim.max.int": arith.maxsi,
    "prim.min.int": arith.minsi,
    "prim.max.float": arith.maximumf,
    "prim.min.float": arith.minimumf,
    "prim.abs.int": math.absi,
    "prim.abs.float": math.absf,
    "aten.floor.float": _rounded(math.floor),
    "aten.ceil.float": _rounded(math.ceil),
    "aten.round.float": math.roundeven,
    "aten.sqrt.float": math.sqrt,
    "aten.sin.float": math.sin,
    "aten.cos.float": math.cos,
    "aten.tan.float": math.tan,
    "aten.asin.float": math.asin,
    "aten.acos.float": math.acos,
    "aten.atan.float": math.atan,
    "aten.sinh.float": math.sinh,
    "aten.cosh.float": math.cosh,
    "aten.tanh.float": math.tanh,
    "aten.exp.float": math.exp,
    "aten.log.float": math.log,
}
"""By operator: the same on f64, i64 and i1."""


def lower(module: ir.Module) -> None:
    """Replace operators on numbers by arithmetic."""
    for op in operations(module, {f"torch.{name}" for name in _FUNCTIONS} | {"torch.operator"}):
        name = op.name
        if name == "torch.operator":
            name = ir.StringAttr(op.attributes["name"]).value
        function = _FUNCTIONS.get(name.removeprefix("torch."))
        kinds = [str(value.type) for value in (*op.operands, *op.results)]
        if function is None or not all(kind in _CARRIERS for kind in kinds):
            continue
        with before(op):
            made = function(*map(_builtin, op.operands))
            result = op.results[0].type
            carrier = _CARRIERS[str(result)]
            values = create(f"torch_c.from_{carrier}", [result], [made]).results
        replace(op, list(values))


def _builtin(value: ir.Value) -> ir.Value:
    carrier = _CARRIERS[str(value.type)]
    return create(f"torch_c.to_{carrier}", [ir.Type.parse(carrier)], [value]).results[0]
