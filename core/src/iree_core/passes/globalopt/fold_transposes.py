"""Fold transpositions and broadcasts into the indexing maps of their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from iree_core.ir import arith, ir, linalg, tensor
from iree_core.passes.globalopt.generics import (
    covers_loops,
    dim_positions,
    generics_of,
    has_one_use,
    init_like,
    is_splat_init,
    maps_of,
    moves_only,
    owner_of,
    set_maps,
)
from iree_core.passes.state import CompilationState


@dataclass(frozen=True)
class FoldTransposes:
    """Let consumers read, or else producers write, in the other order.

    Before::

        %t = linalg.generic {maps = [(i, j) -> (j, i), (i, j) -> (i, j)]} ins(%x) outs(%e) {yield}
        %y = linalg.generic {maps = [(i, j, k) -> (i, k), ...]} ins(%t, %w) ...

    After::

        %y = linalg.generic {maps = [(i, j, k) -> (k, i), ...]} ins(%x, %w) ...

    What is left between reshapes is moved behind them first: collapsing or expanding a
    transposed tensor is transposing a reshaped one wherever no collapsed group is torn apart.
    """

    name: str = "fold-transposes"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite ``module`` until nothing changes."""
        pending = [op for op in generics_of(module) if moves_only(op)]
        changed = True
        while changed:
            changed = False
            live: list[ir.Operation] = []
            for op in pending:
                changed |= _fold_into_consumers(op)
                made = _sink_below_reshapes(op)
                changed |= bool(made)
                live += made
                if not _erase_if_dead(op):
                    live.append(op)
            pending = live
        for op in pending:
            if not _erase_if_dead(op):
                _fold_into_producer(op)


def _erase_if_dead(op: ir.Operation) -> bool:
    if next(iter(op.results[0].uses), None) is not None:
        return False
    op.erase()
    return True


def _fold_into_consumers(op: ir.Operation) -> bool:
    """Let generics that read the result read the source; return whether any could."""
    read, written = maps_of(op)
    loops = dim_positions(written)
    if None in loops or sorted(loops) != list(range(written.n_dims)):  # type: ignore[type-var]
        return False
    # Coordinate of the result that each coordinate of the source is.
    sources: list[int | None] = []
    for expression in read.results:
        if isinstance(expression, ir.AffineDimExpr):
            sources.append(loops.index(expression.position))
        elif isinstance(expression, ir.AffineConstantExpr) and expression.value == 0:
            sources.append(None)
        else:
            return False
    folded = False
    for use in list(op.results[0].uses):
        consumer = use.owner.operation
        if consumer.name == "linalg.generic" and use.operand_number < len(maps_of(consumer)):
            folded |= _read_source(consumer, use.operand_number, op.operands[0], sources)
    return folded


def _read_source(
    consumer: ir.Operation, position: int, source: ir.Value, coordinates: list[int | None]
) -> bool:
    """Let operand ``position`` read ``source`` instead, picking ``coordinates`` of its map."""
    if position >= len(consumer.operands) - len(consumer.results):
        return False  # an output, whose present value the body uses
    maps = maps_of(consumer)
    results = maps[position].results
    zero = ir.AffineConstantExpr.get(0)
    maps[position] = ir.AffineMap.get(
        maps[position].n_dims, 0, [zero if c is None else results[c] for c in coordinates]
    )
    if not covers_loops(maps):
        return False
    consumer.operands[position] = source
    set_maps(consumer, maps)
    return True


def permutation_of(op: ir.Operation) -> list[int] | None:
    """Return which dimension of the source each one of the result is, None if not one to one."""
    read, written = (dim_positions(m) for m in maps_of(op))
    if None in read or None in written or len(read) != len(written):
        return None
    return [read.index(loop) for loop in written] if sorted(read) == sorted(written) else None  # type: ignore[type-var]


def _fold_into_producer(op: ir.Operation) -> None:
    permutation = permutation_of(op)
    source = op.operands[0]
    producer = owner_of(source)
    if permutation is None or producer is None or producer.name != "linalg.generic":
        return
    if not has_one_use(source) or producer.block != op.block:
        return
    number = ir.OpResult(source).result_number
    position = len(producer.operands) - len(producer.results) + number
    if not is_splat_init(producer.operands[position]) or not is_splat_init(op.operands[1]):
        return
    if any(not has_one_use(r) for r in producer.results) and len(producer.results) > 1:
        return
    maps = maps_of(producer)
    results = maps[position].results
    maps[position] = ir.AffineMap.get(maps[position].n_dims, 0, [results[d] for d in permutation])
    producer.move_before(op)
    with ir.InsertionPoint(producer), producer.location:
        producer.operands[position] = init_like(producer.operands[position], op.operands[1])
    source.set_type(op.results[0].type)
    set_maps(producer, maps)
    op.results[0].replace_all_uses_with(source)
    op.erase()


