"""What the passes of the ``input`` phase share: finding, replacing and creating operations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, ExitStack

from iree_core.ir import count_operations, ir


def dialects(module: ir.Module) -> set[str]:
    """Return the dialects that have an operation in ``module``, or a type in a signature."""
    found = {name.partition(".")[0] for name in count_operations(module)}
    for function in functions(module):
        if "!torch." in str(function.attributes["function_type"]):
            found.add("torch")
    return found


def functions(module: ir.Module) -> list[ir.Operation]:
    """Return every ``func.func`` at the top of ``module``."""
    return [op.operation for op in module.body.operations if op.operation.name == "func.func"]


def is_public(function: ir.Operation) -> bool:
    """Tell whether users can call ``function``: it has a body and no other visibility."""
    if not len(function.regions[0].blocks):
        return False
    if "sym_visibility" not in function.attributes:
        return True
    return ir.StringAttr(function.attributes["sym_visibility"]).value == "public"


def operations(module: ir.Module, names: Collection[str]) -> list[ir.Operation]:
    """Return all operations with one of ``names``, innermost first."""
    found: list[ir.Operation] = []

    def visit(op: ir.OpView) -> ir.WalkResult:
        if op.operation.name in names:
            found.append(op.operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit, ir.WalkOrder.POST_ORDER)
    return found


def before(op: ir.Operation) -> AbstractContextManager:
    """Return a context that emits in front of ``op``, at its location."""
    stack = ExitStack()
    stack.enter_context(ir.InsertionPoint(op))
    stack.enter_context(op.location)
    return stack


def replace(op: ir.Operation, values: Sequence[ir.Value]) -> None:
    """Replace the results of ``op`` by ``values`` and erase it."""
    for result, value in zip(op.results, values, strict=True):
        result.replace_all_uses_with(value)
    op.erase()


def create(
    name: str,
    results: Sequence[ir.Type],
    operands: Sequence[ir.Value],
    attributes: dict[str, ir.Attribute] | None = None,
    regions: int = 0,
    loc: ir.Location | None = None,
) -> ir.Operation:
    """Create the operation ``name`` at the current insertion point (and location, by default)."""
    return ir.Operation.create(
        name,
        results=list(results),
        operands=list(operands),
        attributes=attributes or {},
        regions=regions,
        loc=loc,
    )


def integer_attribute(op: ir.Operation, name: str, default: int = 0) -> int:
    """Return an integer attribute of ``op``, or ``default`` where it has none."""
    return ir.IntegerAttr(op.attributes[name]).value if name in op.attributes else default


def integers(op: ir.Operation, name: str, default: Sequence[int]) -> list[int]:
    """Return an ``array<i64>`` or dense integer attribute of ``op`` as a list."""
    if name not in op.attributes:
        return list(default)
    attribute = op.attributes[name]
    if isinstance(attribute, ir.DenseI64ArrayAttr):
        return list(attribute)
    return [int(number) for number in ir.DenseIntElementsAttr(attribute)]


def terminator(block: ir.Block) -> ir.Operation:
    """Return the last operation of ``block``."""
    return list(block.operations)[-1].operation
