"""Which dimensions of a result are the rows of a reduction it depends on."""

from __future__ import annotations

from iree_core.codegen.traits import result_positions
from iree_core.ir import ir


def trace_dims(result: ir.Value, targets: set[ir.Value]) -> list[int | None] | None:
    """Return, for each dimension of a target tensor, the dimension of ``result`` it follows.

    Walks from ``result`` through elementwise operations and unit-dimension reshapes to the first
    of ``targets``. An entry is None where the target's dimension does not vary with ``result``.
    Returns None where no target is reached by such a path.
    """
    start: list[int | None] = list(range(result.type.rank))
    pending = [(result, start)]
    done: set[ir.Value] = set()
    while pending:
        tensor, dims = pending.pop()
        if tensor in targets:
            return dims
        if tensor in done or isinstance(tensor.owner, ir.Block):
            continue
        done.add(tensor)
        op = tensor.owner
        name = op.operation.name
        if name == "linalg.generic":
            pending += _through_generic(op, tensor, dims)
        elif name in ("tensor.expand_shape", "tensor.collapse_shape"):
            moved = _through_reshape(op, dims, name == "tensor.expand_shape")
            if moved is not None:
                pending.append((op.operands[0], moved))
        elif name == "tensor.cast":
            pending.append((op.operands[0], dims))
    return None


def _through_generic(
    op: ir.OpView, tensor: ir.Value, dims: list[int | None]
) -> list[tuple[ir.Value, list[int | None]]]:
    maps = [a.value for a in op.indexing_maps]
    count = len(list(op.inputs))
    loops: list[int | None] = [None] * maps[0].n_dims
    written = result_positions(maps[count + list(op.results).index(tensor)])
    for dim, loop in zip(dims, written, strict=True):
        if loop is not None:
            loops[loop] = dim
    found = []
    for operand, map_ in zip(op.inputs, maps, strict=False):
        if isinstance(operand.type, ir.RankedTensorType):
            positions = result_positions(map_)
            found.append((operand, [None if p is None else loops[p] for p in positions]))
    return found


def _through_reshape(
    op: ir.OpView, dims: list[int | None], expands: bool
) -> list[int | None] | None:
    """Follow a reshape whose every group has at most one dimension that is not 1."""
    groups = [[a.value for a in g] for g in op.attributes["reassociation"]]
    wide = (op.result if expands else op.operands[0]).type
    moved: list[int | None] = []
    for number, group in enumerate(groups):
        large = [d for d in group if wide.is_dynamic_dim(d) or wide.shape[d] != 1]
        if len(large) > 1:
            return None
        if expands:
            moved.append(dims[large[0]] if large else None)
        else:
            moved += [dims[number] if d in large else None for d in group]
    return moved
