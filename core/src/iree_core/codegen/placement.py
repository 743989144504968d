"""Where the results of a dispatch lie, seen from the tensor that its schedule computes.

A schedule that computes one tensor tile by tile stores each result of the dispatch from the
same tile. For that it must know at which position of the result an element of its tensor ends:
through elementwise consumers (whose maps may transpose), reshapes and casts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iree_core.codegen.builder import Index, KernelBuilder, is_multiple
from iree_core.codegen.dispatch import Dispatch
from iree_core.codegen.reduction import is_reduction
from iree_core.codegen.traits import result_positions
from iree_core.ir import ir


@dataclass(frozen=True)
class Step:
    """One operation on the way to a result.

    Attributes:
        permutation: for each dimension afterwards, the one before (None: always 0); or None for
            a reshape.
        groups: the reassociation of a reshape.
        sizes: the static sizes of its wider side.
        expands: the reshape splits dimensions; else it joins them.
    """

    permutation: tuple[int | None, ...] | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    sizes: tuple[int, ...] = ()
    expands: bool = False


@dataclass(frozen=True)
class Placement:
    """The way from a computed tensor to one result.

    Attributes:
        tensor: the result.
        steps: what lies between, computed tensor first.
    """

    tensor: ir.Value
    steps: tuple[Step, ...]

    def locate(self, builder: KernelBuilder, position: Sequence[Index], width: int) -> list[Index]:
        """Return where in the result the element at ``position`` of the computed tensor is."""
        current = list(position)
        for step in self.steps:
            if step.permutation is not None:
                current = [Index(0) if p is None else current[p] for p in step.permutation]
            elif step.expands:
                current = _expand(builder, step, current, width)
            else:
                current = _collapse(builder, step, current, width)
        return current

    def innermost(self) -> int | None:
        """Return which dimension of the computed tensor is the last one of the result.

        Counted from the end (-1 is the last one); None where it is none.
        """
        last: int | None = -1
        for step in reversed(self.steps):
            if last is None:
                return None
            if step.permutation is not None:
                last = step.permutation[last]
            elif step.expands:
                ends = [group[-1] for group in step.groups if group]
                target = last % len(step.sizes)
                last = ends.index(target) if target in ends else None
            else:
                last = step.groups[last][-1] if step.groups[last] else None
        return last


def placements(dispatch: Dispatch, computed: ir.Value) -> tuple[Placement, ...] | None:
    """Return the way to every result of ``dispatch``, or None where one has no such way."""
    found = []
    for result in dispatch.results:
        steps = _steps_to(result, computed, {})
        if steps is None:
            return None
        found.append(Placement(result, steps))
    return tuple(found)


def _steps_to(
    tensor: ir.Value, computed: ir.Value, known: dict[ir.Value, tuple[Step, ...] | None]
) -> tuple[Step, ...] | None:
    if tensor == computed:
        return ()
    if tensor in known:
        return known[tensor]
    known[tensor] = None
    if isinstance(tensor.owner, ir.Block):
        return None
    op = tensor.owner
    name = op.operation.name
    if name == "linalg.generic" and not is_reduction(op):
        known[tensor] = _through_generic(op, tensor, computed, known)
    elif name in ("tensor.expand_shape", "tensor.collapse_shape", "tensor.cast"):
        before = _steps_to(op.operands[0], computed, known)
        if before is not None and name == "tensor.cast":
            known[tensor] = before
        elif before is not None:
            step = _reshape(op, name == "tensor.expand_shape")
            known[tensor] = (*before, step) if step is not None else None
    return known[tensor]


def _through_generic(
    op: ir.OpView,
    tensor: ir.Value,
    computed: ir.Value,
    known: dict[ir.Value, tuple[Step, ...] | None],
) -> tuple[Step, ...] | None:
    maps = [a.value for a in op.indexing_maps]
    inputs = list(op.inputs)
    written = result_positions(maps[len(inputs) + list(op.results).index(tensor)])
    for operand, map_ in zip(inputs, maps, strict=False):
        if not isinstance(operand.type, ir.RankedTensorType):
            continue
        before = _steps_to(operand, computed, known)
        if before is None:
            continue
        read = result_positions(map_)
        sources = {loop: position for position, loop in enumerate(read) if loop is not None}
        shape = tensor.type.shape
        if any(loop not in sources and shape[dim] != 1 for dim, loop in enumerate(written)):
            return None
        permutation = tuple(sources.get(loop) if loop is not None else None for loop in written)
        return (*before, Step(permutation))
    return None


def _reshape(op: ir.OpView, expands: bool) -> Step | None:
    wide = (op.result if expands else op.operands[0]).type
    groups = tuple(tuple(a.value for a in g) for g in op.attributes["reassociation"])
    if any(wide.is_dynamic_dim(d) for group in groups for d in group[1:]):
        return None
    dynamic = [wide.is_dynamic_dim(d) for d in range(wide.rank)]
    sizes = tuple(0 if unknown else n for n, unknown in zip(wide.shape, dynamic, strict=True))
    return Step(None, groups, sizes, expands)


def _expand(
    builder: KernelBuilder, step: Step, position: Sequence[Index], width: int
) -> list[Index]:
    result: list[Index] = [Index(0)] * len(step.sizes)
    for index, group in zip(position, step.groups, strict=True):
        for dim in reversed(group[1:]):
            index, result[dim] = split(builder, index, step.sizes[dim], width)
        if group:
            result[group[0]] = index
    return result


def split(builder: KernelBuilder, index: Index, size: int, width: int) -> tuple[Index, Index]:
    """Return quotient and remainder of a coordinate; aligned lanes stay evenly spaced."""
    even = index.vec is None and index.step == 1 and size % width == 0
    if even and is_multiple(index.base, width):
        return Index(builder.div(index.base, size)), Index(builder.mod(index.base, size), 1)
    return builder.index_split(index, size, width)


def _collapse(
    builder: KernelBuilder, step: Step, position: Sequence[Index], width: int
) -> list[Index]:
    result = []
    for group in step.groups:
        index = position[group[0]] if group else Index(0)
        for dim in group[1:]:
            scaled = builder.index_mul(index, step.sizes[dim], width)
            index = builder.index_add(scaled, position[dim], width)
        result.append(index)
    return result
