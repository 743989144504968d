"""Operators that compute or change shapes, and move whole tensors: Reshape, Concat, Tile."""

from __future__ import annotations

from collections.abc import Sequence

from iree_core.ir import arith, ir
from iree_core.lowering import index, scalars, tensors
from iree_core.lowering.index import Dim
from iree_core.lowering.structured import broadcast_dims, broadcast_to, loop_index
from iree_core.lowering.tensors import Tensor
from iree_core.lowering.values import ITEMS_LIMIT, Value
from iree_frontend_onnx.ops.axes import given_axes, static_axes, with_ones, without
from iree_frontend_onnx.registry import Node, lowering


@lowering("Shape")
def shape(node: Node) -> Value:
    """The sizes, from ``start`` to ``end``."""
    dims = list(node.value(0).dims)
    start, end = node.attr("start", 0), node.attr("end")
    return Value(items=dims[start : len(dims) if end is None else end])


@lowering("Size")
def size(node: Node) -> Value:
    """The number of elements."""
    return Value(items=[index.product(node.value(0).dims)], rank=0)


@lowering("Reshape", since=5)
def reshape(node: Node) -> Tensor | Value:
    """New sizes from an input; 0 copies a size and -1 takes what is left."""
    return reshaped(node, node.items(1), bool(node.attr("allowzero", 0)))


@lowering("Reshape", since=1, until=4)
def reshape_attribute(node: Node) -> Tensor | Value:
    """New sizes from an attribute."""
    return reshaped(node, node.attr("shape"), False)


def reshaped(node: Node, wanted: Sequence[Dim], allow_zero: bool) -> Tensor | Value:
    """Reshape input 0, keeping tracked items."""
    value = node.value(0)
    dims: list[Dim] = list(wanted)
    for axis, dim in enumerate(dims):
        if not allow_zero and index.same(dim, 0):
            if axis >= value.rank:
                node.unsupported(f"the new shape copies size {axis} of a rank {value.rank} tensor")
            dims[axis] = value.dims[axis]
    unknown = [a for a, d in enumerate(dims) if index.same(d, -1)]
    if len(unknown) == 1:
        rest = [d for a, d in enumerate(dims) if a != unknown[0]]
        dims[unknown[0]] = _left_over(value.dims, rest)
    elif not unknown:
        dims = _resolved_at_run_time(value.dims, dims, allow_zero)
    items = value.tracked_items()
    if items is not None and len(dims) <= 1:
        return Value(items=items, rank=len(dims), element=value.element)
    return tensors.reshape(node.tensor(0), dims)


def _left_over(source: Sequence[Dim], rest: Sequence[Dim]) -> Dim:
    exact = index.monomials_product(source).over(index.monomials_product(rest))
    if exact is not None:
        return exact.build()
    return index.floordiv(index.product(source), index.product(rest))


def _is_read(dim: Dim) -> bool:
    """Whether a size is an element of a tensor, which may be 0 or -1 at run time."""
    if isinstance(dim, int) or isinstance(dim.owner, ir.Block):
        return False
    if dim.owner.name != "arith.index_cast":
        return False
    source = dim.owner.operands[0].owner
    return not isinstance(source, ir.Block) and source.name == "tensor.extract"


def _resolved_at_run_time(source: Sequence[Dim], dims: list[Dim], allow_zero: bool) -> list[Dim]:
    """Give 0 and -1 their meaning where they may turn up at run time."""
    reads = [_is_read(d) for d in dims]
    if not any(reads):
        return dims
    for axis, dim in enumerate(dims):
        if reads[axis] and not allow_zero and axis < len(source):
            zero = index.compare(arith.CmpIPredicate.eq, dim, 0)
            dims[axis] = index.select(zero, source[axis], dim)
    # With one -1 among them the product of all is minus the product of the others.
    others = index.maximum(index.sub(0, index.product(dims)), 1)
    left = index.floordiv(index.product(source), others)
    for axis, dim in enumerate(dims):
        if reads[axis]:
            unknown = index.compare(arith.CmpIPredicate.eq, dim, -1)
            dims[axis] = index.select(unknown, left, dim)
    return dims


