"""Mathematical functions and small floats of a GPU kernel as plain arithmetic, in place.

A shader language promises little for its functions (Vulkan: 2^-11 absolute for a sine, any
rounding for a conversion to half precision), so all come from
:mod:`iree_core.codegen.arithmetic`. A function is expanded where it is called; what a target
promises (fused multiply-adds, exact conversions of half precision) it can ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from iree_core.codegen.arithmetic import double, small_floats
from iree_core.codegen.arithmetic.functions import BINARY, PERIODIC, REDUCTION_LIMIT, UNARY
from iree_core.codegen.arithmetic.numeric import Num, constant, element_of
from iree_core.codegen.arithmetic.rewriting import EMULATED, SMALL, find, splat, widen
from iree_core.codegen.arithmetic.trigonometry import large_circular
from iree_core.errors import CompileError
from iree_core.ir import arith, ir, run_pipeline, vector

# Targets have bitwise operations of f16 and bf16, not of narrower floats.
_LEAST_BITWISE = 16
_WIDENED = ("math.", "vector.fma")
# Upstream knows these in terms of simpler operations.
_UPSTREAM = ("ctlz", "cttz", "ipowi", "fpowi", "clampf")


def expand(
    module: ir.Module,
    text: str,
    *,
    fma: bool = False,
    halves: bool = False,
    native: Collection[str] = (),
) -> None:
    """Expand what no GPU computes by itself in ``module``.

    Args:
        module: the kernel's module.
        text: what the module was parsed from (to see quickly what does not occur).
        fma: the target rounds multiply-adds once.
        halves: the target converts f16 to f32 and back, rounding to nearest even.
        native: functions (``math.exp``) that the target computes in f32 with few ulp of error.

    Raises:
        CompileError: a function that has no expansion for its type.
    """
    if "complex<" in text:
        run_pipeline(module, "builtin.module(convert-complex-to-standard)", verify=False)
    if any(f"math.{name}" in text for name in _UPSTREAM):
        run_pipeline(module, f"builtin.module(math-expand-ops{{ops={','.join(_UPSTREAM)}}})")
    if any(name in text for name in SMALL):
        widen(module, _WIDENED, _LEAST_BITWISE)
        run_pipeline(
            module,
            "builtin.module(arith-emulate-unsupported-floats"
            f"{{source-types={EMULATED} target-type=f32}})",
            verify=False,
        )
        small_floats.expand(module, _inline, halves=halves)
    _expand_functions(module, fma, native)
    if any(name in text for name in ("floordivsi", "ceildiv", "remf")):
        _expand_remainders(module)
        run_pipeline(module, "builtin.module(arith-expand)", verify=False)


def _inline(
    _: str, operands: list[ir.Value], result: ir.Type, build: Callable[..., Num]
) -> ir.Value:
    return build(*(Num(operand, False) for operand in operands)).value


def _expand_functions(module: ir.Module, fma: bool, native: Collection[str]) -> None:
    def known(op: ir.Operation) -> bool:
        # Powers are looked at all the same: small exponents are products.
        if op.name in native and op.name != "math.powf":
            return not isinstance(element_of(op.results[0].type), ir.F32Type)
        return op.name in UNARY or op.name in BINARY or op.name == "math.sincos"

    for op in find(module, known):
        kind = op.results[0].type
        if not isinstance(element_of(kind), ir.F32Type | ir.F64Type):
            raise CompileError(f"GPU backends have no {op.name} of {kind}.")
        with ir.InsertionPoint(op), op.location:
            operands = [Num(operand, fma) for operand in op.operands]
            names = ["math.sin", "math.cos"] if op.name == "math.sincos" else [op.name]
            for name, result in zip(names, op.results, strict=True):
                result.replace_all_uses_with(_function(name, operands, native).value)
        op.erase()


def _function(name: str, operands: list[Num], native: Collection[str]) -> Num:
    if name == "math.powf":
        x, y = operands
        exponent = splat(y.value)
        if exponent == 2.0:
            return x * x
        if exponent == 3.0:
            return x * x * x
    if isinstance(operands[0].element, ir.F64Type):
        return double.UNARY[name](*operands) if name in UNARY else double.BINARY[name](*operands)
    if name in PERIODIC and name not in native:
        return large_circular(name, operands[0], UNARY[name], REDUCTION_LIMIT)
    if name in native:
        kind = operands[0].kind
        return Num(ir.Operation.create(name, [kind], [o.value for o in operands]).result, False)
    return UNARY[name](operands[0]) if name in UNARY else BINARY[name](*operands)


def _expand_remainders(module: ir.Module) -> None:
    """Compute the remainder of floats exactly: x - n y by long division on the exponents."""
    for op in find(module, lambda op: op.name == "arith.remf"):
        with ir.InsertionPoint(op), op.location:
            x, y = op.operands
            if isinstance(x.type, ir.VectorType):
                # Lanes differ in how long they take.
                lanes = range(x.type.get_dim_size(0))
                parts = [[vector.ExtractOp(o, [], [n]).result for o in (x, y)] for n in lanes]
                found = [_remainder(Num(a, False), Num(b, False)).value for a, b in parts]
                result = vector.FromElementsOp(x.type, found).result
            else:
                result = _remainder(Num(x, False), Num(y, False)).value
            op.results[0].replace_all_uses_with(result)
        op.erase()


def _remainder(x: Num, y: Num) -> Num:
    from iree_core.ir import scf

    magnitude, divisor = abs(x), abs(y)
    zero = constant(x.kind, 0.0)
    # Doubling is exact, and so is every subtraction of a number at most half or twice as large.
    up = scf.WhileOp([x.kind], [divisor.value])
    before = up.before.blocks.append(x.kind)
    after = up.after.blocks.append(x.kind)
    with ir.InsertionPoint(before):
        scale = Num(before.arguments[0], False)
        fits = (scale <= magnitude * 0.5) & _positive(scale)
        scf.ConditionOp(fits.value, [scale.value])
    with ir.InsertionPoint(after):
        scf.YieldOp([(Num(after.arguments[0], False) * 2.0).value])
    down = scf.WhileOp([x.kind, x.kind], [magnitude.value, up.results[0]])
    before = down.before.blocks.append(x.kind, x.kind)
    after = down.after.blocks.append(x.kind, x.kind)
    with ir.InsertionPoint(before):
        rest, scale = (Num(a, False) for a in before.arguments)
        more = (scale >= divisor) & _positive(scale)
        scf.ConditionOp(more.value, [rest.value, scale.value])
    with ir.InsertionPoint(after):
        rest, scale = (Num(a, False) for a in after.arguments)
        less = Num(arith.SelectOp((rest >= scale).value, scale.value, zero).result, False)
        scf.YieldOp([(rest - less).value, (scale * 0.5).value])
    result = Num(down.results[0], False).copysign(x)
    finite = magnitude < float("inf")
    valid = finite & divisor.ne(0.0)
    nan = constant(x.kind, float("nan"))
    result = Num(arith.SelectOp(valid.value, result.value, nan).result, False)
    # An infinite divisor leaves x; a NaN stays one.
    infinite = divisor.eq(float("inf")) & finite
    result = Num(arith.SelectOp(infinite.value, x.value, result.value).result, False)
    return Num(arith.SelectOp(y.is_nan().value, y.value, result.value).result, False)


def _positive(x: Num) -> Num:
    return (x > 0.0) & (x < float("inf"))
