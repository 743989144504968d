"""Remove reshapes between computations, by giving the computation the loops of the reshape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from iree_core.ir import arith, ir, linalg, tensor
from iree_core.passes.dispatch.structure import nested_operations
from iree_core.passes.globalopt.fold_transposes import groups_attribute, groups_of
from iree_core.passes.globalopt.generics import (
    copy_body,
    dim_positions,
    has_one_use,
    init_like,
    is_splat_init,
    maps_of,
    owner_of,
)
from iree_core.passes.state import CompilationState

Size: TypeAlias = "int | ir.Value"
Splits = tuple[tuple[Size, ...] | None, ...]
"""Per dimension of a tensor: the sizes it is split into, None where it stays."""


@dataclass(frozen=True)
class AbsorbReshapes:
    """Let a computation between a collapse and an expansion work on the expanded dimensions.

    Before::

        %0 = tensor.collapse_shape %x [[0, 1], [2]] : tensor<4x64x768xf32> ...
        %1 = linalg.generic {contraction (m, n, k)} ins(%0, %w) ...
        %y = tensor.expand_shape %1 [[0, 1], [2]] ... tensor<4x64x3072xf32>

    After::

        %y = linalg.generic {contraction (a, b, n, k)} ins(%x, %w) ... tensor<4x64x3072xf32>

    Only where the reshapes disappear altogether, through any number of computations. A slice
    before an expansion that splits the sliced dimension evenly is taken behind it, where
    consumers can read through it; padding of other dimensions likewise.
    """

    name: str = "absorb-reshapes"

    def run(self, module: ir.Module, state: CompilationState) -> None:
        """Rewrite ``module``."""
        expansions = [
            op for op in nested_operations(module.operation) if op.name == "tensor.expand_shape"
        ]
        for op in expansions:
            with ir.InsertionPoint(op), op.location:
                made = _expand_before_slice(op) or _expand_before_pad(op)
                if made is None:
                    splits = _splits_of(op)
                    if splits and _can_split(op.operands[0], splits):
                        made = _split(op.operands[0], splits)
            if made is not None:
                op.results[0].replace_all_uses_with(made)
                op.erase()


def _splits_of(op: ir.Operation) -> Splits:
    kind = ir.RankedTensorType(op.results[0].type)
    dynamic = iter(list(op.operands)[1:])
    sizes: list[Size] = [
        next(dynamic) if kind.is_dynamic_dim(d) else kind.shape[d] for d in range(kind.rank)
    ]
    return tuple(
        None if len(group) == 1 else tuple(sizes[d] for d in group) for group in groups_of(op)
    )


def _can_split(value: ir.Value, splits: Splits) -> bool:
    """Whether ``value`` can be computed with split dimensions without any reshape."""
    if all(split is None for split in splits):
        return True
    op = owner_of(value)
    if op is None or not has_one_use(value):
        return op is not None and op.name == "tensor.collapse_shape" and _cancels(op, splits)
    if op.name == "tensor.collapse_shape":
        return _cancels(op, splits)
    if op.name != "linalg.generic" or len(op.results) != 1:
        return False
    if any(n.name in ("linalg.index", "tensor.extract") for n in nested_operations(op)):
        return False
    loops = _split_loops(op, splits)
    if loops is None or not is_splat_init(op.operands[len(op.operands) - 1]):
        return False
    for operand, each in zip(list(op.operands)[:-1], maps_of(op), strict=False):
        wanted = _operand_splits(each, loops)
        if wanted is None or not _can_split(operand, wanted):
            return False
    return True


def _split_loops(op: ir.Operation, splits: Splits) -> dict[int, tuple[Size, ...]] | None:
    """Return the loops to split, None if they cannot be."""
    output = dim_positions(maps_of(op)[-1])
    loops: dict[int, tuple[Size, ...]] = {}
    for loop, split in zip(output, splits, strict=True):
        if split is not None:
            if loop is None or output.count(loop) > 1:
                return None
            loops[loop] = split
    return loops


def _operand_splits(each: ir.AffineMap, loops: dict[int, tuple[Size, ...]]) -> Splits | None:
    """Return how an operand read by ``each`` is split, None if a split loop occurs in a sum."""
    positions = dim_positions(each)
    for position, expression in zip(positions, each.results, strict=True):
        compound = position is None and not isinstance(expression, ir.AffineConstantExpr)
        if compound and any(str(ir.AffineDimExpr.get(loop)) in str(expression) for loop in loops):
            return None
    return tuple(None if p is None else loops.get(p) for p in positions)


def _cancels(collapse: ir.Operation, splits: Splits) -> bool:
    """Whether splitting undoes ``collapse``, or part of it."""
    source = collapse.operands[0]
    for group, split in zip(groups_of(collapse), splits, strict=True):
        if split is None:
            continue
        if len(group) != len(split):
            return False
        unknown = [d for d, n in zip(group, split, strict=True) if not _same_static(source, d, n)]
        if any(source.type.shape[d] > 0 or isinstance(split[group.index(d)], int) for d in unknown):
            return False
        if len(unknown) > 1 and any(
            size_root(source, d) != value_root(split[group.index(d)]) for d in unknown
        ):
            return False
    return True


def _same_static(source: ir.Value, dim: int, size: Size) -> bool:
    return (
        isinstance(size, int)
        and not source.type.is_dynamic_dim(dim)
        and (source.type.shape[dim] == size)
    )


def size_root(value: ir.Value, dim: int) -> tuple[ir.Value, int] | int:
    """Return where the size of a dimension comes from: a value and, for a tensor, its dimension."""
    op = owner_of(value)
    if op is None:
        return value, dim
    kind = ir.RankedTensorType(value.type)
    if op.name == "linalg.generic":
        return size_root(op.operands[len(op.operands) - len(op.results)
                                     + ir.OpResult(value).result_number], dim)  # fmt: skip
    if op.name == "linalg.fill":
        return size_root(op.operands[1], dim)
    if op.name in ("tensor.empty", "tensor.expand_shape") and kind.is_dynamic_dim(dim):
        number = sum(kind.is_dynamic_dim(d) for d in range(dim))
        return value_root(op.operands[number + (op.name == "tensor.expand_shape")])
    if op.name == "tensor.collapse_shape":
        group = groups_of(op)[dim]
        if len(group) == 1:
            return size_root(op.operands[0], group[0])
    return value, dim


def value_root(value: Size) -> tuple[ir.Value, int] | int:
    """Return where an index value comes from, in the terms of :func:`size_root`."""
    if isinstance(value, int):
        return value
    op = owner_of(value)
    if op is not None and op.name == "tensor.dim":
        position = owner_of(op.operands[1])
        if position is not None and position.name == "arith.constant":
            dim = ir.IntegerAttr(position.attributes["value"]).value
            return size_root(op.operands[0], dim)
    return value, -1


def _split(value: ir.Value, splits: Splits) -> ir.Value:
    """Emit ``value`` with split dimensions; :func:`_can_split` holds."""
    if all(split is None for split in splits):
        return value
    op = owner_of(value)
    assert op is not None
    if op.name == "tensor.collapse_shape":
        return _collapse_rest(op, splits)
    loops = _split_loops(op, splits) or {}
    maps = maps_of(op)
    operands = []
    for operand, each in zip(list(op.operands)[:-1], maps, strict=False):
        operands.append(_split(operand, _operand_splits(each, loops) or ()))
    place: dict[int, list[int]] = {}
    count = 0
    for loop in range(maps[0].n_dims):
        width = len(loops.get(loop, (0,)))
        place[loop] = list(range(count, count + width))
        count += width
    kinds = list(op.attributes["iterator_types"])
    made = linalg.GenericOp(
        [(init := _split_init(op, splits)).type],
        operands,
        [init],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(_split_map(m, place, count)) for m in maps]),
        ir.ArrayAttr.get([kinds[loop] for loop in place for _ in place[loop]]),
    )
    copy_body(op, made.operation)
    return made.results[0]


def _collapse_rest(collapse: ir.Operation, splits: Splits) -> ir.Value:
    """Return the source of ``collapse``, collapsed where it is not split."""
    source = collapse.operands[0]
    groups: list[list[int]] = []
    for group, split in zip(groups_of(collapse), splits, strict=True):
        groups += [group] if split is None else [[d] for d in group]
    if all(len(group) == 1 for group in groups):
        return source
    kind = ir.RankedTensorType(source.type)
    dynamic = ir.ShapedType.get_dynamic_size()
    shape = [
        dynamic if any(kind.is_dynamic_dim(d) for d in g) else prod(kind.shape[d] for d in g)
        for g in groups
    ]
    target = ir.RankedTensorType.get(shape, kind.element_type)
    return tensor.CollapseShapeOp(target, source, groups_attribute(groups)).result


def _split_map(each: ir.AffineMap, place: dict[int, list[int]], count: int) -> ir.AffineMap:
    first = ir.AffineMap.get(count, 0, [ir.AffineDimExpr.get(place[loop][0]) for loop in place])
    results: list[ir.AffineExpr] = []
    for expression in each.results:
        if isinstance(expression, ir.AffineDimExpr):
            results += [ir.AffineDimExpr.get(d) for d in place[expression.position]]
        else:
            results.append(expression.compose(first))
    return ir.AffineMap.get(count, 0, results)


def _split_init(op: ir.Operation, splits: Splits) -> ir.Value:
    init = op.operands[len(op.operands) - 1]
    kind = ir.RankedTensorType(init.type)
    sizes: list[Size] = []
    for dim, split in enumerate(splits):
        if split is not None:
            sizes += split
        elif kind.is_dynamic_dim(dim):
            sizes.append(_dim(init, dim))
        else:
            sizes.append(kind.shape[dim])
    return init_like(init, tensor.EmptyOp(sizes, kind.element_type).result)


def _dim(value: ir.Value, dim: int) -> ir.Value:
    return tensor.dim(value, arith.constant(ir.IndexType.get(), dim))


def _expand_before_slice(op: ir.Operation) -> ir.Value | None:
    """Take a slice of the expansion instead of expanding a slice, where the split is even."""
    cut = owner_of(op.operands[0])
    if cut is None or cut.name != "tensor.extract_slice":
        return None
    source = ir.RankedTensorType(cut.operands[0].type)
    offsets, strides = (_static(cut, name) for name in ("static_offsets", "static_strides"))
    unknown = ir.ShapedType.get_dynamic_size()
    if (
        source.rank != cut.results[0].type.rank
        or unknown in offsets
        or any(s != 1 for s in strides)
    ):
        return None
    target = ir.RankedTensorType(op.results[0].type)
    shape: list[int] = []
    sizes: list[ir.Value] = []
    starts: list[int] = []
    for dim, group in enumerate(groups_of(op)):
        inner = prod(target.shape[d] for d in group[1:])
        if len(group) == 1:
            shape.append(source.shape[dim])
            sizes += [_dim(cut.operands[0], dim)] if source.is_dynamic_dim(dim) else []
        elif (
            source.is_dynamic_dim(dim)
            or any(target.is_dynamic_dim(d) for d in group)
            or source.shape[dim] % inner
            or offsets[dim] % inner
        ):
            return None
        else:
            shape += [source.shape[dim] // inner, *(target.shape[d] for d in group[1:])]
        starts += [offsets[dim] // inner, *(0 for _ in group[1:])]
    expanded = tensor.ExpandShapeOp(
        ir.RankedTensorType.get(shape, source.element_type),
        cut.operands[0],
        groups_attribute(groups_of(op)),
        sizes,
        shape,
    )
    ones = [1] * target.rank
    return tensor.ExtractSliceOp(
        target, expanded.result, [], list(op.operands)[1:], [], starts, list(target.shape), ones
    ).result


def _expand_before_pad(op: ir.Operation) -> ir.Value | None:
    """Pad the expansion instead of expanding what is padded in other dimensions."""
    pad = owner_of(op.operands[0])
    if pad is None or pad.name != "tensor.pad" or not has_one_use(op.operands[0]):
        return None
    source = ir.RankedTensorType(pad.operands[0].type)
    target = ir.RankedTensorType(op.results[0].type)
    if len(list(pad.regions[0].blocks[0].operations)) != 1 or len(pad.operands) > 1:
        return None
    shape: list[int] = []
    sizes: list[ir.Value] = []
    amounts: list[list[int]] = [[], []]
    for dim, group in enumerate(groups_of(op)):
        low, high = (_static(pad, name)[dim] for name in ("static_low", "static_high"))
        if len(group) > 1 and (low or high or any(target.is_dynamic_dim(d) for d in group)):
            return None
        shape += [source.shape[dim]] if len(group) == 1 else [target.shape[d] for d in group]
        sizes += [_dim(pad.operands[0], dim)] if source.is_dynamic_dim(dim) else []
        rest = [0] * (len(group) - 1)
        amounts[0] += [low, *rest]
        amounts[1] += [high, *rest]
    expanded = tensor.ExpandShapeOp(
        ir.RankedTensorType.get(shape, source.element_type),
        pad.operands[0],
        groups_attribute(groups_of(op)),
        sizes,
        shape,
    ).result
    made = tensor.PadOp(target, expanded, [], [], amounts[0], amounts[1])
    block = made.regions[0].blocks.append(*[ir.IndexType.get()] * target.rank)
    with ir.InsertionPoint(block):
        value = next(iter(pad.regions[0].blocks[0].operations)).operands[0]
        tensor.YieldOp(value)
    return made.result


def _static(op: ir.Operation, name: str) -> Sequence[int]:
    return list(ir.DenseI64ArrayAttr(op.attributes[name]))