@lowering("Flatten")
def flatten(node: Node) -> Tensor:
    """Two dimensions, split at ``axis``."""
    x = node.tensor(0)
    axis = node.attr("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    return tensors.reshape(x, [index.product(x.dims[:axis]), index.product(x.dims[axis:])])


@lowering("Squeeze")
def squeeze(node: Node) -> Tensor | Value:
    """Sizes of 1 removed."""
    value = node.value(0)
    given = given_axes(node, 1)
    if given is not None and static_axes(given) is None:
        return tensors.reshape(node.tensor(0), without(value.dims, given))
    axes = [node.normalize_axis(int(a), value.rank) for a in given or ()]
    if given is None:
        axes = [a for a, d in enumerate(value.dims) if index.same(d, 1)]
        if any(not isinstance(d, int) for d in value.dims):
            node.unsupported("Squeeze without axes needs static sizes", "Give it axes.")
    items = value.tracked_items()
    if items is not None and value.rank - len(axes) <= 1:
        return Value(items=items, rank=value.rank - len(axes), element=value.element)
    return tensors.squeeze(node.tensor(0), axes)


@lowering("Unsqueeze")
def unsqueeze(node: Node) -> Tensor | Value:
    """Sizes of 1 inserted."""
    value = node.value(0)
    given = given_axes(node, 1) or []
    if static_axes(given) is None:
        return tensors.reshape(node.tensor(0), with_ones(value.dims, given))
    count = len(given)
    axes = [node.normalize_axis(int(a), value.rank + count) for a in given]
    items = value.tracked_items()
    if items is not None and value.rank + count <= 1:
        return Value(items=items, rank=value.rank + count, element=value.element)
    return tensors.expand_dims(node.tensor(0), axes)


@lowering("Transpose")
def transpose(node: Node) -> Tensor:
    """Dimensions permuted."""
    x = node.tensor(0)
    return tensors.transpose(x, node.attr("perm") or list(reversed(range(x.rank))))


@lowering("Concat", since=4)
@lowering("Concat", since=1, until=3)
def concat(node: Node) -> Tensor | Value:
    """Tensors joined along an axis."""
    values = [node.value(i) for i in range(len(node.inputs)) if node.has(i)]
    axis = node.axis(values[0].rank, 1)
    lists = [v.tracked_items() for v in values]
    if all(items is not None for items in lists) and values[0].rank == 1:
        joined = [item for items in lists if items is not None for item in items]
        if len(joined) <= 64:
            return Value(items=joined, element=values[0].element)
    parts = [node.to_tensor(v) for v in values]
    nonempty = [p for p in parts if not index.same(p.dims[axis], 0)]
    return tensors.concat(nonempty or parts[:1], axis)


@lowering("Expand")
def expand(node: Node) -> Tensor | Value:
    """Broadcast to a shape (both ways)."""
    target = node.items(1)
    value = node.value(0)
    items = value.tracked_items()
    if items is not None and len(items) == 1 and len(target) == 1:
        (count,) = target
        if isinstance(count, int) and count <= ITEMS_LIMIT:
            return Value(items=items * count, element=value.element)
    x = node.tensor(0)
    return broadcast_to(x, broadcast_dims([x.dims, target]))


@lowering("Tile", since=6)
def tile(node: Node) -> Tensor:
    """Repetition along each dimension."""
    x = node.tensor(0)
    repeats = node.items(1)
    if all(index.same(r, 1) for r in repeats):
        return x
    # [a, b] -> [1, a, 1, b] -> [r0, a, r1, b] -> [r0 * a, r1 * b]
    wide = [d for r, a in zip(repeats, x.dims, strict=True) for d in (r, a)]
    flat = tensors.expand_dims(x, range(0, 2 * x.rank, 2))
    full = broadcast_to(flat, wide)
    return tensors.collapse(full, [[2 * a, 2 * a + 1] for a in range(x.rank)])


@lowering("DepthToSpace")
def depth_to_space(node: Node) -> Tensor:
    """Channels moved into blocks of pixels."""
    x = node.tensor(0)
    block = node.attr("blocksize")
    n, c, h, w = x.dims
    inner = index.floordiv(c, block * block)
    if node.attr("mode", "DCR") == "DCR":
        split_, order = [n, block, block, inner, h, w], [0, 3, 4, 1, 5, 2]
    else:
        split_, order = [n, inner, block, block, h, w], [0, 1, 4, 2, 5, 3]
    moved = tensors.transpose(tensors.reshape(x, split_), order)
    return tensors.collapse(moved, [[0], [1], [2, 3], [4, 5]])


@lowering("SpaceToDepth")
def space_to_depth(node: Node) -> Tensor:
    """Blocks of pixels moved into channels."""
    x = node.tensor(0)
    block = node.attr("blocksize")
    n, c, h, w = x.dims
    split_ = [n, c, index.floordiv(h, block), block, index.floordiv(w, block), block]
    order = [0, 3, 5, 1, 2, 4] if node.attr("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
    moved = tensors.transpose(tensors.reshape(x, split_), order)
    return tensors.collapse(moved, [[0], [1, 2, 3], [4], [5]])


@lowering("Trilu")
def trilu(node: Node) -> Tensor:
    """The upper or lower triangle, zero elsewhere."""
    from iree_core.lowering.structured import elementwise

    x = node.tensor(0)
    shift = node.items(1)[0] if node.has(1) else 0
    offset = index.value(shift)
    upper = bool(node.attr("upper", 1))

    def body(v: ir.Value) -> ir.Value:
        zero = scalars.constant(0, x.element)
        row, column = loop_index(x.rank - 2), loop_index(x.rank - 1)
        edge = arith.addi(row, offset)
        predicate = arith.CmpIPredicate.sge if upper else arith.CmpIPredicate.sle
        return arith.select(arith.cmpi(predicate, column, edge), v, zero)

    return elementwise([x], x.element, body)
