"""A dispatch function as code generation sees it: operands, sizes, results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.codegen.builder import NotScheduled, Scalar, function_of
from iree_core.dialects import flow
from iree_core.expr import Expr, Operator, const, scalar
from iree_core.ir import func, ir

Size = int | Expr
"""A dimension: a number, or an expression over the dispatch's scalar operands."""


@dataclass(frozen=True)
class Dispatch:
    """The parts of a dispatch function (see :mod:`iree_core.dialects.flow`).

    Attributes:
        module: what holds it; kept so that the operations stay alive.
        function: the ``func.func``.
        tensors: its tensor arguments.
        scalars: its ``index`` arguments; their order is that of the kernel's scalar operands.
        results: the tensors it returns.
        result_sizes: the dimensions of each result.
        argument_sizes: the dimensions of each tensor argument.
    """

    module: ir.Module
    function: func.FuncOp
    tensors: tuple[ir.Value, ...]
    scalars: tuple[ir.Value, ...]
    results: tuple[ir.Value, ...]
    result_sizes: tuple[tuple[Size, ...], ...]
    argument_sizes: tuple[tuple[Size, ...], ...]

    @property
    def name(self) -> str:
        """The function's symbol."""
        return self.function.name.value

    @property
    def operations(self) -> Sequence[ir.OpView]:
        """The body, without the terminator."""
        return list(self.function.regions[0].blocks[0].operations)[:-1]

    def expression(self, value: ir.Value) -> Expr:
        """Return an ``index`` value of the body as an expression over the scalar operands.

        Raises:
            NotScheduled: it is computed from something else.
        """
        if value in self.scalars:
            return scalar(self.scalars.index(value))
        owner = value.owner
        name = "" if isinstance(owner, ir.Block) else owner.operation.name
        if name == "arith.constant":
            return const(ir.IntegerAttr(owner.attributes["value"]).value)
        if name in _EXPRESSIONS:
            left, right = (self.expression(o) for o in owner.operands)
            return Expr(_EXPRESSIONS[name], 0, (left, right))
        if name == "tensor.dim":
            position = self.expression(owner.operands[1])
            source = owner.operands[0]
            if position.op == "const" and source in self.tensors:
                size = self.argument_sizes[self.tensors.index(source)][position.value]
                return const(size) if isinstance(size, int) else size
        raise NotScheduled(f"a size computed by {name or 'a block argument'}")


_EXPRESSIONS: dict[str, Operator] = {
    "arith.addi": "add",
    "arith.muli": "mul",
    "arith.ceildivsi": "ceildiv",
    "arith.ceildivui": "ceildiv",
    "arith.minsi": "min",
    "arith.maxsi": "max",
}


def read_dispatch(module: ir.Module) -> Dispatch:
    """Return the parts of the one dispatch function in ``module``."""
    function = function_of(module)
    block = function.regions[0].blocks[0]
    arguments = list(block.arguments)
    scalars = tuple(a for a in arguments if not isinstance(a.type, ir.RankedTensorType))
    for value in scalars:
        if not isinstance(value.type, ir.IndexType):
            raise NotScheduled(f"a scalar operand of type {value.type}")
    position = {a: scalars.index(a) for a in scalars}

    def sizes(kind: ir.Type, attributes: ir.DictAttr | None) -> tuple[Size, ...]:
        names = attributes[flow.DIMS] if attributes is not None and flow.DIMS in attributes else ()
        dynamic = iter(names)
        return tuple(
            scalar(position[arguments[next(dynamic)]]) if kind.is_dynamic_dim(d) else n
            for d, n in enumerate(kind.shape)
        )

    attributes = function.attributes
    argument_attributes = list(attributes["arg_attrs"]) if "arg_attrs" in attributes else []
    result_attributes = list(attributes["res_attrs"]) if "res_attrs" in attributes else []
    terminator = list(block.operations)[-1]
    results = tuple(terminator.operands)
    return Dispatch(
        module=module,
        function=function,
        tensors=tuple(a for a in arguments if isinstance(a.type, ir.RankedTensorType)),
        scalars=scalars,
        results=results,
        result_sizes=tuple(
            sizes(r.type, result_attributes[i] if result_attributes else None)
            for i, r in enumerate(results)
        ),
        argument_sizes=tuple(
            sizes(a.type, argument_attributes[i] if argument_attributes else None)
            for i, a in enumerate(arguments)
            if isinstance(a.type, ir.RankedTensorType)
        ),
    )


def as_expr(size: Size) -> Expr:
    """Return a dimension as an expression."""
    return const(size) if isinstance(size, int) else size


def static(sizes: Sequence[Size]) -> bool:
    """Whether every dimension is a number."""
    return all(isinstance(size, int) for size in sizes)


def emit_size(size: Size, builder: object, scalars: Sequence[ir.Value]) -> Scalar:
    """Emit a dimension inside a kernel whose scalar arguments are ``scalars``."""
    if isinstance(size, int):
        return size
    if size.op == "const":
        return size.value
    if size.op == "scalar":
        return scalars[size.value]
    left, right = (emit_size(a, builder, scalars) for a in size.args)
    operation = {"add": "add", "mul": "mul", "min": "min", "max": "max", "ceildiv": "ceildiv"}
    return getattr(builder, operation[size.op])(left, right)