def _sink_below_reshapes(op: ir.Operation) -> list[ir.Operation]:
    """Move a transposition behind the reshapes that read it; return the transpositions made."""
    permutation = permutation_of(op)
    if permutation is None:
        return []
    made = []
    for use in list(op.results[0].uses):
        reshape = use.owner.operation
        if use.operand_number != 0:
            continue
        with ir.InsertionPoint(reshape), reshape.location:
            if reshape.name == "tensor.collapse_shape":
                transposed = _sink_below_collapse(op, reshape, permutation)
            elif reshape.name == "tensor.expand_shape":
                transposed = _sink_below_expand(op, reshape, permutation)
            else:
                continue
        if transposed is not None:
            reshape.results[0].replace_all_uses_with(transposed.results[0])
            reshape.erase()
            made.append(transposed)
    return made


def groups_of(reshape: ir.Operation) -> list[list[int]]:
    """Return the reassociation of a reshape."""
    return [[d.value for d in group] for group in reshape.attributes["reassociation"]]


def groups_attribute(groups: list[list[int]]) -> ir.ArrayAttr:
    """Return the attribute that spells a reassociation."""
    i64 = ir.IntegerType.get_signless(64)
    return ir.ArrayAttr.get(
        [ir.ArrayAttr.get([ir.IntegerAttr.get(i64, d) for d in group]) for group in groups]
    )


def _sink_below_collapse(
    op: ir.Operation, reshape: ir.Operation, permutation: list[int]
) -> ir.Operation | None:
    source = ir.RankedTensorType(op.operands[0].type)
    target = ir.RankedTensorType(reshape.results[0].type)
    groups = [[permutation[d] for d in group] for group in groups_of(reshape)]
    if not groups or any(b != a + 1 for g in groups for a, b in pairwise(g)):
        return None
    order = sorted(range(len(groups)), key=lambda g: groups[g][0])
    kind = ir.RankedTensorType.get(
        [target.shape[g] for g in order], source.element_type, source.encoding
    )
    collapsed = tensor.CollapseShapeOp(
        kind, op.operands[0], groups_attribute([groups[g] for g in order])
    )
    return transpose(collapsed.result, [order.index(g) for g in range(len(groups))])


def _sink_below_expand(
    op: ir.Operation, reshape: ir.Operation, permutation: list[int]
) -> ir.Operation | None:
    groups = groups_of(reshape)
    if not groups:
        return None
    target = ir.RankedTensorType(reshape.results[0].type)
    sizes = iter(list(reshape.operands)[1:])
    dynamic = [next(sizes) if target.is_dynamic_dim(d) else None for d in range(target.rank)]
    # Groups of the result in the order of the source's dimensions.
    by_source = [groups[permutation.index(d)] for d in range(len(groups))]
    flat = [d for group in by_source for d in group]
    kind = ir.RankedTensorType.get([target.shape[d] for d in flat], target.element_type)
    start, renumbered = 0, []
    for group in by_source:
        renumbered.append(list(range(start, start + len(group))))
        start += len(group)
    expanded = tensor.ExpandShapeOp(
        kind,
        op.operands[0],
        groups_attribute(renumbered),
        [size for d in flat if (size := dynamic[d]) is not None],
        [target.shape[d] for d in flat],
    )
    return transpose(expanded.result, [flat.index(d) for d in range(len(flat))])


def transpose(source: ir.Value, permutation: list[int]) -> ir.Operation:
    """Emit a generic whose result has dimension ``permutation[i]`` of ``source`` at place ``i``."""
    kind = ir.RankedTensorType(source.type)
    sizes = [
        tensor.dim(source, _position(d)) if kind.is_dynamic_dim(d) else kind.shape[d]
        for d in permutation
    ]
    rank = kind.rank
    empty = tensor.EmptyOp(sizes, kind.element_type).result
    read = ir.AffineMap.get_permutation([permutation.index(d) for d in range(rank)])
    parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
    op = linalg.GenericOp(
        [empty.type],
        [source],
        [empty],
        ir.ArrayAttr.get(
            [ir.AffineMapAttr.get(m) for m in (read, ir.AffineMap.get_identity(rank))]
        ),
        ir.ArrayAttr.get([parallel] * rank),
    )
    block = op.regions[0].blocks.append(kind.element_type, kind.element_type)
    with ir.InsertionPoint(block):
        linalg.YieldOp([block.arguments[0]])
    return op.operation


def _position(dim: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), dim)
