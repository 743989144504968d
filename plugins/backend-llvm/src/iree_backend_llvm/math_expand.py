"""Mathematical functions as calls of functions in the module, which LLVM then inlines.

Each pair of an operation and a type is expanded once per kernel, however often it occurs::

    %y = math.exp %x : vector<16xf32>        %y = call @math.exp.16xf32(%x)

becomes the right-hand side; the function holds the formula of codegen.arithmetic.functions. Types
narrower than 32 bits are extended before and rounded after. What has no expansion (double
precision) is left to the passes that call the C library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iree_backend_llvm import scaling
from iree_core.codegen.arithmetic import small_floats
from iree_core.codegen.arithmetic.functions import BINARY, PERIODIC, REDUCTION_LIMIT, UNARY
from iree_core.codegen.arithmetic.numeric import Num, element_of
from iree_core.codegen.arithmetic.rewriting import EMULATED, SMALL, find, splat, widen
from iree_core.ir import arith, func, ir, memref, run_pipeline, scf, vector

# Computed in f32 where the type is narrower, besides what the upstream pass does for arith.
_WIDENED = (
    "math.", "vector.fma", "vector.reduction", "vector.multi_reduction", "vector.contract",
    "vector.outerproduct",
)  # fmt: skip


def expand(module: ir.Module, text: str, *, fma: bool, halves: bool, scaling: bool = False) -> None:
    """Expand mathematical operations and conversions of small floats in ``module``.

    Args:
        module: the kernel's module.
        text: what the module was parsed from (to see quickly what does not occur).
        fma: the target has fused multiply-add instructions.
        halves: the target converts f16 to f32 and back.
        scaling: the target has the instruction of :mod:`iree_backend_llvm.scaling`.
    """
    library = _Library(module, fma, scaling)
    if any(name in text for name in SMALL):
        widen(module, _WIDENED)
        run_pipeline(
            module,
            "builtin.module(arith-emulate-unsupported-floats"
            f"{{source-types={EMULATED} target-type=f32}})",
            verify=False,
        )
        small_floats.expand(module, library.call, halves=halves)
    _expand_functions(module, library)


@dataclass
class _Library:
    """The functions added to a module."""

    module: ir.Module
    fma: bool
    scaling: bool

    def __post_init__(self) -> None:
        self._made: set[str] = set()

    def call(
        self, name: str, operands: list[ir.Value], result: ir.Type, build: Callable[..., Num]
    ) -> ir.Value:
        """Call the function of ``build`` for these operands at the insertion point.

        Vectors of several dimensions go row by row.
        """
        if isinstance(result, ir.VectorType) and result.rank != 1:
            return self._call_rows(name, operands, result, build)
        shape = f"{result.get_dim_size(0)}x" if isinstance(result, ir.VectorType) else ""
        kinds = [operand.type for operand in operands]
        symbol = f"{name}.{shape}{element_of(kinds[0])}.{element_of(result)}"
        if symbol not in self._made:
            self._made.add(symbol)
            self._define(symbol, kinds, result, build)
        return func.CallOp([result], symbol, operands).result

    def _define(
        self, symbol: str, kinds: list[ir.Type], result: ir.Type, build: Callable[..., Num]
    ) -> None:
        with ir.InsertionPoint(self.module.body):
            function = func.FuncOp(symbol, (kinds, [result]), visibility="private")
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            func.ReturnOp([build(*map(self._number, block.arguments)).value])

    def _number(self, value: ir.Value) -> Num:
        scale = scaling.emit if self.scaling and scaling.applies(value.type) else None
        return Num(value, self.fma, scale)

    def _call_rows(
        self, name: str, operands: list[ir.Value], result: ir.VectorType, build: Callable[..., Num]
    ) -> ir.Value:
        if result.rank == 0:
            scalars = [vector.ExtractOp(o, [], []).result for o in operands]
            value = self.call(name, scalars, result.element_type, build)
            return vector.BroadcastOp(result, value).result
        row_kind = ir.VectorType.get(result.shape[1:], result.element_type)
        total = arith.ConstantOp(result, _zeros(result)).result
        for row in range(result.shape[0]):
            rows = [vector.ExtractOp(o, [], [row]).result for o in operands]
            value = self.call(name, rows, row_kind, build)
            total = vector.InsertOp(value, total, [], [row]).result
        return total


def _zeros(kind: ir.VectorType) -> ir.Attribute:
    element = kind.element_type
    if isinstance(element, ir.FloatType):
        return ir.DenseElementsAttr.get_splat(kind, ir.FloatAttr.get(element, 0.0))
    return ir.DenseElementsAttr.get_splat(kind, ir.IntegerAttr.get(element, 0))


def _expand_functions(module: ir.Module, library: _Library) -> None:
    single = ir.F32Type.get()

    def wanted(op: ir.Operation) -> bool:
        known = op.name in UNARY or op.name in BINARY or op.name == "math.sincos"
        return known and element_of(op.operands[0].type) == single

    for op in find(module, wanted):
        operands, kind = list(op.operands), op.results[0].type
        with ir.InsertionPoint(op), op.location:
            names = ["math.sin", "math.cos"] if op.name == "math.sincos" else [op.name]
            for name, result in zip(names, op.results, strict=True):
                value = _simple_power(op, operands) if name == "math.powf" else None
                if value is None:
                    value = library.call(name, operands, kind, _builder(name))
                result.replace_all_uses_with(value)
        op.erase()


def _builder(name: str) -> Callable[..., Num]:
    if name in PERIODIC:
        return lambda x: _periodic(name, x)
    return UNARY.get(name) or BINARY[name]


def _simple_power(op: ir.Operation, operands: list[ir.Value]) -> ir.Value | None:
    """Return a power with a small constant exponent as products, None for others."""
    exponent = splat(operands[1])
    x = Num(operands[0])
    if exponent == 1.0:
        return x.value
    if exponent == 2.0:
        return (x * x).value
    if exponent == 3.0:
        return (x * x * x).value
    if exponent == -1.0:
        return (1.0 / x).value
    return None


def _periodic(name: str, x: Num) -> Num:
    """Return sin, cos or tan; where any lane is huge, every lane asks the C library."""
    huge = abs(x) >= REDUCTION_LIMIT
    any_huge = huge.value
    if isinstance(x.kind, ir.VectorType):
        any_huge = vector.ReductionOp(
            ir.IntegerType.get_signless(1), vector.CombiningKind.OR, any_huge
        ).result
    branch = scf.IfOp(any_huge, [x.kind], has_else=True)
    with ir.InsertionPoint(branch.then_block):
        scf.YieldOp([_lane_by_lane(name, x.value)])
    with ir.InsertionPoint(branch.else_block):
        scf.YieldOp([UNARY[name](x).value])
    return Num(branch.results[0], x.fma, x.scale)


def _lane_by_lane(name: str, x: ir.Value) -> ir.Value:
    def scalar(value: ir.Value) -> ir.Value:
        return ir.Operation.create(name, [value.type], [value]).result

    if not isinstance(x.type, ir.VectorType):
        return scalar(x)
    index = ir.IndexType.get()
    lanes = x.type.get_dim_size(0)
    area = memref.AllocaOp(ir.MemRefType.get([lanes], x.type.element_type), [], []).result
    zero = arith.ConstantOp(index, 0).result
    vector.StoreOp(x, area, [zero])
    loop = scf.ForOp(zero, arith.ConstantOp(index, lanes).result, arith.ConstantOp(index, 1).result)
    with ir.InsertionPoint(loop.body):
        lane = [loop.induction_variable]
        memref.StoreOp(scalar(memref.LoadOp(area, lane).result), area, lane)
        scf.YieldOp([])
    return vector.LoadOp(x.type, area, [zero]).result
