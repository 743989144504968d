"""Reading and changing ``linalg.generic`` operations in place: maps, loops, outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iree_core.ir import ir, linalg
from iree_core.passes.dispatch.structure import nested_operations


def generics_of(module: ir.Module) -> list[ir.Operation]:
    """Return every ``linalg.generic`` of ``module`` in program order."""
    return [op for op in nested_operations(module.operation) if op.name == "linalg.generic"]


def maps_of(op: ir.Operation) -> list[ir.AffineMap]:
    """Return the indexing maps, one per operand."""
    return [attribute.value for attribute in op.attributes["indexing_maps"]]


def set_maps(op: ir.Operation, maps: Sequence[ir.AffineMap]) -> None:
    """Replace the indexing maps."""
    op.attributes["indexing_maps"] = ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps])


def parallel_loops(op: ir.Operation) -> list[bool]:
    """Return, per loop, whether it is parallel."""
    return ["parallel" in str(kind) for kind in op.attributes["iterator_types"]]


def is_elementwise(op: ir.Operation) -> bool:
    """Whether every loop is parallel."""
    return all(parallel_loops(op))


def moves_only(op: ir.Operation) -> bool:
    """Whether an elementwise generic of one input yields what it reads."""
    block = op.regions[0].blocks[0]
    if len(op.operands) != 2 or len(op.results) != 1 or not is_elementwise(op):
        return False
    operations = list(block.operations)
    return len(operations) == 1 and operations[0].operands[0] == block.arguments[0]


def owner_of(value: ir.Value) -> ir.Operation | None:
    """Return the operation that defines ``value``, None for a block argument."""
    owner = value.owner
    return None if isinstance(owner, ir.Block) else owner.operation


def has_one_use(value: ir.Value) -> bool:
    """Whether exactly one operand refers to ``value``."""
    return len(list(value.uses)) == 1


def dim_positions(affine_map: ir.AffineMap) -> list[int | None]:
    """Return, per result, the loop it is, or None where it is something else."""
    return [r.position if isinstance(r, ir.AffineDimExpr) else None for r in affine_map.results]


def covers_loops(maps: Sequence[ir.AffineMap]) -> bool:
    """Whether every loop is a plain result of some map, so that its size is known."""
    found = {position for each in maps for position in dim_positions(each)}
    return all(loop in found for loop in range(maps[0].n_dims))


def is_splat_init(value: ir.Value) -> bool:
    """Whether ``value`` is uninitialised or filled with one scalar."""
    op = owner_of(value)
    return op is not None and op.name in ("tensor.empty", "linalg.fill")


def init_like(init: ir.Value, empty: ir.Value) -> ir.Value:
    """Return ``empty``, filled as ``init`` is (see :func:`is_splat_init`)."""
    op = owner_of(init)
    if op is None or op.name == "tensor.empty":
        return empty
    return linalg.fill(op.operands[0], outs=[empty])


def reorder_loops(op: ir.Operation, order: Sequence[int]) -> None:
    """Make loop ``order[i]`` of a generic its loop ``i``; what it computes stays the same."""
    if list(order) == list(range(len(order))):
        return
    place = {loop: number for number, loop in enumerate(order)}
    renumber = ir.AffineMap.get(
        len(order), 0, [ir.AffineDimExpr.get(place[loop]) for loop in range(len(order))]
    )
    maps = [
        ir.AffineMap.get(len(order), 0, [e.compose(renumber) for e in each.results])
        for each in maps_of(op)
    ]
    kinds = list(op.attributes["iterator_types"])
    op.attributes["iterator_types"] = ir.ArrayAttr.get([kinds[loop] for loop in order])
    set_maps(op, maps)
    for inner in nested_operations(op):
        if inner.name == "linalg.index":
            dim = ir.IntegerAttr(inner.attributes["dim"])
            inner.attributes["dim"] = ir.IntegerAttr.get(dim.type, place[dim.value])


def order_loops(op: ir.Operation) -> None:
    """Bring the loops of a generic into the standard order.

    Parallel loops come first, as they index the first result; then the loops of sliding
    windows, then the other reduction loops.
    """
    maps = maps_of(op)
    parallel = parallel_loops(op)
    output = dim_positions(maps[len(op.operands) - len(op.results)])
    first = [d for d in output if d is not None and parallel[d]]
    first += [d for d, p in enumerate(parallel) if p and d not in first]
    windows = compound_loops(maps)
    rest = [d for d, p in enumerate(parallel) if not p]
    rest.sort(key=lambda d: d not in windows)
    reorder_loops(op, [*first, *rest])


def compound_loops(maps: Sequence[ir.AffineMap]) -> set[int]:
    """Return the loops that occur inside compound expressions."""
    found: set[int] = set()

    def visit(expression: ir.AffineExpr) -> None:
        if isinstance(expression, ir.AffineDimExpr):
            found.add(expression.position)
        elif isinstance(expression, ir.AffineBinaryExpr):
            visit(expression.lhs)
            visit(expression.rhs)

    for each in maps:
        for expression in each.results:
            if not isinstance(expression, ir.AffineDimExpr):
                visit(expression)
    return found


def without_inputs(op: ir.Operation, dropped: Sequence[int]) -> ir.Operation:
    """Replace a generic by one without the inputs ``dropped``, whose scalars the body ignores."""
    keep = [n for n in range(len(op.operands)) if n not in dropped]
    maps = maps_of(op)
    operands = list(op.operands)
    inputs = len(operands) - len(op.results)
    block = op.regions[0].blocks[0]
    for position in sorted(dropped, reverse=True):
        block.erase_argument(position)
    with ir.InsertionPoint(op), op.location:
        made = linalg.GenericOp(
            [r.type for r in op.results],
            [operands[n] for n in keep if n < inputs],
            operands[inputs:],
            ir.ArrayAttr.get([ir.AffineMapAttr.get(maps[n]) for n in keep]),
            op.attributes["iterator_types"],
        )
    block.append_to(made.regions[0])
    for old, new in zip(op.results, made.results, strict=True):
        old.replace_all_uses_with(new)
    op.erase()
    return made.operation


def copy_body(
    op: ir.Operation, made: ir.Operation, outer: Mapping[ir.Value, ir.Value] | None = None
) -> None:
    """Copy the body of ``op`` to ``made``; ``outer`` says what replaces values around it."""
    source = op.regions[0].blocks[0]
    block = made.regions[0].blocks.append(*[a.type for a in source.arguments])
    values = dict(outer or {}) | dict(zip(source.arguments, block.arguments, strict=True))
    with ir.InsertionPoint(block):
        for inner in source.operations:
            copy = inner.operation.clone(ir.InsertionPoint.current).operation
            for number, operand in enumerate(list(copy.operands)):
                if operand in values:
                    copy.operands[number] = values[operand]
            values.update(zip(inner.operation.results, copy.results, strict=True))
